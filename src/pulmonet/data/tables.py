"""Label tables from disk: any bytes in, text columns or a DataError out. Imports no torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.errors import DataError
from pulmonet.files.read import check_last_line, check_table
from pulmonet.labels import check_label_name
from pulmonet.words import count, did_you_mean, list_first

#: Columns that every reader gives, in this order; the labels follow.
ROW_COLUMNS = ("path", "split", "patient", "study", "view", "sex", "age_years")

#: Written forms of an empty cell.
_BLANK = ("", "nan", "na", "n/a", "none", "null", "<na>")

_LABEL_VALUES = (1.0, 0.0, -1.0)
_LABEL_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


@dataclass
class SourceRows:
    """What a source reader gives: one row an image, with all that was wrong on the way.

    Attributes:
        kind: kind of source, e.g. ``chexpert``.
        table: the columns of `ROW_COLUMNS` (split is "" where the source has none), then labels
            (float32: 1, 0, -1, NaN blank), then further columns as the source has them.
        labels: label columns, in the vocabulary's spelling.
        problems: messages ``where: what; what to do`` about rows that cannot be used.
        notes: remarks that stop nothing.
        patients_known: False where the source has no patient ids by nature.
        csv_names: the files that were read, relative to the root.
    """

    kind: str
    table: pd.DataFrame
    labels: tuple[str, ...]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    patients_known: bool = True
    csv_names: tuple[str, ...] = ()


def read_csv(path: Path, required: Sequence[str] = (), *, separator: str = ",") -> pd.DataFrame:
    """Read a CSV (gz, bz2, xz or zip by its name) with every cell as text, nothing guessed.

    Not as categories, which pandas turns into numbers where all of them look like some: patient
    007 would become patient 7.

    Args:
        path: the file.
        required: columns that must be there.
        separator: between cells.

    Raises:
        DataError: missing, unreadable, not UTF-8, ragged, empty, or without a required column.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pandas warns where it drops cells
            check_table(path, separator)
            check_last_line(path, separator)
            table = pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                dtype=object,
                na_filter=False,
                index_col=False,
            )
    except OSError as error:
        reason = error.strerror or "not a compressed file of the kind that its name says"
        raise DataError(f"{path}: cannot be read ({reason}); check the file") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: empty; it needs a header and one row an image") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as a UTF-8 CSV file") from None
    except Exception as error:  # zlib, zip, pandas: damage has many names, one way out
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable CSV ({reason}); mend the file") from None
    names = [str(name).strip() for name in table.columns]
    table.columns = names
    missing = [name for name in required if name not in names]
    if missing:
        meant = did_you_mean(missing[0], names)
        raise DataError(
            f"{path}: no column {list_first(repr(name) for name in missing)}{meant}; "
            f"columns there: {list_first(names, 20)}"
        )
    if not len(table):
        raise DataError(f"{path}: no rows below the header; it needs one row an image")
    return table


def text_column(column: pd.Series[Any]) -> NDArray[np.object_]:
    """(N,) stripped strings of a column; equal cells share one object."""
    codes, distinct = factorise(column)
    return np.asarray([value.strip() for value in distinct], dtype=object)[codes]


def factorise(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """(N,) positions into the distinct strings of a column, and these."""
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64), ["" if pd.isna(x) else str(x) for x in distinct]


def map_column(
    column: pd.Series[Any], convert: Callable[[str], Any], dtype: Any = object
) -> NDArray[Any]:
    """(N,) results of `convert`, which sees each distinct value once."""
    codes, distinct = factorise(column)
    converted = np.empty(len(distinct), dtype=dtype)
    for position, value in enumerate(distinct):
        converted[position] = convert(value.strip())
    return np.asarray(converted[codes])


def is_blank(value: str) -> bool:
    """Whether a cell says nothing."""
    return value.strip().lower() in _BLANK


def parse_number(value: str) -> float:
    """A cell as a number; NaN where it is none."""
    try:
        return float(value)
    except ValueError:
        return np.nan


def parse_label(value: str) -> float:
    """1, 0, -1; NaN for blank; infinity for anything else, which is no label value."""
    if is_blank(value):
        return np.nan
    number = parse_number(value)
    return number if number in _LABEL_VALUES else np.inf


def parse_worded_label(value: str) -> float:
    """As `parse_label`, and yes, no, true, false in the column of a label that was named."""
    number = parse_label(value)
    return _LABEL_WORDS.get(value.strip().lower(), number) if np.isinf(number) else number


