"""The benchmark's arithmetic, its JSON, what it says without PyTorch, and a tiny run of every measurement."""

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
import benchmark_optimising
import benchmark_tcav
import numpy as np
import pytest
import timing

from xai_jax.core.network import layer_names

TINY = benchmark_cases.Case(8, 4, widths=(3, 4), stages=(1, 2), hidden=16, classes=6)
FASHION = benchmark_cases.TRAINED._replace(widths=(2, 3, 4))
AT_LEAST = timing.Goal(">=", 1.2, "x")


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.001)
    return argparse.Namespace(repeats=2, torch_python=sys.executable)


def _result(goal, ours, other, busy=0.0):
    return timing.Result("name", goal, ours, other, "theirs", busy, {})


def test_a_throughput_is_the_other_time_over_ours_and_a_cost_the_reverse():
    assert _result(AT_LEAST, [2.0, 1.0, 4.0], [3.0, 4.0, 2.0]).values == [1.5, 4.0, 0.5]
    assert _result(AT_LEAST, [2.0, 1.0, 4.0], [3.0, 4.0, 2.0]).at_best == 2.0
    assert _result(timing.AS_FAST, [2.0, 1.0], [4.0, 4.0]).values == [0.5, 0.25]
    assert _result(timing.Goal("<=", 1.0, " s"), [2.0, 0.5], []).values == [2.0, 0.5]


@pytest.mark.parametrize(("ours", "reached"), [([1.0, 1.0, 9.0], True), ([1.0, 9.0, 9.0], False)])
def test_the_median_decides(ours, reached):
    result = _result(AT_LEAST, ours, [1.2, 1.2, 1.2])
    record = json.loads(timing.report([result], {}, {}, 0.0, 0.0))["results"][0]
    assert record["reached"] is reached
    assert ("NOT reached" in timing.line(result)) is not reached


def test_report_holds_every_number_and_where_it_comes_from():
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
    assert "OTHERS TOOK 25% OF THE CORES" in (said := timing.line(busy)) and "not judged" in said
    assert "OTHERS" not in timing.line(_result(AT_LEAST, [1.0], [2.0], busy=0.01))


def test_work_of_others_reads_everything_but_idle_time(tmp_path):
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  " + " ".join(str(n * tick) for n in (1e6, 2, 3, 1000, 5000, 4, 5, 6, 0, 0)).replace(".0", ""))
    expected = 1_000_020 - time.process_time()
    assert timing.work_of_others(stat) == pytest.approx(expected, abs=1)
    assert timing.work_of_others(tmp_path / "none") == 0


def test_sides_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_SECONDS", 3.5)
    calls = []

    def side(name, seconds):
        return lambda loops: calls.append((name, loops)) or seconds * loops

    (a, b), _ = timing.take_turns([side("a", 1.0), side("b", 2.0)], 2)
    assert calls[-4:] == [("a", 4), ("b", 2)] * 2  # enough loops for 3.5 seconds
    assert (a, b) == ([1.0, 1.0], [2.0, 2.0])


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


