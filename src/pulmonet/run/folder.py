"""RunDir: where every file of a run lives, and the runs of an artifacts folder; without torch."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pulmonet.config.fields import RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.paths import expand, without_home
from pulmonet.files.read import read_bytes
from pulmonet.files.system import release_lock, take_lock
from pulmonet.files.write import explain_write, write_atomic, write_json
from pulmonet.labels import file_name_of
from pulmonet.run.record import Provenance, RunRecord, read_model
from pulmonet.words import did_you_mean, list_first

if TYPE_CHECKING:
    import pandas as pd


#: Letters of a run's name: most disks take 255 in a folder's, and ``-tta`` may come behind.
MAX_RUN_NAME = 200
#: What `train` writes beside run_config.json.
TRAINED = (
    *("best_model.pth", "last_checkpoint.pth", "training_log.csv", "curves.png"),
    *("seen.npz", "likeness.npz"),
)


class _Inside:
    """A path within a run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run_dir: "RunDir", owner: "type[RunDir]") -> Path:
        return run_dir.path / self._name


@dataclass(frozen=True)
class RunDir:
    """One run's folder: ``artifacts/<run>/``."""

    path: Path

    config_path = _Inside("run_config.json")
    best_model_path = _Inside("best_model.pth")
    last_checkpoint_path = _Inside("last_checkpoint.pth")
    log_path = _Inside("training_log.csv")
    curves_path = _Inside("curves.png")
    seen_path = _Inside("seen.npz")
    likeness_path = _Inside("likeness.npz")
    calibration_path = _Inside("calibration.json")
    suspects_path = _Inside("suspect_labels.csv")
    onnx_path = _Inside("model.onnx")
    explain_dir = _Inside("explain")

    @property
    def name(self) -> str:
        return self.path.name

    def predictions_path(self, dataset: str, split: str) -> Path:
        return self.path / f"predictions_{file_name_of(dataset)}_{file_name_of(split)}.csv"

    def evaluation_path(self, dataset: str, split: str) -> Path:
        return self.path / f"evaluation_{file_name_of(dataset)}_{file_name_of(split)}.json"

    def figure_path(self, name: str, dataset: str, split: str) -> Path:
        return self.path / f"{name}_{file_name_of(dataset)}_{file_name_of(split)}.png"

    def exists(self) -> bool:
        """Whether a run lives here (a folder without run_config.json is none)."""
        return self.config_path.exists()

    def read_record(self) -> RunRecord:
        """run_config.json. ArtifactError: missing, damaged, or written by something else."""
        if not self.exists():
            text = f"{self.path}: no run_config.json, so no run; name a run folder or train one"
            raise ArtifactError(text)
        remedy = "restore it from a backup or train again with --overwrite"
        return read_model(self.config_path, RunRecord, "a run configuration", remedy)

    def write_record(self, config: RunConfig, provenance: Provenance) -> None:
        """Write run_config.json; the home folder is written as ``~`` wherever it stands."""
        record = RunRecord(schema=1, config=config, provenance=provenance)
        write_json(self.config_path, without_home(record.model_dump(mode="json", by_alias=True)))

    def read_log(self) -> "pd.DataFrame":
        """training_log.csv, one row an epoch. ArtifactError: missing or damaged."""
        import pandas as pd

        try:
            return pd.read_csv(io.BytesIO(read_bytes(self.log_path)))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self.log_path}: cannot be read ({error}); train again") from None

    def write_log(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write training_log.csv whole (a few dozen rows), atomically."""
        import pandas as pd

        table = pd.DataFrame(list(rows)).to_csv(index=False, lineterminator="\n", na_rep="nan")
        write_atomic(self.log_path, table)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one writer; one that is made for this and stays empty goes again.

        Raises:
            ArtifactError: another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.path / ".lock", wait=False)
        except OSError as error:
            raise ArtifactError(explain_write(self.path, error)) from None
        if lock is None:
            text = f"{self.path}: in use by another process; wait for it or choose --name"
            raise ArtifactError(text)
        try:
            yield
        finally:
            release_lock(lock)
            with contextlib.suppress(OSError):  # not empty: kept
                self.path.rmdir()


def list_runs(artifacts_dir: Path) -> list[RunDir]:
    """All run folders below `artifacts_dir`, sorted by name."""
    if not artifacts_dir.is_dir():
        return []
    found = (RunDir(entry) for entry in sorted(artifacts_dir.iterdir()) if entry.is_dir())
    return [run_dir for run_dir in found if run_dir.exists()]


def no_run(artifacts_dir: Path, why: str = "") -> str:
    """That there is no run below `artifacts_dir`, what lies there of one, and what to do."""
    if not artifacts_dir.is_dir():
        what = "no such folder"
    else:
        lost = sorted(path.parent.name for path in artifacts_dir.glob("*/best_model.pth"))
        lost = [name for name in lost if not RunDir(artifacts_dir / name).exists()]
        why = why or f" ({list_first(lost)}: no run_config.json)" * bool(lost)
        what = f"no trained run{why}"
    remedy = "train one with `pulmonet train`, or name its folder with --artifacts-dir"
    return f"{artifacts_dir}: {what}; {remedy}"


def find_run(name: str, artifacts_dir: Path) -> RunDir:
    """The run that the user named: a folder's path, or a name below `artifacts_dir`.

    Raises:
        ArtifactError: no such run; the message has the near miss and what there is.
    """
    for path in (artifacts_dir / name, expand(name)):
        if RunDir(path).exists():
            return RunDir(path if path.name else path.absolute())
    names = [run_dir.name for run_dir in list_runs(artifacts_dir)]
    typed = Path(name)
    there = next((path for path in (typed, artifacts_dir / name) if path.exists()), None)
    found = f"no such run{did_you_mean(typed.name, names)}"
    if there is not None:
        found = "holds no run (no run_config.json)" if there.is_dir() else "no folder of a run"
        if any(there.glob("evaluation_*.json")) and not RunDir(there).best_model_path.exists():
            found = "has the scores of several runs or of a file, no network; name one run"
    shown = there or (typed if len(typed.parts) > 1 else artifacts_dir / name)
    what = f"{shown}: {found}; runs there:"
    raise ArtifactError(f"{what} {', '.join(names) or 'none; train one with `pulmonet train`'}")


def best_run(artifacts_dir: Path) -> RunDir:
    """The run with the highest validation AUROC; readable runs only.

    Raises:
        ArtifactError: there is none.
    """
    scored: list[tuple[float, RunDir]] = []
    runs = list_runs(artifacts_dir)
    for run_dir in runs:
        with contextlib.suppress(ArtifactError):
            auroc = run_dir.read_record().provenance.best_valid_macro_auroc
            if run_dir.best_model_path.exists():
                scored.append((-1.0 if auroc is None else auroc, run_dir))
    if not scored:
        names = list_first(run_dir.name for run_dir in runs)
        without = f" ({names}: unreadable, or no best_model.pth)" if names else ""
        raise ArtifactError(no_run(artifacts_dir, without))
    return max(scored, key=lambda pair: pair[0])[1]


def is_run_name(name: str) -> bool:
    """Whether a run may be called so: letters, digits and ``._+-``."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) is not None


def check_run_name(name: str, flag: str = "--name") -> str:
    """A run's name as a folder name, as it was typed behind `flag`.

    Raises:
        ConfigError: not `is_run_name`, so that a name never leaves the artifacts folder.
    """
    if len(name) > MAX_RUN_NAME:
        raise ConfigError(
            f"{flag} {name[:20]}...: {len(name)} letters; at most {MAX_RUN_NAME} make a folder name"
        )
    if not is_run_name(name):
        text = f"{flag} {name!r}: not usable as a folder name; use letters, digits and . _ + -"
        raise ConfigError(text)
    return name
