"""PadChest (Bustos et al. 2020, arXiv:1901.07441): a list of findings an image, 16-bit PNGs."""

from __future__ import annotations

import re
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
    parse_number,
    parse_sex,
    read_csv,
    text_column,
)
from pulmonet.data.vocabulary import align

_VIEWS = {"PA": "PA", "AP": "AP", "AP_HORIZONTAL": "AP", "L": "LATERAL"}

#: Label -> findings that are kinds of it (the tree of the paper's appendix): a plate-like
#: atelectasis is one, and must not count as a negative. They stay labels of their own, too.
KINDS = {
    "Atelectasis": (
        "laminar atelectasis",
        "lobar atelectasis",
        "segmental atelectasis",
        "round atelectasis",
        "total atelectasis",
        "atelectasis basal",
    ),
    "Pleural Effusion": (
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
    ),
    "Pneumothorax": ("hydropneumothorax",),
    "Pneumonia": ("atypical pneumonia",),
    "Fracture": (
        "rib fracture",
        "callus rib fracture",
        "clavicle fracture",
        "humeral fracture",
        "vertebral fracture",
    ),
    "Nodule": ("multiple nodules",),
    "Pleural Thickening": ("apical pleural thickening", "calcified pleural thickening"),
    "Support Devices": (
        "pacemaker",
        "electrical device",
        "single chamber device",
        "dual chamber device",
        "catheter",
        "central venous catheter",
        "central venous catheter via jugular vein",
        "central venous catheter via subclavian vein",
        "central venous catheter via umbilical vein",
        "reservoir central venous catheter",
        "endotracheal tube",
        "tracheostomy tube",
        "NSG tube",
        "chest drain tube",
        "gastrostomy tube",
        "ventriculoperitoneal drain tube",
        "artificial heart valve",
        "artificial aortic heart valve",
        "artificial mitral heart valve",
    ),
}

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def read(root: Path) -> SourceRows:
    """``…chest_x_ray_images_labels…csv``; images in ``<ImageDir>/``, ``images/`` or the root."""
    where = max(root.glob("*chest_x_ray_images_labels*"), key=lambda path: path.name)
    raw = read_csv(where, ("ImageID", "PatientID", "Labels"))
    table = pd.DataFrame({"path": _paths(root, raw)})
    table["split"] = ""
    table["patient"] = text_column(raw["PatientID"])
    study = text_column(raw["StudyID"]) if "StudyID" in raw else text_column(raw["ImageID"])
    table["study"] = table["patient"].astype("str") + "/" + pd.Series(study, dtype="str")
    projection = next((name for name in ("Projection", "ViewPosition_DICOM") if name in raw), None)
    table["view"] = (
        map_column(raw[projection], lambda cell: _VIEWS.get(cell.upper(), "")) if projection else ""
    )
    sex = raw.get("PatientSex_DICOM")
    table["sex"] = "" if sex is None else map_column(sex, parse_sex)
    table["age_years"] = _ages(raw)
    columns = finding_columns(raw["Labels"], _findings_and_what_they_are, align)
    table = pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)
    return SourceRows("padchest", table, tuple(columns), csv_names=(where.name,))


def split_findings(cell: str) -> list[str]:
    """``['pleural effusion', ' cardiomegaly']`` -> its names, stripped."""
    return [(single or double).strip() for single, double in _QUOTED.findall(cell)]


def _findings_and_what_they_are(cell: str) -> list[str]:
    findings = split_findings(cell)
    return [
        *findings,
        *(label for label, kinds in KINDS.items() if not {*kinds}.isdisjoint(findings)),
    ]


def _paths(root: Path, raw: pd.DataFrame) -> NDArray[np.object_]:
    names = text_column(raw["ImageID"])
    if "ImageDir" in raw:
        folders = text_column(raw["ImageDir"])
        there = {name for name in set(folders.tolist()) if name and _is_folder(root / name)}
        if there:
            pairs = zip(folders.tolist(), names.tolist(), strict=True)
            return np.asarray([f"{folder}/{name}" for folder, name in pairs], dtype=object)
    folder = "images/" if (root / "images").is_dir() else ""
    found = index_files([root / folder], root)
    return find_images(names, found, folder)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _ages(raw: pd.DataFrame) -> NDArray[np.float64]:
    """Year of the study minus year of birth; NaN where either is unknown."""
    if not {"StudyDate_DICOM", "PatientBirth"} <= set(raw.columns):
        return np.full(len(raw), np.nan)
    study = map_column(raw["StudyDate_DICOM"], lambda cell: parse_number(cell[:4]), float)
    birth = map_column(raw["PatientBirth"], lambda cell: parse_number(cell[:4]), float)
    years = np.asarray(study - birth, dtype=np.float64)
    return np.where((years >= 0) & (years <= 120), years, np.nan)
