"""CheXpert's layout: train.csv, valid.csv, test.csv (Irvin et al. 2019, arXiv:1901.07031)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.tables import (
    SourceRows,
    holds_labels,
    label_column,
    map_column,
    parse_age,
    parse_sex,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import VOCABULARY, align
from pulmonet.errors import DataError
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


def read(root: Path) -> SourceRows:
    """Read whichever of the CSV files are there; ``test.csv`` wins over the test set's own."""
    problems: list[str] = []
    parts: list[tuple[pd.DataFrame, list[str]]] = []
    seen: set[str] = set()
    names = []
    for name, split in FILES.items():
        if split not in seen and (root / name).is_file():
            seen.add(split)
            names.append(name)
            parts.append(_read_file(root, name, split, problems))
    labels = tuple(dict.fromkeys(label for _, columns in parts for label in columns))
    for name, (_, columns) in zip(names, parts, strict=True):
        missing = [label for label in labels if label not in columns and label in VOCABULARY]
        if missing and name in {"train.csv", "valid.csv"} and {"train", "valid"} <= seen:
            problems.append(
                f"{root / name}: no column {list_first(repr(label) for label in missing)}, which "
                "another CSV of this dataset has; add it (blank cells are allowed)"
            )
    table = pd.concat([part for part, _ in parts], ignore_index=True)
    for label in labels:
        table[label] = table[label].astype(np.float32)
    return SourceRows("chexpert", table, labels, problems, csv_names=tuple(names))


def _read_file(
    root: Path, name: str, split: str, problems: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    where = root / name
    raw = read_csv(where)
    if "Path" not in raw.columns and "Study" in raw.columns:
        raw = _expand_studies(raw, root, where)
    if "Path" not in raw.columns:
        raise DataError(
            f"{where}: no column 'Path'; columns there: {list_first(raw.columns, 20)}. Name the "
            "columns of a foreign CSV with --map path=COLUMN --map patient=COLUMN"
        )
    table = pd.DataFrame({"path": strip_root(raw["Path"].to_numpy(object), root)})
    table["split"] = split
    table["patient"], table["study"] = _ids(table["path"], raw)
    table["view"] = _views(raw)
    table["sex"] = map_column(raw["Sex"], parse_sex) if "Sex" in raw else ""
    table["age_years"] = map_column(raw["Age"], parse_age, float) if "Age" in raw else np.nan
    labels = []
    for column in raw.columns:
        label = align(column)
        if column in _META or column in _PATIENT_COLUMNS or column in table:
            continue
        if label in labels:
            problems.append(
                f"{where}: column '{column}' is one of two for the label '{label}'; keep one"
            )
        elif label in VOCABULARY or holds_labels(raw[column]):
            table[label] = label_column(raw, column, where, problems)
            labels.append(label)
        else:
            table[column] = text_column(raw[column])
    return table, labels


def strip_root(paths: NDArray[np.object_], root: Path) -> NDArray[np.object_]:
    """Paths relative to the root, POSIX: without ``./`` and without the root's own name.

    A first part that nothing below the root is called by is the root's name, maybe an older one:
    ``chexpert/`` is understood for ``CheXpert-v1.0-small/`` where all paths share it and what
    follows it is there.
    """
    text = [str(path).strip().replace("\\", "/").removeprefix("./") for path in paths.tolist()]
    there = {entry.name for entry in root.iterdir()}
    name = root.absolute().name
    if name and name not in there:
        text = [path.removeprefix(f"{name}/") for path in text]
    first, _, rest = next((path for path in text if path), "").partition("/")
    is_other = bool(rest) and first not in {"", ".", "..", *there}
    if is_other and rest.partition("/")[0] in there:
        prefix = f"{first}/"
        if all(path.startswith(prefix) for path in text if path):
            text = [path.removeprefix(prefix) for path in text]
    return np.asarray(text, dtype=object)


def ids_from_paths(paths: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Patients and studies from ``patient…`` and ``study…`` path parts; "" where there is none."""
    parts = paths.astype("str").str.extract(r"(?:^|/)(patient[^/]+)/(?:(study[^/]*)/)?")
    patient = parts[0].fillna("")
    return patient, patient + "/" + parts[1].fillna("study1")


def _ids(paths: pd.Series[Any], raw: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """As `ids_from_paths`; where a path has no patient, a patient column names it."""
    patient, study = ids_from_paths(paths)
    for column in _PATIENT_COLUMNS:
        unknown = patient == ""
        if column in raw.columns and unknown.any():
            own = pd.Series(text_column(raw[column]), index=patient.index, dtype="str")
            patient = patient.where(~unknown, own)
            study = study.where(~unknown, own + "/" + paths)
    return patient, study


def _views(raw: pd.DataFrame) -> NDArray[np.object_]:
    """AP, PA, FRONTAL (unspecified), LATERAL or "" (unknown)."""
    views = np.full(len(raw), "", dtype=object)
    if "Frontal/Lateral" in raw:
        side = {"frontal": "FRONTAL", "lateral": "LATERAL"}
        views = map_column(raw["Frontal/Lateral"], lambda value: side.get(value.lower(), ""))
    if "AP/PA" in raw:
        projection = map_column(raw["AP/PA"], str.upper)
        known = np.isin(projection.astype(str), ("AP", "PA")) & (views != "LATERAL")
        views = np.where(known, projection, views)
    return views


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
