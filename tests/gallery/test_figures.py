"""The page of figures side by side: an entry for each experiment, and our pictures beside it."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from experiments.lib import catalogue, papers
from tests.helpers.small_gallery import Page, save_picture, write_experiment
from xai_jax.gallery import build, figures
from xai_jax.gallery.figures import COMPARISONS
from xai_jax.gallery.methods import METHODS
from xai_jax.gallery.sources import KINDS, SOURCES

ROOT = Path(__file__).parents[2]
ARXIV = {"1512.02017": "2016", "1706.07979": "MONTAVON2018"}  # of references that do not print it


def parts(results):
    """The HTML of each figure's article, by experiment."""
    build(results)
    return dict(re.findall(r'<article id="(.*?)">(.*?)</article>', (results / "figures.html").read_text(), re.S))


def test_every_experiment_that_reproduces_a_figure_has_an_entry_and_no_entry_is_without_one():
    expected = [name for name in catalogue.names() if not name.startswith("explorer/")]
    assert sorted(entry.experiment for entry in COMPARISONS) == sorted(expected)


def test_papers_come_in_the_order_of_the_gallery():
    order = list(dict.fromkeys(entry.paper for entry in COMPARISONS))
    assert order == list(papers.FOLDERS[: len(order)])


@pytest.mark.parametrize("entry", COMPARISONS, ids=lambda entry: entry.experiment)
def test_an_entry_is_complete_and_what_it_names_exists(entry):
    texts = entry.figure, entry.network, entry.data, entry.theirs, entry.ours, entry.reasons
    assert all(text.strip() for text in texts) and len(entry.theirs.split()) <= 110
    assert entry.ours.endswith(".") and entry.reasons.endswith((".", "?"))
    cited = catalogue.load(entry.experiment).paper
    assert entry.arxiv in cited or (entry.arxiv in ARXIV and "arXiv" not in cited.partition(";")[0])
    kind, _, source = entry.source.partition(":")
    assert entry.source == "M" or (kind in KINDS and (not source or source in SOURCES))
    entry.size.format_map(vars(import_module(f"configs.{entry.experiment.replace('/', '.')}").get_config("default")))
    for pattern in entry.pictures:
        assert f'"{pattern.removesuffix("*.png").removesuffix(".png")}' in code_of(entry.paper), pattern


def test_our_pictures_and_the_configured_network_stand_beside_the_paper_s(tmp_path):
    names = ("class.png", "examples.png", "scores.png")
    pictures = [{"file": name, "caption": f"of {name}", "alt": name} for name in names]
    folder = write_experiment(tmp_path, "kim2018", "concepts", figures=pictures)
    for name in names:
        save_picture(folder / name)
    (folder / "config.json").write_text('{"network": "googlenet", "images": "photographs", "explained": 1200}')
    shown = parts(tmp_path)["kim2018/concepts"]
    assert re.findall(r'<img src="(.*?)"', shown) == ["kim2018/concepts/class.png", "kim2018/concepts/scores.png"]
    assert "<td>googlenet</td>" in shown and "<td>photographs: 1200 images explained</td>" in shown
    assert 'href="https://arxiv.org/abs/1711.11279"' in shown and "verified in the paper, ICML 2018" in shown
    assert '<a href="kim2018/concepts/index.html">Title of concepts</a>' in shown


def test_pictures_are_named_by_patterns(tmp_path):
    (entry,) = (entry for entry in COMPARISONS if "neurons-*.png" in entry.pictures)
    pictures = [{"file": name, "caption": name, "alt": name} for name in ("neurons-a.png", "others.png")]
    folder = write_experiment(tmp_path, *entry.experiment.split("/"), figures=pictures)
    for picture in pictures:
        save_picture(folder / picture["file"])
    shown = parts(tmp_path)[entry.experiment]
    assert re.findall(r'<img src="(.*?)"', shown) == [f"{entry.experiment}/neurons-a.png"]


def test_all_pictures_are_shown_where_none_is_named(tmp_path):
    write_experiment(tmp_path, "kim2018", "concepts")
    assert 'src="kim2018/concepts/maps.png"' in parts(tmp_path)["kim2018/concepts"]


def test_figures_that_were_not_made_are_listed_with_their_command(tmp_path):
    write_experiment(tmp_path, "toy2030", "line")
    shown = parts(tmp_path)
    assert list(shown) == [entry.experiment for entry in COMPARISONS]
    assert all(f"<code>bash scripts/reproduce.sh --only {name}</code>" in part for name, part in shown.items())
    assert not any("<img" in part or 'class="verdict' in part for part in shown.values())
    page = Page(tmp_path / "figures.html")
    assert f"0 of {len(COMPARISONS)} were made here." in page.text("p")


@pytest.mark.parametrize("config", [{}, {"network": 1, "data": None, "images": [1], "count": "5"}])
def test_a_configuration_that_names_neither_network_nor_data_says_so(config):
    assert figures._configured(config, "{count:,} images") == ("none pretrained", "–")


def code_of(paper):
    """The text of a paper's experiments."""
    return "".join(path.read_text() for path in (ROOT / "experiments" / paper).glob("*.py"))


@pytest.mark.parametrize("paper", METHODS)
def test_the_figures_chosen_for_the_front_page_exist(paper):
    for name, file in METHODS[paper].figures:
        layers = getattr(import_module(f"configs.{paper}.{name}").get_config("default"), "layers", ())
        assert Path(file).stem in layers or f'"{Path(file).stem}"' in code_of(paper), (name, file)
