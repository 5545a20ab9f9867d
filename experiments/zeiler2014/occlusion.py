"""Sensitivity of a feature map and of the class probability to occlusion (Zeiler & Fergus 2014, Fig. 7)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs.zeiler2014.occlusion import Config
from experiments.lib import dry_run, figures, measures, papers, statistics
from experiments.lib.report import Claim, Number, Panel, Report
from experiments.lib.runner import Experiment, Workspace, main
from xai_jax import models, network, plots, saliency, targets
from xai_jax.attribution.occlusion import patch_starts
from xai_jax.core.pytrees import node, static
from xai_jax.data import examples

GREY = 127
COLUMNS = ("image", "strongest map's total", "its projection", "P(true class)", "most probable class")
ROWS = 8  # at most, in figures
PROJECTIONS = 8  # in one call


def run(config: Config, work: Workspace) -> Report:
    """Slides the square over every image; panels (a) to (e) of the figure."""
    model = models.load(config.network, config.weights)
    data = examples.load(config.images, config.count, config.first)
    x = model.preprocess(data.images)
    targets.check(model.net, x, targets.probability(data.labels))
    strongest = work.stage("strongest", lambda: strongest_maps(model.net, x, config))
    hidden = []
    for i in work.progress(range(config.count), "images"):
        compute = partial(occluded, model, x[i : i + 1], data.labels[i], strongest["channel"][i], config)
        hidden.append(work.stage(f"occluded-{i}", compute))
    pixels = model.to_pixels(x)
    panels = [heat_maps(pixels, strongest, hidden, data, model.classes), projections(pixels, strongest, data, config)]
    return Report(*findings(strongest, hidden, data, pixels.shape[1:3], config), panels)


def strongest_maps(net, x, config):
    """For each image the layer's map with the largest total activation, and deconvnet projections of its peak.

    With it go the projections from the other images that excite the same map most.
    """
    totals = np.asarray(network.call(network.features(net, config.layer), x)).sum((1, 2))
    channel = totals.argmax(1).astype(np.int32)
    ranked = np.argsort(-totals[:, channel].T, axis=1, kind="stable")
    others = np.array([[n for n in row if n != i][: config.others] for i, row in enumerate(ranked)], np.int32)
    image = np.column_stack([np.arange(len(x)), others])
    target = targets.neuron(config.layer, np.repeat(channel, image.shape[1]))
    projections = saliency.deconvnet(net, x[image.ravel()], target, batch_size=PROJECTIONS)
    return {"channel": channel, "image": image, "projections": projections.reshape(*image.shape, *x.shape[1:])}


def occluded(model, x, label, channel, config):
    """Total activation of the map, the true class's probability and the most probable class, by position."""
    read = _Panels(jnp.int32(channel), jnp.int32(label), config.layer)
    geometry = config.patch, config.stride, grey(model)
    found = saliency.occlude(model.net, x, read, (config.layer,), *geometry, config.batch_size)
    whole = saliency.occlude(model.net, x, read, (config.layer,), 1, x.shape[1:3], x[0, 0, 0])  # hides nothing
    unhidden = {f"whole_{name}": value[0, 0, 0] for name, value in whole.items()}
    return {name: value[0] for name, value in found.items()} | unhidden


@node
class _Panels:
    """Panels (b), (d) and (e) of the figure, as numbers."""

    channel: jax.Array
    label: jax.Array
    layer: str = static()

    def __call__(self, logits, activations):
        total = targets.neuron(self.layer, self.channel, "mean")(logits, activations)
        return {
            "total": total * np.prod(activations[self.layer].shape[1:3]).astype(np.float32),
            "probability": targets.probability(self.label)(logits, activations),
            "label": logits.argmax(axis=-1).astype(jnp.int32),
        }


def grey(model):
    """A middle-grey pixel in the network's input range."""
    return model.preprocess([np.full((8, 8, 3), GREY, np.uint8)])[0, 0, 0]


def heat_maps(pixels, strongest, hidden, data, names):
    """Panels (a) to (e), one image a row, as in the paper."""
    rows = range(min(len(hidden), ROWS))
    panels = [[pixels[i] / 255, None, plots.signed(strongest["projections"][i][0]), None, None] for i in rows]
    titles = [f"{names[data.labels[i]]}\n({data.names[i]})" for i in rows]
    figure, axes = plots.grid(panels, [f"({x}) {y}" for x, y in zip("abcde", COLUMNS, strict=True)], titles, 1.9)
    for row, found in zip(axes, hidden, strict=False):
        figures.heat_map(row[1], found["total"])
        figures.heat_map(row[3], found["probability"], (0, 1))
        figures.category_map(row[4], found["label"], names)
    return Panel(
        "occlusion",
        figure,
        "A grey square slides over the image. By the position of its centre, which leaves out a border of half a "
        "square: (b) the total activation of the feature map that is strongest on the whole image, each panel on its "
        "own scale, (d) the probability of the true class, dark where hiding the image lowers it, (e) the most "
        "probable class, grey where it is none of the most frequent ones in the panel. Names are classes, in brackets "
        "the photographs'. (c) Deconvnet projection of the strongest activation of that map.",
        "For each image: heat maps of activation and probability by position of the occluder, and a map of labels.",
    )


