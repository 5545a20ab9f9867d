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
    return _lines("imagenet_classes.txt")


def of_folders(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Class names of folders: those of ImageNet for folders that are called by WordNet numbers, else as they are.

    >>> of_folders(("n02123045", "n02124075")), of_folders(("cat", "n02124075"))
    (('tabby', 'Egyptian cat'), ('cat', 'n02124075'))
    """
    names = dict(zip(_lines("imagenet_wordnet.txt"), imagenet(), strict=True))
    return tuple(names[folder] for folder in folders) if set(folders) <= set(names) else folders


@functools.cache
def _lines(file):
    text = importlib.resources.files("xai_jax.data").joinpath(file).read_text(encoding="utf-8")
    return tuple(text.splitlines())
