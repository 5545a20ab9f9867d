"""Regular images evolved until a network is sure of them, drawn by CPPNs (Nguyen et al. 2015, Figs. 5 and 8)."""

from typing import Any

from experiments.lib import dry_run, runner
from experiments.nguyen2015 import evolution
from xai_jax import models
from xai_jax.synthesis.cppn import CPPN

# Medians over classes, in %, told from memory.
PAPER = {"imagenet2012": (88.11, "5000 generations on ImageNet"), "mnist": (99.99, "few generations on MNIST")}


def run(config: Any, run: runner.Run) -> None:
    """Evolves images for every class from every seed, and has them judged."""
    evolution.run(encoding(config), "Images drawn by evolved networks", PAPER, config, run)


def encoding(config: Any) -> CPPN:
    """Networks that draw an image as the network reads it."""
    return CPPN(models.abstract(config.network)[2], config.hidden)


def plan(config: Any) -> list[dry_run.Step]:
    """The generations of all seeds."""
    return evolution.plan(encoding(config), config)


EXPERIMENT = runner.Experiment(
    name="nguyen2015/cppn",
    title="Fooling images by evolution: CPPN encoding",
    figure="Figs. 5 and 8, and the confidence by generation",
    paper="Nguyen, Yosinski and Clune 2015, Deep Neural Networks are Easily Fooled: High Confidence Predictions for "
    "Unrecognizable Images, arXiv 1412.1897",
    summary=(
        "Evolution as in nguyen2015/direct, but pixels do not evolve: what does is a tiny network that is told where a "
        "pixel is and gives its value (a CPPN). Such images are regular: they have symmetries, gradients and repeated "
        "parts. The tiny networks begin with their inputs linked to their output, and get nodes and links by mutation, "
        "at the rates of the authors' code. The paper fools a network for handwritten digits (MNIST) and one for "
        "ImageNet; here it is one for Fashion-MNIST. Whether the images look like their class is judged by another "
        "network, trained by itself. Natural images are judged, too, to compare with. "
        "At first only a late layer was to compare them; a middle one was added when noise turned out to excite the "
        "late one so little that dim pictures of clothes were near. Networks that learn from the same images can be "
        "fooled by the same ones: agreement is not always likeness."
    ),
    run=run,
    plan=plan,
    minutes=4.5,
    order=5,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
