"""The benchmark's arithmetic, its lines, its JSON, and the page in docs."""

import json
import os
import subprocess
import sys
import time

import benchmark
import pytest
from benchmarks import reporting, timing

AT_LEAST = timing.Goal(">=", 1.2, "x")


def _result(goal, ours, other, busy=0.0):
    return timing.Result("name", goal, ours, other, "theirs", busy, {})


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
    record = json.loads(reporting.report([result], {}, {}, 0.0, 0.0))["results"][0]
    assert record["reached"] is reached
    assert ("NOT reached" in reporting.line(result, {})) is not reached


def test_report_holds_every_number_and_its_environment():
    result = _result(AT_LEAST, [1.0, 2.0], [3.0, 2.0], busy=0.25)
    facts = json.loads(reporting.report([result], {"photo": "no weights"}, {"torch": "9"}, 0.5, 60.0))
    record = facts["results"][0]
    assert record["value"] == {"min": 1.0, "median": 2.0, "max": 3.0, "all": [3.0, 1.0]}
    assert record["ours_seconds"]["all"] == [1.0, 2.0] and record["other_seconds"]["median"] == 2.5
    assert (record["goal"], record["at_best"], record["cores_taken_by_others"]) == (">= 1.2x", 2.0, 0.25)
    assert facts["left_out"] == {"photo": "no weights"} and facts["torch_side"] == {"torch": "9"}
    assert facts["machine"]["cores"] >= 1 and {"jax", "python", "numpy"} <= facts["versions"].keys()


def test_a_busy_machine_gets_no_verdict():
    busy = _result(AT_LEAST, [1.0], [2.0], busy=0.25)
    assert busy.reached is None
    assert "OTHERS TOOK 25% OF THE CORES" in (said := reporting.line(busy, {})) and "no verdict" in said
    assert "OTHERS" not in reporting.line(_result(AT_LEAST, [1.0], [2.0], busy=0.01), {})


def test_work_of_others_reads_everything_but_idle_time(tmp_path):
    stat, tick = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    stat.write_text("cpu  " + " ".join(str(n * tick) for n in (1e6, 2, 3, 1000, 5000, 4, 5, 6, 0, 0)).replace(".0", ""))
    ended = os.times()
    own = time.process_time() + ended.children_user + ended.children_system
    before = timing.work_of_others(stat)
    assert before < 1_000_020 - own + 1
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        assert 0.05 < before - timing.work_of_others(stat)  # a child's work is not that of others
    finally:
        child.kill()
        child.wait()
    assert timing.work_of_others(tmp_path / "none") == 0


def test_page_of_the_docs_holds_what_each_line_repeats(tmp_path, monkeypatch):
    page, result = tmp_path / "benchmarks.md", _result(AT_LEAST, [2.0, 2.0], [3.0, 5.0])
    in_seconds = _result(timing.Goal("<=", 1, " s"), [0.5], [])._replace(name="map")
    page.write_text(reporting.table({"captum": [result], "photo": [in_seconds]}))
    assert reporting.documented(page) == {"name": "2.00x", "map": "0.50s"}
    assert reporting.line(result, {"name": "2.00x"}).endswith("docs 2.00x")
    assert reporting.documented(tmp_path / "none.md") == {}
    assert set(reporting.REASONS) == set(benchmark.MEASUREMENTS)
