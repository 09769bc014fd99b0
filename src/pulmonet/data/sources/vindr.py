"""VinDr-CXR (Nguyen et al. 2022, arXiv:2012.15029): DICOMs, three readers an image in training."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.sources import rows
from pulmonet.data.tables import has_columns, is_blank, map_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import align

_META = {"image_id", "rad_id", "rad_ID"}
_LABEL_FILES = {"image_labels_train.csv": "train", "image_labels_test.csv": "test"}

#: Columns of the Kaggle edition's ``train.csv`` (VinBigData Chest X-ray): one line a box.
KAGGLE_COLUMNS = ("image_id", "class_name", "rad_id")


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By PhysioNet's label files, or by the header of Kaggle's ``train.csv``."""
    return bool(_label_files(root)) or is_kaggle(root / "train.csv")


def _label_files(root: Path) -> dict[str, Path]:
    return {
        split: root / folder / name
        for name, split in _LABEL_FILES.items()
        for folder in ("annotations", "")  # the root's file wins
        if (root / folder / name).is_file()
    }


def read(root: Path) -> rows.SourceRows:
    """A label is positive where at least half of an image's readers say so; no patients are named.

    The Kaggle edition lists each reader's boxes: a reader says what he drew a box of.
    """
    if is_kaggle(root / "train.csv"):
        return _read_kaggle(root)
    return rows.stack(_read_split(path, split) for split, path in _label_files(root).items())


def _read_split(where: Path, split: str) -> rows.SourceRows:
    problems: list[str] = []
    raw = read_csv(where, ("image_id",)).drop_duplicates()  # a reader has one vote
    names = [name for name in raw.columns if name not in _META]
    labels = rows.label_columns(raw, names, where, problems)
    if not labels:
        raise DataError(f"{where}: has no label columns; give the file as VinDr-CXR brings it")
    codes, images = pd.factorize(text_column(raw["image_id"]))
    return _rows_of(split, images, pd.DataFrame(labels).groupby(codes).mean(), problems)


def is_kaggle(path: Path) -> bool:
    """Whether a ``train.csv`` is the Kaggle edition's, by its header."""
    return has_columns(path, KAGGLE_COLUMNS)


def _read_kaggle(root: Path) -> rows.SourceRows:
    where = root / "train.csv"
    raw = read_csv(where, KAGGLE_COLUMNS)
    codes, images = pd.factorize(text_column(raw["image_id"]))
    labels = map_column(raw["class_name"], lambda cell: "" if is_blank(cell) else align(cell))
    said = pd.DataFrame({"image": codes, "label": labels, "reader": text_column(raw["rad_id"])})
    said = said.drop_duplicates()
    n_readers = said.groupby("image")["reader"].nunique()
    n_votes = pd.crosstab(said["image"], said["label"]).rename_axis(columns=None)
    n_votes = n_votes.drop(columns="", errors="ignore")
    for label in n_votes.columns:
        rows.check_source_label(label, where)
    return _rows_of("train", images, n_votes.div(n_readers, axis=0))


def _rows_of(
    split: str, images: NDArray[Any], votes: pd.DataFrame, problems: Sequence[str] = ()
) -> rows.SourceRows:
    """One row an image, positive where at least half of its readers say so."""
    agreed = (votes >= 0.5).astype(np.float32).where(votes.notna())
    ids = np.asarray([f"{image}.dicom" for image in images], dtype=object)
    columns = {label: agreed[label].to_numpy() for label in agreed.columns}
    return rows.source_rows(f"{split}/" + ids, columns, problems, split=split)
