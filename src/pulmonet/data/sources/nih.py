"""NIH ChestX-ray14 as NIH ships it (Wang et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pulmonet.arrays import Strings
from pulmonet.data.sources import rows
from pulmonet.data.tables import find_tables, id_column, read_csv, text_column
from pulmonet.errors import DataError
from pulmonet.files.cells import to_utf8
from pulmonet.files.read import read_bytes

#: The 14 findings; a file in which one never occurs still annotates it (as absent).
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema"),
    *("Fibrosis", "Hernia", "Infiltration", "Mass", "No Finding", "Nodule"),
    *("Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)

#: Lists by a part of their name; editions and other people's code add to NIH's two names.
_LISTS = {
    **{"train_val_list": "train", "test_list": "test"},
    **{"val_list": "valid", "train_list": "train"},
}


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By the name of its CSV, or of that of Kaggle's sample."""
    return bool(_tables(root))


def _tables(root: Path) -> list[Path]:
    return find_tables(root, "Data_Entry_2017*") or find_tables(root, "sample_labels")


def read(root: Path) -> rows.SourceRows:
    """``Data_Entry_2017*.csv`` with the lists and images that lie beside it.

    Images are in ``images/`` or in ``images_001/images/`` to ``images_012/images/``; those of
    Kaggle's sample, whose table is ``sample_labels.csv``, in ``sample/images/``.
    """
    where = _tables(root)[-1]
    raw = read_csv(where, ("Image Index", "Finding Labels", "Patient ID"))
    names = text_column(raw["Image Index"])
    is_sample = (root / "sample" / "images").is_dir()
    return rows.source_rows(
        ("sample/images/" if is_sample else "images/") + names,
        rows.finding_columns(raw["Finding Labels"], lambda cell: cell.split("|"), FINDINGS),
        split=_splits(root, names),
        patient=id_column(raw["Patient ID"], where),
        study=rows.column_or(raw, ["Follow-up #", "Image Index"], str),
        view=rows.column_or(raw, ["View Position"], rows.parse_view),
        sex=rows.column_or(raw, ["Patient Gender", "Patient Sex"], rows.parse_sex),
        age_years=rows.column_or(raw, ["Patient Age"], rows.parse_age, np.nan),
    )


def _splits(root: Path, names: Strings) -> Strings:
    """train, valid, test, or "" where no list names an image.

    Raises:
        DataError: a list that cannot be read, or names none of the images.
    """
    split = np.full(len(names), "", dtype=object)
    stems = np.asarray([name.partition(".")[0] for name in names.tolist()], object)
    for path in sorted(root.glob("[!.]*.txt")):
        part = next((part for part in _LISTS if part in path.name.lower()), None)
        if part is None:
            continue
        try:
            words = to_utf8(read_bytes(path)).decode().split()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); copy it again") from None
        listed = {word.rpartition("/")[2].partition(".")[0] for word in words}
        here = np.asarray([stem in listed for stem in stems])
        if not here.any():
            raise DataError(
                f"{path}: names none of the {len(names):,} images, e.g. {names[0]}; take the list "
                "of this dataset, or move it away"
            )
        split[here] = _LISTS[part]
    return split
