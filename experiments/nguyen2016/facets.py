"""Different facets of a class, from the codes of different images of it (Nguyen et al. 2016)."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from configs.nguyen2016.facets import Config
from experiments.lib import dry_run, evaluation_networks, figures, generator_codes, papers, statistics
from experiments.lib.generator_codes import HIGH
from experiments.lib.measures import correlations, relative_distances
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import as_input
from xai_jax import dgn_am, network, plots, targets
from xai_jax.data import datasets
from xai_jax.synthesis.dgn_am import DGN

KINDS = {"noise": "noise", "image": "one image", "average": "several images"}  # initial codes, as figures call them


def run(config: Config, work: Workspace) -> Report:
    """Finds codes from noise, from the codes of images and from means of these, and compares their images."""
    (generator, model), evaluator = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.repeat(config.classes, config.facets)
    initial = work.stage("starts", partial(initial_codes, generator, model, config))
    found, evaluated = {}, {}
    for kind in work.progress(KINDS, "starts"):
        found[kind] = work.stage(kind, partial(preferred, generator, model, initial, kind, classes, config))
        evaluate = partial(compared, evaluator, model, initial, found[kind], classes)
        evaluated[kind] = work.stage(f"{kind}-evaluated", evaluate)
    panels = [facets_panel(model, initial, found, config), measures_panel(found, evaluated)]
    return Report(numbers(found, evaluated), claims(found, evaluated, classes, config), panels)


def initial_codes(generator, model, config):
    """For each class, codes (facets, ...) of images that differ, means of codes of several similar to each, and images.

    The images are those nearest to the centres of clusters of the class's codes.
    """
    data, parts = datasets.numbered(datasets.load(config.data, config.starts_from), model.classes), []
    for images in generator_codes.first_of_each_class(data, config.classes, config.pool):
        x = np.stack([as_input(model, data[i][0]) for i in images])
        encoded = jnp.concatenate([network.call(generator.encode, x[n : n + 100]) for n in range(0, len(x), 100)])
        (single, chosen), (average, _) = (
            dgn_am.facets(encoded, config.facets, count, seed=config.seed) for count in (1, config.averaged)
        )
        parts.append((single, average, x[chosen[:, 0]]))
    return dict(zip(("image", "average", "shown"), map(np.concatenate, zip(*parts, strict=True)), strict=True))


def preferred(generator, model, initial, kind, classes, config):
    """Images of the last codes and of the initial ones ("before"), and the network's confidence in both."""
    if kind == "noise":
        at = generator_codes.initial_codes(generator, len(classes), config.seed)
        form = DGN(config.learning_rate, steps=config.steps, decay_factor=config.keep)
    else:
        at, form = jnp.asarray(initial[kind]), DGN(config.careful_learning_rate, steps=config.careful_steps)
    found = generator_codes.maximise(generator, model, targets.logit(classes), at, form, config.batch_size)
    before = generator_codes.quantised(model, network.call(generator.generate, at))
    return {
        "images": found["images"],
        "confidence": generator_codes.confidence(found["logits"], classes),
        "before": before,
        "confidence before": generator_codes.confidence(network.call(model.net, before), classes),
    }


def compared(evaluator, model, initial, found, classes):
    """Realism of the images, and how those of a class differ from one another and from the images they started from.

    "spread": for each class, distances between its images, as shares of those between the natural images, in the
    features of the evaluation network. "nearest": whether the image's own natural image is nearer than the others of
    the class. Both also "before" the steps. "correlation": with the own natural image.
    """
    represent = network.features(evaluator.model.net, evaluator.layer)
    groups = [classes == k for k in dict.fromkeys(classes)]
    last, before, natural = (
        evaluation_networks.features(represent, evaluator.model.preprocess(list(model.to_pixels(x))))
        for x in (found["images"], found["before"], initial["shown"])
    )
    measured = {"correlation": correlations(initial["shown"], found["images"])}
    for when, each in (("", last), (" before", before)):
        measured[f"spread{when}"] = np.concatenate([relative_distances(each[g][None], natural[g]) for g in groups])
        nearest = [np.linalg.norm(each[g][:, None] - natural[g], axis=-1).argmin(1) for g in groups]
        measured[f"nearest{when}"] = np.concatenate([row == np.arange(len(row)) for row in nearest])
    return evaluation_networks.evaluate(evaluator, model.to_pixels(found["images"]), classes) | measured


