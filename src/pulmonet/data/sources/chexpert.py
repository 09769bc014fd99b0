"""CheXpert's layout: train.csv, valid.csv, test.csv (Irvin et al. 2019, arXiv:1901.07031)."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.arrays import Strings
from pulmonet.choices import SPLITS
from pulmonet.data.sources import mapped, rows
from pulmonet.data.sources.unknown import describe
from pulmonet.data.splits.files import split_tables
from pulmonet.data.tables import find_tables, patient_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.files.paths import names_in
from pulmonet.labels import VOCABULARY
from pulmonet.words import list_first

#: Folders of the full-size download, each of which has some of the patients.
_BATCHES = "CheXpert-v1.0 batch "

_SIDES = ("Frontal/Lateral", "AP/PA")
_META = {"Path", "Study", *_SIDES}
_ABOUT = ("view", "sex", "age")


def recognises(root: Path, names: Collection[str]) -> bool:
    """By any of its files; their names are plain. By its folders in the full-size download."""
    return bool(split_tables(root)) or any(name.startswith(_BATCHES) for name in names)


def read(root: Path) -> rows.SourceRows:
    """Read the tables of `split_tables`; the test set's own ``groundtruth.csv`` is per study.

    In the full-size download they are in its first batch. Without it CheXbert's labels of the
    training images are taken, which lie beside the batches.
    """
    if root.name.startswith(_BATCHES) and len(list(root.parent.glob(f"{_BATCHES}*"))) > 1:
        what = f"{root}: one of the folders of CheXpert in full size"
        raise DataError(f"{what}; name the folder that holds all of them: {root.parent}")
    batches = sorted(path for path in root.glob(f"{_BATCHES}*") if path.is_dir())
    files = {split: path for at in (*batches, root) for split, path in split_tables(at).items()}
    if batches and "train" not in files:
        files |= dict(zip(["train"], find_tables(root, "train_*chexbert"), strict=False))
    if not files:
        raise DataError(f"{root}: no train.csv or valid.csv; unpack batch 1 (validate & csv) there")
    raws = {split: _read_table(where, root) for split, where in files.items()}
    taken = {*_META, *rows.ROW_COLUMNS, *map(patient_column, raws.values())}
    taken |= {rows.named_as(raw, key) for raw in raws.values() for key in _ABOUT}
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
        text = f"{where}: no column 'Path', so no table of CheXpert's: {describe(where.parent)}"
        raise DataError(text)
    return raw


def _rows_of(
    raw: pd.DataFrame, root: Path, split: str, where: Path, names: list[str]
) -> rows.SourceRows:
    columns = {"path": "Path", "patient": patient_column(raw) or ""}
    columns |= {key: rows.named_as(raw, key) for key in _ABOUT}
    table = raw.assign(Path=_in_batches(raw["Path"].to_numpy(object), root))
    if not {*_SIDES}.isdisjoint(raw):
        table, columns["view"] = table.assign(view=rows.view_of(raw, *_SIDES)), "view"
    table = table.drop(columns=["Study", *_SIDES], errors="ignore")
    mapping = {key: name for key, name in columns.items() if name in table}
    return mapped.read_table(table, root, where, mapping, names, split)


def _in_batches(paths: Strings, root: Path) -> Strings:
    """``CheXpert-v1.0/train/patient1/…`` in the batch that has the patient; else as it was."""
    there = {
        name: f"{folder.relative_to(root).as_posix()}/"
        for batch in root.glob(f"{_BATCHES}*")
        for folder in (batch, *(batch / split for split in SPLITS))
        for name in names_in(folder)
    }
    if not there:
        return paths
    tails = [f"patient{path.partition('/patient')[2]}" for path in paths.tolist()]
    homes = [there.get(tail.partition("/")[0]) for tail in tails]
    pairs = zip(paths.tolist(), homes, tails, strict=True)
    return np.asarray([home + tail if home else path for path, home, tail in pairs], object)


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
