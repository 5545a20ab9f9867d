"""What the page says about the reproduced papers, in the order of the lecture."""

from typing import NamedTuple


class Method(NamedTuple):
    """The name of a paper's method, and one sentence on it."""

    name: str
    sentence: str


METHODS = {
    "zeiler2014": Method(
        "Deconvolution",
        "Sends one activation back down to the pixels, replaying the max-pooling switches and rectifying the signal "
        "at every layer, to show the pattern in the image that caused it.",
    ),
    "mahendran2015": Method(
        "Inversion",
        "Searches for images that a layer cannot tell from the original, so that what they share is what the layer "
        "has kept and where they differ is what it has discarded.",
    ),
    "springenberg2015": Method(
        "Guided backpropagation",
        "Backpropagates an activation and lets a gradient pass a ReLU only where both the gradient and the ReLU's "
        "input are positive, which gives sharp maps without pooling switches.",
    ),
    "nguyen2016": Method(
        "Generator networks",
        "Looks for the input a neuron likes best among the pictures a trained image generator can draw, by optimising "
        "the generator's code in place of the pixels.",
    ),
    "nguyen2015": Method(
        "Fooling images",
        "Changes an image, by the network's gradient or by evolution, until the network is all but certain of a class, "
        "although people see nothing of it there.",
    ),
    "kim2018": Method(
        "Concept vectors (TCAV)",
        "Finds the direction in a layer that stands for a human concept, and counts for how many images of a class a "
        "small step along it would raise the score of that class.",
    ),
}


def lecture_order(paper: str) -> tuple[int, str]:
    """Sort key for paper folders: the lecture's order, then all others by name."""
    known = list(METHODS)
    return (known.index(paper) if paper in METHODS else len(known), paper)


def method_name(paper: str) -> str:
    """The method of a known paper, else the name of its folder."""
    return METHODS[paper].name if paper in METHODS else paper
