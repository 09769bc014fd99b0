"""Tables from disk: any bytes in, text columns or a DataError out; cells as numbers; joins."""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Ints, Strings
from pulmonet.data.spellings import SPELLINGS
from pulmonet.errors import DataError
from pulmonet.files.paths import names_in, stem_of
from pulmonet.files.read_csv import read_cells, read_names
from pulmonet.words import count, did_you_mean, list_first

Column: TypeAlias = "pd.Series[Any]"  # of a table
#: Names of tables. A Mac's ._train.csv and Excel's ~$train.xlsx are none.
_ENDINGS = (".csv", ".gz", ".bz2", ".xz", ".zip", ".tsv", ".parquet", ".xlsx", ".xlsm")
_TABLE = re.compile(r"([^.~].*?)\.(?:[ct]sv(?:\.(?:gz|bz2|xz|zip))?|parquet|xls[xm])")
_WHOLE = re.compile(r"(?:\d+(?:\.0*)?)?")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+")
_DECIMAL = re.compile(r"[-+]?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)")


def read_csv(path: Path, required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table (CSV, Parquet, Excel) with every cell as text, nothing guessed.

    Raises:
        DataError: missing, unreadable, not UTF-8 or UTF-16, ragged, empty, or without a `required`
            column.
    """
    try:
        table = read_cells(path)
    except ModuleNotFoundError as error:
        what = f"{path}: needs {error.name}; install it with: pipx inject pulmonet {error.name}"
        raise DataError(f"{what} (or pip install), or save the table as CSV") from None
    except OSError as error:
        reason = error.strerror or "not a compressed file of the kind that its name says"
        raise DataError(f"{path}: cannot be read ({reason}); check the file") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: empty; it needs a header and one row an image") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as a UTF-8 CSV file") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable CSV ({reason}); fix the file") from None
    names = table.columns.tolist()
    missing = [name for name in required if name not in names]
    if missing:
        meant = did_you_mean(missing[0], names)
        what = f"{path}: no column {list_first(map(repr, missing))}{meant}"
        raise DataError(f"{what}; columns there: {list_first(names, 20)}")
    if not len(table):
        raise DataError(f"{path}: no rows below the header; it needs one row an image")
    return table


def has_columns(path: Path, names: Iterable[str]) -> bool:
    """Whether a table has columns of all these names; False where it cannot be read."""
    try:
        return {*names} <= {*read_names(path)}
    except (OSError, ValueError, csv.Error, ModuleNotFoundError):
        return False


def table_stem(name: str) -> str:
    """A table's name in lower case without its ending; "" for other files and hidden ones."""
    name = name.lower()
    found = _TABLE.fullmatch(name) if name.endswith(_ENDINGS) else None  # a folder has many images
    return found[1] if found else ""


def find_tables(folder: Path, stem: str = "?*", names: Iterable[str] | None = None) -> list[Path]:
    """Tables in a folder (of `names`, if known) whose stem matches, letter case aside; by name."""
    names = names_in(folder) if names is None else names
    found = sorted(name for name in names if fnmatchcase(table_stem(name), stem.lower()))
    return [folder / name for name in found if (folder / name).is_file()]


def text_column(column: Column) -> Strings:
    """(N,) stripped strings of a column; equal cells share one object."""
    return map_column(column, str)


def factorise(column: Column) -> tuple[Ints, list[str]]:
    """(N,) positions into the distinct strings of a column, and these."""
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return np.asarray(codes, dtype=np.int64), ["" if pd.isna(x) else str(x) for x in distinct]


def map_column(column: Column, convert: Callable[[str], Any], dtype: Any = object) -> NDArray[Any]:
    """(N,) results of `convert`, which sees each distinct value once."""
    codes, distinct = factorise(column)
    converted = np.empty(len(distinct), dtype=dtype)
    for position, value in enumerate(distinct):
        converted[position] = convert(value.strip())
    return np.asarray(converted[codes])


def id_column(column: Column, where: Path) -> Strings:
    """(N,) ids as text: ``10000000.0``, which pandas makes of numbers with a gap, is 10000000.

    Raises:
        DataError: a spreadsheet has shortened them (``8.4E+35``).
    """
    codes, distinct = factorise(column)
    ids = ["" if is_blank(value) else value.strip() for value in distinct]
    if short := next((one for one in ids if _SHORTENED.fullmatch(one)), None):
        what = f"{where}: {short} in column '{column.name}' is no id,"
        raise DataError(f"{what} a spreadsheet has shortened it; take the original table")
    if all(_WHOLE.fullmatch(one) for one in ids):
        ids = [one.partition(".")[0] for one in ids]
    return np.asarray(ids, dtype=object)[codes]


def patient_column(raw: pd.DataFrame) -> str | None:
    """The column of patients' ids: ``patient``, ``Patient ID``, ``subject_id`` and the like."""
    folded = {re.sub(r"[\s_-]", "", str(name).lower()): str(name) for name in reversed(raw.columns)}
    return next((folded[name] for name in SPELLINGS["patient_columns"] if name in folded), None)


def is_blank(value: str) -> bool:
    """Whether a cell says nothing."""
    return value.strip().lower() in SPELLINGS["blank"]


def parse_number(value: str) -> float:
    """A cell as a number; NaN where it is none. ``54,5`` is one, ``1,234`` may be two."""
    try:
        return float(value)
    except ValueError:
        return float(value.replace(",", ".")) if _DECIMAL.fullmatch(value.strip()) else np.nan


def join_columns(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, str]:
    """`table` with the columns of the CSV at `path`, and a note; rows not listed stay blank.

    The key is its column patient, else Path (image, filename), which may leave out the folders.

    Raises:
        DataError: no key column or one twice, no row matches, or a column that is there already.
    """
    raw = read_csv(path)
    by_name = {str(name).lower(): str(name) for name in raw.columns}
    patient_key = patient_column(raw)
    path_key = next((by_name[one] for one in SPELLINGS["path_columns"] if one in by_name), None)
    key = patient_key or path_key
    if key is None:
        what = f"{path}: no column 'patient' or 'Path' to join by"
        raise DataError(f"{what}; columns there: {list_first(raw.columns, 20)}")
    columns = [name for name in raw.columns if name not in (patient_key, path_key)]
    if taken := [name for name in columns if name in table.columns]:
        text = f"{path}: column {list_first(map(repr, taken))} is in the dataset already; rename it"
        raise DataError(text)
    keys = _unique_keys(raw[key], path)
    positions = _positions(table, keys, by_patient=patient_key is not None)
    n_matched = int((positions >= 0).sum())
    if not n_matched:
        own = table["patient" if patient_key else "path"].iloc[0]
        text = f"{path}: no row matches by '{key}'; there it is {keys[0]!r}, in the dataset {own!r}"
        raise DataError(text)
    joined = {str(name): _values(raw[name], positions) for name in columns}
    to = f"{n_matched:,} of {len(table):,} rows"
    note = f"join: {path.name} gave {list_first(columns, 10)} to {to}"
    return pd.concat([table, pd.DataFrame(joined, index=table.index)], axis=1), note


def join_table(raw: pd.DataFrame, key: str, path: Path) -> pd.DataFrame:
    """`raw` with the columns of the table at `path`, joined by the column `key` of both.

    ``uid:id`` is a key that is called `id` in `path`. Cells are text, "" where `path` has no line.
    Of a column that both have, one is kept.

    Raises:
        DataError: no such column, a key listed twice, no row matches, or two different columns of
            one name.
    """
    own, _, theirs = key.partition(":")
    other = read_csv(path, (theirs or own,))
    if own not in raw:
        what = f"--map join={key}: no column '{own}'{did_you_mean(own, raw.columns)}"
        raise DataError(f"{what}; columns there: {list_first(raw.columns, 20)}")
    keys, wanted = _unique_keys(other[theirs or own], path), id_column(raw[own], path)
    lines = np.asarray(keys.get_indexer(pd.Index(wanted)))
    if (lines < 0).all():
        what = f"{path}: no row matches by '{key}'"
        raise DataError(f"{what}; there it is {keys[0]!r}, in the dataset {wanted[0]!r}")
    columns = {
        str(name): np.where(lines >= 0, text_column(other[name])[lines], "")
        for name in other.columns
        if name and name not in {own, theirs}
    }
    for name in columns.keys() & {*raw.columns}:
        if ((text_column(raw[name]) != columns.pop(name)) & (lines >= 0)).any():
            raise DataError(f"{path}: column '{name}' is in both tables and differs; rename it")
    return pd.concat([raw, pd.DataFrame(columns, index=raw.index, dtype=object)], axis=1)


def _unique_keys(column: Column, path: Path) -> pd.Index:
    keys = pd.Index(id_column(column, path))
    if keys.has_duplicates:
        twice = keys[keys.duplicated()].unique()
        what = f"{path}: {count(len(twice), 'value')} of '{column.name}' more than once"
        raise DataError(f"{what} ({list_first(twice)}); keep one line each")
    return keys


def _positions(table: pd.DataFrame, keys: pd.Index, *, by_patient: bool) -> np.ndarray:
    """(N,) line of the CSV that belongs to each row, -1 where none."""
    own = table["patient" if by_patient else "path"].astype("str")
    names = own.str.rpartition("/")[2]
    below = keys.str.partition("/", expand=False).str[2]  # below the root's name
    tries = [(below, own), (keys, names), (keys.map(stem_of), own.map(stem_of))]
    if by_patient:  # 00001 and patient00001 are the same person
        tries = [(keys, own.str.removeprefix("patient"))]
    found = np.full(len(table), -1)
    for theirs, ours in [(keys, own), *tries]:
        if (found < 0).all() and theirs.is_unique:
            found = np.asarray(theirs.get_indexer(pd.Index(ours)))
    return found


def _values(column: Column, positions: Ints) -> NDArray[Any]:
    """(N,) float64 where all cells are numbers or blank, else strings; NaN or "" unmatched."""
    codes, distinct = factorise(column)
    blank = np.asarray([is_blank(value) for value in distinct])
    numbers = np.asarray([parse_number(value) for value in distinct])
    if (blank | ~np.isnan(numbers)).all():
        choices = np.asarray([*np.where(blank, np.nan, numbers), np.nan])
    else:
        choices = np.asarray([*distinct, ""], object)
    return np.asarray(choices[np.where(positions < 0, len(distinct), codes[positions])])
