#!/usr/bin/env bash
# Sets everything up, runs the experiments and builds the gallery. See --help.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/setup.sh
source "$here/setup.sh"

usage() {
  cat <<'TEXT'
Usage: bash scripts/reproduce.sh [--accelerator cuda12|cuda13|tpu] [options]

Creates .venv, installs xai_jax, and runs the tour: one figure of each method. The gallery, results/index.html, grows
meanwhile. --all runs every experiment; an accelerator, and the tiers smoke and paper, do so without it.
An interrupted run resumes. A failing experiment does not stop the others; failures are reported at the end.

  --accelerator NAME      install JAX for cuda12, cuda13 or tpu (default: CPU)
  --tier NAME             smoke (seconds), default (minutes on a CPU) or paper (full schedules; needs an accelerator)
  --all                   run every experiment, not only the tour
  --only PAPER[/FIGURE]   run only these; may be repeated
  --inputs FILE           TOML file: where data and weights of the tier paper are; --plan says what is missing
  --results DIR           directory of results (default: results); output of experiments goes to DIR/logs
  --jobs N                run N experiments at once, each with up to 2 GB (default: 2, and 1 on an accelerator)
  --overwrite             run finished experiments again; once interrupted, the same command continues
  --deterministic         the same bits in every run on a GPU, at some cost in speed
  --list                  list all experiments with expected minutes, and exit
  --plan                  print what would run, at the tier paper with what is missing and how to get it, and exit
  -h, --help              this text

XAI_JAX_PYTHON=/path/to/python overrides the choice of Python.
TEXT
}

accelerator=""
arguments=()
while (($#)); do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --accelerator | --accelerator=*)
      if [[ "$1" == *=* ]]; then
        accelerator="${1#*=}"
      else
        accelerator="${2-}"
        if (($# > 1)); then shift; fi
      fi
      if [[ ! "$accelerator" =~ ^(cuda12|cuda13|tpu)$ ]]; then
        echo "reproduce: --accelerator: expected cuda12, cuda13 or tpu, got '$accelerator'" >&2
        exit 2
      fi
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

if [[ -n "$accelerator" ]]; then arguments+=(--all); fi

# TFDS prepares the data sets of the tier paper with TensorFlow.
extras=(imagenet)
case " ${arguments[*]-} " in
  *" --tier paper "* | *" --tier=paper "*) extras+=(prepare) ;;
esac

# reproduce.py uses the standard library only, so that wrong arguments are reported before anything is installed.
chosen="$(choose_python)"
read -r _ _ _ python <<<"$chosen"
plan=("$python" "$here/reproduce.py" ${arguments[@]+"${arguments[@]}"} --plan)
case " ${arguments[*]-} " in
  *" --plan "* | *" --list "*) exec "${plan[@]}" ;;
  *) "${plan[@]}" >/dev/null ;;
esac

XAI_JAX_PYTHON="$python" bash "$here/setup.sh" "${extras[@]}" ${accelerator:+"$accelerator"}
bash "$here/data.sh"
exec "$ROOT/.venv/bin/python" "$here/reproduce.py" ${arguments[@]+"${arguments[@]}"}
