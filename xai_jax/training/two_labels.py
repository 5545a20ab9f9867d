"""Training of a network on two labels of each image at once: its class, and the object that it shows (see `loop`).

The logits are those of the classes, followed by those of the objects. Instead of batch normalisation, whose statistics
would have to travel with the network, kernels are standardised (Qiao et al. 2019, arXiv:1903.10520): what is trained
has gains, what is returned are plain kernels.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import Partial

from xai_jax.core.pytrees import as_partial
from xai_jax.data.batches import batches
from xai_jax.data.dataset_types import Dataset
from xai_jax.io.files import user_path
from xai_jax.io.fingerprints import labelled
from xai_jax.training import loop, parallel
from xai_jax.training.supervised import share_size

LAST = "fc8"  # the layer of the logits, whose kernel is not standardised


@dataclasses.dataclass(frozen=True)
class Recipe:
    """AdamW whose learning rate rises during `warmup` steps and follows half a cosine then.

    Images are cropped at random by `margin` pixels and mirrored or not; the logarithms of their brightness and contrast
    vary with a standard deviation of `light`, those of the colours with half of it.
    """

    steps: int = 6000
    batch_size: int = 96
    learning_rate: float = 3e-3
    decay: float = 0.3
    warmup: int = 200
    margin: int = 8
    light: float = 0.2


class State(NamedTuple):
    """The state of training."""

    params: Any
    opt_state: Any
    step: Array


class Setting(NamedTuple):
    """What a step is compiled for: `objects` is their number, `shares` that of a batch's parts."""

    module: nn.Module
    recipe: Recipe
    objects: int
    shares: int


def fit(
    module: nn.Module,
    data: Dataset,
    classes: np.ndarray,
    recipe: Recipe,
    checkpoint_dir: str | Path,
    *,
    seed: int,
    prepare: Callable[[Array], Array],
) -> dict[str, Any]:
    """Trains `module`, resuming where `checkpoint_dir` left off; returns at once where training is complete.

    Args:
      module: network with the parameters of convolutions and dense layers alone, the last of them named "fc8".
      data: square images, labelled with their objects.
      classes: class of each object (objects,) int32.
      recipe: schedule and random changes of the images.
      checkpoint_dir: directory of this run.
      seed: of initialisation, order and random changes.
      prepare: float pixels (N, H, W, C) -> the network's input; compiled.

    Returns:
      The variables of `module`.

    Raises:
      ValueError, TypeError: for arguments that do not fit.
      TrainingError: as `supervised.fit`.
    """
    return loop.fit(_task(module, data, classes, recipe, checkpoint_dir, seed=seed, prepare=prepare))


def first_lines(steps: int, *arguments: Any, **options: Any) -> list[dict[str, float]]:
    """What a `fit` with the same other arguments, without `checkpoint_dir`, would log after each of its first steps.

    Example: `first_lines(2, module, data, classes, recipe, seed=0, prepare=prepare)[0]["loss"]`.
    """
    return loop.first_lines(_task(*arguments, "", **options), steps)


def _task(module, data, classes, recipe, checkpoint_dir, seed, prepare):
    classes = np.asarray(classes, np.int32)
    return _Task(data, recipe, user_path(checkpoint_dir), seed, None, module, classes, as_partial(prepare))


@dataclasses.dataclass(frozen=True)
class _Task(loop.Task):
    module: nn.Module
    classes: np.ndarray
    prepare: Partial

    weights_name: ClassVar[str] = "weights.safetensors"
    step: ClassVar[Callable] = staticmethod(lambda *arguments: _step(*arguments))

    @property
    def steps(self):
        return self.recipe.steps

    @property
    def shares(self):
        return self.recipe.batch_size // share_size(self.recipe.batch_size)

    @property
    def setting(self):
        return Setting(self.module, self.recipe, len(self.data.classes), self.shares)

    @property
    def constants(self):
        return np.int32(self.seed), self.classes, self.prepare

    def description(self):
        others = {name: labelled(getattr(self, name)) for name in ("module", "classes", "prepare")}
        return super().description() | {"recipe": dataclasses.asdict(self.recipe)} | others

    def initial(self):
        images, _ = next(batches(self.data, 1, self.seed, 0))
        side = images.shape[1] - self.recipe.margin
        x = self.prepare(images[:, :side, :side].astype(np.float32))
        begin = jax.jit(_begin, static_argnums=0, out_shardings=parallel.everywhere())
        return begin(self.setting, jax.random.key(self.seed), x)

    def line(self, step, measured):
        of_classes, of_objects = map(float, measured)
        return {"loss": of_classes + of_objects, "of_classes": of_classes, "of_objects": of_objects}

    def variables(self, state):
        return {"params": standardised(state.params)}


