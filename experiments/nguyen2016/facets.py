"""Different facets of a class, from the codes of different images of it (Nguyen et al. 2016)."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.lib import dry_run, evaluation_networks, generator_codes, runner
from experiments.lib.measures import correlations, relative_distances
from experiments.lib.runner import Claim, Number
from experiments.lib.top_activations import as_input
from xai_jax import dgn_am, network, plots, targets
from xai_jax.data import datasets
from xai_jax.synthesis.dgn_am import DGN

KINDS = {"noise": "noise", "image": "one image", "average": "several images"}  # where codes start, as figures call it


def run(config: Any, run: runner.Run) -> None:
    """Finds codes from noise, from the codes of images and from means of these, and compares what they become."""
    (generator, model), judge = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.repeat(config.classes, config.facets)
    begun = run.stage("starts", partial(starts, generator, model, config))
    found, judged = {}, {}
    for kind in run.progress(KINDS, "starts"):
        found[kind] = run.stage(kind, partial(preferred, generator, model, begun, kind, classes, config))
        judged[kind] = run.stage(f"{kind}-judged", partial(compared, judge, model, begun, found[kind], classes))
    run.figure("facets", *pictures(model, begun, found, config))
    run.figure("measures", *measures(found, judged))
    report(run, found, judged, classes, config)


def starts(generator, model, config):
    """For each class, codes (facets, ...) of images that differ, means of codes of several like each, and the images.

    The images are those nearest to the centres of clusters of the class's codes.
    """
    data, parts = datasets.load(config.data, config.starts_from), []
    for images in generator_codes.first_of_each_class(data, config.classes, config.pool):
        x = np.stack([as_input(model, data[i][0]) for i in images])
        encoded = jnp.concatenate([network.call(generator.encode, x[n : n + 100]) for n in range(0, len(x), 100)])
        (one, chosen), (average, _) = (
            dgn_am.facets(encoded, config.facets, many, seed=config.seed) for many in (1, config.averaged)
        )
        parts.append((one, average, x[chosen[:, 0]]))
    return dict(zip(("image", "average", "shown"), map(np.concatenate, zip(*parts, strict=True)), strict=True))


def preferred(generator, model, begun, kind, classes, config):
    """Pictures, confidence, and what the generator makes of the codes at the start."""
    if kind == "noise":
        at = generator_codes.initial_codes(generator, len(classes), config.seed)
        form = DGN(config.learning_rate, steps=config.steps)
    else:
        at, form = jnp.asarray(begun[kind]), DGN(config.careful_rate, steps=config.careful_steps)
    found = generator_codes.maximise(generator, model, targets.logit(classes), at, form, config.batch_size)
    before = generator_codes.quantised(model, network.call(generator.generate, at))
    return {
        "images": found["images"],
        "confidence": generator_codes.confidence(found["logits"], classes),
        "before": before,
        "confidence before": generator_codes.confidence(network.call(model.net, before), classes),
    }


def compared(judge, model, begun, found, classes):
    """What the judge sees, and how pictures of a class differ from one another and from the images they started from.

    "spread": for each class, distances between its pictures, as shares of those between the images, in the judge's
    features. "kept": whether the own image is nearer to a picture than the others of the class. Both also "before" the
    steps. "alike": correlation with the own image.
    """
    represent, groups = network.features(judge.model.net, judge.layer), [classes == k for k in dict.fromkeys(classes)]
    made, before, real = (
        evaluation_networks.features(represent, judge.model.preprocess(list(model.to_pixels(x))))
        for x in (found["images"], found["before"], begun["shown"])
    )
    measured = {"alike": correlations(begun["shown"], found["images"])}
    for when, each in (("", made), (" before", before)):
        measured[f"spread{when}"] = np.concatenate([relative_distances(each[g][None], real[g]) for g in groups])
        nearest = [np.linalg.norm(each[g][:, None] - real[g], axis=-1).argmin(1) for g in groups]
        measured[f"kept{when}"] = np.concatenate([row == np.arange(len(row)) for row in nearest])
    return evaluation_networks.evaluate(judge, model.to_pixels(found["images"]), classes) | measured


def pictures(model, begun, found, config):
    """A column for each facet of the first classes: an image, and what comes of its code, of means and of noise."""
    count = config.facets * min(config.shown, len(config.classes))
    rows = {
        "an image": begun["shown"],
        "its code's\nimage": found["image"]["before"],
        "excited\nfrom it": found["image"]["images"],
        f"mean code\nof {config.averaged}": found["average"]["before"],
        "excited\nfrom it ": found["average"]["images"],
        "excited\nfrom noise": found["noise"]["images"],
    }
    names = [model.classes[k] for k in config.classes]
    titles = [names[n // config.facets] if n % config.facets == 0 else "" for n in range(count)]
    fig, _ = plots.grid([list(model.to_pixels(x[:count]) / 255) for x in rows.values()], titles, list(rows), 0.85)
    caption = (
        f"First row: {config.facets} images of each class, each of another facet. Second: what the generator makes of "
        "their codes. Third: the same after a few steps that excite the class. Fourth and fifth: the same, starting "
        f"from the mean code of the {config.averaged} images most like each. Last: after all steps from noise."
    )
    return fig, caption, "Columns of an image and of pictures that keep some of it, and a row of pictures that do not."


def measures(found, judged):
    """Spread of the pictures of a class, their likeness to the image they started from, and confidence."""
    figure, names = Figure(figsize=(9.5, 2.8), layout="constrained"), list(KINDS.values())
    tables = {
        "distance between pictures of a class,\nthat of real images = 1": [judged[k]["spread"] for k in KINDS],
        "correlation with the image": [judged[k]["alike"] for k in KINDS],
        "confidence in the class": [found[k]["confidence"] for k in KINDS],
    }
    for axis, (label, values) in zip(figure.subplots(1, 3), tables.items(), strict=True):
        axis.boxplot(values, tick_labels=names, widths=0.5)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_ylim(min(0, *(v.min() for v in values)), None)
        axis.spines[["top", "right"]].set_visible(False)
    caption = (
        "By where codes start. Left, over classes, how much their pictures differ from one another to another network. "
        "Middle, how like pictures are to the image of their facet; those from noise have no image of their own and "
        "show what chance gives. Right, how sure the explained network is of them."
    )
    return figure, caption, "Boxes for starts from noise, from one image and from several, in three panels."


def report(run, found, judged, classes, config):
    """Numbers by start, and claims about starts from images."""
    for kind, name in KINDS.items():
        each, spread = judged[kind], "distance between pictures of a class, that of real images = 1"
        run.numbers += [
            Number.mean(f"{spread}, at the start, from {name}", each["spread before"]),
            Number.mean(f"{spread}, from {name}", each["spread"]),
            Number.mean(
                f"share of pictures whose own image is nearest, at the start, from {name}", each["kept before"]
            ),
            Number.mean(f"share of pictures whose own image is nearest, from {name}", each["kept"]),
            Number.mean(f"correlation with the image, from {name}", each["alike"]),
            Number.mean(f"confidence at the start, from {name}", found[kind]["confidence before"]),
            Number.mean(f"confidence of the explained network, from {name}", found[kind]["confidence"]),
            *evaluation_networks.numbers(each, f", from {name}"),
        ]
    wider, test = generator_codes.more(judged["image"]["spread"], judged["noise"]["spread"])
    kept, count = generator_codes.mostly(judged["image"]["kept"])
    sure, agree = (
        generator_codes.medians(v, classes) for v in (found["image"]["confidence"], judged["image"]["agrees"])
    )
    known = generator_codes.is_independent(config)
    run.claims += [
        Claim(
            "Starts from different images of a class give pictures that differ more than those from noise do.",
            "section 3 (how this is measured is ours)",
            wider if known else None,
            f"distances between pictures of a class are {judged['image']['spread'].mean():.2f} of those between real "
            f"images, and {judged['noise']['spread'].mean():.2f} from noise; {test}",
        ),
        Claim(
            "A picture keeps the facet of the image it started from.",
            "section 3 (how this is measured is ours)",
            kept if known else None,
            f"its own image is nearer to it than {config.facets - 1} others of the class for {count}",
        ),
        Claim(
            "A few steps from the code of an image are enough to make the network sure, and the class stays clear.",
            "the papers' code (what is asked for is ours)",
            bool((sure >= generator_codes.HIGH).all() and (agree > 0.5).sum() >= 0.9 * len(agree)) if known else None,
            f"the median confidence after {config.careful_steps} steps is at least {100 * generator_codes.HIGH:g} % "
            f"for {(sure >= generator_codes.HIGH).sum()} of {len(sure)} classes, and another network agrees on most "
            f"pictures for {(agree > 0.5).sum()}; all, and nine in ten, are asked for",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """Steps from noise, and those from codes of images and from their means."""
    count, target = len(config.classes) * config.facets, targets.logit(0)
    return [
        generator_codes.code_steps(config, "steps from noise", target, count, config.steps),
        generator_codes.code_steps(config, "steps from codes of images", target, count, 2 * config.careful_steps),
    ]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/facets",
    title="The facets of a class",
    figure="preferred inputs that start from real images",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "A class has many faces: bags with a handle and bags without. Codes that start from noise find one or a few of "
        "them. Here codes start from images instead: a class's codes are put into clusters, and of each the image in "
        "the middle gives a start, or the mean of several images' codes does. A few small steps then excite the class "
        "more. Do the results differ, do they keep what they started from, and are they as exciting?"
    ),
    run=run,
    plan=plan,
    minutes=0.5,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
