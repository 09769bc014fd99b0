"""CSV tables from disk: any bytes in, text columns or a DataError out; cells as numbers; joins."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Ints, Strings
from pulmonet.errors import DataError
from pulmonet.files.read import check_last_line, check_table
from pulmonet.words import count, did_you_mean, list_first

#: (N,) strings.

#: Written forms of an empty cell.
_BLANK = ("", "nan", "na", "n/a", "none", "null", "<na>")

_PATIENT_KEYS = ("patient", "patient_id", "patientid", "patient id", "subject_id")
_PATH_KEYS = ("path", "image", "image_id", "imageid", "image index", "filename", "dicom_id")


def read_csv(path: Path, required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV (gz, bz2, xz or zip by its name) with every cell as text, nothing guessed.

    Commas separate the cells. They are not categories, which pandas turns into numbers where all
    look like some: patient 007 would become patient 7.

    Raises:
        DataError: missing, unreadable, not UTF-8, ragged, empty, or without a `required` column.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pandas warns where it drops cells
            check_table(path)
            check_last_line(path)
            table = pd.read_csv(
                path, encoding="utf-8-sig", dtype=object, na_filter=False, index_col=False
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
        raise DataError(f"{path}: not a readable CSV ({reason}); fix the file") from None
    table.columns = names = [str(name).strip() for name in table.columns]
    missing = [name for name in required if name not in names]
    if missing:
        meant = did_you_mean(missing[0], names)
        raise DataError(
            f"{path}: no column {list_first(map(repr, missing))}{meant}; "
            f"columns there: {list_first(names, 20)}"
        )
    if not len(table):
        raise DataError(f"{path}: no rows below the header; it needs one row an image")
    return table


def text_column(column: pd.Series[Any]) -> Strings:
    """(N,) stripped strings of a column; equal cells share one object."""
    return map_column(column, str)


def factorise(column: pd.Series[Any]) -> tuple[Ints, list[str]]:
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


def join_columns(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, str]:
    """`table` with the columns of the CSV at `path`, and a note that says so.

    Rows that it does not list stay blank. The key is its column patient (patient_id, PatientID,
    subject_id), else its column Path (image, filename), which may leave out the folders.

    Raises:
        DataError: no key column, a key listed twice, no row matches, or a column that the
            dataset has already.
    """
    raw = read_csv(path)
    by_name = {str(name).lower(): str(name) for name in raw.columns}
    patient_key = next((by_name[name] for name in _PATIENT_KEYS if name in by_name), None)
    path_key = next((by_name[name] for name in _PATH_KEYS if name in by_name), None)
    key = patient_key or path_key
    if key is None:
        raise DataError(
            f"{path}: no column 'patient' or 'Path' to join by; columns there: "
            f"{list_first(raw.columns, 20)}"
        )
    columns = [name for name in raw.columns if name not in (patient_key, path_key)]
    taken = [name for name in columns if name in table.columns]
    if taken:
        raise DataError(
            f"{path}: column {list_first(map(repr, taken))} is in the dataset already; rename it"
        )
    keys = pd.Index(text_column(raw[key]))
    if keys.has_duplicates:
        twice = keys[keys.duplicated()].unique()
        raise DataError(
            f"{path}: {count(len(twice), 'value')} of '{key}' more than once "
            f"({list_first(twice)}); keep one line each"
        )
    positions = _positions(table, keys, by_patient=patient_key is not None)
    n_matched = int((positions >= 0).sum())
    if not n_matched:
        own = table["patient" if patient_key else "path"].iloc[0]
        raise DataError(
            f"{path}: no row matches by '{key}'; there it is {keys[0]!r}, in the dataset {own!r}"
        )
    joined = {str(name): _values(raw[name], positions) for name in columns}
    to = f"{n_matched:,} of {len(table):,} rows"
    note = f"join: {path.name} gave {list_first(columns, 10)} to {to}"
    return pd.concat([table, pd.DataFrame(joined, index=table.index)], axis=1), note


def _positions(table: pd.DataFrame, keys: pd.Index, *, by_patient: bool) -> np.ndarray:
    """(N,) line of the CSV that belongs to each row, -1 where none."""
    own = table["patient" if by_patient else "path"].astype("str")
    names = own.str.rpartition("/")[2]
    below = keys.str.partition("/", expand=False).str[2]  # below the root's name
    tries = [(below, own), (keys, names), (keys, names.str.rpartition(".")[0])]
    if by_patient:  # 00001 and patient00001 are the same person
        tries = [(keys, own.str.removeprefix("patient"))]
    found = np.full(len(table), -1)
    for theirs, ours in [(keys, own), *tries]:
        if (found < 0).all() and theirs.is_unique:
            found = np.asarray(theirs.get_indexer(pd.Index(ours)))
    return found


def _values(column: pd.Series[Any], positions: Ints) -> NDArray[Any]:
    """(N,) float64 where all cells are numbers or blank, else strings; NaN or "" unmatched."""
    codes, distinct = factorise(column)
    blank = np.asarray([is_blank(value) for value in distinct])
    numbers = np.asarray([parse_number(value) for value in distinct])
    if (blank | ~np.isnan(numbers)).all():
        choices = np.asarray([*np.where(blank, np.nan, numbers), np.nan])
    else:
        choices = np.asarray([*distinct, ""], object)
    return np.asarray(choices[np.where(positions < 0, len(distinct), codes[positions])])
