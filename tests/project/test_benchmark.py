"""The benchmark's messages without PyTorch, and a tiny run of every measurement."""

import argparse
import importlib.util
import itertools
import json
import os
import sys

import benchmark
import numpy as np
import pytest
from benchmarks import (
    attribution,
    bare,
    cases,
    compiling,
    growth,
    loader,
    optimising,
    reporting,
    search,
    steps,
    tcav,
    timing,
)

from xai_jax.core.network import layer_names
from xai_jax.data import photographs

TINY = cases.Case(8, 4, widths=(3, 4), stages=(1, 2), hidden=16, classes=6)
FASHION = cases.TRAINED._replace(widths=(2, 3, 4))
LAYER = tcav.Layer(2, 2, images=10, dimensions=500, timed=2, runs=3, drawn=2)
AT_LEAST = timing.Goal(">=", 1.2, "x")
BESIDE_PYTORCH = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("torch", "captum")), reason="needs the extra bench"
)


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.001)
    return argparse.Namespace(repeats=2, torch_python=sys.executable)


def _result(goal, ours, other, busy=0.0):
    return timing.Result("name", goal, ours, other, "theirs", busy, {})


def _names(results):
    """Names of results of which both sides were timed."""
    results = list(results)
    assert all(min(result.ours + result.other) > 0 and len(result.ours) == 2 for result in results)
    return [result.name for result in results]


def test_sides_take_turns_and_the_other_side_is_scaled(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_SECONDS", 3.5)
    calls = []

    def side(name, seconds):
        return lambda loops: calls.append((name, loops)) or seconds * loops

    result = timing.side_by_side(2, "name", AT_LEAST, [side("a", 1.0), side("b", 2.0)], scale=5.0)
    assert calls[-4:] == [("a", 4), ("b", 2)] * 2  # enough loops for 3.5 seconds
    assert (result.ours, result.other) == ([1.0, 1.0], [10.0, 10.0])


def test_difference_is_relative_to_captums_map():
    theirs = np.full((2, 1, 2, 2), 2.0)
    assert attribution.difference(theirs * 1.5, theirs) == pytest.approx(0.5)
    for wrong in (theirs[:1], 0 * theirs):
        with pytest.raises(ValueError, match="two maps"):
            attribution.difference(theirs, wrong)


def test_weights_have_torchvisions_layout():
    net, x, state = cases.build(TINY)
    assert [name for name in state if name.endswith("weight")] == [
        f"{name}.weight" for name in ("features.0", "features.3", "features.5", *(f"classifier.{i}" for i in (0, 3, 6)))
    ]
    assert layer_names(net, x)["conv2_2"].shape == (4, 4, 4, 4)
    kernel = net.args[0]["params"]["conv1_1"]["kernel"]
    np.testing.assert_array_equal(kernel, state["features.0.weight"].transpose(2, 3, 1, 0))


def test_without_torch_the_message_says_how_and_the_rest_runs(tmp_path, monkeypatch, capsys):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"error": "No module named torch"}\'\nexit 1\n')
    python.chmod(0o755)
    result = _result(timing.AS_FAST, [1.0], [1.0])
    monkeypatch.setattr(benchmark, "MEASUREMENTS", {"captum": attribution.beside_captum, "vjp": lambda *_: [result]})
    out = tmp_path / "benchmark.json"
    monkeypatch.setattr(sys, "executable", str(python))
    assert benchmark.main(["--out", str(out)]) == 0
    facts, said = json.loads(out.read_text()), capsys.readouterr().out
    for text in (said, facts["left_out"]["captum"]):
        assert "No module named torch" in text and "setup.sh bench" in text and "--torch-python" in text
    assert [record["name"] for record in facts["results"]] == ["name"]
    assert benchmark.main(["--out", str(out), "--only", "captum"]) == 1


