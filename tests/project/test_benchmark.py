"""The benchmark's arithmetic, its JSON, its messages without PyTorch, and a tiny run of every measurement."""

import argparse
import importlib.util
import itertools
import json
import os
import sys
import time

import benchmark
import benchmark_bare
import benchmark_cases
import benchmark_compile
import benchmark_growth
import benchmark_loader
import benchmark_optimising
import benchmark_tcav
import numpy as np
import pytest
import timing

from xai_jax.core.network import layer_names
from xai_jax.data import photographs

TINY = benchmark_cases.Case(8, 4, widths=(3, 4), stages=(1, 2), hidden=16, classes=6)
FASHION = benchmark_cases.TRAINED._replace(widths=(2, 3, 4))
LAYER = benchmark_tcav.Layer(2, 2, images=10, dimensions=500, timed=2, runs=3, drawn=2)
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


@pytest.mark.parametrize(
    "goal, ours, other, values",
    [
        (AT_LEAST, [2.0, 1.0, 4.0], [3.0, 4.0, 2.0], [1.5, 4.0, 0.5]),  # a throughput
        (timing.AS_FAST, [2.0, 1.0], [4.0, 4.0], [0.5, 0.25]),
        (timing.Goal("<=", 1.0, " s"), [2.0, 0.5], [], [2.0, 0.5]),
    ],
)
def test_values_are_throughputs_times_or_seconds(goal, ours, other, values):
    assert _result(goal, ours, other).values == values


@pytest.mark.parametrize(("ours", "reached"), [([1.0, 1.0, 9.0], True), ([1.0, 9.0, 9.0], False)])
def test_the_median_decides(ours, reached):
    result = _result(AT_LEAST, ours, [1.2, 1.2, 1.2])
    record = json.loads(timing.report([result], {}, {}, 0.0, 0.0))["results"][0]
    assert record["reached"] is reached
    assert ("NOT reached" in timing.line(result)) is not reached


def test_report_holds_every_number_and_its_environment():
    result = _result(AT_LEAST, [1.0, 2.0], [3.0, 2.0], busy=0.25)
    facts = json.loads(timing.report([result], {"photo": "no weights"}, {"torch": "9"}, 0.5, 60.0))
    record = facts["results"][0]
    assert record["value"] == {"min": 1.0, "median": 2.0, "max": 3.0, "all": [3.0, 1.0]}
    assert record["ours_seconds"]["all"] == [1.0, 2.0] and record["other_seconds"]["median"] == 2.5
    assert (record["goal"], record["at_best"], record["cores_taken_by_others"]) == (">= 1.2x", 2.0, 0.25)
    assert facts["left_out"] == {"photo": "no weights"} and facts["torch_side"] == {"torch": "9"}
    assert facts["machine"]["cores"] >= 1 and {"jax", "python", "numpy"} <= facts["versions"].keys()


def test_a_busy_machine_gets_no_verdict():
    busy = _result(AT_LEAST, [1.0], [2.0], busy=0.25)
    assert busy.reached is None
    assert "OTHERS TOOK 25% OF THE CORES" in (said := timing.line(busy)) and "no verdict" in said
    assert "OTHERS" not in timing.line(_result(AT_LEAST, [1.0], [2.0], busy=0.01))


def test_work_of_others_reads_everything_but_idle_time(tmp_path):
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  " + " ".join(str(n * tick) for n in (1e6, 2, 3, 1000, 5000, 4, 5, 6, 0, 0)).replace(".0", ""))
    expected = 1_000_020 - time.process_time()
    assert timing.work_of_others(stat) == pytest.approx(expected, abs=1)
    assert timing.work_of_others(tmp_path / "none") == 0


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
    assert benchmark.difference(theirs * 1.5, theirs) == pytest.approx(0.5)
    for wrong in (theirs[:1], 0 * theirs):
        with pytest.raises(ValueError, match="two maps"):
            benchmark.difference(theirs, wrong)


