"""`train --boxes`: which boxes the class maps learn from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulmonet.arrays import Ints
from pulmonet.data.images.file import inside_root
from pulmonet.data.images.read import image_size
from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import Region, TaughtRegions, read_regions
from pulmonet.errors import DataError
from pulmonet.files.paths import expand, portable_path
from pulmonet.flows import console
from pulmonet.labels import match_label
from pulmonet.run.record import BoxFacts
from pulmonet.words import list_first


@dataclass(frozen=True)
class TaughtBoxes:
    """What the pointing loss learns from, and what the run's record says of it."""

    regions: TaughtRegions
    facts: BoxFacts

    @property
    def rows(self) -> Ints:
        """Manifest rows with a box that is learned from."""
        return np.asarray(sorted(self.regions.of_row), np.int64)


def find_boxes(
    manifest: Manifest, named: str, rows: Ints, labels: Sequence[str], *, fit: str
) -> TaughtBoxes:
    """The boxes that `named` (``--boxes``) has of the training `rows` and `labels`.

    Raises:
        DataError: no such boxes, or none of these rows and labels.
    """
    warnings: list[str] = []
    found, n_unmatched, path = read_regions(expand(named), manifest, warnings)
    for text in warnings:
        console.warn(text)
    trained = set(rows.tolist())
    columns = {label: match_label(label, labels) for _, label in found}
    of_row: dict[int, list[tuple[int, Region, int, int]]] = {}
    for (row, label), region in sorted(found.items(), key=lambda pair: pair[0]):
        name = columns[label]
        if row in trained and name is not None:
            size = _size(manifest, row) if fit != "stretch" and region.mask is None else (1, 1)
            of_row.setdefault(row, []).append((list(labels).index(name), region, *size))
    if not of_row:
        there = list_first(sorted(columns), 12)
        raise DataError(
            f"--boxes {named}: no box of {list_first(labels)} on a training image; there are "
            f"boxes of {there}; choose other --labels, or leave out --boxes"
        )
    n_others = len(found) - sum(map(len, of_row.values())) + n_unmatched
    return TaughtBoxes(
        TaughtRegions(of_row, fit),
        _facts(manifest, of_row, labels, file=portable_path(path), n_others=n_others),
    )


def _size(manifest: Manifest, row: int) -> tuple[int, int]:
    """Height and width of an image; of one that cannot be read, which packing says, any."""
    path = str(manifest.table["path"].iloc[row])
    try:
        return image_size(inside_root(manifest.root, path, follow_links=manifest.follow_links))
    except DataError:
        return 1, 1


def _facts(
    manifest: Manifest,
    of_row: Mapping[int, Sequence[tuple[int, Region, int, int]]],
    labels: Sequence[str],
    *,
    file: str,
    n_others: int,
) -> BoxFacts:
    patients = manifest.table["patient"].to_numpy(object)
    digest = hashlib.sha256()
    boxes: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    for row in sorted(of_row):
        for column, region, height, width in of_row[row]:
            label = labels[column]
            boxes[label] = boxes.get(label, 0) + max(len(region.boxes), 1)
            rows.setdefault(label, []).append(row)
            digest.update(f"{row},{column},{height},{width}".encode() + region.content())
    return BoxFacts(
        file=file,
        digest=digest.hexdigest(),
        boxes={label: boxes[label] for label in labels if label in boxes},
        images={label: len(rows[label]) for label in labels if label in rows},
        patients={label: len(set(patients[rows[label]])) for label in labels if label in rows},
        n_images=len(of_row),
        n_patients=len(set(patients[sorted(of_row)])),
        n_others=n_others,
    )
