"""Pre-images of photographs from layers, for the page of `explain`."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from xai_jax import inversion, network
from xai_jax.cli import layers
from xai_jax.cli.parts import Part, Picture, Section
from xai_jax.cli.subject import Subject
from xai_jax.synthesis.inversion import IJCV

LAYERS, FEWEST_LAYERS, STEPS = 7, 3, 150
FORM = IJCV(weight=100.0, total_variation=2.0, steps=(STEPS, 0))


def parts(subject: Subject) -> list[Part]:
    """One part for each layer, from below to the logits."""
    found = layers.stages(subject.model.net, subject.x, max(FEWEST_LAYERS, round(subject.share * LAYERS)))
    return [Part(layer, functools.partial(_invert, subject, layer)) for layer in found]


def _invert(subject, layer):
    represent = inversion.of_layer(subject.model.net, layer, subject.to_network)
    target = network.call(network.features(subject.model.net, layer), subject.x)
    steps = tuple(math.ceil(subject.share * count) for count in FORM.steps)
    form = dataclasses.replace(FORM, steps=steps, jitter=_jitter(subject, layer))
    found = inversion.invert(represent, target, subject.x.shape[1:], jax.random.key(0), form).x
    error = np.sqrt(inversion.distance(represent, target, jnp.ones(()), found))
    pixels = np.clip(np.rint(found + subject.mean), 0, 255).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    confidence = subject.confidence(pixels, subject.classes)
    names = subject.class_names()
    return [
        [Picture(image, layer, f"features differ by {100 * e:.0f} %; {name}: {100 * p:.0f} %")]
        for image, e, name, p in zip(pixels, error, names, confidence, strict=True)
    ]


def _jitter(subject, layer):
    """A quarter of the distance of the layer's units in pixels, as in the paper; of vectors that of the last maps."""
    side, shapes = subject.x.shape[1], layers.whole(subject.model.net, subject.x)
    maps = [shape for shape in shapes.values() if len(shape) == 3]
    rows = shapes[layer][0] if len(shapes[layer]) == 3 else maps[-1][0] if maps else side
    return max(1, round(side / rows / 4))


SECTION = Section(
    "Pre-images",
    "What does a layer still know of the photograph? Images with about the same features, found by optimisation from "
    "noise (Mahendran & Vedaldi 2016): what differs from the photograph the layer has discarded. Smoothness is the "
    "prior's. Below each: the distance of the features in per cent of their norm, and the probability of the class.",
    parts,
)
