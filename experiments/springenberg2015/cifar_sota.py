"""All-CNN-C with and without augmentation, and the Large All-CNN, beside other methods.

Springenberg et al. 2015, Tables 4 and 5. The learning rate is chosen for each setting, by default in an earlier run.
The effect of augmentation is the difference of errors with and without it, seed by seed, with a 95 % confidence
interval by Student's t distribution.
"""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates

from configs.springenberg2015.cifar_sota import Config
from configs.training import Training
from experiments.lib import dry_run, figures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from experiments.springenberg2015 import cifar
from experiments.springenberg2015.cifar import Augment
from xai_jax.architectures.allcnn import AllCNN, LargeAllCNN
from xai_jax.data import augmentation

CANVAS = 126  # side of the Large All-CNN's input, unverified


class Setting(NamedTuple):
    """A part of Tables 4 and 5, and the paper's error of its network in %."""

    title: str
    data: str
    network: str
    error: float


SETTINGS = {
    "plain": Setting("CIFAR-10, without augmentation", "cifar10", "All-CNN-C", 9.08),
    "augmented": Setting("CIFAR-10, flips and shifts", "cifar10", "All-CNN-C", 7.25),
    "large": Setting("CIFAR-10, heavy augmentation", "cifar10", "Large All-CNN", 4.41),
    "fine": Setting("CIFAR-100", "cifar100", "All-CNN-C", 33.71),
}
# Errors in % that the paper prints for other methods.
OTHERS = {
    "plain": {"Maxout": 11.68, "Network in Network": 10.41, "Deeply Supervised": 9.69},
    "augmented": {
        "Maxout": 9.38, "DropConnect": 9.32, "dasNet": 9.22, "Network in Network": 8.81, "Deeply Supervised": 7.97
    },
    "large": {"Fractional Pooling, 1 test": 4.50, "Spatially Sparse CNN": 4.47, "Fractional Pooling, 100 tests": 3.47},
    "fine": {
        "CNN + tree prior": 36.85, "Network in Network": 35.68, "Deeply Supervised": 34.57, "Maxout": 34.54,
        "dasNet": 33.78, "Fractional Pooling, 1 test": 31.45, "Fractional Pooling, more tests": 26.39
    },
}  # fmt: skip


class Job(NamedTuple):
    """What is trained for a setting: a network, data, training, augmentation and the side of enlarged inputs."""

    module: nn.Module
    data: str
    training: Training
    augment: Augment | None = None
    canvas: int | None = None


def jobs(config: Config) -> dict[str, Job]:
    """The settings that a configuration trains networks for. CIFAR-100 is augmented like CIFAR-10, unverified."""
    small, large = config.all_cnn, config.large
    moving = functools.partial(flip_and_shift, most=config.shift)
    distorting = functools.partial(distort, turn=config.turn, zoom=config.zoom, slide=config.slide)
    network = functools.partial(AllCNN, "C", "allcnn", small.width, dropout=small.dropout)
    found = {"plain": Job(network(), config.data, small), "augmented": Job(network(), config.data, small, moving)}
    if large.seeds:
        found["large"] = Job(LargeAllCNN(large.width), config.data, large, distorting, CANVAS)
    if config.fine:
        found["fine"] = Job(network(classes=100), config.fine, small, moving)
    return found


def flip_and_shift(key: Array, x: Array, most: int) -> Array:
    """Section 3.2: whitened images randomly mirrored left to right and moved by up to `most` pixels."""
    flipping, shifting = jax.random.split(key)
    return augmentation.random_shift(shifting, augmentation.random_flip(flipping, x), most)


def distort(key: Array, x: Array, turn: float, zoom: float, slide: float) -> Array:
    """Images randomly mirrored, turned, zoomed and moved, padded with zeros.

    The extent is a choice of ours. The paper's heavy augmentation is said to follow Graham (2014), unverified.

    Args:
      key: JAX random key.
      x: (N, S, S, C) images.
      turn: largest angle in degrees.
      zoom: largest change of size, as a share.
      slide: largest shift, as a share of the side.
    """
    flipping, drawing = jax.random.split(key)
    most = jnp.array([math.radians(turn), zoom, slide * x.shape[1], slide * x.shape[1]], jnp.float32)
    changes = most * jax.random.uniform(drawing, (len(x), 4), minval=-1, maxval=1)
    return jax.vmap(moved)(augmentation.random_flip(flipping, x), changes)


def moved(image: Array, change: Array) -> Array:
    """An image (S, S, C) turned about its centre, zoomed and moved: `change` is (radians, share, pixels, pixels)."""
    angle, zoom, down, right = change
    steps = jnp.arange(len(image), dtype=jnp.float32) - np.float32((len(image) - 1) / 2)
    rows, columns = (steps[:, None] - down) / (1 + zoom), (steps[None] - right) / (1 + zoom)
    turned = jnp.cos(angle) * rows - jnp.sin(angle) * columns, jnp.sin(angle) * rows + jnp.cos(angle) * columns
    positions = [part - steps[0] for part in turned]
    return jax.vmap(lambda channel: map_coordinates(channel, positions, order=1), -1, -1)(image)


def run(config: Config, work: Workspace) -> Report:
    """Trains the networks of every setting with each seed."""
    found = {}
    for name, job in work.progress(jobs(config).items(), "settings"):
        task = cifar.load(name, job.data, job.training, work, job.canvas)
        found[name] = cifar.errors(name, job.module, task, job.training, work, job.augment)
    errors = {name: each.errors for name, each in found.items()}
    claims = [improvement(*pair, errors, config) for pair in (("augmented", "plain"), ("large", "augmented"))]
    claims += [comparison_with_others(name, errors, config) for name in ("plain", "augmented", "fine")]
    return Report(numbers(found, config), claims, [table_panel(errors, config), errors_panel(errors, config)])


