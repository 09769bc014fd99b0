"""Any CSV, with a mapping that says what its columns mean: ``--map path=FileName …``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.sources.chexpert import ids_from_paths, strip_root
from pulmonet.data.splits.files import parse_split
from pulmonet.data.tables import (
    ROW_COLUMNS,
    SourceRows,
    finding_columns,
    holds_labels,
    label_column,
    map_column,
    parse_age,
    parse_sex,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import VOCABULARY, align
from pulmonet.errors import ConfigError, DataError
from pulmonet.words import did_you_mean, list_first

#: Key of a mapping -> what it says.
KEYS = {
    "path": "column with the image's path or file name (needed)",
    "patient": "column with the patient's id (needed unless paths have a patient… part)",
    "study": "column with the study's id",
    "split": "column with train, valid (val, validate) or test",
    "view": "column with AP, PA, lateral or frontal",
    "sex": "column with M, F, Male or Female",
    "age": "column with years",
    "findings": "column that lists the findings in words",
    "separator": "what stands between findings; | by default",
    "labels": "label columns, separated by |; by default all that hold 1, 0, -1 or blank",
    "csv": "name of the CSV file, where there are several",
    "folder": "folder of the images below the root",
}

_COLUMNS = ("path", "patient", "study", "split", "view", "sex", "age", "findings")
_VIEWS = {
    "AP": "AP",
    "PA": "PA",
    "L": "LATERAL",
    "LL": "LATERAL",
    "LATERAL": "LATERAL",
    "FRONTAL": "FRONTAL",
}


def read(root: Path, mapping: Mapping[str, str]) -> SourceRows:
    """Read the CSV of `root` (or train.csv, valid.csv and test.csv) under `mapping`.

    Raises:
        ConfigError: an unknown key, or a column that is not there.
        DataError: no CSV or several, and what is wrong inside.
    """
    for key in mapping:
        if key not in KEYS:
            raise ConfigError(
                f"--map {key}: unknown{did_you_mean(key, KEYS)}; choose from {', '.join(KEYS)}"
            )
    if "path" not in mapping:
        raise ConfigError("--map: says nothing of the images; add --map path=COLUMN")
    problems: list[str] = []
    parts: list[pd.DataFrame] = []
    labels: dict[str, None] = {}
    files = _files(root, mapping)
    for where, split in files:
        part, names = _read_file(root, where, split, mapping, problems)
        parts.append(part)
        labels.update(dict.fromkeys(names))
    table = pd.concat(parts, ignore_index=True)
    for label in labels:
        table[label] = table[label].astype(np.float32)
    csv_names = tuple(where.name for where, _ in files)
    return SourceRows("mapped", table, tuple(labels), problems, csv_names=csv_names)


def _files(root: Path, mapping: Mapping[str, str]) -> list[tuple[Path, str]]:
    if "csv" in mapping:
        path = root / mapping["csv"]
        if not path.is_file() or path.resolve().parent != root.resolve():
            raise ConfigError(f"--map csv={mapping['csv']}: no such file in {root}")
        return [(path, "")]
    own = [(root / f"{split}.csv", split) for split in ("train", "valid", "test")]
    there = [(path, split) for path, split in own if path.is_file()]
    if there:
        return there
    beside = {"boxes.csv", "splits.csv"}
    found = sorted(path for path in root.glob("*.csv*") if path.name not in beside)
    if len(found) != 1:
        names = list_first(path.name for path in found)
        raise DataError(
            f"{root}: {len(found)} CSV files ({names or 'none'}); name one with --map csv=FILE"
        )
    return [(found[0], "")]


def _read_file(
    root: Path, where: Path, split: str, mapping: Mapping[str, str], problems: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    raw = read_csv(where)
    used = {key: mapping[key] for key in _COLUMNS if key in mapping}
    for key, column in used.items():
        if column not in raw.columns:
            raise ConfigError(
                f"--map {key}={column}: no such column in {where.name}"
                f"{did_you_mean(column, raw.columns)}; columns there: {list_first(raw.columns, 20)}"
            )
    folder = mapping.get("folder", "").strip("/")
    paths = strip_root(text_column(raw[used["path"]]), root)
    prefixed = [f"{folder}/{path}" if folder else path for path in paths.tolist()]
    table = pd.DataFrame({"path": pd.Series(prefixed, dtype="str")})
    table["split"] = map_column(raw[used["split"]], parse_split) if "split" in used else split
    _check_splits(raw, table, used, where, problems)
    patient, study = ids_from_paths(table["path"])
    if "patient" in used:
        patient = pd.Series(text_column(raw[used["patient"]]), dtype="str")
        study = patient + "/" + table["path"]
    if "study" in used:
        study = patient + "/" + pd.Series(text_column(raw[used["study"]]), dtype="str")
    table["patient"], table["study"] = patient, study
    table["view"] = (
        map_column(raw[used["view"]], lambda cell: _VIEWS.get(cell.upper(), ""))
        if "view" in used
        else ""
    )
    table["sex"] = map_column(raw[used["sex"]], parse_sex) if "sex" in used else ""
    ages = map_column(raw[used["age"]], parse_age, float) if "age" in used else np.nan
    table["age_years"] = ages
    columns = _labels(raw, mapping, used, where, problems)
    further = {
        name: text_column(raw[name])
        for name in raw.columns
        if name and name not in used.values() and align(name) not in {*columns, *ROW_COLUMNS}
    }
    extra = pd.DataFrame({**columns, **further}, index=table.index)
    return pd.concat([table, extra], axis=1), list(columns)


def _check_splits(
    raw: pd.DataFrame,
    table: pd.DataFrame,
    used: Mapping[str, str],
    where: Path,
    problems: list[str],
) -> None:
    if "split" not in used:
        return
    unknown = raw[used["split"]][((table["split"] == "") & (raw[used["split"]] != "")).to_numpy()]
    if len(unknown):
        problems.append(
            f"{where}: {len(unknown):,} unknown splits ({list_first(unknown.unique())}); write "
            "train, valid or test"
        )


def _labels(
    raw: pd.DataFrame,
    mapping: Mapping[str, str],
    used: Mapping[str, str],
    where: Path,
    problems: list[str],
) -> dict[str, np.ndarray]:
    if "findings" in used:
        separator = mapping.get("separator") or "|"
        return finding_columns(
            raw[used["findings"]],
            lambda cell: cell.split(separator),
            lambda name: align(name.strip()),
        )
    if "labels" in mapping:
        names = [name.strip() for name in mapping["labels"].split("|")]
        missing = [name for name in names if name not in raw.columns]
        if missing:
            raise ConfigError(f"--map labels: no column '{missing[0]}' in {where.name}")
    else:
        free = [name for name in raw.columns if name and name not in used.values()]
        names = [name for name in free if align(name) in VOCABULARY or holds_labels(raw[name])]
    labels = {align(name): name for name in names}
    if len(labels) < len(names):
        twice = next(name for name in names if labels[align(name)] != name)
        problems.append(
            f"{where}: column '{twice}' is one of two for the label '{align(twice)}'; keep one"
        )
    return {label: label_column(raw, name, where, problems) for label, name in labels.items()}
