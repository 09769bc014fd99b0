"""What was computed from other weights than now lie in a run's folder, or of other rows."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulmonet.errors import PulmoNetError
from pulmonet.files.read import check_plain, sha256_of
from pulmonet.metrics.results import Comparison, RunResult, ThresholdTest
from pulmonet.run.folder import RunDir
from pulmonet.run.record import RunRecord, explain_stale

Rows = tuple[str, str, str]
"""Run, dataset and split."""
#: How an ONNX file ends: its metadata, after the graph, keys and values as they are.
_EXPORTED = re.compile(rb'checkpoint_sha256\x12."([0-9a-f]{64})"', re.DOTALL)


def exported_digest(path: Path) -> str | None:
    """Digest of the weights that model.onnx was exported from; None where it does not say it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**20))
        found = _EXPORTED.search(file.read())
    return found.group(1).decode() if found else None


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, by its path below the artifacts folder."""

    where: str
    what: str


@dataclass
class Reader:
    """Reads the files of an artifacts folder, and keeps what cannot be used, and why."""

    artifacts_dir: Path
    problems: list[Problem] = field(default_factory=list)  # damaged files
    stale: list[Problem] = field(default_factory=list)  # files of other weights or rows
    weights: dict[str, str | None] = field(default_factory=dict)
    """Digest of best_model.pth by run, as it lies there; None where it is not known."""
    compared: dict[Rows, list[Comparison]] = field(default_factory=dict)
    """What the evaluation of a run on some rows was compared in."""
    renamed: dict[str, str] = field(default_factory=dict)
    """What folders were called when they were evaluated -> what they are called now."""

    def __post_init__(self) -> None:
        self.n_evaluations = sum(1 for _ in self.artifacts_dir.glob("*/evaluation_*.json"))

    def __call__(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` returns; None when the file is missing, or damaged and named."""
        if not path.exists():
            return None
        try:
            check_plain(path)
            return read(path)
        except (PulmoNetError, OSError, ValueError, RecursionError) as error:
            what = str(error).replace(str(path), "").replace(str(path.parent), "").lstrip(": ")
            self.problems.append(Problem(self._where(path), what))
            return None

    def look_at_weights(self, run_dir: RunDir, record: RunRecord) -> None:
        """Take down a run's digest; the file itself decides where it is there."""
        said = record.provenance.checkpoint_sha256
        found = self(run_dir.best_model_path, sha256_of) or said
        if said is not None and found != said:
            what = "its digest is not the one in run_config.json; restore it"
            self.problems.append(Problem(self._where(run_dir.best_model_path), what))
        self.weights[run_dir.name] = found
        if digest := self(run_dir.onnx_path, exported_digest):
            self.is_fresh(run_dir.onnx_path, digest, "evaluate --export onnx", run_dir.name)

    def is_fresh(self, path: Path, digest: str | None, command: str, *runs: str) -> bool:
        """Whether a file is of the weights that its runs have now; named where it is not."""
        if why := explain_stale(digest, runs, self.weights, command):
            self.stale.append(Problem(self._where(path), why))
        return not why

    def names_of(self, item: Comparison | ThresholdTest) -> dict[str, Any]:
        """Both sides of a comparison, as their folders are called now."""
        now, members = self.renamed, {"a_members", "b_members"}
        return {
            side: [now.get(one, one) for one in name] if side in members else now.get(name, name)
            for side, name in item.model_dump(include={"a", "b", *members}).items()
        }

    def is_stale(self, item: Comparison, key: Rows) -> bool:
        """Whether a side has other weights now, or a newer evaluation without `key`'s run."""
        a, b = item.a_members or [item.a], item.b_members or [item.b]
        sides = ((a, item.a_sha256), (b, item.b_sha256))
        if any(explain_stale(then, names, self.weights, "evaluate") for names, then in sides):
            return True
        run, dataset, split = key
        theirs = self.compared.get((item.b if item.a == run else item.a, dataset, split))
        return theirs is not None and all(run not in (one.a, one.b) for one in theirs)

    def check_rows(self, path: Path, result: RunResult) -> bool:
        """Whether predictions are those that an evaluation was computed from."""
        theirs = result.predictions_sha256
        if theirs is None or not path.is_file() or theirs == (ours := sha256_of(path)):
            return True
        what = (
            f"of other rows or scores (SHA-256 {ours[:12]}) than its evaluation ({theirs[:12]}); "
            "run `pulmonet evaluate` again"
        )
        self.stale.append(Problem(self._where(path), what))
        return False

    def _where(self, path: Path) -> str:
        return path.relative_to(self.artifacts_dir).as_posix()
