"""Measurement of benchmark.py: compile time of each method. `python -m benchmarks.compiling DIRECTORY`

That is the child process: it prints as JSON the seconds of the first call less a later one, by method. It runs twice
with the same directory as compilation cache, which is empty the first time.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from benchmarks.bare import adversarial_setting, adversarial_step, evolved, maximised, uncached
from benchmarks.cases import CLASS, TRAINED, build, training
from benchmarks.optimising import class_maximisation, logit_inversion
from benchmarks.timing import Goal, Result, child, loop

from xai_jax import activation_maximisation, deconvnet, saliency, targets
from xai_jax.core.allocation import keep_freed_memory
from xai_jax.synthesis.fooling import Direct

CASE = TRAINED._replace(batch=32)
STEPS = 2


def compile_times(given, _: dict) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as directory:
        compiled, cached = child(__name__, directory), child(__name__, directory)
    for name, seconds in compiled.items():
        notes = {"seconds of compiling": seconds, "seconds of reading the program from disk": cached[name]}
        ours, other = [max(cached[name], 1e-3)], [seconds]
        yield Result(f"compile {name}", Goal("<=", 1, "x"), ours, other, "empty cache", 0.0, notes)


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
    yield "inversion", logit_inversion(CASE, STEPS)
    yield "dgn", class_maximisation(CASE._replace(batch=CASE.classes), STEPS)
    yield "maximisation", lambda: maximised(activation_maximisation.Yosinski(steps=STEPS), net, logit, x)
    yield "fooling", lambda: evolved(net, Direct(x.shape[1:]), STEPS)
    yield "activation cache", lambda: uncached("gradients", net, images, (logit,))
    yield "training", training(CASE, net, x, labels)
    yield "training of a generator", adversarial_step(*adversarial_setting(CASE), x)


def main(directory: str) -> None:
    keep_freed_memory()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    seconds = {}
    for name, call in calls():
        first, later = loop(call)(1), min(loop(call)(1) for _ in range(2))
        seconds[name] = max(0.0, first - later)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
