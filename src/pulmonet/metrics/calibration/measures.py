"""How far scores are probabilities: slope, intercept, Brier score, ECE, reliability bins.

Slope and intercept come first (Van Calster et al. 2016); ECE stands beside what a perfectly
calibrated model would show at the same n, because on few rows it is never near zero.
"""

import numpy as np
from scipy.special import ndtri

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.calibration.fit import fit_calibrator
from pulmonet.metrics.calibration.logistic import LogisticFit, fit_logistic, logit
from pulmonet.metrics.calibration.smooth import smooth_calibration
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import CalibrationResult, ReliabilityBin
from pulmonet.metrics.ranking.auc import check_scores
from pulmonet.metrics.ranking.delong import mid_ranks
from pulmonet.metrics.ranking.intervals import distance, estimate, percentile_intervals
from pulmonet.metrics.ranking.resamples import LabelRows

N_BINS = 15
#: A slope that is known no better than this tells nothing: of scores that are nearly equal.
MAX_HALF_WIDTH = 20.0


def fit_slope(targets: Floats, scores: Floats, units: Ints) -> LogisticFit | str:
    """A fit whose last coefficient is the calibration slope, or why there is none.

    Of targets (N,) 1 or 0, scores (N,) in [0, 1] and patient numbers (N,).
    """
    values, logits = np.asarray(targets, dtype=np.float64), logit(scores)
    of_class = [logits[values == value] for value in (0, 1)]
    if np.ptp(logits) < 1e-12:
        return "all scores are equal"
    if any(low.max() <= high.min() for low, high in (of_class, of_class[::-1])):
        return "the scores separate the classes"
    fit = fit_logistic(np.column_stack([np.ones_like(logits), logits]), values, units=units)
    if not fit.converged or 1.96 * np.sqrt(fit.covariance[-1, -1]) > MAX_HALF_WIDTH:
        return f"not known within ±{MAX_HALF_WIDTH:g}: the scores hardly differ"
    return fit


def fit_intercept(targets: Floats, scores: Floats, units: Ints) -> LogisticFit:
    """A fit of the calibration in the large: the intercept at slope 1."""
    ones, values = np.ones((len(targets), 1)), np.asarray(targets, dtype=np.float64)
    return fit_logistic(ones, values, offset=logit(scores), units=units)


def slope_and_intercept(targets: Floats, scores: Floats, units: Ints) -> tuple[Estimate, Estimate]:
    """Both with patient-clustered Wald intervals."""
    return wald(fit_slope(targets, scores, units)), wald(fit_intercept(targets, scores, units))


def wald(fit: LogisticFit | str) -> Estimate:
    """The last coefficient, or why there is none."""
    if isinstance(fit, str):
        return Estimate(value=None, reason=fit)
    value, variance = float(fit.coefficients[-1]), fit.covariance[-1, -1]
    half = float(ndtri(0.975)) * float(np.sqrt(variance))
    return Estimate(value=value, low=value - half, high=value + half)


def bin_numbers(scores: Array, *, equal_mass: bool, n_bins: int = N_BINS) -> Ints:
    """(N,) bin from 0 of each score: equal width (last bin closed), or equal mass by rank.

    Equal scores share a bin.
    """
    if not equal_mass:
        return np.minimum((scores * n_bins).astype(np.int64), n_bins - 1)
    middle = mid_ranks(scores[:, None])[:, 0] - 1
    return np.minimum((middle * n_bins / len(scores)).astype(np.int64), n_bins - 1)


def expected_calibration_error(
    targets: Floats, scores: Floats, *, equal_mass: bool = False
) -> float:
    """ECE with 15 bins: mean over rows of |observed share - mean score| of the row's bin.

    Of targets (N,) 1 or 0 and scores (N,) in [0, 1]; `equal_mass` bins have equal row counts.
    """
    values = np.asarray(scores, dtype=np.float64)
    bins = bin_numbers(values, equal_mass=equal_mass)
    difference = np.bincount(bins, np.asarray(targets, np.float64) - values, minlength=N_BINS)
    return float(np.abs(difference).sum() / len(values))


def correlation_in_patients(targets: Array, scores: Array, units: Ints) -> float:
    """Correlation, 0 to 1, of what the scores leave open in two images of one patient.

    Pearson residuals of the scores after Platt's recalibration, so that scores that are too high
    throughout are not taken for it; 0 where no patient has two images.
    """
    n_images = np.bincount(units)
    if n_images.max() < 2:
        return 0.0
    fitted = np.clip(fit_calibrator(targets, scores).apply(scores), 1e-6, 1 - 1e-6)
    left = (targets - fitted) / np.sqrt(fitted * (1 - fitted))
    products = np.sum(np.bincount(units, left) ** 2 - np.bincount(units, left**2))
    return float(np.clip(products / np.sum(n_images * (n_images - 1.0)) / np.mean(left**2), 0, 1))


