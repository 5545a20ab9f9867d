"""DeePSiM: training a generator to give back images from the codes of a network.

Dosovitskiy & Brox 2016, Generating images with perceptual similarity metrics based on deep networks, arXiv 1602.02644.
The generator is to give an image that has the features of the original, that a discriminator takes for a real one, and
whose pixels are near; the weights of the three losses and the rule that keeps the players even are the released
solver's. `dgn` searches for codes of such a generator.
"""

import dataclasses
import functools
import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial
from tqdm import tqdm

from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import Transform, batches
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import TrainingError, first_line
from xai_jax.training import checkpoints, parallel
from xai_jax.weights import safetensors_file

LOG_EVERY = 20  # steps
SAVE_EVERY = 500  # steps
PATIENCE = 2000  # steps in a row in which one of the players may not learn

REAL, FAKE = 0, 1
TERMS = ("features", "adversarial", "image", "real", "fake")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Losses and steps; each squared distance is half the sum over an image, as in Caffe.

    `features`, `adversarial` (also of the discriminator's losses) and `image` weigh them: 0.01, 100 and 2e-6 for
    227x227 pixels and CaffeNet's pool5. Adam at `rate`, which halves after each of the steps in `halvings`; `decay` is
    the discriminator's. With r the discriminator's loss over the generator's adversarial one, the discriminator waits
    from r < `lowest` until r > `even`, and the generator from r > `highest` until the discriminator waits.
    """

    steps: int = 1_000_000
    batch: int = 64
    features: float = 0.01
    adversarial: float = 100.0
    image: float = 2e-6
    rate: float = 2e-4
    halvings: tuple[int, ...] = (300_000, 500_000, 700_000, 900_000, 1_100_000)
    decay: float = 4e-4
    lowest: float = 0.1
    even: float = 0.5
    highest: float = 10.0


class State(NamedTuple):
    """All that training goes on from; `trains` says whether (generator, discriminator) take the next step.

    `waited` counts the steps since both did, and the discriminator had a gradient.
    """

    params: tuple[Any, Any]
    memory: tuple[Any, Any]
    step: Array
    trains: tuple[Array, Array]
    waited: Array


class Players(NamedTuple):
    """What a step is compiled for."""

    generator: Any
    discriminator: Any
    recipe: Recipe


def fit(
    generator: Any,
    discriminator: Any,
    encode: Callable[[Array], Array],
    compare: Callable[[Array], Array],
    data: Dataset,
    recipe: Recipe,
    workdir: str | Path,
    *,
    seed: int,
    prepare: Callable[[Array], Array],
    transform: Transform | None = None,
) -> dict[str, Any]:
    """Trains `generator` against `discriminator`, and returns its variables; goes on where `workdir` got to before.

    `prepare` takes uint8 images (N, H, W, C) to pixels less a mean. Of these, `encode` gives the codes that the
    generator is to invert and `compare` the features that its images should keep; their networks stay as they are.
    Where the generator's images are larger, their middle counts. `transform(image, rng)` brings images to one size as
    they are read. Metrics go to metrics.jsonl, images beside their originals to samples/. Raises ValueError for a
    generator that does not fit codes or images, and TrainingError where a loss is not finite, where one of the players
    has won for good, and for what `train.fit` raises it.
    """
    functions = tuple(map(as_partial, (encode, compare, prepare)))
    run = _Run(Players(generator, discriminator, recipe), functions, data, seed, Path(workdir), transform)
    done = run.workdir / "generator.safetensors"
    with checkpoints.locked(run.workdir), parallel.losses_explained():
        start = _begin(run)
        checkpoints.agree(run.workdir, _described(run))
        if not done.exists():
            _train(run, start, done)
        parallel.meet("generator written")
        return jax.tree.map(jnp.asarray, safetensors_file.unflatten(safetensors_file.read(done)))


class _Run(NamedTuple):
    players: Players
    functions: tuple[Partial, Partial, Partial]
    data: Dataset
    seed: int
    workdir: Path
    transform: Transform | None

    @property
    def per_epoch(self) -> int:
        return len(self.data) // self.players.recipe.batch


def _described(run):
    players = {"generator": repr(run.players.generator), "discriminator": repr(run.players.discriminator)}
    data = {"images": len(run.data), "classes": len(run.data.classes)}
    return players | {"recipe": dataclasses.asdict(run.players.recipe), "seed": run.seed} | data


def _begin(run):
    """The state before the first step. Raises ValueError where players, codes and images do not fit together."""
    recipe, (encode, _, prepare) = run.players.recipe, run.functions
    if not 0 < recipe.batch <= len(run.data) or recipe.batch % jax.device_count() or recipe.steps < 1:
        raise ValueError(
            f"Expected steps, and batches of 1 to {len(run.data)} images that {jax.device_count()} devices can share, "
            f"got {recipe}."
        )
    images = next(batches(run.data, recipe.batch, run.seed, 0, 0, run.transform))[0][:1]
    x = jax.eval_shape(prepare, images)
    code = jax.eval_shape(encode, x)
    keys = jax.random.split(jax.random.key(run.seed))
    try:
        made = jax.eval_shape(lambda key, code: run.players.generator.init_with_output(key, code)[0], keys[0], code)
    except Exception as error:  # flax and lax each have their own
        raise ValueError(
            f"Expected a generator of codes {code.shape[1:]}, which encode gives; it said: {first_line(error)}"
        ) from error
    short = [have < want for have, want in zip(made.shape[1:3], x.shape[1:3], strict=True)]
    if any(short) or made.shape[3] != x.shape[3]:
        raise ValueError(f"Expected a generator of images of at least {x.shape[1:]}, got {made.shape[1:]}.")
    return jax.jit(initial, static_argnums=0, out_shardings=parallel.everywhere())(run.players, keys, code, x)


def initial(players: Players, keys: Array, code: Array, x: Array) -> State:
    """The state before the first step, of codes and images with these shapes; two keys, one for each player."""
    code, x = (jnp.zeros(each.shape, each.dtype) for each in (code, x))
    params = players.generator.init(keys[0], code), players.discriminator.init(keys[1], x)
    memory = tuple(rule.init(p) for rule, p in zip(_rules(players.recipe), params, strict=True))
    return State(params, memory, jnp.zeros((), jnp.int32), (jnp.array(True), jnp.array(True)), jnp.zeros((), jnp.int32))


def _rules(recipe):
    """Adam of both players; the decay joins the discriminator's gradient, as in Caffe."""
    rate = optax.piecewise_constant_schedule(recipe.rate, dict.fromkeys(recipe.halvings, 0.5))
    return optax.adam(rate), optax.chain(optax.add_decayed_weights(recipe.decay), optax.adam(rate))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def step(players: Players, functions: tuple[Partial, ...], state: State, images: Array, seed: Array):
    """(state, losses by name, eight images (8, H, W, C)) after a step of both players, or of the one that trains.

    Both start from the same players, where the released code updates the discriminator first.
    """
    encode, compare, prepare = functions
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    x = prepare(images)
    code, wanted = encode(x), compare(x)

    def total(params):
        made = _middle(players.generator.apply(params[0], code), x.shape)
        terms = losses(players, params, key, x, made, compare(made), wanted)
        return sum(terms.values()), (terms, made)

    gradients, (terms, made) = jax.grad(total, has_aux=True)(state.params)
    updated = [
        _update(*each) for each in zip(_rules(players.recipe), gradients, state.memory, state.params, strict=True)
    ]
    chosen = [
        jax.tree.map(functools.partial(jnp.where, trains), new, old)
        for trains, new, old in zip(state.trains, updated, zip(state.memory, state.params, strict=True), strict=True)
    ]
    memory, params = zip(*chosen, strict=True)
    trains = balance(players.recipe, state.trains, terms)
    answers = jax.tree.leaves(gradients[1])[0].any()  # of its first layer: none where all units above are dead
    waited = jnp.where(trains[0] & trains[1] & answers, 0, state.waited + 1)
    return State(params, memory, state.step + 1, trains, waited), terms, made[:8]


def _update(rule, gradient, memory, params):
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float rates
        changes, memory = rule.update(gradient, memory, params)
    return memory, optax.apply_updates(params, changes)


def losses(players: Players, params: Any, key: Array, x: Array, made: Array, found: Array, wanted: Array) -> dict:
    """The weighed terms of both players in one sum, in which neither sees the other's gradient.

    "features", "adversarial" and "image" are the generator's, "real" and "fake" the discriminator's. Images `x` and
    `made` have one shape, as have features `found` and `wanted`.
    """
    recipe, judge = players.recipe, functools.partial(players.discriminator.apply, train=True)
    keys, fixed = [{"dropout": k} for k in jax.random.split(key, 3)], jax.lax.stop_gradient(params[1])
    return {
        "features": recipe.features * _half_square(found - wanted),
        "adversarial": recipe.adversarial * _surprise(judge(fixed, made, rngs=keys[0]), REAL),
        "image": recipe.image * _half_square(made - x),
        "real": recipe.adversarial * _surprise(judge(params[1], x, rngs=keys[1]), REAL),
        "fake": recipe.adversarial * _surprise(judge(params[1], jax.lax.stop_gradient(made), rngs=keys[2]), FAKE),
    }


def _half_square(difference):
    return (difference**2).sum() / (2 * len(difference))


def _surprise(logits, label):
    return -jax.nn.log_softmax(logits)[:, label].mean()


def balance(recipe: Recipe, trains: tuple[Array, Array], terms: dict[str, Array]) -> tuple[Array, Array]:
    """Whether (generator, discriminator) train in the next step, by the ratio of their losses; all of shape ()."""
    generator, discriminator = trains
    ratio = (terms["real"] + terms["fake"]) / terms["adversarial"]
    rests, returns = discriminator & (ratio < recipe.lowest), ~discriminator & (ratio > recipe.even)
    generator, discriminator = generator | rests | returns, (discriminator & ~rests) | returns
    lost = generator & (ratio > recipe.highest)
    return generator & ~lost, discriminator | lost


def _middle(images, shape):
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], shape[1:3], strict=True))
    return images[:, top : top + shape[1], left : left + shape[2]]


