"""A `pulmonet train` process that a sweep can watch epoch by epoch, and stop.

Shared by the examples beside it. It needs nothing but the command line and the run's
training_log.csv, which PulmoNet replaces whole after every epoch.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TRAIN = (sys.executable, "-m", "pulmonet", "train")
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_STOP = 120.0


class RunFailedError(RuntimeError):
    """`pulmonet train` ended with another exit code than 0."""


class TrainingProcess:
    """One run in a process of its own; what it prints goes to `<run>.txt` beside the run folder."""

    def __init__(
        self, arguments: Sequence[str], out_dir: Path, name: str, train: Sequence[str] = TRAIN
    ) -> None:
        """Start it.

        Args:
            arguments: of `pulmonet train`, without --out-dir and --name.
            out_dir: the artifacts folder.
            name: of the run.
            train: the command, for tests.
        """
        out_dir.mkdir(parents=True, exist_ok=True)
        self.command = [*train, *arguments, "--out-dir", str(out_dir), "--name", name]
        self.output_path = out_dir / f"{name}.txt"
        self._log_path = out_dir / name / "training_log.csv"
        self._n_seen = 0
        with self.output_path.open("wb") as output:
            self._process = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def epochs(self) -> Iterator[dict[str, float]]:
        """The log's rows, each as soon as its epoch is over, until the run has ended.

        Raises:
            RunFailedError: the run failed; its last words are in the message.
        """
        while True:
            has_ended = self._process.poll() is not None  # before the look: none is missed
            yield from self._new_rows()
            if has_ended:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if self._process.returncode != 0:
            words = self.output_path.read_text("utf-8", "replace").strip().splitlines()[-3:]
            raise RunFailedError(f"exit code {self._process.returncode}: {' '.join(words)}")

    def stop(self) -> None:
        """End it: SIGTERM, upon which PulmoNet saves a checkpoint, then SIGKILL."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _new_rows(self) -> list[dict[str, float]]:
        if not self._log_path.exists():
            return []
        with self._log_path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))[self._n_seen :]
        self._n_seen += len(rows)
        return [{key: float(value) for key, value in row.items() if value} for row in rows]
