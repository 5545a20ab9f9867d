"""How much a class depends on a concept: TCAV, for all layers, classes, concepts and random sets at once.

Kim et al. 2018, Interpretability beyond feature attribution: quantitative testing with concept activation vectors,
arXiv 1711.11279, section 3. S(x), the conceptual sensitivity, is the derivative of the class's logit at x along a CAV
(equation 1); the TCAV score is the share of the class's images for which it is positive (equation 2).

    classes = {"zebra": (targets.logit(340), zebras)}
    scores = measure(model.net, ["mixed4d"], {"stripes": stripes, "dots": dots}, random_images, classes, folder=cache)
    rows = concept_tests.table(scores)

A CAV by itself sorts images or is dreamt of, see `xai_jax.concepts.cav`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from xai_jax.concepts import activation_cache, cav, gram, sampling
from xai_jax.concepts.cav import CLASSIFIER, Fit
from xai_jax.concepts.sampling import Trial
from xai_jax.core import targets
from xai_jax.core.network import Network
from xai_jax.core.pytrees import node
from xai_jax.core.targets import Target

STATISTICS = ("score", "magnitude", "mean")
UNDECIDED = (0.5, 0.5, 0.0)  # values of the statistics where a class neither likes nor dislikes a concept


class Scores(NamedTuple):
    """What `measure` found for layers (L,), classes (K,) called `labels`, and concepts (C,), in each of J runs.

    `values` (3, L, K, C, J): the statistics of the derivatives S(x) over the class's images, see `statistics`.
    `controls` (3, L, K, C, M, J): the same of M sets of random images in the concept's place. `accuracy` (L, C, J): of
    the concept's CAVs on `held_out` (C,) examples, of which the larger class has the share `chance` (C,). `silent`
    (L, K): the share of the class's images whose gradient is zero in the layer.
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


class OfConcept(NamedTuple):
    """What `of_activations` found for one concept: `values` (3, K, J), `controls` (3, K, M, J), `accuracy` (J,)."""

    values: np.ndarray
    controls: np.ndarray
    accuracy: np.ndarray
    held_out: int
    chance: float


def measure(
    net: Network,
    layers: Sequence[str],
    concepts: Mapping[str, Array],
    random: Array,
    classes: Mapping[str, tuple[Target, Array]],
    classifier: Any = CLASSIFIER,
    runs: int = 50,
    controls: int = 20,
    relative: bool = False,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
) -> Scores:
    """TCAV of every layer, class and concept, in `runs` runs against different random sets (the paper: often 500).

    Images (n, H, W, C) in the network's input range: of each concept; random ones; and of each class, beside a target
    such as `targets.logit(340)` (see also `code_loss`). The negatives of a run are as many random images as the concept
    has, drawn anew for each run; with `relative` they are drawn from the other concepts (section 3.6). `controls` are
    so many sets of other random images, which take the concept's place, for `concept_tests`. Activations and gradients
    stay in `folder` for later calls, if given. Raises ValueError for what does not fit together: too few images, images
    on both sides, classes or layers that the network does not have, activations that are not finite or do not differ.
    """
    cav.check_classifier(classifier)
    _refuse_shared(concepts, random, relative)
    layers, sizes = tuple(layers), {name: len(x) for name, x in concepts.items()}
    planned = (sampling.plan_relative if relative else sampling.plan)(sizes, len(random), runs, controls, seed)
    if not layers or not classes:
        raise ValueError(f"Expected a layer or more and a class or more, got {len(layers)} and {len(classes)}.")
    with activation_cache.kept_in(folder) as place:
        known = [activation_cache.activations(net, layers, x, place) for x in (*concepts.values(), random)]
        slopes = [activation_cache.gradients(net, layers, x, target, place) for target, x in classes.values()]
        found = []
        for layer in layers:
            parts, gradients = ([each[layer] for each in some] for some in (known, slopes))
            try:
                found.append(of_activations(parts, gradients, planned, classifier, seed))
            except ValueError as error:
                raise ValueError(f"In layer {layer!r}: {error}") from error
        silent = np.array([[(~each[layer].any(1)).mean() for each in slopes] for layer in layers])
    found = _joined([[each[name] for name in concepts] for each in found])
    return Scores(layers, tuple(classes), tuple(concepts), *found, silent)


