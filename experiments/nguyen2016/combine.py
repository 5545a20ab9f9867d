"""Pictures that excite two units at once (Nguyen et al. 2016)."""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.lib import dry_run, generator_codes, runner
from experiments.lib.runner import Claim, Number
from xai_jax import models, network, plots, targets
from xai_jax.synthesis.dgn_am import DGN

MOST = 0.9  # share of pairs that is asked for
SCORES = {"logit": "logits", "log_probability": "log-probabilities"}  # whose sum is made large


def run(config: Any, run: runner.Run) -> None:
    """Finds codes for every pair of classes and for every class alone, and asks two networks what they see."""
    generator, model = generator_codes.load(config)
    judge, tables = models.load(config.evaluation_network, config.evaluation_weights), {}
    for score, name in run.progress(SCORES.items(), "scores"):
        found = run.stage(score, partial(preferred, generator, model, score, config))
        seen = run.stage(f"{score}-seen", partial(answers, model, judge, found["images"], config))
        tables[name] = measures(found["logits"], seen, config)
        run.figure(score, *pictures(model, found["images"], name, config))
    run.figure("measures", *heatmaps(model, tables, config))
    report(run, tables, config)


def pairs(config: Any) -> np.ndarray:
    """(P, 2) positions in `config.classes`: each with itself, and with all that follow."""
    return np.stack(np.triu_indices(len(config.classes)), axis=1)


def preferred(generator, model, score, config):
    """Pictures (P, starts, H, W, C) for all pairs, and the network's logits of them (P, starts, K).

    Of a class with itself the sum is twice the score, which makes the same steps as the score itself.
    """
    of = getattr(targets, score)
    both = np.array(config.classes)[np.repeat(pairs(config), config.starts, axis=0)]
    target = of(both[:, 0]) + of(both[:, 1])
    form = DGN(learning_rate=config.learning_rate, steps=config.steps, decay_factor=config.keep)
    found = generator_codes.maximise(
        generator,
        model,
        target,
        generator_codes.initial_codes(generator, len(both), config.seed),
        form,
        config.batch_size,
    )
    return {name: array.reshape(-1, config.starts, *array.shape[1:]) for name, array in found.items()}


def answers(model, judge, images, config):
    """Logits (P, starts, K) of the judge, and of both networks for blends, which are means of two single pictures."""
    first, second = (images[single_of(config)[pairs(config)[:, side]]] for side in (0, 1))
    shape = images.shape[:2]
    made, blends = (array.reshape(-1, *images.shape[2:]) for array in (images, (first + second) / 2))
    blends = generator_codes.quantised(model, blends)

    def judged(x):
        return network.call(judge.net, judge.preprocess(list(model.to_pixels(x)))).reshape(*shape, -1)

    blended = network.call(model.net, blends).reshape(*shape, -1)
    return {"judged": judged(made), "blended": blended, "judged blended": judged(blends)}


def single_of(config: Any) -> np.ndarray:
    """For each class, which pair is it alone."""
    return np.flatnonzero(pairs(config)[:, 0] == pairs(config)[:, 1])


def two(logits: np.ndarray, config: Any) -> np.ndarray:
    """For how many starts the two likeliest classes are the pair's, a share for each pair of different classes."""
    where = pairs(config)
    different = where[:, 0] != where[:, 1]
    wanted = np.sort(np.array(config.classes)[where], axis=1)[:, None]
    likeliest = np.sort(np.argsort(logits, axis=-1)[..., -2:], axis=-1)
    return (likeliest == wanted).all(-1).mean(1)[different]


