"""CheXpert's layout: train.csv, valid.csv, test.csv (Irvin et al. 2019, arXiv:1901.07031)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.sources.rows import (
    ROW_COLUMNS,
    SourceRows,
    column_or,
    ids_from_paths,
    label_columns,
    label_names,
    other_columns,
    parse_age,
    parse_sex,
    parse_view,
    row_table,
    strip_root,
)
from pulmonet.data.tables import read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import VOCABULARY
from pulmonet.words import list_first

#: File -> split. The last two are the public test set's own files, the latter per study.
FILES = {
    "train.csv": "train",
    "valid.csv": "valid",
    "test.csv": "test",
    "test_labels.csv": "test",
    "groundtruth.csv": "test",
}

_META = {"Path", "Study", "Sex", "Age", "Frontal/Lateral", "AP/PA", "", "Unnamed: 0"}
_PATIENT_COLUMNS = ("patient", "Patient", "patient_id", "PatientID", "Patient ID")


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By any of its files; their names are plain."""
    return any((root / name).is_file() for name in FILES)


def read(root: Path) -> SourceRows:
    """Read whichever of the CSV files are there; ``test.csv`` wins over the test set's own."""
    problems: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    labels_of: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name, split in FILES.items():
        if split not in seen and (root / name).is_file():
            seen.add(split)
            tables[name], labels_of[name] = _read_file(root, name, split, problems)
    labels = tuple(dict.fromkeys(label for found in labels_of.values() for label in found))
    both = {"train.csv", "valid.csv"} <= tables.keys()
    for name in ("train.csv", "valid.csv") if both else ():
        wanted = [label for label in labels if label in VOCABULARY]
        missing = [label for label in wanted if label not in labels_of[name]]
        if missing:
            problems.append(
                f"{root / name}: no column {list_first(repr(label) for label in missing)}, which "
                "another CSV of this dataset has; add it (blank cells are allowed)"
            )
    return SourceRows(pd.concat(tables.values(), ignore_index=True), labels, problems)


def _read_file(
    root: Path, name: str, split: str, problems: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    where = root / name
    raw = read_csv(where)
    if "Path" not in raw and "Study" in raw:
        raw = _expand_studies(raw, root, where)
    if "Path" not in raw:
        raise DataError(
            f"{where}: no column 'Path'; columns there: {list_first(raw.columns, 20)}. Name the "
            "columns of a foreign CSV with --map path=COLUMN --map patient=COLUMN"
        )
    paths = strip_root(raw["Path"].to_numpy(object), root)
    taken = {*_META, *_PATIENT_COLUMNS, *ROW_COLUMNS}
    labels = label_columns(raw, label_names(raw, taken), where, problems)
    patient, study = _ids(paths, raw)
    table = row_table(
        paths,
        split=split,
        patient=patient,
        study=study,
        view=_views(raw),
        sex=column_or(raw, ["Sex"], parse_sex),
        age_years=column_or(raw, ["Age"], parse_age, np.nan),
        columns={**labels, **other_columns(raw, taken, labels)},
    )
    return table, list(labels)


def _ids(paths: NDArray[np.object_], raw: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """As `ids_from_paths`; where a path has no patient, a patient column names it."""
    patient, study = ids_from_paths(paths)
    for column in _PATIENT_COLUMNS:
        unknown = patient == ""
        if column in raw.columns and unknown.any():
            own = pd.Series(text_column(raw[column]), dtype="str")
            patient = patient.where(~unknown, own)
            study = study.where(~unknown, pd.Series(paths, dtype="str"))
    return patient, study


def _views(raw: pd.DataFrame) -> NDArray[np.object_]:
    """AP, PA, FRONTAL (unspecified), LATERAL or "" (unknown)."""
    side = column_or(raw, ["Frontal/Lateral"], parse_view)
    projection = column_or(raw, ["AP/PA"], parse_view)
    known = np.isin(projection.astype(str), ("AP", "PA")) & (side != "LATERAL")
    return np.where(known, projection, side)


def _expand_studies(raw: pd.DataFrame, root: Path, where: Path) -> pd.DataFrame:
    """One row a study (``…/test/patient64741/study1``) becomes one row an image in its folder."""
    studies = strip_root(text_column(raw["Study"]), root)
    paths, rows = [], []
    for row, study in enumerate(studies.tolist()):
        folder = root / study
        inside = ".." not in Path(study).parts and not Path(study).is_absolute()
        images = sorted(folder.glob("*.[jJpP]*[gG]")) if inside else []
        paths += [f"{study}/{image.name}" for image in images]
        rows += [row] * len(images)
    if not paths:
        raise DataError(
            f"{where}: lists {len(raw):,} studies, but no image lies in their folders below "
            f"{root}; put the images where the column 'Study' says"
        )
    expanded = raw.iloc[rows].reset_index(drop=True)
    expanded["Path"] = paths
    side = ["Lateral" if "lateral" in path.lower() else "Frontal" for path in paths]
    expanded["Frontal/Lateral"] = side
    return expanded
