"""MIMIC-CXR-JPG (Johnson et al. 2019, arXiv:1901.07042): labels per study, images below files/."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.sources import rows
from pulmonet.data.splits.files import parse_split
from pulmonet.data.tables import find_tables, id_column, map_column, read_csv
from pulmonet.errors import DataError

_IDS = ("subject_id", "study_id")


def recognises(_root: Path, names: Collection[str]) -> bool:
    """By the beginning of its files' names."""
    return any(name.startswith("mimic-cxr-2.") for name in names)


def read(root: Path) -> rows.SourceRows:
    """One row an image of the split (or metadata) CSV, with the labels of its study.

    CheXpert's labeller is taken where both are there, else NegBio's. A study that it does not
    list has blank labels. Sex comes from MIMIC-IV's ``patients.csv``, where that lies beside.
    """
    label_path = _find(root, "chexpert") or _find(root, "negbio")
    split_path, metadata_path = _find(root, "split"), _find(root, "metadata")
    image_path = split_path or metadata_path
    if label_path is None or image_path is None:
        raise DataError(
            f"{root}: MIMIC-CXR-JPG needs its chexpert (or negbio) CSV and its split or metadata "
            "CSV; download mimic-cxr-2.0.0-chexpert.csv.gz and mimic-cxr-2.0.0-split.csv.gz"
        )
    needed = ("dicom_id", *_IDS)
    raw = read_csv(image_path, (*needed, "split") if split_path else needed)
    image, subject, study = (id_column(raw[name], image_path) for name in needed)
    raw_labels = read_csv(label_path, _IDS)
    problems: list[str] = []
    names = rows.label_names([raw_labels], _IDS)
    columns = rows.label_columns(raw_labels, names, label_path, problems)
    studies = pd.DataFrame(columns, index=pd.Index(id_column(raw_labels["study_id"], label_path)))
    if studies.index.intersection(pd.Index(study)).empty:
        raise DataError(
            f"{label_path}: has none of the studies of {image_path.name} (there "
            f"{studies.index[0]}, here {study[0]}); take both of one edition"
        )
    twice = studies.index.duplicated()
    if twice.any():
        problems.append(f"{label_path}: {twice.sum():,} studies listed twice; keep one line each")
    studies = studies[~twice].reindex(study)
    pairs = zip(subject.tolist(), study.tolist(), strict=True)
    folders = [f"files/p{patient[:2]}/p{patient}/s{number}/" for patient, number in pairs]
    patients_path = next(iter(find_tables(root, "patients")), None)
    return rows.source_rows(
        np.asarray(folders, dtype=object) + image + ".jpg",
        {label: studies[label].to_numpy() for label in columns},
        problems,
        split=map_column(raw["split"], parse_split) if split_path else "",
        patient=subject,
        study=study,
        view=_looked_up(image, metadata_path, "dicom_id", "ViewPosition", rows.parse_view),
        sex=_looked_up(subject, patients_path, "subject_id", "gender", rows.parse_sex),
    )


def _find(root: Path, part: str) -> Path | None:
    """``mimic-cxr-2.x.y-<part>.csv`` or ``.csv.gz``; the newest version."""
    return next(reversed(find_tables(root, f"mimic-cxr-2.*-{part}")), None)


def _looked_up(
    ids: NDArray[Any], path: Path | None, key: str, column: str, convert: Callable[[str], str]
) -> Any:
    """(N,) converted cells of the lines for `ids`; "" where there is no line or no file."""
    if path is None:
        return ""
    raw = read_csv(path, (key, column))
    found = pd.Series(map_column(raw[column], convert), index=pd.Index(id_column(raw[key], path)))
    found = found[~found.index.duplicated()]
    return found.reindex(ids).fillna("").to_numpy(object)
