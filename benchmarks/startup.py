"""How fast `pulmonet --help` and a wrong flag answer, against `python -c pass`, warm.

    python benchmarks/startup.py --json startup.json

They take turns in one run; target 0.3 s for the help and for a configuration error. Beside the wall
time stands the processor time, which a busy machine stretches less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_SECONDS = 0.3

#: A machine that keeps no compiled files would compile PulmoNet, and nothing else, in each process.
WARM = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

LINES = {
    "python": ["-c", "pass"],
    "help": ["-m", "pulmonet", "--help"],
    "help_of_train": ["-m", "pulmonet", "train", "--help"],
    "wrong_value": ["-m", "pulmonet", "train", "--epochs", "0"],
}


def seconds_of(arguments: list[str]) -> tuple[float, float]:
    """Wall time and processor time of one Python process."""
    started, used = time.perf_counter(), _processor_seconds()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=WARM)
    return time.perf_counter() - started, _processor_seconds() - used


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in LINES}
    for turn in range(options.repeats + 1):
        for name, arguments in LINES.items():
            found = seconds_of(arguments)
            if turn:  # the first fills the caches
                times[name].append(found)
    wall, used = (
        {name: statistics.median(pair[column] for pair in pairs) for name, pairs in times.items()}
        for column in (0, 1)
    )
    for name, seconds in wall.items():
        over = f"{seconds / wall['python']:5.1f} × python -c pass (target {TARGET_SECONDS} s)"
        shown = f"{name:14}{seconds:7.3f} s wall {used[name]:7.3f} s processor  "
        print(shown + (over if name != "python" else ""))
    if options.json:
        result = {
            "benchmark": "startup",
            "seconds": wall,
            "processor_seconds": used,
            "target": TARGET_SECONDS,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
