"""Verdicts of images: whose threshold, reached or not, or why there is none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pulmonet.data.likeness import Sight
from pulmonet.explain.verdicts import judge_images
from pulmonet.metrics.calibration.fit import Calibration, Calibrator, LabelCalibration
from pulmonet.metrics.conformal import Conformal
from pulmonet.metrics.estimate import Estimate


def _label(**changes: object) -> LabelCalibration:
    facts = {
        "calibrator": Calibrator(kind="platt", intercept=-1.0, slope=1.0),
        "prevalence": 0.3,
        "n": 200,
        "positives": 60,
        "thresholds": {"youden": 0.25},
        "positive_patients": 60,
        "negative_patients": 140,
        "auroc": Estimate(value=0.85, low=0.8, high=0.9),
    }
    return LabelCalibration.model_validate({**facts, **changes})


def _judge(score: float, published: str | None = None, unlike: str | None = None, **labels: object):
    calibration = Calibration(
        fitted_on="tiny, split valid", dataset="tiny", split="valid", n_rows=200, n_patients=200,
        labels=labels, left_out={"Mass": "one class only"}, published=published,
    )  # fmt: skip
    run = SimpleNamespace(calibration=calibration, why_unlike=lambda *_, **__: unlike)
    names = [*labels, "Mass", "Nodule"]
    scores = np.full((1, len(names)), score, "f4")
    (image,) = judge_images(run, ["a.png"], names, scores, [Sight(None)])
    return image.labels


@pytest.mark.parametrize(("score", "present"), [(0.2, False), (0.25, True), (0.9, True)])
def test_a_score_at_the_threshold_reaches_it(score: float, present: bool) -> None:
    found = _judge(score, A=_label())["A"]
    assert (found.present, found.threshold, found.reason) == (present, 0.25, None)
    odds = score / (1 - score) * np.exp(-1)
    assert found.probability == pytest.approx(odds / (1 + odds))
    published = _judge(score, "someone", A=_label(positive_patients=None))["A"]
    assert (published.present, published.reason) == (present, "threshold published by someone")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"thresholds": {"f1": 0.2}}, "no threshold (Youden's)"),
        ({"positive_patients": 9}, "threshold chosen on 9 positive and 140 negative patients"),
        ({"negative_patients": 9}, "threshold chosen on 60 positive and 9 negative patients"),
        ({"positive_patients": None}, "threshold of an earlier version"),
        ({"auroc": Estimate(value=0.6, low=0.5, high=0.7)}, "is not significantly above 0.5"),
    ],
)
def test_no_verdict_without_a_threshold_to_rely_on(changes: dict[str, object], reason: str) -> None:
    found = _judge(0.9, A=_label(**changes))["A"]
    assert (found.present, found.score) == (None, pytest.approx(0.9))
    assert reason in found.reason


def test_ten_patients_of_each_class_are_enough() -> None:
    few = _label(positive_patients=10, negative_patients=10, auroc=Estimate(value=1.0, low=0.8))
    assert _judge(0.9, A=few)["A"].present is True


def test_labels_that_were_not_evaluated_say_why() -> None:
    found = _judge(0.9, A=_label())
    assert found["Mass"].reason == "no threshold: one class only"
    assert found["Nodule"].reason == "no threshold: not among the labels evaluated"
    assert found["Mass"].present is found["Nodule"].present is None


def test_an_image_unlike_the_training_s_has_its_reason_alone() -> None:
    found = _judge(0.9, unlike="unlike the images", A=_label())["A"]
    assert (found.present, found.probability, found.reason) == (None, None, "unlike the images")


def test_conformal_words_stand_beside_a_verdict_alone() -> None:
    some = Conformal(rule_out=0.2, rule_in=0.6)
    few = Conformal(rule_in=0.6)
    words = {0.1: "ruled out", 0.4: "undecided", 0.9: "ruled in"}
    for score, word in words.items():
        labels = {"A": _label(conformal=some), "B": _label(conformal=few), "C": _label()}
        found = _judge(score, **labels, D=_label(conformal=some, negative_patients=9))
        assert found["A"].conformal == word and found["A"].undecided_why is None
        assert found["B"].conformal == ("undecided" if word == "ruled out" else word)
        assert "29 positive patients or more" in str(found["B"].undecided_why)
        assert found["C"].conformal is found["D"].conformal is found["Mass"].conformal is None
    assert _judge(0.1, unlike="unlike the images", A=_label(conformal=some))["A"].conformal is None
