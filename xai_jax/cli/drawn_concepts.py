"""TCAV of drawn colours and textures at crops of a photograph, for the page of `explain`."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from xai_jax import significance, targets, tcav
from xai_jax.cli import layers
from xai_jax.cli.charts import bar_chart
from xai_jax.cli.parts import Part, Picture, Section, Table
from xai_jax.cli.subject import Subject, channels
from xai_jax.concepts import advice, classifiers
from xai_jax.concepts.significance import Row
from xai_jax.data import crops, textures
from xai_jax.data.textures import KINDS

TITLES = {"any colour": "Colours", "any texture": "Textures"}
EXAMPLES, RUNS, CONTROLS, FEWEST_CONTROLS = 15, 5, 15, 5
CROPPED = 0.875  # side of the crops, of the centre square


def parts(subject: Subject) -> list[Part]:
    """One part for colours, one for textures."""
    return [Part(TITLES[kind], functools.partial(_measured, subject, kind)) for kind in KINDS]


def _measured(subject, kind):
    size, depth = subject.x.shape[1], subject.x.shape[-1]
    if kind == "any colour" and depth == 1:
        raise ValueError("Expected a network that sees colours, got one for grey images.")
    controls = min(CONTROLS, max(FEWEST_CONTROLS, round(subject.share * CONTROLS)))
    (drawn,) = textures.kinds(KINDS[kind], EXAMPLES, (controls + 2) * EXAMPLES, size, seed=0)
    concepts = {name: _inputs(subject, images) for name, images in drawn.concepts.items() if name != drawn.null}
    classes = {
        f"{number}": (targets.logit(int(k)), _crops(subject, photograph))
        for number, (k, photograph) in enumerate(zip(subject.classes, subject.photographs, strict=True))
    }
    with classifiers.stopping_early():
        scores = tcav.measure(
            subject.model.net,
            layers.of_concepts(subject.model.net, subject.x),
            concepts,
            _inputs(subject, drawn.random),
            classes,
            runs=RUNS,
            controls=controls,
        )
    rows = significance.table(scores, tested="mean")
    sets = f"{controls} random sets, {kind}"
    if controls < CONTROLS:
        sets += "; with so few, as the network is large, only strong effects are significant"
    return [_contents(rows, str(number), name, kind, sets) for number, name in enumerate(subject.class_names())]


def _contents(rows: Sequence[Row], label: str, name: str, kind: str, sets: str):
    """A chart and a table of the rows of one photograph."""
    own = [row._replace(label=name) for row in rows if row.label == label]
    note = (
        f"share of crops whose logit of {name} rises along the concept, with its 95 % interval; filled and starred "
        f"where significant. The thick line is the mean of {sets}. {' '.join(advice.of_table(own))}"
    )
    figure = Picture(bar_chart(own), TITLES[kind], note, wide=True)
    header = ["concept", "layer", "score", "p", "", ""]
    cells = [
        [
            *(row.concept, row.layer, f"{row.value:.2f}", f"{row.adjusted:.2g}"),
            "significant" if row.significant else "no evidence",
            advice.of_row(row),
        ]
        for row in own
    ]
    return [figure, Table(header, cells)]


def _crops(subject: Subject, photograph: np.ndarray) -> Array:
    """Ten crops of a photograph as the network's input."""
    side = subject.x.shape[1]
    return _inputs(subject, crops.ten_crop(photograph, side, round(side / CROPPED)))


def _inputs(subject: Subject, images: np.ndarray) -> Array:
    pixels = jnp.asarray(channels(images, subject.x.shape[-1]), jnp.float32)
    return subject.model.input.to_network(pixels)


SECTION = Section(
    "Concepts",
    "Does the logit of the class rise where the photograph gets redder, or more striped? TCAV (Kim et al. 2018) with "
    "drawn colours and textures, at ten crops of the photograph. A score is compared with those of sets of random "
    "images of the same kind; only what differs from them is evidence. p-values, of mean derivatives, are corrected "
    "for all comparisons of a chart.",
    parts,
)
