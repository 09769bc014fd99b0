"""NIH ChestX-ray14 as NIH ships it (Wang et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pulmonet.arrays import Strings
from pulmonet.data.sources import rows
from pulmonet.data.tables import read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.labels import align

#: The 14 findings; a file in which one never occurs still annotates it (as absent).
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema"),
    *("Fibrosis", "Hernia", "Infiltration", "Mass", "No Finding", "Nodule"),
    *("Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)

_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}


def recognises(_root: Path, names: Collection[str]) -> bool:
    """By the name of its CSV."""
    return any(name.startswith("Data_Entry_2017") and name.endswith(".csv") for name in names)


def read(root: Path) -> rows.SourceRows:
    """``Data_Entry_2017*.csv`` with the lists and images that lie beside it.

    The header's last names hold commas and split into more columns (and older files have an empty
    one at the end), so columns go by their names and the odd ones are left alone. Images are in
    ``images/`` or in ``images_001/images/`` to ``images_012/images/``.
    """
    where = max(root.glob("Data_Entry_2017*.csv"), key=lambda path: path.name)
    raw = read_csv(where, ("Image Index", "Finding Labels", "Patient ID"))
    names = text_column(raw["Image Index"])
    below = [*sorted(root.glob("images_*/images")), *sorted(root.glob("images_*"))]
    columns = rows.finding_columns(raw["Finding Labels"], lambda cell: cell.split("|"))
    blank = raw["Finding Labels"].str.strip() == ""
    for name in FINDINGS:
        columns.setdefault(align(name), np.where(blank, np.nan, 0).astype(np.float32))
    return rows.source_rows(
        rows.find_images(names, [root / "images", *below], root, "images/"),
        {name: columns[name] for name in sorted(columns)},
        split=_splits(root, names),
        patient=text_column(raw["Patient ID"]),
        study=rows.column_or(raw, ["Follow-up #", "Image Index"], str),
        view=rows.column_or(raw, ["View Position"], rows.parse_view),
        sex=rows.column_or(raw, ["Patient Gender", "Patient Sex"], rows.parse_sex),
        age_years=rows.column_or(raw, ["Patient Age"], rows.parse_age, np.nan),
    )


def _splits(root: Path, names: Strings) -> Strings:
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
