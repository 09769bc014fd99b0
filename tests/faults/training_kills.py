"""Kill a real training process again and again, resume it, and compare the bits.

Run as a script for the long form: ``python tests/faults/training_kills.py --kills 25``.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import forked

EMA = ("--set", "optim.ema_decay=0.9")
ENSEMBLE = (
    *("--set", "optim.epochs=2", "--set", "model.members=3", "--set", "optim.schedule=one-cycle"),
    *("--set", 'model.alternate=["timm:test_efficientnet"]', "--set", "select.checkpoint=last"),
)


def start_training(data_dir: Path, out_dir: Path, *extra: str) -> BaseProcess:
    """A short run of a small problem, checkpointing all the time."""
    return forked.start(
        *("train", "--model", "timm:test_resnet", "--weights", "none"),
        *("--data-dir", str(data_dir), "--out-dir", str(out_dir), "--name", "run"),
        *("--epochs", "6", "--image-size", "32", "--batch-size", "16", "--dropout", "0.2"),
        *("--set", "runtime.checkpoint_minutes=0.001", "--set", "runtime.threads=1"),
        *extra,
        environment={"OMP_NUM_THREADS": "1"},
    )


def finish(process: BaseProcess) -> None:
    """Wait for a run that nobody disturbs any more.

    Raises:
        RuntimeError: it did not end with 0.
    """
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the run ended with {process.exitcode} on its own")


def run_undisturbed(data_dir: Path, out_dir: Path, *extra: str) -> tuple[dict[str, str], float]:
    """Digests of the files that must not depend on kills, and how many seconds it took."""
    begun = time.monotonic()
    finish(start_training(data_dir, out_dir, *extra))
    return digests(out_dir / "run"), time.monotonic() - begun


def digests(run_dir: Path) -> dict[str, str]:
    """best_model.pth byte for byte, and the log without its timings."""
    log = (run_dir / "training_log.csv").read_text().splitlines()
    names = log[0].split(",")
    timed = {"seconds", "images_per_second", "peak_memory_mb"}
    keep = [i for i, name in enumerate(names) if name not in timed]
    plain = "\n".join(",".join(line.split(",")[i] for i in keep) for line in log)
    model = (run_dir / "best_model.pth").read_bytes()
    return {
        "best_model.pth": hashlib.sha256(model).hexdigest(),
        "training_log.csv": hashlib.sha256(plain.encode()).hexdigest(),
    }


def run_with_kills(
    data_dir: Path, out_dir: Path, n_kills: int, seed: int, longest_seconds: float, *extra: str
) -> tuple[dict[str, str], int]:
    """Kill the run `n_kills` times at random moments, resuming each time, then let it end.

    A run that ends before its kill counts as none and is started anew.

    Returns:
        The digests at the end, and how many kills hit a living process.
    """
    rng = random.Random(seed)
    hits = 0
    while hits < n_kills:
        process = start_training(data_dir, out_dir, "--resume", *extra)
        process.join(rng.uniform(0.05, longest_seconds))
        if process.exitcode is None:
            process.kill()
            process.join()
            hits += 1
            continue
        finish(process)
        if hits < n_kills:  # finished already: begin another one
            for path in (out_dir / "run").glob("*"):
                path.unlink()
    finish(start_training(data_dir, out_dir, "--resume", *extra))
    return digests(out_dir / "run"), hits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--longest-seconds", type=float, default=25.0)
    parser.add_argument("--ensemble", action="store_true", help="an ensemble instead of an EMA")
    options = parser.parse_args()
    extra = ("--subset", "0.15", *(ENSEMBLE if options.ensemble else EMA))
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = run_undisturbed(options.data_dir, Path(folder, "calm"), *extra)
        print(f"undisturbed run: {seconds:.0f} s")
        found, hits = run_with_kills(
            options.data_dir,
            Path(folder, "killed"),
            options.kills,
            options.seed,
            options.longest_seconds,
            *extra,
        )
    same = found == expected
    print(f"{hits} kills; resumed result {'identical' if same else 'DIFFERENT'}: {found}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
