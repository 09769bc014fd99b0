"""`pulmonet evaluate`: runs, or saved predictions, become tables with intervals.

Scores from files need neither torch nor data; `score`, which needs both, is imported for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulmonet.errors import ArtifactError, ConfigError, PulmoNetError
from pulmonet.flows import console
from pulmonet.flows.evaluate.calibration import stored_calibration, write_calibration
from pulmonet.flows.evaluate.compare import compare_all, with_letters
from pulmonet.flows.evaluate.ensemble import average
from pulmonet.flows.evaluate.export import export_runs
from pulmonet.flows.evaluate.material import (
    Material,
    Source,
    find_sources,
    read_scores,
    with_labels,
)
from pulmonet.flows.evaluate.options import Combination, ScoringOptions
from pulmonet.flows.evaluate.pool import check_folds, pool
from pulmonet.flows.evaluate.screen import show_comparison, show_result
from pulmonet.flows.evaluate.write import (
    check_folder,
    write_comparison_figure,
    write_figures,
    write_run,
    write_table,
)
from pulmonet.labels import match_label
from pulmonet.metrics import final_table
from pulmonet.metrics.baseline import KnownRows, covariates_of, evaluate_baseline
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.metrics.shift import describe_shift
from pulmonet.run.folder import RunDir


def run(
    *,
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    labels: Sequence[str],
    options: EvaluationOptions,
    scoring: ScoringOptions,
    combination: Combination | None = None,
    figures: bool = True,
    export: bool = False,
) -> int:
    """Evaluate runs, or saved predictions.

    Args:
        runs: names or folders; all runs below `artifacts_dir` when empty.
        artifacts_dir: the artifacts folder.
        predictions: CSV files to evaluate instead of runs.
        labels: only these; all of the run's when empty.
        options: how predictions are evaluated.
        scoring: which rows the runs score, and how.
        combination: one more row that all of them make together.
        figures: whether to draw.
        export: whether to write the runs as ONNX, too.

    Returns:
        0, or 4 when a run among several could not be evaluated.
    """
    # settle
    table_path = artifacts_dir / "final_evaluation_results.csv"
    sources = find_sources(runs, artifacts_dir, predictions, scoring)
    if combination is not None:
        combined_dir = _check_combination(combination, sources, artifacts_dir, scoring)
    earlier = final_table.read_table(table_path)  # before the long work: it may be no table

    # material: predictions, with what is known around them
    materials, failures = _gather(sources, scoring, labels)
    _warn_of_unknown_labels(options, materials)
    if combination is not None and failures:  # a mean of the others would pass for that of all
        console.warn(f"{combination.name}: not made, since not all of its members were scored")
    elif combination is not None:
        make = average if combination.kind == "ensemble" else pool
        materials.append(make(combination.name, materials, combined_dir))

    # metrics
    results = [_evaluate(material, options) for material in materials]
    comparisons = compare_all([material.predictions for material in materials], results, options)
    results = [with_letters(result, comparisons) for result in results]
    records = [record for comparison in comparisons for record in comparison.comparisons]

    # write
    for material, result in zip(materials, results, strict=True):
        write_run(material, result, records)
        write_calibration(material, options)
        if figures:
            write_figures(material, result)
    if results:
        write_table(table_path, earlier, results)
    if figures:
        write_comparison_figure(artifacts_dir, results, records)

    # say
    for result in results:
        show_result(result)
    if len(results) > 1:
        show_comparison(results, records)
    if results:
        console.say(f"Written: {table_path}, .md, and evaluation_*.json per run")
    if console.wants_json():
        document = Evaluation(runs=results, comparisons=records)
        console.show_json(document.model_dump(mode="json", by_alias=True))
    code = 4 if failures else 0
    return (export and export_runs(runs, artifacts_dir)) or code


def _warn_of_unknown_labels(options: EvaluationOptions, materials: Sequence[Material]) -> None:
    known = {label for material in materials for label in material.predictions.labels}
    for name in options.prevalence:
        if name and known and match_label(name, known) is None:
            console.warn(f"--prevalence {name}: none of the labels evaluated is called so")


def _check_combination(
    combination: Combination,
    sources: Sequence[Source],
    artifacts_dir: Path,
    scoring: ScoringOptions,
) -> RunDir:
    """What can be known before the long work; gives the folder of the results.

    Raises:
        ConfigError: too few runs, a name that one of them has, runs that are no folds.
        ArtifactError: the folder is taken.
    """
    name, members = combination.name, [source.name for source in sources]
    if name in members:
        raise ConfigError(
            f"{combination.flag} {name}: a run evaluated here is called so; choose another name"
        )
    if combination.kind == "out-of-fold":
        check_folds(name, [source.run_dir for source in sources], scoring)
    elif len(sources) < 2:
        raise ConfigError(
            f"--ensemble: averages two or more runs, and there is only {members[0]}; name more"
        )
    run_dir = RunDir(artifacts_dir / name)
    check_folder(run_dir, combination.kind, members, scoring.tta, combination.flag)
    return run_dir


def _gather(
    sources: Sequence[Source], scoring: ScoringOptions, labels: Sequence[str]
) -> tuple[list[Material], list[PulmoNetError]]:
    """Score or read all of them; a damaged one among several is named, and the others go on."""

    def read(source: Source) -> Material:
        material = read_scores(source, scoring.split)
        check_folder(source.results_dir, None, [], scoring.tta, "--predictions NAME=FILE")
        return material

    make = read
    if sources[0].run_dir is not None:
        from pulmonet.flows.evaluate.score import Scorer

        make = Scorer(scoring).score
    materials: list[Material] = []
    failures: list[PulmoNetError] = []
    for source in sources:
        try:
            if source.run_dir is not None and scoring.tta != "none":
                check_folder(source.results_dir, None, [], scoring.tta, "train --name")
            materials.append(with_labels(make(source), labels))
        except ArtifactError as error:
            if len(sources) == 1:
                raise
            console.show_error(str(error))
            failures.append(error)
    return materials, failures


def _evaluate(material: Material, options: EvaluationOptions) -> RunResult:
    predictions, training = material.predictions, material.training
    facts = dict(material.facts)
    covariates = covariates_of(predictions)
    if training is not None and covariates is not None:
        here = KnownRows(covariates, predictions.targets)
        facts["shift"] = describe_shift(predictions.labels, training, here)
    facts["baseline"] = evaluate_baseline(predictions, training, options)
    stored = stored_calibration(material, options)
    with console.steps(f"intervals of {predictions.run}", 1) as bar:
        result = evaluate_predictions(predictions, options, stored=stored, facts=facts)
        bar.advance()
    return result
