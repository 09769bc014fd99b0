"""RunDir and Predictions: the name, the reader and the atomic writer of every file of a run.

A file is written to a temporary name, flushed, synced and renamed: a reader, or a crash, never
meets half a file. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from pulmonet.config import RunConfig
from pulmonet.errors import ArtifactError, ConfigError, did_you_mean, list_first
from pulmonet.labels import check_label_name, file_name_of
from pulmonet.reading import check_table, read_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SCHEMA_VERSION = 1

#: How the names of heat maps begin: the methods of `explain`, which `report` looks for.
HEAT_MAP_METHODS = (
    *("gradcam", "gradcam++", "hirescam", "layercam", "scorecam"),
    *("integrated-gradients", "occlusion"),
)

#: A JSON file that is read whole into memory is not larger than this.
MAX_JSON_BYTES = 512 * 1024 * 1024


class Record(BaseModel):
    """Base of what is written beside a config: frozen, documented, unknown keys kept out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DatasetFacts(Record):
    """Which data a run saw."""

    name: str
    """Name of the dataset root."""
    source: str
    """Kind of source: chexpert, nih, ..."""
    root: str
    """Dataset root, the home folder written as ~."""
    fingerprint: str
    """Digest of the manifest: paths, splits, patients and labels of all rows."""
    synthetic: bool = False
    """Whether the images are phantoms."""
    patients_known: bool = True
    """False where the source has no patient ids and each image counts as a patient."""
    split_patients: dict[str, str] = {}
    """Digest of the patients of each split, by which a split is known again."""
    n_rows: dict[str, int]
    """Rows per role: train, valid, dev."""
    n_patients: dict[str, int]
    """Patients per role."""
    positives: dict[str, dict[str, int]] = {}
    """Positives per role and label."""
    excluded: dict[str, int] = {}
    """Rows left out, by reason (views, subset, unreadable)."""
    unreadable: list[str] = []
    """Paths of the images that --skip-bad left out."""
    policy_changes: dict[str, dict[str, int]] = {}
    """Per label: how many uncertain and blank training labels the policies changed, to what."""
    summary: dict[str, Any] = {}
    """The summary of `prepare`: sex, age, views, labels per split."""


class Provenance(Record):
    """Where a run came from, and what came of it."""

    status: Literal["running", "interrupted", "finished", "failed"]
    """A run that is not `finished` can be resumed."""
    pulmonet: str
    """Version of PulmoNet."""
    versions: dict[str, str]
    """Versions of Python, torch, torchvision, numpy, ..."""
    command: list[str] = []
    """The command line, paths below the home folder written with ~."""
    device: str
    """cpu, cuda:0, ..."""
    device_name: str = ""
    """The processor's or GPU's name."""
    threads: int = 0
    """CPU threads of torch."""
    world_size: int = 1
    """Processes."""
    precision: str = "fp32"
    """fp32, bf16 or fp16, as taken."""
    weights: dict[str, Any] = {}
    """What the weights started from: exact name, file digest, what matched."""
    labels: list[Annotated[str, AfterValidator(check_label_name)]] = []
    """The labels trained on, in the order of the outputs."""
    auxiliary_labels: list[Annotated[str, AfterValidator(check_label_name)]] = []
    """Labels that were learned from beside them; best_model.pth has no outputs for them."""
    dataset: DatasetFacts | None = None
    """The data."""
    start: str
    """ISO 8601, UTC."""
    end: str | None = None
    """ISO 8601, UTC."""
    duration_seconds: float | None = None
    """Wall time spent training, all sessions of a resumed run together."""
    n_resumed: int = 0
    """How often the run was resumed."""
    best_epoch: int | None = None
    """1-based epoch of best_model.pth."""
    best_valid_macro_auroc: float | None = None
    """Its macro AUROC on the rows that chose it."""
    selected_on: str = "valid"
    """The rows that chose it: valid or dev."""
    checkpoint_sha256: str | None = None
    """Digest of best_model.pth."""
    notes: list[str] = []
    """What happened on the way: micro-batches halved, steps skipped, ..."""


class RunRecord(Record):
    """run_config.json."""

    schema_version: int = SCHEMA_VERSION
    config: RunConfig
    provenance: Provenance


