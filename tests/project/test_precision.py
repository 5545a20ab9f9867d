"""The policy of `xai_jax.core.precision`: which float32 products accelerators may round, in each public method."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.helpers import lowprec
from tests.helpers.small_network import Small
from xai_jax.adapters import adapt
from xai_jax.attribution import metrics, saliency
from xai_jax.concepts import tcav
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.core import network, targets
from xai_jax.core.batching import pixels
from xai_jax.data import preprocessing
from xai_jax.synthesis import activation_maximisation as am
from xai_jax.synthesis import cppn, dgn_am, fooling, hog_dsift, inversion, parametrisation, realism
from xai_jax.synthesis.inversion import CVPR, IJCV
from xai_jax.synthesis.multifaceted import MFV, Stage
from xai_jax.training import sgd
from xai_jax.units import deconvnet

TARGET, KEY = targets.logit(1), jax.random.key(0)
SIDES = itertools.count(9)  # another size in each test: what was compiled before is not lowered again


def small(weights, x, relu=jax.nn.relu, tap=network.keep):
    x = lax.conv_general_dilated(x, weights[0], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return tap("logits", tap("relu1", relu(x)).mean((1, 2)) @ weights[1])


def problem():
    """A network of one convolution and one product, and images of a size that no other test has."""
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 3, 3, 4), (4, 3))]
    side = next(SIDES)
    return jax.tree_util.Partial(small, weights), jnp.asarray(rng.normal(size=(4, side, side, 3)), jnp.float32)


def adapted(net, x):
    model = adapt.from_function(lambda weights, x: small(weights, x), net.args[0])
    return saliency.guided_backprop(model, x, TARGET)


def measure(net, x):
    """TCAV of twelve images of a concept, 48 random ones, and the images as those of a class."""
    random = jax.random.normal(KEY, (60, *x.shape[1:]))
    return tcav.measure(net, ["relu1"], {"a": 1 + random[48:]}, random[:48], {"b": (TARGET, x)}, runs=2, controls=2)


def error(net, x):
    represent = network.features(net, "relu1")
    return inversion.error(
        represent, x, jnp.zeros((4, *x.shape[1:3], 4)), jax.random.normal(KEY, (4, *x.shape[1:3], 4))
    )


def render(net, x):
    encoding = cppn.CPPN(x.shape[1:])
    return encoding.render(encoding.sample(KEY, 2))


EXACT = {
    "gradient": lambda net, x: saliency.gradient(net, x, TARGET),
    "guided_backprop": lambda net, x: saliency.guided_backprop(net, x, TARGET),
    "deconvnet": lambda net, x: saliency.deconvnet(net, x, TARGET),
    "input_x_gradient": lambda net, x: saliency.input_x_gradient(net, x, TARGET),
    "integrated_gradients": lambda net, x: saliency.integrated_gradients(net, x, TARGET, steps=2),
    "integrated_gradients, traced": lambda net, x: jax.jit(
        lambda net, x: saliency.integrated_gradients(net, x, TARGET, steps=2)
    )(net, x),
    "smoothgrad": lambda net, x: saliency.smoothgrad(net, x, TARGET, samples=2),
    "vargrad": lambda net, x: saliency.vargrad(net, x, TARGET, samples=2),
    "occlusion": lambda net, x: saliency.occlusion(net, x, TARGET, patch=4, stride=4),
    "grad_cam": lambda net, x: saliency.grad_cam(net, x, TARGET, "relu1"),
    "guided_grad_cam": lambda net, x: saliency.guided_grad_cam(net, x, TARGET, "relu1"),
    "an adapted network": adapted,
    "deletion": lambda net, x: metrics.deletion(net, x, x, TARGET, steps=2),
    "insertion": lambda net, x: metrics.insertion(net, x, x, TARGET, steps=2),
    "infidelity": lambda net, x: metrics.infidelity(net, x, x, TARGET, samples=2),
    "cascading_randomisation": lambda net, x: metrics.cascading_randomisation(saliency.gradient, net, x, TARGET),
    "random_logit": lambda net, x: metrics.random_logit(saliency.gradient, net, x, 0),
    "top_k": lambda net, x: deconvnet.top_k(net, "relu1", x, 2),
    "project": lambda net, x: deconvnet.project(net, x, targets.neuron("relu1", 0, (0, 0))),
    "activations": lambda net, x: ActivationCache(net, "relu1").activations(x),
    "gradients": lambda net, x: ActivationCache(net, "relu1").gradients(x, TARGET),
    "tcav": measure,
    "call": lambda net, x: network.call(net, x),
    "agreement": lambda net, x: realism.agreement(net, x, [0] * len(x)),
    "inversion.error": error,
    "direction": lambda net, x: targets.direction("a", jnp.ones(x[0].size))(x, {"a": x}),
    "cppn": render,
    "hog": lambda net, x: hog_dsift.hog(x[..., :1]),
    "dsift": lambda net, x: hog_dsift.dsift(jnp.tile(x[..., :1], (1, 4, 4, 1))),
    "from_fourier": lambda net, x: parametrisation.from_fourier(parametrisation.to_fourier(x), x.shape[2]),
    "whiten": lambda net, x: preprocessing.whiten(preprocessing.fit_zca(x[:, :4, :5]), x[:, :4, :5]),
}


def maximise(form):
    def run(net, x):
        return am.maximise(am.of_pixels(net), TARGET, x, KEY, form, -100.0, 100.0)

    return run


def train(net, x):
    """One step of the gradient of training."""
    module = Small()
    variables = module.init(KEY, x)
    setting, (loss, zeros) = sgd.Setting(module, sgd.Recipe(), 1), sgd.zeros(variables["params"])
    share = (x * 0).astype(jnp.uint8), jnp.zeros(len(x), jnp.int32)
    seeds, prepare = (np.uint32(0), np.int32(0), np.int32(0)), jax.tree_util.Partial(pixels)
    return sgd.add_gradient(setting, (loss, zeros), variables["params"], share, seeds, prepare, None)


AT_THE_DEFAULT = {
    "invert, 2015": lambda net, x: inversion.invert(
        network.features(net, "relu1"), jnp.ones((4, *x.shape[1:3], 4)), x.shape[1:], KEY, CVPR(phases=((1.0, 1),))
    ),
    "invert, 2016": lambda net, x: inversion.invert(
        network.features(net, "relu1"), jnp.ones((4, *x.shape[1:3], 4)), x.shape[1:], KEY, IJCV(steps=(1, 1))
    ),
    "Simonyan": maximise(am.Simonyan(steps=1)),
    "Yosinski": maximise(am.Yosinski(steps=1)),
    "MFV": maximise(MFV((Stage(1, (1.0, 1.0), (1.0, 1.0)),), iterations=1)),
    "DGN": lambda net, x: dgn_am.maximise(lambda x: x, net, TARGET, x, dgn_am.DGN(steps=1)),
    "ascend": lambda net, x: fooling.ascend(net, [0, 1, 2, 0], x, fooling.Ascent(steps=1)),
    "evolve": lambda net, x: fooling.evolve(net, fooling.Direct(x.shape[1:]), 1, KEY, population=4),
    "training": train,
}


def lowered(run):
    """Precisions of all float32 products and convolutions that a method compiles."""
    given = problem()
    jax.block_until_ready(given)
    with lowprec.recorded() as found:
        run(*given)
    assert found, "nothing was compiled"
    return [precision for _, precision in found]


@pytest.mark.parametrize("name", EXACT)
def test_what_measures_is_exact(name):
    assert set(lowered(EXACT[name])) == {(lax.Precision.HIGHEST,) * 2}


@pytest.mark.parametrize("name", AT_THE_DEFAULT)
def test_what_optimises_is_at_the_default(name):
    assert any(map(lowprec.is_low, lowered(AT_THE_DEFAULT[name])))


def test_products_beside_the_network_are_exact_while_optimising():
    """Of a step on Fourier coefficients the convolution and the logits, and their gradients, may be rounded."""
    low = list(map(lowprec.is_low, lowered(maximise(am.Fourier(steps=1)))))
    assert low.count(True) == 4 and low.count(False) >= 3


@pytest.mark.parametrize("chosen", ["default", "tensorfloat32"])
def test_a_precision_that_the_user_sets_has_priority(chosen):
    with jax.default_matmul_precision(chosen):
        found = lowered(EXACT["gradient"])
    assert (lax.Precision.HIGHEST,) * 2 not in found


def test_no_setting_of_jax_changes():
    import xai_jax.plots  # noqa: F401, the other packages are imported above

    EXACT["gradient"](*problem())
    assert jax.config.jax_default_matmul_precision is None


def test_cached_activations_belong_to_their_precision(tmp_path):
    net, x = problem()
    for chosen in (None, "tensorfloat32", None):
        with jax.default_matmul_precision(chosen):
            ActivationCache(net, "relu1", tmp_path).activations(x)
    assert len(list(tmp_path.iterdir())) == 2
