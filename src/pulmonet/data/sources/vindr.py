"""VinDr-CXR (Nguyen et al. 2022, arXiv:2012.15029): DICOMs, three readers an image in training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.sources.rows import (
    ROW_COLUMNS,
    SourceRows,
    check_source_label,
    find_images,
    label_columns,
    row_table,
)
from pulmonet.data.tables import is_blank, map_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import align

_META = {"image_id", "rad_id", "rad_ID"}
_LABEL_FILES = {"image_labels_train.csv": "train", "image_labels_test.csv": "test"}

#: First columns of the Kaggle edition's ``train.csv`` (VinBigData Chest X-ray): one line a box.
KAGGLE_HEADER = "image_id,class_name,class_id,rad_id"


def recognises(root: Path, names: Collection[str]) -> bool:
    """By PhysioNet's label files, or by the header of Kaggle's ``train.csv``."""
    return (
        not {*names}.isdisjoint(_LABEL_FILES)
        or (root / "annotations" / "image_labels_train.csv").is_file()
        or is_kaggle(root / "train.csv")
    )


def read(root: Path) -> SourceRows:
    """``image_labels_train.csv`` and ``image_labels_test.csv``, in the root or ``annotations/``.

    A training image has one line a radiologist: a label is positive where at least half of its
    readers say so. The files name no patients. The Kaggle edition's ``train.csv`` lists each
    reader's boxes instead: a reader says what he drew a box of.
    """
    problems: list[str] = []
    if is_kaggle(root / "train.csv"):
        parts = [_read_kaggle(root)]
    else:
        there = {
            split: root / folder / name
            for name, split in _LABEL_FILES.items()
            for folder in ("annotations", "")  # the root's file wins
            if (root / folder / name).is_file()
        }
        parts = [_read_split(root, path, split, problems) for split, path in there.items()]
    if not parts:
        raise DataError(
            f"{root}: no image_labels_train.csv or image_labels_test.csv (nor Kaggle's train.csv); "
            "add one"
        )
    table = pd.concat(parts, ignore_index=True)
    labels = tuple(table.columns[len(ROW_COLUMNS) :])
    return SourceRows(table, labels, problems, patients_known=False)


def _read_split(root: Path, where: Path, split: str, problems: list[str]) -> pd.DataFrame:
    raw = read_csv(where, ("image_id",))
    names = [name for name in raw.columns if name not in _META]
    labels = label_columns(raw, names, where, problems)
    if not labels:
        raise DataError(f"{where}: has no label columns; give the file as VinDr-CXR brings it")
    codes, images = pd.factorize(text_column(raw["image_id"]))
    return _rows_of(root, split, images, pd.DataFrame(labels).groupby(codes).mean())


def is_kaggle(path: Path) -> bool:
    """Whether a ``train.csv`` is the Kaggle edition's, by its header."""
    try:
        with path.open("rb") as file:
            return (
                file.read(len(KAGGLE_HEADER) + 3)
                .removeprefix(b"\xef\xbb\xbf")
                .startswith(KAGGLE_HEADER.encode())
            )
    except OSError:
        return False


def _read_kaggle(root: Path) -> pd.DataFrame:
    where = root / "train.csv"
    raw = read_csv(where, ("image_id", "class_name", "rad_id"))
    codes, images = pd.factorize(text_column(raw["image_id"]))
    said = pd.DataFrame(
        {
            "image": codes,
            "label": map_column(
                raw["class_name"], lambda cell: "" if is_blank(cell) else align(cell)
            ),
            "reader": text_column(raw["rad_id"]),
        }
    ).drop_duplicates()
    n_readers = said.groupby("image")["reader"].nunique()
    n_votes = pd.crosstab(said["image"], said["label"]).rename_axis(columns=None)
    n_votes = n_votes.drop(columns="", errors="ignore")
    for label in n_votes.columns:
        check_source_label(label, where)
    return _rows_of(root, "train", images, n_votes.div(n_readers, axis=0))


def _rows_of(
    root: Path, split: str, images: NDArray[np.object_], votes: pd.DataFrame
) -> pd.DataFrame:
    """One row an image, positive where at least half of its readers say so."""
    agreed = (votes >= 0.5).astype(np.float32).where(votes.notna())
    ids = np.asarray([f"{image}.dicom" for image in images], dtype=object)
    columns = {label: agreed[label].to_numpy() for label in agreed.columns}
    paths = find_images(ids, [root / split], root, f"{split}/")
    return row_table(paths, split=split, columns=columns)