def label_column(
    table: pd.DataFrame, name: str, where: Path, problems: list[str]
) -> NDArray[np.float32]:
    """(N,) labels of a column; wrong values go to `problems`, with line numbers, and become NaN.

    Raises:
        DataError: a label that is called as one of `ROW_COLUMNS`.
    """
    check_source_label(name, where)
    values: NDArray[np.float32] = map_column(table[name], parse_worded_label, np.float32)
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        cells = (f"line {row + 2}: {table[name].iloc[row]!r}" for row in wrong[:5].tolist())
        more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
        problems.append(
            f"{where}: {count(len(wrong), 'wrong value')} in column "
            f"'{name}' ({', '.join(cells)}{more}); a label is 1, 0, -1 (uncertain) or blank"
        )
        values[wrong] = np.nan
    return values


def check_source_label(name: str, where: object) -> None:
    """Refuse a label that a Manifest or a file name cannot hold.

    Raises:
        DataError: called as one of `ROW_COLUMNS`, or against `labels.check_label_name`.
    """
    if name in ROW_COLUMNS:
        raise DataError(f"{where}: a label cannot be called '{name}'; rename it")
    try:
        check_label_name(name)
    except ValueError as error:
        raise DataError(f"{where}: {error}; rename it") from None


def holds_labels(column: pd.Series[Any]) -> bool:
    """Whether all values of a column are label values (a column of blanks is one, too)."""
    _, distinct = factorise(column)
    return len(distinct) <= 64 and not any(np.isinf(parse_label(value)) for value in distinct)


_SEX = {"m": "Male", "male": "Male", "f": "Female", "female": "Female"}


def parse_sex(value: str) -> str:
    """Male, Female, or "" where unknown."""
    return _SEX.get(value.lower(), "")


def parse_age(value: str) -> float:
    """Years; ``058Y`` and ``011M`` (DICOM, NIH) too; NaN where unknown or beyond 120."""
    text = value.strip().upper()
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}.get(text[-1:], 0.0)
    years = parse_number(text[:-1]) / per_year if per_year else parse_number(text)
    return years if 0 <= years <= 120 else np.nan


def finding_columns(
    column: pd.Series[Any], split: Callable[[str], list[str]], rename: Callable[[str], str]
) -> dict[str, NDArray[np.float32]]:
    """Label columns from a column that lists what was found, as NIH and PadChest have it.

    Args:
        column: (N,) cells; one that names nothing says nothing, so all its labels are blank.
        split: cell -> findings.
        rename: finding -> label.

    Returns:
        label -> (N,) of 1 (listed), 0 (not listed) and NaN (nothing listed), sorted by name.

    Raises:
        DataError: a finding that is called as one of `ROW_COLUMNS`.
    """
    codes, distinct = factorise(column)
    listed = [
        [rename(name) for name in split(cell) if name.strip()] if not is_blank(cell) else []
        for cell in distinct
    ]
    labels = sorted({label for names in listed for label in names})
    for label in labels:
        check_source_label(label, f"column '{column.name}'")
    values = np.zeros((len(distinct), len(labels)), dtype=np.float32)
    place = {label: number for number, label in enumerate(labels)}
    for row, names in enumerate(listed):
        values[row, [place[name] for name in names]] = 1
    values[[not names for names in listed]] = np.nan
    return {label: values[codes, number] for label, number in place.items()}


def index_files(folders: Sequence[Path], root: Path) -> dict[str, str]:
    """File name -> path relative to `root`, of all files directly in `folders`."""
    found: dict[str, str] = {}
    for folder in folders:
        below = folder.relative_to(root).as_posix()
        prefix = "" if below == "." else below + "/"
        with os.scandir(folder) as entries:
            found.update({entry.name: prefix + entry.name for entry in entries})
    return found


def find_images(
    names: NDArray[np.object_], found: dict[str, str], missing_folder: str
) -> NDArray[np.object_]:
    """(N,) paths of images by file name, else by stem (``x.png`` lies there as ``x.jpg``).

    What is nowhere is said to lie in `missing_folder`, where the file check will miss it.
    """
    by_stem = {name.rpartition(".")[0]: path for name, path in found.items()}
    paths = []
    for name in names.tolist():
        stem = name.rpartition(".")[0] or name
        paths.append(found.get(name) or by_stem.get(stem) or f"{missing_folder}{name}")
    return np.asarray(paths, dtype=object)