def _train(run, start, done):
    """From the newest checkpoint, if there is one, to the file `done`."""
    store, recipe = checkpoints.Checkpoints(run.workdir / "checkpoints"), run.players.recipe
    hidden = not parallel.is_first()
    with closing(store), tqdm(total=recipe.steps, desc="training", mininterval=1, disable=hidden, leave=False) as bar:
        state = store.restore(start)
        log = checkpoints.Log(run.workdir / "metrics.jsonl", int(state.step))
        bar.update(int(state.step))
        images = _images(run, int(state.step))
        while (number := int(state.step)) < recipe.steps:
            stop = min(number - number % SAVE_EVERY + SAVE_EVERY, recipe.steps)
            state, sample = _advance(run, state, itertools.islice(images, stop - number), log, bar)
            _keep_samples(run, stop, *sample)
            store.save(stop, state)
        if parallel.is_first():
            with checkpoints.explained(done):
                safetensors_file.write(done, safetensors_file.flatten(jax.device_get(state.params[0])))
        parallel.meet("generator trained")
    if parallel.is_first():  # weights are all that is wanted of a finished run
        shutil.rmtree(run.workdir / "checkpoints")


def _images(run, number) -> Iterator[np.ndarray]:
    """Batches of images from number `number` on, in an order that depends on the seed alone."""
    while True:
        epoch, done = divmod(number, run.per_epoch)
        for images, _ in batches(
            run.data, run.players.recipe.batch, run.seed, epoch, done, run.transform, parallel.part()
        ):
            yield images
            number += 1


