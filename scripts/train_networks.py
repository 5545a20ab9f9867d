"""Trains networks that come with this package, and writes their files.

    python scripts/train_networks.py photo_maxpool --out /tmp/weights

Stopped at any moment and started again, it resumes. Needs the cut-outs that scripts/data.sh fetches.
"""

import argparse
import dataclasses
from pathlib import Path

import jax

from xai_jax.io.files import cache_dir
from xai_jax.models.pretrained import photographs, shipped


def about(name, variables):
    """What a file says of its network."""
    kind, device = photographs.KINDS[name], jax.devices()[0].device_kind
    seeds = {"seed": kind.seed, "composites": photographs.COMPOSITES, "composites_seed": kind.composites}
    return {
        "network": name,
        "recipe": dataclasses.asdict(kind.recipe) | seeds,
        "data": photographs.digest(name),
        "accuracy": photographs.accuracy(name, variables),
        "losses": photographs.first_losses(name, 2),
        "trained_with": {"jax": jax.__version__, "device": device},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=photographs.KINDS, metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the files (default: this one)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        directory = cache_dir(f"{name}-training")
        variables = photographs.train(name, photographs.images(name), directory)
        path, known = arguments.out / shipped.path(name).name, about(name, variables)
        shipped.write(path, variables, known)
        print(f"{name}: {path}, {known['accuracy']}")


if __name__ == "__main__":
    main()
