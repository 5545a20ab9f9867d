"""Preferred inputs with hand-designed priors, beside those with a learned one (Nguyen et al. 2016)."""

from collections.abc import Mapping
from functools import partial

from configs.nguyen2016.priors import Config
from experiments.lib import dry_run, evaluation_networks, generator_codes, maximisation_baselines, papers
from experiments.lib.report import Claim, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM, Measured
from xai_jax import targets
from xai_jax.data import datasets
from xai_jax.models import generators

OURS = "DGN"


def run(config: Config, work: Workspace) -> Report:
    """Preferred inputs with every prior and with DGN, and their realism by another network."""
    (generator, model), evaluator = generator_codes.load(config), evaluation_networks.load(config)
    classes, forms = maximisation_baselines.repeated_classes(model, config), maximisation_baselines.forms(config)
    features = work.stage("natural", partial(prior_comparison.natural_features, evaluator))
    methods = {name: partial(baseline, model, generator.layer, classes, name, config) for name in forms}
    methods[OURS] = partial(with_generator, generator, model, classes, config)
    found, measures = {}, {}
    for name, find in work.progress(methods.items(), "priors"):
        stage = name.replace(" ", "-")
        found[name] = work.stage(stage, find)
        measure = partial(prior_comparison.measure, evaluator, features, found[name], classes, config.groups)
        measures[name] = work.stage(f"{stage}-measured", measure)
    reference = prior_comparison.natural_reference(features, config.groups, len(classes) // config.groups)
    panels = [
        priors_panel(model.classes, found, classes),
        prior_comparison.measures_panel(measures, reference, "prior", "another network"),
    ]
    independent = generator_codes.is_independent(config)
    return Report(prior_comparison.numbers(measures, reference), claims(measures, independent), panels)


def baseline(model, layer, classes, name, config):
    """Images with one hand-designed prior."""
    start = None
    if name == "mean image":
        start = maximisation_baselines.mean_images(model, layer, datasets.load(config.data, "train"), config)
    return maximisation_baselines.find(model, classes, maximisation_baselines.forms(config)[name], config, start)


def with_generator(generator, model, classes, config):
    """Images of DGN."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = maximisation_baselines.shortened(config.dgn, config.steps)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    return generator_codes.as_pixels(model, found)


def priors_panel(names, found, classes):
    """A row for each prior, a column for each class."""
    caption = (
        "Images that maximise each class's logit with one prior in each row: the first of several starts. Under each, "
        "the explained network's confidence in the class. The first row has no prior, the last one a learned prior; "
        "all between are hand-designed."
    )
    alt = "A grid of small images: noise above, then blots and edges; objects on grey in the last row."
    return Panel("priors", prior_comparison.images(names, found, classes), caption, alt)


def claims(measures: Mapping[str, Measured], independent: bool) -> list[Claim]:
    """That DGN is better than all baselines, for each measure of realism."""
    source = "comparison of priors (measures and test are ours)"
    texts = {name: f"DGN beats every hand-designed prior: {measure.label}." for name, measure in REALISM.items()}
    return [prior_comparison.claim(text, source, name, OURS, measures, independent) for name, text in texts.items()]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of DGN's codes, and of every baseline's images."""
    count = (len(config.classes) or generator_codes.class_count(config.generator)) * config.starts
    forms, explained = maximisation_baselines.forms(config), generators.network_of(config.generator)
    form = maximisation_baselines.shortened(config.dgn, config.steps)
    steps = generator_codes.code_steps(config, f"steps, {OURS}", targets.logit(0), count, form.steps)
    return [steps, *maximisation_baselines.plan(explained, forms, count, config.batch_size)]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/priors",
    title="Hand-designed priors and a learned one",
    figure="comparison of priors",
    paper=f"{papers.NGUYEN2016}; baselines: Simonyan et al. 2014, Yosinski et al. 2015, Mahendran and Vedaldi 2016, "
    "Nguyen et al. 2016 (Multifaceted Feature Visualization), Olah et al. 2017",
    summary=(
        "Without a prior, activation maximisation gives noise. Hand-designed priors penalise length (L2) or roughness "
        "(TV), blur, jitter, start from mean images, favour the centre or natural frequencies (Fourier); DGN searches "
        "a generator's images. All have the same network and classes; another network measures realism. Groups of "
        "starts are the replicates: one network, one generator."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
