"""Eight devices, simulated in a process of their own, give the results of one, and share the work."""

import pytest

from tests.helpers import devices_child
from tests.training.test_parallel import address


def run(names):
    return devices_child.finish(devices_child.start(names))


@pytest.mark.slow
def test_eight_devices_give_the_results_of_one():
    found = run("attributions")
    assert len(found) == 18
    for line in found:
        assert line["difference"] < 1e-5 and line["same shapes"], line
        assert max(line["devices"]) == 8 and line["results"] in ([8], [], [0]), line
    assert sum(line["results"] == [8] for line in found) == 12  # others are on the host, or of three images


@pytest.mark.slow
def test_eight_devices_optimise_as_one_does():
    found = run("optimisations")
    assert len(found) == 7
    for line in found:
        evolves = line["method"].startswith("evolution")  # their children exist inside of a program alone
        assert line["difference"] < 1e-5 and line["same shapes"], line
        assert (line["devices"], line["results"]) == (([], [0]) if evolves else ([8], [8])), line


def test_each_device_has_an_eighth_of_the_operations():
    for line in run("shares"):
        assert line["value"] == pytest.approx(1 / 8, rel=0.02), line


def test_a_placement_by_the_user_has_priority():
    found = {line["method"]: line["value"] for line in run("placement")}
    assert found == {
        "free": [*range(8)],
        "of the default device": [*range(8)],
        "images on one device": [3],
        "network on one device": [3],
        "shards of the user's": [4, 5],
        "again": [*range(8)],
        "default device": [3],
        "traced": [0],
        "fewer images than devices": [0],
        "a network of nine images": [9, 5],
        "a network of sixteen images": [16, 5],
    }


def test_each_of_two_processes_uses_its_own_devices():
    where = address()
    for process in [devices_child.start("few", f"--process={where},2,{index}") for index in range(2)]:
        for line in devices_child.finish(process):
            assert line["difference"] < 1e-5 and max(line["devices"]) == 8 and line["processes"] == 2, line
