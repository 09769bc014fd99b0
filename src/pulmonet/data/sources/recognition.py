"""Which source a folder is: the table of all sources, and what tells them apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pulmonet.data.sources import chexpert, medmnist, mimic, nih, padchest, vindr
from pulmonet.files.read import read_text

#: Kind of source -> its module with ``recognises`` and ``read``, in the order in which a folder is
#: tried: telling file names come before CheXpert's, which are plain.
SOURCES = {
    "mimic": mimic,
    "nih": nih,
    "padchest": padchest,
    "vindr": vindr,
    "chexpert": chexpert,
    "medmnist": medmnist,
}


def recognise(root: Path) -> str | None:
    """Kind of source of a folder (or of an ``.npz`` file); None where it is none."""
    if root.is_file():
        return "medmnist" if root.suffix == ".npz" else None
    if not root.is_dir():
        return None
    try:
        names = {entry.name for entry in root.iterdir()}
    except OSError:
        return None
    return next((kind for kind, one in SOURCES.items() if one.recognises(root, names)), None)


def is_synthetic(root: Path) -> bool:
    """Whether the images are phantoms: ``phantoms.json`` in the root says so."""
    return bool(json_object(root / "phantoms.json").get("synthetic"))


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none or it is damaged."""
    try:
        raw = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}
