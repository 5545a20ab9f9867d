"""DeePSiM: training a generator to invert the codes of a network.

Dosovitskiy & Brox 2016, Generating images with perceptual similarity metrics based on deep networks, arXiv 1602.02644.
A generated image should have the features of the original, pass for real to a discriminator, and be close to the
original in pixels (see `adversarial`). `dgn_am` maximises activations over the codes of such a generator.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import Transform, batches
from xai_jax.data.datasets import Dataset
from xai_jax.io.errors import TrainingError, first_line
from xai_jax.io.files import user_path
from xai_jax.io.fingerprints import labelled
from xai_jax.training import adversarial, checkpoints, loop, parallel
from xai_jax.training.adversarial import TERMS, TRAINS, Recipe, Setting
from xai_jax.weights import safetensors_file

__all__ = ["Recipe", "first_lines", "fit", "shared_dir"]

SAMPLE_EVERY = 500  # steps
SAMPLES = 8  # images
PATIENCE = 2000  # maximum number of consecutive steps with one network frozen


def fit(
    generator: Any,
    discriminator: Any,
    encode: Callable[[Array], Array],
    compare: Callable[[Array], Array],
    data: Dataset,
    recipe: Recipe,
    checkpoint_dir: str | Path,
    *,
    seed: int,
    prepare: Callable[[Array], Array],
    transform: Transform | None = None,
) -> dict[str, Any]:
    """Trains `generator` against `discriminator`, resuming where `checkpoint_dir` left off.

    Losses go to metrics.jsonl, generated images beside their originals to samples/.

    Args:
      generator: Linen module, codes -> images at least as large as the originals; their centre counts.
      discriminator: Linen module, images -> logits (N, 2) of real and generated.
      encode: mean-subtracted pixels (N, H, W, C) -> the codes that the generator inverts.
      compare: mean-subtracted pixels -> the features that generated images should keep.
      data: images.
      recipe: losses and schedule.
      checkpoint_dir: directory of this run.
      seed: of initialisation, order and dropout.
      prepare: uint8 images (N, H, W, C) -> mean-subtracted pixels.
      transform: (image, rng) -> an image (H, W, C), such as a crop, while it is read.

    Returns:
      The variables of `generator`.

    Raises:
      ValueError: for a generator that fits neither codes nor images, and for settings that are no numbers.
      TypeError: for what is no data or no function.
      TrainingError: where a loss is not finite, where one network wins for good, and as `supervised.fit`.
    """
    networks = generator, discriminator, encode, compare
    return loop.fit(_task(*networks, data, recipe, checkpoint_dir, seed, prepare, transform))


def shared_dir(name: str, *arguments: Any, **options: Any) -> Path:
    """A checkpoint directory in the cache, the same for all that call `fit` with these arguments, and theirs alone.

    `arguments` and `options`: those of `fit`, without `checkpoint_dir`; the directory's name begins with `name`.
    """
    return loop.shared_dir(name, _task(*arguments, "", **options))


def first_lines(steps: int, *arguments: Any, **options: Any) -> list[dict[str, float]]:
    """What a `fit` with the same other arguments, without `checkpoint_dir`, would log after each of its first steps.

    Example: `first_lines(1, *arguments, **options)[0]["features"]`.
    """
    return loop.first_lines(_task(*arguments, "", **options), steps)


def _task(generator, discriminator, encode, compare, data, recipe, checkpoint_dir, seed, prepare, transform=None):
    loop.check_functions(encode=encode, compare=compare, prepare=prepare)
    functions = tuple(map(as_partial, (encode, compare, prepare)))
    common = data, recipe, user_path(checkpoint_dir), seed, transform
    return _Task(*common, generator, discriminator, functions)


@dataclasses.dataclass(frozen=True)
class _Task(loop.Task):
    generator: Any
    discriminator: Any
    functions: tuple[Partial, Partial, Partial]

    weights_name: ClassVar[str] = "generator.safetensors"
    step: ClassVar[Callable] = staticmethod(adversarial.step)

    @property
    def steps(self):
        return self.recipe.steps

    @property
    def setting(self):
        return Setting(self.generator, self.discriminator, self.recipe)

    @property
    def constants(self):
        return np.uint32(self.seed), *self.functions

    def stops(self):
        return super().stops() | set(range(SAMPLE_EVERY, self.steps, SAMPLE_EVERY))

    def first_images(self, count):
        """Images of the first batch, (count, H, W, C) uint8."""
        return next(batches(self.data, self.recipe.batch_size, self.seed, 0, 0, self.transform))[0][:count]

    def description(self):
        networks = {name: labelled(getattr(self, name)) for name in ("generator", "discriminator")}
        functions = zip(("encode", "compare", "prepare"), map(labelled, self.functions), strict=True)
        recipe = {"recipe": dataclasses.asdict(self.recipe), "transform": labelled(self.transform)}
        return super().description() | networks | recipe | dict(functions)

    def initial(self):
        encode, _, prepare = self.functions
        x = jax.eval_shape(prepare, self.first_images(1))
        code, keys = jax.eval_shape(encode, x), jax.random.split(jax.random.key(self.seed))
        generated = _generated(self.generator, keys[0], code)
        short = [have < want for have, want in zip(generated.shape[1:3], x.shape[1:3], strict=True)]
        if any(short) or generated.shape[3] != x.shape[3]:
            raise ValueError(f"Expected a generator of images of at least {x.shape[1:]}, got {generated.shape[1:]}.")
        begin = jax.jit(adversarial.initial, static_argnums=0, out_shardings=parallel.everywhere())
        return begin(self.setting, keys, code, x)

    def line(self, step, measured):
        return {name: measured[name].item() for name in (*TERMS, *TRAINS)}

    def refuse_failure(self, state):
        if int(state.frozen) > PATIENCE:
            raise TrainingError(_cause(*map(bool, state.trains)))

    def end_stage(self, state, log):
        _write_samples(self, int(state.step), state.params[0])
        return state

    def variables(self, state):
        return state.params[0]


def _generated(generator, key, code):
    try:
        return jax.eval_shape(lambda key, code: generator.init_with_output(key, code)[0], key, code)
    except Exception as error:  # flax and lax each have their own
        raise ValueError(
            f"Expected a generator of codes {code.shape[1:]}, which encode gives; it said: {first_line(error)}"
        ) from error


def _cause(generator, discriminator):
    """What went wrong, by which network would still be updated."""
    if generator and discriminator:
        return (
            f"The discriminator has collapsed: for {PATIENCE} steps its output has not depended on the images. Usual "
            "cause: a learning rate so high that its units died."
        )
    winner = "discriminator" if generator else "generator"
    return (
        f"The {winner} has won: it has been frozen for {PATIENCE} steps, while the other does not catch up. Usual "
        "causes: adversarial weights or learning rates that are too far apart, or too small a network."
    )


def _write_samples(task, number, params):
    """Images, the same each time, and what is generated from their codes, as mean-subtracted pixels."""
    if not parallel.is_first():
        return
    directory, images = task.checkpoint_dir / "samples", task.first_images(SAMPLES)
    pairs = _pairs(task.setting, jax.tree.map(np.asarray, params), *task.functions[::2], images)
    with checkpoints.explained(directory):
        directory.mkdir(exist_ok=True)
        safetensors_file.write(directory / f"{number:07d}.safetensors", {"pairs": pairs})


@functools.partial(jax.jit, static_argnums=0)
def _pairs(setting, params, encode, prepare, images):
    x = prepare(images)
    return jnp.stack([x, adversarial.centre(setting.generator.apply(params, encode(x)), x.shape)])
