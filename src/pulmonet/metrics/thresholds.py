"""Thresholds, and what they do on rows that did not choose them.

A threshold is chosen on another split, or cross-fitted: each fold of patients is judged at the
threshold that the other folds chose. Under the bootstrap the choice is made anew in every
resample, and all copies of a patient stay in the patient's fold, so that no patient helps to
choose the threshold it is judged at. Cross-fitted numbers describe the procedure, not the one
threshold that is stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.metrics.calibration.fit import cross_fitted, patient_folds
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import OperatingPoint
from pulmonet.metrics.options import DEFAULT_CRITERIA
from pulmonet.metrics.ranking.intervals import estimate
from pulmonet.metrics.ranking.resamples import LabelRows
from pulmonet.metrics.shares import likelihood_ratio, ratio

Counts = NDArray[np.int32]


def _gain(criterion: str) -> Callable[[Counts, Counts, Counts, Counts], Array]:
    """What is maximised, from true and false positives (..., G) and class totals (..., 1).

    Thresholds are in descending order, and the first maximum is taken: the highest threshold
    among equally good ones.
    """
    name, _, text = criterion.partition("=")
    wanted = float(text) if text else 0.0

    def gain(tp: Counts, fp: Counts, n_pos: Counts, n_neg: Counts) -> Array:
        sensitivity = tp / np.maximum(n_pos, 1)
        specificity = 1 - fp / np.maximum(n_neg, 1)
        if name == "youden":
            return np.asarray(sensitivity + specificity)
        if name == "f1":
            return np.asarray(2 * tp / np.maximum(tp + fp + n_pos, 1))
        if name == "sensitivity":  # the highest threshold that reaches it
            return np.asarray((sensitivity >= wanted - 1e-12) + 1e-9 * specificity)
        if name == "specificity":  # the lowest threshold that keeps it
            kept = specificity >= wanted - 1e-12
            return np.asarray(np.where(kept, 1 + sensitivity, specificity - 1))
        kept = tp / np.maximum(tp + fp, 1) >= wanted - 1e-12  # ppv: most sensitive that keeps it
        return np.asarray(np.where(kept & (tp > 0), 1 + sensitivity, -1.0))

    return gain


def choose_threshold(targets: Floats, scores: Floats, criterion: str) -> float | None:
    """The threshold that a criterion picks on these rows; positive means score >= threshold.

    An observed score of `scores` (N,), for targets (N,) of 1 or 0 and youden, f1, sensitivity=S,
    specificity=S or ppv=S; None with one class only, or where nothing reaches the wanted PPV.
    """
    positive = np.asarray(targets) == 1
    if positive.all() or not positive.any():  # also of no rows: all known ones in one fold
        return None
    grid = _Grid.of(targets, scores, np.arange(len(targets)))
    gains = _gain(criterion)(*grid.cumulated(np.ones((1, len(targets)), np.int32)))[0]
    best = int(gains.argmax())
    return None if gains[best] < 0 else float(grid.thresholds[best])


@dataclass(frozen=True)
class _Grid:
    """Candidate thresholds, descending: the scores of positives, and the highest score.

    No criterion prefers a threshold between two positives to the one at the upper of them: fewer
    negatives are called there, and as many positives. The highest score is what is taken where
    no threshold is any good.
    """

    thresholds: Array  # (G,)
    n_positives: Ints  # (G,) positive rows at or above each
    n_negatives: Ints  # (G,) negative rows at or above each
    positive_units: Ints  # (P,) highest score first
    negative_units: Ints  # (Q,) highest score first

    @classmethod
    def of(cls, targets: Floats, scores: Floats, units: Ints) -> "_Grid":
        values, positive = np.asarray(scores, np.float64), np.asarray(targets) == 1
        rows = [np.flatnonzero(positive), np.flatnonzero(~positive)]
        rows = [of_class[np.argsort(-values[of_class], kind="stable")] for of_class in rows]
        falling = -np.unique(-np.append(values[rows[0]], values.max()))
        n_above = [np.searchsorted(-values[of_class], -falling, "right") for of_class in rows]
        return cls(falling, *n_above, *(units[of_class] for of_class in rows))

    def cumulated(self, weights: NDArray[np.int32]) -> tuple[Counts, Counts, Counts, Counts]:
        """True and false positives (R, G) and class totals (R, 1) under weights (R, U)."""
        tp, n_pos = _running(weights, self.positive_units, self.n_positives)
        fp, n_neg = _running(weights, self.negative_units, self.n_negatives)
        return tp, fp, n_pos, n_neg


def _running(weights: NDArray[np.int32], units: Ints, n_first: Ints) -> tuple[Counts, Counts]:
    """Weight of the first rows, for each number of them (R, G), and of all rows (R, 1)."""
    sums = np.zeros((len(weights), len(units) + 1), np.int32)
    np.cumsum(np.take(weights, units, axis=1), axis=1, dtype=np.int32, out=sums[:, 1:])
    return np.take(sums, n_first, axis=1), sums[:, -1:]


def cross_fitted_calls(rows: LabelRows, criterion: str) -> Flags | None:
    """(N,) calls, each at a threshold that other folds of patients chose; None if none can be."""

    def fit(targets: Array, scores: Array) -> Callable[[Array], Flags] | None:
        threshold = choose_threshold(targets, scores, criterion)
        return None if threshold is None else partial(np.less_equal, threshold)

    called = cross_fitted(rows, fit)
    return None if called is None else called == 1


def _cross_fitted_counts(rows: LabelRows, criteria: Sequence[str]) -> tuple[Array, Array]:
    """(C, R', 4) tp, fp, tn, fn per criterion and resample, thresholds chosen anew in each.

    And (C, R') the threshold that all rows of the resample choose; NaN where none reaches it.
    """
    folds = patient_folds(rows.targets, rows.units, seed=rows.resamples.seed)
    grid = _Grid.of(rows.targets, rows.scores, rows.units)
    gains = [_gain(criterion) for criterion in criteria]
    blocks, chosen, n_done = [], [], 0
    for weights in rows.resamples.blocks(100 * len(rows.targets)):
        counts = np.zeros((len(criteria), len(weights), 4))
        held_out = [
            grid.cumulated(weights * (folds == fold).astype(np.int32)) for fold in np.unique(folds)
        ]
        whole: list[Any] = [
            np.sum(parts, axis=0, dtype=np.int32) for parts in zip(*held_out, strict=True)
        ]
        for held in held_out:
            for_choice = [total - part for total, part in zip(whole, held, strict=True)]
            tp, fp, n_pos, n_neg = held
            for index, gain in enumerate(gains):
                best = gain(*for_choice).argmax(axis=1)[:, None]
                hits, alarms = np.take_along_axis(tp, best, 1), np.take_along_axis(fp, best, 1)
                counts[index] += np.hstack([hits, alarms, n_neg - alarms, n_pos - hits])
        blocks.append(counts)
        found = np.stack([gain(*whole) for gain in gains])
        bests = grid.thresholds[found.argmax(axis=2)]
        chosen.append(np.where(found.max(axis=2) >= 0, bests, np.nan))
        n_done += len(weights)
        if n_done >= rows.resamples.n_by_row:
            break
    return np.concatenate(blocks, axis=1), np.concatenate(chosen, axis=1)


def _confusion(targets: Floats, called: Flags) -> Array:
    """(N, 4) one-hot true positive, false positive, true negative, false negative."""
    positive = np.asarray(targets) == 1
    return np.stack(
        [positive & called, ~positive & called, ~positive & ~called, positive & ~called], axis=1
    ).astype(np.float64)


def rates(counts: Array, prevalence: float | None = None) -> dict[str, Array]:
    """Sensitivity, specificity, ppv, npv and f1 of counts (..., 4); NaN where undefined.

    With a stated `prevalence` its PPV and NPV, too.
    """
    tp, fp, tn, fn = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        found = {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
        }
        if prevalence is not None:  # by Bayes' rule
            hit, alarm = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            right, miss = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
            found["ppv_at_deployment"] = hit / (hit + alarm)
            found["npv_at_deployment"] = right / (right + miss)
    return found


def operating_points(
    rows: LabelRows,
    *,
    criteria: Sequence[str] = DEFAULT_CRITERIA,
    stored: Mapping[str, float | None] | None = None,
    chosen_on: str | None = None,
    prevalence: float | None = None,
) -> list[OperatingPoint]:
    """Operating points of one label, with both classes, on rows that did not choose the thresholds.

    `stored` ones were chosen on `chosen_on`: what they do comes first, then what choosing them on
    rows like these does (cross-fitted). `prevalence` is that of the deployment, for further PPV and
    NPV.
    """
    points = []
    for name in criteria if stored is not None else ():
        facts = {"criterion": name, "chosen_on": chosen_on, "deployment_prevalence": prevalence}
        points.append(_fixed_point(rows, facts, (stored or {}).get(name)))
    for name, drawn, cuts in zip(criteria, *_cross_fitted_counts(rows, criteria), strict=True):
        called = cross_fitted_calls(rows, name)
        counts, own = np.full(4, np.nan), None
        if called is not None:
            counts = _confusion(rows.targets, called).sum(axis=0)
            own = None if stored is not None else choose_threshold(rows.targets, rows.scores, name)
        facts = {
            "criterion": name,
            "chosen_on": "these rows, cross-fitted by patient in 5 folds",
            "threshold": own,
            "estimates": "procedure",
            "n_resamples": len(drawn),
            "deployment_prevalence": prevalence,
        }
        values, spread = (rates(table, prevalence) for table in (counts, drawn))
        found = {
            of: estimate(value, spread[of]) if np.isfinite(value) else Estimate(value=None)
            for of, value in values.items()
        }
        found |= {} if own is None else {"threshold_estimate": estimate(own, cuts)}
        points.append(_point(facts, counts, found))
    return points


def _fixed_point(
    rows: LabelRows, facts: Mapping[str, Any], threshold: float | None
) -> OperatingPoint:
    """What a threshold that other rows chose does; intervals take patients as clusters."""
    facts = {**facts, "threshold": threshold, "estimates": "threshold"}
    called = rows.scores >= (np.inf if threshold is None else threshold)
    of_rows = _confusion(rows.targets, called)
    tp, fp, tn, fn = of_patients = np.stack([np.bincount(rows.units, one) for one in of_rows.T])
    if threshold is None:
        nothing = dict.fromkeys(rates(np.zeros(4)), Estimate(value=None))
        return _point(facts, np.full(4, np.nan), nothing)
    classes = np.stack([tp + fn, fp + tn], axis=1)
    found = {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "positive_likelihood_ratio": likelihood_ratio(np.stack([tp, fp], axis=1), classes),
        "negative_likelihood_ratio": likelihood_ratio(np.stack([fn, tn], axis=1), classes),
    }
    if prevalence := facts["deployment_prevalence"]:
        odds, values = prevalence / (1 - prevalence), rates(of_patients.sum(axis=1), prevalence)
        for name, kind, sign in (("ppv", "positive", 1), ("npv", "negative", -1)):
            of = found[f"{kind}_likelihood_ratio"]
            ends = [
                None if end is None else 1 / (1 + (odds * end) ** -sign)
                for end in (of.low, of.high)
            ]
            low, high = ends[::sign]
            value = float(values[f"{name}_at_deployment"])
            found[f"{name}_at_deployment"] = Estimate(value=value, low=low, high=high)
    return _point(facts, of_patients.sum(axis=1), found)


def _point(
    facts: Mapping[str, Any], counts: Array, estimates: Mapping[str, Estimate]
) -> OperatingPoint:
    """The record of counts (4,), all of them NaN without a threshold."""
    known = bool(np.isfinite(counts).all())
    reason = None if known else "no threshold reaches it, or too few patients to cross-fit"
    found = {
        name: Estimate(value=None, reason=one.reason or reason or "no row is called so")
        if one.value is None
        else one
        for name, one in estimates.items()
    }
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    confusion = dict(zip(names, (int(count) if known else 0 for count in counts), strict=True))
    return OperatingPoint.model_validate(
        {**facts, **found, "confusion": confusion, "reason": reason}
    )
