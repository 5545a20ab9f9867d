"""Regular images evolved to high confidence, drawn by CPPNs (Nguyen et al. 2015, Figs. 5 and 8)."""

from configs.nguyen2015.cppn import Config
from experiments.lib import dry_run, papers
from experiments.lib.report import Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2015 import evolution
from xai_jax import models
from xai_jax.synthesis.cppn import CPPN

# Medians over classes, in %, from memory.
PAPER = {"imagenet2012": (88.11, "5000 generations on ImageNet"), "mnist": (99.99, "few generations on MNIST")}


def run(config: Config, work: Workspace) -> Report:
    """Evolves images for every class from every seed, and evaluates them."""
    return evolution.report(encoding(config), "Images drawn by evolved networks", PAPER, config, work)


def encoding(config: Config) -> CPPN:
    """Networks that draw an image of the network's input shape."""
    return CPPN(models.abstract(config.network)[2], config.hidden)


def plan(config: Config) -> list[dry_run.Step]:
    """The generations of all seeds."""
    return evolution.plan(encoding(config), config)


EXPERIMENT = Experiment[Config](
    name="nguyen2015/cppn",
    title="Fooling images by evolution: CPPN encoding",
    figure="Figs. 5 and 8, and the confidence by generation",
    paper=papers.NGUYEN2015,
    summary=(
        "Evolution as in nguyen2015/direct, but of tiny networks (CPPNs) that map the position of a pixel to its "
        "value. Such images are regular: they have symmetries, gradients and repeated parts. CPPNs start with their "
        "inputs linked to their output, and get nodes and links by mutation. An independently trained network "
        "measures realism."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
