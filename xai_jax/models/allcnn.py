"""The all convolutional network for ImageNet (Springenberg et al. 2015, section 3.3 and appendix B).

All-CNN-B enlarged: convolutions with stride 2 take the place of pooling, and an average over positions the place of
fully connected layers. Activations in forward order: conv1, relu1, ..., conv12, relu12, logits (the average).
"""

from typing import NamedTuple

import flax.linen as nn

from xai_jax.network import keep

_he = nn.initializers.he_normal()


class Layer(NamedTuple):
    channels: int
    side: int
    stride: int = 1
    padding: str = "SAME"


# Strided 3x3 layers are unpadded: 224 -> 56 -> 27 -> 13 -> 6 pixels, so the average is over 6x6.
LAYERS = (
    Layer(96, 11, 4),
    Layer(96, 1),
    Layer(96, 3, 2, "VALID"),
    Layer(256, 5),
    Layer(256, 1),
    Layer(256, 3, 2, "VALID"),
    Layer(384, 3),
    Layer(384, 1),
    Layer(384, 3, 2, "VALID"),
    Layer(1024, 3),
    Layer(1024, 1),
)
DROPOUT_AFTER = 9


class AllCNNImageNet(nn.Module):
    """(N, 224, 224, 3) -> logits (N, classes); other sizes from 57 up work too.

    Every convolution is rectified, the last one too. Dropout (rate 0.5, after layer 9) acts only with `train=True`,
    which needs `rngs={"dropout": key}`.
    """

    classes: int = 1000

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        if x.ndim != 4 or min(x.shape[1:3]) < 57:
            raise ValueError(f"Expected images (N, H, W, C) with sides of 57 or more, got shape {x.shape}.")
        for number, layer in enumerate((*LAYERS, Layer(self.classes, 1)), 1):
            window = (layer.side, layer.side)
            x = nn.Conv(layer.channels, window, layer.stride, layer.padding, kernel_init=_he, name=f"conv{number}")(x)
            x = tap(f"conv{number}", x)
            x = tap(f"relu{number}", relu(x))
            if number == DROPOUT_AFTER:
                x = nn.Dropout(0.5, deterministic=not train)(x)
        return tap("logits", x.mean((1, 2)))
