"""Where radiologists (or the phantom's painter) say that a finding lies: boxes, segmentations.

Segmentations are CheXlocalize's (Saporta et al. 2022), so that its benchmark can be run. Both of
its files map an image id, ``patient64541_study1_view1_frontal``, to tasks:

- ``gt_segmentations_val.json``: task -> run-length encoded mask ``{"size": [height, width],
  "counts": "..."}`` in COCO's compressed form; all ten tasks, empty masks too.
- ``gt_annotations_val.json``: the lines radiologists drew; ``img_size`` -> [height, width], and
  task -> contours -> [x, y] in pixels; only tasks that are present.

Format: https://github.com/rajpurkarlab/cheXlocalize, README and sample/
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pulmonet.arrays import Array, Flags, Ints, Pixels
from pulmonet.choices import OWN_BOXES
from pulmonet.data.boxes import read_boxes
from pulmonet.data.images.header import MAX_PIXELS
from pulmonet.data.images.square import fit_square, placement
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.files.read import read_text
from pulmonet.labels import align
from pulmonet.run.record import BoxFacts
from pulmonet.words import list_first

#: (row of the manifest, label)
Key = tuple[int, str]

#: A bound for files of strangers, 2 MB for each of CheXlocalize's 500 test studies.
MAX_BYTES = 1_000_000_000

#: CheXlocalize's one departure from CheXpert's label names.
_TASKS = {"Airspace Opacity": "Lung Opacity"}

#: Beside the tasks of an image in ``gt_annotations_*.json``.
_SIZE = "img_size"


def draw_runs(runs: Ints, height: int, width: int) -> Flags:
    """(H, W) mask of run lengths (K,), column by column, outside and inside in turns."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def draw_contours(lines: Sequence[Array], height: int, width: int) -> Flags:
    """(H, W) mask within closed lines (K, 2), x and y, which belong to it.

    As CheXlocalize's ``annotation_to_segmentation.py`` draws them.
    """
    canvas = Image.new("1", (width, height))
    pen = ImageDraw.Draw(canvas)
    for line in lines:
        pen.polygon([(float(x), float(y)) for x, y in line], outline=1, fill=1)
    return np.asarray(canvas, dtype=np.bool_)


@dataclass(frozen=True)
class Region:
    """One finding's place on one image.

    The mask of a segmentation stays in the small form it was published in, and is drawn only when
    asked for: CheXlocalize's 643 of its validation set would fill 4 GB as pixels.
    """

    boxes: Array  # (K, 4) xmin, ymin, xmax, ymax as fractions of the image from its top left
    mask: partial[Flags] | None = None  # instead: draws the whole image's, in its own pixels

    def content(self) -> bytes:
        """What tells it from another one."""
        parts = self.boxes if self.mask is None else self.mask.args[0]
        return b"".join(part.tobytes() for part in parts)

    def on_square(self, side: int, height: int, width: int, fit: str) -> Flags:
        """(S, S) mask on the square that the network sees.

        A pixel belongs to a box when its centre lies inside, to a mask when more than half of it
        does; what is too thin for that keeps the pixels that it touches.

        Height and width, pixels of the image, matter for the fits ``pad`` and ``crop`` only.
        """
        if self.mask is not None:
            mask = self.mask()
            covered = fit_square(mask.astype(np.uint8) * 255, side, fit)
            if not covered.any():  # outside, or too small to make any pixel 1 of 255
                where = placement(mask.shape[0], mask.shape[1], fit)
                edges = (where.y0, where.y1), (where.x0, where.x1)
                return np.asarray(np.histogramdd(np.argwhere(mask) + 0.5, side, edges)[0] > 0)
            return np.asarray(covered > min(127, int(covered.max()) - 1))
        where = placement(height, width, fit)
        square = np.zeros((side, side), dtype=bool)
        for xmin, ymin, xmax, ymax in self.boxes:
            left, right = _pixels(xmin * width, xmax * width, where.x0, where.x1, side)
            top, bottom = _pixels(ymin * height, ymax * height, where.y0, where.y1, side)
            square[top:bottom, left:right] = True
        return square


