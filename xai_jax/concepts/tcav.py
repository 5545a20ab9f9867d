"""TCAV, testing with concept activation vectors, for all layers, classes, concepts and random sets at once.

Kim et al. 2018, Interpretability beyond feature attribution: quantitative testing with concept activation vectors,
arXiv 1711.11279, section 3. The conceptual sensitivity S(x) is the derivative of the class's logit at x along a CAV
(equation 1); the TCAV score is the fraction of the class's images for which it is positive (equation 2).

    classes = {"zebra": (targets.logit(340), zebras)}
    scores = measure(model.net, ["mixed4d"], {"stripes": stripes, "dots": dots}, random_images, classes, runs=50)
    rows = significance.table(scores)

For sorting images by a single CAV and for dreams along one, see `xai_jax.concepts.cav`.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from xai_jax.concepts import activation_cache, classifiers, sampling
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.classifiers import CLASSIFIER
from xai_jax.concepts.layer_scores import STATISTICS as STATISTICS
from xai_jax.concepts.layer_scores import ConceptScores, score_layer
from xai_jax.concepts.sampling import Sets
from xai_jax.core import per_image, targets
from xai_jax.core.arguments import check_image_shapes
from xai_jax.core.messages import quoted
from xai_jax.core.network import Network
from xai_jax.core.targets import Target

_SETS = "Make an ActivationCache for each set, with its rows, and pass its arrays to layer_scores.score_layer"
_RANDOM = "random images"

Classes = Mapping[str, tuple[Target, Array]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of a TCAV measurement.

    Args:
      runs: number of CAVs per concept, each against another random set (the paper: often 500).
      controls: number of random image sets substituted for the concept to form the null distribution.
      relative: relative CAVs (section 3.6). Pairs (first, second) of concepts are measured instead of the concepts, by
        CAVs that separate the first from the second; controls are pairs of random sets. True for each concept against
        the union of the others, with controls of the same kind.
      classifier: linear scikit-learn classifier, see `cav.fit`.
      seed: of NumPy's generators.

    >>> Plan(runs=2, controls=1).sample({"stripes": 2}, random_count=8)[0].positives
    {'stripes': array([0, 1])}
    """

    runs: int = 50
    controls: int = 20
    relative: bool | Sequence[tuple[str, str]] = False
    classifier: Any = CLASSIFIER
    seed: int = 0

    def __post_init__(self):
        classifiers.check(self.classifier)

    def sample(self, sizes: Mapping[str, int], random_count: int) -> list[Sets]:
        """Positive, negative and control sets for concepts of these sizes, see `sampling`."""
        rest = random_count, self.runs, self.controls, self.seed
        if isinstance(self.relative, bool):
            return (sampling.sample_relative if self.relative else sampling.sample)(sizes, *rest)
        return sampling.sample_pairs(sizes, self.relative, *rest)


class Scores(NamedTuple):
    """Result of `measure` for layers (L,), classes (K,) called `labels`, and concepts or pairs (C,), in each of J runs.

    `values` (3, L, K, C, J): the `STATISTICS` of the sensitivities S(x) over the class's images. `controls`
    (3, L, K, C, M, J): the same for M sets of random images in place of the concept. `accuracy` (L, C, J): of the
    concept's CAVs on `held_out` (C,) examples, of which the larger class is a fraction `chance` (C,). `silent` (L, K):
    fraction of the class's images whose gradient is zero in the layer.
    """

    layers: Any
    labels: Any
    concepts: Any
    values: np.ndarray
    controls: np.ndarray
    accuracy: np.ndarray
    held_out: np.ndarray
    chance: np.ndarray
    silent: np.ndarray


def measure(
    net: Network,
    layers: Iterable[str],
    concepts: Mapping[str, Array],
    random: Array,
    classes: Classes,
    *,
    cache_dir: str | os.PathLike | None = None,
    **plan: Any,
) -> Scores:
    """TCAV of every layer, class and concept: `score` with an `ActivationCache` and a `Plan` made from arguments.

    Args:
      net: the network.
      layers: names of layers.
      concepts: images (n, H, W, C) of each concept, in the network's input range.
      random: random images (N, H, W, C).
      classes: for each class a target, such as `targets.logit(340)`, and images (m, H, W, C).
      cache_dir: keeps activations and gradients for later calls, if given.
      **plan: fields of `Plan`: runs, controls, relative, classifier, seed.

    Returns:
      `Scores`, which `significance.table` tests.

    Raises:
      ValueError: see `score`.

    >>> def net(x, relu=jax.nn.relu, tap=lambda name, value: value):
    ...     return tap("pooled", x.mean((1, 2)))
    >>> random = np.random.default_rng(0).normal(size=(60, 8, 8, 3)).astype(np.float32)
    >>> red, classes = random[:10] + np.float32([1, 0, 0]), {"first": (targets.logit(0), random[:5])}
    >>> scores = measure(net, ["pooled"], {"red": red}, random, classes, runs=2, controls=2)
    >>> scores.values.shape, float(scores.values[0].mean())
    ((3, 1, 1, 1, 2), 1.0)
    >>> concepts = {"red": red, "blue": random[:10] + np.float32([0, 0, 1])}
    >>> measure(net, ["pooled"], concepts, random, classes, runs=2, controls=2, relative=[("red", "blue")]).concepts
    ('red vs blue',)
    """
    return score(ActivationCache(net, layers, cache_dir), concepts, random, classes, Plan(**plan))


