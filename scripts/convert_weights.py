"""Converts a checkpoint to the safetensors file that `models.load(name, path)` reads fastest, and checks that it fits.

python scripts/convert_weights.py vgg16 vgg16.pth vgg16.safetensors
"""

import argparse
import sys

from xai_jax import models
from xai_jax.weights import safetensors_file


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the network, one of models.names()")
    parser.add_argument("source", help="a PyTorch .pth/.pt, Caffe .caffemodel or safetensors file")
    parser.add_argument("destination", help="the safetensors file to write")
    given = parser.parse_args(arguments)
    try:
        arrays = safetensors_file.flatten(models.read_variables(given.name, given.source))
        safetensors_file.write(given.destination, arrays, {"network": given.name})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.destination}: {len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
