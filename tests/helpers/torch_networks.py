"""Residual networks and the vision transformer in PyTorch, by the papers, with torchvision's names of entries.

They compute from a state dictionary alone, which says how many stages, blocks and classes there are.
"""

import re

import numpy as np


def entries(variables: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Random entries of these shapes: kernels keep the signal's size, variances are positive."""
    rng = np.random.default_rng(seed)

    def draw(name, shape):
        if len(shape) > 1:
            return rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype("f")
        positive = name.endswith((".weight", "running_var"))
        return (rng.uniform(0.5, 1, shape) if positive else rng.normal(0, 0.1, shape)).astype("f")

    return {name: draw(name, shape) for name, shape in variables.items()}


def logits_and_gradient(network, state: dict, x: np.ndarray, k: int, dtype="f8") -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) and the input gradient (N, H, W, C) of logit k, for images (N, H, W, C)."""
    import torch

    x = torch.tensor(x.transpose(0, 3, 1, 2).astype(dtype), requires_grad=True)
    logits = network({name: torch.tensor(array.astype(dtype)) for name, array in state.items()}, x)
    logits[:, k].sum().backward()
    return logits.detach().numpy(), x.grad.numpy().transpose(0, 2, 3, 1)


def _convolve(state, name, x, stride=1, padding=0):
    """Convolution and batch norm with running statistics; of "conv1" the norm is "bn1", of "downsample.0" number 1."""
    from torch.nn import functional

    head, _, last = name.rpartition(".")
    norm = f"{head}.1" if last == "0" else f"{head}.{last}".lstrip(".").replace("conv", "bn")
    x = functional.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
    mean, variance, scale, shift = (
        state[f"{norm}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5) ** 0.5 * scale + shift


def resnet(state: dict, x, relu=lambda x: x.relu()):
    """He et al. 2016, Table 1 and Figure 5; the stride of a block is that of its first 3x3 convolution."""
    from torch.nn import functional

    x = functional.max_pool2d(relu(_convolve(state, "conv1", x, 2, 3)), 3, 2, 1)
    blocks = dict.fromkeys(found[0] for name in state if (found := re.match(r"layer\d\.\d+", name)))
    for block in blocks:
        stride = first = 2 if block.endswith(".0") and not block.startswith("layer1") else 1
        names = [f"{block}.conv{n}" for n in (1, 2, 3) if f"{block}.conv{n}.weight" in state]
        y = x
        for name in names:
            side = state[f"{name}.weight"].shape[-1]
            y = _convolve(state, name, y, stride if side == 3 else 1, side // 2)
            stride = 1 if side == 3 else stride
            y = y if name == names[-1] else relu(y)
        if f"{block}.downsample.0.weight" in state:
            x = _convolve(state, f"{block}.downsample.0", x, first)
        x = relu(x + y)
    return functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def vit(state: dict, x, heads: int):
    """Dosovitskiy et al. 2021, equations 1 to 4, and its appendix A for each head."""
    import torch
    from torch.nn import functional

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        return centred / (variance + 1e-6) ** 0.5 * state[f"{name}.weight"] + state[f"{name}.bias"]

    def dense(name, x):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def attend(name, x):
        joint = functional.linear(x, state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"])
        parts = [part.chunk(heads, -1) for part in joint.chunk(3, -1)]
        out = []
        for query, key, value in zip(*parts, strict=True):
            weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
            out.append(weights @ value)
        return dense(f"{name}.out_proj", torch.cat(out, -1))

    side = state["conv_proj.weight"].shape[-1]
    x = functional.conv2d(x, state["conv_proj.weight"], state["conv_proj.bias"], side).flatten(2).transpose(1, 2)
    x = torch.cat([state["class_token"].expand(len(x), -1, -1), x], 1) + state["encoder.pos_embedding"]
    first, second = ("0", "3") if any(".mlp.0." in name for name in state) else ("linear_1", "linear_2")
    for block in dict.fromkeys(found[0] for name in state if (found := re.match(r"encoder\.layers\.\w+", name))):
        x = x + attend(f"{block}.self_attention", norm(f"{block}.ln_1", x))
        hidden = functional.gelu(dense(f"{block}.mlp.{first}", norm(f"{block}.ln_2", x)))
        x = x + dense(f"{block}.mlp.{second}", hidden)
    return dense("heads.head", norm("encoder.ln", x)[:, 0])
