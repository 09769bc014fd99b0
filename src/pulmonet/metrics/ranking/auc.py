"""AUROC and average precision, exact under ties, for one weighting of the rows or many.

Both are functions of how positives and negatives are ordered, so the rows are sorted once
(`Ranking`) and every bootstrap resample is only another set of weights on the same order: a
resample costs two gathers and two cumulative sums instead of a sort. Equal to scikit-learn's
``roc_auc_score`` and ``average_precision_score`` to 1e-9, float64 throughout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulmonet.arrays import Array, Flags, Floats, Ints


@dataclass(frozen=True)
class Ranking:
    """Rows with a known target, sorted by score, highest first."""

    positive_units: Ints  # (P,) unit (patient) of each positive row, highest score first
    negative_units: Ints  # (Q,) unit of each negative row, highest score first
    n_negatives_above: Ints  # (P,) negatives with a strictly higher score than the positive
    n_negatives_from: Ints  # (P,) negatives with an equal or higher score
    last_of_tie: Ints  # (P,) index of the last positive with the same score

    @property
    def one_class(self) -> bool:
        """Whether there is no positive or no negative row."""
        return not (len(self.positive_units) and len(self.negative_units))


def check_scores(scores: Floats) -> None:
    """Refuse anything but scores in [0, 1]. ValueError: NaN, or outside [0, 1] (logits, say)."""
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):  # False for NaN too
        raise ValueError("scores outside [0, 1] or NaN: logits are refused, apply a sigmoid first")


def rank(targets: ArrayLike, scores: ArrayLike, units: ArrayLike | None = None) -> Ranking:
    """Sort one label's rows once: targets (N,) of 1, 0, or NaN (left out), scores (N,) in [0, 1].

    `units` (N,) number each row's unit; rows are their own when None.

    Raises:
        ValueError: scores outside [0, 1], or targets other than 0, 1 and NaN.
    """
    target_values = np.asarray(targets, dtype=np.float64)
    score_values = np.asarray(scores, dtype=np.float64)
    check_scores(score_values)
    if not (np.isnan(target_values) | (target_values == 0) | (target_values == 1)).all():
        raise ValueError("targets other than 0, 1 and NaN")
    all_units = np.arange(len(score_values)) if units is None else np.asarray(units, np.int64)

    positives = np.flatnonzero(target_values == 1)
    negatives = np.flatnonzero(target_values == 0)
    positives = positives[np.argsort(-score_values[positives], kind="stable")]
    negatives = negatives[np.argsort(-score_values[negatives], kind="stable")]
    descending = -score_values[negatives]
    of_positives = -score_values[positives]
    return Ranking(
        positive_units=all_units[positives],
        negative_units=all_units[negatives],
        n_negatives_above=np.searchsorted(descending, of_positives, side="left"),
        n_negatives_from=np.searchsorted(descending, of_positives, side="right"),
        last_of_tie=np.searchsorted(of_positives, of_positives, side="right") - 1,
    )


def weighted_ranking(
    ranking: Ranking, weights: NDArray[np.int32], *, with_precision: bool = True
) -> tuple[Array, Array]:
    """AUROC and average precision under each of R weightings of the units.

    AUROC is the weighted share of (positive, negative) pairs in the right order, a tie
    counting one half (Hanley and McNeil 1982). Average precision is the sum over distinct
    scores of precision times the gain in recall, as in scikit-learn.

    Args:
        ranking: of one label.
        weights: (R, U) how often each unit counts; counts stay exact in 32 bits, which halves
            the memory traffic that the time goes into.
        with_precision: False leaves average precision out (NaN).

    Returns:
        (R,) AUROC and (R,) average precision, NaN where a class has no weight.
    """
    n_weightings = len(weights)
    nothing = np.full(n_weightings, np.nan)
    if ranking.one_class:
        return nothing, nothing.copy()
    negative = np.zeros((n_weightings, len(ranking.negative_units) + 1), np.int32)
    gathered = np.take(weights, ranking.negative_units, axis=1)
    np.cumsum(gathered, axis=1, dtype=np.int32, out=negative[:, 1:])
    positive = np.take(weights, ranking.positive_units, axis=1)  # (R, P)
    as_float = positive.astype(np.float64)
    n_positive = as_float.sum(axis=1)
    from_here = np.take(negative, ranking.n_negatives_from, axis=1)
    above = np.take(negative, ranking.n_negatives_above, axis=1)
    pairs = n_positive * negative[:, -1]
    wrong = np.einsum("rp,rp->r", as_float, np.add(above, from_here, dtype=np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = np.where(pairs > 0, 1.0 - 0.5 * wrong / pairs, np.nan)
        if not with_precision:
            return auroc, nothing
        true_positive = np.cumsum(positive, axis=1, dtype=np.int32)
        true_positive = np.take(true_positive, ranking.last_of_tie, axis=1)
        called = np.maximum(true_positive + from_here, 1)
        area = np.einsum("rp,rp->r", as_float, true_positive / called)
        average = np.where(pairs > 0, area / n_positive, np.nan)
    return auroc, average


def auroc(targets: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve of targets (N,) 1, 0 or NaN (left out) and scores (N,) in [0, 1].

    NaN with one class only. ValueError: scores outside [0, 1].
    """
    return float(_unweighted(targets, scores)[0][0])


def average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Average precision (PR-AUC without interpolation); arguments, NaN and errors as `auroc`."""
    return float(_unweighted(targets, scores)[1][0])


def precision_of_others(targets: ArrayLike, scores: ArrayLike) -> float:
    """Average precision with each positive left out of the precision at its own score.

    Average precision counts it, and is too high where positives are few: by 0.09 at 5 of 200 rows,
    by 0.02 at 30. This is not (docs/experiments/evaluation-statistics.md). Arguments as `auroc`.
    """
    ranking = rank(targets, scores)
    if ranking.one_class:
        return np.nan
    others, called = ranking.last_of_tie, ranking.last_of_tie + ranking.n_negatives_from
    return float(np.mean(np.where(called > 0, others / np.maximum(called, 1), 1.0)))


def _unweighted(targets: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    return weighted_ranking(rank(targets, scores), np.ones((1, np.size(scores)), np.int32))


def why_not_scored(targets: Floats) -> str | None:
    """Why a label has no AUROC, or None where it has one."""
    n_known = int(np.isfinite(targets).sum())
    if n_known == 0:
        return "not annotated in these rows"
    n_positives = int(np.nansum(targets))
    if n_positives == 0:
        return f"one class only: no positive among {n_known:,} rows"
    if n_positives == n_known:
        return f"one class only: no negative among {n_known:,} rows"
    return None


def macro_mean(values: Array, scored: Flags) -> Array:
    """Mean of values (..., L) over the scored labels (L,), the same in every resample; else NaN."""
    if not scored.any():
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values[..., scored].mean(axis=-1), dtype=np.float64)
