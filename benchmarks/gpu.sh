#!/bin/sh
# All that a GPU can tell, in under seven minutes: `tests/gpu`, `benchmarks/gpu.py`, and at the end
# the tests that compile, which take longest. What one of them fails at, or has no time for, costs
# the others nothing.
#   benchmarks/gpu.sh DATA_DIR OUT_DIR WHEELS_DIR
# Without DATA_DIR (or "") phantoms are used. A bare machine has Python 3.12, torch, torchvision,
# numpy and pandas. What is missing there is named, and put into OUT_DIR/site from the wheels in
# WHEELS_DIR, where that is given. Get them beforehand, where there is a network:
#   pip download --dest WHEELS_DIR --only-binary :all: --python-version 3.12 NAMES
# Without a CUDA device all say so and end with 0; with one, the script ends with 1 if a part failed.
set -u
cd "$(dirname "$0")/.."
data=${1:-} out=${2:-.} wheels=${3:-}
mkdir -p "$out"
out=$(cd "$out" && pwd)
begun=$(date +%s)
left() { echo $((begun + 415 - $(date +%s))); }
missing=$(python3 - <<'END'
from importlib.util import find_spec
needed = {
    **{name: name for name in "filelock hypothesis jinja2 matplotlib platformdirs pydantic".split()},
    **{name: name for name in "pydicom pytest rich scipy typer".split()},
    **{"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn"},
}
print(*(name for module, name in needed.items() if find_spec(module) is None))
END
)
if [ -n "$missing" ]; then
  echo "missing here: $missing"
fi
if [ -n "$missing" ] && [ -n "$wheels" ]; then
  # not a venv: python3 may be one itself, whose packages a new one would not see
  python3 - "$wheels" <<'END' | xargs -r -d '\n' python3 -m pip install -q --no-index --no-deps --no-compile --target "$out/site"
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    try:
        version(wheel.name.split("-")[0])
    except PackageNotFoundError:
        print(wheel)
END
fi
export PYTHONPATH="$PWD/src:$PWD/benchmarks:$out/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
# NAME SECONDS COMMAND: what it says goes to OUT_DIR/NAME.txt, too; SIGINT, so that pytest sums up
run() {
  name=$1 limit=$2
  shift 2
  { timeout -s INT -k 5 "$limit" "$@" 2>&1 || echo "$name ended with $?"; } | tee "$out/$name.txt"
}
tests="python3 -m pytest -v -W default --durations 5 -p no:cacheprovider tests/gpu"
python3 -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
# shellcheck disable=SC2086
run tests-gpu 140 $tests -k "not compiled"
run gpu "$(($(left) - 45))" python3 benchmarks/gpu.py ${data:+--data-dir "$data"} \
    --json "$out/gpu.json" --limit-seconds "$(($(left) - 75))"
# shellcheck disable=SC2086
run tests-compiled "$(left)" $tests -k compiled
! grep -h "^[a-z-]* ended with" "$out/tests-gpu.txt" "$out/gpu.txt" "$out/tests-compiled.txt"
