#!/usr/bin/env bash
# Everything that README.md and docs/ claim of a device, measured on this one, each part into benchmarks/results/.
#
#   benchmarks/device.sh DATA [PART...]
#
# DATA is where CIFAR-10 lies. The parts, in the order in which they matter: tests accuracy speed networks parity choices.
# Meant for a GPU, on which all of them together take half an hour. RECIPE, SEEDS and RUNS make it smaller:
#
#   RECIPE=mini SEEDS=2 RUNS=2 benchmarks/device.sh DATA accuracy
set -euo pipefail
export AIRJAX_DATA=${1:?"usage: benchmarks/device.sh DATA [PART...]"}
shift
cd "$(dirname "$0")/.."
recipe=${RECIPE:-94} seeds=${SEEDS:-100} runs=${RUNS:-170} python=${PYTHON:-python}

for part in "${@:-tests accuracy speed networks parity choices}"; do
  for one in $part; do
    echo "+ $one"
    case $one in
      tests)
        "$python" -m pytest -m gpu tests
        ;;
      accuracy)
        "$python" -m benchmarks.accuracy --recipe "$recipe" --seeds "$seeds"
        ;;
      speed)
        "$python" -m benchmarks run --recipe "$recipe" --against torch,airbench
        "$python" -m benchmarks step --recipe "$recipe"
        "$python" -m benchmarks evaluate --recipe "$recipe"
        "$python" -m benchmarks augment --recipe "$recipe"
        "$python" -m benchmarks compile --recipe "$recipe"
        ;;
      networks)
        "$python" -m benchmarks seeds --recipe "$recipe" --epochs 1 --against torch
        "$python" -m benchmarks seeds --table
        ;;
      parity)
        "$python" -m benchmarks.parity statistical --recipe "$recipe" --runs "$runs" \
          --out "benchmarks/results/parity-$recipe.jsonl"
        ;;
      choices)
        "$python" -m benchmarks.ablation --recipe "$recipe"
        "$python" -m benchmarks profile --recipe "$recipe"
        "$python" -m benchmarks scaling --recipe "$recipe" --repeats 1
        ;;
      *)
        echo "error: $one is no part; the parts are tests accuracy speed networks parity choices" >&2
        exit 2
        ;;
    esac
  done
done
"$python" -m benchmarks report