def _pixels(low: float, high: float, start: float, stop: float, side: int) -> tuple[int, int]:
    """First and last-plus-one pixel of the square between two positions on the image."""
    a, b = ((position - start) / (stop - start) * side for position in (low, high))
    first, last = int(np.ceil(a - 0.5)), int(np.ceil(b - 0.5))
    if last <= first:
        first, last = int(np.floor(a)), int(np.floor(a)) + 1
    return max(first, 0), max(min(last, side), 0)


def read_regions(
    named: Path, manifest: Manifest, warnings: list[str] | None = None
) -> tuple[dict[Key, Region], int, Path]:
    """What ``--boxes`` names: a file, here or in the dataset, or with `OWN_BOXES` the dataset's.

    Returns:
        Regions by (row, label), the number of those whose image is not in the manifest, and the
        file (or the dataset) that they are from.

    Raises:
        DataError: no such file or boxes, or as `read_boxes` and `read_segmentations`.
    """
    path = named if named.exists() or named.is_absolute() else manifest.root / named
    own, tip = manifest.root / "boxes.csv", "name a boxes.csv, or CheXlocalize's JSON, with --boxes"
    if path.exists() and path.suffix.lower() == ".json":
        regions, n_unmatched = read_segmentations(path, manifest)
    elif path.exists():
        regions, n_unmatched = read_box_regions(path, manifest, warnings)
    elif str(named) == OWN_BOXES:
        path = own if own.exists() else manifest.root
        regions, n_unmatched = read_box_regions(None, manifest, warnings)
    else:
        raise DataError(f"--boxes {named}: no such file, here or in {manifest.root}; {tip}")
    if not regions:
        raise DataError(f"{path}: no boxes of images of dataset {manifest.name}; {tip}")
    return regions, n_unmatched, path


def read_box_regions(
    path: Path | None, manifest: Manifest, warnings: list[str] | None = None
) -> tuple[dict[Key, Region], int]:
    """The boxes of `read_boxes` by the image and label that they belong to.

    Returns:
        Regions by (row, label); and the number of boxes whose image is not in the manifest.

    Raises:
        DataError: as `read_boxes`.
    """
    boxes = read_boxes(manifest, path, warnings)
    numbers = {path: row for row, path in enumerate(manifest.table["path"])}
    corners = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
    found: dict[Key, list[Array]] = {}
    n_unmatched = 0
    for image, label, box in zip(boxes["path"], boxes["label"], corners, strict=True):
        row = numbers.get(image, numbers.get(image.removeprefix(f"{manifest.name}/")))
        if row is None:
            n_unmatched += 1
        else:
            found.setdefault((row, label), []).append(box)
    return {key: Region(np.stack(boxes)) for key, boxes in found.items()}, n_unmatched


@dataclass(frozen=True)
class TaughtRegions:
    """Regions of the training rows, from which the pointing loss learns; `facts` describe them."""

    #: Row of the manifest -> column of the label, region, and the image's height and width.
    of_row: Mapping[int, Sequence[tuple[int, Region, int, int]]]
    fit: str
    facts: BoxFacts

    @property
    def rows(self) -> Ints:
        """Manifest rows with a region."""
        return np.asarray(sorted(self.of_row), np.int64)

    def masks(self, rows: Ints, side: int) -> tuple[Ints, Pixels]:
        """Masks (K, R, R) of 0 and 255 on the squares of some rows (B,), as the pack has them.

        And (K, 2): the position in `rows` that each belongs to, and the column of its label.
        """
        found = [
            (position, column, region.on_square(side, height, width, self.fit))
            for position, row in enumerate(rows.tolist())
            for column, region, height, width in self.of_row.get(row, ())
        ]
        pairs = np.asarray([pair[:2] for pair in found], np.int64).reshape(-1, 2)
        masks = np.asarray([mask for *_, mask in found], np.uint8).reshape(-1, side, side)
        return pairs, masks * np.uint8(255)