def test_without_torch_the_message_says_how_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'{"error": "No module named torch"}\'\nexit 1\n')
    python.chmod(0o755)
    result = _result(timing.AS_FAST, [1.0], [1.0])
    monkeypatch.setattr(benchmark, "MEASUREMENTS", {"captum": benchmark.against_captum, "vjp": lambda *_: [result]})
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
    with pytest.raises(benchmark.Missing, match=path):
        with timing.captum_process(path):
            pass


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--out", "/none/benchmark.json"], ["--only", "speed"]])
def test_wrong_arguments_are_refused_before_anything_runs(arguments, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(arguments)
    assert "expected" in (said := capsys.readouterr().err) or "choose from" in said


def test_tiny_vjp_and_occlusion(given):
    (vjp,) = benchmark.against_vjp(given, {}, [TINY])
    (occlusion,) = benchmark.against_forward(given, {}, TINY, positions=4)
    for result in (vjp, occlusion):
        assert len(result.ours) == len(result.other) == len(result.values) == 2
        assert min(result.ours + result.other) > 0
    assert occlusion.notes["patches"] == 16


def test_tiny_deconvnet(given):
    results = whole, rectified, projections = list(benchmark.of_deconvnet(given, {}, [TINY]))
    assert whole.name == "deconvnet search of all layers 8 px" and whole.notes["images"] == 64
    assert rectified.notes["layers"] == ["relu1_1", "relu2_1", "relu2_2", "relu6", "relu7"]
    assert projections.name == "deconvnet 36 projections of pool2 8 px"
    assert all(min(result.ours + result.other) > 0 for result in results)


@pytest.fixture
def tiny_inversion(monkeypatch):
    monkeypatch.setattr(benchmark_optimising, "INVERTED", [(TINY, 20)])
    return benchmark_optimising.INVERTED


def test_tiny_inversion(given, tiny_inversion):
    steps, many = itertools.islice(benchmark_optimising.of_inversion(given, {}, tiny_inversion), 2)
    assert steps.name == "inversion 20 steps 8 px" and many.name == "inversion of 16 images 8 px"
    assert all(min(result.ours + result.other) > 0 for result in (steps, many))


def test_tiny_inversion_beside_pytorch(given, tiny_inversion):
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("captum")):
        pytest.skip("needs the extra bench")
    *_, default, last = benchmark_optimising.of_inversion(given, {}, tiny_inversion)
    assert [default.name, last.name] == ["inversion 8 px", "inversion 8 px, channels last"]
    assert all(r.notes["difference of the losses"] < 1e-3 and min(r.ours + r.other) > 0 for r in (default, last))


def test_tiny_generator(given):
    bare, units = itertools.islice(benchmark_optimising.of_dgn(given, {}, FASHION, 2), 2)
    assert bare.name == "dgn 2 steps 28 px" and units.name == "dgn of 256 units of relu7 28 px"
    assert all(min(result.ours + result.other) > 0 for result in (bare, units))


def test_tiny_generator_beside_pytorch(given):
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("captum")):
        pytest.skip("needs the extra bench")
    *_, default, last = benchmark_optimising.of_dgn(given, {}, FASHION, 2)
    assert [default.name, last.name] == ["dgn 28 px", "dgn 28 px, channels last"]
    assert all(r.notes["difference of the losses"] < 1e-2 and min(r.ours + r.other) > 0 for r in (default, last))


def test_descents_that_differ_stop_the_benchmark():
    ours = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    assert benchmark_optimising.same_descent(ours, np.full((2, 3), 2.0)) == {"difference of the losses": 0.0}
    with pytest.raises(ValueError, match="losses that agree"):
        benchmark_optimising.same_descent(ours, np.full((2, 3), 2.1))


def test_tiny_captum(given):
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("captum")):
        pytest.skip("needs the extra bench")
    versions = {}
    results = list(benchmark.against_captum(given, versions, [TINY]))
    assert [result.name.split()[1] for result in results] == list(benchmark.METHODS)
    assert all(result.notes["difference in float64"] < 1e-10 for result in results)
    assert versions.keys() == {"python", "torch", "captum"}


def test_tiny_training(given):
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("captum")):
        pytest.skip("needs the extra bench")
    results = list(benchmark.against_torch(given, {}, TINY._replace(channels=1)))
    assert [result.name for result in results] == ["training 8 px", "training 8 px, channels last"]
    assert all(result.notes["difference of the losses"] < 1e-5 and min(result.ours) > 0 for result in results)


def test_steps_of_the_benchmark_train():
    net, x, _ = benchmark_cases.build(TINY)
    labels = np.arange(4, dtype=np.int32)
    step = benchmark_cases.training(TINY, net, x, labels)
    losses = [float(step()[0]) for _ in range(30)]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="losses that agree"):
        benchmark.same_loss(net, x, labels, 100.0)


