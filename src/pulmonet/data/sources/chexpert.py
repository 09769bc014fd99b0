"""CheXpert's layout: train.csv, valid.csv, test.csv (Irvin et al. 2019, arXiv:1901.07031)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.sources import rows
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


def read(root: Path) -> rows.SourceRows:
    """Read whichever of the CSV files are there; ``test.csv`` wins over the test set's own."""
    parts: dict[str, rows.SourceRows] = {}
    for name, split in FILES.items():
        if split not in parts and (root / name).is_file():
            parts[split] = _read_file(root, root / name, split)
    whole = rows.stack(parts.values())
    wanted = [label for label in whole.labels if label in VOCABULARY]
    for split in ("train", "valid") if {"train", "valid"} <= parts.keys() else ():
        missing = [label for label in wanted if label not in parts[split].labels]
        if missing:
            whole.problems.append(
                f"{root / split}.csv: no column {list_first(map(repr, missing))}, which "
                "another CSV of this dataset has; add it (blank cells are allowed)"
            )
    return whole


def _read_file(root: Path, where: Path, split: str) -> rows.SourceRows:
    raw = read_csv(where)
    if "Path" not in raw and "Study" in raw:
        raw = _expand_studies(raw, root, where)
    if "Path" not in raw:
        raise DataError(
            f"{where}: no column 'Path'; columns there: {list_first(raw.columns, 20)}. Name the "
            "columns of a foreign CSV with --map path=COLUMN --map patient=COLUMN"
        )
    paths = rows.strip_root(raw["Path"].to_numpy(object), root)
    patient, study = rows.ids_from_paths(paths)
    for column in _PATIENT_COLUMNS:  # one names the patient where a path has none
        unknown = patient == ""
        if column in raw.columns and unknown.any():
            own = pd.Series(text_column(raw[column]), dtype="str")
            patient = patient.where(~unknown, own)
            study = study.where(~unknown, pd.Series(paths, dtype="str"))
    side = rows.column_or(raw, ["Frontal/Lateral"], rows.parse_view)
    projection = rows.column_or(raw, ["AP/PA"], rows.parse_view)
    projected = np.isin(projection.astype(str), ("AP", "PA")) & (side != "LATERAL")
    taken = {*_META, *_PATIENT_COLUMNS, *rows.ROW_COLUMNS}
    problems: list[str] = []
    labels = rows.label_columns(raw, rows.label_names(raw, taken), where, problems)
    return rows.source_rows(
        paths,
        labels,
        problems,
        split=split,
        patient=patient,
        study=study,
        view=np.where(projected, projection, side),
        sex=rows.column_or(raw, ["Sex"], rows.parse_sex),
        age_years=rows.column_or(raw, ["Age"], rows.parse_age, np.nan),
        further=rows.other_columns(raw, taken, labels),
    )


def _expand_studies(raw: pd.DataFrame, root: Path, where: Path) -> pd.DataFrame:
    """One row a study (``…/test/patient64741/study1``) becomes one row an image in its folder."""
    images = [
        (row, f"{study}/{image.name}")
        for row, study in enumerate(rows.strip_root(text_column(raw["Study"]), root))
        if ".." not in Path(study).parts and not Path(study).is_absolute()
        for image in sorted((root / study).glob("[!.]*.[jJpP]*[gG]"))
    ]
    if not images:
        raise DataError(
            f"{where}: lists {len(raw):,} studies, but there is no image in their folders below "
            f"{root}; put the images where the column 'Study' says"
        )
    expanded = raw.iloc[[row for row, _ in images]].reset_index(drop=True)
    expanded["Path"] = [path for _, path in images]
    is_lateral = expanded["Path"].str.lower().str.contains("lateral")
    expanded["Frontal/Lateral"] = np.where(is_lateral, "Lateral", "Frontal")
    return expanded
