"""Class names of data sets whose files do not hold them.

Those of ImageNet are the first lemmas of the ILSVRC 2012 synsets in WordNet 3.0, in the order of their WordNet numbers
(the order of TFDS and of all published weights); the three words that occur twice have a word in brackets.
"""

import functools
import importlib.resources

# In the order of its authors.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@functools.cache
def imagenet() -> tuple[str, ...]:
    """The 1000 class names of ILSVRC 2012.

    >>> imagenet()[285]
    'Egyptian cat'
    """
    text = importlib.resources.files("xai_jax.data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
