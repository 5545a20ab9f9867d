"""Images evolved pixel by pixel to high confidence (Nguyen et al. 2015, Fig. 4)."""

from configs.nguyen2015.direct import Config
from experiments.lib import dry_run, papers
from experiments.lib.report import Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2015 import evolution
from xai_jax import models
from xai_jax.synthesis.fooling import Direct

# Medians over classes, in %, from memory.
PAPER = {"imagenet2012": (21.59, "20,000 generations on ImageNet"), "mnist": (99.99, "200 generations on MNIST")}


def run(config: Config, work: Workspace) -> Report:
    """Evolves images for every class from every seed, and evaluates them."""
    return evolution.report(encoding(config), "Images evolved pixel by pixel", PAPER, config, work)


def encoding(config: Config) -> Direct:
    """Every value of an image of the network's input shape."""
    return Direct(models.abstract(config.network)[2])


def plan(config: Config) -> list[dry_run.Step]:
    """The generations of all seeds."""
    return evolution.plan(encoding(config), config)


EXPERIMENT = Experiment[Config](
    name="nguyen2015/direct",
    title="Fooling images by evolution: direct encoding",
    figure="Fig. 4, and the confidence by generation",
    paper=papers.NGUYEN2015,
    summary=(
        "Evolution needs no gradient, only outputs. MAP-Elites keeps the best image found so far for each class; in "
        "each generation, pixels of these are mixed and mutated at random, and a child with higher confidence in any "
        "class replaces its elite. Images start as noise. An independently trained network measures realism."
    ),
    run=run,
    plan=plan,
    minutes=3.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
