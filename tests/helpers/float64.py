"""Gradients in float64. In float32 a few of a large network's ReLUs have inputs within rounding of zero, where two
implementations differ in whether they pass the signal: torchvision's ResNet-50 in float32 differs from itself in
float64 by 1 to 3 % of the largest gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np

from xai_jax import saliency, targets


def gradient(net, x: np.ndarray, k: int) -> np.ndarray:
    """Gradient of logit k with respect to images, both (N, H, W, C), computed in float64."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        net, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (net, x))
        return np.asarray(saliency.gradient(net, x, targets.logit(k)))
