"""One long run in a process of its own, for tests that kill it: python tests/helpers/faults_child.py KIND FOLDER."""

import os
import shutil
import sys
from pathlib import Path


def training(folder):
    from tests.helpers.training_child import run

    run(folder, 3)


def generator(folder):
    from tests.training import test_deepsim as small
    from xai_jax.training import deepsim, loop

    deepsim.SAMPLE_EVERY, loop.LOG_EVERY, loop.SAVE_EVERY = 1, 1, 0.0
    parts = small.GENERATOR, small.DISCRIMINATOR, small.encode, small.compare, small.DATA, small.RECIPE
    deepsim.fit(*parts, folder, seed=3, prepare=small.prepare)


def evolution(folder):
    import numpy as np

    from tests.synthesis import test_fooling as small
    from xai_jax import fooling, optimize

    optimize.SAVE_EVERY = 0.0
    elites, _ = fooling.evolve(
        small.net, fooling.Direct(small.SHAPE), 200, small.KEY, 20, checkpoint=folder / "elites.npz"
    )
    np.save(folder / "found.npy", elites.x)


def activations(folder):
    from tests.concepts import test_activation_cache as small
    from xai_jax import targets
    from xai_jax.concepts.activation_cache import ActivationCache

    for layer in ("relu1", "relu4"):
        cache = ActivationCache(small.NET, layer, folder, batch_size=1)
        cache.activations(small.X)
        cache.gradients(small.X, targets.logit(0))


def gallery(folder):
    from tests.helpers.small_gallery import write_experiment
    from xai_jax.gallery import build

    for name in "abcdef":
        if not (folder / "paper" / name).exists():
            shutil.rmtree(folder / "making", ignore_errors=True)
            write_experiment(folder / "making", "paper", name)
            (folder / "paper").mkdir(exist_ok=True)
            os.rename(folder / "making/paper" / name, folder / "paper" / name)
    build(folder)


KINDS = {run.__name__: run for run in (training, generator, evolution, activations, gallery)}


def main(kind, folder):
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    Path(folder).mkdir(parents=True, exist_ok=True)
    KINDS[kind](Path(folder))


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    main(*sys.argv[1:])
