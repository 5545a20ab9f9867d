"""Activation maximisation over generator codes, for several experiments: images, logits, and steps of a dry run."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from experiments.lib import dry_run
from xai_jax import dgn_am, models, network, targets
from xai_jax.core.targets import Target
from xai_jax.data.datasets import Dataset, labeller
from xai_jax.io.errors import UserError
from xai_jax.models import LoadedModel, generators
from xai_jax.models.generators import LoadedGenerator
from xai_jax.synthesis.dgn_am import DGN, Montavon

HIGH = 0.99  # confidence that claims require
DEPENDENT = "the evaluation network took part in the synthesis"  # why a claim about realism is left open


def load(config: Any) -> tuple[LoadedGenerator, LoadedModel]:
    """The generator, with images clipped to the range of pixels, and the explained network."""
    generator = load_generator(config)
    model = models.load(generator.network, config.weights)
    return generator._replace(generate=dgn_am.clip_images(generator.generate, *input_range(model))), model


def load_generator(config: Any) -> LoadedGenerator:
    """The generator of a configuration that has `generator`, `generator_weights`, `weights` and `data`.

    Training images of `data` bound the codes of a generator that is read from a file.
    """
    file = config.generator_weights or None
    return generators.load(config.generator, file, config.weights, config.data if file else None)


def input_range(model: LoadedModel) -> tuple[Array, Array]:
    """The network's input for black and for white, of one value for each channel."""
    return model.input.limits


def maximise(
    generator: LoadedGenerator, model: LoadedModel, target: Target, starts: Array, form: DGN | Montavon, batch_size: int
) -> dict[str, np.ndarray]:
    """Images that maximise a target, with pixels rounded to integers, and their logits.

    Args:
      generator: the generator, whose bounds hold for `DGN`.
      model: the network to explain.
      target: one target for all codes, or one row for each.
      starts: initial codes (N, ...).
      form: optimiser and regularisation.
      batch_size: codes that are optimised at once.

    Returns:
      "images" (N, H, W, C) in the network's input range, and "logits" (N, K).
    """
    upper, parts = generator.upper if form.bounded else None, []
    for start in range(0, len(starts), batch_size):
        rows = slice(start, start + batch_size)
        found = dgn_am.maximise(generator.generate, model.net, target.rows(rows), starts[rows], form, upper).x
        images = quantised(model, network.call(generator.generate, found))
        parts.append((images, network.call(model.net, images)))
    images, logits = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"images": images, "logits": logits}


def quantised(model: LoadedModel, images: Array) -> Array:
    """Images as pictures have them, in whole numbers from 0 to 255: what is measured is what is shown."""
    return model.input.to_network(jnp.clip(jnp.round(model.input.from_network(images)), 0, 255))


def as_pixels(model: LoadedModel, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The result of `maximise` with its images as pixels, uint8 (N, H, W, 3)."""
    return {"pixels": model.to_pixels(found["images"]), "logits": found["logits"]}


def initial_codes(generator: LoadedGenerator, count: int, seed: int) -> Array:
    """Random initial codes (count, ...)."""
    return dgn_am.noise(jax.random.key(seed), (count, *generator.upper.shape))


def of_own_class(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Logits or probabilities (N, K) of each row's class, (N,)."""
    return np.asarray(values)[np.arange(len(classes)), classes]


def confidence(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probability of each row's class, (N,), from logits (N, K)."""
    return of_own_class(jax.nn.softmax(logits), classes)


def medians(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The median of values (N,) over the rows of each class present, in the order of the classes."""
    return np.array([np.median(values[classes == k]) for k in np.unique(classes)])


def first_of_each_class(data: Dataset, classes: Sequence[int], count: int) -> list[list[int]]:
    """Indices of the first `count` images of each class. Raises UserError for a class with fewer."""
    found, label_of = {k: [] for k in classes}, labeller(data)
    for i in range(len(data)):
        label = label_of(i)
        if label in found and len(found[label]) < count:
            found[label].append(i)
        if all(len(each) == count for each in found.values()):
            return list(found.values())
    fewest = min(map(len, found.values()))
    raise UserError(f"Expected {count} images of each class, got {fewest} of one; choose a smaller config.pool.")


def is_independent(config: Any) -> bool:
    """Whether the evaluation network differs from the explained one; in smoke runs it does not."""
    return config.evaluation_network != generators.network_of(config.generator)


def code_steps(config: Any, name: str, target: Target, count: int, steps: int) -> dry_run.Step:
    """The gradient steps of a dry run.

    Args:
      config: has `generator` and `batch_size`.
      name: of the step in the report.
      target: target of the gradient.
      count: number of codes.
      steps: steps for each batch of codes.

    Returns:
      A step of the plan.
    """
    module, variables, code = generators.abstract(config.generator)
    net, weights, shape = models.abstract(generators.network_of(config.generator))
    codes = jax.ShapeDtypeStruct((min(count, config.batch_size), *code), jnp.float32)

    def gradient(weights, variables, codes):
        def activation(codes):
            images = dgn_am.of_generator(Partial(module.apply, variables), shape[:2])(codes)
            return targets.evaluate(Partial(net.apply, weights), images, target)[0].sum()

        return jax.grad(activation)(codes)

    return dry_run.Step(name, gradient, (weights, variables, codes), dry_run.calls(count, config.batch_size) * steps)


def class_count(generator: str) -> int:
    """Number of classes of a generator's network, without loading its weights."""
    return dry_run.class_count(generators.network_of(generator))