@pytest.mark.parametrize("path", ["/none/python", "/bin/true"])
def test_a_wrong_python_is_named(path):
    with pytest.raises(timing.Missing, match=path), timing.torch_process(path, "torch_maps.py"):
        pass


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--out", "/none/benchmark.json"], ["--only", "speed"]])
def test_wrong_arguments_are_refused_before_anything_runs(arguments, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(arguments)
    assert "expected" in (said := capsys.readouterr().err) or "choose from" in said


@BESIDE_PYTORCH
@pytest.mark.benchmark
def test_maps_of_lite0_beside_its_pytorch_implementation(given):
    results = attribution.lite0(given, {}, 1)
    assert _names(itertools.islice(results, 1)) == ["lite0 gradient 1 photographs"]


@pytest.mark.benchmark
def test_tiny_vjp_occlusion_and_search(given):
    assert _names(attribution.beside_vjp(given, {}, [TINY])) == ["vjp guided_backprop 8 px"]
    assert _names(attribution.occlusion(given, {}, TINY, positions=4)) == ["occlusion 16 patches 8 px"]
    results = list(search.unit_search(given, {}, [TINY]))
    assert _names(results)[::2] == ["deconvnet search of all layers 8 px", "deconvnet 36 projections of pool2 8 px"]
    assert results[1].notes["layers"] == ["relu1_1", "relu2_1", "relu2_2", "relu6", "relu7"]


def _pairs(name):
    return [name, f"{name}, channels last"]


@pytest.mark.benchmark
def test_tiny_loops_of_small_steps(given):
    inversion = itertools.islice(optimising.inversions(given, {}, [(TINY, 20)]), 2)
    assert _names(inversion) == ["inversion 20 steps 8 px", "inversion of 16 images 8 px"]
    dgn = itertools.islice(optimising.dgn_steps(given, {}, FASHION, 2), 2)
    assert _names(dgn) == ["dgn 2 steps 28 px", "dgn of 256 units of relu7 28 px"]


@pytest.mark.benchmark
@BESIDE_PYTORCH
@pytest.mark.parametrize(
    "measure, arguments, name, tolerance",
    [
        (optimising.inversions, ([(TINY, 20)],), "inversion 8 px", 1e-3),
        (optimising.dgn_steps, (FASHION, 2), "dgn 28 px", 1e-2),
        (steps.beside_torch, (TINY._replace(channels=1),), "training 8 px", 1e-5),
    ],
)
def test_tiny_loops_beside_pytorch(given, measure, arguments, name, tolerance):
    results = list(measure(given, {}, *arguments))[-2:]
    assert _names(results) == _pairs(name)
    assert all(result.notes["difference of the losses"] < tolerance for result in results)


@pytest.mark.benchmark
@BESIDE_PYTORCH
def test_tiny_captum(given):
    versions = {}
    results = list(attribution.beside_captum(given, versions, [TINY]))
    names = [f"captum {method} 8 px" for method in attribution.METHODS]
    assert _names(results) == names + [f"{name}, channels last" for name in names]
    assert all(result.notes["difference in float64"] < 1e-10 for result in results)
    assert versions.keys() == {"python", "torch", "captum"}


def test_steps_of_the_benchmark_train():
    net, x, _ = cases.build(TINY)
    labels = np.arange(4, dtype=np.int32)
    step = cases.training(TINY, net, x, labels)
    losses = [float(step()[0]) for _ in range(30)]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="losses that agree"):
        steps.same_loss(net, x, labels, 100.0)


def test_maps_descents_and_cavs_that_differ_stop_the_benchmark(monkeypatch):
    net, x, _ = cases.build(TINY)
    theirs = {"float32": np.ones(x.shape, np.float32), "float64": np.ones((1, *x.shape[1:]))}
    with pytest.raises(ValueError, match="maps that agree"):
        attribution.same_maps("gradient", net, x, theirs)
    ours = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    assert optimising.same_descent(ours, np.full((2, 3), 2.0)) == {"difference of the losses": 0.0}
    with pytest.raises(ValueError, match="losses that agree"):
        optimising.same_descent(ours, np.full((2, 3), 2.1))
    monkeypatch.setattr(tcav, "in_all_dimensions", lambda *_: np.ones(50))
    with pytest.raises(ValueError, match="mean derivatives that agree"):
        tcav.agreement(LAYER, tcav.activations(LAYER))


