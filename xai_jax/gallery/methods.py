"""Descriptions of the reproduced methods on the front page.

The paragraphs describe what a method computes, without a verdict on its claims.
"""

from typing import NamedTuple

from xai_jax.gallery import formulas


class Method(NamedTuple):
    """A paper's method for the front page.

    Attributes:
      name: of the method.
      paragraph: what it computes.
      formula: MathML.
      letters: symbols of the formula.
      figures: pairs (experiment, file), of which the first available one is shown.
    """

    name: str
    paragraph: str
    formula: str
    letters: str
    figures: tuple[tuple[str, str], ...]


METHODS = {
    "zeiler2014": Method(
        "Deconvolution",
        "What in this image activated a unit? Keep the unit's activation, set all others of its layer to zero, and "
        "project it to pixel space through the same filters, transposed. Max-pooling discards the position of each "
        "maximum, so positions are recorded in the forward pass (the switches) and used in the backward pass. The "
        "backward rule of ReLU passes positive signals only, whatever the ReLU did in the forward pass.",
        formulas.DECONVNET,
        "R is the backward signal, at a ReLU between layers l and l + 1; [ ] is 1 where the condition is true, else 0.",
        (("features", "relu3_1.png"), ("occlusion", "projections.png")),
    ),
    "mahendran2015": Method(
        "Inversion",
        "Which information about an image does a layer retain? Start from noise and optimise the pixels until the "
        "layer gives the same features as for the image. Many images do, most of them noise-like, so a weak prior for "
        "smooth images of moderate contrast regularises the search. What all these pre-images share, the layer has "
        "retained; where they differ, it has discarded.",
        formulas.INVERSION,
        "Φ gives the features of a layer, x₀ is the image, ℛ the prior, and λ its weight.",
        (("photographs", "preimages.png"), ("layers", "layers.png")),
    ),
    "springenberg2015": Method(
        "Guided backpropagation",
        "Backpropagation and the deconvnet differ only in the backward rule of ReLU. Backpropagation zeroes the "
        "signal where the ReLU's input was negative, the deconvnet where the signal itself is negative, guided "
        "backpropagation in both cases. It needs no switches, so it also works in networks without max-pooling.",
        formulas.GUIDED,
        "R is the backward signal, f the ReLU's input in the forward pass; [ ] is 1 where the condition is true, else "
        "0.",
        (("comparison", "classes.png"),),
    ),
    "nguyen2016": Method(
        "Generator networks",
        "Which input maximises the activation of a neuron? Optimised in pixel space, it is usually noise. So a "
        "generator network is trained first, which maps features of a layer (a code) back to images. Then the code is "
        "optimised instead of the pixels, and every image that is found is an output of the generator.",
        formulas.GENERATOR,
        "G is the generator, y the code, Φₕ the activation of neuron h, and λ weighs an L2 penalty on the code.",
        (("classes", "classes.png"),),
    ),
    "nguyen2015": Method(
        "Fooling images",
        "Without a generator, the same optimisation finds unrecognisable images. The pixels, or a small network that "
        "draws the image (a CPPN), are changed until the network is almost certain of a class: by the gradient of the "
        "class's probability, or by evolution, which needs only the network's output. Nothing constrains the image to "
        "look natural.",
        formulas.FOOLING,
        "pₖ is the network's probability of class k; evolution searches for all classes at once.",
        (("cppn", "images.png"), ("gradient", "images.png")),
    ),
    "kim2018": Method(
        "Concept vectors (TCAV)",
        "Does a class depend on a human concept? Collect images that show the concept, and random ones. A linear "
        "classifier that separates their features in a layer has a normal vector, the concept activation vector (CAV). "
        "For each image of the class, compute whether a small step along it raises the logit of the class; TCAV is the "
        "share of images for which it does. Since any set of images has such a vector, the score is significant only "
        "where it differs from that of random sets.",
        formulas.TCAV,
        "fₗ gives the features of layer l, hₗ,ₖ computes from them the logit of class k, v is the CAV of concept C, "
        "and Xₖ are images of the class.",
        (("captions", "captions.png"), ("concepts", "scores.png")),
    ),
}
OTHERS = {"explorer": "Every unit, by every method"}


def method_name(paper: str) -> str:
    """The method of a known paper, else the name of its folder.

    >>> method_name("kim2018"), method_name("someone2030")
    ('Concept vectors (TCAV)', 'someone2030')
    """
    return METHODS[paper].name if paper in METHODS else OTHERS.get(paper, paper)
