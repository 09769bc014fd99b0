"""Hundreds of random sequences of commands and accidents, each against what must hold.

``python tests/faults/run_sequences.py --sequences 500 --json sequences.json``: a run that is
stopped goes on where it was. A sequence that fails is made shorter, as far as it fails in the same
way, and is written into the JSON file, from which it goes into ``kept_sequences.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from fault_lab import Lab  # noqa: E402
from hypothesis import HealthCheck, Phase, seed, settings  # noqa: E402
from hypothesis.stateful import run_state_machine_as_test  # noqa: E402
from sequence_rules import machine_of  # noqa: E402
from sequences import Step, World, play  # noqa: E402

BATCH = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=500)
    parser.add_argument("--steps", type=int, default=10, help="longest sequence")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long")
    parser.add_argument("--json", type=Path, help="results; what is in it is not repeated")
    parser.add_argument("--kept", action="store_true", help="only those of kept_sequences.json")
    options = parser.parse_args()
    done: dict[str, Any] = {"sequences": 0, "steps": {}, "codes": {}, "batches": [], "failed": []}
    if options.json and options.json.exists():
        done = json.loads(options.json.read_text())
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pulmonet-sequences-") as folder:
        lab = Lab(Path(folder))
        try:
            world = World(lab)
            if options.kept:
                return play_kept(world)
            number = options.seed
            while done["sequences"] < options.sequences:
                if time.monotonic() - begun > 60 * options.minutes:
                    break
                if number not in done["batches"]:
                    run_batch(world, number, options, done, begun + 60 * options.minutes)
                number += 1
        finally:
            lab.close()
    print(f"{done['sequences']} sequences, {len(done['failed'])} failed; steps: {done['steps']}")
    print(f"exit codes: {done['codes']}")
    return 1 if done["failed"] else 0


class InTime(World):
    """A world that stands still from a certain time on; what is drawn then is not played."""

    def __init__(self, world: World, ends: float, n_begun: list[int]) -> None:
        self.__dict__ = world.__dict__
        self.ends, self.n_begun = ends, n_begun

    def begin(self, *, trained: bool) -> None:
        self.is_over = time.monotonic() > self.ends
        if not self.is_over:
            self.n_begun[0] += 1
            super().begin(trained=trained)

    def do(self, step: Step) -> list[str]:
        return [] if self.is_over else super().do(step)


def run_batch(
    world: World, number: int, options: argparse.Namespace, done: dict[str, Any], ends: float
) -> None:
    """BATCH sequences of one seed; the results go into `done` and its file."""
    failed: list[dict[str, Any]] = []
    n_begun = [0]
    world.counts, world.codes = Counter(), Counter()

    def note(steps: list[Step], trained: bool, problems: list[str]) -> None:
        print(f"FAILED (batch {number}): {json.dumps(steps[-1])}\n  " + "\n  ".join(problems))
        sys.stdout.flush()
        failed.append({"trained": trained, "steps": list(steps), "problems": problems})

    machine = machine_of(InTime(world, ends, n_begun), note)
    how = settings(
        max_examples=BATCH,
        stateful_step_count=options.steps,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    start = time.monotonic()
    run_state_machine_as_test(seed(number)(machine), settings=how)
    counts, codes = dict(world.counts), {str(key): n for key, n in world.codes.items()}
    for one in failed:
        one["short"] = shorten(world, one["steps"], trained=one["trained"])
    done["sequences"] += n_begun[0]
    done["batches"].append(number)
    done["failed"] += failed
    done["steps"] = dict(Counter(done["steps"]) + Counter(counts))
    done["codes"] = dict(Counter(done["codes"]) + Counter(codes))
    if options.json:
        options.json.write_text(json.dumps(done, indent=1) + "\n")
    print(f"batch {number}: {n_begun[0]} sequences, {time.monotonic() - start:.0f} s, {codes}")
    sys.stdout.flush()


def shorten(world: World, steps: list[Step], *, trained: bool) -> list[Step]:
    """Without the steps that a failure does without."""
    position = len(steps) - 2
    while position >= 0:
        fewer = steps[:position] + steps[position + 1 :]
        if play(world, fewer, trained=trained):
            steps = fewer
        position -= 1
    print("  shortened: " + json.dumps({"trained": trained, "steps": steps}))
    return steps


def play_kept(world: World) -> int:
    """All sequences that once failed."""
    n_failed = 0
    for kept in json.loads((FOLDER / "kept_sequences.json").read_text()):
        problems = play(world, kept["steps"], trained=kept["trained"])
        n_failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok':7}{kept['what']}", *problems, sep="\n  ")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