def difference(errors, setting, other):
    """Points of error that a setting has more than another, for each seed that both have."""
    return np.array([first - second for first, second in zip(errors[setting], errors[other], strict=False)])


def table_panel(errors, config):
    """Tables 4 and 5: all methods with the paper's errors, and ours where there are any."""
    lines, ruled = [], []
    for name, setting in SETTINGS.items():
        ruled.append(len(lines))
        lines.append((setting.title, "", ""))
        lines += [(f"    {other}", "", f"{error:.2f}") for other, error in OTHERS[name].items()]
        here = figures.mean_and_std(errors.get(name, np.array([])))
        lines.append((f"    {setting.network}", here, f"{setting.error:.2f}"))
    figure = figures.text_table(("", f"error here,\n{config.data} (%)", "paper: error (%)"), lines, ruled, first=2)
    caption = (
        f"Errors of the paper's networks, retrained here in reduced form on {config.data} (mean and standard deviation "
        "over seeds, – where not trained), beside the errors that the paper prints for them and for other methods. "
        "Those are for CIFAR and cannot be compared with ours unless the data are the same."
    )
    alt = f"Table of {len(lines) - len(SETTINGS)} methods in {len(SETTINGS)} settings."
    return Panel("tables", figure, caption, alt)


COLOURS = {"plain": "tab:grey", "augmented": "tab:blue", "large": "tab:green", "fine": "tab:orange"}


def errors_panel(errors, config):
    """A ring for each network here, and the effect of augmentation, with its confidence interval."""
    figure, ((here, change),) = figures.axes(1, 2, (5, 2.2))
    for y, (name, values) in enumerate(errors.items()):
        figures.dots(here, y, values, COLOURS[name])
    rows = [f"{SETTINGS[name].network},\n{SETTINGS[name].title.partition(', ')[2]}" for name in errors]
    figures.label_rows(here, f"here: {config.data}", "error (%)", rows)
    paper = SETTINGS["augmented"].error - SETTINGS["plain"].error
    figures.difference_dots(change, 0, difference(errors, "augmented", "plain"), COLOURS["augmented"], paper)
    change.axvline(0, color="0.6", lw=0.8)
    change.legend(fontsize=8, frameon=False)
    figures.label_rows(change, "with minus without augmentation", "points of error", ["All-CNN-C"])
    caption = (
        "Left: a ring for each network trained here, a bar at the mean of each kind. Right: errors with flips and "
        "shifts minus those without, a ring for each seed, their mean and its 95 % confidence interval, and the "
        "paper's."
    )
    alt = "Rings of error by setting, and differences that augmentation makes beside zero."
    return Panel("errors", figure, caption, alt)


def numbers(found, config):
    """Errors of all settings."""
    listed = []
    for name, setting in SETTINGS.items():
        title, printed = f"error, {setting.network}, {setting.title}", {"paper": setting.error, "paper_tag": "D"}
        if name in found:
            note = f"learning rate {found[name].learning_rate:g}, on {jobs(config)[name].data}"
            listed.append(cifar.number(title, found[name].errors, "%", note, **printed))
        else:
            listed.append(Number(title, None, unit="%", note="not trained at this tier", **printed))
    return listed


IMPROVEMENTS = {
    "augmented": "Flips and small shifts of the training images lower the error of All-CNN-C.",
    "large": "A larger network of the same kind with heavier augmentation has a still lower error.",
}


def improvement(better, worse, errors, config):
    """A claim that one setting has a lower error than another: that the interval of the difference is below zero."""
    verdict = statistics.inconclusive("not trained at this tier")
    if better in errors:
        verdict = statistics.within(statistics.over_seeds(difference(errors, better, worse)), -np.inf, 0)
    printed = f"the paper has {SETTINGS[better].error - SETTINGS[worse].error:+.2f} on CIFAR-10"
    measured = f"{printed}; {better} − {worse}, points of error on {config.data}"
    return Claim(IMPROVEMENTS[better], "Table 4", verdict, measured)


def comparison_with_others(name, errors, config):
    """A claim to beat the best of the other methods, without fractional pooling, which was ahead in the paper, too."""
    setting, job = SETTINGS[name], jobs(config).get(name)
    best = min((other for other in OTHERS[name] if "Fractional" not in other), key=OTHERS[name].get)
    error, verdict = OTHERS[name][best], statistics.inconclusive(f"not trained on {setting.data} at this tier")
    if job is not None and job.data == setting.data:
        verdict = statistics.within(statistics.over_seeds(errors[name]), -np.inf, error)
    text = f"{setting.network} has a lower error than {best}: {setting.title}."
    return Claim(text, "Tables 4 and 5", verdict, f"error in %, against {error:.2f} % printed for {best}")


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of training and the errors of all settings."""
    steps = []
    for name, job in jobs(config).items():
        title = f"{SETTINGS[name].network}, {name}"
        steps += cifar.plan(name, title, job.module, job.data, job.training, job.augment, job.canvas)
    return steps


EXPERIMENT = Experiment[Config](
    name="springenberg2015/cifar_sota",
    title="All convolutional networks beside other methods",
    figure="Tables 4 and 5",
    paper=papers.SPRINGENBERG2015,
    summary=(
        "Does augmentation lower the error of All-CNN-C? Tested over seeds, on few images. A larger network with "
        "heavier augmentation, CIFAR-100, and the comparison with other methods on CIFAR are left to the paper's tier."
    ),
    run=run,
    plan=plan,
    minutes=1.5,
)

if __name__ == "__main__":
    main(EXPERIMENT)
