"""What the front page says about the reproduced papers, in the order of the lecture.

The paragraphs say what a method does; whether it does what its paper claims is for the experiments to say.
"""

from typing import NamedTuple

from xai_jax.gallery import formulas


class Method(NamedTuple):
    """A paper's method: its name, what it does, its formula (MathML), what the letters mean, and figures to show it.

    `figures` are pairs (experiment, file), the first that is there is shown.
    """

    name: str
    paragraph: str
    formula: str
    letters: str
    figures: tuple[tuple[str, str], ...]


METHODS = {
    "zeiler2014": Method(
        "Deconvolution",
        "What in this image made a unit respond? Keep the unit's activation, set all others of its layer to zero, and "
        "send the signal back down to the pixels through the same filters, transposed. Max-pooling has forgotten where "
        "its maximum was, so the places are noted on the way up (the switches) and used on the way down. A ReLU on the "
        "way down lets only positive signals pass, whatever it did on the way up.",
        formulas.DECONVNET,
        "R is the signal on its way down, at a ReLU between layers l and l + 1; [ ] is 1 where the condition is true, "
        "else 0.",
        (("features", "relu3_1.png"), ("occlusion", "projections.png")),
    ),
    "mahendran2015": Method(
        "Inversion",
        "What does a layer still know of an image? Begin with noise and change its pixels until the layer gives the "
        "same features as for the image. Many images do, and most of them look like noise, so a mild preference for "
        "smooth images of moderate contrast (the prior) chooses among them. What all these pre-images share, the layer "
        "has kept; where they differ, it has forgotten.",
        formulas.INVERSION,
        "Φ gives the features of a layer, x₀ is the image, ℛ the prior, and λ its weight.",
        (("photographs", "preimages.png"), ("layers", "layers.png")),
    ),
    "springenberg2015": Method(
        "Guided backpropagation",
        "Backpropagation and the deconvnet send a signal down to the pixels in the same way but for the ReLU. "
        "Backpropagation stops the signal where the ReLU's input was negative, the deconvnet where the signal itself "
        "is negative. Guided backpropagation stops it in both cases. It needs no switches, so it can also be used in "
        "networks without max-pooling.",
        formulas.GUIDED,
        "R is the signal on its way down, f the ReLU's input on the way up; [ ] is 1 where the condition is true, else "
        "0.",
        (("comparison", "classes.png"),),
    ),
    "nguyen2016": Method(
        "Generator networks",
        "Which input does a neuron like best? Searched for among all images, the answer is usually noise. So another "
        "network is trained first, a generator that turns the features of a layer (a code) back into images. Then the "
        "search changes the code instead of the pixels, and every image that it can find is one that the generator "
        "makes.",
        formulas.GENERATOR,
        "G is the generator, y the code, Φₕ the activation of neuron h, and λ keeps codes small.",
        (("classes", "classes.png"),),
    ),
    "nguyen2015": Method(
        "Fooling images",
        "Without a generator, the same search finds images of another kind. The pixels, or a small program that draws "
        "the image, are changed until the network is all but certain of a class: by the gradient of the class's "
        "probability, or by evolution, which needs nothing but the network's answers. Nothing asks the image to look "
        "natural.",
        formulas.FOOLING,
        "pₖ is the network's probability of class k; evolution searches for all classes at once.",
        (("cppn", "images.png"), ("gradient", "images.png")),
    ),
    "kim2018": Method(
        "Concept vectors (TCAV)",
        "Does a class depend on a concept that people have a word for? Collect images that show the concept, and "
        "random ones. In the features of a layer, a linear classifier that tells them apart has a direction, the "
        "concept activation vector. For each image of the class, ask whether a small step in that direction raises "
        "the score of the class; TCAV is the share of images for which it does. Since any set of images has such a "
        "direction, the score counts only where it differs from that of random sets.",
        formulas.TCAV,
        "fₗ gives the features of layer l, hₗ,ₖ computes from them the logit of class k, v is the vector of concept C, "
        "and Xₖ are images of the class.",
        (("captions", "captions.png"), ("concepts", "scores.png")),
    ),
}
OTHERS = {"explorer": "Every unit, by every method"}


def method_name(paper: str) -> str:
    """The method of a known paper, else the name of its folder."""
    return METHODS[paper].name if paper in METHODS else OTHERS.get(paper, paper)
