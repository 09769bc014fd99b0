"""`benchmarks/compare`: what got slower, given the noise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare"


def write(path: Path, **figures: tuple[list[float], bool]) -> Path:
    document = {
        "machine": {"cpu": "x"},
        "versions": {"torch": path.stem},
        "figures": {
            name: {"values": values, "target": None, "more_is_better": more}
            for name, (values, more) in figures.items()
        },
    }
    path.write_text(json.dumps(document))
    return path


def compare(old: Path, new: Path) -> tuple[int, dict[str, str], str]:
    done = subprocess.run(
        [sys.executable, COMPARE, old, new], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if " | " in line]
    return done.returncode, {row[0]: row[-1].strip(" |") for row in rows[1:]}, done.stdout


def test_only_what_leaves_the_noise_is_named(tmp_path: Path) -> None:
    old = write(
        tmp_path / "old.json",
        ratio=([10, 10.1, 9.9], True),
        seconds=([1.0, 1.01, 0.99], False),
        noisy=([10, 14, 6], True),
        faster=([2.0, 2.0, 2.1], False),
        gone=([1.0], True),
    )
    new = write(
        tmp_path / "new.json",
        ratio=([8, 8.1, 7.9], True),
        seconds=([1.3, 1.31, 1.29], False),
        noisy=([8, 7, 9], True),
        faster=([1.0, 1.0, 1.1], False),
    )
    code, verdicts, text = compare(old, new)
    assert code == 1
    assert verdicts == {
        "ratio": "WORSE",
        "seconds": "WORSE",
        "noisy": "same",
        "faster": "better",
        "gone": "gone",
    }
    assert "2 worse: ratio, seconds" in text
    assert "differs: torch: old -> new" in text


def test_a_file_against_itself_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", ratio=([1.0], True), seconds=([0.3, 0.4], False))
    code, verdicts, _ = compare(path, path)
    assert code == 0
    assert set(verdicts.values()) == {"same"}
