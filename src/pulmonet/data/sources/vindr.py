"""VinDr-CXR (Nguyen et al. 2022, arXiv:2012.15029): DICOMs, three readers an image in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.tables import (
    SourceRows,
    find_images,
    index_files,
    label_column,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import align
from pulmonet.errors import DataError

_META = {"image_id", "rad_id", "rad_ID"}


def read(root: Path) -> SourceRows:
    """``image_labels_train.csv`` and ``image_labels_test.csv``, in the root or ``annotations/``.

    A training image has one line a radiologist: a label is positive where at least half of its
    readers say so. The files name no patients.
    """
    problems: list[str] = []
    parts, names = [], []
    for split in ("train", "test"):
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
        raise DataError(f"{root}: no image_labels_train.csv or image_labels_test.csv; add one")
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
    codes, images = pd.factorize(text_column(raw["image_id"]))
    votes = pd.DataFrame(labels).groupby(codes).mean()
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