@pytest.mark.benchmark
def test_tiny_tcav(given):
    examples = tcav.activations(LAYER)
    many = tcav.many_runs(given, LAYER)
    whole = tcav.beside_all_dimensions(given, LAYER, examples)
    assert _names([many, whole]) == ["tcav 3 runs of one concept", "tcav 4 CAVs"] and many.goal.unit == " s"
    assert "2 fits in all dimensions count for 4" in whole.notes["scaled"]
    assert whole.notes["difference of mean derivatives"] < 1e-10
    solved = list(tcav.many_sets(given, {}, LAYER))
    assert len(solved) == 4 and all("seconds of all cores" in reporting.line(result, {}) for result in solved)


@pytest.mark.benchmark
def test_memory_is_that_of_a_process_of_its_own():
    result = tcav.required_memory(LAYER)
    assert (
        0.1 < result.values[0] < 2 and " GB" in reporting.line(result, {}) and " ms" not in reporting.line(result, {})
    )


@pytest.mark.benchmark
def test_memory_of_a_child_excludes_that_of_its_parent(tmp_path):
    (tmp_path / "own_memory.py").write_text("from benchmarks import timing; print(timing.peak_memory())")
    scripts = os.pathsep.join([str(tmp_path), os.path.dirname(os.path.dirname(timing.__file__))])
    ballast = np.ones(8 * 10**7)
    assert timing.child("own_memory", PYTHONPATH=scripts) < ballast.nbytes


@pytest.mark.benchmark
@BESIDE_PYTORCH
def test_tiny_tcav_beside_captum(given):
    versions, examples = {}, tcav.activations(LAYER)
    with timing.torch_side(given, versions, "torch_tcav.py") as (request, directory):
        names = _names(tcav.beside_captum(given, request, directory, LAYER, examples))
    assert "sklearn" in versions and len(names) == 2


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("measure", "sizes", "count"),
    [
        (bare.saliency_maps, (FASHION._replace(batch=4), 2), 2),
        pytest.param(bare.maximisation, (FASHION, 2), 3, marks=pytest.mark.slow),
        pytest.param(bare.fooling_images, (FASHION, 2), 2, marks=pytest.mark.slow),
        (bare.cached_activations, (FASHION, 1), 2),
        (bare.generator_training, (FASHION, 4), 1),
        (bare.supervised_training, (FASHION,), 1),
    ],
)
def test_tiny_methods_beside_bare_passes(given, monkeypatch, measure, sizes, count):
    monkeypatch.setattr(bare, "POPULATION", 6)
    names = _names(measure(given, {}, *sizes))
    assert len(names) == count and all(name.startswith("bare ") for name in names)


@pytest.mark.benchmark
def test_growth_is_measured_in_processes_of_their_own():
    assert growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    result = growth.growth_with("images (maps)", (1, 2))
    assert len(result.notes["seconds at each size"]) == 2 and result.notes["growth"].startswith("1: ")
    assert all(part in reporting.line(result, {}) for part in (" (exponent)", "2: "))
    with pytest.raises(RuntimeError, match="none 1 failed"):
        growth.growth_with("none", (1,))


@pytest.mark.benchmark
@pytest.mark.skipif(not photographs.PACKAGE.find(), reason="Debian's photographs are not installed")
def test_tiny_loader(given):
    assert {"loader random crop", "loader one of ten"} <= set(_names(loader.loading(given, {}, 2, 64)))


@pytest.mark.benchmark
def test_every_method_is_compiled():
    assert len(dict(compiling.calls())) == 14
