"""VinDr-CXR (Nguyen et al. 2022, arXiv:2012.15029): DICOMs, three readers an image in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.tables import (
    SourceRows,
    check_source_label,
    find_images,
    index_files,
    is_blank,
    label_column,
    map_column,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import align
from pulmonet.errors import DataError

_META = {"image_id", "rad_id", "rad_ID"}

#: First columns of the Kaggle edition's ``train.csv`` (VinBigData Chest X-ray): one line a box.
KAGGLE_HEADER = "image_id,class_name,class_id,rad_id"


def read(root: Path) -> SourceRows:
    """``image_labels_train.csv`` and ``image_labels_test.csv``, in the root or ``annotations/``.

    A training image has one line a radiologist: a label is positive where at least half of its
    readers say so. The files name no patients. The Kaggle edition's ``train.csv`` lists each
    reader's boxes instead: a reader says what he drew a box of.
    """
    problems: list[str] = []
    parts, names = [], []
    if is_kaggle(root / "train.csv"):
        parts.append(_read_kaggle(root))
        names.append("train.csv")
    for split in ("train", "test") if not parts else ():
        file_name = f"image_labels_{split}.csv"
        where = next(
            (
                path
                for path in (root / file_name, root / "annotations" / file_name)
                if path.is_file()
            ),
            None,
        )
        if where is not None:
            parts.append(_read_split(root, where, split, problems))
            names.append(where.relative_to(root).as_posix())
    if not parts:
        raise DataError(
            f"{root}: no image_labels_train.csv or image_labels_test.csv (nor Kaggle's train.csv); "
            "add one"
        )
    table = pd.concat(parts, ignore_index=True)
    labels = tuple(table.columns[7:])
    for label in labels:
        table[label] = table[label].astype(np.float32)
    return SourceRows(
        "vindr", table, labels, problems, patients_known=False, csv_names=tuple(names)
    )


def _read_split(root: Path, where: Path, split: str, problems: list[str]) -> pd.DataFrame:
    raw = read_csv(where, ("image_id",))
    labels = {
        align(name): label_column(raw, name, where, problems)
        for name in raw.columns
        if name not in _META
    }
    if not labels:
        raise DataError(f"{where}: has no label columns; give the file as VinDr-CXR brings it")
    codes, images = pd.factorize(text_column(raw["image_id"]))
    votes = pd.DataFrame(labels).groupby(codes).mean()
    return _rows_of(root, split, images, votes)


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
    folder = root / split
    found = index_files([folder], root) if folder.is_dir() else {}
    ids = np.asarray([f"{image}.dicom" for image in images], dtype=object)
    table = pd.DataFrame({"path": find_images(ids, found, f"{split}/"), "split": split})
    table["patient"] = table["path"]
    table["study"] = table["path"]
    table["view"] = ""
    table["sex"] = ""
    table["age_years"] = np.nan
    return pd.concat([table, agreed.reset_index(drop=True)], axis=1)
