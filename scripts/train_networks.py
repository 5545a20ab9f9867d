"""Trains networks that come with this package, and writes their files.

    python scripts/train_networks.py photo_maxpool --out /tmp/weights

Stopped at any moment and started again, it resumes. Needs the data that scripts/data.sh fetches.
"""

import argparse
import dataclasses
from pathlib import Path

import jax

from xai_jax.core.allocation import keep_freed_memory
from xai_jax.io.files import cache_dir
from xai_jax.models import generators
from xai_jax.models.pretrained import fashion, photographs, shipped
from xai_jax.training.adversarial import TERMS

GENERATOR = "photo_fc6"  # trained after its network, whose file must be in the package
NAMES = (*fashion.NAMES, *photographs.KINDS, GENERATOR)


def trained(name):
    """Variables of a network, and what its file says of it."""
    versions = {"jax": jax.__version__, "device": jax.devices()[0].device_kind}
    make = _generator if name == GENERATOR else _for_clothes if name in fashion.NAMES else _for_photographs
    variables, known = make(name)
    return variables, {"network": name, **known, "trained_with": versions}


def _generator(name):
    losses = {term: generators.first_lines(name, 1)[0][term] for term in TERMS}
    return generators.train(name), {"recipe": generators.recipe(name), "data": "portraits_64", "losses": losses}


def _for_clothes(name):
    variables = fashion.train(name)
    return variables, {
        "recipe": dataclasses.asdict(fashion.recipe(name)) | {"seed": fashion.SEED},
        "data": fashion.digest(),
        "accuracy": {"error": fashion.error(name, variables)},
        "losses": fashion.first_losses(name, 2),
    }


def _for_photographs(name):
    kind, directory = photographs.KINDS[name], cache_dir(f"{name}-training")
    variables = photographs.train(name, directory)
    seeds = {"seed": kind.seed, "composites": photographs.COMPOSITES, "composites_seed": kind.composites}
    return variables, {
        "recipe": dataclasses.asdict(kind.recipe) | seeds,
        "data": photographs.digest(name),
        "accuracy": photographs.accuracy(name, variables),
        "losses": photographs.first_losses(name, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the files (default: this one)")
    arguments = parser.parse_args()
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        variables, about = trained(name)
        path = arguments.out / shipped.path(name).name
        shipped.write(path, variables, about)
        print(f"{name}: {path}, {about.get('accuracy', about['losses'])}")


if __name__ == "__main__":
    main()
