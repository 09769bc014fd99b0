"""CSV tables from disk: any bytes in, text columns or a DataError out; cells as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.errors import DataError
from pulmonet.files.read import check_last_line, check_table
from pulmonet.words import did_you_mean, list_first

#: (N,) strings.
Strings = NDArray[np.object_]

#: Written forms of an empty cell.
_BLANK = ("", "nan", "na", "n/a", "none", "null", "<na>")


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
        raise DataError(f"{path}: not a readable CSV ({reason}); mend the file") from None
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
