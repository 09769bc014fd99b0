"""`pulmonet evaluate`: runs, or saved predictions, become tables with intervals.

Scores from files need neither torch nor data; `score`, which needs both, is imported for runs.
"""

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.dataset import Datasets
from pulmonet.flows.evaluate import write
from pulmonet.flows.evaluate.combine import average, check_combination, pool
from pulmonet.flows.evaluate.compare import check_arms, compare_all, earlier_comparison
from pulmonet.flows.evaluate.material import (
    Material,
    Source,
    each_of,
    find_sources,
    read_scores,
    with_labels,
)
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.flows.evaluate.screen import show_comparison, show_result
from pulmonet.labels import match_label
from pulmonet.metrics import final_table
from pulmonet.metrics.baseline import Covariates, KnownRows, evaluate_baseline
from pulmonet.metrics.calibration.fit import Calibration
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.metrics.shift import describe_shift
from pulmonet.metrics.subgroups import DEFAULT_COLUMNS, MAX_GROUPS, crowded
from pulmonet.words import did_you_mean


def run(options: EvaluateOptions) -> int:
    """Evaluate runs, or saved predictions; 4 when one among several could not be, else 0."""
    # settle
    artifacts_dir, combination = options.artifacts_dir, options.combination()
    table_path = artifacts_dir / "final_evaluation_results.csv"
    sources = find_sources(options)
    check_arms(options, [source.name for source in sources])
    if combination is not None:
        combined_dir = check_combination(combination, sources, options)
    # before the long work: a table that is none, a label that no run has, a file of the user's
    final_table.read_table(table_path)
    _check_labels(options, _recorded_labels(sources))
    kinds = () if options.no_figures else options.figures
    pictures = [artifacts_dir / f"model_comparison.{kind}" for kind in kinds]
    write.ledger_of(artifacts_dir).check(table_path.with_suffix(".md"), *pictures)

    # material: predictions, with what is known around them
    score_one = partial(_material, options=options, datasets=Datasets())
    scored, failures = each_of(sources, score_one)
    materials = [one for of_run in scored for one in of_run]
    _check_labels(options, (name for one in materials for name in one.predictions.labels))
    if combination is not None and failures:  # a mean of the others would pass for that of all
        console.warn(f"{combination.name}: not made, since not all of its members were scored")
    elif combination is not None:
        make = average if combination.kind == "ensemble" else pool
        materials += [make(combination.name, some, combined_dir) for some in _alike(scored)]
    materials = write.with_targets(materials)

    # metrics
    results = [
        evaluate_one(one, options, write.stored_calibration(one, options)) for one in materials
    ]
    earlier = earlier_comparison(materials, results, options)
    results, records = earlier or compare_all([m.predictions for m in materials], results, options)

    if not records and (options.margin or options.primary != "macro"):
        console.warn("--margin and --primary: nothing is compared, so they have no effect")

    # write
    for material, result in zip(materials, results, strict=True):
        write.write_run(material, result, records)
        write.write_calibration(material, options, result)
        write.write_figures(material, result, kinds)
    if results:
        write.write_table(table_path, results)
    document = Evaluation(runs=results, comparisons=records)
    if not earlier:
        write.write_comparison_figures(artifacts_dir, document, kinds)

    # say
    for result in results:
        show_result(result)
    if len(results) > 1:
        show_comparison(results, records)
    if results:
        console.say(f"Written: {table_path}, .md, and evaluation_*.json per run")
    if console.wants_json():
        console.show_json(document.model_dump(mode="json", by_alias=True))
    if options.export is not None:
        failures += write.export_runs([source.run_dir for source in sources if source.run_dir])
    return ArtifactError.exit_code if failures else 0


def _alike(scored: Sequence[Sequence[Material]]) -> list[list[Material]]:
    """What can be combined: all rows of every run, then those of each collection that all have."""
    found = [[of_run[0] for of_run in scored]]
    for part in scored[0][1:]:
        name = part.predictions.dataset
        found.append([one for run in scored for one in run[1:] if one.predictions.dataset == name])
    return [some for some in found if len(some) == len(scored)]


def _check_labels(options: EvaluateOptions, labels: Iterable[str]) -> None:
    """Refuse what names none of the `labels` evaluated; without any, all may be."""
    known = list(dict.fromkeys(labels))
    named = [("--prevalence", name) for name in options.prevalence if name]
    named += [("--primary", options.primary)] * (options.primary != "macro")
    for given, name in named:
        if known and match_label(name, known) is None:
            what = f"{given} {name}: not among the labels evaluated{did_you_mean(name, known)}"
            raise ConfigError(f"{what}; choose from {', '.join(known)}")


def _recorded_labels(sources: Sequence[Source]) -> list[str]:
    """Labels of all runs, as far as their records can be read."""
    labels: list[str] = []
    for source in sources:
        with contextlib.suppress(ArtifactError):
            labels += source.run_dir.read_record().provenance.labels if source.run_dir else []
    return labels


def _material(source: Source, options: EvaluateOptions, datasets: Datasets) -> list[Material]:
    """A run scored, of several collections each as well; or a file of scores read."""
    if source.run_dir is None:
        materials = [read_scores(source, options)]
        write.check_folder(source.results_dir, None, [], "none", "--predictions NAME=FILE")
    else:
        from pulmonet.flows.evaluate.score import score

        if options.tta != "none":
            write.check_folder(source.results_dir, None, [], options.tta, "train --name")
        materials = score(source.name, source.run_dir, source.results_dir, options, datasets)
        for material in materials:
            write.write_scores(material)
    return [with_labels(material, options.labels) for material in materials]


def evaluate_one(
    material: Material, options: EvaluationOptions, stored: Calibration | None
) -> RunResult:
    """The result of one run, with shift and baseline; without `stored` it is cross-fitted."""
    predictions, training = material.predictions, material.training
    facts = dict(material.facts)
    known = {name: cells for name, cells in predictions.columns.items() if name in DEFAULT_COLUMNS}
    many = [name for name in known if crowded(name, known[name])]
    why = f"has more than {MAX_GROUPS} different values: no subgroups by it."
    facts["notes"] = [*facts.get("notes", []), *(f"{name} {why}" for name in many)]
    if training is not None:
        covariates = Covariates.of(predictions.columns, len(predictions.paths))
        here = KnownRows(covariates, predictions.targets)
        facts["shift"] = describe_shift(predictions.labels, training, here)
    facts["baseline"] = evaluate_baseline(predictions, training, options)
    facts["collection_baseline"] = evaluate_baseline(predictions, training, options, "collection")
    with console.steps(f"intervals of {predictions.run}", 1) as bar:
        result = evaluate_predictions(predictions, options, stored=stored, facts=facts)
        bar.advance()
    return result
