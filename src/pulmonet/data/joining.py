"""Further columns (race, site, ...) from a CSV of one's own, joined by patient or by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.tables import factorise, is_blank, parse_number, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.words import count, list_first

_PATIENT_KEYS = ("patient", "patient_id", "patientid", "patient id", "subject_id")
_PATH_KEYS = ("path", "image", "image_id", "imageid", "image index", "filename", "dicom_id")


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


def _values(column: pd.Series, positions: np.ndarray) -> np.ndarray:
    """(N,) float64 where all cells are numbers or blank, else strings; NaN or "" unmatched."""
    codes, distinct = factorise(column)
    blank = np.asarray([is_blank(value) for value in distinct])
    numbers = np.asarray([parse_number(value) for value in distinct])
    if (blank | ~np.isnan(numbers)).all():
        choices = np.asarray([*np.where(blank, np.nan, numbers), np.nan])
    else:
        choices = np.asarray([*distinct, ""], object)
    return np.asarray(choices[np.where(positions < 0, len(distinct), codes[positions])])
