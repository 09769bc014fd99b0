"""How fast `pulmonet --help` and a wrong flag answer, against `python -c pass`, warm.

    python benchmarks/startup.py --json startup.json

The three take turns in one run; target 0.3 s for the help and for a configuration error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_SECONDS = 0.3

LINES = {
    "python": ["-c", "pass"],
    "help": ["-m", "pulmonet", "--help"],
    "help_of_train": ["-m", "pulmonet", "train", "--help"],
    "wrong_value": ["-m", "pulmonet", "train", "--epochs", "0"],
}


def seconds_of(arguments: list[str]) -> float:
    """Wall time of one Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in LINES}
    for turn in range(options.repeats + 1):
        for name, arguments in LINES.items():
            found = seconds_of(arguments)
            if turn:  # the first fills the caches
                times[name].append(found)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        over = f"{seconds / medians['python']:5.1f} × python -c pass (target {TARGET_SECONDS} s)"
        print(f"{name:14}{seconds:7.3f} s  {over if name != 'python' else ''}".rstrip())
    if options.json:
        result = {"benchmark": "startup", "seconds": medians, "target": TARGET_SECONDS}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
