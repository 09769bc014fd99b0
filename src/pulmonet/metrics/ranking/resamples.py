"""Resamples of the patients: whole patients are drawn, because their images are no independent
evidence. One sequence of resamples serves every metric, label and run: differences between runs
are then paired, and evaluating again gives the same numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.words import count

#: Bytes that one block of resamples may take; bounds memory whatever the number of rows.
BLOCK_BYTES = 16 * 2**20
#: Bytes of resamples that are kept, so that a second pass need not draw them again.
KEPT_BYTES = 64 * 2**20
#: Where every resample costs time by the row, so many rows x resamples are drawn and no more.
ROW_RESAMPLES = 6_000_000
#: A label with fewer positive (or negative) patients has a value, but no interval and no part in
#: macros and comparisons: what a resample of them shows is mostly how often each was drawn.
MIN_PATIENTS = 5


def number_units(ids: Sequence[str] | None, n_rows: int) -> Ints:
    """(N,) unit numbers 0..U-1 in order of appearance; every row its own unit for None."""
    if ids is None:
        return np.arange(n_rows)
    numbers: dict[str, int] = {}
    return np.asarray([numbers.setdefault(name, len(numbers)) for name in ids], dtype=np.int64)


def class_patients(targets: Floats, units: Ints) -> Ints:
    """(L, 2) patients with a positive and with a negative row of each label of (N, L) targets."""
    return np.asarray(
        [[len(np.unique(units[column == value])) for value in (1, 0)] for column in targets.T]
    ).reshape(-1, 2)


def why_no_interval(n_patients: Ints, least: int = MIN_PATIENTS) -> str | None:
    """Why a label with (2,) positive and negative patients has no interval; None where it has."""
    if (fewest := int(n_patients.min())) >= least:
        return None
    kind = ("positive", "negative")[int(n_patients.argmin())]
    return f"{count(fewest, f'{kind} patient')}, at least {least} are needed"


def class_counts(targets: Floats, units: Ints, n_units: int) -> Array:
    """(U, 2K) positives and negatives of each unit for the K labels that have both classes."""
    columns = []
    for column in np.asarray(targets, np.float64).T:
        both = [
            np.bincount(units[column == value], minlength=n_units).astype(np.float64)
            for value in (1, 0)
        ]
        if both[0].any() and both[1].any():
            columns += both
    return np.stack(columns, axis=1) if columns else np.zeros((n_units, 0))


class PatientResamples:
    """Resamples of the patients with replacement, in blocks, the same at every pass.

    A resample in which a label of `targets` has one class only is drawn again.
    """

    def __init__(self, targets: Floats, units: Ints, n_resamples: int, seed: int) -> None:
        """Every resample needs both classes of the labels of `targets` (N, L) of 1, 0 or NaN.

        `units` (N,) number each row's unit, 0..U-1; draws do not depend on the block size.
        """
        self.n_units = int(units.max()) + 1 if len(units) else 0
        self.n_rows, self.n_resamples, self.seed = len(units), n_resamples, seed
        self._needed = class_counts(targets, units, self.n_units)
        self._kept: NDArray[np.uint16] | None = None

    @property
    def n_by_row(self) -> int:
        """Resamples where each costs time by the row: fewer (at least 100) on many rows."""
        return int(np.clip(ROW_RESAMPLES // max(self.n_rows, 1), 100, self.n_resamples))

    def blocks(self, bytes_per_resample: int | None = None) -> Iterator[NDArray[np.int32]]:
        """How often each unit counts, (R', U) per block; all blocks together have R rows.

        The caller allocates `bytes_per_resample`; None is 32 a row.
        """
        per_resample = bytes_per_resample or 32 * max(self.n_rows, 1)
        height = int(np.clip(BLOCK_BYTES // per_resample, 1, 256))
        if self._kept is not None:
            for start in range(0, self.n_resamples, height):
                yield self._kept[start : start + height].astype(np.int32)
            return
        keep = None
        if 2 * self.n_resamples * self.n_units <= KEPT_BYTES:
            keep = np.empty((self.n_resamples, self.n_units), np.uint16)
        draws = self._draws(int(np.clip(2**20 // max(self.n_units, 1), 1, 64)))
        for start in range(0, self.n_resamples, height):
            n_here = min(height, self.n_resamples - start)
            block = np.stack([next(draws) for _ in range(n_here)])
            if keep is not None:
                keep[start : start + n_here] = block
            yield block
        self._kept = keep  # only a pass that went to the end

    def _draws(self, at_once: int) -> Iterator[NDArray[np.int32]]:
        generator = np.random.default_rng([self.seed, self.n_units])
        while True:
            picks = generator.integers(0, self.n_units, size=(at_once, self.n_units))
            for pick in picks:
                counts = np.bincount(pick, minlength=self.n_units)
                if ((counts @ self._needed) > 0).all():
                    yield counts.astype(np.int32)


@dataclass(frozen=True)
class LabelRows:
    """The N rows of one label whose target is known."""

    targets: Array  # (N,) 1 or 0
    scores: Array  # (N,) in [0, 1]
    units: Ints  # (N,) patient numbers
    resamples: PatientResamples  # of these; their seed is that of folds and simulations, too

    def resampled_sums(self, values: Array, at_most: int | None = None) -> Array:
        """(R, K) sums of values (N, K) over the rows of every resample, or of the first ones."""
        n_units = self.resamples.n_units
        order = np.argsort(self.units, kind="stable")
        present, starts = np.unique(self.units[order], return_index=True)
        of_units = np.zeros((n_units, values.shape[1]))
        of_units[present] = np.add.reduceat(values[order], starts, axis=0)
        sums: list[Array] = []
        for weights in self.resamples.blocks(8 * n_units):
            sums.append(weights.astype(np.float64) @ of_units)
            if at_most is not None and sum(map(len, sums)) >= at_most:
                break
        return np.concatenate(sums)[:at_most]
