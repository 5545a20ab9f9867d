"""The optimisation loop against NumPy: batches, chunks, checkpoints and divergence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from xai_jax import optimize
from xai_jax.synthesis import checkpoints

RNG = np.random.default_rng(0)
MATRICES, GOALS = RNG.normal(size=(3, 4, 5)).astype("f"), RNG.normal(size=(3, 4)).astype("f")
START = RNG.normal(size=(3, 5)).astype("f")
COPY, KEY = START.copy(), jax.random.key(0)
MOMENTUM = optax.sgd(0.02, momentum=0.9)


def terms(matrices, goals, x):
    residual = jnp.einsum("nij,nj->ni", matrices, x) - goals
    return {"distance": (residual**2).sum(1), "size": 0.1 * (x**2).sum(1)}


def doubled(factor, matrices, goals, x):
    return {name: factor * term for name, term in terms(matrices, goals, x).items()}


QUADRATIC = Partial(terms, MATRICES, GOALS)


def by_numpy(matrix, goal, x, steps, limit=np.inf):
    x, velocity, history = x.astype(float), np.zeros(5), []
    for _ in range(steps):
        residual = matrix.astype(float) @ x - goal
        history.append([(residual**2).sum(), 0.1 * (x**2).sum()])
        velocity = 0.9 * velocity + 2 * matrix.T @ residual + 0.2 * x
        x = np.clip(x - 0.02 * velocity, -limit, limit)
    return x, np.array(history)


@pytest.mark.parametrize("limit", [np.inf, 0.4])
def test_problems_of_a_batch_are_independent(limit):
    found = optimize.minimise(QUADRATIC, START, MOMENTUM, 40, project=lambda x, step: jnp.clip(x, -limit, limit))
    for n in range(3):
        x, history = by_numpy(MATRICES[n], GOALS[n], START[n], 40, limit)
        np.testing.assert_allclose(found.x[n], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.history["distance"][:, n], history[:, 0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.history["size"][:, n], history[:, 1], rtol=1e-3, atol=1e-4)
    assert found.history["size"].shape == (40, 3)
    np.testing.assert_array_equal(START, COPY)


def test_a_scan_equals_single_steps(monkeypatch):
    expected = optimize.minimise(QUADRATIC, START, MOMENTUM, 30)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    found = optimize.minimise(QUADRATIC, START, MOMENTUM, 30)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-6)
    np.testing.assert_allclose(found.history["distance"], expected.history["distance"], rtol=1e-5)


def noisy(key, x):
    return {"noise": ((x["a"] - jax.random.normal(key, x["a"].shape)) ** 2).sum(1) + x["b"] ** 2}


def test_trees_are_optimised_with_a_fresh_key_at_each_step():
    x = {"a": np.zeros((2, 3), "f"), "b": np.ones(2, "f")}
    found = optimize.minimise(noisy, x, optax.sgd(0.5), 3, KEY)
    last = jax.random.normal(jax.random.fold_in(KEY, 2), (2, 3))  # a learning rate of 1/2 jumps to each step's draw
    np.testing.assert_allclose(found.x["a"], last, rtol=1e-5)
    np.testing.assert_allclose(found.x["b"], 0, atol=1e-6)
    assert len(np.unique(found.history["noise"])) == 6


def test_learning_rate_schedules_count_the_steps():
    schedule = optax.piecewise_constant_schedule(0.5, {1: 0.0})
    found = optimize.minimise(QUADRATIC, START, optax.sgd(schedule), 4)
    assert (found.history["size"][1] != found.history["size"][0]).all()
    np.testing.assert_array_equal(found.history["size"][2:], found.history["size"][[1, 1]])


@pytest.mark.parametrize("optimiser", [MOMENTUM, optax.adam(0.1)])
def test_an_interrupted_run_resumes_with_the_same_result(optimiser, resumed):
    run = functools.partial(optimize.minimise, noisy, {"a": START, "b": START[:, 0]}, optimiser, 110, KEY)
    assert resumed(run, after=3) == [0, 25, 50, 50, 75, 100]


def test_checkpoints_of_other_problems_are_refused_and_damaged_ones_ignored(tmp_path, caplog):
    path = tmp_path / "state.npz"
    first = optimize.minimise(QUADRATIC, START, MOMENTUM, 5, checkpoint=path)
    others = [
        (QUADRATIC, START + 1, MOMENTUM, {}),
        (Partial(terms, MATRICES, GOALS + 1), START, MOMENTUM, {}),
        (Partial(functools.partial(doubled, 2.0), MATRICES, GOALS), START, MOMENTUM, {}),
        (Partial(functools.partial(doubled, 3.0), MATRICES, GOALS), START, MOMENTUM, {}),
        (QUADRATIC, START, optax.sgd(0.02, momentum=0.8), {}),
        (QUADRATIC, START, optax.sgd(0.01, momentum=0.9), {}),
        (QUADRATIC, START, MOMENTUM, {"project": lambda x: jnp.clip(x, -1.0, 1.0)}),
    ]
    for objective, x, optimiser, options in others:
        with pytest.raises(ValueError, match="Expected .*state.npz to be a checkpoint of this problem"):
            optimize.minimise(objective, x, optimiser, 5, checkpoint=path, **options)
    with pytest.raises(ValueError, match="Expected a checkpoint of at most 3 steps"):
        optimize.minimise(QUADRATIC, START, MOMENTUM, 3, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-200])
    again = optimize.minimise(QUADRATIC, START, MOMENTUM, 5, checkpoint=path)
    np.testing.assert_array_equal(again.x, first.x)
    assert "damaged" in caplog.text


def test_a_problem_that_another_process_rounded_otherwise_resumes(tmp_path):
    """As targets of an inversion that an accelerator computes again, with another algorithm."""
    path = tmp_path / "state.npz"
    first, again = (Partial(terms, jnp.asarray(MATRICES), jnp.asarray(GOALS) * factor) for factor in (1, 1 + 1e-6))
    found = optimize.minimise(first, START, MOMENTUM, 5, checkpoint=path)
    np.testing.assert_array_equal(optimize.minimise(again, START, MOMENTUM, 5, checkpoint=path).x, found.x)


def test_one_image_of_many_belongs_to_the_problem():
    images = jax.random.normal(KEY, (50, 40, 40, 3))
    mark = checkpoints.identify(images)
    noise = 1 + 1e-5 * jax.random.normal(jax.random.key(1), images.shape)
    assert mark.matches(checkpoints.identify(images * noise))
    assert not mark.matches(checkpoints.identify(images.at[7].set(0)))
    assert not mark.matches(checkpoints.identify(images[::-1]))
    assert not mark.matches(checkpoints.identify(images.astype(jnp.bfloat16)))
    assert not mark.matches(checkpoints.identify(images.at[0, 0, 0, 0].set(jnp.inf)))


def test_divergence_names_step_term_and_problem():
    def objective(x):
        return {"good": 0 * x[:, 0], "bad": jnp.where(x[:, 0] > 3.05, jnp.nan, -x[:, 0])}

    with pytest.raises(optimize.DivergedError, match="The term 'bad' is nan before step 32, in problem 1"):
        optimize.minimise(objective, np.array([[-9.0], [0.0]], "f"), optax.sgd(0.1), 99)


@pytest.mark.parametrize(
    "objective, x, steps, words",
    [
        (QUADRATIC, START, 0, "at least one step, got 0"),
        (QUADRATIC, {"a": START, "b": np.zeros((2, 5), "f")}, 1, r"counted along axis 0, got lengths \[2, 3\]"),
        (QUADRATIC, {"a": np.float32(1)}, 1, r"got lengths \[0\]"),
        (lambda x: {"mean": x.mean()}, START, 1, r"shape \(3,\), one number for each problem, got {'mean': \(\)}"),
        (lambda x: {}, START, 1, "Expected terms"),
    ],
)
def test_invalid_arguments_are_refused(objective, x, steps, words):
    with pytest.raises(ValueError, match=words):
        optimize.minimise(objective, x, MOMENTUM, steps)
