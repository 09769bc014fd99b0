"""Throw hostile inputs at every reader: ``python tests/faults/run_fuzz.py --json fuzz.json``.

The examples are shared out by weight and met in pieces of 500, each with a seed of its own. With
``--json`` every piece is written down, and the same command line goes on where it was stopped. A
crash is printed in its smallest form; make it an ``@example`` of the target's test in
tests/property.
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

from pulmonet.errors import is_out_of_memory  # noqa: E402
from pulmonet.files.system import peak_memory_bytes  # noqa: E402

#: Inputs of a piece: few enough that hypothesis, which remembers what it tried, stays fast.
PIECE = 500


class OutOfTime(BaseException):
    """The time is spent; no failure that hypothesis should shrink."""


def fuzz(name: str, target: Target, n_examples: int, until: float, first: int) -> dict[str, Any]:
    """Meet one piece of a target's inputs; how many there were, and the crash if there was one.

    Args:
        name: of the target.
        target: inputs and check.
        n_examples: inputs to meet; fewer where the strategy has no more.
        until: time (monotonic, seconds) at which to stop.
        first: seed of the piece.
    """
    begun = time.monotonic()
    met, refused = [0], [0]

    @seed(first)
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(value=target.inputs)
    def run(value: Any) -> None:
        if time.monotonic() > until:
            raise OutOfTime
        met[0] += 1
        with empty_folder() as folder:
            try:
                target.check(value, folder)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                refused[0] += 1  # `main` ends with 5

    crash = None
    try:
        run()
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", []))  # the smallest input, by hypothesis
        frames = "".join(traceback.format_tb(error.__traceback__)[-4:])
        crash = f"{type(error).__name__}: {str(error)[:500]}\n{frames}{notes[:3000]}"
    spent = time.monotonic() - begun
    return {
        "target": name,
        "seed": first,
        "inputs": met[0],
        "out_of_memory": refused[0],
        "peak_mb": round(peak_memory_bytes() / 2**20),
        "seconds": round(spent, 1),
        "crash": crash,
    }


def pieces_of(targets: dict[str, Target], n_examples: int, first: int) -> list[tuple[str, int]]:
    """(target, seed) of every piece, the targets in turns, so that a stop leaves none out."""
    total = sum(target.weight for target in targets.values())
    counts = {
        name: max(1, round(n_examples * target.weight / total / PIECE))
        for name, target in targets.items()
    }
    numbered = [(name, number) for name, n_pieces in counts.items() for number in range(n_pieces)]
    numbered.sort(key=lambda piece: piece[1] / counts[piece[0]])
    return [(name, first + number) for name, number in numbered]


def read_done(path: Path | None) -> list[dict[str, Any]]:
    """The pieces that an earlier call has written down."""
    if path is None or not path.exists():
        return []
    done: list[dict[str, Any]] = json.loads(path.read_text())["pieces"]
    return done


def write_done(path: Path | None, done: list[dict[str, Any]]) -> None:
    """Write the pieces so far, whole or not at all."""
    if path is None:
        return
    document = {"inputs": sum(piece["inputs"] for piece in done), "pieces": done}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)


def show(done: list[dict[str, Any]]) -> int:
    """Print the counts per target, and what crashed; how many pieces did."""
    for name in dict.fromkeys(piece["target"] for piece in done):
        pieces = [piece for piece in done if piece["target"] == name]
        n_inputs = sum(piece["inputs"] for piece in pieces)
        seconds = sum(piece["seconds"] for piece in pieces)
        print(f"{name:14} {n_inputs:8,} inputs {seconds:8.1f} s")
    n_refused = sum(piece.get("out_of_memory", 0) for piece in done)
    peak = max((piece.get("peak_mb", 0) for piece in done), default=0)
    print(f"{n_refused} of them asked for more memory; most that was resident: {peak:,} MB")
    crashed = [piece for piece in done if piece["crash"] is not None]
    for piece in crashed:
        print(f"{piece['target']}, seed {piece['seed']}:\n{piece['crash']}")
    n_inputs = sum(piece["inputs"] for piece in done)
    print(f"{n_inputs:,} inputs, {len(crashed)} pieces crashed")
    return len(crashed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=100_000, help="inputs, all targets together"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="time of this call")
    parser.add_argument("--only", choices=list(TARGETS), help="one target")
    parser.add_argument("--memory-gb", type=float, help="bound of this process (Linux)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the pieces are written down")
    options = parser.parse_args()
    if options.memory_gb:
        import resource

        bound = int(options.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    targets = {name: t for name, t in TARGETS.items() if options.only in {None, name}}
    done = read_done(options.json)
    begun_before = {(piece["target"], piece["seed"]) for piece in done}
    until = time.monotonic() + 60 * options.minutes
    try:
        for name, first in pieces_of(targets, options.examples, options.seed):
            if (name, first) in begun_before:
                continue
            piece = fuzz(name, targets[name], PIECE, until, first)
            done.append(piece)
            write_done(options.json, done)
    except OutOfTime:
        print("the time is spent; the same command line goes on with --json")
    return 1 if show(done) else 0


if __name__ == "__main__":
    sys.exit(main())
