#!/bin/sh
# All that a GPU can tell, in under seven minutes: `tests/gpu`, then `benchmarks/gpu.py`.
#   benchmarks/gpu.sh DATA_DIR OUT_DIR WHEELS_DIR
# Without DATA_DIR (or "") phantoms are used. A bare machine has Python 3.12, torch, torchvision,
# numpy and pandas. What is missing there is named, and put into OUT_DIR/env from the wheels in
# WHEELS_DIR, where that is given. Get them beforehand, where there is a network:
#   pip download --dest WHEELS_DIR --only-binary :all: --python-version 3.12 NAMES
# Without a CUDA device both say so and end with 0.
set -u
cd "$(dirname "$0")/.."
data=${1:-} out=${2:-.} wheels=${3:-}
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=python3
missing=$($python - <<'END'
from importlib.util import find_spec
needed = {
    **{name: name for name in "hypothesis jinja2 matplotlib platformdirs pydantic pydicom".split()},
    **{name: name for name in "pytest rich scipy typer".split()},
    **{"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn"},
}
print(*(name for module, name in needed.items() if find_spec(module) is None))
END
)
if [ -n "$missing" ]; then
  echo "missing here: $missing"
  if [ -n "$wheels" ]; then
    $python -m venv --system-site-packages "$out/env"
    python="$out/env/bin/python"
    # shellcheck disable=SC2086
    $python -m pip install -q --no-index --find-links "$wheels" $missing
  fi
fi
export PYTHONPATH="$PWD/src:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
$python -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
timeout 120 $python -m pytest -q -p no:cacheprovider tests/gpu 2>&1 | tee "$out/tests-gpu.txt" | tail -n 40
timeout 295 $python benchmarks/gpu.py ${data:+--data-dir "$data"} --json "$out/gpu.json" 2>&1 | tee "$out/gpu.txt"