def score(
    cache: ActivationCache, concepts: Mapping[str, Array], random: Array, classes: Classes, plan: Plan | None = None
) -> Scores:
    """TCAV of every layer of a cache, class and concept.

    Args:
      cache: the network, its layers, and their activations and gradients.
      concepts: images (n, H, W, C) of each concept, in the network's input range.
      random: random images (N, H, W, C); negatives of a run are as many as the concept has images.
      classes: for each class a target, such as `targets.logit(340)` or `code_loss(340)`, and images (m, H, W, C).
      plan: how many runs and controls, which negatives and which classifier; `Plan()` by default.

    Returns:
      `Scores`, which `significance.table` tests.

    Raises:
      ValueError: for too few images, images that are both positive and negative, images of different sizes, unknown
        classes or layers, and activations that are not finite or all the same.
      TypeError: for a class without its pair of target and images.

    >>> cache = ActivationCache(net, ["pooled"])
    >>> score(cache, {"red": red}, random, classes, Plan(runs=2, controls=2)).accuracy.shape
    (1, 1, 2)
    """
    plan = plan or Plan()
    per_image.refuse(cache.net, "several sets of images", _SETS)
    images = _checked_images(concepts, random, classes)
    sets = plan.sample({name: len(x) for name, x in concepts.items()}, len(random))
    _refuse_shared(concepts, random, plan.relative)
    activations = [cache.activations(x) for x in (*concepts.values(), random)]
    gradients = [cache.gradients(x, target) for target, x in classes.values()]
    _refuse_other_sizes(images, [*activations, *gradients])
    found = []
    for layer in cache.layers:
        try:
            parts = ([each[layer] for each in some] for some in (activations, gradients))
            found.append(score_layer(*parts, sets, plan.classifier, plan.seed))
        except ValueError as error:
            raise ValueError(f"In layer {quoted(layer)}: {error}") from error
    silent = np.array([[(~each[layer].any(1)).mean() for each in gradients] for layer in cache.layers])
    pairs = not isinstance(plan.relative, bool)
    names = tuple(itertools.starmap(sampling.pair_name, plan.relative)) if pairs else tuple(concepts)
    stacked = _stacked([[each[name] for name in names] for each in found])
    return Scores(cache.layers, tuple(classes), names, *stacked, silent)


def code_loss(k: int) -> Target:
    """Target of the authors' code: minus the cross-entropy of class k with probabilities in place of logits.

    The softmax is applied twice. All logits contribute, so sensitivities can differ in sign from those of the logit.

    >>> float(code_loss(0)(jax.numpy.zeros((1, 2)), {})[0]) == float(-jax.numpy.log(2))
    True
    """
    return targets.class_score(k, _twice_normalised)


def _twice_normalised(logits):
    return jax.nn.log_softmax(jax.nn.softmax(logits))


def _checked_images(concepts, random, classes):
    """All images by what they are called in messages: of concepts, then random ones, then of classes."""
    for what, given in (("concepts, {name: images}", concepts), ("classes, {name: (target, images)}", classes)):
        if not isinstance(given, Mapping):
            raise TypeError(f"Expected a dictionary of {what}, got {quoted(given)}.")
    if not classes:
        raise ValueError("Expected a class or more, got 0.")
    for name, pair in classes.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"Expected a pair (target, images) for class {quoted(name)}, got {type(pair).__name__}.")
    images = {f"concept {quoted(name)}": x for name, x in concepts.items()} | {_RANDOM: random}
    images |= {f"class {quoted(name)}": x for name, (_, x) in classes.items()}
    for what, x in images.items():
        try:
            check_image_shapes(x)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from error
    return images


def _refuse_shared(concepts, random, relative):
    """No image of a concept may be among its negatives or controls."""
    own, others = {name: activation_cache.digests(x) for name, x in concepts.items()}, activation_cache.digests(random)
    for name, mine in own.items():
        activation_cache.refuse_shared(name, mine, _RANDOM, others)
    every = itertools.permutations(concepts, 2) if relative else ()
    for first, second in every if isinstance(relative, bool) else relative:
        activation_cache.refuse_shared(first, own[first], second, own[second])


def _refuse_other_sizes(images, arrays):
    """Layers behind a global pool take images of several sizes."""
    sizes = [[values.shape[1] for values in each.values()] for each in arrays]
    wanted = sizes[list(images).index(_RANDOM)]
    for (what, x), size in zip(images.items(), sizes, strict=True):
        if size != wanted:
            raise ValueError(f"Expected images of {what} of shape {images[_RANDOM].shape[1:]}, got {x.shape[1:]}.")


def _stacked(found):
    """Results (L, C) as one array for each field of `ConceptScores`; concepts follow statistics, layers, classes."""
    axes = ConceptScores(2, 2, 0, 0, 0)
    layers = [[np.stack(*field) for field in zip(zip(*row, strict=True), axes, strict=True)] for row in found]
    values, controls, accuracy, held_out, chance = zip(*layers, strict=True)
    return np.stack(values, 1), np.stack(controls, 1), np.stack(accuracy), held_out[0], chance[0]
