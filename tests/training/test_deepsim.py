"""DeePSiM: losses and balance of generator and discriminator as in the released code, resuming, and errors."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.small_network import small_data
from xai_jax.architectures.deepsim import Discriminator, Generator
from xai_jax.io.errors import TrainingError
from xai_jax.training import adversarial, checkpoints, deepsim, loop
from xai_jax.training.adversarial import Recipe
from xai_jax.weights import safetensors_file

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
DATA = small_data(128)
SIDE = DATA[0][0].shape[0]
GENERATOR = Generator((2, 2, 4), (8,), (), ((4, 0),), 1)
DISCRIMINATOR = Discriminator(((3, 4, 2),), 8)
RECIPE = Recipe(steps=6, batch_size=16, features=0.1, adversarial=10.0, image=1e-3, learning_rate=1e-3, halvings=(4,))


class Dead(nn.Module):
    """A discriminator whose units are zero for all images."""

    @nn.compact
    def __call__(self, x, train=False):
        units = nn.Dense(3, bias_init=nn.initializers.constant(-1e6))(x.mean((1, 2)))
        return nn.Dense(2)(jax.nn.relu(units))


def encode(x):
    return x.reshape(len(x), -1)[:, ::7] / 100


def compare(x):
    return x[:, ::2, ::2] / 50


def prepare(images):
    return images.astype(jnp.float32) - 100.0


def fit(workdir, generator=GENERATOR, discriminator=DISCRIMINATOR, recipe=RECIPE, seed=0, **changes):
    functions = {"encode": encode, "compare": compare, "prepare": prepare} | changes
    how = functions.pop("encode"), functions.pop("compare")
    return deepsim.fit(generator, discriminator, *how, DATA, recipe, workdir, seed=seed, **functions)


def begun(recipe=RECIPE):
    functions = tuple(map(deepsim.as_partial, (encode, compare, prepare)))
    run = deepsim._Task(DATA, recipe, Path(), 0, None, GENERATOR, DISCRIMINATOR, functions)
    return run, run.initial()


def step(run, state):
    return adversarial.step(run.setting, state, [(jnp.asarray(DATA.images[:16]), DATA.labels[:16])], run.constants)


def test_losses_are_caffes():
    run, state = begun()
    x, made = (jnp.asarray(RNG.normal(size=(16, SIDE, SIDE, 1)).astype("f")) * 50 for _ in range(2))
    key = jax.random.key(3)
    terms = adversarial.losses(run.setting, state.params, key, (x, made), (compare(x), compare(made)))
    square = {"features": (compare(made) - compare(x)) ** 2, "image": (made - x) ** 2}
    for name, weight in (("features", 0.1), ("image", 1e-3)):
        np.testing.assert_allclose(terms[name], weight / 2 * np.mean([each.sum() for each in square[name]]), 1e-5)
    keys = jax.random.split(key, 3)
    for name, images, label, k in zip(("adversarial", "real", "fake"), (made, x, made), (0, 0, 1), keys, strict=True):
        logits = np.asarray(DISCRIMINATOR.apply(state.params[1], images, train=True, rngs={"dropout": k}), np.float64)
        each = np.log(np.exp(logits).sum(1)) - logits[:, label]
        np.testing.assert_allclose(terms[name], 10 * each.mean(), rtol=1e-4, err_msg=name)


def test_neither_network_sees_the_gradient_of_the_other():
    run, state = begun()
    x, key = prepare(jnp.asarray(DATA.images[:16])), jax.random.key(3)

    def terms(params):
        made = adversarial.centre(GENERATOR.apply(params[0], encode(x)), x.shape)
        return adversarial.losses(run.setting, params, key, (x, made), (compare(x), compare(made)))

    def gradient(names):
        return jax.jit(jax.grad(lambda params: sum(terms(params)[name] for name in names)))(state.params)

    generator, discriminator = gradient(("features", "adversarial", "image")), gradient(("real", "fake"))
    assert not any(leaf.any() for leaf in jax.tree.leaves(generator[1]) + jax.tree.leaves(discriminator[0]))
    assert all(np.abs(leaf).sum() > 0 for leaf in jax.tree.leaves(generator[0]["params"]["deconv0"]))
    assert any(leaf.any() for leaf in jax.tree.leaves(discriminator[1]))


def released(generator, discriminator, ratio):
    """The rule as the released script has it, one decision after the other."""
    if ratio < 0.1 and discriminator:
        discriminator, generator = False, True
    if ratio > 0.5 and not discriminator:
        discriminator, generator = True, True
    if ratio > 10 and generator:
        generator, discriminator = False, True
    return generator, discriminator


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.3, 0.5, 0.7, 10, 20])
def test_networks_are_frozen_as_in_the_released_code(ratio):
    terms = {"real": jnp.float32(0.4 * ratio), "fake": jnp.float32(0.6 * ratio), "adversarial": jnp.float32(1.0)}
    exact = float(terms["real"] + terms["fake"])
    for generator, discriminator in itertools.product((True, False), repeat=2):
        found = adversarial.balance(RECIPE, (jnp.array(generator), jnp.array(discriminator)), terms)
        assert tuple(map(bool, found)) == released(generator, discriminator, exact)


@pytest.mark.parametrize("trains", [(True, True), (True, False), (False, True)])
def test_only_those_who_train_change(trains):
    run, state = begun()
    state = state._replace(trains=tuple(map(jnp.array, trains)), frozen=jnp.int32(5))
    before = jax.tree.map(np.array, (state.params, state.opt_state))
    after, terms = step(run, state)
    assert set(terms) == {*adversarial.TERMS, *adversarial.TRAINS}
    for n, moves in enumerate(trains):
        for old, new in ((before[0][n], after.params[n]), (before[1][n], after.opt_state[n])):
            same = jax.tree.leaves(jax.tree.map(np.array_equal, old, new))
            assert not all(same) if moves else all(same)
    assert int(after.frozen) == (0 if all(map(bool, after.trains)) else 6)


def test_the_first_step_is_adams_and_the_learning_rate_halves():
    """Adam's first step is the learning rate times the sign of the gradient."""
    run, state = begun()
    before = jax.tree.map(np.array, state.params)
    after, _ = step(run, state)
    moved = abs(np.asarray(after.params[0]["params"]["deconv0"]["kernel"]) - before[0]["params"]["deconv0"]["kernel"])
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-2)
    update = adversarial.optimisers(RECIPE)[0]
    memory, sizes = update.init(jnp.zeros(1)), []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(6):
            change, memory = update.update(jnp.ones(1), memory)
            sizes.append(-float(change[0]))
    np.testing.assert_allclose(sizes, [1e-3] * 4 + [5e-4] * 2, rtol=1e-3)


