"""predictions_*.csv: scores and targets of rows."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Floats, Floats32, Ints
from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_bytes
from pulmonet.files.read_csv import read_cells
from pulmonet.files.spreadsheet import plain_cells, table_text
from pulmonet.labels import VOCABULARY, align, check_label_name
from pulmonet.words import count, list_first

_OWN = b"Path,patient,study,"


@dataclass(frozen=True)
class Predictions:
    """Scores of one run on one split, row by row; of N rows and L labels.

    Further `columns` (view, sex, age_years, joined ones) have N values each.
    """

    run: str  # its name
    dataset: str  # the dataset root's name
    split: str
    labels: tuple[str, ...]
    paths: tuple[str, ...]  # N, of the images, relative to the dataset root
    patients: tuple[str, ...] | None  # N ids; None where unknown (images are then the units)
    studies: tuple[str, ...] | None  # N ids (unique across patients); None where unknown
    targets: Floats32  # (N, L): 1, 0, NaN = unknown
    scores: Floats32  # (N, L) in [0, 1]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()  # columns of a label that lacks its target or its score

    def __post_init__(self) -> None:
        shape = (len(self.paths), len(self.labels))
        if self.targets.shape != shape or self.scores.shape != shape:
            text = f"targets {self.targets.shape}, scores {self.scores.shape}: not {shape}"
            raise ValueError(text)
        if ((self.scores < 0) | (self.scores > 1)).any():
            raise ValueError("scores outside [0, 1]: logits are refused, apply a sigmoid first")

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to evaluate."""
        return not bool(np.isnan(self.targets).all())

    def take(self, rows: Ints) -> "Predictions":
        """The rows of these numbers (M,), in their order."""
        ids = (self.patients, self.studies)
        patients, studies = (one and tuple(one[row] for row in rows) for one in ids)
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            patients=patients,
            studies=studies,
            targets=self.targets[rows],
            scores=self.scores[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    def to_csv(self) -> str:
        """The CSV: Path, patient, study, <label>, <label>_score …, further columns.

        Scores have nine significant digits, which round-trips float32; 17 if they are float64.
        """
        digits = ".9" if self.scores.dtype == np.float32 else ".17"
        blank = [""] * len(self.paths)
        table: dict[str, Sequence[str]] = {
            "Path": self.paths,
            "patient": self.patients or blank,
            "study": self.studies or blank,
        }
        for column, label in enumerate(self.labels):
            table[label] = [text_of(target) for target in self.targets[:, column]]
            table[f"{label}_score"] = [f"{score:{digits}g}" for score in self.scores[:, column]]
        for name, values in self.columns.items():
            table[name] = [text_of(value) for value in values]
        return table_text(pd.DataFrame(table))

    @classmethod
    def read(
        cls, path: Path, *, run: str | None = None, dataset: str = "", split: str = ""
    ) -> "Predictions":
        """Read a predictions CSV; patient, study and further columns are optional.

        Labels are the columns that have a ``<label>_score`` beside them.

        Raises:
            ArtifactError: missing, damaged, no label columns, a path twice, scores outside [0, 1].
        """
        try:
            table = plain_cells(_read_table(path))
        except (OSError, ValueError, ModuleNotFoundError, Warning) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            text = f"{path}: cannot be read as CSV ({reason}); check the file"
            raise ArtifactError(text) from None
        for name in {"patient", "study"} & {*table}:
            table[name] = table[name].str.strip()
        names = [str(name) for name in table.columns]
        labels = tuple(name for name in names if f"{name}_score" in names)
        if not labels:
            what = f"{path}: no pair of columns LABEL and LABEL_score"
            raise ArtifactError(f"{what}; columns there: {list_first(names, 20)}")
        if not len(table):
            raise ArtifactError(f"{path}: no rows; write one row an image")
        try:
            for label in labels:
                check_label_name(label)
        except ValueError as error:
            raise ArtifactError(f"{path}: {error}; rename its columns") from None
        if "Path" in names:
            _check_paths(pd.Index(table["Path"]), path)
        targets = [_numbers(table[label], path, (0, 1)) for label in labels]
        scores = [_numbers(table[f"{label}_score"], path) for label in labels]
        used = {"Path", "patient", "study", *labels, *(f"{label}_score" for label in labels)}
        paths = table["Path"] if "Path" in names else [f"row {row}" for row in range(len(table))]
        return cls(
            run=run or path.stem,
            dataset=dataset,
            split=split,
            labels=labels,
            paths=tuple(paths),
            patients=_patients(table, path),
            studies=_studies(table),
            targets=np.stack(targets, axis=1).astype(np.float32),
            scores=np.stack(scores, axis=1),
            columns={name: _column(table[name]) for name in names if name not in used},
            left_out=tuple(
                name
                for name in names
                if name not in used and (name.endswith("_score") or align(name) in VOCABULARY)
            ),
        )


def _read_table(path: Path) -> pd.DataFrame:
    """Cells to the letter where a file begins as `Predictions.to_csv` does, else stripped."""
    content = read_bytes(path)
    if content.startswith(_OWN):
        if path.match("predictions_*.csv") and not content.endswith(b"\n"):
            raise ValueError("it ends without a line break: cut short")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pandas warns where it drops cells
            return pd.read_csv(
                io.BytesIO(content), dtype=object, keep_default_na=False, index_col=False
            )
    return read_cells(path).map(str.strip)


def text_of(value: object) -> str:
    """A cell: a number in six digits, a whole one in all of its own, an unknown one blank."""
    if isinstance(value, float | np.floating):
        digits = 15 if float(value).is_integer() else 6
        return "" if np.isnan(value) else f"{value:.{digits}g}"
    return "" if value is None else str(value)


def texts_of(values: NDArray[Any]) -> NDArray[Any]:
    """(N,) cells as `text_of`, each distinct value formatted once."""
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    return np.asarray([*map(text_of, distinct)], dtype=object)[codes]


def _check_paths(paths: pd.Index, path: Path) -> None:
    """Refuse rows that samplers of several processes repeat: they would count twice."""
    if paths.has_duplicates:
        twice = paths[paths.duplicated()].unique()
        what = f"{path}: {count(len(twice), 'path')} more than once ({list_first(twice)})"
        raise ArtifactError(f"{what}; keep one row an image")


def _parsed(column: "pd.Series[Any]") -> Floats:
    """(N,) numbers, ``0,5`` too; NaN for anything else."""
    values = pd.to_numeric(column.replace("", "nan"), errors="coerce").to_numpy(np.float64)
    if np.isnan(values).any():
        text = column.str.strip().str.replace(r"^([-+]?\d+),(\d+)$", r"\1.\2", regex=True)
        values = pd.to_numeric(text.replace("", "nan"), errors="coerce").to_numpy(np.float64)
    return values


def _numbers(column: "pd.Series[Any]", path: Path, allowed: tuple[int, ...] = ()) -> Floats:
    """(N,) float32, which PulmoNet writes; float64 where that would make different scores equal."""
    values = _parsed(column)
    if allowed:
        is_blank = column.str.strip().str.lower().isin(["", "nan"]).to_numpy()
        wrong, expected = ~(is_blank | np.isin(values, allowed)), "0, 1 or blank"
    else:
        values = np.where((values > 1) & (values < 1 + 1e-6), 1.0, values)  # rounded parts
        wrong = ~((values >= 0) & (values <= 1))
        expected = f"a score in [0, 1] ({_meant(column)})"
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ArtifactError(
            f"{path}: {int(wrong.sum()):,} wrong values in column '{column.name}', the first in "
            f"line {row + 2}: {column.iloc[row]!r}; expected {expected}"
        )
    single = values.astype(np.float32)
    return single if len(np.unique(single)) == len(np.unique(values)) else values


def _meant(column: "pd.Series[Any]") -> str:
    """What scores outside [0, 1] look like. No logit that matters is above 20."""
    values = _parsed(column.str.strip().str.removesuffix("%"))
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if low >= 0 and high <= 100 and (high > 20 or column.str.contains("%").any()):
        return "looks like per cent: divide by 100"
    return "logits are refused: apply a sigmoid first"


def _column(column: "pd.Series[Any]") -> NDArray[Any]:
    numbers, is_blank = _parsed(column), column == ""
    is_empty = is_blank.all() and column.name != "age_years"  # of a view or sex, nowhere known
    is_text = is_empty or (np.isnan(numbers) & ~is_blank).any()
    return column.to_numpy(object) if is_text else numbers


def _patients(table: pd.DataFrame, path: Path) -> tuple[str, ...] | None:
    if "patient" not in table or (table["patient"] == "").all():
        return None
    if n_blank := int((table["patient"] == "").sum()):
        what = f"{path}: {n_blank:,} of {count(len(table), 'row')} name no patient"
        raise ArtifactError(f"{what}; fill in the column 'patient', or leave it out")
    return tuple(table["patient"])


def _studies(table: pd.DataFrame) -> tuple[str, ...] | None:
    """Studies of different patients are different ones; an image without an id is its own study."""
    if "study" not in table or (table["study"] == "").all():
        return None
    studies = table["study"].mask(table["study"] == "", "row " + table.index.astype(str))
    if "patient" in table and (table.groupby(studies)["patient"].nunique() > 1).any():
        studies = table["patient"] + " " + studies
    return tuple(studies)
