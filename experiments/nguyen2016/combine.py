"""Images that maximise two units jointly (Nguyen et al. 2016)."""

from functools import partial

import numpy as np

from configs.nguyen2016.combine import Config
from experiments.lib import dry_run, evaluation_networks, figures, generator_codes, papers, statistics
from experiments.lib.report import Claim, Panel, Report, means
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import models, plots, targets
from xai_jax.core.batching import call_in_chunks
from xai_jax.synthesis.dgn_am import DGN

MOST = 0.9  # share of pairs that is claimed
SCORES = {"logit": "logits", "log_probability": "log-probabilities"}  # whose sum is maximised


def run(config: Config, work: Workspace) -> Report:
    """Finds codes for every pair of classes and for every class alone, and evaluates their images with two networks."""
    generator, model = generator_codes.load(config)
    evaluator, tables, panels = models.load(config.evaluation_network, config.evaluation_weights), {}, []
    for score, name in work.progress(SCORES.items(), "scores"):
        found = work.stage(score, partial(preferred, generator, model, score, config))
        predict = partial(predictions, model, evaluator, found["images"], config)
        tables[name] = measure(found["logits"], work.stage(f"{score}-predictions", predict), config)
        panels.append(pairs_panel(model, found["images"], score, name, config))
    return Report(*findings(tables, config), [*panels, measures_panel(model, tables, config)])


def pairs(config: Config) -> np.ndarray:
    """(P, 2) positions in `config.classes`: each with itself, and with all that follow."""
    return np.stack(np.triu_indices(len(config.classes)), axis=1)


def preferred(generator, model, score, config):
    """Images (P, starts, H, W, C) for all pairs, and the network's logits of them (P, starts, K).

    Of a class with itself the sum is twice the score, which has the same normalised steps as the score itself.
    """
    of = getattr(targets, score)
    both = np.array(config.classes)[np.repeat(pairs(config), config.starts, axis=0)]
    target = of(both[:, 0]) + of(both[:, 1])
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    starts = generator_codes.initial_codes(generator, len(both), config.seed)
    found = generator_codes.maximise(generator, model, target, starts, form, config.batch_size)
    return {name: array.reshape(-1, config.starts, *array.shape[1:]) for name, array in found.items()}


def predictions(model, evaluator, images, config):
    """Logits (P, starts, K) of the evaluation network, and of both networks for blends, means of two single images."""
    first, second = (images[singles(config)[pairs(config)[:, side]]] for side in (0, 1))
    shape = images.shape[:2]
    joint, blends = (array.reshape(-1, *images.shape[2:]) for array in (images, (first + second) / 2))
    blends = generator_codes.quantised(model, blends)

    def evaluated(x):
        shown = evaluation_networks.inputs(evaluator, model.to_pixels(x))
        return call_in_chunks(evaluator.net, shown).reshape(*shape, -1)

    blended = call_in_chunks(model.net, blends).reshape(*shape, -1)
    return {"evaluated": evaluated(joint), "blended": blended, "evaluated blended": evaluated(blends)}


def singles(config: Config) -> np.ndarray:
    """For each class, the index of the pair of it with itself."""
    return np.flatnonzero(pairs(config)[:, 0] == pairs(config)[:, 1])


def both_predicted(logits: np.ndarray, config: Config) -> np.ndarray:
    """Fraction of starts whose two most probable classes are the pair's, for each pair of different classes."""
    indices = pairs(config)
    different = indices[:, 0] != indices[:, 1]
    wanted = np.sort(np.array(config.classes)[indices], axis=1)[:, None]
    top_two = np.sort(np.argsort(logits, axis=-1)[..., -2:], axis=-1)
    return (top_two == wanted).all(-1).mean(1)[different]


