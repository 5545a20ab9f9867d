"""How many programs the attribution methods compile."""

import numpy as np

from tests.helpers import oracle
from xai_jax import occlusion, saliency, targets

NET = oracle.jax_network(oracle.random_layers(2))
X = np.random.default_rng(1).normal(size=(2, 17, 17, 3)).astype(np.float32)


def test_one_program_serves_all_patches_and_fills():
    before = occlusion._occluded._cache_size()
    for patch, stride, fill in ((9, 4, 0.0), (7, 5, 0.5), ((5, 9), 5, 1.0)):
        saliency.occlusion(NET, X[:1], targets.logit(0), patch, stride, fill, batch_size=4)
    assert occlusion._occluded._cache_size() == before + 1


def test_one_program_serves_all_classes_and_any_number_of_images():
    before = saliency._backprop._cache_size()
    for k, n in ((0, 4), (1, 8), (2, 11)):
        saliency.gradient(NET, np.tile(X[:1], (n, 1, 1, 1)), targets.logit(np.full(n, k)), batch_size=4)
    assert saliency._backprop._cache_size() == before + 1