def read_segmentations(path: Path, manifest: Manifest) -> tuple[dict[Key, Region], int]:
    """Read a CheXlocalize JSON: encoded masks, or the annotators' contours.

    Returns:
        Regions by (row, label), empty masks left out; and the number of masks whose image is
        not in the manifest.

    Raises:
        DataError: not such a file, a damaged mask, or an id that several images have.
    """
    try:
        document: Any = json.loads(read_text(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); check the file") from None
    if not isinstance(document, Mapping):
        raise DataError(f"{path}: expected a table of image ids, as gt_segmentations_val.json")
    paths = manifest.table["path"].tolist()
    rows: dict[str, list[int]] = {}
    for part, _, places in manifest.by_collection(np.arange(len(manifest))):
        for row, name in zip(places.tolist(), map(image_id, part.table["path"]), strict=True):
            rows.setdefault(name, []).append(row)
            rows.setdefault(f"{part.name}/{name}", []).append(row)
    regions: dict[Key, Region] = {}
    n_unmatched = 0
    for image, tasks in document.items():
        if not isinstance(tasks, Mapping):
            raise DataError(f"{path}: {image}: expected a table of tasks, as CheXlocalize has it")
        if len(meant := rows.get(image, [])) > 1:
            way = f"write {paths[meant[0]].partition('/')[0]}/{image}" if manifest.parts else ""
            may_be = list_first(paths[row] for row in meant)
            raise DataError(f"{path}: {image} may mean {may_be}; {way or 'leave one out'}")
        for task, found in tasks.items():
            if task == _SIZE:
                continue
            try:
                mask = _mask(found, tasks.get(_SIZE))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise DataError(
                    f"{path}: {image}, {task}: not a mask ({error}); expected run lengths (size, "
                    "counts), or contours beside img_size; download the file again"
                ) from None
            if mask is not None and meant:
                label = align(_TASKS.get(str(task), str(task)))
                regions[meant[0], label] = Region(np.zeros((0, 4)), mask)
            n_unmatched += mask is not None and not meant
    return regions, n_unmatched


def image_id(path: str) -> str:
    """``valid/patient64541/study1/view1_frontal.jpg`` -> ``patient64541_study1_view1_frontal``."""
    return "_".join(path.rsplit(".", 1)[0].split("/")[-3:])


def _mask(found: Any, size: Any) -> partial[Flags] | None:
    """What draws the mask of one task, as either file has it; None of an empty one."""
    height, width = (int(length) for length in (found["size"] if size is None else size))
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels")
    if size is None:
        runs = decode_runs(found["counts"], height * width)
        return partial(draw_runs, runs, height, width) if runs[1::2].any() else None
    lines = [np.asarray(line, dtype=np.float64) for line in found]
    for line in lines:
        if line.ndim != 2 or line.shape[1] != 2 or not np.isfinite(line).all():
            raise ValueError(f"a contour of shape {line.shape}, not (points, 2)")
        # beyond this, the drawing's own integers overflow
        if np.abs(line).max(initial=0) > 1e6:
            raise ValueError("a point a million pixels off")
    lines = [line for line in lines if len(line) > 1]
    return partial(draw_contours, lines, height, width) if lines else None


def decode_runs(counts: str, n_pixels: int) -> Ints:
    """(K,) run lengths from COCO's compressed form, outside and inside in turns, outside first.

    Each is written in groups of five bits with a sixth for "more follow", 48 added to make it
    printable; from the third run on it is the difference from the run before the last. Source:
    maskApi.c of the COCO API.

    Raises:
        ValueError: the runs do not fill the mask.
    """
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
    if min(runs, default=0) < 0 or sum(runs) != n_pixels:
        raise ValueError(f"runs cover {sum(runs):,} of {n_pixels:,} pixels")
    return np.asarray(runs, dtype=np.int64)
