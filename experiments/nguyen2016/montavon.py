"""Prototypes of classes, with a penalty on pixels and with one on codes (Montavon et al. 2018)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from configs.nguyen2016.montavon import Config
from experiments.lib import dry_run, evaluation_networks, figures, generator_codes, papers, statistics
from experiments.lib.measures import correlations
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.lib.top_activations import as_input
from experiments.lib.workspace import exact
from xai_jax import dgn_am, models, network, optimize, plots, targets
from xai_jax.data import datasets
from xai_jax.models import generators
from xai_jax.synthesis.dgn_am import DGN, Montavon

PIXELS, CODES, CENTRED, BOUNDED, MEANS = "pixels", "codes", "codes less their mean", "DGN", "class means"


def run(config: Config, work: Workspace) -> Report:
    """Finds prototypes by every form and penalty, and evaluates them and the means of classes."""
    (generator, model), evaluator = generator_codes.load(config), evaluation_networks.load(config)
    classes = np.tile(config.classes, config.starts)
    means = work.stage("means", partial(class_means, generator, model, config))
    found, evaluated = {}, {}
    for name, penalty in work.progress(jobs(config), "forms"):
        stage, job = f"{name}-{exact(penalty)}".replace(" ", "-"), (name, penalty)
        find = partial(prototypes, generator, model, name, penalty, means, classes, config)
        found[job] = work.stage(stage, find)
        compare = partial(compared, evaluator, model, found[job]["images"], means["images"], classes)
        evaluated[job] = work.stage(f"{stage}-evaluated", compare)
    panels = [prototypes_panel(model, found, config), measures_panel(found, evaluated)]
    return Report(*findings(found, evaluated, config), panels)


def jobs(config: Config) -> list[tuple[str, float]]:
    """Forms with each of their penalties."""
    sweeps = [(PIXELS, penalty) for penalty in config.pixel_penalties] + [(CODES, p) for p in config.code_penalties]
    return [*sweeps, (CENTRED, config.penalty), (BOUNDED, 0.0), (MEANS, 0.0)]


def class_means(generator, model, config):
    """Means of images: (starts * K, H, W, C) of other images of the class for each start; and the mean code of all."""
    data, parts = datasets.numbered(datasets.load(config.data, config.means_from), model.classes), []
    for numbers in generator_codes.first_of_each_class(data, config.classes, config.starts * config.averaged):
        parts.append(np.stack([as_input(model, data[i][0]) for i in numbers]))
    x = np.stack(parts).reshape(len(parts), config.starts, config.averaged, *parts[0].shape[1:])
    some = x[:, 0].reshape(-1, *x.shape[3:])
    encoded = [network.call(generator.encode, some[n : n + 100]) for n in range(0, len(some), 100)]
    images = x.mean(2).swapaxes(0, 1).reshape(-1, *x.shape[3:])
    return {"images": generator_codes.quantised(model, images), "code": jnp.concatenate(encoded).mean(0)}


def prototypes(generator, model, name, penalty, means, classes, config):
    """Images (N, H, W, C) of the classes (N,), and the network's confidence in these."""
    if name == MEANS:
        found = {"images": means["images"], "logits": network.call(model.net, means["images"])}
    else:
        form_generator, start, target, form = problem(generator, model, name, penalty, means["code"], classes, config)
        found = generator_codes.maximise(form_generator, model, target, start, form, config.batch_size)
    return {"images": found["images"], "confidence": generator_codes.confidence(found["logits"], classes)}