def test_training_learns_and_leaves_what_it_says(tmp_path):
    recipe = Recipe(
        steps=120, batch_size=16, features=1.0, adversarial=1.0, image=1e-2, learning_rate=1e-2, halvings=()
    )
    variables = fit(tmp_path, recipe=recipe)
    lines = checkpoints.read_log(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 20, 40, 60, 80, 100, 120]
    assert all(lines[-1][name] < 0.7 * lines[0][name] for name in ("image", "features"))
    assert not (tmp_path / "checkpoints").exists()
    assert json.loads((tmp_path / "training.json").read_text())["recipe"]["steps"] == 120
    pairs = safetensors_file.read(tmp_path / "samples" / "0000120.safetensors")["pairs"]
    assert pairs.shape == (2, 8, SIDE, SIDE, 1) and abs(pairs[0] - pairs[1]).mean() < abs(pairs[0]).mean()
    again = fit(tmp_path, recipe=recipe)
    jax.tree.map(np.testing.assert_array_equal, variables, again)
    with pytest.raises(TrainingError, match="something else"):
        fit(tmp_path, recipe=recipe, seed=1)
    for name in ("encode", "compare", "prepare"):
        with pytest.raises(TrainingError, match=rf"has something else \({name}: "):
            fit(tmp_path, recipe=recipe, **{name: lambda x: x.astype(jnp.float32)})


def test_a_killed_run_ends_with_the_same_generator(tmp_path, monkeypatch):
    monkeypatch.setattr(deepsim, "SAMPLE_EVERY", 2)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    whole, original, seen = fit(tmp_path / "whole"), deepsim._write_samples, []

    def killed(run, number, *sample):
        seen.append(number)
        if seen == [2, 4]:
            raise KeyboardInterrupt
        original(run, number, *sample)

    monkeypatch.setattr(deepsim, "_write_samples", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed")
    again = fit(tmp_path / "killed")
    assert seen == [2, 4, 4, 6]
    jax.tree.map(np.testing.assert_array_equal, whole, again)


CHILD = """
import sys
sys.path.insert(0, ".")
from tests.training import test_deepsim
test_deepsim.fit(sys.argv[1])
"""


@pytest.mark.slow
def test_several_devices_train_the_same_generator(tmp_path):
    found = []
    for devices in (1, 4):
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        folder = tmp_path / str(devices)
        subprocess.run([sys.executable, "-c", CHILD, str(folder)], cwd=ROOT, env=environment, check=True)
        found.append(safetensors_file.read(folder / "generator.safetensors"))
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"encode": lambda x: x[:, :2]}, "Expected a generator of codes"),
        ({"generator": Generator((2, 2, 4), (8,), (), (), 1)}, r"images of at least \(\d, \d, 1\), got \(4, 4, 1\)"),
        ({"generator": Generator((2, 2, 4), (8,), (), ((4, 0),), 3)}, "images of at least"),
        ({"recipe": Recipe(steps=6, batch_size=500)}, "batches of 1 to 128"),
        ({"recipe": Recipe(steps=0, batch_size=16)}, "Expected at least one step"),
        ({"recipe": Recipe(steps=6, batch_size=16, decay=-1.0)}, "number as decay, 0 or more, got -1.0"),
        ({"recipe": Recipe(steps=6, batch_size=16, halvings=3)}, "a tuple as halvings, .* got 3"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, **changes)
    assert {path.name for path in tmp_path.iterdir()} <= {".training.lock"}


def test_a_loss_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"finite losses, got features (inf|nan), .* at step 1\."):
        fit(tmp_path, compare=lambda x: x / 0.0)


def test_a_network_frozen_for_good_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(deepsim, "PATIENCE", 3)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe = Recipe(steps=20, batch_size=16, learning_rate=1e-3, lowest=1e9, even=1e9, highest=1e9)
    with pytest.raises(TrainingError, match="discriminator has won: it has been frozen for 3 steps"):
        fit(tmp_path / "a", recipe=recipe)
    recipe = Recipe(steps=20, batch_size=16, learning_rate=1e-3, lowest=0.0, even=0.0, highest=0.0)
    with pytest.raises(TrainingError, match="generator has won"):
        fit(tmp_path / "b", recipe=recipe)


def test_a_discriminator_with_dead_units_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(deepsim, "PATIENCE", 3)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    with pytest.raises(TrainingError, match="discriminator has collapsed: for 3 steps its output"):
        fit(tmp_path, discriminator=Dead())
