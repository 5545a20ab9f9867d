"""The measurement of benchmark.py that says how long methods compile: `python scripts/benchmark_compile.py FOLDER`.

That is the child: it prints as JSON the seconds of the first call less a later one, by method. It runs twice with the
same folder for compiled programs, which is empty the first time.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmark_bare import evolved, kept_nowhere, maximised, players_of, stepping
from benchmark_cases import CLASS, TRAINED, build, training
from benchmark_optimising import inverting, maximising
from timing import Goal, Result, loop

from xai_jax import activation_maximisation, deconvnet, saliency, targets
from xai_jax.synthesis.fooling import Direct

CASE = TRAINED._replace(batch=32)
STEPS = 2


def of_compiling(given, _: dict) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        anew, kept = child(folder), child(folder)
    for name, seconds in anew.items():
        notes = {"seconds of compiling": seconds, "seconds of reading the program from disk": kept[name]}
        ours, other = [max(kept[name], 1e-3)], [seconds]
        yield Result(f"compile {name}", Goal("<=", 1, "x"), ours, other, "compiled anew", 0.0, notes)


def child(folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, folder]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent)
    if done.returncode:
        raise RuntimeError(f"The process that compiles failed:\n{done.stderr}")
    return json.loads(done.stdout)


def calls() -> Iterator[tuple[str, Callable[[], Any]]]:
    """A small call of each method."""
    net, x, _ = build(CASE)
    logit, labels = targets.logit(CLASS), np.arange(CASE.batch, dtype=np.int32) % CASE.classes
    for method in ("gradient", "deconvnet", "guided_backprop", "integrated_gradients"):
        yield method, lambda method=method: getattr(saliency, method)(net, x, logit)
    yield "occlusion", lambda: saliency.occlusion(net, x[:1], logit, 7, 7)
    images = np.asarray(x)
    yield "search for the strongest", lambda: deconvnet.top_k(net, "relu3_1", images, batch_size=CASE.batch)
    yield "projection", lambda: deconvnet.project(net, x, targets.neuron("relu3_1", 0, (2, 2)))
    yield "inversion", inverting(CASE, STEPS)
    yield "dgn", maximising(CASE._replace(batch=CASE.classes), STEPS)
    yield "maximisation", lambda: maximised(activation_maximisation.Yosinski(steps=STEPS), net, logit, x)
    yield "fooling", lambda: evolved(net, Direct(x.shape[1:]), STEPS)
    yield "TCAV responses", lambda: kept_nowhere("gradients", net, images, (logit,))
    yield "training", training(CASE, net, x, labels)
    yield "training of a generator", stepping(*players_of(CASE), x)


def main(folder: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    found = {}
    for name, call in calls():
        first, later = loop(call)(1), min(loop(call)(1) for _ in range(2))
        found[name] = max(0.0, first - later)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
