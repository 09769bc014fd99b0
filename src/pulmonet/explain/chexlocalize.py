"""CheXlocalize's segmentations (Saporta et al. 2022), so that its benchmark can be run.

``gt_segmentations_val.json`` and ``..._test.json``: image id -> task -> run-length encoded mask
``{"size": [height, width], "counts": "..."}`` in COCO's compressed form. An image id is
``patient64541_study1_view1_frontal``.
Format: https://github.com/rajpurkarlab/cheXlocalize
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.manifest import Manifest
from pulmonet.data.vocabulary import align
from pulmonet.errors import DataError
from pulmonet.explain.regions import Key, Region

#: CheXlocalize's one departure from CheXpert's label names.
_TASKS = {"Airspace Opacity": "Lung Opacity"}


def read_segmentations(path: Path, manifest: Manifest) -> tuple[dict[Key, Region], int]:
    """Read a CheXlocalize segmentation JSON.

    Args:
        path: ``gt_segmentations_*.json``.
        manifest: its images (CheXpert's valid or test split).

    Returns:
        Regions by (row, label), empty masks left out; and the number of masks whose image is
        not in the manifest.

    Raises:
        DataError: not such a file, or a damaged mask.
    """
    try:
        document: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); check the file") from None
    if not isinstance(document, Mapping):
        raise DataError(f"{path}: expected a table of image ids, as gt_segmentations_val.json")
    rows = {image_id(path): row for row, path in enumerate(manifest.table["path"])}
    no_boxes = np.zeros((0, 4))
    regions: dict[Key, Region] = {}
    n_unmatched = 0
    for image, tasks in document.items():
        if not isinstance(tasks, Mapping):
            raise DataError(f"{path}: {image}: expected a table of tasks, as CheXlocalize has it")
        for task, encoded in tasks.items():
            mask = _decode(encoded, f"{path}: {image}, {task}")
            if not mask.any():
                continue
            if image not in rows:
                n_unmatched += 1
                continue
            regions[rows[image], align(_TASKS.get(str(task), str(task)))] = Region(no_boxes, mask)
    return regions, n_unmatched


def image_id(path: str) -> str:
    """``valid/patient64541/study1/view1_frontal.jpg`` -> ``patient64541_study1_view1_frontal``."""
    return "_".join(path.rsplit(".", 1)[0].split("/")[-3:])


def _decode(encoded: Any, where: str) -> NDArray[np.bool_]:
    try:
        height, width = (int(size) for size in encoded["size"])
        return decode_mask(encoded["counts"], height, width)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: not a run-length encoded mask ({error}); download the file again"
        ) from None


def decode_mask(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """A mask from COCO's compressed run lengths.

    Runs alternate between outside and inside, column by column. Each is written in groups of
    five bits with a sixth for "more follow", 48 added to make it printable; from the third run
    on it is the difference from the run before the last. Source: maskApi.c of the COCO API.

    Args:
        counts: the string.
        height: of the mask.
        width: of the mask.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    runs: list[int] = []
    position = 0
    while position < len(counts):
        value = shift = 0
        more = True
        while more:
            if position >= len(counts):
                raise ValueError("the last run is cut off")
            group = ord(counts[position]) - 48
            if not 0 <= group < 64:
                raise ValueError(f"character {counts[position]!r} at {position}")
            value |= (group & 0x1F) << shift
            shift += 5
            position += 1
            more = bool(group & 0x20)
            if not more and group & 0x10:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"runs cover {sum(runs):,} of {height * width:,} pixels")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T