def projections(pixels, strongest, data, config):
    """Panel (c) in full: projections of the strongest map from this image and from the others that excite it most."""
    rows, panels = range(min(config.count, ROWS)), []
    for i in rows:
        chosen = zip(strongest["image"][i], strongest["projections"][i], strict=True)
        panels.append([panel for n, p in chosen for panel in (pixels[n] / 255, plots.signed(p))])
    titles = ["image", "projection"] + ["another image", "projection"] * config.others
    figure, _ = plots.grid(panels, titles, [f"{data.names[i]}\nmap {strongest['channel'][i]}" for i in rows], 1.5)
    return Panel(
        "projections",
        figure,
        f"Deconvnet projections of the feature map of {config.layer} that is strongest on each image, from that image "
        "(left) and from the other images that activate it most. Zero is grey, one scale for each projection.",
        "Rows of image and projection pairs, the first pair from the image itself, the others from further images.",
    )


def findings(strongest, hidden, data, size, config):
    """Numbers and claims."""
    whole = np.array([found["whole_probability"] for found in hidden])
    drop = whole - [found["probability"].min() for found in hidden]
    inside = [on_object(found["probability"], box, size, config) for found, box in zip(hidden, data.boxes, strict=True)]
    correlations = [follow(h, p[0], config) for h, p in zip(hidden, strongest["projections"], strict=True)]
    flips = [(found["label"] != found["whole_label"]).mean() for found in hidden]
    pairs = np.reshape([pair for pair in inside if pair is not None], (-1, 2))
    on, elsewhere = pairs[np.isfinite(pairs).all(1)].T  # a box may cover all positions
    numbers = [
        Number.mean("largest drop of the true class's probability", drop),
        Number.mean("the same as a share of the probability on the whole image", drop / whole),
        Number.mean("positions where the most probable class changes", flips),
        Number.mean("rank correlation of the map's drop with the projection under the square", correlations),
        Number.mean("probability with the square's centre on the object", on),
        Number.mean("probability with the square's centre elsewhere", elsewhere),
    ]
    return numbers, [object_claim(on, elsewhere), projection_claim(np.array(correlations))]


def object_claim(on, elsewhere):
    """That the object matters more than its surroundings, by images with a known box of the object."""
    means = f" (means {on.mean():.2f} and {elsewhere.mean():.2f})" if len(on) else ""
    return Claim(
        "The probability of the true class drops significantly when the object is occluded.",
        "section 4.2 and Fig. 7d",
        statistics.wilcoxon(elsewhere, on),
        f"lower on the object than elsewhere for {(on < elsewhere).sum()} of {len(on)} images with a known box{means}",
    )


def projection_claim(correlations):
    """That the map's activation drops where the square covers its projection."""
    return Claim(
        "When the square covers the region that appears in the projection, activity in the map drops strongly.",
        "section 4.2 and Fig. 7b, c",
        statistics.t_test(correlations),
        f"rank correlation {correlations.mean():.2f} ± {correlations.std():.2f} over {len(correlations)} images of "
        "the drop of the map's total activation with the share of the projection under the square",
    )


def on_object(probability, box, size, config):
    """Mean probability with the square's centre inside and outside the object's box; None where there is no box."""
    if box is None:
        return None
    rows, columns = (centres(n, config) / n for n in size)
    inside = np.outer((rows >= box[0]) & (rows <= box[2]), (columns >= box[1]) & (columns <= box[3]))
    return probability[inside].mean(), probability[~inside].mean()


def centres(n, config):
    """Centres of the squares along one side of n pixels."""
    return patch_starts(n, config.patch, config.stride) + config.patch / 2


def follow(hidden, projection, config):
    """Rank correlation, over positions, of the map's drop with the share of the projection that the square covers."""
    energy = np.abs(projection).sum(-1)
    starts = [patch_starts(n, config.patch, config.stride) for n in energy.shape]
    covered = [[energy[r : r + config.patch, c : c + config.patch].sum() for c in starts[1]] for r in starts[0]]
    return measures.rank_correlation(covered, hidden["whole_total"] - hidden["total"])


def plan(config: Config) -> list[dry_run.Step]:
    """All occluded forward passes, and the projections."""
    read = _Panels(jnp.int32(0), jnp.int32(0), config.layer)
    sides = models.abstract(config.network)[2][:2]
    positions = int(np.prod([len(patch_starts(n, config.patch, config.stride)) for n in sides]))
    passes = config.count * dry_run.calls(positions, config.batch_size)
    projected = dry_run.calls(config.count * (1 + config.others), PROJECTIONS)

    def occlude(net, x):
        return read(*network.capture(net, x, [config.layer]))

    def project(net, x):
        return saliency.deconvnet(net, x, targets.neuron(config.layer, 0))

    return [
        dry_run.forward(config.network, config.batch_size, passes, occlude, name="occluded forward passes"),
        dry_run.forward(config.network, PROJECTIONS, projected, project, name="projections"),
    ]


EXPERIMENT = Experiment[Config](
    name="zeiler2014/occlusion",
    title="Occlusion sensitivity",
    figure="Fig. 7",
    paper=papers.ZEILER2014,
    summary=(
        "Does the network find the object, or does it use the surroundings? A grey square occludes one part of the "
        "image after another while the activation of a feature map, the probability of the true class and the most "
        "probable class are recorded."
    ),
    run=run,
    plan=plan,
    minutes=3,
)

if __name__ == "__main__":
    main(EXPERIMENT)
