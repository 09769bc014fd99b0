"""The whole result of saved predictions, study level, baseline, shift, curves, table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.metrics import final_table
from pulmonet.metrics.baseline import (
    Covariates,
    KnownRows,
    covariates_of,
    cross_fit_baseline,
    fit_baseline,
)
from pulmonet.metrics.curves import worst_cases
from pulmonet.metrics.evaluation import evaluate_predictions, fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.metrics.shift import describe_shift
from pulmonet.metrics.studies import has_several_images, join_studies
from pulmonet.run.predictions import Predictions

QUICK = EvaluationOptions(n_resamples=100)


def make_predictions(n: int = 240, seed: int = 0, run: str = "net") -> Predictions:
    """Three labels: a good one, a rare one, one that is not annotated."""
    generator = np.random.default_rng(seed)
    patients = np.sort(generator.integers(0, n // 2, n))
    targets = (generator.random((n, 3)) < [0.4, 0.03, 0]).astype(np.float32)
    targets[:, 2] = np.nan
    targets[:5, 0] = np.nan
    known = np.nan_to_num(targets)
    scores = np.clip(generator.random((n, 3)) * 0.6 + 0.4 * known, 0, 1).astype(np.float32)
    return Predictions(
        run=run,
        dataset="tiny",
        split="valid",
        labels=("Edema", "Rare", "Absent"),
        paths=tuple(f"p{patient}/image{row}.png" for row, patient in enumerate(patients)),
        patients=tuple(f"p{patient}" for patient in patients),
        studies=tuple(f"p{patient}/s{row % 2}" for row, patient in enumerate(patients)),
        targets=targets,
        scores=scores,
        columns={
            "view": generator.choice(["AP", "PA"], n).astype(object),
            "sex": generator.choice(["Female", "Male"], n).astype(object),
            "age_years": generator.uniform(20, 90, n),
        },
    )


@pytest.fixture(scope="module")
def result() -> RunResult:
    return evaluate_predictions(make_predictions(), QUICK)


def test_values_equal_scikit_learn(result: RunResult) -> None:
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


def test_evaluating_again_gives_the_same(result: RunResult) -> None:
    assert evaluate_predictions(make_predictions(), QUICK) == result


def test_row_order_changes_no_value(result: RunResult) -> None:
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


def test_curves_end_where_they_should(result: RunResult) -> None:
    entry = result.labels["Edema"]
    roc, recall = entry.roc, entry.precision_recall
    assert (roc.x[0], roc.y[0], roc.threshold[0]) == (0, 0, None)
    assert (roc.x[-1], roc.y[-1]) == (1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(entry.auroc.value, abs=1e-4)
    assert recall.x[-1] == 1
    steps = np.diff(recall.x) * np.asarray(recall.y[1:])
    assert steps.sum() == pytest.approx(entry.average_precision.value, abs=1e-4)
    inside = np.interp(roc.band_x, roc.x, roc.y)
    assert (np.asarray(roc.band_low) <= inside + 0.02).all()
    assert (np.asarray(roc.band_high) >= inside - 0.02).all()


def test_stored_calibration_is_used_and_named() -> None:
    stored = fit_calibration(make_predictions(seed=1), QUICK)
    assert set(stored.labels) == {"Edema", "Rare"}
    found = evaluate_predictions(make_predictions(seed=2), QUICK, stored=stored)
    entry = found.labels["Edema"]
    assert entry.calibrated.fitted_on == "tiny, split valid"
    assert entry.operating_points[0].threshold == stored.labels["Edema"].thresholds["youden"]
    assert entry.operating_points[0].estimates == "threshold"


def test_patients_unknown_resamples_images() -> None:
    found = evaluate_predictions(replace(make_predictions(), patients=None, studies=None), QUICK)
    assert found.bootstrap.unit == "image"
    assert found.n_patients == 240
    assert found.study is None


def test_bca_and_percentile_differ_a_little() -> None:
    percentile = evaluate_predictions(make_predictions(), QUICK).macro.auroc
    options = QUICK.model_copy(update={"interval": "bca"})
    bca = evaluate_predictions(make_predictions(), options).macro.auroc
    assert bca.value == percentile.value
    assert 0 < abs(bca.low - percentile.low) < 0.05


def test_studies_are_joined_by_loop() -> None:
    predictions = make_predictions()
    assert has_several_images(predictions)
    for rule, combine in (("max", np.max), ("mean", np.mean)):
        joined = join_studies(predictions, rule)
        assert len(joined.paths) == len(set(predictions.studies))
        for row in (0, 7, 50):
            members = [i for i, s in enumerate(predictions.studies) if s == joined.studies[row]]
            expected = combine(predictions.scores[members], axis=0)
            np.testing.assert_allclose(joined.scores[row], expected, rtol=1e-6)
            targets = predictions.targets[members]
            assert np.isnan(joined.targets[row, 2])
            assert joined.targets[row, 1] == np.nanmax(targets[:, 1])
    with pytest.raises(ConfigError, match="these rows name no studies"):
        join_studies(replace(predictions, studies=None))


def test_study_level_result() -> None:
    found = evaluate_predictions(make_predictions(), QUICK.model_copy(update={"level": "study"}))
    assert found.level == "study"
    assert found.n_rows == found.n_studies == len(set(make_predictions().studies))


def test_baseline_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    ages = generator.uniform(20, 90, 500)
    unknown = np.full(500, "", object)
    covariates = Covariates(unknown, unknown, ages)
    targets = (generator.random(500) < 1 / (1 + np.exp(-(ages - 55) / 10))).astype(float)
    found = fit_baseline(covariates, targets[:, None], covariates)[:, 0]
    z = (ages - ages.mean()) / ages.std()
    features = np.column_stack([z, z**2])
    reference = LogisticRegression(C=1.0).fit(features, targets)
    np.testing.assert_allclose(found, reference.predict_proba(features)[:, 1], atol=2e-3)
    assert covariates.informative == ["age"]
    crossed = cross_fit_baseline(covariates, targets[:, None], np.arange(500))[:, 0]
    assert roc_auc_score(targets, crossed) > 0.85
    assert (crossed != found).any()


def test_baseline_meets_what_it_never_saw() -> None:
    seen = Covariates(np.asarray(["AP", "PA"], object), np.asarray(["", ""], object), np.ones(2))
    new = Covariates(
        np.asarray(["LATERAL"], object), np.asarray(["Male"], object), np.full(1, np.nan)
    )
    scores = fit_baseline(seen, np.asarray([[0, 1.0], [1, 1.0]]), new)
    assert np.isfinite(scores).all()
    assert scores[0, 1] == 1.0  # one class: the prevalence


def test_shift_names_the_largest_differences_first() -> None:
    here = covariates_of(make_predictions())
    older = replace(here, age_years=here.age_years + 15)
    targets = make_predictions().targets
    rarer = targets.copy()
    rarer[10:, 1] = 0
    found = describe_shift(
        ("Edema", "Rare", "Absent"), KnownRows(here, targets), KnownRows(older, rarer)
    )
    assert found.mean_age_years[1] - found.mean_age_years[0] == pytest.approx(15)
    assert len(found.notes) == 2
    assert any(text.startswith("age: mean") for text in found.notes)
    assert any(text.startswith("Rare: ") for text in found.notes)
    assert found.prevalence["Absent"] == (None, None)


def test_worst_cases_are_one_a_patient() -> None:
    cases = worst_cases(
        np.asarray([0, 0, 1, 1, np.nan]),
        np.asarray([0.9, 0.8, 0.1, 0.2, 1.0]),
        ["a1", "a2", "b1", "c1", "d1"],
        ["a", "a", "b", "c", "d"],
    )
    assert [(case.path, case.kind) for case in cases] == [
        ("a1", "false positive"),
        ("b1", "false negative"),
        ("c1", "false negative"),
    ]


# --- the final table ------------------------------------------------------------------------


def test_original_columns_come_first(result: RunResult) -> None:
    table = final_table.table_of([result])
    labels = final_table.labels_in(table, list(result.labels))
    header = final_table.to_csv(table, labels).splitlines()[0].split(",")
    assert header[:9] == [
        *("Model", "AUROC_Edema", "AUROC_Rare", "AUROC_Absent"),
        *("PR_AUC_Edema", "PR_AUC_Rare", "PR_AUC_Absent", "Macro_AUROC", "Macro_PR_AUC"),
    ]
    assert header[9:11] == ["Dataset", "Split"]
    assert "Macro_AUROC_low" in header


def test_rows_are_replaced_not_doubled(result: RunResult, tmp_path: Path) -> None:
    other = result.model_copy(update={"run": "other", "group_letters": "a"})
    path = tmp_path / "final_evaluation_results.csv"
    nothing = final_table.read_table(path)
    rows = final_table.merge(nothing, final_table.table_of([result, other]))
    path.write_text(final_table.to_csv(rows, ["Edema", "Rare", "Absent"]))
    again = final_table.merge(final_table.read_table(path), final_table.table_of([result]))
    assert list(again["Model"]) == ["net", "other"]
    fresh = result.model_copy(update={"group_letters": "a"})
    again = final_table.merge(final_table.read_table(path), final_table.table_of([fresh]))
    letters = dict(zip(again["Model"], again["Group"], strict=True))
    assert letters == {"net": "a", "other": ""}  # stale
    both = final_table.merge(nothing, final_table.table_of([fresh, other]))
    alone = final_table.merge(both, final_table.table_of([result]))
    assert set(alone["Group"]) == {""}, "one of a comparison was evaluated alone"
    text = final_table.to_markdown(again, ["Edema", "Rare", "Absent"])
    assert "| Model | AUROC\\_Edema | AUROC\\_Rare | PR\\_AUC\\_Edema |" in text


def test_hostile_names_stay_text(result: RunResult) -> None:
    hostile = result.model_copy(update={"run": "a|b<script>"})
    text = final_table.to_markdown(final_table.table_of([hostile]), ["Edema"])
    assert "a\\|b&lt;script\\>" in text


def test_foreign_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "final_evaluation_results.csv"
    assert final_table.read_table(path).empty
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ArtifactError, match="not a results table"):
        final_table.read_table(path)
