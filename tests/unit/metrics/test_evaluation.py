"""The whole result of saved predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pulmonet.metrics.calibration.fit import cross_fit
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.evaluation import evaluate_predictions, fit_calibration
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.auc import precision_of_others
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples
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


def test_a_perfect_macro_is_as_sure_as_its_rarest_label() -> None:
    rows = rare_rows([6, 40])
    perfect = evaluate_predictions(replace(rows, scores=rows.targets), QUICK)
    rare, _ = perfect.labels.values()
    for metric in ("auroc", "average_precision"):
        found, expected = getattr(perfect.macro, metric), getattr(rare, metric)
        assert (found.value, found.low, found.high) == (1, expected.low, expected.high)
        assert 0.5 < found.low == pytest.approx(0.025 ** (1 / 6))  # Clopper and Pearson


def rare_rows(n_positive: Sequence[int], n: int = 120, seed: int = 0) -> Predictions:
    """One image a patient; so many positives of each label, the same first patients."""
    generator = np.random.default_rng(seed)
    targets = (np.arange(n)[:, None] < np.asarray(n_positive)).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.7 * generator.random(targets.shape), 0, 1)
    return Predictions(
        run="net",
        dataset="tiny",
        split="valid",
        labels=tuple(f"L{number}" for number in range(len(n_positive))),
        paths=tuple(f"{row}.png" for row in range(n)),
        patients=tuple(f"p{row}" for row in range(n)),
        studies=None,
        targets=targets,
        scores=scores.astype(np.float32),
    )


def intervals_in(document: object) -> list[str]:
    """Names of what has a lower end, however deep."""
    if isinstance(document, list):
        return [name for part in document for name in intervals_in(part)]
    if not isinstance(document, dict):
        return []
    names = ("observed_low", "band_low") if "mean_score" in document else ("low", "band_low")
    found = [name for name in names if document.get(name) not in (None, [])]
    return found + [name for part in document.values() for name in intervals_in(part)]


@pytest.mark.parametrize("interval", ["logit", "percentile", "bca"])
def test_rare_labels_have_a_value_and_no_interval(interval: str) -> None:
    rows = rare_rows([1] * 6 + [4, 117, 5, 40])
    found = evaluate_predictions(rows, EvaluationOptions(n_resamples=200, interval=interval))
    for name in ("L0", "L6", "L7"):
        entry = found.labels[name]
        column = rows.labels.index(name)
        expected = roc_auc_score(rows.targets[:, column], rows.scores[:, column])
        assert entry.auroc.value == pytest.approx(expected)
        assert intervals_in(entry.model_dump(mode="json")) == []
    reasons = [found.labels[name].auroc.reason for name in ("L0", "L6", "L7")]
    assert reasons[0] == "1 positive patient, at least 5 are needed"
    assert reasons[1] == "4 positive patients, at least 5 are needed"
    assert reasons[2] == "3 negative patients, at least 5 are needed"
    assert found.labels["L8"].auroc.low < found.labels["L8"].auroc.value
    macro = found.macro
    assert (macro.labels, macro.n_labels) == (["L8", "L9"], 2)
    expected = np.mean([found.labels[name].auroc.value for name in macro.labels])
    assert macro.auroc.value == pytest.approx(expected)  # of the labels that the interval is of
    assert macro.auroc.low < macro.auroc.value < macro.auroc.high
    assert macro.auroc_name() == "macro AUROC of 2 of 10 labels"
    assert macro.left_out["L6"] == "4 positive patients, at least 5 are needed"


def test_rare_labels_leave_no_trace_in_the_others() -> None:
    """Thirteen labels with one positive patient each once deleted every interval."""
    alone = evaluate_predictions(rare_rows([40]), QUICK)
    rows = rare_rows([40] + [1] * 13)
    scores = rows.scores.copy()
    scores[:, 0] = rare_rows([40]).scores[:, 0]
    beside = evaluate_predictions(replace(rows, scores=scores), QUICK)
    assert beside.labels["L0"] == alone.labels["L0"]
    assert beside.macro.auroc == alone.macro.auroc


def test_only_rare_labels_have_a_macro_without_an_interval() -> None:
    found = evaluate_predictions(rare_rows([1, 3]), QUICK)
    expected = np.mean([entry.auroc.value for entry in found.labels.values()])
    assert found.macro.auroc.value == pytest.approx(expected)
    assert found.macro.auroc.low is None
    assert found.macro.auroc.reason == "no label has 5 positive and 5 negative patients"
    assert found.macro.n_labels == 2


def test_document_has_no_nan_and_round_trips(result: RunResult) -> None:
    document = Evaluation(runs=[result]).model_dump(mode="json", by_alias=True)
    text = json.dumps(document, allow_nan=False)
    assert Evaluation.model_validate(json.loads(text)).runs[0] == result


def test_numbers_that_only_earlier_versions_wrote_are_passed_over(result: RunResult) -> None:
    """Those of 0.1.0; any other key that nobody knows is refused."""
    document = Evaluation(runs=[result]).model_dump(mode="json", by_alias=True)
    run = document["runs"][0]
    label = run["labels"]["Edema"]
    label["roc"]["band_resamples"] = label["calibration"]["ece_simulations"] = 1000
    label["calibration"] |= {"ece_debiased": 0.1, "bins_equal_width": []}
    label["calibration"]["smooth"]["e50"] = 0.1
    run["baseline"] = {"features": [], "fitted_on": "", "labels": {}, "macro": run["macro"]}
    run["baseline"]["n_rows_fitted"] = 1
    run["subgroups"][0]["labels"]["Edema"]["calibration_slope"] = None
    (found,) = Evaluation.model_validate(document).runs
    assert found.model_copy(update={"baseline": None}) == result
    label["of_tomorrow"] = 1
    with pytest.raises(ValueError, match="of_tomorrow"):
        Evaluation.model_validate(document)


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
    rows = make_predictions(seed=2)
    called = rows.scores[:, 0] >= stored.labels["Edema"].thresholds["youden"]
    by_sex = [group for group in found.subgroups if group.column == "sex"]
    for group in by_sex:
        sick = (rows.columns["sex"] == group.group) & (rows.targets[:, 0] == 1)
        assert group.labels["Edema"].sensitivity.value == pytest.approx(called[sick].mean())
    assert len(by_sex) == 2
    assert entry.operating_points[0].estimates == "threshold"


def test_patients_unknown_resamples_images(make_predictions: Callable[..., Predictions]) -> None:
    found = evaluate_predictions(replace(make_predictions(), patients=None, studies=None), QUICK)
    assert found.bootstrap.unit == "image"
    assert found.n_patients == 240
    assert found.study is None


def test_three_kinds_of_intervals_differ_a_little(
    make_predictions: Callable[..., Predictions],
) -> None:
    def edema(**interval: str) -> Estimate:
        options = QUICK.model_copy(update=interval)
        return evaluate_predictions(make_predictions(), options).labels["Edema"].auroc

    logit, percentile, bca = edema(), edema(interval="percentile"), edema(interval="bca")
    assert edema(interval="logit") == logit
    assert bca.value == percentile.value == logit.value
    assert 0 < abs(bca.low - percentile.low) < 0.02
    assert 0 < percentile.low - logit.low < 0.02


def test_study_level_result(make_predictions: Callable[..., Predictions]) -> None:
    found = evaluate_predictions(make_predictions(), QUICK.model_copy(update={"level": "study"}))
    assert found.level == "study"
    assert found.n_rows == found.n_studies == len(set(make_predictions().studies))


@pytest.mark.parametrize("stored", [True, False])
def test_net_benefit_at_a_stated_prevalence_is_of_shifted_probabilities(
    make_predictions: Callable[..., Predictions], stored: bool
) -> None:
    """Odds times the ratio of the prevalences' odds, then the definition, cut by cut."""
    rows, there = make_predictions(), 0.05
    options = QUICK.model_copy(update={"prevalence": {"": there}})
    kept = fit_calibration(make_predictions(seed=3), options) if stored else None
    known = np.isfinite(rows.targets[:, 0])
    truth, scores = rows.targets[known, 0].astype(float), rows.scores[known, 0].astype(float)
    if kept is None:
        units = np.unique(np.asarray(rows.patients)[known], return_inverse=True)[1]
        order = list(dict.fromkeys(units.tolist()))  # numbered as they appear
        units = np.asarray([order.index(unit) for unit in units])
        resamples = PatientResamples(truth[:, None], units, 100, options.seed)
        before = cross_fit(LabelRows(truth, scores, units, resamples))
        fitted_at = truth.mean()
    else:
        entry = kept.labels["Edema"]
        before, fitted_at = entry.calibrator.apply(scores), entry.prevalence
    odds = before / (1 - before) * there / (1 - there) * (1 - fitted_at) / fitted_at
    shifted = odds / (1 + odds)
    curve = evaluate_predictions(rows, options, stored=kept).labels["Edema"].decision_curve
    assert curve.prevalence == there
    for cut, found in zip(curve.threshold_probability, curve.net_benefit, strict=True):
        called = shifted >= cut
        sensitivity, alarms = called[truth == 1].mean(), called[truth == 0].mean()
        expected = sensitivity * there - alarms * (1 - there) * cut / (1 - cut)
        assert found == pytest.approx(expected, abs=1e-9)


