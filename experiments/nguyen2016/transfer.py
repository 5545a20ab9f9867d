"""A generator of one network's codes, and another network explained through it (Nguyen et al. 2016)."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from configs.nguyen2016.transfer import Config
from experiments.lib import (
    dry_run,
    evaluation_networks,
    generator_codes,
    maximisation_baselines,
    papers,
    statistics,
)
from experiments.lib.generator_codes import HIGH
from experiments.lib.report import Claim, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM
from xai_jax import dgn_am, models, optimize, targets
from xai_jax.models import LoadedModel, generators
from xai_jax.models.generators import LoadedGenerator
from xai_jax.synthesis.dgn_am import DGN

OWN, OTHER = "the generator's own network", "the other network"


def run(config: Config, work: Workspace) -> Report:
    """Preferred inputs of both networks through the same generator, and their realism by a third one."""
    (generator, home), evaluator = generator_codes.load(config), evaluation_networks.load(config)
    away = models.load(config.explained, config.explained_weights)
    explained = {OWN: (generator, home), OTHER: (adapted(generator, home, away), away)}
    classes = maximisation_baselines.repeated_classes(home, config)
    features = work.stage("natural", partial(prior_comparison.natural_features, evaluator))
    found, measures = {}, {}
    for stage, (name, pair) in zip(("home", "away"), explained.items(), strict=True):
        found[name] = work.stage(stage, partial(preferred, *pair, classes, config))
        measure = partial(prior_comparison.measure, evaluator, features, found[name], classes, config.groups)
        measures[name] = work.stage(f"{stage}-measured", measure)
    reference = prior_comparison.natural_reference(features, config.groups, len(classes) // config.groups)
    third = f"{config.evaluation_network}, a third network that was trained independently"
    panels = [
        transfer_panel(home.classes, found, classes, config),
        prior_comparison.measures_panel(measures, reference, "network", third),
    ]
    claims = [confidence_claim(found, classes), *realism_claims(measures, config)]
    return Report(prior_comparison.numbers(measures, reference), claims, panels)


def adapted(generator: LoadedGenerator, home: LoadedModel, away: LoadedModel) -> LoadedGenerator:
    """The generator with images of another network's size, scaled to its input."""
    same = home.input == away.input  # then no rounding either
    to_network = optimize.identity if same else Partial(_rescaled, home.input, away.input)
    return generator._replace(generate=dgn_am.of_generator(generator.generate, away.input.shape[:2], to_network))


def _rescaled(home, away, x):
    return away.to_network(home.from_network(x))


def preferred(generator, model, classes, config):
    """Images of the last codes."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(config.learning_rate, steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    return generator_codes.as_pixels(model, found)


def transfer_panel(names, found, classes, config):
    """A row for each network, a column for each class."""
    caption = (
        "Images of one generator that maximise each class's logit. Above, of the network whose codes the generator was "
        f"trained to invert, {generators.network_of(config.generator)}; below, of another one, {config.explained}, "
        "which was not used in its training. Under each, the explained network's own confidence in the class."
    )
    alt = "Two rows of small images of the same classes."
    return Panel("transfer", prior_comparison.images(names, found, classes), caption, alt)


def confidence_claim(found, classes):
    """That the other network is confident in most of its classes."""
    confidence = generator_codes.medians(generator_codes.confidence(found[OTHER]["logits"], classes), classes)
    return Claim(
        "A generator of one network's codes also serves to find preferred inputs of another.",
        "section on other networks (the criterion is ours)",
        statistics.binomial(confidence >= HIGH),
        f"classes of which the other network's median confidence is at least {100 * HIGH:g} %; the lowest is "
        f"{100 * confidence.min():.1f} %",
    )


def realism_claims(measures, config):
    """That images of the other network are less realistic."""
    independent = len({config.evaluation_network, config.explained, generators.network_of(config.generator)}) == 3
    source = "section on other networks: quality might degrade (measures and tests are ours)"
    text = "Images of the network that the generator was trained for are more realistic"
    return [
        prior_comparison.claim(f"{text}: {measure.label}.", source, name, OWN, measures, independent)
        for name, measure in REALISM.items()
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of the codes of either network."""
    count = (len(config.classes) or generator_codes.class_count(config.generator)) * config.starts
    return [
        generator_codes.code_steps(config, "steps, its own network", targets.logit(0), count, config.steps),
        other_network_steps(config, count),
    ]


def other_network_steps(config: Config, count: int) -> dry_run.Step:
    """The steps of the other network's codes."""
    module, variables, code = generators.abstract(config.generator)
    net, weights, shape = models.abstract(config.explained)

    def gradient(weights, variables, codes):
        generate = dgn_am.of_generator(Partial(module.apply, variables), shape[:2])
        return jax.grad(lambda codes: net.apply(weights, generate(codes))[:, 0].sum())(codes)

    codes = jax.ShapeDtypeStruct((min(count, config.batch_size), *code), jnp.float32)
    calls = dry_run.calls(count, config.batch_size) * config.steps
    return dry_run.Step("steps, another network", gradient, (weights, variables, codes), calls)


EXPERIMENT = Experiment[Config](
    name="nguyen2016/transfer",
    title="Another network explained through the same generator",
    figure="transfer to other networks",
    paper=papers.NGUYEN2016,
    summary=(
        "A generator inverts the features of one network. Can another network be explained through it? Codes are found "
        "for the logits of two networks through the same generator, from the same starts. A third, independently "
        "trained network measures realism. The paper warns that quality might degrade."
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
