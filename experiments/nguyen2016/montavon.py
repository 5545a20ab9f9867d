"""Prototypes of classes, by a penalty on pixels and by one on codes (Montavon et al. 2018)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from experiments.lib import dry_run, evaluation_networks, generator_codes, runner
from experiments.lib.measures import correlations
from experiments.lib.runner import Claim, Number
from experiments.lib.top_activations import as_input
from xai_jax import dgn_am, models, network, optimize, plots, targets
from xai_jax.data import datasets
from xai_jax.models import generators
from xai_jax.synthesis.dgn_am import DGN, Montavon

PIXELS, CODES, CENTRED, BOUNDED, MEANS = "pixels", "codes", "codes less their mean", "DGN", "class means"


def run(config: Any, run: runner.Run) -> None:
    """Finds prototypes by every form and penalty, and has them judged beside means of classes."""
    (generator, model), judge = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.tile(config.classes, config.starts)
    means = run.stage("means", partial(averages, generator, model, config))
    found, judged = {}, {}
    for name, penalty in run.progress(jobs(config), "forms"):
        stage = f"{name}-{penalty:g}".replace(" ", "-")
        made = partial(prototypes, generator, model, name, penalty, means, classes, config)
        found[name, penalty] = run.stage(stage, made)
        judging = partial(compared, judge, model, found[name, penalty]["images"], means["images"], classes)
        judged[name, penalty] = run.stage(f"{stage}-judged", judging)
    run.figure("prototypes", *pictures(model, found, config))
    run.figure("measures", *curves(found, judged, config))
    report(run, found, judged, config)


def jobs(config: Any) -> list[tuple[str, float]]:
    """Forms with each of their penalties."""
    sweeps = [(PIXELS, penalty) for penalty in config.pixel_penalties] + [(CODES, p) for p in config.code_penalties]
    return [*sweeps, (CENTRED, config.penalty), (BOUNDED, 0.0), (MEANS, 0.0)]


def averages(generator, model, config):
    """Means of images: (starts * K, H, W, C) of other images of the class for each start; and the mean code of all."""
    data, parts = datasets.load(config.data, config.means_from), []
    for numbers in generator_codes.first_of_each_class(data, config.classes, config.starts * config.averaged):
        parts.append(np.stack([as_input(model, data[i][0]) for i in numbers]))
    x = np.stack(parts).reshape(len(parts), config.starts, config.averaged, *parts[0].shape[1:])
    some = x[:, 0].reshape(-1, *x.shape[3:])
    encoded = [network.call(generator.encode, some[n : n + 100]) for n in range(0, len(some), 100)]
    images = x.mean(2).swapaxes(0, 1).reshape(-1, *x.shape[3:])
    return {"images": generator_codes.quantised(model, images), "code": jnp.concatenate(encoded).mean(0)}


def prototypes(generator, model, name, penalty, means, classes, config):
    """Pictures (N, H, W, C) of the classes (N,), and the network's confidence in these."""
    if name == MEANS:
        found = {"images": means["images"], "logits": network.call(model.net, means["images"])}
    else:
        made, start, target, form = problem(generator, model, name, penalty, means["code"], classes, config)
        found = generator_codes.maximise(made, model, target, start, form, config.batch_size)
    return {"images": found["images"], "confidence": generator_codes.confidence(found["logits"], classes)}


def problem(generator, model, name, penalty, mean, classes, config):
    """What each form maximises from where; in pixels, the generator is the identity."""
    start = generator_codes.initial_codes(generator, len(classes), config.seed)
    if name == BOUNDED:
        return generator, start, targets.logit(classes), DGN(config.learning_rate, steps=config.steps)
    form = Montavon(config.pixel_rate if name == PIXELS else config.code_rate, config.steps, penalty)
    if name == PIXELS:
        black, white = generator_codes.input_range(model)
        noise = jax.random.uniform(jax.random.key(config.seed), (len(classes), *models.abstract(generator.network)[2]))
        generator = generator._replace(generate=dgn_am.clip_images(Partial(optimize.identity), black, white))
        start = black + (white - black) * noise
    if name == CENTRED:
        generator = generator._replace(generate=Partial(around, generator.generate, jnp.asarray(mean)))
    return generator, start, targets.log_probability(classes), form


def around(generate, mean, z):
    """Images of codes that are given less their mean."""
    return generate(mean + z)


def compared(judge, model, images, means, classes):
    """What the judge sees in pictures, and their correlation with the mean images of their classes."""
    return evaluation_networks.evaluate(judge, model.to_pixels(images), classes) | {
        "alike": correlations(means, images)
    }


def label(name: str, penalty: float) -> str:
    return f"{name}, {penalty:g}" if name in (PIXELS, CODES, CENTRED) else name


def pictures(model, found, config):
    """A row for each form and penalty, a column for each class."""
    count = min(len(config.classes), config.shown)
    panels = [list(model.to_pixels(each["images"][:count]) / 255) for each in found.values()]
    names = [model.classes[k] for k in config.classes[:count]]
    fig, _ = plots.grid(panels, names, [label(*job) for job in found], 0.85)
    caption = (
        "Prototypes of classes: the picture that the network gives the largest probability, less a penalty (its weight "
        "is the number) on the squared length of its pixels, or of its code, from which the mean code may be taken "
        "off. Then by DGN's steps within bounds, and last the plain mean of images of the class."
    )
    return fig, caption, "Rows of pictures of the same classes: noise in the upper rows, things in the lower ones."


