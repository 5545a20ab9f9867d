"""Golden outputs of torchvision's networks, and the weights and images that they were made with, without PyTorch.

The published checkpoints are too large for tests, so weights come from a seed: `fill` draws each entry of a state
dictionary from its name and shape alone. golden.json holds names and shapes of torchvision's entries and what its
networks compute with them. It was written with torch 2.14.1 and torchvision 0.29.1 by

    python tests/architectures/golden.py
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("golden.json")

# Name of the network: sizes (N, H, W) of the images. Sides of 75 to 118 end in odd maps of a few pixels.
SIZES = {
    "googlenet": {"published": (2, 224, 224), "odd": (2, 101, 118)},
    "inception_v3": {"published": (2, 299, 299), "odd": (2, 101, 118)},
    "vgg16": {"published": (2, 224, 224)},
    "vgg19": {"published": (2, 224, 224)},
    "resnet18": {"published": (2, 224, 224), "odd": (2, 45, 70)},
    "resnet50": {"published": (2, 224, 224), "odd": (2, 45, 70)},
    "vit_b_16": {"published": (2, 224, 224)},
}
MIXED = "Mixed_5b Mixed_5b.branch_pool Mixed_6a Mixed_6b Mixed_7a Mixed_7c".split()
# Module in torchvision: activation here.
TAPS = {
    "googlenet": {"maxpool1": "pool1", "maxpool2": "pool2", "inception3a": "inception3a"}
    | {"inception3a.branch3": "inception3a/branch3", "inception4e": "inception4e", "maxpool4": "pool4"}
    | {"inception5b": "inception5b", "avgpool": "pool5"},
    "inception_v3": {"Conv2d_1a_3x3": "conv2d_1a_3x3", "maxpool2": "pool2"}
    | {name: name.lower().replace(".", "/") for name in MIXED}
    | {"avgpool": "pool3"},
    "vgg16": {"features.4": "pool1", "features.23": "pool4", "features.30": "pool5", "classifier.0": "fc6"},
    "vgg19": {"features.4": "pool1", "features.27": "pool4", "features.36": "pool5", "classifier.0": "fc6"},
    "resnet18": {"bn1": "conv1", "maxpool": "pool1", "layer1.1": "layer1_1", "layer2.0.bn2": "layer2_0/conv2"}
    | {"layer2.0.downsample": "layer2_0/downsample", "layer4.1": "layer4_1", "avgpool": "pool2"},
    "resnet50": {"maxpool": "pool1", "layer1.2": "layer1_2", "layer2.0.bn2": "layer2_0/conv2"}
    | {"layer3.0.downsample": "layer3_0/downsample", "layer4.2": "layer4_2", "avgpool": "pool2"},
    "vit_b_16": {"conv_proj": "conv_proj", "encoder.dropout": "tokens", "encoder.ln": "ln"}
    | {f"encoder.layers.encoder_layer_{n}": f"encoder_layer_{n}" for n in (0, 11)}
    | {"encoder.layers.encoder_layer_0.mlp": "encoder_layer_0/mlp"},
}

# Networks with the gradient of the logit TARGET with respect to the image, in float64.
WITH_GRADIENTS = ("resnet18", "resnet50", "vit_b_16")
TARGET = 3


def fill(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """State dictionary with these entries, uniform and scaled so that activations neither vanish nor explode."""
    return {name: _entry(name, tuple(shape)) for name, shape in shapes.items()}


def _entry(name, shape):
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    values = 2 * np.random.default_rng(zlib.crc32(name.encode())).random(shape, np.float32) - 1
    if len(shape) > 1:
        return values * np.float32(math.sqrt(6 / math.prod(shape[1:])))  # He et al. 2015
    if name.endswith((".weight", ".running_var")):
        return 1 + values / 2
    return values / 4


def pixels(n: int, height: int, width: int) -> np.ndarray:
    """Random images (N, H, W, 3), 0 to 255 in float32: noise on coarse blocks, brighter from left to right."""
    rng = np.random.default_rng(0)
    blocks = rng.random((n, -(-height // 16), -(-width // 16), 3), np.float32).repeat(16, 1).repeat(16, 2)
    noise = rng.random((n, height, width, 3), np.float32)
    ramp = np.linspace(0, 1, width, dtype=np.float32)[:, None]
    return 255 * (blocks[:, :height, :width] + noise + ramp) / 3


def normalised(images: np.ndarray) -> np.ndarray:
    """What torchvision's networks read, those with `transform_input` too: zero mean and unit variance over ImageNet."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (images / 255 - mean) / std


def summary(activation: np.ndarray) -> list[list[float]]:
    """Numbers that identify an activation (N, H, W, C) or (N, C), one row for each image."""
    flat = np.asarray(activation, np.float64).reshape(len(activation), -1)
    count = flat.shape[1]
    # Unlike the mean, this sum changes with any exchange of positions or channels. It is about as large as one value.
    mixed = flat @ np.cos(np.arange(count)) / math.sqrt(count)
    numbers = [np.abs(flat).mean(1), flat.max(1), mixed, *flat[:, [0, count // 2, -1]].T]
    return np.array(numbers).T.tolist()


def outputs(logits: np.ndarray) -> dict[str, list]:
    """The first logits of each image, and of all of them the sum and the mean absolute value."""
    numbers = {"sum": logits.sum(1, dtype=float), "size": np.abs(logits).mean(1, dtype=float)}
    return {"logits": logits[:, :8].tolist()} | {name: value.tolist() for name, value in numbers.items()}


def load() -> dict:
    """golden.json: {network: {"shapes": ..., "parameters": ..., case: {"logits": ..., "sum": ...}}}."""
    return json.loads(PATH.read_text())


def _run(name):
    """What torchvision's network computes: everything that golden.json holds about it."""
    import torch
    import torchvision

    inception = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = getattr(torchvision.models, name)(weights=None, **inception).eval()
    shapes = {entry: list(value.shape) for entry, value in net.state_dict().items()}
    net.load_state_dict({entry: torch.from_numpy(value) for entry, value in fill(shapes).items()})
    own = [value.numel() for entry, value in net.named_parameters() if not entry.startswith(("aux", "AuxLogits"))]
    with torch.no_grad():
        cases = {case: _outputs(net, TAPS[name], pixels(*size)) for case, size in SIZES[name].items()}
    for case, size in SIZES[name].items() if name in WITH_GRADIENTS else ():
        x = torch.from_numpy(_channels_first(normalised(pixels(*size)))).double().requires_grad_()
        net.double()(x)[:, TARGET].sum().backward()
        cases[case]["gradient"] = summary(_channels_last(x.grad.numpy()))
    return {"shapes": shapes, "parameters": sum(own), **cases}


def _outputs(net, taps, images):
    import torch

    seen = {}

    def keep(tap):
        return lambda module, inputs, output: seen.update({tap: summary(_channels_last(output.numpy()))})

    handles = [net.get_submodule(path).register_forward_hook(keep(tap)) for path, tap in taps.items()]
    logits = net(torch.from_numpy(_channels_first(normalised(images)))).numpy()
    for handle in handles:
        handle.remove()
    return outputs(logits) | {"activations": seen}


def _channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _channels_last(value):
    return value.transpose(0, 2, 3, 1) if value.ndim == 4 else value


if __name__ == "__main__":
    results = {name: _run(name) for name in SIZES}
    lines = (f"{json.dumps(name)}: {json.dumps(result, separators=(',', ':'))}" for name, result in results.items())
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
