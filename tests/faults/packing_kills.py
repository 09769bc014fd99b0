"""Kill `pulmonet prepare` at random moments and run two at once; the pack must not care.

Run as a script for the long form:
``python tests/faults/packing_kills.py --kills 20 --data-dir ../shared/data/nih-cxr``.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import forked


def start_prepare(data_dir: Path, home: Path, *extra: str) -> BaseProcess:
    """`pulmonet prepare` with its cache, its memory and its report below `home`."""
    environment = {
        "PULMONET_CACHE_DIR": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "OMP_NUM_THREADS": "1",
    }
    arguments = ("prepare", str(data_dir), "--out-dir", str(home / "report"))
    return forked.start(*arguments, *extra, environment=environment)


def finish(process: BaseProcess) -> None:
    """Wait for a prepare that nobody disturbs any more.

    Raises:
        RuntimeError: it did not end with 0.
    """
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"prepare ended with {process.exitcode}")


def wait_for_pack(process: BaseProcess, home: Path) -> None:
    """Until packing has begun, or the process has ended."""
    while process.is_alive() and not list(home.glob("cache/packs/*/images.npy")):
        time.sleep(0.002)


def digests(home: Path) -> dict[str, str]:
    """Digest of every file of the one pack below `home`, and the checksums as text."""
    (folder,) = (home / "cache" / "packs").iterdir()
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def run_undisturbed(data_dir: Path, home: Path, *extra: str) -> tuple[dict[str, str], float]:
    """Digests of the pack, and the seconds from the beginning of packing to the end."""
    process = start_prepare(data_dir, home, *extra)
    wait_for_pack(process, home)
    started = time.monotonic()
    finish(process)
    return digests(home), time.monotonic() - started


def run_with_kills(
    data_dir: Path, home: Path, n_kills: int, seed: int, seconds: float, *extra: str
) -> list[dict[str, str]]:
    """SIGKILL `n_kills` prepares, each going on with what the last one left.

    A prepare that ends before its kill counts as none; the next one begins with an empty cache.

    Returns:
        The digests of every pack that came to its end, the last one after the last kill.
    """
    rng = random.Random(seed)
    finished = []
    n_killed = 0
    while n_killed < n_kills:
        process = start_prepare(data_dir, home, *extra)
        wait_for_pack(process, home)
        process.join(rng.uniform(0, seconds))
        if process.exitcode is None:
            process.kill()
            process.join()
            n_killed += 1
            continue
        finish(process)
        finished.append(digests(home))
        shutil.rmtree(home / "cache")
    finish(start_prepare(data_dir, home, *extra))
    return [*finished, digests(home)]


def run_two_at_once(data_dir: Path, home: Path, *extra: str) -> dict[str, str]:
    """Digests of a pack that two processes made together."""
    processes = [start_prepare(data_dir, home, *extra) for _ in range(2)]
    for process in processes:
        finish(process)
    return digests(home)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5, help="times that two run at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--image-size", default="512", help="larger: smaller blocks, more states")
    options = parser.parse_args()
    extra = ("--image-size", options.image_size)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        expected, seconds = run_undisturbed(options.data_dir, home / "calm", *extra)
        print(f"undisturbed: {seconds:.1f} s from the first row to the end")
        killed = run_with_kills(
            options.data_dir, home / "killed", options.kills, options.seed, seconds, *extra
        )
        together = []
        for number in range(options.pairs):
            together.append(run_two_at_once(options.data_dir, home / f"two{number}", *extra))
            shutil.rmtree(home / f"two{number}")
    n_same = sum(found == expected for found in killed)
    print(f"{options.kills} kills: {n_same} of {len(killed)} finished packs identical")
    n_same_together = sum(found == expected for found in together)
    print(f"two at once: {n_same_together} of {len(together)} packs identical")
    return 0 if n_same == len(killed) and n_same_together == len(together) else 1


if __name__ == "__main__":
    sys.exit(main())
