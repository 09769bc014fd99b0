"""`train --boxes`: which boxes the class maps learn from."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pulmonet.arrays import Ints
from pulmonet.config.fields import RunConfig
from pulmonet.data.boxes import picture_size
from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import Region, TaughtRegions, read_regions
from pulmonet.errors import DataError
from pulmonet.files.paths import expand, portable_path
from pulmonet.flows import console
from pulmonet.labels import match_label
from pulmonet.run.record import BoxFacts
from pulmonet.words import count, list_first


def find_boxes(
    manifest: Manifest, config: RunConfig, rows: Ints, labels: Sequence[str]
) -> TaughtRegions | None:
    """The boxes that ``--boxes`` names of the training `rows` and `labels`; None without it.

    Raises:
        DataError: no such boxes, or none of these rows and labels.
    """
    named, fit = config.pointing.boxes, config.data.fit
    if named is None:
        return None
    warnings: list[str] = []
    found, n_unmatched, path = read_regions(expand(named), manifest, warnings)
    for text in warnings:
        console.warn(text)
    trained, patients = set(rows.tolist()), manifest.table["patient"].to_numpy(object)
    names = {label: match_label(label, labels) for _, label in found}
    of_row: dict[int, list[tuple[int, Region, int, int]]] = {}
    taught: dict[str, Counter[int]] = {label: Counter() for label in labels}  # row -> boxes
    digest = hashlib.sha256()
    for (row, label), region in sorted(found.items(), key=lambda pair: pair[0]):
        name = names[label]
        if row in trained and name is not None:
            height = width = 1  # where it does not matter, and of what cannot be read
            if fit != "stretch" and region.mask is None:
                part, number = manifest.own_row(row)
                size = picture_size(part, part.table["path"].iloc[number])
                width, height = np.nan_to_num(size, nan=1).astype(int)
            column = labels.index(name)
            of_row.setdefault(row, []).append((column, region, int(height), int(width)))
            taught[name][row] += max(len(region.boxes), 1)
            digest.update(f"{row},{column},{height},{width}".encode() + region.content())
    if not of_row:
        n_held = sum(names[label] is not None for _, label in found)
        there = f"there are boxes of {list_first(sorted(names), 12)}; choose other --labels"
        held = f"the {n_held:,} that there are lie on others; move their patients with --splits"
        what = f"--boxes {named}: no box of {list_first(labels)} on a training image"
        raise DataError(f"{what}; {held if n_held else there}, or leave out --boxes")
    of_label = {label: own for label, own in taught.items() if own}
    facts = BoxFacts(
        file=portable_path(path),
        digest=digest.hexdigest(),
        boxes={label: own.total() for label, own in of_label.items()},
        images={label: len(own) for label, own in of_label.items()},
        patients={label: len(set(patients[[*own]])) for label, own in of_label.items()},
        n_images=len(of_row),
        n_patients=len(set(patients[[*of_row]])),
    )
    others = sorted({name for name, known in names.items() if known is None})
    if n_others := sum(label in others for _, label in found):
        what = f"left out {count(n_others, 'region')} of {list_first(others, 12)}: not among the"
        console.note(f"{what} labels trained on; data.auxiliary_labels adds any that the data have")
    if n_held := len(found) - sum(map(len, taught.values())) - n_others + n_unmatched:
        console.note(f"left out {count(n_held, 'region')} of images that are not trained on")
    return TaughtRegions(of_row, fit, facts)
