"""Scores of images as verdicts: what a run's calibration makes of them."""

from collections.abc import Sequence
from typing import Any

from pulmonet.arrays import Floats32
from pulmonet.data.images.decoding import Remark
from pulmonet.data.likeness import Sight
from pulmonet.explain.results import ImageExplanation, LabelExplanation
from pulmonet.metrics.conformal import Decision
from pulmonet.models.trained import TrainedRun

NO_CALIBRATION = None, "no threshold yet; `pulmonet evaluate` sets it"


def judge_images(
    run: TrainedRun,
    names: Sequence[str],
    labels: Sequence[str],
    scores: Floats32,
    sights: Sequence[Sight],
) -> list[ImageExplanation]:
    """B images, what is known of each, and what a run's calibration makes of the scores (B, L)."""
    calibration = run.calibration
    likeness = [(one, run.why_unlike(one)) for one in sights]
    columns: list[list[LabelExplanation]] = []
    for label, column in zip(labels, scores.T, strict=True):
        fitted = None if calibration is None else calibration.labels.get(label)
        threshold, reason = (
            NO_CALIBRATION if calibration is None else calibration.threshold_of_verdicts(label)
        )
        shared: dict[str, Any] = {"threshold": threshold, "reason": reason}
        shared["auroc"] = fitted and fitted.auroc
        chances, present = [None] * len(names), [None] * len(names)
        decisions: Sequence[Decision | None] = [None] * len(names)
        if fitted is not None and threshold is not None:
            present = (column.astype(float) >= threshold).tolist()
            if fitted.calibrator is not None:
                chances = fitted.calibrator.apply(column).tolist()
            if fitted.conformal is not None:
                decisions = fitted.conformal.decide(column)
                shared["undecided_why"] = fitted.conformal.why_undecided()
        values = zip(column.tolist(), chances, present, decisions, likeness, strict=True)
        columns.append(
            [
                LabelExplanation(score=score, reason=why)
                if why
                else LabelExplanation(
                    score=score, probability=chance, present=above, conformal=decision, **shared
                )
                for score, chance, above, decision, (_, why) in values
            ]
        )
    return [
        ImageExplanation(
            image=name,
            distance=sight.distance,
            unlike=bool(why) if why or sight.distance is not None else None,
            in_colour=bool(sight.remark & Remark.COLOUR),
            phantom=bool(sight.remark & Remark.PHANTOM),
            labels=dict(zip(labels, found, strict=True)),
        )
        for name, (sight, why), *found in zip(names, likeness, *columns, strict=True)
    ]
