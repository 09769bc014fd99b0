"""Results: tables with intervals, groups that are not distinguished, and each run in detail."""

from __future__ import annotations

from collections.abc import Callable

from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.results import LabelResult, RunResult
from pulmonet.report.collect import Evaluated, rows_of
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import (
    Block,
    Cell,
    Section,
    Table,
    Text,
    ThresholdExplorer,
    cells,
)
from pulmonet.report.sections.run_details import run_details
from pulmonet.report.sections.summary import trained
from pulmonet.report.thresholds import threshold_steps
from pulmonet.report.wording import (
    COUNTED,
    NOTHING,
    count_cell,
    criterion,
    estimate_cell,
    listing,
    number,
    number_cell,
    percent,
)
from pulmonet.run.predictions import Predictions

#: Up to this many runs stand side by side as columns; more become rows.
MAX_RUN_COLUMNS = 4


def results_section(context: Context) -> Section:
    """All evaluations; what is missing is named."""
    collection = context.collection
    results = [result for found in collection.evaluated for result in found.results]
    missing = [run.name for run in trained(context) if not run.results]
    blocks: list[Block] = []
    if missing:
        blocks.append(
            Text(
                f"Not evaluated: {listing(missing)}. `pulmonet evaluate` fills this in.",
                "note",
            )
        )
    if not results:
        blocks += _from_final_table(context)
        return Section("results", "Results", tuple(blocks))
    children = _splits(results)
    if collection.comparisons:
        children.append(_comparisons(context))
    explorer = _thresholds(context)
    if explorer.steps:
        words = Text("What follows from a threshold, counted on the saved predictions.")
        children.append(Section("thresholds", "Choose a threshold", (words, explorer)))
    children += [
        run_details(context, found, result)
        for found in collection.evaluated
        for result in found.results
    ]
    return Section("results", "Results", tuple(blocks), tuple(children))


def _splits(results: list[RunResult]) -> list[Section]:
    """A section for each set of rows: runs are set side by side on the same rows only.

    Patient folds that were pooled share one, though each has rows of its own.
    """
    pooled = [result for result in results if result.combines == "out-of-fold"]
    groups: dict[tuple[object, ...], list[RunResult]] = {}
    for result in results:
        wholes = tuple(whole.run for whole in pooled if result.run in whole.members)
        groups.setdefault((*rows_of(result)[:3], wholes) if wholes else rows_of(result), []).append(
            result
        )
    titles = [_title(group[0]) for group in groups.values()]
    sections = []
    for title, group in zip(titles, groups.values(), strict=True):
        names = [whole.run for whole in pooled if _folds_of(whole, group)]
        alone = titles.count(title) == 1 or bool(names)
        which = f"folds of {listing(names)}" if names else _runs(group)
        own = title if alone and not names else f"{title}: {which}"
        sections.append(_one_split(own, group, alone, pooled))
    return sections


def _title(result: RunResult) -> str:
    return f"{result.dataset}, {result.split} split" + (
        " (studies)" if result.level == "study" else ""
    )


def _runs(results: list[RunResult]) -> str:
    return listing([result.run for result in results])


def _folds_of(pooled: RunResult, results: list[RunResult]) -> list[str]:
    """Names of the runs in `results` that `pooled` put together."""
    return [result.run for result in results if result.run in pooled.members]


def _same_rows(results: list[RunResult]) -> bool:
    return len({rows_of(result) for result in results}) == 1


def _one_split(
    title: str, results: list[RunResult], alone: bool, pooled: list[RunResult]
) -> Section:
    used = sorted({use for result in results for use in result.rows_used_for})
    if used:
        words = Text(
            f"These rows had been used for {listing(used)}: the numbers are somewhat too good.",
            "warning",
        )
    else:
        words = Text(
            "These rows chose neither a checkpoint nor a calibration. Whether settings were chosen "
            "by looking at them is not in the artifacts."
        )
    blocks: list[Block] = [words]
    for whole in pooled:
        folds = _folds_of(whole, results)
        if folds:
            text = f"{listing(folds)} are folds of {whole.run}, each on rows of its own: see there."
            blocks.append(Text(text, "note"))
    if not alone:
        blocks.append(
            Text(
                f"Other runs were tested on other rows of this split: {_runs(results)} cannot be "
                "compared with them by these numbers.",
                "note",
            )
        )
    blocks.append(_macro_table(results))
    blocks.append(_label_table("AUROC", results, lambda label: label.auroc))
    blocks.append(_label_table("Average precision", results, lambda label: label.average_precision))
    if _same_rows(results):
        blocks.append(_counts_table(results[0]))
    key = f"results-{hash_of(title)}"
    return Section(key, title, tuple(blocks))


def hash_of(*words: str) -> int:
    """A small stable number for anchors; names may hold any character."""
    import zlib

    return zlib.crc32("\0".join(words).encode("utf-8", "surrogatepass"))


