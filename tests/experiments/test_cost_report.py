"""Estimated costs: images read, bottlenecks, and the page, against arithmetic by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lib import catalogue, cost_report, dry_run
from experiments.lib.cost_report import Machine, Need
from experiments.lib.dry_run import Cost, Device, Step

MACHINE = Machine("paper", Device(1e12, 1e9, 1e11), 4, 10)
COST = Cost(10, 3e9, 2e9, 6e7)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


TRAINING = Step("step, net", lambda *_: None, (array(3), array(64, 224, 224, 3, dtype=jnp.uint8)), 1000)
SEARCH = Step("caffenet: search", lambda *_: None, (array(3), array(32, 227, 227, 3)), 10)
INVERSION = Step("steps from fc8", lambda *_: None, (array(3), array(32, 227, 227, 3)), 10)
RESIDENT = Step("step, net", lambda *_: None, (array(3), array(64, 32, 32, 3, dtype=jnp.uint8)), 1001, 5000)
SMALL = Step("step, net", lambda *_: None, (array(3), array(128, 32, 32, 3, dtype=jnp.uint8)), 10)


@pytest.mark.parametrize(
    ("step", "read", "training"),
    [(TRAINING, (64, 224), True), (SEARCH, (32, 227), False), (INVERSION, (0, 0), False), (SMALL, (128, 32), True)],
)
def test_what_reads_images_and_what_trains(step, read, training):
    assert cost_report.read(step) == read and cost_report.is_training(step) is training


def test_needs_are_those_of_all_calls():
    found = cost_report.need(TRAINING, COST)
    assert found[:5] == (1000, 3e12, 2e9, 6e10, 64_000)
    assert found.bytes_read == 64_000 * 108e3 and found.shared and not found.in_memory
    assert cost_report.need(TRAINING, COST, "cifar10").in_memory and not cost_report.need(TRAINING, COST).in_memory
    assert cost_report.need(SMALL, COST).in_memory and cost_report.need(SMALL, COST).bytes_read == 1280 * 3073


def test_images_that_stay_on_the_device_are_read_once_and_have_many_steps_in_one_program():
    found = cost_report.need(RESIDENT, COST)
    assert found.programs == 11 and found.images == 5000 and found.flops == 3e9 * 1001
    assert cost_report.seconds(found, MACHINE)["host loop"] == pytest.approx(11e-4)
    assert cost_report.need(INVERSION._replace(repeats=51), COST).programs == 3
    assert [cost_report.together(step) for step in (TRAINING, SEARCH, INVERSION, SMALL)] == [1, 1, 25, 1]
    units = [INVERSION._replace(name=name) for name in ("caffenet/conv1: pre-images", "units of conv1", "projections")]
    assert [cost_report.together(step) for step in units] == [25, 25, 1]


def test_seconds_are_those_of_each_part():
    found = cost_report.seconds(cost_report.need(TRAINING, COST), MACHINE)
    assert found["compute"] == pytest.approx(3e12 / (4 * 1e12 * 0.3))
    assert found["memory bandwidth"] == pytest.approx(6e10 / (4 * 1e11 * 0.6))
    assert found["input pipeline"] == pytest.approx(64_000 / 5200) and found["host loop"] == pytest.approx(0.1)
    alone = cost_report.seconds(cost_report.need(SEARCH, COST), MACHINE)
    assert alone["compute"] == pytest.approx(3e10 / (1e12 * 0.3))  # on one of the four devices


def test_each_step_takes_as_long_as_its_slowest_part():
    needs = [cost_report.need(step, COST) for step in (TRAINING, SEARCH)]
    hours, slowest, fits = cost_report.verdict(needs, MACHINE)
    assert hours == pytest.approx((64_000 / 5200 + 0.1) / 3600) and slowest == "input pipeline"
    assert not fits  # the search has 2 GB on a device of 1 GB
    assert cost_report.verdict(needs[:1], MACHINE)[2]  # four devices share 2 GB


@pytest.mark.parametrize(
    ("hours", "said"), [(0.0, "< 1 s"), (5 / 3600, "5 s"), (0.5, "30 min"), (2.345, "2.35 h"), (123.4, "123 h")]
)
def test_durations(hours, said):
    assert cost_report.duration(hours) == said


def test_the_page_has_a_line_for_each_experiment():
    need = Need(10, 1e15, 2e9, 1e12, 0, 0.0, False, False)
    page = cost_report.page([cost_report.row("paper/figure", [need])], "python -m experiments.lib.cost_report")
    lines = page.splitlines()
    assert "    python -m experiments.lib.cost_report" in lines and "{" not in page
    assert lines[-1].startswith("| paper/figure | 1 | 2 | 0 | 21 s, compute |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_every_figure_is_listed_and_plans_are_measured():
    assert "zeiler2014/imagenet" in catalogue.names()
    needs = cost_report.needs_of("mahendran2015/shallow", "smoke")
    assert needs and all(each.flops > 0 and each.traffic > 0 and each.programs > 0 for each in needs)


def test_the_written_page_has_experiments_that_are_there():
    lines = (cost_report.ROOT / "docs" / "scale.md").read_text().splitlines()
    named = {line.split("|")[1].strip() for line in lines if line.startswith("| ")} - {"experiment"}
    assert named and named <= set(catalogue.names())


def test_bytes_moved_are_counted():
    a = array(64, 64)
    assert dry_run.cost_here(Step("product", jnp.dot, (a, a))).traffic >= 3 * np.prod(a.shape) * 4
