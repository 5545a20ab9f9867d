"""What xai_jax does on one GPU: numbers beside the CPU's, speed, training, the loader, determinism; under 10 minutes.

    PYTHONPATH=. python scripts/check_accelerator.py [SECTION ...] | tee accelerator.jsonl

Random weights, nothing is downloaded. Prints a JSON line for each result, and names sections for which no time is left.
Exit status 1 if a section fails, an attribution is further than 1e-4 from the CPU's, or two deterministic runs differ.
"""

import argparse
import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".65")  # leaves room for the processes of `determinism`

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.tree_util import Partial  # noqa: E402
from PIL import Image  # noqa: E402

from experiments.lib.numerics import DETERMINISTIC  # noqa: E402
from xai_jax import activation_cache, cppn, deconvnet, hog_dsift, inversion, parametrisation, saliency, targets  # noqa: E402
from xai_jax.architectures.allcnn import AllCNN  # noqa: E402
from xai_jax.architectures.vgg import VGG  # noqa: E402
from xai_jax.data import batches, crops, datasets  # noqa: E402
from xai_jax.training import evaluation, sgd, supervised  # noqa: E402

TARGET = targets.logit(3)
TOLERANCE = 1e-4  # relative L2 distance of attributions from the CPU's
bind = functools.partial


class Sizes(NamedTuple):
    """How much is computed: on an accelerator, or in a rehearsal on a CPU."""

    product: int = 8192
    side: int = 224
    stages: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: int = 4096
    images: tuple[int, ...] = (32, 128)
    training: int = 50_000
    width: float = 1.0
    seconds: float = 1.5


TINY = Sizes(64, 32, (1, 1), (4, 4), 8, (4,), 256, 0.05, 0.02)
Line = dict[str, Any]


def throughput(function: Callable[[], Any], images: int, seconds: float) -> tuple[float, float]:
    """(images a second, seconds of the first call, which compiles)."""
    began = time.perf_counter()
    jax.block_until_ready(function())
    first, count, began = time.perf_counter() - began, 0, time.perf_counter()
    while not count or time.perf_counter() - began < seconds:
        jax.block_until_ready(function())
        count += 1
    return count * images / (time.perf_counter() - began), first


def network(module: Any, side: int) -> Partial:
    """A network with random weights."""
    return Partial(module.apply, jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, side, side, 3))))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def peaks(sizes: Sizes) -> Iterator[Line]:
    """TFLOP/s of products of matrices."""
    one = jnp.asarray(normal(sizes.product, sizes.product))
    kinds = {
        "default": (one, "default"),
        "highest": (one, "highest"),
        "bfloat16": (one.astype(jnp.bfloat16), "default"),
    }
    for name, (x, precision) in kinds.items():
        per_second, _ = throughput(bind(jax.jit(bind(jnp.matmul, precision=precision)), x, x), 1, sizes.seconds)
        yield {"product": name, "TFLOP/s": per_second * 2 * sizes.product**3 / 1e12}


def attributions(net: Partial, x: jax.Array) -> dict[str, Any]:
    """What has to be exact with default settings."""
    methods = {name: getattr(saliency, name) for name in ("gradient", "guided_backprop", "deconvnet")}
    found = {name: method(net, x, TARGET) for name, method in methods.items()}
    found["integrated_gradients"] = saliency.integrated_gradients(net, x, TARGET, steps=4)
    found["occlusion"] = saliency.occlusion(net, x[:1], TARGET, patch=16, stride=16)
    found["grad_cam"] = saliency.grad_cam(net, x, TARGET, "relu2_1")
    found["top_k"] = deconvnet.top_k(net, "relu2_1", x, 2)["relu2_1"].values
    cache = activation_cache.ActivationCache(net, "relu2_1")
    return found | {"TCAV's gradients": cache.gradients(np.asarray(x), TARGET)["relu2_1"]}


