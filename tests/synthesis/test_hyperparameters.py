"""Numbers of the forms are arguments of compiled programs: a changed one compiles nothing, and has its effect."""

import dataclasses
import functools
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from xai_jax import activation_maximisation, dgn_am, fooling, inversion, learned_inversion, targets
from xai_jax.core.network import keep
from xai_jax.io.fingerprints import fingerprint
from xai_jax.synthesis import checkpoints, optimize, updates
from xai_jax.synthesis.activation_maximisation import Fourier, Simonyan, Yosinski
from xai_jax.synthesis.cppn import CPPN
from xai_jax.synthesis.dgn_am import DGN, Montavon
from xai_jax.synthesis.fooling import Ascent, Direct
from xai_jax.synthesis.inversion import CVPR, IJCV
from xai_jax.synthesis.multifaceted import MFV, Stage

KEY = jax.random.key(0)
X = (10 * np.random.default_rng(0).normal(size=(2, 9, 8, 3))).astype("f")
MATRIX = np.random.default_rng(1).normal(size=(216, 4)).astype("f")
COMPILED = []


def listen(name, *_, **about):
    if name.endswith("backend_compile_duration"):
        COMPILED.append(about.get("fun_name"))


jax.monitoring.register_event_duration_secs_listener(listen)


def net(x, relu=jax.nn.relu, tap=keep):
    return relu(x.reshape(len(x), -1) / 20) @ MATRIX


def represent(x):
    return net(x)


def maximised(form):
    return activation_maximisation.maximise(net, targets.logit([0, 1]), X, KEY, form, -120.0, 135.0).x


def inverted(form):
    return inversion.invert(Partial(represent), represent(X), X.shape[1:], KEY, form).x


def generate(codes):
    return codes.reshape(-1, 9, 8, 3)


def generated(form):
    return dgn_am.maximise(generate, net, targets.logit([0, 1]), X.reshape(2, -1), form).x


def fooled(form):
    return fooling.ascend(net, [0, 1], X, form, -120.0, 135.0).x


def evolved(encoding):
    return fooling.evolve(net, encoding, 12, KEY, 40)[0].x


CASES = {
    "Simonyan": (maximised, Simonyan(penalty=0.1, steps=3, final_learning_rate=1.0), set()),
    "Yosinski": (maximised, Yosinski(4, 90.0, 0.5, 0.01, 0.7, 2, 10.0, 30.0), {"blur_std"}),
    "Fourier": (maximised, Fourier(steps=3, jitter=2), {"jitter"}),
    "MFV": (maximised, MFV((Stage(3, (2.0, 1.0), (0.5, 0.2), 2.0, 1),), 3), {"scale", "margin"}),
    "IJCV": (inverted, IJCV(std=10.0, max_norm=9.0, jitter=2, steps=(3, 2)), {"jitter", "alpha", "beta"}),
    "CVPR": (inverted, CVPR(norm=1e-5, std=10.0, learning_rate=1e-3, phases=((1.0, 2), (0.1, 2))), {"alpha", "beta"}),
    "DGN": (generated, DGN(steps=3, final_learning_rate=1.0, penalty=1.0), set()),
    "Montavon": (generated, Montavon(steps=3), set()),
    "Ascent": (fooled, Ascent(steps=40), set()),
    "Direct": (evolved, Direct(X.shape[1:], halving=2), {"shape"}),
    "CPPN": (evolved, CPPN(X.shape[1:], 2), {"shape", "hidden"}),
}
IDLE = {"Yosinski": {"max_learning_rate"}}  # without an effect on these images
every_form = pytest.mark.parametrize("name", CASES)


def changed(leaf):
    return leaf + 1 if isinstance(leaf, int) else 1.5 * leaf


def compiled(run, form):
    before = len(COMPILED)
    run(form)
    return COMPILED[before:]


@every_form
def test_changed_numbers_compile_nothing(name):
    run, form, fixed = CASES[name]
    run(form)
    assert not compiled(run, jax.tree.map(changed, form))
    fields = [field for part in (form, *getattr(form, "stages", ())) for field in dataclasses.fields(part)]
    assert {field.name for field in fields if field.metadata.get("static")} == fixed


@every_form
def test_every_number_has_an_effect(name):
    run, form, _ = CASES[name]
    first, (paths, tree) = run(form), jax.tree.flatten_with_path(form)
    for number, (path, leaf) in enumerate(paths):
        leaves = [changed(leaf) if other == number else value for other, (_, value) in enumerate(paths)]
        found, is_idle = run(jax.tree.unflatten(tree, leaves)), path[0].name in IDLE.get(name, ())
        assert jax.tree.all(jax.tree.map(np.array_equal, found, first)) == is_idle, jax.tree_util.keystr(path)


def test_structure_compiles():
    run, form, _ = CASES["IJCV"]
    assert compiled(run, form) or compiled(run, dataclasses.replace(form, alpha=5.0))


def test_both_phases_of_an_inversion_share_one_program():
    form, before = IJCV(jitter=3, steps=(2, 2)), optimize._step._cache_size()
    inverted(form)
    assert optimize._step._cache_size() == before + 1


def test_learning_rates_of_learned_inverses_compile_nothing():
    module = nn.Sequential([nn.Dense(216), lambda x: x.reshape(-1, 9, 8, 3)])
    fit = functools.partial(learned_inversion.fit, represent, X, module, key=KEY)
    fit(steps=2)
    assert not compiled(lambda form: fit(**form), {"steps": 3, "learning_rate": 0.01})


@every_form
def test_forms_are_values_and_pytrees(name):
    _, form, _ = CASES[name]
    assert dataclasses.replace(form) == form and hash(dataclasses.replace(form)) == hash(form)
    assert pickle.loads(pickle.dumps(form)) == form and repr(form).startswith(name)
    assert fingerprint(dataclasses.replace(form)) == fingerprint(form)
    assert fingerprint(jax.tree.map(changed, form)) != fingerprint(form)
    assert jax.tree.map(lambda leaf: leaf, form) == form
    many = jax.tree.map(lambda leaf: jnp.array([leaf, leaf]), form)
    both = jax.jit(jax.vmap(lambda form: form))(many)
    assert jax.tree.structure(both) == jax.tree.structure(form)
    assert jax.tree.structure(jax.tree.map(lambda leaf: object(), form)) == jax.tree.structure(form)


def test_an_optimiser_gives_the_updates_of_optax():
    gradients, rules = jnp.array([[0.5, -2.0], [1e-3, 0.3]]), [(0.1, None), (0.1, 3)]
    for learning_rate, steps in rules:
        schedule = learning_rate if steps is None else optax.linear_schedule(learning_rate, 0.0, steps)
        ours, theirs, states = updates.adam(learning_rate, steps), optax.adam(schedule), [None, None]
        states = [rule.init(gradients) for rule in (ours, theirs)]
        for _ in range(4):
            with jax.numpy_dtype_promotion("standard"):
                (found, states[0]), (expected, states[1]) = (
                    rule.update(gradients, state) for rule, state in zip((ours, theirs), states, strict=True)
                )
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [lambda c: IJCV(weight=c), updates.adam, lambda c: updates.momentum(c, ((1.0, 5),)), updates.adagrad_momentum],
)
def test_checkpoints_distinguish_numbers_that_almost_agree(make):
    """Other than arrays on a device, which the next process may round otherwise."""
    first, same, other = (checkpoints.identify(make(c)) for c in (1.0, 1.0, 1.0 + 1e-6))
    assert first.matches(same) and not first.matches(other)