def measures(logits: np.ndarray, seen: dict[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """What both units keep, and who sees both classes.

    "kept": (K, K), the logit of class a in pictures for a and b as a share of that in pictures for a alone, by means
    over starts. The others are shares of starts for each pair of different classes, see `two`.
    """
    classes, where = np.array(config.classes), pairs(config)
    means = logits.mean(1)
    alone = means[single_of(config), classes]
    kept = np.ones((len(classes), len(classes)))
    for (a, b), row in zip(where, means, strict=True):
        kept[a, b], kept[b, a] = row[classes[a]] / alone[a], row[classes[b]] / alone[b]
    everything = {"network": logits, **seen}
    return {"kept": kept} | {name: two(each, config) for name, each in everything.items()}


def pictures(model, images, name, config):
    """A matrix of pictures, a x b; below the diagonal of another start, where there are several."""
    panels = [[None] * len(config.classes) for _ in config.classes]
    for (a, b), starts in zip(pairs(config), images, strict=True):
        panels[a][b], panels[b][a] = model.to_pixels(starts[[0, -1]]) / 255
    names = [model.classes[k] for k in config.classes]
    fig, _ = plots.grid(panels, names, names, 0.85)
    caption = (
        f"Pictures that make the sum of two {name} large, of the class of their row and that of their column; on the "
        "diagonal one class alone. Above and below the diagonal the same pairs stand, found from other noise."
    )
    return fig, caption, "A square of pictures, some of them mixtures of two kinds of things."


def heatmaps(model, tables, config):
    """How often the judge sees both classes of each pair, for each score."""
    names, where = [model.classes[k] for k in config.classes], pairs(config)
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axis, (name, table) in zip(figure.subplots(1, len(tables)), tables.items(), strict=True):
        both = np.full((len(names), len(names)), np.nan)
        for (a, b), share in zip(where[where[:, 0] != where[:, 1]], table["judged"], strict=True):
            both[a, b] = both[b, a] = share
        axis.imshow(both, cmap="viridis", vmin=0, vmax=1)
        for i, j in np.argwhere(np.isfinite(both)):
            colour = "k" if both[i, j] > 0.6 else "w"
            axis.text(j, i, f"{both[i, j]:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
        axis.set_xticks(range(len(names)), names, rotation=50, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_title(f"sum of {name}", fontsize=9)
    caption = (
        "For every pair of classes, in which share of starts the two classes that another network finds likeliest are "
        "the pair's."
    )
    return figure, caption, "Two square tables of numbers between 0 and 1, coloured by size."


def report(run, tables, config):
    """What units keep, and for how many pairs both classes are seen."""
    off, known = ~np.eye(len(config.classes), dtype=bool), generator_codes.is_independent(config)
    for name, table in tables.items():
        run.numbers += [
            Number.mean(f"logit kept beside another class, alone = 1, sum of {name}", table["kept"][off]),
            Number.mean(f"starts in which the network's likeliest two are the pair's, sum of {name}", table["network"]),
            Number.mean(f"the same of blends of two single pictures, sum of {name}", table["blended"]),
            Number.mean(f"starts in which another network's likeliest two are, sum of {name}", table["judged"]),
            Number.mean(f"the same of blends, another network, sum of {name}", table["judged blended"]),
        ]
        run.claims += claims(name, table, known)


def claims(name, table, known):
    """What the network and another one see, and whether blends do as well."""
    share, judged = ((table[n] > 0.5).mean() for n in ("network", "judged"))
    better, test = generator_codes.more(table["judged"], table["judged blended"])
    source, count = "two-unit combinations (what is asked for is ours)", len(table["network"])
    return [
        Claim(
            f"One picture can excite two units at once, by the sum of {name}.",
            source,
            bool(share >= MOST),
            f"for most starts the network's two likeliest classes are the pair's in {100 * share:.0f} % of {count} "
            f"pairs; {100 * MOST:g} % are asked for",
        ),
        Claim(
            f"Such pictures show both things, also to a network that had no part in making them (sum of {name}).",
            source,
            bool(judged > 0.5) if known else None,
            f"for most starts another network's two likeliest classes are the pair's in {100 * judged:.0f} % of "
            f"{count} pairs; more than half is asked for",
        ),
        Claim(
            f"They show both more often than the mean of two single pictures does (sum of {name}).",
            "ours",
            better if known else None,
            f"another network's likeliest two are the pair's in {100 * table['judged'].mean():.0f} % of all starts, "
            f"and in {100 * table['judged blended'].mean():.0f} % of blends; {test}",
        ),
    ]


def plan(config: Any) -> list[dry_run.Step]:
    """The steps of all pairs, by either sum."""
    both, count = targets.logit(0) + targets.logit(1), len(pairs(config)) * config.starts
    return [generator_codes.code_steps(config, "steps of codes", both, count, config.steps * len(SCORES))]


EXPERIMENT = runner.Experiment(
    name="nguyen2016/combine",
    title="Maximising two units jointly",
    figure="two units at once",
    paper="Nguyen et al. 2016, Synthesizing the Preferred Inputs for Neurons in Neural Networks via Deep Generator "
    "Networks, arXiv 1605.09304",
    summary=(
        "What would a picture look like that two units like at the same time? Here the sum of two classes' logits is "
        "made large, for all pairs of classes, through a generator that makes natural-looking images. A sum can grow "
        "by one of its terms alone; the sum of log-probabilities, tried after the first results, cannot. Does each "
        "unit stay as excited as alone? Does the network still see both classes, and does another one? As a yardstick "
        "stands the plain mean of the two classes' single pictures."
    ),
    run=run,
    plan=plan,
    minutes=2,
    order=4,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT)
