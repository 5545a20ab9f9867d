"""`python -m xai_jax concepts`: TCAV of folders of images; a table, a bar chart and a page."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax import Array
from tqdm import tqdm

from xai_jax import cav, significance, targets, tcav
from xai_jax.cli import charts, common, concepts_page, layers, relative
from xai_jax.cli.concepts_page import Measured, Sorting
from xai_jax.concepts import advice, classifiers
from xai_jax.concepts.activation_cache import ActivationCache
from xai_jax.concepts.significance import Row
from xai_jax.core.messages import excerpt, quoted
from xai_jax.data import folder
from xai_jax.gallery.page import write
from xai_jax.io import csv_file
from xai_jax.io.errors import UserError
from xai_jax.io.files import cache_dir, user_path, write_atomically
from xai_jax.models import LoadedModel

ABOUT = "Does the logit rise along the concept, more than along directions of random images?"
RUNS, MOST_CONTROLS, FEWEST_CONTROLS = 20, 20, 3
TABLE, CHARTS, PAGE = "scores.csv", ("scores.png", "relative_scores.png"), "index.html"


class Images(NamedTuple):
    """Files of images, and the network's input (N, S, S, C) of them."""

    files: list[Path]
    x: Array


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command. Example: `add(parser.add_subparsers())`."""
    parser = commands.add_parser("concepts", help="does a class depend on a concept? TCAV of folders of images")
    common.add_network(parser)
    parser.add_argument("--concept", nargs="+", required=True, metavar="DIR", help="images of a concept each")
    parser.add_argument("--random", required=True, metavar="DIR", help="images of anything else, of the same kind")
    parser.add_argument("--class", nargs="+", required=True, metavar="NAME=DIR", dest="classes", help="and its images")
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="default: two of the upper half")
    parser.add_argument("--out", default="concepts", metavar="DIR", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes table, chart and page; raises UserError for mistakes. Example: `run(parser.parse_args())`."""
    out, model = _out(arguments.out), common.load(arguments)
    concepts = _concepts(arguments.concept, model)
    random = _images(arguments.random, model)
    classes = dict(_classes(arguments.classes, model))
    plan = _plan(concepts, random)
    names = arguments.layers or layers.of_concepts(model.net, random.x)
    cache = ActivationCache(model.net, names, cache_dir("activations"))
    with common.user_errors(), classifiers.stopping_early():
        measured = list(_measured(cache, concepts, random, classes, plan))
        sortings = list(_sortings(cache, concepts, random, classes, measured[0].rows))
    drawn = [charts.bar_chart(each.rows) for each in measured if each.rows]
    html = concepts_page.render(arguments.model, measured, drawn, sortings)
    with common.user_errors():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / TABLE, csv_file.encode(_lines(measured)))
        for name, chart in zip(CHARTS, drawn, strict=False):
            write_atomically(out / name, charts.png(chart))
        for name in CHARTS[len(drawn) :]:
            (out / name).unlink(missing_ok=True)  # of an earlier run
        write(out / PAGE, html)
    print(out / PAGE)
    return 0


def _out(path):
    with common.user_errors():
        out = user_path(path)
        if out.exists() and not out.is_dir():
            raise ValueError(f"Expected a folder to write, got the file {excerpt(path, 200)}.")
        common.check_writable(next(each for each in (out, *out.absolute().parents) if each.exists()))
    return out


def _images(path: str, model: LoadedModel) -> Images:
    with common.user_errors():
        files = folder.images(user_path(path))
    bar = tqdm(files, f"reading {Path(path).name}"[:40], delay=2, leave=False)
    pixels = [common.read_images([file])[0] for file in bar]
    with common.user_errors():
        return Images(files, model.preprocess(pixels))


def _concepts(paths: Sequence[str], model: LoadedModel) -> dict[str, Images]:
    """Images by the names of their folders."""
    found = {}
    for path in paths:
        name = user_path(path).resolve().name
        if name in found:
            raise UserError(f"Expected folders of different names, got two called {quoted(name)}.")
        found[name] = _images(path, model)
        if len(found[name].files) < 2:
            raise UserError(f"Expected two images or more of each concept, got one in {excerpt(path, 200)}.")
    return found


def _classes(pairs: Sequence[str], model: LoadedModel) -> Iterator[tuple[str, tuple[int, Images]]]:
    """Index and images of each class, by its name in the network."""
    seen = set()
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not path:
            raise UserError(f"Expected a class and its folder, such as zebra=photos/zebra, got {quoted(pair)}.")
        number = common.find_class(name, model.classes)
        if number in seen:
            raise UserError(f"Expected one folder of each class, got several of {quoted(model.classes[number])}.")
        seen.add(number)
        yield model.classes[number], (number, _images(path, model))


def _plan(concepts: Mapping[str, Images], random: Images) -> tcav.Plan:
    """As many controls as there are random images for."""
    size, count = max(len(each.files) for each in concepts.values()), len(random.files)
    controls = min(MOST_CONTROLS, count // size - 2)
    if controls < FEWEST_CONTROLS:
        raise UserError(
            f"Expected at least {(FEWEST_CONTROLS + 2) * size} random images, to compare {size} images of a concept "
            f"with {FEWEST_CONTROLS} sets of as many, got {count}. Usual remedies: more random images, or fewer of the "
            "concept."
        )
    return tcav.Plan(runs=RUNS, controls=controls)


def _measured(cache, concepts, random, classes, plan) -> Iterator[Measured]:
    """Scores against random images, and of several concepts against each other."""
    examples = {name: each.x for name, each in concepts.items()}
    pairs = {name: (targets.logit(k), each.x) for name, (k, each) in classes.items()}
    scores = tcav.score(cache, examples, random.x, pairs, plan)
    note = (
        f"TCAV score: share of the class's images whose logit rises along the concept, mean of {plan.runs} runs, with "
        f"its 95 % interval. Filled and starred where significant. The thick line is the mean of {plan.controls} sets "
        f"of as many of the {len(random.files)} random images, in place of the concept."
    )
    yield Measured("Scores", ABOUT, note, significance.table(scores, tested="mean"), significance.table(scores, "mean"))
    if len(concepts) > 1:
        yield relative.measure(cache, examples, random.x, pairs, RUNS, MOST_CONTROLS)


def _sortings(cache, concepts, random, classes, rows: Sequence[Row]) -> Iterator[Sorting]:
    """Images of all classes, sorted by a CAV of each concept in the layer that separates it best."""
    files = [file for _, each in classes.values() for file in each.files]
    x = np.concatenate([np.asarray(each.x) for _, each in classes.values()])
    for name, each in concepts.items():
        own = max((row for row in rows if row.concept == name), key=lambda row: row.accuracy)
        negatives = random.x[: len(each.files)]
        found = cav.learn(cache.net, own.layer, name, each.x, negatives, cache_dir=cache.cache_dir)
        similarity = cav.similarity(cache.net, found, x, cache_dir=cache.cache_dir)
        yield Sorting(name, own.layer, own.accuracy, files, similarity)


def _lines(measured):
    """The table with its header, scores before mean derivatives, and advice in the last column."""
    rows = [row for each in measured for row in (*each.rows, *each.means)]
    return [(*Row._fields, "advice"), *((*row, advice.of_row(row)) for row in rows)]
