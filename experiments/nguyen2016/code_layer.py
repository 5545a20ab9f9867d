"""Which layer the generator should invert: preferred inputs through generators for several (Nguyen et al. 2016)."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from experiments.lib import dry_run, evaluation_networks, generator_codes, maximisation_baselines, runner
from experiments.lib.runner import Claim
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM, Measured
from xai_jax import models, targets
from xai_jax.synthesis.dgn_am import DGN


def run(config: Any, run: runner.Run) -> None:
    """Preferred inputs through one generator for each layer, and how natural another network finds them."""
    model, judge = models.load(config.network, config.weights), evaluation_networks.load(config)
    classes, features = (
        maximisation_baselines.repeated_classes(model, config),
        run.stage("natural", partial(prior_comparison.natural, judge)),
    )
    found, measures = {}, {}
    for layer in run.progress(config.layers, "layers"):
        found[layer] = run.stage(layer, partial(preferred, model, classes, layer, config))
        measure = partial(prior_comparison.measured, judge, features, found[layer], classes, config.groups)
        measures[layer] = run.stage(f"{layer}-measured", measure)
    reference = prior_comparison.of_natural(features, config.groups, len(classes) // config.groups)
    run.figure("code_layer", *pictures(model.classes, found, classes))
    run.figure("measures", *dots(measures, reference))
    run.numbers += prior_comparison.numbers(measures, reference)
    run.claims += claims(measures, config)


def preferred(model, classes, layer, config):
    """Pictures through the generator for a layer; steps are as long a share of its codes' reach as in all others."""
    generator, _ = generator_codes.load(named(config, layer))
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(config.share * float(np.mean(generator.upper)), steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    return generator_codes.as_pixels(model, found)


def named(config: Any, layer: str) -> SimpleNamespace:
    """What `codes` wants to know of one layer's generator."""
    place = config.layers.index(layer)
    file = config.files[place] if config.files else ""
    return SimpleNamespace(
        generator=config.generators[place], generator_weights=file, weights=config.weights, batch_size=config.batch_size
    )


def pictures(names, found, classes):
    """A row for each layer, a column for each class."""
    caption = (
        "Images that excite each class's logit, found among those that a generator makes, by the layer whose codes it "
        "was trained to turn back into images. Under each, the explained network's confidence in the class."
    )
    alt = "A grid of small pictures, a row for each layer: some look like garments, others like patches of cloth."
    return prior_comparison.pictures(names, found, classes), caption, alt


def dots(measures, reference):
    """All measures, by layer."""
    caption = (
        "What the images reach, by the layer that the generator inverts: a dot for each group of starts, and their "
        "mean in red. The last three panels are how natural another network finds them; dashed, natural images among "
        "themselves. The less of a distance, and the more of everything else, the better."
    )
    return prior_comparison.dots(measures, reference), caption, "Five panels of dots, a line for each layer."


def claims(measures: Mapping[str, Measured], config: Any) -> list[Claim]:
    """That the layers in `config.connected` are better than the others, and that `config.best` is the best."""
    source, told = (
        "section on priors for different layers (measures and tests are ours)",
        config.evaluation_network != config.network,
    )
    kinds = {
        "fully connected": average([each for layer, each in measures.items() if layer in config.connected]),
        "convolutional": average([each for layer, each in measures.items() if layer not in config.connected]),
    }
    found = []
    for name, measure in REALISM.items():
        words = f"Generators for fully connected layers are better than for convolutional ones: {measure.label}."
        best = f"The best layer to invert is {config.best}: {measure.label}."
        found.append(prior_comparison.claim(words, source, name, "fully connected", kinds, told))
        found.append(prior_comparison.claim(best, source, name, config.best, measures, told))
    return found


def average(several: Sequence[Measured]) -> Measured:
    """The means of several ways' measures, group by group."""
    return {name: np.mean([each[name] for each in several], 0) for name in several[0]}


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of the codes of each layer."""
    count = (len(config.classes) or generator_codes.class_count(config.generators[0])) * config.starts
    return [
        generator_codes.code_steps(named(config, layer), f"steps, {layer}", targets.logit(0), count, config.steps)
        for layer in config.layers
    ]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/code_layer",
    title="Which layer the generator should invert",
    figure="priors for different layers",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "A generator turns the features of one layer back into images. Codes of which layer make the best prior? Here "
        "one generator is trained for each of several layers, all by the same recipe and for the same time, which is "
        "shorter than elsewhere in this gallery: the images are rougher, but the layers compare fairly. Codes stay "
        "between zero and three deviations above the mean, which is the paper's rule for every layer; the last layer's "
        "codes are logits, which are below zero for most classes of a real image, so the rule costs it more than "
        "others. Steps are as long a share of the codes' range in each layer. There is one generator for each layer: "
        "tests over starts do not tell how much luck there was in its training."
    ),
    run=run,
    plan=plan,
    minutes=11.5,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
