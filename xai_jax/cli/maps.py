"""Attribution maps of photographs, for the page of `explain`."""

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np

from xai_jax import plots, saliency
from xai_jax.cli import layers
from xai_jax.cli.parts import Part, Picture, Section
from xai_jax.cli.subject import Subject
from xai_jax.plots.images import SIGNED

PERCENTILE = 99.5  # of the absolute values; larger ones are clipped
SAMPLES, STEPS = 20, 32  # of SmoothGrad and of integrated gradients


def parts(subject: Subject) -> list[Part]:
    """One part for each method."""
    net, x, target = subject.model.net, subject.x, subject.target
    patch = max(1, min(x.shape[1] // 7, 32))
    stride = max(1, min(int(patch / 2 / math.sqrt(subject.share)), patch))
    methods = {
        "Gradient": (saliency.gradient, strength, "how much each pixel changes the logit"),
        "SmoothGrad": (
            functools.partial(saliency.smoothgrad, samples=SAMPLES),
            strength,
            f"mean gradient of {SAMPLES} noisy copies",
        ),
        "Integrated gradients": (
            functools.partial(saliency.integrated_gradients, baseline=subject.grey, steps=STEPS),
            signs,
            "red raises the logit, blue lowers it; the sum is its change from a grey image",
        ),
        "Guided backprop": (
            saliency.guided_backprop,
            colours,
            "outlines that reach the upper layers, nearly the same for every class",
        ),
        "Deconvnet": (saliency.deconvnet, colours, "signal rectified on the way back, nearly the same for every class"),
        "Occlusion": (
            functools.partial(saliency.occlusion, patch=patch, stride=stride, fill=subject.grey),
            signs,
            "red: a grey square here lowers the logit; blue: it raises it",
        ),
    }
    found = [
        Part(name, functools.partial(_pictures, subject, functools.partial(method, net, x, target), draw, name, note))
        for name, (method, draw, note) in methods.items()
    ]
    return [*found, Part("Grad-CAM", functools.partial(_grad_cam, subject))]


def _grad_cam(subject):
    found = layers.maps(subject.model.net, subject.x)
    if not found:
        raise ValueError("Expected a network with maps (h, w, C), of which the last are weighted, found none.")
    method = functools.partial(saliency.grad_cam, subject.model.net, subject.x, subject.target, found[-1])
    return _pictures(subject, method, heat, "Grad-CAM", f"where the maps of {found[-1]} support the class")


def _pictures(subject, method, draw, name, note):
    maps = np.asarray(method(), np.float64)
    return [[Picture(draw(each, seen), name, note)] for each, seen in zip(maps, subject.pixels, strict=True)]


Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]


def strength(attribution: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Largest absolute value over channels, from black to white: (H, W, C) -> (H, W, 3) uint8.

    >>> strength(np.array([[[0.0], [-2.0]]]), np.zeros((1, 2, 3)))[0, :, 0].tolist()
    [0, 255]
    """
    values = np.abs(attribution).max(-1, keepdims=True)
    return as_uint8(np.repeat(np.clip(values / _scale(values), 0, 1), 3, axis=-1))


def signs(attribution: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Sum over channels, from blue over white to red: (H, W, C) -> (H, W, 3) uint8."""
    values = attribution.sum(-1)
    return as_uint8(SIGNED(np.clip(values / _scale(values), -1, 1) / 2 + 0.5)[..., :3])


def colours(attribution: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Signed values of each channel around grey: (H, W, C) -> (H, W, 3) uint8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a map of zeros is a result
        shown = plots.signed(attribution, PERCENTILE)
    return as_uint8(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def heat(attribution: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A map without negative values as red light over the photograph in grey: (H, W, C) -> (H, W, 3) uint8."""
    values = attribution.mean(-1)
    weight = np.clip(values / _scale(values), 0, 1)[..., None]
    grey = 0.35 + 0.5 * seen.mean(-1, keepdims=True) / 255
    return as_uint8((1 - 0.75 * weight) * grey + 0.75 * weight * np.array([0.9, 0.1, 0.05]))


def as_uint8(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) in [0, 1] as uint8."""
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def _scale(values):
    """The percentile of the absolute values, 1 for zeros."""
    return np.percentile(abs(values), PERCENTILE) or abs(values).max() or 1.0


SECTION = Section(
    "Attribution maps",
    "Which pixels matter for the class? Maps disagree, since each measures something else. Integrated gradients and "
    "occlusion say what the class depends on; guided backprop and the deconvnet draw clear outlines, which say little "
    "about this class.",
    parts,
)
