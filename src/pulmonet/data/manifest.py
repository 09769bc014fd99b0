"""Manifest: the checked rows of a dataset, whatever source they came from. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


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
    patients_known: bool = True  # False where the source has none and each image counts as one

    def __len__(self) -> int:
        return len(self.table)

    def raw_labels(self, labels: tuple[str, ...]) -> NDArray[np.float32]:
        """(N, L) float32 of 1, 0, -1 and NaN, in the order of `labels`."""
        return self.table[list(labels)].to_numpy(np.float32)