def drawn(x: jax.Array) -> dict[str, Any]:
    """Descriptors, encodings and transforms of images, exact at every setting."""
    grey, encoding = x.mean(-1, keepdims=True) * 60, cppn.CPPN(x.shape[1:])
    genomes = encoding.sample(jax.random.key(1), 4)
    found = {"hog": hog_dsift.hog(grey), "cppn": jax.jit(encoding.render)(genomes)}
    found["gradient of hog"] = jax.grad(lambda grey: (hog_dsift.hog(grey) ** 2).sum())(grey)
    return found | {"fourier": parametrisation.from_fourier(parametrisation.to_fourier(x), x.shape[2])}


def optimised(net: Partial, x: jax.Array) -> dict[str, Any]:
    """The last loss of an inversion, whose steps may round."""
    represent, form = inversion.of_layer(net, "relu2_1", Partial(jnp.multiply, 1 / 60)), inversion.IJCV(steps=(10, 0))
    found = inversion.invert(represent, represent(x * 60), x.shape[1:], jax.random.key(0), form)
    return {"loss of an inversion": found.history["features"][-1]}


def on(device: jax.Device, net: Partial, x: np.ndarray) -> dict[str, np.ndarray]:
    """All results on a device, in float64."""
    with jax.default_device(device), mock.patch.object(jax, "default_backend", lambda: device.platform):
        net, x = jax.device_put((net, x), device)
        found = attributions(net, x) | drawn(x) | optimised(net, x)
        return {name: np.asarray(value, np.float64) for name, value in found.items()}


def correctness(sizes: Sizes) -> Iterator[Line]:
    """Relative distances from the CPU's float32: with default settings, and with products as the device rounds them."""
    side = min(sizes.side, 64)
    net, x = network(VGG((1, 1, 1), (32, 64, 128), 256, 10), side), normal(4, side, side, 3)
    with jax.default_matmul_precision("highest"):
        truth = on(jax.devices("cpu")[0], net, x)
    for setting in (None, "default"):
        with jax.default_matmul_precision(setting):
            found = on(jax.devices()[0], net, x)
        for name, value in truth.items():
            off = float(np.linalg.norm(found[name] - value) / (np.linalg.norm(value) + 1e-12))
            exact = setting is None and name != "loss of an inversion"
            limit = {"passed": off <= TOLERANCE} if exact else {}
            yield {"method": name, "setting": setting or "of xai_jax", "relative": off} | limit


def speed(sizes: Sizes) -> Iterator[Line]:
    """Methods beside the gradient of a logit in plain JAX, at both precisions."""
    module = VGG(sizes.stages, sizes.widths, sizes.hidden, 10)
    net, plain = network(module, sizes.side), jax.jit(jax.grad(lambda x, net: net(x)[:, 3].sum()))
    for count in sizes.images:
        x = jnp.asarray(normal(count, sizes.side, sizes.side, 3))
        for precision in ("default", "highest"):
            with jax.default_matmul_precision(precision):
                bare, first = throughput(lambda x=x: plain(x, net), count, sizes.seconds)
                yield {"bare gradient": precision, "images": count, "per_s": bare, "compile_s": first}
                for size in sorted({min(32, count), count}):
                    for name in ("gradient", "guided_backprop"):
                        call = bind(getattr(saliency, name), net, x, TARGET, batch_size=size)
                        per_second, first = throughput(call, count, sizes.seconds)
                        shown = {"method": name, "precision": precision, "images": count, "batch_size": size}
                        yield shown | {"per_s": per_second, "of_bare": per_second / bare, "compile_s": first}


def toy(count: int) -> datasets.InMemory:
    """Images (count, 32, 32, 3) of ten classes that a network learns."""
    rng = np.random.default_rng(0)
    labels, kinds = rng.integers(0, 10, count).astype(np.int32), rng.integers(0, 256, (10, 32, 32, 3))
    images = np.clip(kinds[labels] * 0.3 + rng.normal(90, 50, (count, 32, 32, 3)), 0, 255).astype(np.uint8)
    return datasets.InMemory(images, labels, tuple("0123456789"))


