"""`train --boxes`: which boxes the class maps learn from."""

import hashlib
from collections import Counter
from collections.abc import Sequence

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


def find_boxes(
    manifest: Manifest, named: str, rows: Ints, labels: Sequence[str], *, fit: str
) -> TaughtRegions:
    """The boxes that `named` (``--boxes``) has of the training `rows` and `labels`.

    Raises:
        DataError: no such boxes, or none of these rows and labels.
    """
    warnings: list[str] = []
    found, n_unmatched, path = read_regions(expand(named), manifest, warnings)
    for text in warnings:
        console.warn(text)
    trained, patients = set(rows.tolist()), manifest.table["patient"].to_numpy(object)
    names = {label: match_label(label, labels) for _, label in found}
    of_row: dict[int, list[tuple[int, Region, int, int]]] = {}
    taught: dict[str, list[int]] = {label: [] for label in labels}  # rows
    n_boxes, digest = Counter[str](), hashlib.sha256()
    for (row, label), region in sorted(found.items(), key=lambda pair: pair[0]):
        name = names[label]
        if row in trained and name is not None:
            size = _size(manifest, row) if fit != "stretch" and region.mask is None else (1, 1)
            column = labels.index(name)
            of_row.setdefault(row, []).append((column, region, *size))
            taught[name].append(row)
            n_boxes[name] += max(len(region.boxes), 1)
            digest.update(f"{row},{column},{size[0]},{size[1]}".encode() + region.content())
    if not of_row:
        there = list_first(sorted(names), 12)
        raise DataError(
            f"--boxes {named}: no box of {list_first(labels)} on a training image; there are "
            f"boxes of {there}; choose other --labels, or leave out --boxes"
        )
    of_label = {label: own for label, own in taught.items() if own}
    facts = BoxFacts(
        file=portable_path(path),
        digest=digest.hexdigest(),
        boxes={label: n_boxes[label] for label in of_label},
        images={label: len(own) for label, own in of_label.items()},
        patients={label: len(set(patients[own])) for label, own in of_label.items()},
        n_images=len(of_row),
        n_patients=len(set(patients[[*of_row]])),
        n_others=len(found) - sum(map(len, taught.values())) + n_unmatched,
    )
    return TaughtRegions(of_row, fit, facts)


def _size(manifest: Manifest, row: int) -> tuple[int, int]:
    """Height and width of an image; of one that cannot be read, which packing says, any."""
    path = str(manifest.table["path"].iloc[row])
    try:
        return image_size(inside_root(manifest.root, path, follow_links=manifest.follow_links))
    except DataError:
        return 1, 1
