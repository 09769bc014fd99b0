#!/bin/sh
# All that a GPU can tell, in under eight minutes: `tests/gpu`, then `benchmarks/gpu.py`.
#   benchmarks/gpu.sh DATA_DIR OUT_DIR
# Without DATA_DIR (or "") phantoms are used. On a bare machine PYTHONPATH names the packages that
# it lacks (pydantic, pydantic-core, annotated-types, typing-inspection, platformdirs). Without a
# CUDA device both say so and end with 0.
set -u
cd "$(dirname "$0")/.."
data=${1:-} out=${2:-.}
export PYTHONPATH="$PWD/src:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
python3 -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
timeout 150 python3 -m pytest -q -p no:cacheprovider tests/gpu 2>&1 | tee "$out/tests-gpu.txt" | tail -n 40
timeout 330 python3 benchmarks/gpu.py ${data:+--data-dir "$data"} --json "$out/gpu.json" 2>&1 | tee "$out/gpu.txt"
