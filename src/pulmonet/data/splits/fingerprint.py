"""Digests that tell whether rows, splits or labels have changed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pulmonet.data.manifest import Manifest


def fingerprint_of_deal(manifest: Manifest) -> str:
    """The same for all folds of one deal: a fingerprint that does not tell train from valid."""
    table = manifest.table
    dealt = np.where(table["split"] == "test", "test", "dealt")
    return fingerprint(replace(manifest, table=table.assign(split=dealt)))


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
