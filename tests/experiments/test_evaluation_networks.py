"""Images of evaluation networks."""

import types

import jax.numpy as jnp
import numpy as np

from experiments.lib import evaluation_networks


def test_images_are_preprocessed_in_batches():
    seen = []

    def preprocess(images):
        seen.append(len(images))
        return jnp.stack(images)

    images = list(np.zeros((250, 2, 2, 3), np.float32))
    found = evaluation_networks.inputs(types.SimpleNamespace(preprocess=preprocess), images)
    assert isinstance(found, np.ndarray) and found.shape == (250, 2, 2, 3) and seen == [100, 100, 50]
