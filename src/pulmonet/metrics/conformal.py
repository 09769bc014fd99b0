"""Rule out, rule in or undecided: thresholds with a guarantee, conformal within each class.

Of patients who have the finding at least `COVERAGE` keep all their images from being ruled out, and
of those without it as many from being ruled in: each at `CONFIDENCE` over the patients who chose
the threshold (Vovk 2012, training-conditional coverage). Of n such patients the k-th lowest score F
leaves a share Beta(k, n - k + 1) of new ones below it; the largest k is taken of which that share
is at most 1 - `COVERAGE` in `CONFIDENCE` of datasets.
"""

from typing import Literal, get_args

import numpy as np
from scipy.special import bdtr

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.estimate import Estimate, Number
from pulmonet.metrics.shares import ratio
from pulmonet.run.record import Record

COVERAGE, CONFIDENCE = 0.9, 0.95
#: The fewest patients of a class of which one may be missed: 1 - 0.9^29 > 0.95.
LEAST_PATIENTS = 29

Decision = Literal["ruled out", "ruled in", "undecided"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)


class Conformal(Record):
    """Both thresholds of a label."""

    rule_out: Number = None
    """A score below it rules the label out; null: none does."""
    rule_in: Number = None
    """A score above it rules the label in; null: none does."""

    def decide(self, scores: Floats) -> list[Decision]:
        """What the guarantee allows to say of scores (N,)."""
        values = np.asarray(scores, np.float64)
        out = values < (-np.inf if self.rule_out is None else self.rule_out)
        above = values > (np.inf if self.rule_in is None else self.rule_in)
        words: list[Decision] = np.select([out, above], DECISIONS[:2], DECISIONS[2]).tolist()
        return words

    def why_undecided(self) -> str | None:
        """Which threshold is missing for want of patients; None where both are there."""
        sides = (("out", "positive", self.rule_out), ("in", "negative", self.rule_in))
        few = [
            f"nothing is ruled {way}, which {LEAST_PATIENTS} {kind} patients or more have to choose"
            for way, kind, threshold in sides
            if threshold is None
        ]
        return "; ".join(few) or None


class ConformalResult(Conformal):
    """What the thresholds do on the evaluated rows."""

    chosen_on: str
    """Rows that chose the thresholds."""
    positive_coverage: Number = None
    """Share of positive patients of whom no positive image is ruled out; null on the rows that
    chose the thresholds."""
    negative_coverage: Number = None
    """Share of negative patients of whom no negative image is ruled in."""
    undecided: Number
    """Share of images."""
    positive_coverage_estimate: Estimate | None = None
    """The three shares with intervals, patients as clusters."""
    negative_coverage_estimate: Estimate | None = None
    undecided_estimate: Estimate | None = None


def choose_conformal(targets: Floats, scores: Floats, units: Ints) -> Conformal:
    """Thresholds from targets (N,) 1 or 0, scores (N,) in [0, 1] and patient numbers `units` (N,).

    A patient counts once a class, by the image that is worst for the guarantee: the lowest score of
    the positive ones, the highest of the negative ones. One of its images drawn at random would
    do for a random image, but not for all images of a patient. Where rule_out would lie above
    rule_in they are exchanged: what both classes rarely have is undecided, and less is missed.
    """
    positives, negatives = (_worst(targets, scores, units, is_positive) for is_positive in (1, 0))
    low, high = _lower_limit(positives), _lower_limit(-negatives)
    high = None if high is None else -high
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return Conformal(rule_out=low, rule_in=high)


def judge_conformal(
    targets: Floats, scores: Floats, units: Ints, kept: Conformal | None, chosen_on: str
) -> ConformalResult:
    """Thresholds on rows as in `choose_conformal`; None of `kept` chooses them on these rows."""
    one = kept or choose_conformal(targets, scores, units)
    undecided = np.bincount(units, [word == "undecided" for word in one.decide(scores)])
    found = {"undecided": ratio(undecided, np.bincount(units))}
    cuts = kept or Conformal()
    sides = (("positive_coverage", 1, cuts.rule_out), ("negative_coverage", 0, cuts.rule_in))
    for name, is_positive, cut in sides:
        if cut is not None:
            worst = _worst(targets, scores, units, is_positive)
            right = worst >= cut if is_positive else worst <= cut
            found[name] = ratio(right, np.ones(len(right)))
    facts = {**dict(one), "chosen_on": chosen_on} | {key: of.value for key, of in found.items()}
    facts |= {f"{key}_estimate": of for key, of in found.items()}
    return ConformalResult.model_validate(facts)


def _worst(targets: Floats, scores: Floats, units: Ints, is_positive: int) -> Array:
    """(P,) of each patient with rows of a class the lowest score of positives, else highest."""
    rows = np.asarray(targets) == is_positive
    sign = 1.0 if is_positive else -1.0
    worst: Array = np.full(int(units.max()) + 1, np.inf)
    np.minimum.at(worst, units[rows], sign * np.asarray(scores, np.float64)[rows])
    return np.asarray(sign * worst[np.isfinite(worst)])


def _lower_limit(values: Array) -> float | None:
    """The k-th lowest of (P,) values, below which 10 % of patients lie at most; None of few."""
    below = bdtr(np.arange(len(values)), len(values), 1 - COVERAGE)
    k = int((below <= 1 - CONFIDENCE).sum())
    return float(np.sort(values)[k - 1]) if k else None
