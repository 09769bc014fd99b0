"""NIH ChestX-ray14 as NIH ships it (Wang et al., CVPR 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.tables import (
    SourceRows,
    find_images,
    finding_columns,
    index_files,
    map_column,
    parse_age,
    parse_sex,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import align
from pulmonet.errors import DataError

#: The 14 findings; a file in which one never occurs still annotates it (as absent).
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "No Finding",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)

_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}


def read(root: Path) -> SourceRows:
    """``Data_Entry_2017*.csv`` with the lists and images that lie beside it.

    The header's last names hold commas and split into more columns (and older files have an empty
    one at the end), so columns go by their names and the odd ones are left alone. Images are in
    ``images/`` or in ``images_001/images/`` to ``images_012/images/``.
    """
    where = max(root.glob("Data_Entry_2017*.csv"), key=lambda path: path.name)
    raw = read_csv(where, ("Image Index", "Finding Labels", "Patient ID"))
    names = text_column(raw["Image Index"])
    folders = [
        root / "images",
        *sorted(root.glob("images_*/images")),
        *sorted(root.glob("images_*")),
    ]
    found = index_files([folder for folder in folders if folder.is_dir()], root)
    table = pd.DataFrame({"path": find_images(names, found, "images/")})
    table["split"] = _splits(root, names)
    table["patient"] = text_column(raw["Patient ID"])
    follow_up = text_column(raw["Follow-up #"]) if "Follow-up #" in raw else names
    table["study"] = table["patient"].astype("str") + "/" + pd.Series(follow_up, dtype="str")
    view = raw["View Position"] if "View Position" in raw else pd.Series([""] * len(raw))
    known = {"AP", "PA"}
    table["view"] = map_column(view, lambda cell: cell.upper() if cell.upper() in known else "")
    sex = next((name for name in ("Patient Gender", "Patient Sex") if name in raw), None)
    table["sex"] = map_column(raw[sex], parse_sex) if sex else ""
    age = raw.get("Patient Age")
    table["age_years"] = np.nan if age is None else map_column(age, parse_age, float)
    columns = finding_columns(raw["Finding Labels"], lambda cell: cell.split("|"), align)
    blank = raw["Finding Labels"].str.strip() == ""
    for name in FINDINGS:
        columns.setdefault(align(name), np.where(blank, np.nan, 0).astype(np.float32))
    labels = tuple(sorted(columns))
    table = pd.concat([table, pd.DataFrame({name: columns[name] for name in labels})], axis=1)
    return SourceRows("nih", table, labels, csv_names=(where.name,))


def _splits(root: Path, names: NDArray[np.object_]) -> NDArray[np.object_]:
    """train, test, or "" where NIH's lists are not there (or do not name an image)."""
    split = np.full(len(names), "", dtype=object)
    for file_name, name in _LISTS.items():
        path = root / file_name
        if not path.is_file():
            continue
        try:
            listed = set(path.read_text("utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); copy it again") from None
        split[[image in listed for image in names.tolist()]] = name
    return split
