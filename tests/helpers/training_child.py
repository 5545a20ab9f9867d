"""Trains a small network in a process of its own, for tests that kill it or give it several devices.

python -m tests.helpers.training_child FOLDER [--devices=N] [--process=HOST:PORT,COUNT,INDEX] [--epochs=N] [--at_once=N]
"""

import argparse
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(checkpoint_dir, *flags):
    command = [sys.executable, "-m", "tests.helpers.training_child", str(checkpoint_dir), *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def kill_when(process, ready):
    """Kills a process once `ready()`, unless it ends before."""
    while not ready() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.communicate()


def steps_logged(checkpoint_dir):
    try:
        return len((checkpoint_dir / "metrics.jsonl").read_text().splitlines())
    except FileNotFoundError:
        return 0


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint_dir")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--process")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--at_once", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={arguments.devices}"

    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    from xai_jax.training import parallel, supervised

    try:
        if arguments.process:
            address, count, index = arguments.process.split(",")
            parallel.join(address, int(count), int(index))
        run(arguments.checkpoint_dir, arguments.epochs, arguments.at_once)
    except supervised.TrainingError as error:
        print(f"TrainingError: {error}", file=sys.stderr, flush=True)
        os._exit(3)  # a normal exit waits for lost processes
    print("ends with", jax.device_count(), "devices")


def run(checkpoint_dir, epochs, at_once=1):
    from tests.helpers.small_network import Small, small_data
    from xai_jax.data.augmentation import random_shift
    from xai_jax.training import loop, steps, supervised

    loop.SAVE_EVERY, loop.LOG_EVERY = 0.0, 1
    steps.at_once = lambda: at_once
    supervised.fit(
        Small(dropout=0.5),
        small_data(256),
        supervised.Recipe(epochs=epochs, batch_size=64, learning_rate=0.05, decay=1e-3),
        checkpoint_dir,
        seed=4,
        augment=functools.partial(random_shift, most=1),
        validation=small_data(50),
        keep_epochs=True,
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