def ece_if_perfect(
    scores: Array,
    *,
    equal_mass: bool,
    n_simulations: int = 1000,
    seed: int = 0,
    units: Ints | None = None,
    correlation: float = 0.0,
) -> Estimate:
    """Mean and 95 % range of the ECE that a perfectly calibrated model shows on these scores.

    Targets are drawn from the scores, those of a patient (`units`) all at one stroke with the
    probability `correlation`; far above 20,000 rows fewer simulations are drawn.
    """
    generator = np.random.default_rng([seed, len(scores)])
    n_draws = int(np.clip(2e7 // max(len(scores), 1), 100, n_simulations))  # more differ less
    bins = bin_numbers(scores, equal_mass=equal_mass)
    order = np.argsort(bins, kind="stable")
    starts = np.unique(bins[order], return_index=True)[1]
    ordered = scores[order]
    expected = np.add.reduceat(ordered, starts)
    own = None if units is None or correlation <= 0 else units[order]
    values = []
    height = max(2**18 // len(ordered), 1)
    for n_here in [height] * (n_draws // height) + [n_draws % height]:
        strokes = generator.random((n_here, len(ordered)))
        if own is not None:
            is_one, of_patient = generator.random((2, n_here, int(own.max()) + 1))
            strokes = np.where((is_one < correlation)[:, own], of_patient[:, own], strokes)
        drawn = np.add.reduceat(strokes < ordered, starts, axis=1, dtype=np.float64)
        values += (np.abs(drawn - expected).sum(axis=1) / len(ordered)).tolist()
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value=float(np.mean(values)), low=float(low), high=float(high))


def measure_calibration(
    rows: LabelRows, *, calibrator: str | None = None, fitted_on: str | None = None
) -> CalibrationResult:
    """Everything about one label's calibration, of rows with both classes.

    Their scores are probabilities where a `calibrator` is named, which `fitted_on` fitted.
    """
    targets, scores, seed = rows.targets, rows.scores, rows.resamples.seed
    check_scores(scores)
    slope, intercept = slope_and_intercept(targets, scores, rows.units)
    alike = correlation_in_patients(targets, scores, rows.units)
    perfect, perfect_mass = (
        ece_if_perfect(scores, equal_mass=mass, seed=seed, units=rows.units, correlation=alike)
        for mass in (False, True)
    )
    ece = expected_calibration_error(targets, scores)
    brier, far, (bins, bins_by_n) = _resampled_means(rows)
    return CalibrationResult(
        scores="raw" if calibrator is None else "calibrated",
        calibrator=calibrator,
        fitted_on=fitted_on,
        slope=slope,
        intercept=intercept,
        brier=brier,
        ece=ece,
        ece_estimate=distance(ece, far),
        ece_equal_mass=expected_calibration_error(targets, scores, equal_mass=True),
        ece_if_perfect=perfect,
        ece_equal_mass_if_perfect=perfect_mass,
        bins=bins,
        bins_by_n=bins_by_n,
        smooth=smooth_calibration(targets, scores, rows.units),
    )


def _resampled_means(rows: LabelRows) -> tuple[Estimate, Array, list[list[ReliabilityBin]]]:
    """Brier score; ECE of (R,) resamples; bins, and as many as n allows: in one pass."""
    errors = (rows.scores - rows.targets) ** 2
    columns = [np.stack([errors, np.ones_like(errors)], axis=1)]
    members = []
    rarer = min(np.sum(rows.targets == 1), np.sum(rows.targets == 0))
    by_n = int(np.clip(min(len(errors) // 20, rarer // 5), 2, N_BINS))
    for n_bins in (N_BINS, by_n):
        bins = bin_numbers(rows.scores, equal_mass=True, n_bins=n_bins)
        member = bins[:, None] == np.unique(bins)
        members.append(member)
        columns += [member * rows.targets[:, None], member.astype(np.float64)]
    of_width = bin_numbers(rows.scores, equal_mass=False)[:, None] == np.arange(N_BINS)
    columns.append(of_width * (rows.targets - rows.scores)[:, None])
    sums = rows.resampled_sums(np.concatenate(columns, axis=1))
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    totals = np.split(sums, ends, axis=1)
    n_rows = np.maximum(totals[0][:, 1], 1)
    brier = estimate(errors.mean(), totals[0][:, 0] / n_rows)
    found: list[list[ReliabilityBin]] = []
    for at, member in enumerate(members):
        with np.errstate(invalid="ignore", divide="ignore"):
            ends = percentile_intervals(totals[1 + 2 * at] / totals[2 + 2 * at])
        found.append(
            [
                ReliabilityBin(
                    low=rows.scores[inside].min(),
                    high=rows.scores[inside].max(),
                    n=int(inside.sum()),
                    mean_score=rows.scores[inside].mean(),
                    observed=rows.targets[inside].mean(),
                    observed_low=low,
                    observed_high=high,
                )
                for inside, low, high in zip(member.T, *ends, strict=True)
            ]
        )
    return brier, np.abs(totals[-1]).sum(axis=1) / n_rows, found
