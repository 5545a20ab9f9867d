"""Which layer the generator should invert: preferred inputs through generators for several (Nguyen et al. 2016)."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np

from configs.nguyen2016.code_layer import Config
from experiments.lib import dry_run, evaluation_networks, generator_codes, maximisation_baselines, papers
from experiments.lib.report import Claim, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM, Measured
from xai_jax import models, targets
from xai_jax.synthesis.dgn_am import DGN


def run(config: Config, work: Workspace) -> Report:
    """Preferred inputs through one generator for each layer, and their realism by another network."""
    model, evaluator = models.load(config.network, config.weights), evaluation_networks.load(config)
    classes = maximisation_baselines.repeated_classes(model, config)
    features = work.stage("natural", partial(prior_comparison.natural_features, evaluator))
    found, measures = {}, {}
    for layer in work.progress(config.layers, "layers"):
        found[layer] = work.stage(layer, partial(preferred, model, classes, layer, config))
        measure = partial(prior_comparison.measure, evaluator, features, found[layer], classes, config.groups)
        measures[layer] = work.stage(f"{layer}-measured", measure)
    reference = prior_comparison.natural_reference(features, config.groups, len(classes) // config.groups)
    panels = [
        layers_panel(model.classes, found, classes),
        prior_comparison.measures_panel(measures, reference, "layer", "another network"),
    ]
    return Report(prior_comparison.numbers(measures, reference), claims(measures, config), panels)


def preferred(model, classes, layer, config):
    """Images through the generator for a layer; steps are the same share of the codes' upper bounds in all layers."""
    generator, _ = generator_codes.load(generator_config(config, layer))
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(config.share * float(np.mean(generator.upper)), steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    return generator_codes.as_pixels(model, found)


def generator_config(config: Config, layer: str) -> SimpleNamespace:
    """The fields of `generator_codes` for one layer's generator."""
    index = config.layers.index(layer)
    return SimpleNamespace(
        generator=config.generators[index],
        generator_weights=config.files[index] if config.files else "",
        weights=config.weights,
        data=config.data,
        batch_size=config.batch_size,
    )


def layers_panel(names, found, classes):
    """A row for each layer, a column for each class."""
    caption = (
        "Images of generators that maximise each class's logit, by the layer whose codes the generator was trained to "
        "invert. Under each, the explained network's confidence in the class."
    )
    alt = "A grid of small images, a row for each layer: some look like garments, others like patches of cloth."
    return Panel("code_layer", prior_comparison.images(names, found, classes), caption, alt)


def claims(measures: Mapping[str, Measured], config: Config) -> list[Claim]:
    """That the layers in `config.connected` are better than the others, and that `config.best` is the best."""
    source = "section on priors for different layers (measures and tests are ours)"
    independent = config.evaluation_network != config.network
    kinds = {
        "fully connected": average([each for layer, each in measures.items() if layer in config.connected]),
        "convolutional": average([each for layer, each in measures.items() if layer not in config.connected]),
    }
    found = []
    for name, measure in REALISM.items():
        text = f"Generators for fully connected layers are better than for convolutional ones: {measure.label}."
        best = f"The best layer to invert is {config.best}: {measure.label}."
        found.append(prior_comparison.claim(text, source, name, "fully connected", kinds, independent))
        found.append(prior_comparison.claim(best, source, name, config.best, measures, independent))
    return found


def average(several: Sequence[Measured]) -> Measured:
    """The means of the measures of several layers, group by group."""
    return {name: np.mean([each[name] for each in several], 0) for name in several[0]}


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of the codes of each layer."""
    count, target = len(config.classes) or generator_codes.class_count(config.generators[0]), targets.logit(0)
    return [
        generator_codes.code_steps(
            generator_config(config, layer), f"steps, {layer}", target, count * config.starts, config.steps
        )
        for layer in config.layers
    ]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/code_layer",
    title="Which layer the generator should invert",
    figure="priors for different layers",
    paper=papers.NGUYEN2016,
    summary=(
        "Codes of which layer make the best prior? One generator is trained for each of several layers, with the same "
        "recipe and for the same, short time: images are rougher than elsewhere, but layers compare fairly. The "
        "paper's bounds on codes cost the logits more. With one generator for each layer, tests over starts ignore the "
        "variance of its training."
    ),
    run=run,
    plan=plan,
    minutes=6.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
