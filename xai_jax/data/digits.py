"""scikit-learn's 8x8 handwritten digits: 1797 images that are always there, for tests and the smoke tier."""

import functools

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = tuple("0123456789")
SEED = 0


@functools.cache
def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, test images, training labels, test labels): (n, 8, 8, 1) float32 in [0, 1] and (n,) int32.

    A fifth is held out, stratified by class and the same in every run.

    >>> [array.shape for array in arrays()]
    [(1437, 8, 8, 1), (360, 8, 8, 1), (1437,), (360,)]
    """
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    return tuple(train_test_split(images, labels, test_size=0.2, random_state=SEED, stratify=labels))
