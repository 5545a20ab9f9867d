#!/usr/bin/env bash
# Unpacks Debian's Fashion-MNIST into .venv, where xai_jax finds it, unless it is already available. Needs no root.
# If it cannot be fetched, prints a message: experiments that need the images name the alternatives.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PACKAGE=dataset-fashion-mnist
SHARE=share/datasets/fashion-mnist

here() {
  compgen -G "${TFDS_DATA_DIR:-$HOME/tensorflow_datasets}/fashion_mnist/*" >/dev/null ||
    "$ROOT/.venv/bin/python" -c 'import sys; from xai_jax.data import fashion_mnist as f; sys.exit(not f.folder())'
}

# A fresh container lacks the package lists, which only root can update. The last step is atomic.
fetch() {
  command -v apt-get dpkg-deb &&
    { apt-get -q download "$PACKAGE" || { [[ "$(id -u)" == 0 ]] && apt-get -q update && apt-get -q download "$PACKAGE"; }; } &&
    dpkg-deb -x "$PACKAGE"_*.deb unpacked &&
    mkdir -p "$ROOT/.venv/${SHARE%/*}" &&
    mv "unpacked/usr/$SHARE" "$ROOT/.venv/$SHARE"
}

if here; then exit; fi
scratch="$(mktemp -d "$ROOT/.venv/fashion.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
echo "fashion_mnist: fetching Debian's package $PACKAGE (29 MB)"
if ! (cd "$scratch" && fetch) >"$scratch/log" 2>&1; then
  tail -n 2 "$scratch/log"
  echo "fashion_mnist: could not fetch it; experiments with Fashion-MNIST will say how else to get it"
fi
