"""Throw hostile inputs at every reader: ``python tests/faults/run_fuzz.py --examples 100000``.

The examples are shared out by weight. A crash is printed in its smallest form; make it an
``@example`` of the target's test in tests/property.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from fuzz_targets import TARGETS, Target, empty_folder  # noqa: E402
from hypothesis import HealthCheck, given, seed, settings  # noqa: E402


class OutOfTime(BaseException):
    """The budget of a target is spent; no failure that hypothesis should shrink."""


def fuzz(name: str, target: Target, n_examples: int, seconds: float, first: int) -> dict[str, Any]:
    """Run one target; how many inputs it met and the crash that was found, if any."""
    begun = time.monotonic()
    met = [0]

    @seed(first)
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(value=target.inputs)
    def run(value: Any) -> None:
        if time.monotonic() - begun > seconds:
            raise OutOfTime
        met[0] += 1
        with empty_folder() as folder:
            target.check(value, folder)

    crash = None
    try:
        run()
    except OutOfTime:
        pass
    except Exception:
        crash = traceback.format_exc()[-4000:]
    spent = time.monotonic() - begun
    return {"target": name, "inputs": met[0], "seconds": round(spent, 1), "crash": crash}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=100_000, help="inputs, all targets together"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="time for all of them")
    parser.add_argument("--only", help="one target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the counts")
    options = parser.parse_args()
    targets = {name: t for name, t in TARGETS.items() if options.only in {None, name}}
    total = sum(target.weight for target in targets.values())
    results = []
    for name, target in targets.items():
        share = target.weight / total
        result = fuzz(
            name, target, int(options.examples * share), 60 * options.minutes * share, options.seed
        )
        results.append(result)
        print(f"{name:14} {result['inputs']:8,} inputs {result['seconds']:8.1f} s", flush=True)
        if result["crash"]:
            print(result["crash"])
    n_inputs = sum(result["inputs"] for result in results)
    n_crashes = sum(result["crash"] is not None for result in results)
    print(f"{n_inputs:,} inputs, {n_crashes} targets crashed")
    if options.json:
        options.json.write_text(
            json.dumps({"inputs": n_inputs, "targets": results}, indent=1) + "\n"
        )
    return 1 if n_crashes else 0


if __name__ == "__main__":
    sys.exit(main())
