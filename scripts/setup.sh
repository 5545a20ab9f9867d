#!/usr/bin/env bash
# Creates .venv with xai_jax and the given extras (default: imagenet). Idempotent; takes a second if up to date.
#
#   bash scripts/setup.sh [imagenet|test|bench|prepare|cuda12|cuda13|tpu ...]
#
# XAI_JAX_PYTHON=/path/to/python overrides the choice of Python. Can be sourced for its functions.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
STAMP="$VENV/xai_jax-setup"
EXTRAS=" imagenet test bench prepare cuda12 cuda13 tpu "

# Prints "minor micro path" if the command is a usable Python, and fails otherwise.
# The path is that of the interpreter itself: a shim or an active virtual environment may change later.
probe_python() {
  "$1" -c '
import sys
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit("expected CPython 3.11 or newer, got " + sys.version.split()[0])
import bz2, ctypes, ensurepip, lzma, os, ssl, sysconfig, venv, zlib
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("a free-threaded build, for which JAX has no wheels")
inside = sys.prefix != sys.base_prefix
executable = sys._base_executable if inside else sys.executable
print(sys.version_info[1], sys.version_info[2], os.path.realpath(executable))
' </dev/null
}

python_candidates() {
  printf '%s\n' python3.14 python3.13 python3.12 python3.11 python3 python
  local path
  for path in "${PYENV_ROOT:-${HOME:-/root}/.pyenv}"/versions/*/bin/python; do
    if [[ -x "$path" ]]; then printf '%s\n' "$path"; fi
  done
}

constraints_for() { printf '%s/scripts/constraints-3.%s.txt' "$ROOT" "$1"; }

# Prints "tested minor micro path" for every usable Python, best first: the newest tested one, then the newest.
usable_pythons() {
  local candidate minor micro path tested
  python_candidates | while read -r candidate; do
    read -r minor micro path < <(probe_python "$candidate" 2>/dev/null) || continue
    tested=0
    if [[ -f "$(constraints_for "$minor")" ]]; then tested=1; fi
    printf '%s %s %s %s\n' "$tested" "$minor" "$micro" "$path"
  done | sort -s -k1,1nr -k2,2nr -k3,3nr | awk '!seen[$4]++'
}

# Prints "tested minor micro path" of the Python to use.
choose_python() {
  local found minor micro path tested=0
  if [[ -n "${XAI_JAX_PYTHON:-}" ]]; then
    if ! found="$(probe_python "$XAI_JAX_PYTHON" 2>&1)"; then
      echo "setup: XAI_JAX_PYTHON=$XAI_JAX_PYTHON cannot be used: $(tail -n 1 <<<"$found")" >&2
      return 1
    fi
    read -r minor micro path <<<"$found"
    if [[ -f "$(constraints_for "$minor")" ]]; then tested=1; fi
    printf '%s %s %s %s\n' "$tested" "$minor" "$micro" "$path"
    return
  fi
  found="$(usable_pythons)"
  if [[ -z "$found" ]]; then
    echo "setup: no working Python 3.11 or newer found (looked at python3.14 to python3.11, python3, python and pyenv)." >&2
    echo "setup: install one with its venv module (Debian: apt install python3 python3-venv), or set XAI_JAX_PYTHON." >&2
    return 1
  fi
  head -n 1 <<<"$found"
}

# The installation depends on these files and on the extras; a change triggers another installation.
fingerprint() {
  local constraints="$1"
  if [[ ! -f "$constraints" ]]; then constraints=/dev/null; fi
  cat "$ROOT/setup.py" "$constraints" | cksum
}

stamp_line() { sed -n "s/^$1=//p" "$STAMP" 2>/dev/null || true; }

# Prints why .venv must be created again, or nothing. Virtual environments cannot be moved or copied.
why_recreate() {
  local python="$1" accelerator="$2" previous
  if [[ ! -f "$STAMP" ]]; then echo "its installation was not finished"; return; fi
  if [[ "$(stamp_line root)" != "$ROOT" ]]; then echo "it was made for another folder"; return; fi
  if [[ "$(stamp_line python)" != "$python" ]]; then echo "it was made by another Python, $(stamp_line python)"; return; fi
  if ! "$VENV/bin/python" -c "" 2>/dev/null; then echo "its Python no longer runs"; return; fi
  previous="$(accelerators "$(stamp_line extras)")"
  if [[ -n "$accelerator" && -n "$previous" && "$accelerator" != "$previous" ]]; then echo "it is for $previous"; fi
}

accelerators() { tr ' ' '\n' <<<"$1" | grep -xE 'cuda12|cuda13|tpu' | sort -u | paste -sd ' ' || true; }

union() { tr ' ' '\n' <<<"$*" | sed '/^$/d' | sort -u | paste -sd ' '; }

check_extras() {
  local extra
  for extra in "$@"; do
    if [[ "$EXTRAS" != *" $extra "* ]]; then
      echo "setup: unknown extra '$extra': expected any of$EXTRAS" >&2
      return 2
    fi
  done
  if [[ "$(accelerators "$*")" == *" "* ]]; then
    echo "setup: expected at most one accelerator, got '$(accelerators "$*")'" >&2
    return 2
  fi
}

take_lock() {
  if ! command -v flock >/dev/null; then return; fi
  exec 9>"$ROOT/.venv.lock"
  if ! flock -n 9; then
    echo "setup: another setup is running here; waiting for it"
    flock 9
  fi
}

install_all() {
  local minor="$1" extras="$2" constraints options=()
  constraints="$(constraints_for "$minor")"
  if [[ -f "$constraints" ]]; then
    options=(-c "$constraints")
    echo "setup: installing xai_jax[$extras] with the versions of scripts/${constraints##*/} (a few minutes)"
  else
    echo "setup: Python 3.$minor is untested here: installing xai_jax[$extras] without pinned versions (a few minutes)"
  fi
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    -e "${ROOT}[${extras// /,}]" ${options[@]+"${options[@]}"}
}

main() {
  local chosen minor micro path reason inputs extras started=$SECONDS
  if (($# == 0)); then set -- imagenet; fi
  check_extras "$@" || return
  chosen="$(choose_python)" || return
  read -r _ minor micro path <<<"$chosen"
  take_lock
  if [[ -e "$VENV" || -L "$VENV" ]]; then
    reason="$(why_recreate "$path" "$(accelerators "$*")")"
    if [[ -n "$reason" ]]; then
      echo "setup: making .venv again: $reason"
      rm -rf "$VENV"
    fi
  fi
  inputs="$(fingerprint "$(constraints_for "$minor")")"
  extras="$(union "$*" "$(stamp_line extras)")"
  if [[ "$(stamp_line inputs)" == "$inputs" && "$(stamp_line extras)" == "$extras" ]]; then
    echo "setup: .venv is up to date (Python 3.$minor.$micro; $extras)"
    return
  fi
  if [[ ! -e "$VENV" ]]; then
    echo "setup: making .venv with Python 3.$minor.$micro ($path)"
    "$path" -m venv "$VENV"
  fi
  rm -f "$STAMP"
  install_all "$minor" "$extras"
  # Written last and atomically, so that an interrupted installation never counts as finished.
  printf 'root=%s\npython=%s\ninputs=%s\nextras=%s\n' "$ROOT" "$path" "$inputs" "$extras" >"$STAMP.new"
  mv "$STAMP.new" "$STAMP"
  echo "setup: done in $((SECONDS - started)) s"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
