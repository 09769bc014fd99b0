"""Do maps point at the finding? Pointing game, IoU, energy, against four baselines.

Every number stands beside what needs no look at the image: where boxes of other patients lie
densest, their mean box, the image centre, and the same method on randomised networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.explain.results import Difference, LabelLocalization, MethodLocalization
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.intervals import estimate
from pulmonet.metrics.ranking.resamples import PatientResamples, number_units

#: Shares of a map's maximum that the IoU threshold is chosen from.
THRESHOLDS = np.arange(1, 20) / 20


@dataclass(frozen=True)
class MapScores:
    """How one map agrees with one region."""

    hit: float  # 1 where the map's maximum lies in the region, else 0; 0 for an all-zero map
    energy: float  # share of the map's sum inside the region; 0 for an all-zero map
    ious: Array  # (T,) intersection over union of region and map at each of `THRESHOLDS`


def score_map(heat: Floats, region: Flags) -> MapScores:
    """Agreement of an (S, S) map, not negative, with a region, an (S, S) mask.

    Sources: pointing game, Zhang et al. 2018 (without a tolerance around the region); energy,
    Wang et al. 2020 (Score-CAM).
    """
    total = float(heat.sum())
    if total <= 0 or not region.any():
        return MapScores(0.0, 0.0, np.zeros(len(THRESHOLDS)))
    hit = float(region.reshape(-1)[int(heat.argmax())])
    inside = heat[region]
    energy = float(inside.sum()) / total
    # pixels at or above each threshold, from one sort instead of a pass per threshold
    levels = THRESHOLDS * float(heat.max())
    everywhere = heat.size - np.searchsorted(np.sort(heat, axis=None), levels)
    within = inside.size - np.searchsorted(np.sort(inside), levels)
    return MapScores(hit, energy, within / (everywhere + inside.size - within))


def prior_density(regions: Sequence[Flags]) -> Array:
    """(S, S) share of the given regions that cover each pixel."""
    return np.asarray(np.mean(np.stack(regions), axis=0))


def mean_box(regions: Sequence[Flags]) -> Array:
    """(S, S) map of the mean extent of the given regions; its maximum is the box's centre.

    Regions that lie outside the square (beyond a crop) have no extent; all zero without others.
    """
    inside = [np.nonzero(region) for region in regions if region.any()]
    corners = [(y.min(), y.max() + 1, x.min(), x.max() + 1) for y, x in inside]
    heat = np.zeros(regions[0].shape)
    if not corners:
        return heat
    top, bottom, left, right = np.round(np.mean(corners, axis=0)).astype(int)
    heat[top:bottom, left:right] = 1.0
    # a hair above the rest, so that the pointing game has one point to judge
    heat[(top + bottom) // 2, (left + right) // 2] = 1.0 + 1e-9
    return heat


def image_centre(side: int) -> Array:
    """(S, S) cone that falls from 1 at the centre to 0 in the corners."""
    offsets = (np.arange(side) + 0.5) / side - 0.5
    distances = np.hypot(offsets[:, None], offsets)
    return np.asarray(1 - distances / distances.max())


def tuned_ious(ious: Array, units: Ints) -> tuple[Array, float | None]:
    """(N,) IoU of each case at the threshold that is best on all other patients.

    From (N, T) IoU per case and threshold, and the (N,) patients' numbers. NaN where there is no
    other patient. And the threshold most often chosen.
    """
    sums = np.zeros((int(units.max()) + 1, ious.shape[1]))
    np.add.at(sums, units, ious)
    counts = np.bincount(units)
    if len(counts) < 2:
        return np.full(len(ious), np.nan), None
    others = (sums.sum(axis=0) - sums) / (counts.sum() - counts)[:, None]
    chosen = others.argmax(axis=1)[units]
    return ious[np.arange(len(ious)), chosen], float(THRESHOLDS[np.bincount(chosen).argmax()])


def compare_with_baselines(
    scores: Mapping[str, Sequence[MapScores]],
    patients: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]],
    n_resamples: int = 1000,
) -> LabelLocalization:
    """One label's table: what is under test and its baselines, intervals, paired differences.

    `scores` has N `MapScores` of each row of the table, case by case in one order; a baseline that
    could not be computed is left out, and so are `pairs` (row under test, baseline) with it. Whole
    `patients` (N ids) are resampled, the same for all rows.
    """
    units = number_units(patients, len(patients))
    resamples = PatientResamples(np.empty((len(units), 0)), units, n_resamples, seed=0)
    weights = np.concatenate([*resamples.blocks()])[:, units]

    def mean(values: Array) -> Estimate:
        if np.isnan(values).any():
            why = "one patient only: no other to tune the threshold on"
            return Estimate(value=None, reason=why)
        if resamples.n_units < 6:  # five may agree by luck: two-sided, p = 0.06
            return Estimate(value=float(values.mean()), reason="fewer than 6 patients: no interval")
        return estimate(values.mean(), weights @ values / weights.sum(axis=1))

    values: dict[str, dict[str, Array]] = {}
    rows: dict[str, MethodLocalization] = {}
    for name, cases in scores.items():
        tuned, threshold = tuned_ious(np.stack([case.ious for case in cases]), units)
        values[name] = {
            "pointing": np.asarray([case.hit for case in cases]),
            "iou": tuned,
            "energy": np.asarray([case.energy for case in cases]),
        }
        means = {metric: mean(found) for metric, found in values[name].items()}
        rows[name] = MethodLocalization(**means, iou_threshold=threshold)
    differences = []
    for row, baseline in pairs:
        for metric in values[row] if row in values and baseline in values else ():
            found = mean(values[row][metric] - values[baseline][metric])
            apart = (found.low or 0.0) * (found.high or 0.0) > 0  # both on one side
            facts = {"row": row, "metric": metric, "baseline": baseline}
            differences.append(Difference(**facts, difference=found, distinguished=apart))
    return LabelLocalization(
        n_images=len(patients), n_patients=resamples.n_units, rows=rows, differences=differences
    )