def problem(generator, model, name, penalty, mean, classes, config):
    """Generator, initial codes, target and form of each kind of prototype; in pixels, the generator is the identity."""
    start = generator_codes.initial_codes(generator, len(classes), config.seed)
    if name == BOUNDED:
        form = DGN(config.learning_rate, steps=config.steps, decay_factor=config.keep)
        return generator, start, targets.logit(classes), form
    learning_rate = config.pixel_learning_rate if name == PIXELS else config.code_learning_rate
    form = Montavon(learning_rate, config.steps, penalty)
    if name == PIXELS:
        black, white = generator_codes.input_range(model)
        noise = jax.random.uniform(jax.random.key(config.seed), (len(classes), *models.abstract(generator.network)[2]))
        generator = generator._replace(generate=dgn_am.clip_images(Partial(optimize.identity), black, white))
        start = black + (white - black) * noise
    if name == CENTRED:
        generator = generator._replace(generate=Partial(shifted, generator.generate, jnp.asarray(mean)))
    return generator, start, targets.log_probability(classes), form


def shifted(generate, mean, z):
    """Images of mean-subtracted codes."""
    return generate(mean + z)


def compared(evaluator, model, images, means, classes):
    """Realism of images, and their correlation with the mean images of their classes."""
    realism = evaluation_networks.evaluate(evaluator, model.to_pixels(images), classes)
    return realism | {"correlation": correlations(means, images)}


def label(name: str, penalty: float) -> str:
    """The name of a form and penalty in figures."""
    return f"{name}, {penalty:g}" if name in (PIXELS, CODES, CENTRED) else name


def prototypes_panel(model, found, config):
    """A row for each form and penalty, a column for each class."""
    count = min(len(config.classes), config.shown)
    panels = [list(model.to_pixels(each["images"][:count]) / 255) for each in found.values()]
    names = [model.classes[k] for k in config.classes[:count]]
    figure, _ = plots.grid(panels, names, [label(*job) for job in found], 0.85)
    caption = (
        "Prototypes of classes: the image that maximises the log-probability less a penalty (its weight is the number) "
        "on the squared length of its pixels, or of its code, from which the mean code may be subtracted. Then by "
        "DGN's steps within bounds, and last the mean of images of the class."
    )
    alt = "Rows of images of the same classes: noise in the upper rows, objects in the lower ones."
    return Panel("prototypes", figure, caption, alt)


def measures_panel(found, evaluated):
    """Measures over penalties, in pixels and in codes, and those of DGN and of class means as lines."""
    tables = {
        "confidence of the network": {job: each["confidence"].mean() for job, each in found.items()},
        "agreement of another network": {job: each["agrees"].mean() for job, each in evaluated.items()},
        "distance to the nearest image": {job: each["distance"].mean() for job, each in evaluated.items()},
        "Frechet distance": {job: float(each["frechet"]) for job, each in evaluated.items()},
    }
    figure, axes = figures.axes(1, 4, (3, 2.9))
    for axis, (title, values) in zip(axes[0], tables.items(), strict=True):
        for name, colour in ((PIXELS, "tab:red"), (CODES, "tab:blue")):
            each = {penalty: value for (form, penalty), value in values.items() if form == name}
            axis.plot([f"{penalty:g}" for penalty in each], list(each.values()), "o-", c=colour, label=f"in {name}")
        for name, colour in ((BOUNDED, "tab:green"), (MEANS, "0.4")):
            axis.axhline(values[name, 0.0], c=colour, lw=1, ls="--", label=name)
        figures.label(axis, x="penalty", y=title)
        axis.set_ylim(0, None)
    axes[0, 0].legend(fontsize=7)
    caption = (
        "The effect of the penalty on pixels and of that on codes, by means over classes and starts, beside DGN and "
        "the mean images of classes. From the left: higher, higher, lower and lower is better. Distances are small "
        "also for images that are almost grey, where natural images have a grey background."
    )
    return Panel("measures", figure, caption, "Four panels of two curves over the penalty, with two dashed lines.")


def best(evaluated, name, key, classes):
    """The means over starts of a measure, one for each class, at the penalty whose mean is highest."""
    tables = [np.asarray(each[key], float) for (form, _), each in evaluated.items() if form == name]
    highest = max(tables, key=np.mean)
    return np.array([highest[classes == k].mean() for k in np.unique(classes)])


