"""The PyTorch side of benchmark.py: captum on the same network, one request at a time.

Each line of standard input is a request in JSON, each line of standard output its reply; the process is idle between
requests. Needs torch, captum and NumPy only, so that it runs in another Python than xai_jax.

    {"do": "load", "folder": F, "threads": 2, "layout": "contiguous"}    loads network and images from F/net.npz
    {"do": "map", "method": "gradient", "to": P}    attributions (N, H, W, C) to P: float32, float64 of the first image
    {"do": "time", "method": "gradient", "loops": 3}    replies {"seconds": of all loops together}; "train" is a step
    {"do": "loss"}    replies {"loss": the mean over all images, without dropout}
    {"do": "invert", "steps": 3}    replies {"losses": of each image before each step}; "time" takes "invert 3"
    {"do": "maximise", "steps": 3}    likewise, for codes of the generator in net.npz
"""

import copy
import functools
import json
import os
import sys
import time
import traceback
import warnings

try:
    import captum
    import numpy as np
    import torch
    from captum.attr import Deconvolution, GuidedBackprop, Saliency
except ImportError as missing:
    print(json.dumps({"error": str(missing)}))
    sys.exit(1)

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class VGG(torch.nn.Module):
    """torchvision's layout; `stages` holds the number of convolutions per stack, widths follow from the weights."""

    def __init__(self, state, stages):
        super().__init__()
        kernels = iter([value for name, value in state.items() if value.ndim == 4 and name.startswith("features.")])
        features = []
        for depth in stages:
            for _ in range(depth):
                width, channels = next(kernels).shape[:2]
                features += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            features.append(torch.nn.MaxPool2d(2))
        self.features = torch.nn.Sequential(*features)
        six, seven, eight = (torch.nn.Linear(*state[f"classifier.{i}.weight"].shape[::-1]) for i in (0, 3, 6))
        relu, dropout = torch.nn.ReLU, torch.nn.Dropout
        self.classifier = torch.nn.Sequential(six, relu(), dropout(), seven, relu(), dropout(), eight)
        self.load_state_dict(state)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Side:
    """One network in one memory layout, with its images and captum's three methods."""

    def __init__(self, folder, layout):
        with np.load(os.path.join(folder, "net.npz")) as file:
            arrays = dict(file)
        x, stages, self.k = arrays.pop("x"), arrays.pop("stages").tolist(), int(arrays.pop("k"))
        labels, start = arrays.pop("labels", None), arrays.pop("start", None)
        own = {name: arrays.pop(name) for name in list(arrays) if not name.startswith(("features.", "classifier."))}
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        net = VGG(state, stages).eval().to(memory_format=LAYOUTS[layout])
        self.x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=LAYOUTS[layout])
        self.x.requires_grad_()
        self.methods = methods(net)
        if labels is not None:
            self.trained = Training(copy.deepcopy(net), self.x.detach(), torch.from_numpy(labels).long())
        if start is not None:
            start = torch.from_numpy(start.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=LAYOUTS[layout])
            self.inverted = Inversion(net, self.x.detach(), start)
        if own:
            self.maximised = Maximisation(net, own, LAYOUTS[layout])
        self.double = copy.deepcopy(net).double()

    def map(self, method):
        return self.methods[method](self.x, target=self.k)

    def write(self, method, path):
        first = self.x[:1].detach().double().requires_grad_()
        maps = {"float32": self.map(method), "float64": methods(self.double)[method](first, target=self.k)}
        np.savez(path, **{name: value.detach().permute(0, 2, 3, 1).numpy() for name, value in maps.items()})

    def seconds(self, method, loops):
        if method.startswith(("invert ", "maximise ")):
            kind, steps = method.split()
            run = functools.partial((self.inverted if kind == "invert" else self.maximised).run, int(steps))
        else:
            run = self.trained.step if method == "train" else functools.partial(self.map, method)
        start = time.perf_counter()
        for _ in range(loops):
            run()
        return time.perf_counter() - start


class Training:
    """Stochastic gradient descent with momentum on one batch."""

    def __init__(self, net, x, labels):
        self.net, self.x, self.labels = net, x, labels
        self.optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def loss(self):
        return torch.nn.functional.cross_entropy(self.net(self.x), self.labels)

    def step(self):
        self.net.train()
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()