def test_few_negatives_are_few_too(make_predictions: Callable[..., Predictions]) -> None:
    rows = make_predictions()
    targets = rows.targets.copy()
    targets[:, 0] = np.where(np.arange(len(targets)) % 24, 1, 0)
    found = evaluate_predictions(replace(rows, targets=targets), QUICK).labels["Edema"]
    assert found.negatives == 10 and found.positive_patients > 50
    assert found.few_positives
    targets[:, 0] = np.arange(len(targets)) % 2
    enough = evaluate_predictions(replace(rows, targets=targets), QUICK).labels["Edema"]
    assert not enough.few_positives


def test_each_label_reaches_as_far_as_its_own_patients_ask() -> None:
    """The same interval beside a rarer or commoner label as alone, in all that ranks."""
    rows = rare_rows([40, 6])
    both = rank_all(rows, QUICK)
    for column in (0, 1):
        columns = {"targets": rows.targets[:, [column]], "scores": rows.scores[:, [column]]}
        alone = rank_all(replace(rows, labels=rows.labels[column : column + 1], **columns), QUICK)
        assert both.auroc[column] == alone.auroc[0]
        assert both.average_precision[column] == alone.average_precision[0]


def test_intervals_of_average_precision_are_around_its_unbiased_value() -> None:
    """In the middle of the logit scale; the value itself, which is higher, is inside."""
    rows = rare_rows([40, 30])
    ranked = rank_all(rows, QUICK)
    columns = list(zip(rows.targets.T, rows.scores.T, strict=True))
    middles = [precision_of_others(*column) for column in columns]
    found = [*ranked.average_precision, ranked.macro.average_precision]
    for estimate, middle in zip(found, [*middles, np.mean(middles)], strict=True):
        odds = [end / (1 - end) for end in (estimate.low, middle, estimate.high)]
        assert odds[1] ** 2 == pytest.approx(odds[0] * odds[2])
        assert middle < estimate.value < estimate.high
