"""Small networks for colour images of 64 pixels, which are shipped with this package.

`PhotoNet` has large filters in the first layers and three convolutions in a row before the last pooling, as ZFNet
(Zeiler & Fergus 2014); or no pooling, as All-CNN (Springenberg et al. 2015).

>>> maxpool, allcnn = PhotoNet(MAXPOOL), PhotoNet(ALLCNN, hidden=())
"""

import flax.linen as nn

from xai_jax.architectures.allcnn import Layer
from xai_jax.architectures.zfnet import check_sides
from xai_jax.core.convolution import convolution
from xai_jax.core.network import keep
from xai_jax.core.pooling import max_pool

# A number is the side of a max-pooling; like ZFNet's it belongs to the convolution before it.
MAXPOOL = (Layer(64, 7, 2), 2, Layer(128, 5), 2, Layer(192, 3), Layer(192, 3), Layer(128, 3), 2)
ALLCNN = (
    *(Layer(48, 5, 2), Layer(64, 3), Layer(64, 3, 2), Layer(128, 3), Layer(128, 3, 2)),
    *(Layer(192, 3), Layer(192, 3), Layer(256, 1)),
)
EVALUATION = (Layer(32, 3), 2, Layer(64, 3), 2, Layer(128, 3), Layer(128, 3), 2, Layer(160, 3), 2)


class PhotoNet(nn.Module):
    """(N, 64, 64, 3) -> logits (N, classes); other sizes the same in training and inference.

    Activations in forward order: conv1, relu1, pool1, ..., fc6, relu6, fc7, relu7, fc8 (the logits). `hidden` are the
    sizes of fc6 and fc7; without them the last map is averaged over positions, and the logits are linear in the mean.
    Training and inference are the same. Raises ValueError for images too small.
    """

    layers: tuple[Layer | int, ...] = MAXPOOL
    hidden: tuple[int, ...] = (384, 256)
    classes: int = 13

    @nn.compact
    def __call__(self, x, relu=nn.relu, tap=keep, train=False):
        check_sides(x, 16)
        number = 0
        for layer in self.layers:
            if isinstance(layer, int):
                x = tap(f"pool{number}", max_pool(x, layer))
                continue
            number += 1
            shape, name = (layer.side,) * 2, f"conv{number}"
            options = {"conv_general_dilated": convolution, "name": name}
            x = tap(name, nn.Conv(layer.channels, shape, layer.stride, layer.padding, **options)(x))
            x = tap(f"relu{number}", relu(x))
        x = x.reshape(len(x), -1) if self.hidden else tap("mean", x.mean((1, 2)))
        for number, width in enumerate(self.hidden, 6):
            x = tap(f"fc{number}", nn.Dense(width, name=f"fc{number}")(x))
            x = tap(f"relu{number}", relu(x))
        return tap("fc8", nn.Dense(self.classes, name="fc8")(x))
