#!/usr/bin/env bash
# Builds the API reference from docstrings, with source, in results/docs (or the given directory). Needs no network once
# .venv is set up.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="$(realpath -m "${1:-$here/../results/docs}")"
bash "$here/setup.sh" test
cd "$here/.."
export KERAS_BACKEND=jax
.venv/bin/python -W "error:Couldn't import" -m pdoc --docformat google --output-directory "$folder" xai_jax
echo "docs: open $folder/index.html"
