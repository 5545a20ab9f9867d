"""Needs of the paper tier: all derived from the configurations, with a source for each."""

import importlib

import pytest

from experiments.lib import needs
from xai_jax.models import published


def test_the_table_of_the_scripts_is_that_of_the_configurations():
    assert needs.FILE.read_text() == needs.text(), "run python -m experiments.lib.needs"


def test_each_input_has_a_source_or_an_experiment_that_makes_it(monkeypatch):
    monkeypatch.syspath_prepend(str(needs.ROOT / "scripts"))
    sources = importlib.import_module("sources").SOURCES
    fetched = {f"weights.{row.network}": row.source for row in published.table()}
    table, used = needs.table(), set()
    for name, found in table.items():
        for need in found:
            for key, value in zip(need["keys"], need["values"], strict=True):
                made_by = "/".join(value.split("/")[1:3]) if value.startswith("results/") else None
                by_itself = key is None or key.startswith("data.") or fetched.get(key) == value  # addresses are known
                assert by_itself or key in sources or made_by in table.keys() - {name}, (name, key)
                used |= {key}
    assert set(sources) <= used, "sources that no experiment needs"


@pytest.mark.parametrize("tier", ["smoke", "default"])
def test_other_tiers_need_nothing(tier):
    for name in needs.table():
        config = importlib.import_module(f"configs.{name.replace('/', '.')}").get_config(tier)
        assert needs.needs(config) == [], name


def test_networks_that_others_need_are_trained_where_they_look():
    """The configurations of makers train networks of the name and at the size that `models.load` reads."""
    zfnet = importlib.import_module("configs.zeiler2014.imagenet").get_config("paper")
    allcnn = importlib.import_module("configs.springenberg2015.imagenet").get_config("paper")
    assert (zfnet.rows == () or "zfnet" in zfnet.rows) and (zfnet.width, zfnet.seed, zfnet.classes) == (1, 0, 1000)
    assert (allcnn.width, allcnn.seed, allcnn.classes) == (1, 0, 1000)
