"""A generator of one network's codes, and another network explained through it (Nguyen et al. 2016)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.lib import dry_run, evaluation_networks, generator_codes, maximisation_baselines, runner
from experiments.lib.runner import Claim
from experiments.nguyen2016 import prior_comparison
from experiments.nguyen2016.prior_comparison import REALISM, Measured
from xai_jax import dgn_am, models, optimize, targets
from xai_jax.models import LoadedModel, generators
from xai_jax.models.generators import LoadedGenerator
from xai_jax.synthesis.dgn_am import DGN

OWN, OTHER = "the generator's own network", "another network"


def run(config: Any, run: runner.Run) -> None:
    """Preferred inputs of both networks through the same generator, and how natural a third one finds them."""
    (generator, home), judge = generator_codes.load(config), evaluation_networks.load(config)
    away = models.load(config.explained, config.explained_weights)
    explained = {OWN: (generator, home), OTHER: (translated(generator, home, away), away)}
    classes, features = (
        maximisation_baselines.repeated_classes(home, config),
        run.stage("natural", partial(prior_comparison.natural, judge)),
    )
    found, measures = {}, {}
    for stage, (name, pair) in zip(("home", "away"), explained.items(), strict=True):
        found[name] = run.stage(stage, partial(preferred, *pair, classes, config))
        measure = partial(prior_comparison.measured, judge, features, found[name], classes, config.groups)
        measures[name] = run.stage(f"{stage}-measured", measure)
    reference = prior_comparison.of_natural(features, config.groups, len(classes) // config.groups)
    run.figure("transfer", *pictures(home.classes, found, classes, config))
    run.figure("measures", *dots(measures, reference, config))
    run.numbers += prior_comparison.numbers(measures, reference)
    run.claims += claims(found, measures, classes, config)


def translated(generator: LoadedGenerator, home: LoadedModel, away: LoadedModel) -> LoadedGenerator:
    """The generator with images of another network's size, scaled to its input."""
    same = home.input == away.input  # then no rounding either
    to_network = optimize.identity if same else Partial(_translated, home.input, away.input)
    return generator._replace(generate=dgn_am.of_generator(generator.generate, away.input.shape[:2], to_network))


def _translated(home, away, x):
    return away.to_network(home.from_network(x))


def preferred(generator, model, classes, config):
    """Pictures of the last codes."""
    starts = generator_codes.initial_codes(generator, len(classes), config.seed)
    form = DGN(config.learning_rate, steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(generator, model, targets.logit(classes), starts, form, config.batch_size)
    return generator_codes.as_pixels(model, found)


def pictures(names, found, classes, config):
    """A row for each network, a column for each class."""
    caption = (
        "Images that excite each class's logit, found among those of one generator. Above, of the network whose codes "
        f"the generator was trained to turn into images, {generators.network_of(config.generator)}; below, of another "
        f"one, {config.explained}, which the generator has never seen. Under each, the explained network's own "
        "confidence in the class."
    )
    return prior_comparison.pictures(names, found, classes), caption, "Two rows of small pictures of the same classes."


def dots(measures, reference, config):
    """All measures, by network."""
    caption = (
        f"What the images reach: a dot for each group of starts, and their mean in red. The last three panels "
        f"are by {config.evaluation_network}, a third network that was trained by itself; dashed, natural images among "
        "themselves. The less of a distance, and the more of everything else, the better."
    )
    return prior_comparison.dots(measures, reference), caption, "Five panels of dots, a line for each of two networks."


def claims(
    found: Mapping[str, Mapping[str, np.ndarray]], measures: Mapping[str, Measured], classes: np.ndarray, config: Any
) -> list[Claim]:
    """That the other network is explained, too, and that its images are less natural."""
    sure = generator_codes.medians(generator_codes.confidence(found[OTHER]["logits"], classes), classes)
    told = len({config.evaluation_network, config.explained, generators.network_of(config.generator)}) == 3
    first = Claim(
        "A generator of one network's codes also serves to find preferred inputs of another.",
        "section on other networks (how much is asked is ours)",
        bool((sure >= generator_codes.HIGH).all()),
        f"the other network's median confidence is at least {100 * generator_codes.HIGH:g} % for "
        f"{(sure >= generator_codes.HIGH).sum()} of {len(sure)} classes, the least {100 * sure.min():.1f} %",
    )
    source = "section on other networks: quality might degrade (measures and tests are ours)"
    words = "Images are more natural of the network that the generator was trained for"
    return [
        first,
        *(
            prior_comparison.claim(f"{words}: {REALISM[name].label}.", source, name, OWN, measures, told)
            for name in REALISM
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of the codes of either network."""
    count = (len(config.classes) or generator_codes.class_count(config.generator)) * config.starts
    return [
        generator_codes.code_steps(config, "steps, its own network", targets.logit(0), count, config.steps),
        away(config, count),
    ]


def away(config: Any, count: int) -> dry_run.Step:
    """The steps of the other network's codes."""
    module, variables, code = generators.abstract(config.generator)
    net, weights, shape = models.abstract(config.explained)

    def slope(weights, variables, codes):
        generate = dgn_am.of_generator(Partial(module.apply, variables), shape[:2])
        return jax.grad(lambda codes: net.apply(weights, generate(codes))[:, 0].sum())(codes)

    some = jax.ShapeDtypeStruct((min(count, config.batch_size), *code), jnp.float32)
    return dry_run.Step(
        "steps, another network", slope, (weights, variables, some), -(-count // config.batch_size) * config.steps
    )


EXPERIMENT = runner.Experiment(
    name="nguyen2016/transfer",
    title="Another network explained through the same generator",
    figure="transfer to other networks",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "A generator is trained to undo the features of one network. Can it serve to explain another, which it has "
        "never seen? Codes are found here for the logits of two networks through the same generator, in the same way "
        "and from the same starts. Both networks took part in making the images, so a third one judges them: smaller, "
        "and trained by itself. The paper warns that quality might degrade."
    ),
    run=run,
    plan=plan,
    minutes=3,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
