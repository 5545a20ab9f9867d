"""Images evolved pixel by pixel until a network is sure of them (Nguyen et al. 2015, Fig. 4)."""

from typing import Any

from experiments.lib import dry_run, runner
from experiments.nguyen2015 import evolution
from xai_jax import models
from xai_jax.synthesis.fooling import Direct

# Medians over classes, in %, told from memory.
PAPER = {"imagenet2012": (21.59, "20,000 generations on ImageNet"), "mnist": (99.99, "200 generations on MNIST")}


def run(config: Any, run: runner.Run) -> None:
    """Evolves images for every class from every seed, and has them judged."""
    evolution.run(encoding(config), "Images evolved pixel by pixel", PAPER, config, run)


def encoding(config: Any) -> Direct:
    """Every value of an image as the network reads it."""
    return Direct(models.abstract(config.network)[2])


def plan(config: Any) -> list[dry_run.Step]:
    """The generations of all seeds."""
    return evolution.plan(encoding(config), config)


EXPERIMENT = runner.Experiment(
    name="nguyen2015/direct",
    title="Fooling images by evolution: direct encoding",
    figure="Fig. 4, and the confidence by generation",
    paper="Nguyen, Yosinski and Clune 2015, Deep Neural Networks are Easily Fooled: High Confidence Predictions for "
    "Unrecognizable Images, arXiv 1412.1897",
    summary=(
        "Evolution needs no gradient, only the network's answers. It keeps the best image found so far for each class; "
        "in each generation, children of these are made by mixing and changing pixels at random, and one that the "
        "network is surer of takes the place of the best. A child may win in another class than its parents' (this is "
        "MAP-Elites). The images begin as noise. The paper did this to a network for handwritten digits (MNIST) and "
        "to one for ImageNet; here it is one for Fashion-MNIST, at the code's rates. Whether the images look like "
        "their class is judged by another network, trained by itself. Natural images are judged, too, to compare with. "
        "At first only a late layer was to compare them; a middle one was added when noise turned out to excite the "
        "late one so little that dim pictures of clothes were near. Networks that learn from the same images can be "
        "fooled by the same ones: agreement is not always likeness. Agreement that is not surely above chance was "
        "called held at first; since then it must surely be below, and else the claim stays open."
    ),
    run=run,
    plan=plan,
    minutes=2.5,
    order=5,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