def facets_panel(model, initial, found, config):
    """A column for each facet of some classes: a natural image, and images from its code, mean codes and noise."""
    count = config.facets * min(config.shown, len(config.classes))
    rows = {
        "natural image": initial["shown"],
        "image of\nits code": found["image"]["before"],
        "optimised\nfrom it": found["image"]["images"],
        f"mean code\nof {config.averaged}": found["average"]["before"],
        "optimised\nfrom it ": found["average"]["images"],
        "optimised\nfrom noise": found["noise"]["images"],
    }
    names = [model.classes[k] for k in config.classes]
    titles = [names[n // config.facets] if n % config.facets == 0 else "" for n in range(count)]
    figure, _ = plots.grid([list(model.to_pixels(x[:count]) / 255) for x in rows.values()], titles, list(rows), 0.85)
    caption = (
        f"First row: {config.facets} natural images of each class, each of another facet. Second: the generator's "
        "images of their codes. Third: the same after a few steps that increase the class's logit. Fourth and fifth: "
        f"the same from the mean code of the {config.averaged} images most similar to each. Last: from noise."
    )
    alt = "Columns of a natural image and of images that preserve some of it, and a row of images that do not."
    return Panel("facets", figure, caption, alt)


def measures_panel(found, evaluated):
    """Spread of the images of a class, their similarity to the image they started from, and confidence."""
    figure, axes = figures.axes(1, 3, (3.2, 2.8))
    tables = {
        "distance between images of a class,\nthat of natural images = 1": [evaluated[k]["spread"] for k in KINDS],
        "correlation with the image": [evaluated[k]["correlation"] for k in KINDS],
        "confidence in the class": [found[k]["confidence"] for k in KINDS],
    }
    for axis, (label, values) in zip(axes[0], tables.items(), strict=True):
        figures.boxes(axis, dict(zip(KINDS.values(), values, strict=True)), label)
    caption = (
        "By initial codes. Left, over classes, how much images of a class differ from one another to another network. "
        "Middle, the correlation with the natural image of the facet; images from noise have no natural image of their "
        "own and show the chance level. Right, the explained network's confidence."
    )
    alt = "Boxes for codes from noise, from one image and from several, in three panels."
    return Panel("measures", figure, caption, alt)


def numbers(found, evaluated):
    """Spread, similarity, confidence and realism by initial codes."""
    names = {
        "spread before": "distance between images of a class, that of natural images = 1, at the start",
        "spread": "distance between images of a class, that of natural images = 1",
        "nearest before": "share of images whose own natural image is nearest, at the start",
        "nearest": "share of images whose own natural image is nearest",
        "correlation": "correlation with the natural image",
        "confidence before": "confidence at the start",
        "confidence": "confidence of the explained network",
    }
    table = {f"from {name}": evaluated[kind] | found[kind] for kind, name in KINDS.items()}
    realism = [evaluation_networks.numbers(evaluated[kind], f", from {name}") for kind, name in KINDS.items()]
    return [*means(table, names), *(number for each in realism for number in each)]


def claims(found, evaluated, classes, config):
    """Claims about codes that start from images."""
    image, noise = evaluated["image"], evaluated["noise"]
    confidence, agree = (
        generator_codes.medians(values, classes) for values in (found["image"]["confidence"], image["agrees"])
    )
    clear = statistics.all_of([statistics.binomial(confidence >= HIGH), statistics.binomial(agree > 0.5)])
    where = [generator_codes.is_independent(config), generator_codes.DEPENDENT]
    return [
        Claim(
            "Starts from different images of a class give images that differ more than those from noise.",
            "section 3 (the measure is ours)",
            statistics.where(where[0], statistics.wilcoxon(image["spread"], noise["spread"]), where[1]),
            f"distances between images of a class are {image['spread'].mean():.2f} of those between natural images, "
            f"and {noise['spread'].mean():.2f} from noise",
        ),
        Claim(
            "An image preserves the facet of the natural image it started from.",
            "section 3 (the measure is ours)",
            statistics.where(where[0], statistics.binomial(image["nearest"]), where[1]),
            f"images to which their own natural image is nearer than {config.facets - 1} others of the class",
        ),
        Claim(
            "A few steps from the code of an image suffice for high confidence, and the class stays recognisable.",
            "the papers' code (the criteria are ours)",
            statistics.where(where[0], clear, where[1]),
            f"classes with a median confidence of at least {100 * HIGH:g} % after {config.careful_steps} steps, and "
            "classes of which another network recognises most images",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """Steps from noise, and those from codes of images and from their means."""
    count, target = len(config.classes) * config.facets, targets.logit(0)
    return [
        generator_codes.code_steps(config, "steps from noise", target, count, config.steps),
        generator_codes.code_steps(config, "steps from codes of images", target, count, 2 * config.careful_steps),
    ]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/facets",
    title="The facets of a class",
    figure="preferred inputs that start from real images",
    paper=papers.NGUYEN2016,
    summary=(
        "A class has several facets: fruit are apples, bananas and more. Codes from noise find one or a few. Here "
        "codes start from natural images, one for each cluster of a class's codes, or from means of several, and a few "
        "small steps increase the class's logit. Do the images differ, and preserve what they started from?"
    ),
    run=run,
    plan=plan,
    minutes=1,
)

if __name__ == "__main__":
    main(EXPERIMENT)
