#!/usr/bin/env bash
# Sets everything up and runs the tests. Arguments go to pytest: "-m browser" (or notebook, kills, benchmark, slow)
# runs those that are left out by default, "-m ''" all of them.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bash "$here/setup.sh" imagenet test
cd "$here/.."
# Most of the time goes into compiling, which takes one core: several processes share the tests.
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
