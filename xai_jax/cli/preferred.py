"""Preferred inputs of the explained classes, for the page of `explain`."""

import functools

import jax
import numpy as np

from xai_jax import activation_maximisation, dgn_am, network, targets
from xai_jax.cli.parts import Part, Picture, Section
from xai_jax.cli.subject import Subject
from xai_jax.models import generators
from xai_jax.synthesis.activation_maximisation import Fourier
from xai_jax.synthesis.dgn_am import DGN

STARTS = 3
CODES = DGN(learning_rate=0.6, steps=100, decay_factor=0.95)  # as in nguyen2016/classes
PIXELS = Fourier(learning_rate=0.02, steps=120)  # as in nguyen2016/priors_imagenet


def parts(subject: Subject) -> list[Part]:
    """One part, for all classes."""
    name = generators.shipped(subject.name) if subject.published else None
    function = functools.partial(_through_generator, name) if name else _of_pixels
    return [Part("Preferred input", functools.partial(_preferred, subject, function))]


def _preferred(subject, function):
    """Images for each class once, in the order of the photographs."""
    classes = np.unique(subject.classes)
    repeated = np.repeat(classes, max(1, round(subject.share * STARTS)))
    images, how = function(subject, repeated)
    confidence = subject.confidence(images, repeated)
    rows = {k: np.flatnonzero(repeated == k) for k in classes}
    return [
        [Picture(images[n], name, f"{how}; the network is {100 * confidence[n]:.0f} % confident") for n in rows[k]]
        for k, name in zip(subject.classes, subject.class_names(), strict=True)
    ]


def _through_generator(name, subject, classes):
    generator = generators.load(name)
    generate = dgn_am.clip_images(generator.generate, *subject.model.input.limits)
    starts = dgn_am.noise(jax.random.key(0), (len(classes), *generator.upper.shape))
    found = dgn_am.maximise(generate, subject.model.net, targets.logit(classes), starts, CODES, generator.upper)
    return subject.model.to_pixels(network.call(generate, found.x)), f"generator {name}"


def _of_pixels(subject, classes):
    mean, shape = subject.mean, subject.x.shape[1:]
    net = activation_maximisation.of_pixels(subject.model.net, subject.to_network)
    form = Fourier(PIXELS.learning_rate, PIXELS.steps, 1 + shape[0] // 28)
    noise_key, key = jax.random.split(jax.random.key(0))
    start = form.noise(noise_key, (len(classes), *shape), -mean)
    found = activation_maximisation.maximise(net, targets.logit(classes), start, key, form, -mean, 255 - mean).x
    pixels = np.clip(np.rint(found + mean), 0, 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)), "pixels"


SECTION = Section(
    "Preferred input",
    "What would the network like to see for this class? Images that maximise its logit, from noise: through a "
    "generator network, whose images resemble photographs (Nguyen et al. 2016), where this network has one, else by "
    "Fourier coefficients of pixels (Olah et al. 2017). They show the class, not the photograph.",
    parts,
)
