"""Several processes run an experiment together: the first one writes results, as a process of its own would."""

import json

from tests.helpers import figures_child
from tests.training.test_parallel import address

NAME = "zeiler2014.occlusion"


def test_figures_are_made_once(tmp_path):
    where = address()
    flags = [f"--distributed={where},2,{index}" for index in range(2)]
    alone = figures_child.start(NAME, tmp_path / "alone")
    both = [figures_child.start(NAME, tmp_path / "both", flag) for flag in flags]
    first, second = map(figures_child.finish, both)
    assert "metrics.json" in figures_child.finish(alone) and "metrics.json" in first and second == []
    ours, theirs = ({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.*")} for name in ("both", "alone"))
    assert list(sorted(ours)) == list(sorted(theirs)) and any(name.endswith(".png") for name in ours)
    for name, content in ours.items():
        assert content == theirs[name] or name == "metrics.json", name
    numbers = [json.loads(each["metrics.json"])["numbers"] for each in (ours, theirs)]
    assert numbers[0] == numbers[1]
