"""Which source a folder is, from the files that lie in it; at most one header is looked at."""

from __future__ import annotations

import json
from pathlib import Path

from pulmonet.data.sources.vindr import is_kaggle
from pulmonet.files.read import read_text


def recognise(root: Path) -> str | None:
    """Kind of source of a folder (or of an ``.npz`` file); None where it is none.

    Sources with telling file names come before CheXpert's layout, whose names are plain.
    """
    if root.is_file():
        return "medmnist" if root.suffix == ".npz" else None
    if not root.is_dir():
        return None
    try:
        names = {entry.name for entry in root.iterdir()}
    except OSError:
        return None
    if any(name.startswith("mimic-cxr-2.") for name in names):
        return "mimic"
    if any(name.startswith("Data_Entry_2017") and name.endswith(".csv") for name in names):
        return "nih"
    if any("chest_x_ray_images_labels" in name for name in names):
        return "padchest"
    if names & {"image_labels_train.csv", "image_labels_test.csv"} or (
        (root / "annotations" / "image_labels_train.csv").is_file()
    ):
        return "vindr"
    if "train.csv" in names and is_kaggle(root / "train.csv"):
        return "vindr"
    if names & {"train.csv", "valid.csv", "test.csv", "test_labels.csv", "groundtruth.csv"}:
        return "chexpert"
    if sum(name.endswith(".npz") for name in names) == 1:
        return "medmnist"
    return None


def is_synthetic(root: Path) -> bool:
    """Whether the images are phantoms: ``phantoms.json`` in the root says so."""
    try:
        raw = json.loads(read_text(root / "phantoms.json"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(raw, dict) and bool(raw.get("synthetic"))
