"""Strongest units of some layers, projected to pixel space by the deconvnet, for the page of `explain`."""

import functools

import jax.numpy as jnp
import numpy as np
from PIL import Image

from xai_jax import deconvnet, network, targets
from xai_jax.cli import layers
from xai_jax.cli.maps import colours
from xai_jax.cli.parts import Part, Picture, Section
from xai_jax.cli.subject import Subject, by_photograph

LAYERS, UNITS = 3, 6
SIDE, GAP = 128, 4  # pixels of a patch, and between the two


def parts(subject: Subject) -> list[Part]:
    """One part for each layer, from below to the last."""
    found = layers.maps(subject.model.net, subject.x)
    found = layers.evenly([name for name in found if "pool" not in name], LAYERS)  # no unit twice
    if not found:
        return [Part("all layers", functools.partial(_refuse, subject))]
    return [Part(layer, functools.partial(_strongest, subject, layer), is_row=True) for layer in found]


def _refuse(subject):
    raise ValueError("Expected a network with maps (h, w, C), whose channels are units, found none.")


@by_photograph
def _strongest(subject, number, layer):
    """Patches and projections of the strongest channels; saturated units, which pass no signal, are left out."""
    net, x = subject.model.net, subject.x[number : number + 1]
    values = np.asarray(network.call(network.features(net, layer), x))[0]
    flat = values.reshape(-1, values.shape[-1])
    channels = np.argsort(-flat.max(0), kind="stable")[: 2 * UNITS]
    rows, columns = np.unravel_index(flat[:, channels].argmax(0), values.shape[:2])
    neurons = targets.neuron(layer, channels, (rows, columns))
    maps = np.asarray(deconvnet.project(net, jnp.repeat(x, len(channels), axis=0), neurons))
    boxes = deconvnet.receptive_field(net, layer, x).boxes(rows, columns)
    found = [n for n in range(len(channels)) if maps[n].any()][:UNITS]
    if not found:
        raise ValueError(f"Expected units that pass a signal back, got none in {layer}: all strong ones are saturated.")
    return [_picture(subject.pixels[number], maps[n], boxes[n], channels[n], flat[:, channels[n]].max()) for n in found]


def _picture(seen, projection, box, channel, value):
    """The patch that a unit sees, and what in it excites the unit."""
    top, left, bottom, right = _square(box, seen.shape[0])
    both = [each[top:bottom, left:right] for each in (seen, colours(projection, seen))]
    shown = [np.asarray(Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for each in both]
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return Picture(np.concatenate([shown[0], gap, shown[1]], axis=1), f"unit {channel}", f"activation {value:.3g}")


def _square(box, side):
    """The smallest square around a box, moved into the image where it would leave it."""
    top, left, bottom, right = map(int, box)
    length = min(max(bottom - top, right - left, 8), side)
    top, left = (min(max((a + b - length) // 2, 0), side - length) for a, b in ((top, bottom), (left, right)))
    return top, left, top + length, left + length


SECTION = Section(
    "Strongest units",
    "What excites the units of a layer most? Left: the patch of the photograph that a unit sees; right: the pattern in "
    "it that activates the unit, projected to pixel space by a deconvnet (Zeiler & Fergus 2014).",
    parts,
)
