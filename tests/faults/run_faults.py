"""Break PulmoNet in hundreds of ways and count what it makes of it.

``python tests/faults/run_faults.py --long --json out.json``: every fault of `fault_list`; a run
that is stopped goes on where it was, since what is in out.json is not repeated. Without ``--long``
the short list that the test suite runs.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from fault_lab import COMMANDS, Lab  # noqa: E402
from fault_list import QUICK, all_faults, count_by_kind, judge, short_faults  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="every fault")
    parser.add_argument("--json", type=Path, help="results; those in it are not repeated")
    parser.add_argument("--only", nargs="+", default=["*"], help="names, e.g. 'damage/*'")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long")
    parser.add_argument("--list", action="store_true", help="only count the faults")
    options = parser.parse_args()
    done = read_results(options.json)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pulmonet-faults-") as folder:
        lab = Lab(Path(folder))
        try:
            lab.build(list(COMMANDS) if options.long else list(QUICK))
            faults = list(all_faults(lab) if options.long else short_faults(lab))
            faults = [
                fault
                for fault in faults
                if any(fnmatch.fnmatch(fault.name, pattern) for pattern in options.only)
            ]
            print(f"{len(faults)} faults: {count_by_kind([fault.name for fault in faults])}")
            if options.list:
                return 0
            for fault in faults:
                if fault.name in done:
                    continue
                if time.monotonic() - begun > 60 * options.minutes:
                    break
                result = judge(lab, fault)
                done[fault.name] = result
                mark = "BROKEN" if result["problems"] else "ok"
                print(f"{mark:6} {result['codes']} {result['seconds']:6.1f} s  {fault.name}")
                for problem in result["problems"]:
                    print(f"       {problem}")
                sys.stdout.flush()
                write_results(options.json, done)
        finally:
            lab.close()
    return conclude(done)


def read_results(path: Path | None) -> dict[str, dict[str, object]]:
    """Results by name that a file holds; those with problems are tried again."""
    if path is None or not path.exists():
        return {}
    faults = json.loads(path.read_text())["faults"]
    return {fault["name"]: fault for fault in faults if not fault["problems"]}


def write_results(path: Path | None, done: dict[str, dict[str, object]]) -> None:
    """Everything so far."""
    if path is None:
        return
    document = {
        "date": datetime.date.today().isoformat(),
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        "python": platform.python_version(),
        "count": len(done),
        "by_kind": count_by_kind(list(done)),
        "broken": sum(bool(result["problems"]) for result in done.values()),
        "faults": list(done.values()),
    }
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)


def conclude(done: dict[str, dict[str, object]]) -> int:
    """Say the outcome; 1 when a promise was broken."""
    broken = [name for name, result in done.items() if result["problems"]]
    print(f"{len(done)} faults, {len(done) - len(broken)} as promised, {len(broken)} not")
    for name in broken:
        print(f"  {name}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