def _macro_table(results: list[RunResult]) -> Table:
    ranked = sorted(results, key=lambda result: -(result.macro.auroc.value or -1.0))
    rows = [
        cells(
            result.run,
            estimate_cell(result.macro.auroc),
            estimate_cell(result.macro.average_precision),
            Cell(str(result.macro.n_labels), result.macro.n_labels),
            result.group_letters or NOTHING,
            count_cell(result.n_rows),
            count_cell(result.n_patients),
        )
        for result in ranked
    ]
    baselines = [result.baseline for result in ranked if result.baseline]
    baseline = baselines[0] if baselines and _same_rows(results) else None
    notes = ["In brackets: 95 % intervals from " + _bootstrap_words(ranked[0]) + "."]
    if any(result.group_letters for result in results):
        notes.append("Runs that share a letter are not distinguished in macro AUROC.")
    if baseline is not None:
        rows.append(
            cells(
                Cell("without the picture", kind="muted"),
                estimate_cell(baseline.macro.auroc),
                estimate_cell(baseline.macro.average_precision),
                Cell(str(baseline.macro.n_labels), baseline.macro.n_labels),
                NOTHING,
                NOTHING,
                NOTHING,
            )
        )
        notes.append(
            f"Without the picture: a logistic model on {listing(baseline.features)}, fitted on "
            f"{baseline.fitted_on}."
        )
    notes += [
        f"{result.run}: {result.combination_text()}."
        for result in ranked
        if result.combination_text()
    ]
    for label, reason in ranked[0].macro.left_out.items():
        notes.append(f"{label} is not in the mean: {reason}.")
    return Table(
        "Mean over the labels" + (", best first" if len(results) > 1 else ""),
        (
            "Run",
            "Macro AUROC",
            "Macro average precision",
            "Labels",
            "Group",
            "Studies" if ranked[0].level == "study" else "Images",
            "Patients",
        ),
        tuple(rows),
        tuple(notes),
        forest=True,
    )


def _bootstrap_words(result: RunResult) -> str:
    facts = result.bootstrap
    return f"{facts.n_resamples:,} resamples of {facts.unit}s (seed {facts.seed}, {facts.method})"


def _label_table(
    name: str, results: list[RunResult], pick: Callable[[LabelResult], Estimate]
) -> Table:
    labels = list(dict.fromkeys(label for result in results for label in result.labels))

    def cell(result: RunResult, label: str) -> Cell:
        item = result.labels.get(label)
        return Cell(NOTHING) if item is None else estimate_cell(pick(item))

    if len(results) <= MAX_RUN_COLUMNS:
        columns = ("Label", *(result.run for result in results))
        rows = tuple(cells(label, *(cell(result, label) for result in results)) for label in labels)
    else:
        columns = ("Run", *labels)
        rows = tuple(
            cells(result.run, *(cell(result, label) for label in labels)) for result in results
        )
    notes = tuple(
        f"{label}: {item.reason}." for label, item in results[0].labels.items() if item.reason
    )
    return Table(f"{name} per label", columns, rows, notes, forest=True)


def _counts_table(result: RunResult) -> Table:
    rows = tuple(
        cells(
            label,
            count_cell(item.n),
            count_cell(item.positives),
            Cell(percent(item.prevalence), item.prevalence),
            count_cell(item.n_patients),
            count_cell(item.positive_patients),
            "fewer than 20: interval too narrow" if item.few_positives else "",
        )
        for label, item in result.labels.items()
    )
    return Table(
        "Rows behind the numbers",
        (
            "Label",
            f"Known {'studies' if result.level == 'study' else 'images'}",
            "Positive",
            "Prevalence",
            "Patients",
            "Positive patients",
            "Remark",
        ),
        rows,
        (f"Blank labels {COUNTED.get(result.blank, result.blank)}, uncertain ones are left out.",),
    )


def _thresholds(context: Context) -> ThresholdExplorer:
    found = []
    for run in context.collection.evaluated:
        for predictions in run.predictions:
            for label in predictions.labels:
                steps = threshold_steps(predictions, label, _stored(run, predictions, label))
                if steps is not None:
                    found.append(steps)
    return ThresholdExplorer(tuple(found))


def _stored(run: Evaluated, predictions: Predictions, label: str) -> list[tuple[str, float]]:
    for result in run.results:
        same = (result.dataset, result.split) == (predictions.dataset, predictions.split)
        if same and label in result.labels:
            points = result.labels[label].operating_points
            return [
                (criterion(p.criterion), p.threshold) for p in points if p.threshold is not None
            ]
    return []


def _comparisons(context: Context) -> Section:
    rows = tuple(
        cells(
            f"{item.a} less {item.b}",
            item.metric.replace("_", " ").replace("auroc", "AUROC"),
            item.label or "macro",
            Cell(
                f"{number(item.difference)} ({number(item.low)} to {number(item.high)})",
                item.difference,
            ),
            number_cell(item.p_holm),
            "yes" if item.distinguished else "not distinguished",
        )
        for item in context.collection.comparisons
    )
    table = Table(
        "Differences on the same rows and the same resamples",
        ("Runs", "Measure", "Label", "Difference", "p (Holm)", "Distinguished"),
        rows,
        ("Intervals are simultaneous over all pairs; one that contains 0 tells nothing apart.",),
    )
    return Section("comparisons", "Comparison of runs", (table,))


def _from_final_table(context: Context) -> list[Block]:
    """final_evaluation_results.csv alone, where no evaluation_*.json is left."""
    table = context.collection.final_table
    if table is None or not len(table):
        return []
    columns = [str(column) for column in table.columns]
    rows = []
    for values in table.itertuples(index=False):
        row = [
            number_cell(float(value)) if isinstance(value, float) else Cell(str(value))
            for value in values
        ]
        rows.append(tuple(row))
    return [Table("final_evaluation_results.csv, as it is", tuple(columns), tuple(rows))]
