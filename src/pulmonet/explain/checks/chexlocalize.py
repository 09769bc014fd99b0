"""CheXlocalize's annotations (Saporta et al. 2022), so that its benchmark can be run.

Both of its files map an image id, ``patient64541_study1_view1_frontal``, to tasks:

- ``gt_segmentations_val.json``: task -> run-length encoded mask ``{"size": [height, width],
  "counts": "..."}`` in COCO's compressed form; all ten tasks, empty masks too.
- ``gt_annotations_val.json``: the lines radiologists drew; ``img_size`` -> [height, width], and
  task -> contours -> [x, y] in pixels; only tasks that are present.

Format: https://github.com/rajpurkarlab/cheXlocalize, README and sample/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.explain.checks.masks import Contours, Mask, RunLengths, check_size
from pulmonet.explain.checks.regions import Key, Region
from pulmonet.files.read import read_text
from pulmonet.labels import align

#: A bound for files of strangers, 2 MB for each of CheXlocalize's 500 test studies.
MAX_BYTES = 1_000_000_000

#: CheXlocalize's one departure from CheXpert's label names.
_TASKS = {"Airspace Opacity": "Lung Opacity"}

#: Beside the tasks of an image in ``gt_annotations_*.json``.
_SIZE = "img_size"


def read_segmentations(path: Path, manifest: Manifest) -> tuple[dict[Key, Region], int]:
    """Read a CheXlocalize JSON: encoded masks, or the annotators' contours.

    Args:
        path: ``gt_segmentations_*.json`` or ``gt_annotations_*.json``.
        manifest: its images (CheXpert's valid or test split).

    Returns:
        Regions by (row, label), empty masks left out; and the number of masks whose image is
        not in the manifest.

    Raises:
        DataError: not such a file, or a damaged mask.
    """
    try:
        document: Any = json.loads(read_text(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); check the file") from None
    if not isinstance(document, Mapping):
        raise DataError(f"{path}: expected a table of image ids, as gt_segmentations_val.json")
    rows = {image_id(path): row for row, path in enumerate(manifest.table["path"])}
    regions: dict[Key, Region] = {}
    n_unmatched = 0
    for image, tasks in document.items():
        if not isinstance(tasks, Mapping):
            raise DataError(f"{path}: {image}: expected a table of tasks, as CheXlocalize has it")
        for task, found in tasks.items():
            if task == _SIZE:
                continue
            mask = _mask(found, tasks.get(_SIZE), f"{path}: {image}, {task}")
            if mask.any() and image in rows:
                label = align(_TASKS.get(str(task), str(task)))
                regions[rows[image], label] = Region(np.zeros((0, 4)), mask)
            n_unmatched += mask.any() and image not in rows
    return regions, n_unmatched


def _mask(found: Any, size: Any, where: str) -> Mask:
    """The mask of one task, as either file has it.

    Raises:
        DataError: it is none.
    """
    try:
        if size is not None:
            return _contours(found, size)
        height, width = (int(length) for length in found["size"])
        return decode_mask(found["counts"], height, width)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{where}: not a mask ({error}); expected run lengths (size, counts), or contours "
            "beside img_size; download the file again"
        ) from None


def image_id(path: str) -> str:
    """``valid/patient64541/study1/view1_frontal.jpg`` -> ``patient64541_study1_view1_frontal``."""
    return "_".join(path.rsplit(".", 1)[0].split("/")[-3:])


def _contours(found: Any, size: Any) -> Contours:
    height, width = (int(length) for length in size)
    check_size(height, width)
    lines = [np.asarray(line, dtype=np.float64) for line in found]
    for line in lines:
        if line.ndim != 2 or line.shape[1] != 2 or not np.isfinite(line).all():
            raise ValueError(f"a contour of shape {line.shape}, not (points, 2)")
        # beyond this, the drawing's own integers overflow
        if np.abs(line).max(initial=0) > 1e6:
            raise ValueError("a point a million pixels off")
    return Contours(height, width, [line for line in lines if len(line) > 1])


def decode_mask(counts: str, height: int, width: int) -> RunLengths:
    """A mask from COCO's compressed run lengths.

    Runs alternate between outside and inside, column by column. Each is written in groups of
    five bits with a sixth for "more follow", 48 added to make it printable; from the third run
    on it is the difference from the run before the last. Source: maskApi.c of the COCO API.

    Args:
        counts: the string.
        height: of the mask.
        width: of the mask.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    check_size(height, width)
    runs: list[int] = []
    value = shift = 0
    for position, character in enumerate(counts):
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"character {character!r} at {position}")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the last run is cut off")
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"runs cover {sum(runs):,} of {height * width:,} pixels")
    return RunLengths(height, width, np.asarray(runs, dtype=np.int64))