def test_weights_have_torchvisions_layout():
    net, x, state = benchmark_cases.build(TINY)
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
    monkeypatch.setattr(benchmark, "MEASUREMENTS", {"captum": benchmark.beside_captum, "vjp": lambda *_: [result]})
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
    with pytest.raises(benchmark.Missing, match=path), timing.torch_process(path, "benchmark_torch.py"):
        pass


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--out", "/none/benchmark.json"], ["--only", "speed"]])
def test_wrong_arguments_are_refused_before_anything_runs(arguments, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(arguments)
    assert "expected" in (said := capsys.readouterr().err) or "choose from" in said


@pytest.mark.benchmark
def test_tiny_vjp_occlusion_and_search(given):
    assert _names(benchmark.beside_vjp(given, {}, [TINY])) == ["vjp guided_backprop 8 px"]
    assert _names(benchmark.occlusion(given, {}, TINY, positions=4)) == ["occlusion 16 patches 8 px"]
    results = list(benchmark.unit_search(given, {}, [TINY]))
    assert _names(results)[::2] == ["deconvnet search of all layers 8 px", "deconvnet 36 projections of pool2 8 px"]
    assert results[1].notes["layers"] == ["relu1_1", "relu2_1", "relu2_2", "relu6", "relu7"]


def _pairs(name):
    return [name, f"{name}, channels last"]


@pytest.mark.benchmark
def test_tiny_loops_of_small_steps(given):
    inversion = itertools.islice(benchmark_optimising.inversions(given, {}, [(TINY, 20)]), 2)
    assert _names(inversion) == ["inversion 20 steps 8 px", "inversion of 16 images 8 px"]
    dgn = itertools.islice(benchmark_optimising.dgn_steps(given, {}, FASHION, 2), 2)
    assert _names(dgn) == ["dgn 2 steps 28 px", "dgn of 256 units of relu7 28 px"]


@pytest.mark.benchmark
@BESIDE_PYTORCH
@pytest.mark.parametrize(
    "measure, arguments, name, tolerance",
    [
        (benchmark_optimising.inversions, ([(TINY, 20)],), "inversion 8 px", 1e-3),
        (benchmark_optimising.dgn_steps, (FASHION, 2), "dgn 28 px", 1e-2),
        (benchmark.beside_torch, (TINY._replace(channels=1),), "training 8 px", 1e-5),
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
    results = list(benchmark.beside_captum(given, versions, [TINY]))
    names = [f"captum {method} 8 px" for method in benchmark.METHODS]
    assert _names(results) == names + [f"{name}, channels last" for name in names]
    assert all(result.notes["difference in float64"] < 1e-10 for result in results)
    assert versions.keys() == {"python", "torch", "captum"}


def test_steps_of_the_benchmark_train():
    net, x, _ = benchmark_cases.build(TINY)
    labels = np.arange(4, dtype=np.int32)
    step = benchmark_cases.training(TINY, net, x, labels)
    losses = [float(step()[0]) for _ in range(30)]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="losses that agree"):
        benchmark.same_loss(net, x, labels, 100.0)


def test_maps_descents_and_cavs_that_differ_stop_the_benchmark(monkeypatch):
    net, x, _ = benchmark_cases.build(TINY)
    theirs = {"float32": np.ones(x.shape, np.float32), "float64": np.ones((1, *x.shape[1:]))}
    with pytest.raises(ValueError, match="maps that agree"):
        benchmark.same_maps("gradient", net, x, theirs)
    ours = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    assert benchmark_optimising.same_descent(ours, np.full((2, 3), 2.0)) == {"difference of the losses": 0.0}
    with pytest.raises(ValueError, match="losses that agree"):
        benchmark_optimising.same_descent(ours, np.full((2, 3), 2.1))
    monkeypatch.setattr(benchmark_tcav, "in_all_dimensions", lambda *_: np.ones(50))
    with pytest.raises(ValueError, match="mean derivatives that agree"):
        benchmark_tcav.agreement(LAYER, benchmark_tcav.activations(LAYER))


@pytest.mark.benchmark
def test_tiny_tcav(given):
    examples = benchmark_tcav.activations(LAYER)
    many = benchmark_tcav.many_runs(given, LAYER)
    whole = benchmark_tcav.beside_all_dimensions(given, LAYER, examples)
    assert _names([many, whole]) == ["tcav 3 runs of one concept", "tcav 4 CAVs"] and many.goal.unit == " s"
    assert "2 fits in all dimensions count for 4" in whole.notes["scaled"]
    assert whole.notes["difference of mean derivatives"] < 1e-10
    solved = list(benchmark_tcav.many_sets(given, {}, LAYER))
    assert len(solved) == 4 and all("seconds of all cores" in timing.line(result) for result in solved)


@pytest.mark.benchmark
def test_memory_is_that_of_a_process_of_its_own():
    result = benchmark_tcav.required_memory(LAYER)
    assert 0.1 < result.values[0] < 2 and " GB" in timing.line(result) and " ms" not in timing.line(result)


@pytest.mark.benchmark
def test_memory_of_a_child_excludes_that_of_its_parent(tmp_path):
    script, scripts = tmp_path / "child.py", os.path.dirname(timing.__file__)
    script.write_text(f"import sys; sys.path.insert(0, {scripts!r}); import timing; print(timing.peak_memory())")
    ballast = np.ones(8 * 10**7)
    assert timing.child(script) < ballast.nbytes


@pytest.mark.benchmark
@BESIDE_PYTORCH
def test_tiny_tcav_beside_captum(given):
    versions, examples = {}, benchmark_tcav.activations(LAYER)
    with timing.torch_side(given, versions, "benchmark_torch_tcav.py") as (request, directory):
        names = _names(benchmark_tcav.beside_captum(given, request, directory, LAYER, examples))
    assert "sklearn" in versions and len(names) == 2


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("measure", "sizes", "count"),
    [
        (benchmark_bare.saliency_maps, (FASHION._replace(batch=4), 2), 2),
        pytest.param(benchmark_bare.maximisation, (FASHION, 2), 3, marks=pytest.mark.slow),
        pytest.param(benchmark_bare.fooling_images, (FASHION, 2), 2, marks=pytest.mark.slow),
        (benchmark_bare.cached_activations, (FASHION, 1), 2),
        (benchmark_bare.generator_training, (FASHION, 4), 1),
        (benchmark_bare.supervised_training, (FASHION,), 1),
    ],
)
def test_tiny_methods_beside_bare_passes(given, monkeypatch, measure, sizes, count):
    monkeypatch.setattr(benchmark_bare, "POPULATION", 6)
    names = _names(measure(given, {}, *sizes))
    assert len(names) == count and all(name.startswith("bare ") for name in names)


@pytest.mark.benchmark
def test_growth_is_measured_in_processes_of_their_own():
    assert benchmark_growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    result = benchmark_growth.growth_with("images (maps)", (1, 2))
    assert len(result.notes["seconds at each size"]) == 2 and result.notes["growth"].startswith("1: ")
    assert all(part in timing.line(result) for part in (" (exponent)", "2: "))
    with pytest.raises(RuntimeError, match="none 1 failed"):
        benchmark_growth.growth_with("none", (1,))


@pytest.mark.benchmark
@pytest.mark.skipif(not photographs.PACKAGE.find(), reason="Debian's photographs are not installed")
def test_tiny_loader(given):
    assert {"loader random crop", "loader one of ten"} <= set(_names(benchmark_loader.loading(given, {}, 2, 64)))


@pytest.mark.benchmark
def test_every_method_is_compiled():
    assert len(dict(benchmark_compile.calls())) == 14