def _begin(setting, key, x):
    params = setting.module.init(key, x)["params"]
    params = {name: {**layer, "gain": jnp.ones_like(layer["bias"])} for name, layer in params.items()}
    return State(params, _optimiser(setting.recipe).init(params), jnp.zeros((), jnp.int32))


def standardised(params: Any) -> Any:
    """Layers of kernel, bias and gain -> kernel and bias.

    Kernels have a mean of 0 and a mean square of 2 / fan-in for each output, times its gain; so activations keep their
    variance from layer to layer (He et al. 2015). The last layer's is multiplied by its gain alone.

    >>> layer = {"kernel": jnp.arange(6.0).reshape(3, 2), "bias": jnp.zeros(2), "gain": jnp.ones(2)}
    >>> round(float((standardised({"fc6": layer})["fc6"]["kernel"][:, 0] ** 2).mean()), 3)
    0.667
    """
    return {name: {"kernel": _kernel(name, **layer), "bias": layer["bias"]} for name, layer in params.items()}


def _kernel(name, kernel, bias, gain):
    if name == LAST:
        return kernel * gain
    axes = tuple(range(kernel.ndim - 1))
    centred = kernel - kernel.mean(axes)
    wanted = np.float32(2 / np.prod(kernel.shape[:-1]))
    return centred * jax.lax.rsqrt((centred**2).mean(axes) + 1e-8) * gain * wanted**0.5


def _step(setting, state, shares, constants):
    """One step: gradients of the shares of a batch, one after another, and the update; returns the two losses, too."""
    (seed, classes, prepare), found = constants, None
    for number, (images, objects) in enumerate(shares):
        labels, seeds = (classes[objects], objects), (seed, state.step, np.int32(number))
        part = _gradient(setting, state.params, images, labels, seeds, prepare)
        found = part if found is None else jax.tree.map(jnp.add, found, part)
    losses, gradient = found
    return _update(setting, state, gradient), losses


@functools.partial(jax.jit, static_argnums=0)
def _gradient(setting, params, images, labels, seeds, prepare):
    """Losses of a share of a batch, for classes and objects, and their gradient; both divided by the number of shares.

    Each image of a batch has its own key, whatever the number of shares; `seeds`: of the run, step, and share.
    """
    seed, step, number = seeds
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), len(images) * setting.shares)
    keys = jax.lax.dynamic_slice_in_dim(keys, number * len(images), len(images))
    x = prepare(jax.vmap(functools.partial(changed, setting.recipe))(images, keys))

    def loss(params):
        logits = setting.module.apply({"params": standardised(params)}, x)
        parts = jnp.split(logits, (logits.shape[1] - setting.objects,), axis=1)
        each = map(optax.softmax_cross_entropy_with_integer_labels, parts, labels)
        both = jnp.stack([losses.mean() for losses in each]) / setting.shares
        return both.sum(), both

    (_, losses), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return losses, gradient


def changed(recipe: Recipe, image: Array, key: Array) -> Array:
    """A random crop of an image, mirrored or not, in other light: (H, W, C) uint8 -> float pixels, 0 to 255.

    >>> changed(Recipe(margin=2), jnp.full((6, 6, 3), 100, jnp.uint8), jax.random.key(0)).shape
    (4, 4, 3)
    """
    keys = jax.random.split(key, 4)
    height, width, channels = image.shape
    top, left = jax.random.randint(keys[0], (2,), 0, recipe.margin + 1)
    size = height - recipe.margin, width - recipe.margin, channels
    image = jax.lax.dynamic_slice(image, (top, left, 0), size).astype(jnp.float32)
    image = jnp.where(jax.random.bernoulli(keys[1]), image[:, ::-1], image)
    gain, contrast = jnp.exp(recipe.light * jax.random.normal(keys[2], (2,)))
    colours = jnp.exp(recipe.light / 2 * jax.random.normal(keys[3], (channels,)))
    return jnp.clip(gain * colours * (image.mean() + contrast * (image - image.mean())), 0, 255)


def _optimiser(recipe):
    learning_rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warmup, recipe.steps)
    kernels = functools.partial(jax.tree.map, lambda p: p.ndim > 1)
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, b2=0.99, weight_decay=recipe.decay, mask=kernels)
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update(setting, state, gradient):
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integer steps by float learning rates
        updates, opt_state = _optimiser(setting.recipe).update(gradient, state.opt_state, state.params)
    return State(optax.apply_updates(state.params, updates), opt_state, state.step + 1)
