"""Manifest: the checked rows of a dataset, and digests that tell whether they have changed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.arrays import Floats32, Ints

#: Column of the rows of several collections: which one a row is of.
COLLECTION = "collection"


@dataclass(frozen=True)
class Manifest:
    """Checked rows of one dataset: one row an image.

    `table` has a RangeIndex and the columns path (str, relative to root, POSIX), split
    (train|valid|test), patient (str), study (str, unique across patients), view
    (AP|PA|LATERAL|FRONTAL|""), sex (Male|Female|""), age_years (float, NaN unknown), each label
    (float32: 1, 0, -1, NaN blank), then the `joined` columns.
    """

    name: str  # the root's folder name
    root: Path
    source: str  # kind of source, e.g. ``chexpert``
    labels: tuple[str, ...]  # all that the source has, in the vocabulary's spelling
    table: pd.DataFrame
    joined: tuple[str, ...] = ()
    synthetic: bool = False  # whether the images are phantoms
    follow_links: bool = False  # whether images may lie behind links out of the root
    unread: tuple[str, ...] = ()  # tables and lists in the root that no reader took
    patients_known: bool = True  # False where the source has none and each image counts as one
    same_patients: frozenset[str] = frozenset()  # collections whose patient ids mean the same
    #: The collections that the rows are of, one below the other; none where it is one itself.
    parts: tuple["Manifest", ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def facts(self) -> dict[str, Any]:
        """What records and reports say of it."""
        names = ("name", "source", "synthetic", "patients_known")
        return {name: getattr(self, name) for name in names}

    def raw_labels(self, labels: tuple[str, ...]) -> Floats32:
        """(N, L) float32 of 1, 0, -1 and NaN, in the order of `labels`."""
        return self.table[list(labels)].to_numpy(np.float32)

    def by_collection(self, rows: Ints) -> Iterator[tuple["Manifest", Ints, Ints]]:
        """Each collection, the numbers that its part of `rows` has there, and places in `rows`."""
        start = 0
        for part in self.parts or (self,):
            places = np.flatnonzero((rows >= start) & (rows < start + len(part)))
            yield part, np.asarray(rows[places] - start), places
            start += len(part)

    def own_row(self, row: int) -> tuple["Manifest", int]:
        """The collection that a row is of, and its number there."""
        for part, rows, _ in self.by_collection(np.asarray([row])):
            if len(rows):
                return part, int(rows[0])
        raise IndexError(row)


def fingerprint_of_deal(manifest: Manifest) -> str:
    """The same for all folds of one deal: a fingerprint that does not tell train from valid."""
    table = manifest.table
    dealt = np.where(table["split"] == "test", "test", "dealt")
    return fingerprint(replace(manifest, table=table.assign(split=dealt)))


def fingerprint_of_rows(manifest: Manifest) -> str:
    """The same whatever the splits: a fingerprint of paths, patients and labels alone."""
    return fingerprint(replace(manifest, table=manifest.table.assign(split="")))


def patients_by_split(manifest: Manifest) -> dict[str, str]:
    """SHA-256 (hex) of the patients of each split that has rows, whatever the order of the rows."""
    table = manifest.table
    return {
        str(split): hashlib.sha256(
            "\n".join(sorted(set(patients))).encode("utf-8", "surrogatepass")
        ).hexdigest()
        for split, patients in table["patient"].groupby(table["split"].to_numpy(object))
    }


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 (hex) of the paths, splits, patients and labels of all rows, in order."""
    digest = hashlib.sha256()
    for column in ("path", "split", "patient"):
        text = "\n".join(manifest.table[column].to_numpy(object))
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    digest.update("\n".join(manifest.labels).encode("utf-8", "surrogatepass") + b"\0")
    values = np.where(np.isnan(raw := manifest.raw_labels(manifest.labels)), np.float32(9), raw)
    digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()
