"""MIMIC-CXR-JPG (Johnson et al. 2019, arXiv:1901.07042): labels per study, images below files/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.splits.files import parse_split
from pulmonet.data.tables import (
    SourceRows,
    label_column,
    map_column,
    parse_sex,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import align
from pulmonet.errors import DataError

_IDS = ("subject_id", "study_id")
_VIEWS = {"AP": "AP", "PA": "PA", "LATERAL": "LATERAL", "LL": "LATERAL", "RL": "LATERAL"}


def read(root: Path) -> SourceRows:
    """One row an image of the split (or metadata) CSV, with the labels of its study.

    CheXpert's labeller is taken where both are there, else NegBio's. A study that it does not
    list has blank labels. Sex comes from MIMIC-IV's ``patients.csv``, where that lies beside.
    """
    label_path = _find(root, "chexpert") or _find(root, "negbio")
    split_path, metadata_path = _find(root, "split"), _find(root, "metadata")
    if label_path is None or (split_path or metadata_path) is None:
        raise DataError(
            f"{root}: MIMIC-CXR-JPG needs its chexpert (or negbio) CSV and its split or metadata "
            "CSV; download mimic-cxr-2.0.0-chexpert.csv.gz and mimic-cxr-2.0.0-split.csv.gz"
        )
    images = _read_images(split_path, metadata_path)
    problems: list[str] = []
    raw = read_csv(label_path, _IDS)
    names = [name for name in raw.columns if name not in _IDS]
    studies = pd.DataFrame({"study_id": text_column(raw["study_id"])})
    for name in names:
        studies[align(name)] = label_column(raw, name, label_path, problems)
    labels = tuple(align(name) for name in names)
    twice = studies["study_id"].duplicated()
    if twice.any():
        problems.append(
            f"{label_path}: {int(twice.sum()):,} studies listed twice; keep one line each"
        )
    images = images.merge(studies[~twice], on="study_id", how="left")
    subject, study = images["subject_id"], images["study_id"]
    folder = "files/p" + subject.str.slice(0, 2) + "/p" + subject + "/s" + study + "/"
    table = pd.DataFrame(
        {
            "path": folder + images["dicom_id"] + ".jpg",
            "split": images["split"],
            "patient": subject,
            "study": subject + "/" + study,
            "view": images["view"],
            "sex": _sex(root, subject),
            "age_years": np.nan,
        }
    )
    table = pd.concat([table, images[list(labels)].astype(np.float32)], axis=1)
    used = (label_path, split_path, metadata_path)
    return SourceRows(
        "mimic", table, labels, problems, csv_names=tuple(path.name for path in used if path)
    )


def _find(root: Path, part: str) -> Path | None:
    """``mimic-cxr-2.x.y-<part>.csv`` or ``.csv.gz``; the newest version."""
    return max(root.glob(f"mimic-cxr-2.*-{part}.csv*"), default=None, key=lambda path: path.name)


def _read_images(split_path: Path | None, metadata_path: Path | None) -> pd.DataFrame:
    """dicom_id, subject_id, study_id, split ("" unknown), view ("" unknown)."""
    needed = ("dicom_id", *_IDS)
    path = split_path or metadata_path
    assert path is not None
    raw = read_csv(path, (*needed, "split") if split_path else needed)
    images = pd.DataFrame({name: pd.Series(text_column(raw[name]), dtype="str") for name in needed})
    images["split"] = map_column(raw["split"], parse_split) if split_path else ""
    images["view"] = ""
    if metadata_path is not None:
        metadata = read_csv(metadata_path, ("dicom_id", "ViewPosition"))
        views = map_column(metadata["ViewPosition"], lambda cell: _VIEWS.get(cell.upper(), ""))
        by_image = pd.Series(views, index=pd.Index(text_column(metadata["dicom_id"])))
        by_image = by_image[~by_image.index.duplicated()]
        images["view"] = by_image.reindex(images["dicom_id"]).fillna("").to_numpy()
    return images


def _sex(root: Path, subjects: pd.Series) -> np.ndarray:
    path = next((root / name for name in _PATIENTS if (root / name).is_file()), None)
    if path is None:
        return np.full(len(subjects), "", dtype=object)
    raw = read_csv(path, ("subject_id", "gender"))
    by_subject = pd.Series(
        map_column(raw["gender"], parse_sex), index=pd.Index(text_column(raw["subject_id"]))
    )
    by_subject = by_subject[~by_subject.index.duplicated()]
    return np.asarray(by_subject.reindex(subjects).fillna("").to_numpy(object))


_PATIENTS = ("patients.csv", "patients.csv.gz")
