"""Net benefit: what deciding by a probability is worth (Vickers and Elkin 2006)."""

import numpy as np

from pulmonet.metrics.label_result import DecisionCurve
from pulmonet.metrics.ranking.resamples import LabelRows

CUTS = np.arange(1, 100) / 100


def decision_curve(rows: LabelRows, prevalence: float | None = None) -> DecisionCurve:
    """Net benefit at threshold probabilities 0.01 ... 0.99, with pointwise 95 % intervals.

    The scores of `rows` are calibrated probabilities at `prevalence`, which weighs sensitivity and
    specificity; None takes the rows' own, anew in each resample of the patients.
    """
    is_positive = rows.targets[:, None] == 1
    called = rows.scores[:, None] >= CUTS
    columns = [called & is_positive, called & ~is_positive, is_positive, ~is_positive]
    counts = np.concatenate(columns, axis=1).astype(np.float64)
    drawn = rows.resampled_sums(counts, rows.resamples.n_by_row)
    sums = np.concatenate([counts.sum(axis=0, keepdims=True), drawn])
    hits, alarms, n_positive, n_negative = np.split(sums, [99, 198, 199], axis=1)
    share = n_positive / (n_positive + n_negative) if prevalence is None else prevalence
    odds = CUTS / (1 - CUTS)
    benefit = hits / n_positive * share - alarms / n_negative * (1 - share) * odds
    low, high = np.quantile(benefit[1:], [0.025, 0.975], axis=0)
    at = float(rows.targets.mean()) if prevalence is None else prevalence
    return DecisionCurve(
        prevalence=at,
        threshold_probability=CUTS.tolist(),
        net_benefit=benefit[0].tolist(),
        low=low.tolist(),
        high=high.tolist(),
        n_resamples=len(drawn),
        treat_all=(at - (1 - at) * odds).tolist(),
    )
