"""TCAV of concepts against each other, for `concepts`: relative CAVs (Kim et al. 2018, section 3.6)."""

from collections.abc import Mapping

from jax import Array

from xai_jax import significance, tcav
from xai_jax.cli.concepts_page import Measured
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.tcav import Classes, Plan
from xai_jax.core.messages import excerpt

FEWEST_CONTROLS = 3
TITLE = "Relative scores"
ABOUT = (
    "Does the logit rise towards one concept rather than towards the others? CAVs separate a concept's images from "
    "those of the other concepts, so that what all of them share, such as a background, cancels. Above one half the "
    "logit rises towards the concept, below it towards the others: where scores against random images are all near 0 "
    "or 1, this shows on which concept the class depends more."
)


def measure(
    cache: ActivationCache, concepts: Mapping[str, Array], random: Array, classes: Classes, runs: int, most: int
) -> Measured:
    """Scores of each concept against the union of the others; of two concepts, of the first against the second.

    Args:
      cache: the network, its layers, and their activations and gradients.
      concepts: images (n, H, W, C) of each concept, two or more.
      random: random images (N, H, W, C).
      classes: for each class a target and images.
      runs: number of CAVs of each concept.
      most: largest number of control pairs.

    Returns:
      The rows, or the reason for which there are none: too few random images, or images of several concepts.

    Raises:
      TypeError: as `tcav.score`.

    Example: `measure(cache, concepts, random, classes, 20, 20)`.
    """
    try:
        plan = _plan({name: len(x) for name, x in concepts.items()}, len(random), runs, most)
        scores = tcav.score(cache, concepts, random, classes, plan)
    except ValueError as error:
        return Measured(TITLE, ABOUT, reason=excerpt(error, 400))
    if plan.relative is True:
        scores = scores._replace(concepts=tuple(f"{name} vs others" for name in scores.concepts))
    note = (
        f"Share of the class's images whose logit rises from the others towards the concept, mean of {runs} runs, with "
        f"its 95 % interval. Filled and starred where significant. The thick line is the mean of {plan.controls} pairs "
        "of sets of random images, one in place of the concept and one in place of the others."
    )
    return Measured(TITLE, ABOUT, note, significance.table(scores, tested="mean"), significance.table(scores, "mean"))


def _plan(sizes, random_count, runs, most):
    """As many controls as there are random images for."""
    total = sum(sizes.values())
    controls = min(most, random_count // total)
    if controls < FEWEST_CONTROLS:
        raise ValueError(
            f"Expected at least {FEWEST_CONTROLS * total} random images, {FEWEST_CONTROLS} times as many as all "
            f"concepts have together, got {random_count}."
        )
    return Plan(runs=runs, controls=controls, relative=[tuple(sizes)] if len(sizes) == 2 else True)