class Inversion:
    """Inversion of logits by gradient descent with momentum (Mahendran & Vedaldi 2015)."""

    std, norm, total_variation, learning_rate = 68.9, 8e-10, 10.0, 0.0004

    def __init__(self, net, x, start):
        self.net, self.start = net.requires_grad_(False), start
        self.target = net(x)

    def losses(self, x):
        sigma = self.std**2 * x[0].numel()
        distance = ((self.net(x / self.std) - self.target) ** 2).sum(1) / (self.target**2).sum(1)
        steps = ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum((1, 2, 3)) + ((x[..., 1:] - x[..., :-1]) ** 2).sum((1, 2, 3))
        return sigma * distance + self.norm / 2 * (x**6).sum((1, 2, 3)) + self.total_variation / 2 * steps

    def run(self, steps):
        x, velocity, history = self.start.clone().requires_grad_(), torch.zeros_like(self.start), []
        for _ in range(steps):
            losses = self.losses(x)
            history.append(losses.detach())
            (gradient,) = torch.autograd.grad(losses.sum(), x)
            velocity = 0.9 * velocity - self.learning_rate * gradient
            x = (x.detach() + velocity).requires_grad_()
        return torch.stack(history)


class Maximisation:
    """DGN-AM: codes of a generator that maximise one class each (Nguyen et al. 2016)."""

    def __init__(self, net, arrays, layout):
        self.net, self.layout, self.map = net.requires_grad_(False), layout, arrays["map"].tolist()
        self.std, self.shift = arrays["pixels"].tolist()
        self.first, self.last = arrays["learning_rates"].tolist()
        self.decay_factor = float(arrays["decay_factor"])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.start, self.upper, self.classes = (tensors[name] for name in ("codes", "upper", "classes"))
        self.weights = {name[10:]: tensor for name, tensor in tensors.items() if name.startswith("generator.")}
        for name in [name for name in self.weights if name.startswith("conv")]:  # transposed ones of stride 1
            self.weights[name] = self.weights[name].transpose(0, 1).flip(2, 3).contiguous(memory_format=layout)

    def images(self, codes):
        x, leaky = codes, functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.3)  # lint: keep
        for name in [name for name in self.weights if name.startswith("defc") and name.endswith("weight")]:
            x = leaky(torch.nn.functional.linear(x, self.weights[name], self.weights[name[:-6] + "bias"]))
        height, width, channels = self.map
        x = x.view(-1, channels, height, width).contiguous(memory_format=self.layout)
        for name in [name for name in self.weights if "conv" in name]:
            if name.startswith("deconv"):
                x = torch.nn.functional.conv_transpose2d(x, self.weights[name], stride=2, padding=1)
            else:
                x = torch.nn.functional.conv2d(x, self.weights[name], padding=1)
            x = x if name.startswith("deconv0") else leaky(x)
        return (x + self.shift) / self.std

    def run(self, steps):
        codes, history = self.start.clone().requires_grad_(), []
        for step in range(steps):
            logits = self.net(self.images(codes))[range(len(codes)), self.classes]
            history.append(-logits.detach())
            (gradient,) = torch.autograd.grad(logits.sum(), codes)
            learning_rate = self.first + (self.last - self.first) * step / steps
            moved = codes.detach() + learning_rate * gradient / gradient.abs().mean(1, keepdim=True)
            codes = (self.decay_factor * torch.minimum(moved.clamp(min=0), self.upper)).requires_grad_()
        return torch.stack(history)


def methods(net):
    return {
        "gradient": functools.partial(Saliency(net).attribute, abs=False),
        "deconvnet": Deconvolution(net).attribute,
        "guided_backprop": GuidedBackprop(net).attribute,
    }


def reply(side, request):
    """(side, reply) after a request; `side` is what was loaded last."""
    if request["do"] == "load":
        torch.set_num_threads(request["threads"])
        return Side(request["folder"], request["layout"]), {}
    if request["do"] == "map":
        side.write(request["method"], request["to"])
        return side, {}
    if request["do"] == "invert":
        return side, {"losses": side.inverted.run(request["steps"]).tolist()}
    if request["do"] == "maximise":
        return side, {"losses": side.maximised.run(request["steps"]).tolist()}
    if request["do"] == "loss":
        return side, {"loss": side.trained.loss().item()}
    return side, {"seconds": side.seconds(request["method"], request["loops"])}


def main(reply=reply, **more_versions):
    # What libraries print must not get between the replies.
    output, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")  # captum warns of its hooks at every call
    side = None
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "captum": captum.__version__}
    print(json.dumps(versions | more_versions), file=output, flush=True)
    for line in sys.stdin:
        try:
            side, result = reply(side, json.loads(line))
        except Exception:  # the other process raises it
            result = {"error": traceback.format_exc()}
        print(json.dumps(result), file=output, flush=True)


if __name__ == "__main__":
    main()
