"""A script's own measurement at several numbers of rows, each in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def peak_mb() -> float:
    """Largest resident memory of this process so far, MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_sizes(script: str, sizes: Sequence[int]) -> list[dict[str, float]]:
    """The figures of every size, printed on the way.

    Args:
        script: path of a script that takes ``--rows N --one FOLDER`` and prints figures as JSON;
            cache and all else lie in the folder, which is gone afterwards.
        sizes: numbers of rows.
    """
    results: list[dict[str, float]] = []
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, script, "--rows", str(n_rows), "--one", folder]
            environment = os.environ | {"PULMONET_CACHE_DIR": f"{folder}/cache"}
            output = subprocess.run(command, env=environment, check=True, capture_output=True)
        results.append(json.loads(output.stdout))
        if len(results) == 1:
            print("  ".join(f"{name:>18}" for name in results[0]))
        print("  ".join(f"{value:18,.2f}" for value in results[-1].values()), flush=True)
    return results


def write_sizes(path: Path | None, benchmark: str, results: list[dict[str, float]]) -> None:
    """The document of ``--json``."""
    if path is not None:
        document = {"benchmark": benchmark, "sizes": results}
        path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