def of_activations(
    parts: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    planned: Sequence[Trial],
    classifier: Any = CLASSIFIER,
    seed: int = 0,
) -> dict[str, OfConcept]:
    """The trials of one layer, by concept: activations (N_i, d) in parts, gradients (n, d) of each class's images."""
    known = gram.examples(parts, (rows for trial in planned for rows in _groups(trial)))
    products = [gram.inner(each, known.parts) for each in gradients]
    total = sum(len(trial.negatives) * (len(trial.shown) + len(trial.controls)) for trial in planned)
    with tqdm(total=total, desc="CAVs", delay=2, leave=False) as bar:

        def learn(rows, negatives):
            def of_run(run):
                return cav.fit(known, rows, negatives[run], classifier, [seed, run])

            for fitted in gram.in_threads(of_run, range(len(negatives))):
                yield fitted
                bar.update()

        return {name: found for trial in planned for name, found in _of_trial(trial, products, learn)}


def derivatives(products: np.ndarray, fits: Sequence[Fit]) -> np.ndarray:
    """S(x) of equation 1 (J, n) along the CAVs of J fits, from products (n, examples) of gradients and activations."""
    return np.stack([products[:, fitted.rows] @ fitted.weights for fitted in fits])


def statistics(along: np.ndarray) -> np.ndarray:
    """Three numbers (3, ...) of derivatives S(x) (..., n) of n images, called `STATISTICS`.

    The TCAV score: the share that is positive (equation 2). The magnitude, as captum has it: the positive ones' share
    of the sum of all sizes. And the mean, which tells a concept that helps a lot from one that helps a little.
    """
    sizes, positive = np.abs(along).sum(-1), np.maximum(along, 0).sum(-1)
    magnitude = np.divide(positive, sizes, out=np.full_like(sizes, UNDECIDED[1]), where=sizes > 0)
    return np.stack([(along > 0).mean(-1), magnitude, along.mean(-1)])


def code_loss(k: int) -> Target:
    """What the authors' code differentiates: minus the cross-entropy of class k, whose logits are probabilities.

    Its loss takes the softmax of the network's softmax. All logits take part, so that derivatives can have other signs
    than those of the logit.
    """
    return _CodeLoss(targets.logit(k))


@node
class _CodeLoss(Target):
    logit: Target

    def __call__(self, logits, activations):
        return self.logit(jax.nn.log_softmax(jax.nn.softmax(logits)), activations)

    def rows(self, pick):
        return _CodeLoss(self.logit.rows(pick))

    def check(self, logits, activations):
        self.logit.check(logits, activations)


def _of_trial(trial, products, learn):
    """(name, `OfConcept`) of each concept; the controls are learnt once for all."""
    others = [_values(products, list(learn(rows, trial.negatives))) for rows in trial.controls]
    others = np.reshape(others, (len(others), len(STATISTICS), len(products), len(trial.negatives)))
    for name, rows in trial.shown.items():
        fits = list(learn(rows, trial.negatives))
        accuracy = np.array([each.accuracy for each in fits])
        values = _values(products, fits), np.moveaxis(others, 0, 2)
        yield name, OfConcept(*values, accuracy, fits[0].held_out, fits[0].chance)


def _values(products, fits):
    """Statistics (3, K, J) of the derivatives of each class's images along the CAVs of J fits."""
    return np.stack([statistics(derivatives(each, fits)) for each in products], 1)


def _refuse_shared(concepts, random, relative):
    """Of each concept's images none may be among its negatives or its controls."""
    marks, others = (
        {name: activation_cache.digests(x) for name, x in concepts.items()},
        activation_cache.digests(random),
    )
    for name, own in marks.items():
        for other, theirs in {**(marks if relative else {}), "random images": others}.items():
            if other != name:
                activation_cache.refuse_shared(name, own, other, theirs)


def _groups(trial):
    """Rows that are told apart in one run."""
    return [np.r_[rows, some] for rows in (*trial.shown.values(), *trial.controls) for some in trial.negatives]


def _joined(found):
    """Results (L, C) as one array for each field of `OfConcept`; concepts come after statistics, layers, classes."""
    axes = OfConcept(2, 2, 0, 0, 0)
    layers = [
        [np.stack(field, axis) for field, axis in zip(zip(*row, strict=True), axes, strict=True)] for row in found
    ]
    values, controls, accuracy, held_out, chance = zip(*layers, strict=True)
    return np.stack(values, 1), np.stack(controls, 1), np.stack(accuracy), held_out[0], chance[0]