def _advance(run, state, images, log, bar):
    """The state after some more steps, and the last images with what was made of them."""
    mark, started, batch = int(state.step), time.monotonic(), run.players.recipe.batch
    for number, some in enumerate(images, mark + 1):
        state, terms, made = step(run.players, run.functions, state, parallel.split(some), np.uint32(run.seed))
        bar.update()
        if number % LOG_EVERY == 0 or number in (1, run.players.recipe.steps):
            values = {name: float(terms[name]) for name in TERMS}
            trains = dict(zip(("generator_trains", "discriminator_trains"), map(bool, state.trains), strict=True))
            speed = (number - mark) * batch / (time.monotonic() - started)
            log.write(step=number, **values, **trains, images_per_second=speed)
            _refuse_collapse(number, values, state)
            mark, started = number, time.monotonic()
    return state, (some, made)


def _refuse_collapse(number, values, state):
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(f"The loss {name!r} is {value} at step {number}. Usual cause: a rate too high.")
    if int(state.waited) > PATIENCE:
        raise TrainingError(_verdict(*map(bool, state.trains)))


def _verdict(generator, discriminator):
    """What went wrong where players stopped learning, by who of them would still take steps."""
    if generator and discriminator:
        return (
            f"The discriminator has collapsed: for {PATIENCE} steps its answer has not depended on the images. Usual "
            "cause: a rate so high that its units died."
        )
    won = "discriminator" if generator else "generator"
    return (
        f"The {won} has won: for {PATIENCE} steps it has waited for the other, which does not catch up. Usual causes: "
        "adversarial weights or rates that are too far apart, or too small a network."
    )


def _keep_samples(run, number, images, made):
    """The first images of a batch above what was made of them, as an array of pixels less the mean."""
    if not parallel.is_first():
        return
    folder = run.workdir / "samples"
    pairs = np.stack([np.asarray(jax.jit(run.functions[2])(images[: len(made)])), np.asarray(made)])
    with checkpoints.explained(folder):
        folder.mkdir(exist_ok=True)
        safetensors_file.write(folder / f"{number:07d}.safetensors", {"pairs": pairs})
