"""CheXpert's layout: train.csv, valid.csv, test.csv (Irvin et al. 2019, arXiv:1901.07031)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.sources import rows
from pulmonet.data.splits.files import split_tables
from pulmonet.data.tables import id_column, patient_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import VOCABULARY
from pulmonet.words import list_first

_META = {"Path", "Study", "Sex", "Age", "Frontal/Lateral", "AP/PA"}


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By any of its files; their names are plain."""
    return bool(split_tables(root))


def read(root: Path) -> rows.SourceRows:
    """Read the tables of `split_tables`; the test set's own ``groundtruth.csv`` is per study."""
    files = split_tables(root)
    raws = {split: _read_table(where, root) for split, where in files.items()}
    taken = {*_META, *rows.ROW_COLUMNS, *map(patient_column, raws.values())}
    names = rows.label_names(raws.values(), taken)
    parts = {split: _rows_of(raw, root, split, files[split], names) for split, raw in raws.items()}
    whole = rows.stack(parts.values())
    wanted = [label for label in whole.labels if label in VOCABULARY]
    for split in ("train", "valid") if {"train", "valid"} <= parts.keys() else ():
        missing = [label for label in wanted if label not in parts[split].labels]
        if missing:
            whole.problems.append(
                f"{files[split]}: no column {list_first(map(repr, missing))}, which "
                "another CSV of this dataset has; add it (blank cells are allowed)"
            )
    return whole


def _read_table(where: Path, root: Path) -> pd.DataFrame:
    raw = read_csv(where)
    if "Path" not in raw and "Study" in raw:
        raw = _expand_studies(raw, root, where)
    if "Path" not in raw:
        raise DataError(
            f"{where}: no column 'Path'; columns there: {list_first(raw.columns, 20)}. Name the "
            "columns of a foreign CSV with --map path=COLUMN --map patient=COLUMN"
        )
    return raw


def _rows_of(
    raw: pd.DataFrame, root: Path, split: str, where: Path, names: list[str]
) -> rows.SourceRows:
    paths = rows.strip_root(raw["Path"].to_numpy(object), root)
    column = patient_column(raw)
    patient, study = rows.patients_of(paths, id_column(raw[column], where) if column else None)
    side = rows.column_or(raw, ["Frontal/Lateral"], rows.parse_view)
    projection = rows.column_or(raw, ["AP/PA"], rows.parse_view)
    projected = np.isin(projection.astype(str), ("AP", "PA")) & (side != "LATERAL")
    problems: list[str] = []
    labels = rows.label_columns(raw, [name for name in names if name in raw], where, problems)
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
        further=rows.other_columns(raw, {*_META, column}, labels),
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
