#!/usr/bin/env bash
# Writes the reference of all modules, functions and classes, from their docstrings and with their source, into
# results/docs (or the folder given). Needs no network once .venv is set up.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="$(realpath -m "${1:-$here/../results/docs}")"
bash "$here/setup.sh" test
cd "$here/.."
export KERAS_BACKEND=jax
.venv/bin/python -W "error:Couldn't import" -m pdoc --docformat google --output-directory "$folder" xai_jax
echo "docs: open $folder/index.html"
