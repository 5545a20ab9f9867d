"""Vision transformer (Dosovitskiy et al. 2021, section 3.1) as torchvision has it.

Activations in forward order; T is the number of patches and one, the class token, which comes first:

    conv_proj                                         (N, rows, columns, width), one position for each patch
    tokens                                            (N, T, width), class token and patches plus position embeddings
    encoder_layer_0/self_attention                    (N, T, width), before it is added to the block's input
    encoder_layer_0/sum                               the same added to it (equation 2)
    encoder_layer_0/mlp, encoder_layer_0              before and after the second sum (equation 3)
    encoder_layer_1, ..., encoder_layer_11            the other blocks
    ln                                                (N, T, width), normalised
    class_token                                       (N, width), which the logits read (equation 4)
    logits                                            (N, classes)

Blocks are named as in torchvision; `encoder_layer_0` is "encoderblock_0" in the paper's code.
"""

import functools
import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from xai_jax.core.network import keep

_Norm = functools.partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False)


class Block(nn.Module):
    """Self-attention and a perceptron with one hidden layer, each of normalised tokens and added to its input."""

    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x, tap=keep):
        attended = tap(f"{self.name}/self_attention", self._attend(_Norm(name="ln_1")(x)))
        x = tap(f"{self.name}/sum", x + attended)
        y = nn.gelu(nn.Dense(self.hidden, name="mlp_1")(_Norm(name="ln_2")(x)), approximate=False)
        y = tap(f"{self.name}/mlp", nn.Dense(x.shape[-1], name="mlp_2")(y))
        return tap(self.name, x + y)

    def _attend(self, x):
        """Multi-head self-attention (appendix A): (N, T, width) -> (N, T, width)."""
        joint = nn.Dense(3 * x.shape[-1], name="in_proj")(x)
        parts = (part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(joint, 3, axis=-1))
        return nn.Dense(x.shape[-1], name="out_proj")(jax.nn.dot_product_attention(*parts).reshape(x.shape))


class ViT(nn.Module):
    """(N, size, size, C) -> logits (N, classes). The activation function is GELU: a backward rule for ReLUs is refused.

    `depth` counts the blocks, `heads` the attention heads, into which `width` is divided; `hidden` is the size of the
    perceptrons' hidden layer. There is no dropout.
    """

    size: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        self._check(x, relu)
        x = nn.Conv(self.width, (self.patch,) * 2, self.patch, "VALID", name="conv_proj")(x)
        x = tap("conv_proj", x).reshape(x.shape[0], -1, self.width)
        first = self.param("class_token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, self.width)), x], axis=1)
        position = self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = tap("tokens", x + position)
        for number in range(self.depth):
            x = Block(self.heads, self.hidden, name=f"encoder_layer_{number}")(x, tap)
        x = tap("ln", _Norm(name="ln")(x))
        return tap("logits", nn.Dense(self.classes, name="head")(tap("class_token", x[:, 0])))

    def _check(self, x, relu):
        if x.ndim != 4 or x.shape[1:3] != (self.size, self.size):
            raise ValueError(
                f"Expected images (N, {self.size}, {self.size}, C), which the position embeddings fit, got shape "
                f"{x.shape}."
            )
        if relu is not nn.relu:
            raise ValueError(
                "Expected a network with ReLUs, to which the backward rule applies, got a vision transformer, whose "
                "activation function is GELU. saliency.gradient, integrated_gradients, smoothgrad and occlusion need "
                "no ReLUs."
            )


vit_b_16 = ViT

_LAYERS = {"conv_proj": "conv_proj", "encoder.ln": "ln", "heads.head": "head"}
# The perceptron's layers have other names in files older than torchvision 0.13, such as the published one.
_BLOCK_LAYERS = {
    "ln_1": "ln_1",
    "self_attention.in_proj": "in_proj",
    "self_attention.out_proj": "out_proj",
    "ln_2": "ln_2",
    "mlp.0": "mlp_1",
    "mlp.3": "mlp_2",
    "mlp.linear_1": "mlp_1",
    "mlp.linear_2": "mlp_2",
}
_WHOLE = {"class_token": "params/class_token", "encoder.pos_embedding": "params/pos_embedding"}


def from_torch(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State dictionary of torchvision's vision transformers -> flat entries of this module ("params/head/kernel").

    Unknown entries keep their names, so that `weights.fit` can list them.
    """
    return dict(_renamed(name, array) for name, array in state.items())


def _renamed(name, array):
    if name in _WHOLE:
        return _WHOLE[name], array
    path, leaf = re.fullmatch(r"(.*?)[._]?(weight|bias|)", name).groups()
    block = re.fullmatch(r"encoder\.layers\.(encoder_layer_\d+)\.(.+)", path)
    layer = _BLOCK_LAYERS.get(block[2]) if block else _LAYERS.get(path)
    if layer is None or not leaf:
        return name, array
    if leaf == "weight":
        leaf = "scale" if layer.startswith("ln") else "kernel"
    own = f"params/{block[1]}/{layer}/{leaf}" if block else f"params/{layer}/{leaf}"
    return own, array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
