"""The whole result of saved predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pulmonet.metrics.evaluation import evaluate_predictions, fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.run.predictions import Predictions

QUICK = EvaluationOptions(n_resamples=100)


def test_values_equal_scikit_learn(
    result: RunResult, make_predictions: Callable[..., Predictions]
) -> None:
    predictions = make_predictions()
    known = np.isfinite(predictions.targets[:, 0])
    targets, scores = predictions.targets[known, 0], predictions.scores[known, 0]
    entry = result.labels["Edema"]
    assert entry.auroc.value == pytest.approx(roc_auc_score(targets, scores), abs=1e-9)
    expected = average_precision_score(targets, scores)
    assert entry.average_precision.value == pytest.approx(expected, abs=1e-9)
    assert entry.auroc.low < entry.auroc.value < entry.auroc.high
    assert entry.auroc_delong.low < entry.auroc.value < entry.auroc_delong.high
    assert (entry.n, entry.positives) == (235, int(targets.sum()))
    assert not entry.few_positives


def test_rare_and_absent_labels_say_so(result: RunResult) -> None:
    assert result.labels["Rare"].few_positives
    absent = result.labels["Absent"]
    assert absent.auroc.value is None
    assert absent.auroc.reason == absent.reason == "not annotated in these rows"
    assert result.macro.n_labels == 2
    assert result.macro.left_out == {"Absent": "not annotated in these rows"}
    expected = np.mean([result.labels[name].auroc.value for name in ("Edema", "Rare")])
    assert result.macro.auroc.value == pytest.approx(expected)


def test_document_has_no_nan_and_round_trips(result: RunResult) -> None:
    document = Evaluation(runs=[result]).model_dump(mode="json", by_alias=True)
    text = json.dumps(document, allow_nan=False)
    assert Evaluation.model_validate(json.loads(text)).runs[0] == result


def test_evaluating_again_gives_the_same(
    result: RunResult, make_predictions: Callable[..., Predictions]
) -> None:
    assert evaluate_predictions(make_predictions(), QUICK) == result


def test_row_order_changes_no_value(
    result: RunResult, make_predictions: Callable[..., Predictions]
) -> None:
    original = make_predictions()
    order = np.random.default_rng(9).permutation(240)
    shuffled = replace(
        original,
        paths=tuple(original.paths[row] for row in order),
        patients=tuple(original.patients[row] for row in order),
        studies=tuple(original.studies[row] for row in order),
        targets=original.targets[order],
        scores=original.scores[order],
        columns={name: values[order] for name, values in original.columns.items()},
    )
    again = evaluate_predictions(shuffled, QUICK)
    for label in ("Edema", "Rare"):
        assert again.labels[label].auroc.value == result.labels[label].auroc.value
        assert again.labels[label].brier.value == pytest.approx(result.labels[label].brier.value)
    assert again.labels["Edema"].worst_cases[0] == result.labels["Edema"].worst_cases[0]


def test_stored_calibration_is_used_and_named(make_predictions: Callable[..., Predictions]) -> None:
    stored = fit_calibration(make_predictions(seed=1), QUICK)
    assert set(stored.labels) == {"Edema", "Rare"}
    found = evaluate_predictions(make_predictions(seed=2), QUICK, stored=stored)
    entry = found.labels["Edema"]
    assert entry.calibrated.fitted_on == "tiny, split valid"
    assert entry.operating_points[0].threshold == stored.labels["Edema"].thresholds["youden"]
    assert entry.operating_points[0].estimates == "threshold"


def test_patients_unknown_resamples_images(make_predictions: Callable[..., Predictions]) -> None:
    found = evaluate_predictions(replace(make_predictions(), patients=None, studies=None), QUICK)
    assert found.bootstrap.unit == "image"
    assert found.n_patients == 240
    assert found.study is None


def test_bca_and_percentile_differ_a_little(make_predictions: Callable[..., Predictions]) -> None:
    percentile = evaluate_predictions(make_predictions(), QUICK).macro.auroc
    options = QUICK.model_copy(update={"interval": "bca"})
    bca = evaluate_predictions(make_predictions(), options).macro.auroc
    assert bca.value == percentile.value
    assert 0 < abs(bca.low - percentile.low) < 0.05


def test_study_level_result(make_predictions: Callable[..., Predictions]) -> None:
    found = evaluate_predictions(make_predictions(), QUICK.model_copy(update={"level": "study"}))
    assert found.level == "study"
    assert found.n_rows == found.n_studies == len(set(make_predictions().studies))