def curves(found, judged, config):
    """Measures over penalties, in pixels and in codes, and those of DGN and of class means as lines."""
    figure, rest = Figure(figsize=(12, 2.9), layout="constrained"), ((BOUNDED, "tab:green"), (MEANS, "0.4"))
    tables = {
        "confidence of the network": {job: each["confidence"].mean() for job, each in found.items()},
        "share on which the judge agrees": {job: each["agrees"].mean() for job, each in judged.items()},
        "distance to the nearest image": {job: each["distance"].mean() for job, each in judged.items()},
        "Frechet distance": {job: float(each["frechet"]) for job, each in judged.items()},
    }
    for axis, (title, values) in zip(figure.subplots(1, 4), tables.items(), strict=True):
        for name, colour in ((PIXELS, "tab:red"), (CODES, "tab:blue")):
            each = {penalty: value for (form, penalty), value in values.items() if form == name}
            axis.plot([f"{penalty:g}" for penalty in each], list(each.values()), "o-", c=colour, label=f"in {name}")
        for name, colour in rest:
            axis.axhline(values[name, 0.0], c=colour, lw=1, ls="--", label=name)
        axis.set_xlabel("penalty", fontsize=8)
        axis.set_ylabel(title, fontsize=9)
        axis.set_ylim(0, None)
        axis.tick_params(labelsize=7.5)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=7)
    caption = (
        "What the penalty on pixels and that on codes do to prototypes, by means over classes and starts; DGN and the "
        "mean images of classes stand beside. From the left: larger, larger, smaller and smaller is better."
    )
    return figure, caption, "Four panels of two curves over the penalty, with two dashed lines."


def measured(judged: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Agreement, nearness and likeness in distribution, each the larger the more natural."""
    return float(judged["agrees"].mean()), -float(judged["distance"].mean()), -float(judged["frechet"])


def best(judged, name):
    """The three measures of a form, each at the penalty that suits it best."""
    return tuple(map(max, zip(*(measured(each) for (form, _), each in judged.items() if form == name), strict=True)))


def rivals(claim, source, first, second, judged, known):
    """A claim that one form is at least as natural as another by all three measures."""
    ours, theirs = best(judged, first), best(judged, second)
    texts = [f"{a:.2f} and {b:.2f}" for a, b in ((ours[0], theirs[0]), (-ours[1], -theirs[1]), (-ours[2], -theirs[2]))]
    return Claim(
        claim,
        source,
        all(a >= b for a, b in zip(ours, theirs, strict=True)) if known else None,
        f"{first} against {second}, each at its best penalty: another network agrees on {texts[0]} of the pictures; "
        f"distance to the nearest natural image {texts[1]}; Frechet distance {texts[2]}",
    )


def report(run, found, judged, config):
    """All measures, and claims about codes against pixels, bounds and means."""
    for job, each in found.items():
        run.numbers += [
            Number.mean(f"confidence of the explained network, {label(*job)}", each["confidence"]),
            Number.mean(f"correlation with the mean image of the class, {label(*job)}", judged[job]["alike"]),
            *evaluation_networks.numbers(judged[job], f", {label(*job)}"),
        ]
    known, classes = generator_codes.is_independent(config), np.tile(config.classes, config.starts)
    own, mean = (
        generator_codes.medians(found[job]["confidence"], classes) for job in ((CODES, config.penalty), (MEANS, 0.0))
    )
    surer, test = generator_codes.more(own, mean)
    run.claims += [
        rivals(
            "Prototypes found through a generator look more natural than those found in pixels.",
            "sections 3.2 and 3.3", CODES, PIXELS, judged, known,
        ),
        Claim(
            "A prototype is more than the mean of its class: the network is surer of it.",
            "section 3 (how this is measured is ours)",
            surer,
            f"median confidence {own.mean():.3f} at a penalty of {config.penalty:g}, {mean.mean():.3f} of class means; "
            f"{test}",
        ),
        rivals(
            "Bounds on codes, as DGN has them, make prototypes more natural than a penalty on their length.",
            "ours", BOUNDED, CODES, judged, known,
        ),
    ]  # fmt: skip


def plan(config: Any) -> list[dry_run.Step]:
    """Steps of codes by all forms, and those of pixels."""
    count, target = len(config.classes) * config.starts, targets.log_probability(0)
    net, weights, shape = models.abstract(generators.network_of(config.generator))
    x = jax.ShapeDtypeStruct((min(count, config.batch_size), *shape), jnp.float32)

    def slope(weights, x):
        return jax.grad(lambda x: targets.evaluate(Partial(net.apply, weights), x, target)[0].sum())(x)

    calls = -(-count // config.batch_size) * config.steps * len(config.pixel_penalties)
    forms = len(jobs(config)) - len(config.pixel_penalties) - 1
    return [
        generator_codes.code_steps(config, "steps of codes", target, count, config.steps * forms),
        dry_run.Step("steps of pixels", slope, (weights, x), calls),
    ]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/montavon",
    title="Prototypes in pixel space and in code space",
    figure="prototypes of classes",
    paper="Montavon, Samek and Müller 2018, Methods for Interpreting and Understanding Deep Neural Networks, Digital "
    "Signal Processing; Nguyen et al. 2016, arXiv 1605.09304",
    summary=(
        "A prototype of a class is the image of which the network is surest, less a penalty for unlikely images. The "
        "simplest penalty is on the squared length of the image. A better one is on the code that a generator makes "
        "the image from. Both are tried with several weights, and DGN's way stands beside, which keeps codes within "
        "the range of real images' codes. Are prototypes just means of the class? Those are judged as well. Images "
        "are cut to what pictures can show while they are found. Of the three measures the distance to the nearest "
        "image is the weakest: it compares means over a picture's places, by which even noise can come near."
    ),
    run=run,
    plan=plan,
    minutes=2,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