def realism_claim(text, source, first, second, evaluated, config):
    """A claim that one form is more realistic than another by agreement and distance, each at its best penalty."""
    classes, independent = np.tile(config.classes, config.starts), generator_codes.is_independent(config)
    near = {job: each | {"nearness": -np.asarray(each["distance"])} for job, each in evaluated.items()}
    pairs = {key: [best(near, name, key, classes) for name in (first, second)] for key in ("agrees", "nearness")}
    frechet = [
        min(float(each["frechet"]) for (form, _), each in evaluated.items() if form == n) for n in (first, second)
    ]
    agrees, distance = pairs["agrees"], [-values for values in pairs["nearness"]]
    verdict = statistics.all_of([statistics.wilcoxon(*values) for values in pairs.values()])
    return Claim(
        text,
        source,
        statistics.where(independent, verdict, generator_codes.DEPENDENT),
        f"{first} against {second}, at the penalty that is best for each measure: another network agrees on "
        f"{agrees[0].mean():.2f} and {agrees[1].mean():.2f} of the images; distance to the nearest natural image "
        f"{distance[0].mean():.2f} and {distance[1].mean():.2f}; Frechet distance, not tested, {frechet[0]:.2f} and "
        f"{frechet[1]:.2f}",
    )


def findings(found, evaluated, config):
    """All measures, and claims about codes against pixels, bounds and means."""
    numbers = []
    for job, each in found.items():
        numbers += [
            Number.mean(f"confidence of the explained network, {label(*job)}", each["confidence"]),
            Number.mean(f"correlation with the mean image of the class, {label(*job)}", evaluated[job]["correlation"]),
            *evaluation_networks.numbers(evaluated[job], f", {label(*job)}"),
        ]
    return numbers, [
        realism_claim(
            "Prototypes found in a generator's codes look more realistic than those found in pixels.",
            "sections 3.2 and 3.3", CODES, PIXELS, evaluated, config,
        ),
        means_claim(found, config),
        realism_claim(
            "Bounds on codes, as in DGN, make prototypes more realistic than a penalty on their length.",
            "ours", BOUNDED, CODES, evaluated, config,
        ),
    ]  # fmt: skip


def means_claim(found, config):
    """That the network is more confident in prototypes than in the means of classes."""
    classes = np.tile(config.classes, config.starts)
    own, mean = (
        generator_codes.medians(found[job]["confidence"], classes) for job in ((CODES, config.penalty), (MEANS, 0.0))
    )
    return Claim(
        "A prototype is more than the mean of its class: the network's confidence in it is higher.",
        "section 3 (the measure is ours)",
        statistics.wilcoxon(own, mean),
        f"confidence, median of each class, mean over classes: {own.mean():.3f} in codes with a penalty of "
        f"{config.penalty:g}, {mean.mean():.3f} in means of classes",
    )


def plan(config: Config) -> list[dry_run.Step]:
    """Steps of codes by all forms, and those of pixels."""
    count, target = len(config.classes) * config.starts, targets.log_probability(0)
    pixel_steps = config.steps * len(config.pixel_penalties)
    code_steps = config.steps * (len(jobs(config)) - len(config.pixel_penalties) - 1)
    network_name, batch_size = generators.network_of(config.generator), min(count, config.batch_size)
    calls = dry_run.calls(count, config.batch_size) * pixel_steps
    return [
        generator_codes.code_steps(config, "steps of codes", target, count, code_steps),
        dry_run.gradient(network_name, batch_size, calls, target, "steps of pixels"),
    ]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/montavon",
    title="Prototypes in pixel space and in code space",
    figure="prototypes of classes",
    paper=f"{papers.MONTAVON2018}; Nguyen et al. 2016, arXiv 1605.09304",
    summary=(
        "A prototype of a class maximises its log-probability less a penalty for improbable images: on the squared "
        "length of the image, or on that of a generator's code. Both are tried with several weights, beside DGN, which "
        "bounds codes by those of natural images, and beside means of the class."
    ),
    run=run,
    plan=plan,
    minutes=4,
)

if __name__ == "__main__":
    main(EXPERIMENT)