# --- writing ------------------------------------------------------------------------------


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: temporary name, flush, fsync, rename.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, and the like.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise ArtifactError(_explain_write(path, error)) from None
    except BaseException:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN becomes null."""
    write_atomic(path, json.dumps(_without_nan(value), indent=2, ensure_ascii=False) + "\n")


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that `evaluate` wrote.

    Raises:
        ArtifactError: no JSON, or no object.
        OSError: it cannot be opened, is no plain file or too large.
    """
    try:
        value = json.loads(read_text(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); write it again") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: holds no JSON object; write it again")
    return value


def _without_nan(value: Any) -> Any:
    import numpy as np

    if isinstance(value, BaseModel):
        return _without_nan(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.ndarray):
        return _without_nan(value.tolist())
    if isinstance(value, np.generic):
        return _without_nan(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return portable_path(value)
    return value


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain_write(path: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        way_out = "free some space and run it again; what was there before is untouched"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        way_out = "choose another folder or mend its permissions"
    else:
        way_out = "check the folder"
    return f"{path}: cannot be written ({error.strerror}); {way_out}"


def portable_path(path: Path | str) -> str:
    """An absolute path with the home folder written as ``~``: no user name in artifacts."""
    text = str(Path(path).expanduser().absolute())
    home = str(Path.home())
    if home not in {"/", ""} and (text == home or text.startswith(home + os.sep)):
        return "~" + text[len(home) :]
    return text


def without_home(value: Any) -> Any:
    """A JSON value with the home folder written as ``~`` in every string."""
    home = str(Path.home())
    if home in {"/", ""}:
        return value
    if isinstance(value, str):
        return value.replace(home + os.sep, "~" + os.sep)
    if isinstance(value, list):
        return [without_home(item) for item in value]
    if isinstance(value, dict):
        return {key: without_home(item) for key, item in value.items()}
    return value


def _reason_of(error: Exception) -> str:
    """The first thing that is wrong, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


# --- the run folder -----------------------------------------------------------------------


@dataclass(frozen=True)
class RunDir:
    """One run's folder: ``artifacts/<run>/``."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        return self.path / "run_config.json"

    @property
    def best_model_path(self) -> Path:
        return self.path / "best_model.pth"

    @property
    def last_checkpoint_path(self) -> Path:
        return self.path / "last_checkpoint.pth"

    @property
    def log_path(self) -> Path:
        return self.path / "training_log.csv"

    @property
    def curves_path(self) -> Path:
        return self.path / "curves.png"

    @property
    def calibration_path(self) -> Path:
        return self.path / "calibration.json"

    @property
    def explain_dir(self) -> Path:
        return self.path / "explain"

    def predictions_path(self, dataset: str, split: str) -> Path:
        return self.path / f"predictions_{file_name_of(dataset)}_{file_name_of(split)}.csv"

    def evaluation_path(self, dataset: str, split: str) -> Path:
        return self.path / f"evaluation_{file_name_of(dataset)}_{file_name_of(split)}.json"

    def heat_map_path(self, label: str, method: str = "gradcam") -> Path:
        return self.path / f"{file_name_of(method)}_{file_name_of(label)}.png"

    def exists(self) -> bool:
        """Whether a run lives here (a folder without run_config.json is none)."""
        return self.config_path.exists()

    def read_record(self) -> RunRecord:
        """run_config.json.

        Raises:
            ArtifactError: missing, damaged, or written by something else.
        """
        try:
            text = read_text(self.config_path)
        except FileNotFoundError:
            raise ArtifactError(
                f"{self.path}: no run_config.json, so no run; name a run folder or train one"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"{self.config_path}: cannot be read ({error}); restore it"
            ) from None
        try:
            raw = json.loads(text)
            return RunRecord.model_validate(
                {
                    "schema_version": raw["schema"],
                    "config": raw["config"],
                    "provenance": raw["provenance"],
                }
            )
        except (ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
            reason = _reason_of(error)
            raise ArtifactError(
                f"{self.config_path}: not a run configuration ({reason}); restore it from a "
                "backup or train again with --overwrite"
            ) from None

    def write_record(self, config: RunConfig, provenance: Provenance) -> None:
        """Write run_config.json; the home folder is written as ``~`` wherever it stands."""
        document = {
            "schema": SCHEMA_VERSION,
            "config": config.model_dump(mode="json"),
            "provenance": provenance.model_dump(mode="json"),
        }
        write_json(self.config_path, without_home(document))

    def read_log(self) -> pd.DataFrame:
        """training_log.csv, one row an epoch.

        Raises:
            ArtifactError: missing or damaged.
        """
        import pandas as pd

        try:
            check_table(self.log_path)
            return pd.read_csv(self.log_path)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self.log_path}: cannot be read ({error}); train again") from None

    def write_log(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write training_log.csv whole (a few dozen rows), atomically."""
        buffer = io.StringIO()
        if rows:
            writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_atomic(self.log_path, buffer.getvalue())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one writing process; the kernel lets go when the process ends.

        A folder that is made for this and stays empty is removed again.

        Raises:
            ArtifactError: another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ArtifactError(_explain_write(self.path, error)) from None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.fstat(handle).st_nlink > 0  # else its holder has just removed the folder
        except OSError:
            is_ours = False
        if not is_ours:
            os.close(handle)
            raise ArtifactError(
                f"{self.path}: in use by another process; wait for it or choose --name"
            )
        try:
            yield
        finally:  # the folder goes before the lock: nobody else can have begun in it
            with contextlib.suppress(OSError):
                if [entry.name for entry in self.path.iterdir()] == [".lock"]:
                    (self.path / ".lock").unlink()
                    self.path.rmdir()
            os.close(handle)


def list_runs(artifacts_dir: Path) -> list[RunDir]:
    """All run folders below `artifacts_dir`, sorted by name."""
    if not artifacts_dir.is_dir():
        return []
    found = (RunDir(entry) for entry in sorted(artifacts_dir.iterdir()) if entry.is_dir())
    return [run_dir for run_dir in found if run_dir.exists()]


def find_run(name: str, artifacts_dir: Path) -> RunDir:
    """The run that the user named: a folder's path, or a name below `artifacts_dir`.

    Raises:
        ArtifactError: no such run; the message has the near miss and what there is.
    """
    names = [run_dir.name for run_dir in list_runs(artifacts_dir)]
    for candidate in (RunDir(artifacts_dir / name), RunDir(Path(name))):
        if candidate.exists():
            return RunDir(candidate.path if candidate.path.name else candidate.path.absolute())
    raise ArtifactError(
        f"{artifacts_dir / name}: no such run{did_you_mean(name, names)}; "
        f"runs there: {', '.join(names) or 'none; train one with `pulmonet train`'}"
    )


def best_run(artifacts_dir: Path) -> RunDir:
    """The run with the highest validation AUROC; readable runs only.

    Raises:
        ArtifactError: there is none.
    """
    scored: list[tuple[float, RunDir]] = []
    for run_dir in list_runs(artifacts_dir):
        with contextlib.suppress(ArtifactError):
            auroc = run_dir.read_record().provenance.best_valid_macro_auroc
            if run_dir.best_model_path.exists():
                scored.append((-1.0 if auroc is None else auroc, run_dir))
    if not scored:
        names = [run_dir.name for run_dir in list_runs(artifacts_dir)]
        without = f" ({list_first(names)}: unreadable, or no best_model.pth)" if names else ""
        raise ArtifactError(
            f"{artifacts_dir}: no trained run{without}; train one with `pulmonet train`, or name "
            "its folder with --artifacts-dir"
        )
    return max(scored, key=lambda pair: pair[0])[1]


_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def is_run_name(name: str) -> bool:
    """Whether a run may be called so: letters, digits and ``._+-``."""
    return _RUN_NAME.fullmatch(name) is not None


def check_run_name(name: str, flag: str = "--name") -> str:
    """A run's name as a folder name: letters, digits and ``._+-``.

    Args:
        name: as typed.
        flag: that it was typed behind.

    Raises:
        ConfigError: anything else, so that a name never leaves the artifacts folder.
    """
    if not is_run_name(name):
        raise ConfigError(
            f"{flag} {name!r}: not usable as a folder name; use letters, digits and . _ + -"
        )
    return name


# --- predictions --------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """Scores of one run on one split, row by row.

    Attributes:
        run: the run's name.
        dataset: the dataset root's name.
        split: train, valid, test, ...
        labels: L label names.
        paths: N image paths, relative to the dataset root.
        patients: N patient ids; None where unknown (images are then the units).
        studies: N study ids (unique across patients); None where unknown.
        targets: (N, L) float32: 1, 0, NaN = unknown.
        scores: (N, L) float32 in [0, 1].
        columns: further columns by name (view, sex, age_years, joined ones), N values each.
    """

    run: str
    dataset: str
    split: str
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    patients: tuple[str, ...] | None
    studies: tuple[str, ...] | None
    targets: NDArray[np.float32]
    scores: NDArray[np.float32]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.paths), len(self.labels))
        if self.targets.shape != shape or self.scores.shape != shape:
            raise ValueError(
                f"targets {self.targets.shape}, scores {self.scores.shape}: not {shape}"
            )
        if ((self.scores < 0) | (self.scores > 1)).any():
            raise ValueError("scores outside [0, 1]: logits are refused, apply a sigmoid first")

    def write(self, path: Path) -> None:
        """Write the CSV: Path, patient, study, <label>, <label>_score …, further columns.

        Scores have nine significant digits, which round-trips float32.
        """
        import numpy as np

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        extra = list(self.columns)
        header = ["Path", "patient", "study"]
        for label in self.labels:
            header += [label, f"{label}_score"]
        writer.writerow(header + extra)
        for row, image_path in enumerate(self.paths):
            line: list[str] = [
                image_path,
                self.patients[row] if self.patients else "",
                self.studies[row] if self.studies else "",
            ]
            for column in range(len(self.labels)):
                target = self.targets[row, column]
                line.append("" if np.isnan(target) else f"{target:g}")
                line.append(f"{self.scores[row, column]:.9g}")
            line += [_cell(self.columns[name][row]) for name in extra]
            writer.writerow(line)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def read(
        cls, path: Path, *, run: str | None = None, dataset: str = "", split: str = ""
    ) -> Predictions:
        """Read a predictions CSV; patient, study and further columns are optional.

        Labels are the columns that have a ``<label>_score`` beside them.

        Raises:
            ArtifactError: missing, damaged, no label columns, or scores outside [0, 1].
        """
        import numpy as np
        import pandas as pd

        try:
            check_table(path)
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ArtifactError(
                f"{path}: cannot be read as CSV ({reason}); check the file"
            ) from None
        names = [str(name) for name in table.columns]
        labels = tuple(name for name in names if f"{name}_score" in names)
        if not labels:
            raise ArtifactError(
                f"{path}: no pair of columns LABEL and LABEL_score; see docs/file-formats.md"
            )
        if not len(table):
            raise ArtifactError(f"{path}: no rows; write one row an image")
        try:
            for label in labels:
                check_label_name(label)
        except ValueError as error:
            raise ArtifactError(f"{path}: {error}; rename its columns") from None
        targets = np.stack([_numbers(table[label], path, (0, 1)) for label in labels], axis=1)
        scores = np.stack(
            [_numbers(table[f"{label}_score"], path, None) for label in labels], axis=1
        )
        used = {"Path", "patient", "study", *labels, *(f"{label}_score" for label in labels)}
        paths = table["Path"] if "Path" in names else [f"row {row}" for row in range(len(table))]
        columns = {name: _column(table[name]) for name in names if name not in used}
        return cls(
            run=run or path.stem,
            dataset=dataset,
            split=split,
            labels=labels,
            paths=tuple(paths),
            patients=_ids(table, "patient"),
            studies=_ids(table, "study"),
            targets=targets,
            scores=scores,
            columns=columns,
        )


def _cell(value: object) -> str:
    import numpy as np

    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:g}"
    return "" if value is None else str(value)


def _numbers(
    column: pd.Series[Any], path: Path, allowed: tuple[int, ...] | None
) -> NDArray[np.float32]:
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(column.replace("", "nan"), errors="coerce").to_numpy(np.float32)
    written = column.str.strip().str.lower()
    unreadable = np.isnan(values) & ~written.isin(["", "nan"]).to_numpy()
    if allowed is None:
        wrong = unreadable | ~((values >= 0) & (values <= 1))
        expected = "a score in [0, 1] (logits are refused: apply a sigmoid first)"
    else:
        wrong = unreadable | ~(np.isnan(values) | np.isin(values, allowed))
        expected = "0, 1 or blank"
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ArtifactError(
            f"{path}: {int(wrong.sum()):,} wrong values in column '{column.name}', the first in "
            f"line {row + 2}: {column.iloc[row]!r}; expected {expected}"
        )
    return values


def _column(column: pd.Series[Any]) -> NDArray[Any]:
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(column.replace("", "nan"), errors="coerce")
    if (numbers.notna() | (column == "")).all():
        return numbers.to_numpy(np.float64)
    return column.to_numpy(object)


def _ids(table: pd.DataFrame, name: str) -> tuple[str, ...] | None:
    if name not in table.columns or (table[name] == "").all():
        return None
    return tuple(table[name])