def trained(data: datasets.InMemory, sizes: Sizes, half: bool, folder: str) -> Partial:
    """A network after one epoch, with its log in `folder`."""
    module = AllCNN("C", "allcnn", sizes.width)
    recipe = sgd.Recipe(epochs=1, batch_size=128, learning_rate=0.05, decay=1e-3, half=half)
    return Partial(module.apply, supervised.fit(module, data, recipe, folder, seed=0))


def training(sizes: Sizes) -> Iterator[Line]:
    """`supervised.fit` in float32 and bfloat16."""
    data = toy(sizes.training)
    for half in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            net = trained(data, sizes, half, folder)
            seconds = time.perf_counter() - began
            speeds = [line["images_per_second"] for line in supervised.metrics(folder)]
        error = evaluation.errors(net, data).top1
        yield {"fit, half": half, "seconds": seconds, "per_s": float(np.median(speeds)), "error": error}


def loader(sizes: Sizes) -> Iterator[Line]:
    """Photographs of 500 x 375 pixels, decoded and cropped."""
    small, buffer = np.random.default_rng(0).integers(0, 256, (94, 125, 3), np.uint8), io.BytesIO()
    Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(100):
            path = Path(folder, f"train/c/{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
        files = datasets.load(f"folder:{folder}", "train")
        many = datasets.select(files, np.arange(10**6) % 100)
        found, count = batches.batches(many, 128, 0, 0, 0, crops.random_crop), 0
        next(found)
        began = time.perf_counter()
        while not count or time.perf_counter() - began < 3 * sizes.seconds:
            count += len(next(found)[0])
        yield {"photographs": True, "cores": os.cpu_count(), "per_s": count / (time.perf_counter() - began)}
        found.close()


def determinism(sizes: Sizes) -> Iterator[Line]:
    """Whether two processes train equal weights, without and with XLA's deterministic options."""
    for name, flags in {"default": (), "--deterministic": DETERMINISTIC}.items():
        own = os.environ | {"XLA_FLAGS": " ".join(flags), "XLA_PYTHON_CLIENT_MEM_FRACTION": ".2"}
        command = [sys.executable, __file__, "--digest", *(["--tiny"] if sizes is TINY else [])]
        done = [subprocess.run(command, env=own, capture_output=True, text=True, check=True) for _ in range(2)]
        same = done[0].stdout.split()[-1] == done[1].stdout.split()[-1]
        yield {"two processes": name, "same": same} | ({"passed": same} if flags else {})


def digest(sizes: Sizes) -> str:
    """Of weights after some steps."""
    with tempfile.TemporaryDirectory() as folder:
        net = trained(toy(min(sizes.training, 6400)), sizes, False, folder)
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(net))).hexdigest()


# Each with the seconds that it takes at most, on a GPU.
SECTIONS = {peaks: 10, correctness: 120, speed: 150, training: 150, loader: 20, determinism: 90}


def lines(sizes: Sizes, names: list[str], seconds: float) -> Iterator[Line]:
    """The results of some sections; of one that fails, its error."""
    began = time.monotonic()
    yield {
        "section": "machine",
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "cores": os.cpu_count(),
    }
    for section, needed in SECTIONS.items():
        if section.__name__ not in names:
            continue
        if sizes is not TINY and time.monotonic() - began + needed > seconds:
            yield {"section": section.__name__, "skipped": True}
            continue
        try:
            for line in section(sizes):
                yield {"section": section.__name__} | line
        except Exception as error:  # the other sections still run
            yield {"section": section.__name__, "passed": False, "error": f"{type(error).__name__}: {error}"[:300]}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [section.__name__ for section in SECTIONS]
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=570, help="time limit (default: 570)")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a CPU")
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.sections) - set(names):
        parser.error(f"expected sections among {', '.join(names)}, got {', '.join(sorted(unknown))}")
    sizes, passed = TINY if arguments.tiny else Sizes(), True
    if arguments.digest:
        print(digest(sizes))
        return 0
    for line in lines(sizes, arguments.sections or names, arguments.seconds):
        rounded = {k: float(f"{value:.4g}") if isinstance(value, float) else value for k, value in line.items()}
        print(json.dumps(rounded), flush=True)
        passed = passed and line.get("passed", True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
