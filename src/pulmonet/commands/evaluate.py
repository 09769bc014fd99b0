"""`pulmonet evaluate`: runs, or saved predictions, become tables with intervals.

This half needs no torch and no data: everything from predictions on. `predict_flow` makes the
predictions of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.artifacts import Predictions, RunDir, find_run, list_runs, write_atomic, write_json
from pulmonet.commands import console
from pulmonet.commands.evaluation_comparison import compare_all, with_letters
from pulmonet.commands.evaluation_tables import show_comparison, show_result
from pulmonet.errors import ArtifactError, ConfigError, PulmoNetError
from pulmonet.labels import file_name_of, resolve_label
from pulmonet.metrics import final_table
from pulmonet.metrics.baseline import cross_fit_baseline, fit_baseline
from pulmonet.metrics.calibration import Calibration, read_calibration
from pulmonet.metrics.evaluation import (
    EvaluationOptions,
    covariates_of,
    evaluate_predictions,
    fit_calibration,
    rank_all,
    ranking_results,
)
from pulmonet.metrics.intervals import number_units
from pulmonet.metrics.operating_points import DEFAULT_CRITERIA, check_criterion
from pulmonet.metrics.results import Baseline, Comparison, Evaluation, RunResult
from pulmonet.metrics.shift import KnownRows, describe_shift
from pulmonet.metrics.studies import join_studies

ReadImage = Callable[[str], NDArray[np.uint8]]


@dataclass(frozen=True)
class Material:
    """One run's predictions with what is known around them.

    Attributes:
        predictions: images as rows.
        run_dir: where its results go.
        facts: provenance for the result (checkpoint, fingerprint, what the rows were used for).
        training: the rows trained on, where they are at hand.
        read_image: path in the dataset -> grey image, where the images are at hand.
        fits_calibration: whether these rows may replace a stored calibration of other rows.
    """

    predictions: Predictions
    run_dir: RunDir
    facts: Mapping[str, Any] = field(default_factory=dict)
    training: KnownRows | None = None
    read_image: ReadImage | None = None
    fits_calibration: bool = False


def run(
    *,
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    options: EvaluationOptions,
    labels: Sequence[str],
    data: Mapping[str, Any],
    figures: bool = True,
) -> int:
    """Evaluate runs, or saved predictions.

    Args:
        runs: names or folders; all runs below `artifacts_dir` when empty.
        artifacts_dir: the artifacts folder.
        predictions: CSV files to evaluate instead of runs.
        options: how.
        labels: only these; all of the run's when empty.
        data: what `predict_flow.predict_run` takes: data_dir, split, views, blank, batch_size,
            device, num_workers.
        figures: whether to draw.

    Returns:
        0, or 4 when a run among several could not be evaluated.
    """
    table_path = artifacts_dir / "final_evaluation_results.csv"
    earlier = final_table.read_rows(table_path)  # before the long work: it may be no table
    sources = _sources(runs, artifacts_dir, predictions, data)
    materials: list[Material] = []
    failures: list[PulmoNetError] = []
    for make in sources:
        try:
            materials.append(_with_labels(make(), labels))
        except ArtifactError as error:
            if len(sources) == 1:
                raise
            console.show_error(str(error))
            failures.append(error)
    results = [_evaluate(material, options) for material in materials]
    pairs = zip((material.predictions for material in materials), results, strict=True)
    comparisons = compare_all(list(pairs), options)
    results = [with_letters(result, comparisons) for result in results]
    records = [record for comparison in comparisons for record in comparison.comparisons]
    for material, result in zip(materials, results, strict=True):
        _write_run(material, result, records, options)
        if figures:
            _write_figures(material, result)
    if results:
        _write_table(table_path, earlier, results)
    if figures:
        _write_comparison_figure(artifacts_dir, results, records)
    for result in results:
        show_result(result)
    if len(results) > 1:
        show_comparison(results, records)
    if results:
        console.say(f"Written: {table_path}, .md, and evaluation_*.json per run")
    if console.wants_json():
        document = Evaluation(runs=results, comparisons=records)
        console.show_json(document.model_dump(mode="json", by_alias=True))
    return 4 if failures else 0


def make_options(
    *,
    bootstrap: int,
    seed: int,
    interval: str,
    level: str,
    study_rule: str,
    thresholds: Sequence[str],
    calibrator: str,
    prevalence: Sequence[str],
    subgroups: Sequence[str],
) -> EvaluationOptions:
    """Check the flags that decide how predictions are evaluated.

    Raises:
        ConfigError: names the flag and the value.
    """
    for flag, value, choices in (
        ("--level", level, ("image", "study")),
        ("--study-rule", study_rule, ("max", "mean")),
        ("--interval", interval, ("percentile", "bca")),
        ("--calibrator", calibrator, ("platt", "temperature", "isotonic")),
    ):
        if value not in choices:
            raise ConfigError(f"{flag} {value}: unknown; choose from {', '.join(choices)}")
    if not 100 <= bootstrap <= 100_000:
        raise ConfigError(
            f"--bootstrap {bootstrap}: an interval needs 100 to 100,000 resamples; 1000 is usual"
        )
    checked: dict[str, Any] = {
        "interval": interval,
        "level": level,
        "study_rule": study_rule,
        "calibrator": calibrator,
    }
    return EvaluationOptions(
        n_resamples=bootstrap,
        seed=seed,
        criteria=tuple(check_criterion(text) for text in thresholds) or DEFAULT_CRITERIA,
        prevalence=dict(_prevalence(text) for text in prevalence),
        subgroup_columns=tuple(subgroups),
        **checked,
    )


def _prevalence(text: str) -> tuple[str, float]:
    label, _, share = text.rpartition("=")
    try:
        value = float(share)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise ConfigError(
            f"--prevalence {text}: not a share between 0 and 1; write 0.05 or Edema=0.05"
        )
    return label.strip(), value


# --- where predictions come from ------------------------------------------------------------


def _sources(
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    data: Mapping[str, Any],
) -> list[Callable[[], Material]]:
    if predictions:
        if runs:
            raise ConfigError(
                "--predictions: takes no runs beside it; name runs or predictions files"
            )
        stems = [path.stem for path in predictions]
        twice = [path for path in predictions if stems.count(path.stem) > 1]
        if twice:
            raise ConfigError(
                f"--predictions: {' and '.join(map(str, twice))} would both be called "
                f"'{twice[0].stem}'; rename one"
            )
        return [_from_file(path, artifacts_dir, data.get("split")) for path in predictions]
    found = [find_run(name, artifacts_dir) for name in dict.fromkeys(runs)]
    found = found or list_runs(artifacts_dir)
    if not found:
        raise ArtifactError(
            f"{artifacts_dir}: no run there; train one with `pulmonet train`, or name its folder "
            "with --artifacts-dir"
        )
    from pulmonet.commands.predict_flow import Datasets, predict_run

    datasets = Datasets()
    return [_from_run(run_dir, datasets, predict_run, data) for run_dir in found]


def _from_run(
    run_dir: RunDir, datasets: Any, predict_run: Callable[..., Material], data: Mapping[str, Any]
) -> Callable[[], Material]:
    return lambda: predict_run(run_dir, datasets, **data)


def _from_file(path: Path, artifacts_dir: Path, split: str | None) -> Callable[[], Material]:
    def make() -> Material:
        read = Predictions.read(path, dataset="predictions", split=split or "all")
        run_dir = RunDir(artifacts_dir / file_name_of(read.run))
        if run_dir.exists():
            raise ArtifactError(
                f"{path}: its results would go to {run_dir.path}, which holds a run; rename the "
                "file, or choose another --artifacts-dir"
            )
        if read.patients is None:
            console.note(f"{path}: names no patients, so images are resampled")
        return Material(
            read,
            run_dir,
            {"rows_used_for": ["unknown (scores from a file)"]},
            fits_calibration=True,
        )

    return make


def _with_labels(material: Material, wanted: Sequence[str]) -> Material:
    """Only the labels asked for, in that order."""
    if not wanted:
        return material
    labels = material.predictions.labels
    names = [resolve_label(name, labels) for name in wanted]
    columns = [labels.index(name) for name in dict.fromkeys(names)]
    chosen = replace(
        material.predictions,
        labels=tuple(labels[column] for column in columns),
        targets=material.predictions.targets[:, columns],
        scores=material.predictions.scores[:, columns],
    )
    training = material.training
    if training is not None:
        training = replace(training, targets=training.targets[:, columns])
    return replace(material, predictions=chosen, training=training)


# --- results --------------------------------------------------------------------------------


def _evaluate(material: Material, options: EvaluationOptions) -> RunResult:
    predictions = material.predictions
    stored = _stored_calibration(material, options)
    facts = dict(material.facts)
    covariates = covariates_of(predictions)
    if material.training is not None and covariates is not None:
        here = KnownRows(covariates, predictions.targets)
        facts["shift"] = describe_shift(predictions.labels, material.training, here)
    facts["baseline"] = _baseline(material, options)
    with console.steps(f"intervals of {predictions.run}", 1) as bar:
        result = evaluate_predictions(predictions, options, stored=stored, facts=facts)
        bar.advance()
    return result


def _stored_calibration(material: Material, options: EvaluationOptions) -> Calibration | None:
    """Calibration fitted on other rows with the same weights; None cross-fits on these."""
    kept = read_calibration(material.run_dir.calibration_path)
    if kept is None or options.level == "study":
        return None
    predictions = material.predictions
    same_rows = (kept.dataset, kept.split) == (predictions.dataset, predictions.split)
    same_weights = kept.checkpoint_sha256 == material.facts.get("checkpoint_sha256")
    return kept if same_weights and not same_rows else None


def _baseline(material: Material, options: EvaluationOptions) -> Baseline | None:
    predictions = material.predictions
    if options.level == "study":
        predictions = join_studies(predictions, options.study_rule)
    here = covariates_of(predictions)
    if here is None or not here.informative:
        return None
    if material.training is not None and material.training.covariates.informative:
        fitting = material.training
        scores = fit_baseline(fitting.covariates, fitting.targets, here)
        fitted_on, n_fitted = "the training rows", len(fitting.targets)
    else:
        units = number_units(predictions.patients, len(predictions.paths))
        scores = cross_fit_baseline(here, predictions.targets, units, seed=options.seed)
        fitted_on, n_fitted = "these rows, cross-fitted by patient", len(predictions.paths)
    of_baseline = replace(predictions, scores=scores.astype(np.float32))
    ranked = rank_all(of_baseline, options)
    return Baseline(
        features=here.informative,
        fitted_on=fitted_on,
        n_rows_fitted=n_fitted,
        labels=ranking_results(of_baseline, ranked),
        macro=ranked.macro,
    )


# --- writing --------------------------------------------------------------------------------


def _write_run(
    material: Material,
    result: RunResult,
    comparisons: Sequence[Comparison],
    options: EvaluationOptions,
) -> None:
    run_dir = material.run_dir
    own = [record for record in comparisons if result.run in (record.a, record.b)]
    document = Evaluation(runs=[result], comparisons=own)
    write_json(
        run_dir.evaluation_path(result.dataset, result.split),
        document.model_dump(mode="json", by_alias=True),
    )
    if options.level == "image":
        _write_calibration(material, options)


def _write_figures(material: Material, result: RunResult) -> None:
    from pulmonet.report.figures_evaluation import evaluation_figures

    path = material.run_dir.evaluation_path(result.dataset, result.split)
    for name, png in evaluation_figures(result, material.read_image).items():
        write_atomic(path.with_name(f"{name}{path.stem.removeprefix('evaluation')}.png"), png)


def _write_calibration(material: Material, options: EvaluationOptions) -> None:
    """Store calibrators and thresholds, unless better ones (of the valid split) are there."""
    predictions = material.predictions
    sha256 = material.facts.get("checkpoint_sha256")
    kept = read_calibration(material.run_dir.calibration_path)
    same_weights = kept is not None and kept.checkpoint_sha256 == sha256
    same_rows = kept is not None and (kept.dataset, kept.split) == (
        predictions.dataset,
        predictions.split,
    )
    if same_weights and not same_rows and not material.fits_calibration:
        return
    fitted = fit_calibration(predictions, options, checkpoint_sha256=sha256)
    if kept is not None and same_weights and same_rows:  # --labels fits some, the others stay
        fitted = fitted.model_copy(update={"labels": {**kept.labels, **fitted.labels}})
    write_json(material.run_dir.calibration_path, fitted.model_dump(mode="json", by_alias=True))


def _write_table(
    path: Path, earlier: Sequence[final_table.Row], results: Sequence[RunResult]
) -> None:
    new = [row for result in results for row in final_table.rows_of(result)]
    rows = final_table.merge(earlier, new)
    labels = list(dict.fromkeys(label for result in results for label in result.labels))
    labels = final_table.labels_in(rows, labels)
    write_atomic(path, final_table.to_csv(rows, labels))
    write_atomic(path.with_suffix(".md"), final_table.to_markdown(rows, labels))


def _write_comparison_figure(
    artifacts_dir: Path, results: Sequence[RunResult], comparisons: Sequence[Comparison]
) -> None:
    from pulmonet.report.figures_evaluation import draw_model_comparison

    if any(result.macro.auroc.value is not None for result in results):
        write_atomic(
            artifacts_dir / "model_comparison.png", draw_model_comparison(results, comparisons)
        )
