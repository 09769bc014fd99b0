"""PadChest (Bustos et al. 2020, arXiv:1901.07441): a list of findings an image, 16-bit PNGs."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from pulmonet.data.sources import rows
from pulmonet.data.tables import find_tables, id_column, parse_number, read_csv, text_column

#: Label -> findings that are kinds of it (the tree of the paper's appendix): a plate-like
#: atelectasis is one, and must not count as a negative. They stay labels of their own, too.
KINDS = {
    "Atelectasis": (
        *("laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "round atelectasis"),
        *("total atelectasis", "atelectasis basal"),
    ),
    "Pleural Effusion": (
        *("loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax"),
    ),
    "Pneumothorax": ("hydropneumothorax",),
    "Pneumonia": ("atypical pneumonia",),
    "Fracture": (
        *("rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture"),
        *("vertebral fracture",),
    ),
    "Nodule": ("multiple nodules",),
    "Pleural Thickening": ("apical pleural thickening", "calcified pleural thickening"),
    "Support Devices": (
        *("pacemaker", "electrical device", "single chamber device", "dual chamber device"),
        *("catheter", "central venous catheter", "central venous catheter via jugular vein"),
        *("central venous catheter via subclavian vein",),
        *("central venous catheter via umbilical vein", "reservoir central venous catheter"),
        *("endotracheal tube", "tracheostomy tube", "NSG tube", "chest drain tube"),
        *("gastrostomy tube", "ventriculoperitoneal drain tube", "artificial heart valve"),
        *("artificial aortic heart valve", "artificial mitral heart valve"),
    ),
}

_TABLE = "*chest_x_ray_images_labels*"

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By the name of its CSV."""
    return bool(find_tables(root, _TABLE))


def read(root: Path) -> rows.SourceRows:
    """``…chest_x_ray_images_labels…csv``; images in ``<ImageDir>/``, or anywhere."""
    where = find_tables(root, _TABLE)[-1]
    raw = read_csv(where, ("ImageID", "PatientID", "Labels"))
    study, birth = (
        rows.column_or(raw, [name], lambda cell: parse_number(cell[:4]), np.nan)
        for name in ("StudyDate_DICOM", "PatientBirth")
    )
    age = np.asarray(study - birth, np.float64)
    return rows.source_rows(
        rows.column_or(raw, ["ImageDir"], lambda name: name and f"{name}/")
        + text_column(raw["ImageID"]),
        rows.finding_columns(raw["Labels"], _findings),
        patient=id_column(raw["PatientID"], where),
        study=rows.column_or(raw, ["StudyID", "ImageID"], str),
        view=rows.column_or(raw, ["Projection", "ViewPosition_DICOM"], rows.parse_view),
        sex=rows.column_or(raw, ["PatientSex_DICOM"], rows.parse_sex),
        age_years=np.where((age >= 0) & (age <= 120), age, np.nan),
    )


def _findings(cell: str) -> list[str]:
    """``['pleural effusion', ' cardiomegaly']`` -> its names, stripped, and what they are."""
    names = [(single or double).strip() for single, double in _QUOTED.findall(cell)]
    names = [] if "exclude" in names else names
    return names + [label for label, kinds in KINDS.items() if not {*kinds}.isdisjoint(names)]