def test_maps_that_differ_stop_the_benchmark():
    net, x, _ = benchmark_cases.build(TINY)
    theirs = {"float32": np.ones(x.shape, np.float32), "float64": np.ones((1, *x.shape[1:]))}
    with pytest.raises(ValueError, match="maps that agree"):
        benchmark.compare("gradient", net, x, theirs)


LAYER = benchmark_tcav.Layer(2, 2, images=10, dimensions=500, timed=2, runs=3)


def test_tiny_tcav(given):
    made = benchmark_tcav.activations(LAYER)
    many, whole = benchmark_tcav.many_runs(given, LAYER), benchmark_tcav.against_all_dimensions(given, LAYER, made)
    assert many.name == "tcav 3 runs of one concept" and many.goal.unit == " s" and min(many.ours) > 0
    assert whole.name == "tcav 4 CAVs" and "2 fits in all dimensions count for 4" in whole.notes["scaled"]
    assert whole.notes["difference of mean derivatives"] < 1e-10


def test_memory_is_that_of_a_process_of_its_own():
    found = benchmark_tcav.needed_memory(LAYER)
    assert 0.1 < found.values[0] < 2 and " GB" in timing.line(found) and " ms" not in timing.line(found)


def test_cavs_that_differ_stop_the_benchmark(monkeypatch):
    made = benchmark_tcav.activations(LAYER)
    monkeypatch.setattr(benchmark_tcav, "in_all_dimensions", lambda *_: np.ones(50))
    with pytest.raises(ValueError, match="mean derivatives that agree"):
        benchmark_tcav.agreement(LAYER, made)


def test_tiny_tcav_beside_captum(given, tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("torch", "captum")):
        pytest.skip("needs the extra bench")
    made = benchmark_tcav.activations(LAYER)
    with timing.captum_process(sys.executable, "benchmark_torch_tcav.py") as (ask, versions):
        results = list(benchmark_tcav.against_captum(given, ask, str(tmp_path), LAYER, made))
    assert "sklearn" in versions and all(min(result.ours + result.other) > 0 for result in results)


SMALL = [
    (benchmark_bare.of_saliency, (FASHION._replace(batch=4), 2), 2),
    pytest.param(benchmark_bare.of_maximisation, (FASHION, 2), 3, marks=pytest.mark.slow),
    (benchmark_bare.of_responses, (FASHION, 1), 2),
    (benchmark_bare.of_generator, (FASHION, 4), 1),
    (benchmark_bare.of_training, (FASHION,), 1),
]


@pytest.mark.parametrize(("measure", "sizes", "count"), SMALL)
def test_tiny_methods_beside_bare_passes(given, measure, sizes, count):
    results = list(measure(given, {}, *sizes))
    assert len(results) == count and all(result.name.startswith("bare ") for result in results)
    assert all(min(result.ours + result.other) > 0 for result in results)


@pytest.mark.slow
def test_tiny_fooling(given, monkeypatch):
    monkeypatch.setattr(benchmark_bare, "POPULATION", 6)
    pixels, drawn = benchmark_bare.of_fooling(given, {}, FASHION, 2)
    assert pixels.name.endswith("pixels") and drawn.name.endswith("CPPN")


def test_exponents():
    assert benchmark_growth.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_growth_is_measured_in_processes_of_their_own():
    found = benchmark_growth.grown("images (maps)", (1, 2))
    assert len(found.notes["seconds at each size"]) == 2 and found.notes["growth"].startswith("1: ")
    assert " (exponent)" in timing.line(found) and "2: " in timing.line(found)
    with pytest.raises(RuntimeError, match="'none' at 1 failed"):
        benchmark_growth.grown("none", (1,))


def test_every_method_is_compiled():
    assert len(dict(benchmark_compile.calls())) == 14
