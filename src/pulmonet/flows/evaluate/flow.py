"""`pulmonet evaluate`: runs, or saved predictions, become tables with intervals.

This half needs no torch and no data: everything from predictions on. `predict_flow` makes the
predictions of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pulmonet.errors import ArtifactError, PulmoNetError
from pulmonet.flows import console
from pulmonet.flows.evaluate.combine import Combination, check_combination, combine
from pulmonet.flows.evaluate.compare import compare_all, with_letters
from pulmonet.flows.evaluate.material import Material, Source, sources_of, with_labels
from pulmonet.flows.evaluate.screen import show_comparison, show_result
from pulmonet.flows.evaluate.write import (
    write_comparison_figure,
    write_figures,
    write_run,
    write_table,
)
from pulmonet.flows.options import check_options
from pulmonet.metrics import final_table
from pulmonet.metrics.baseline import covariates_of, cross_fit_baseline, fit_baseline
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import number_units
from pulmonet.metrics.results import Baseline, Evaluation, RunResult
from pulmonet.metrics.shift import KnownRows, describe_shift
from pulmonet.metrics.studies import join_studies


def run(
    *,
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    options: EvaluationOptions,
    labels: Sequence[str],
    data: Mapping[str, Any],
    combination: Combination | None = None,
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
        combination: one more row that all of them make together.
        figures: whether to draw.

    Returns:
        0, or 4 when a run among several could not be evaluated.
    """
    table_path = artifacts_dir / "final_evaluation_results.csv"
    earlier = final_table.read_rows(table_path)  # before the long work: it may be no table
    sources = sources_of(runs, artifacts_dir, predictions, data)
    combined_dir = None
    if combination is not None:
        combined_dir = check_combination(combination, sources, artifacts_dir, data)
    materials, failures = _gather(sources, labels)
    if combination is not None and combined_dir is not None:
        if failures:  # a mean of the others would pass for that of all
            console.warn(f"{combination.name}: not made, since not all of its members were scored")
        else:
            materials.append(combine(combination, materials, combined_dir))
    results = [_evaluate(material, options) for material in materials]
    pairs = zip((material.predictions for material in materials), results, strict=True)
    comparisons = compare_all(list(pairs), options)
    results = [with_letters(result, comparisons) for result in results]
    records = [record for comparison in comparisons for record in comparison.comparisons]
    for material, result in zip(materials, results, strict=True):
        write_run(material, result, records, options)
        if figures:
            write_figures(material, result)
    if results:
        write_table(table_path, earlier, results)
    if figures:
        write_comparison_figure(artifacts_dir, results, records)
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


def _gather(
    sources: Sequence[Source], labels: Sequence[str]
) -> tuple[list[Material], list[PulmoNetError]]:
    """Score or read all of them; a damaged one among several is named, and the others go on."""
    materials: list[Material] = []
    failures: list[PulmoNetError] = []
    for source in sources:
        try:
            materials.append(with_labels(source.make(), labels))
        except ArtifactError as error:
            if len(sources) == 1:
                raise
            console.show_error(str(error))
            failures.append(error)
    return materials, failures


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
    given = {
        "n_resamples": bootstrap,
        "seed": seed,
        "interval": interval,
        "level": level,
        "study_rule": study_rule,
        "calibrator": calibrator,
        "prevalence": prevalence,
        "subgroup_columns": subgroups,
        **({"criteria": thresholds} if thresholds else {}),
    }
    return check_options(EvaluationOptions, given)


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
    if kept is None or options.level == "study" or material.without_calibration:
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
        labels=ranked.by_label(of_baseline),
        macro=ranked.macro,
    )
