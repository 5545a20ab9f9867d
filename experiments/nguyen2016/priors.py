"""Preferred inputs with priors that people thought of, beside those of a learnt one (Nguyen et al. 2016)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from experiments.lib import dry_run, evaluation_networks, generator_codes, maximisation_baselines, runner
from experiments.lib.runner import Claim
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM, Measured
from xai_jax import targets
from xai_jax.data import datasets
from xai_jax.models import generators

OURS = "DGN"


def run(config: Any, run: runner.Run) -> None:
    """Preferred inputs by every prior and by DGN, and how natural another network finds them."""
    (generator, model), judge = generator_codes.load(config), evaluation_networks.load(config)
    classes, forms = maximisation_baselines.repeated_classes(model, config), maximisation_baselines.forms(config)
    features, found, measures = run.stage("natural", partial(prior_comparison.natural, judge)), {}, {}
    ways = {name: partial(by_hand, model, generator.layer, classes, name, config) for name in forms}
    ways[OURS] = partial(learnt, generator, model, classes, config)
    for name, find in run.progress(ways.items(), "priors"):
        stage = name.replace(" ", "-")
        found[name] = run.stage(stage, find)
        measure = partial(prior_comparison.measured, judge, features, found[name], classes, config.groups)
        measures[name] = run.stage(f"{stage}-measured", measure)
    reference = prior_comparison.of_natural(features, config.groups, len(classes) // config.groups)
    run.figure("priors", *pictures(model.classes, found, classes))
    run.figure("measures", *dots(measures, reference))
    run.numbers += prior_comparison.numbers(measures, reference)
    run.claims += claims(measures, generator_codes.is_independent(config))


def by_hand(model, layer, classes, name, config):
    """Pictures that one of the rivals finds."""
    averaged = name == "mean image"
    begin = (
        maximisation_baselines.mean_images(model, layer, datasets.load(config.data, "train"), config)
        if averaged
        else None
    )
    return maximisation_baselines.find(model, classes, maximisation_baselines.forms(config)[name], config, begin)


def learnt(generator, model, classes, config):
    """Pictures that DGN finds."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, config.dgn, config.batch_size)
    return generator_codes.as_pixels(model, found)


def pictures(names, found, classes):
    """A row for each prior, a column for each class."""
    caption = (
        "Images that excite each class's logit, by one prior in each row: the first of several starts. Under each, the "
        "explained network's confidence in the class. The first row has no prior, the last one a learnt prior; all "
        "between were thought of by people."
    )
    alt = "A grid of small pictures: noise above, then blots and edges; garments in the last row and one other."
    return prior_comparison.pictures(names, found, classes), caption, alt


def dots(measures, reference):
    """All measures, by prior."""
    caption = (
        "What the images of each prior reach: a dot for each group of starts, and their mean in red. The last three "
        "panels are how natural another network finds them; dashed, natural images among themselves. The less of "
        "a distance, and the more of everything else, the better."
    )
    return prior_comparison.dots(measures, reference), caption, "Five panels of dots, a line for each prior."


def claims(measures: Mapping[str, Measured], told: bool) -> list[Claim]:
    """That DGN is ahead of all rivals, for each measure of how natural images are."""
    return [
        prior_comparison.claim(
            f"DGN beats every prior that people thought of: {measure.label}.",
            "comparison of priors (measures and test are ours)",
            name,
            OURS,
            measures,
            told,
        )
        for name, measure in REALISM.items()
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of DGN's codes, and of every rival's images."""
    count = (len(config.classes) or generator_codes.class_count(config.generator)) * config.starts
    forms, explained = maximisation_baselines.forms(config), generators.network_of(config.generator)
    steps = generator_codes.code_steps(config, f"steps, {OURS}", targets.logit(0), count, config.dgn.steps)
    return [steps, *maximisation_baselines.plan(explained, forms, count, config.batch_size)]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/priors",
    title="Hand-designed priors and a learned one",
    figure="comparison of priors",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304; rivals: Simonyan et al. 2014, Yosinski et al. 2015, Mahendran and Vedaldi 2016, "
    "Nguyen et al. 2016 (Multifaceted Feature Visualization), Olah et al. 2017",
    summary=(
        "What would a network like to see? Without a prior the answer is noise. So people gave the search rules of "
        "what images look like: dark or short ones (L2), blurred ones, ones of little variation (TV), ones that may be "
        "shifted (jitter), ones that begin as the mean of similar photographs, ones with an object in the centre, ones "
        "whose frequencies are as strong as in nature (Fourier). DGN learns the rule instead: it searches among the "
        "images of a generator. All get the same network, the same classes, and values that pictures can show; "
        "another network judges. The papers' settings are for photographs of 227 pixels. For small images each rival "
        "was given the best of a few settings, chosen by the same measures from other starts; DGN's rate was chosen in "
        "such a way, too. The mean images know most: they are means of fifteen real images of the class, and garments "
        "are all in the same place, which animals in photographs are not. They are not enlarged, as the paper does, "
        "since a garment fills its image. Groups of starts stand for seeds; one network, one generator, one judge."
    ),
    run=run,
    plan=plan,
    minutes=5,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