def measure(logits: np.ndarray, predicted: dict[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """Logits kept beside another class, and fractions of starts with both classes predicted.

    "kept": (K, K), the logit of class a in images for a and b relative to that in images for a alone, by means over
    starts. The others are fractions of starts for each pair of different classes, see `both_predicted`.
    """
    classes, mean = np.array(config.classes), logits.mean(1)
    alone = mean[singles(config), classes]
    kept = np.ones((len(classes), len(classes)))
    for (a, b), row in zip(pairs(config), mean, strict=True):
        kept[a, b], kept[b, a] = row[classes[a]] / alone[a], row[classes[b]] / alone[b]
    networks = {"network": logits, **predicted}
    return {"kept": kept} | {name: both_predicted(each, config) for name, each in networks.items()}


def pairs_panel(model, images, score, name, config):
    """A matrix of images, class by class; below the diagonal of another start, where there are several."""
    panels = [[None] * len(config.classes) for _ in config.classes]
    for (a, b), starts in zip(pairs(config), images, strict=True):
        panels[a][b], panels[b][a] = model.to_pixels(starts[[0, -1]]) / 255
    names = [model.classes[k] for k in config.classes]
    figure, _ = plots.grid(panels, names, names, 0.85)
    caption = (
        f"Images that maximise the sum of two {name}, of the class of their row and that of their column; on the "
        "diagonal one class alone. Above and below the diagonal are the same pairs, from different noise."
    )
    return Panel(score, figure, caption, "A square of images, some of them mixtures of two kinds of objects.")


def measures_panel(model, tables, config):
    """How often the evaluation network predicts both classes of each pair, for each score."""
    names, indices = [model.classes[k] for k in config.classes], pairs(config)
    figure, axes = figures.axes(1, len(tables), (11 / len(tables), 5))
    for axis, (name, table) in zip(axes[0], tables.items(), strict=True):
        both = np.full((len(names), len(names)), np.nan)
        for (a, b), fraction in zip(indices[indices[:, 0] != indices[:, 1]], table["evaluated"], strict=True):
            both[a, b] = both[b, a] = fraction
        figures.matrix(axis, both, names, names, (0, 1))
        for i, j in np.argwhere(np.isfinite(both)):
            colour = "k" if both[i, j] > 0.6 else "w"
            axis.text(j, i, f"{both[i, j]:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
        axis.set_title(f"sum of {name}", fontsize=9)
    caption = (
        f"For every pair of classes, the fraction of {config.starts} starts for which the two most probable classes of "
        "another network are the pair's."
    )
    return Panel("measures", figure, caption, "Two square tables of numbers between 0 and 1, coloured by value.")


NAMES = {
    "kept": "logit kept beside another class, alone = 1",
    "network": "starts in which the network's two most probable classes are the pair's",
    "blended": "the same of blends of two single images",
    "evaluated": "starts in which another network's two most probable classes are the pair's",
    "evaluated blended": "the same of blends, another network",
}


def findings(tables, config):
    """Logits kept, and claims about pairs of which both classes are predicted."""
    off, independent = ~np.eye(len(config.classes), dtype=bool), generator_codes.is_independent(config)
    table = {f"sum of {name}": each | {"kept": each["kept"][off]} for name, each in tables.items()}
    return means(table, NAMES), [claim for name in tables for claim in claims(name, tables[name], independent)]


def claims(name, table, independent):
    """What the network and another one predict, and whether blends do as well."""
    source = "two-unit combinations (the criteria are ours)"
    better = statistics.wilcoxon(table["evaluated"], table["evaluated blended"])
    return [
        Claim(
            f"One image can activate two units at once, by the sum of {name}.",
            source,
            statistics.binomial(table["network"] > 0.5, MOST),
            f"pairs whose classes are the network's two most probable for most starts, claimed for {100 * MOST:g} %",
        ),
        Claim(
            f"Such images show both objects, also to a network that was not used in their synthesis (sum of {name}).",
            source,
            statistics.where(independent, statistics.binomial(table["evaluated"] > 0.5), generator_codes.DEPENDENT),
            "pairs whose classes are another network's two most probable for most starts",
        ),
        Claim(
            f"They show both more often than the mean of two single images does (sum of {name}).",
            "ours",
            statistics.where(independent, better, generator_codes.DEPENDENT),
            f"another network's two most probable classes are the pair's in {100 * table['evaluated'].mean():.0f} % of "
            f"all starts, and in {100 * table['evaluated blended'].mean():.0f} % of blends",
        ),
    ]


def plan(config: Config) -> list[dry_run.Step]:
    """The steps of all pairs, by either sum."""
    both, count = targets.logit(0) + targets.logit(1), len(pairs(config)) * config.starts
    return [generator_codes.code_steps(config, "steps of codes", both, count, config.steps * len(SCORES))]


EXPERIMENT = Experiment[Config](
    name="nguyen2016/combine",
    title="Maximising two units jointly",
    figure="two units at once",
    paper=papers.NGUYEN2016,
    summary=(
        "What does an image look like that activates two units? The sum of two classes' scores is maximised for all "
        "pairs, in a generator's codes. A sum of logits can grow by one term alone, one of log-probabilities cannot. "
        "Do the network and another one predict both classes, and do plain means of two single images suffice?"
    ),
    run=run,
    plan=plan,
    minutes=3,
)

if __name__ == "__main__":
    main(EXPERIMENT)
