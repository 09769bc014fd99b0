"""Results: tables with intervals, groups that are not distinguished, and each run in detail."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import LabelResult
from pulmonet.metrics.results import UNKNOWN_USE, Comparison, RunResult, baselines_of
from pulmonet.report.collect import Context, Evaluated, rows_of
from pulmonet.report.names import COUNTED
from pulmonet.report.render.blocks import Block, Cell, Section, Table, Text, ThresholdExplorer
from pulmonet.report.render.threshold_steps import Stored, threshold_steps
from pulmonet.report.sections.curves import curves_section
from pulmonet.report.sections.run_details import run_details
from pulmonet.report.texts import paragraphs, table_of
from pulmonet.report.wording import cell, combination_notes, criterion, listing, table
from pulmonet.run.predictions import Predictions

#: Up to this many runs stand side by side as columns; more become rows.
MAX_RUN_COLUMNS = 4


def results_section(context: Context) -> Section:
    """All evaluations; what is missing is named."""
    collection = context.collection
    missing = [run.name for run in collection.trained if not run.results]
    blocks: list[Block] = [*paragraphs("results", missing=missing)]
    if not collection.results:
        final = collection.final_table
        rows = (
            {str(column): v if isinstance(v, float) else str(v) for column, v in row.items()}
            for row in ([] if final is None else final.to_dict("records"))
        )
        blocks += table("final_evaluation_results.csv, as it is", rows)
        return Section("results", "Results", tuple(blocks))
    if len({result.dataset for result in collection.results}) > 1:
        found = sorted(collection.results, key=lambda one: (one.trained_on, one.run))
        blocks += table_of("collections", found)
    children = _splits(collection.results)
    if collection.comparisons:
        children.append(_comparisons(collection.comparisons))
    steps = [
        threshold_steps(predictions, label, _stored(found, predictions, label))
        for found in collection.evaluated
        for predictions in found.predictions
        for label in predictions.labels
    ]
    explorer = ThresholdExplorer(tuple(item for item in steps if item is not None))
    if explorer.steps:
        words = "What follows from a threshold, counted on the saved predictions."
        children.append(Section("thresholds", "Choose a threshold", (Text(words), explorer)))
    every = ((found, result) for found in collection.evaluated for result in found.results)
    children += [run_details(context, found, result) for found, result in every]
    return Section("results", "Results", tuple(blocks), tuple(children))


def _splits(results: list[RunResult]) -> list[Section]:
    """A section for each set of rows; patient folds that were pooled share one."""
    pooled = [result for result in results if result.combines == "out-of-fold"]
    groups: dict[tuple[object, ...], list[RunResult]] = {}
    for result in results:
        wholes = tuple(whole.run for whole in pooled if result.run in whole.members)
        key = (*rows_of(result)[:3], wholes) if wholes else rows_of(result)
        groups.setdefault(key, []).append(result)
    titles = [
        f"{first.dataset}, {first.split} split{' (studies)' if first.level == 'study' else ''}"
        for first, *_ in groups.values()
    ]
    return [
        section
        for title, group in zip(titles, groups.values(), strict=True)
        for section in _one_split(title, group, pooled, is_alone=titles.count(title) == 1)
    ]


def _one_split(
    title: str, results: list[RunResult], pooled: list[RunResult], *, is_alone: bool
) -> list[Section]:
    """Tables and curves; beside other rows of the same split they are told apart by name."""
    names = [result.run for result in results]
    parts = {whole.run: [one for one in names if one in whole.members] for whole in pooled}
    folds = {whole: some for whole, some in parts.items() if some}
    said = paragraphs(
        "rows",
        used=sorted({use for result in results for use in result.known_uses()}),
        unknown_use=any(UNKNOWN_USE in result.rows_used_for for result in results),
        folds=folds,
        is_alone=is_alone,
        names=names,
    )
    if folds:
        title = f"{title}: folds of {listing(list(folds))}"
    elif not is_alone:
        title = f"{title}: {listing(names)}"
    blocks = (
        *said,
        *_macro_table(results),
        _label_table("AUROC", results, lambda label: label.auroc),
        _label_table("Average precision", results, lambda label: label.average_precision),
        *(_counts_table(results[0]) if len(set(map(rows_of, results))) == 1 else ()),
    )
    # names may hold any character, an anchor may not
    key = zlib.crc32(title.encode("utf-8", "surrogatepass"))
    return [
        Section(f"results-{key}", title, blocks),
        curves_section(f"curves-{key}", title, results),
    ]


def _macro_table(results: list[RunResult]) -> list[Table]:
    ranked = sorted(results, key=lambda result: -(result.macro.auroc.value or -1.0))
    rows: list[tuple[Any, ...]] = [(result.run, result.macro, result) for result in ranked]
    baselines = baselines_of(ranked if len(set(map(rows_of, results))) == 1 else [])
    for name, baseline in baselines.items():
        rows.append((Cell(name, kind="muted"), baseline.macro, None))
    return table_of(
        "macro",
        rows,
        combination_notes(ranked),
        baselines=baselines,
        n_results=len(results),
        facts=ranked[0].bootstrap,
        endpoint=next((result.primary for result in results if result.group_letters), ""),
        units="studies" if ranked[0].level == "study" else "images",
    )


def _label_table(
    name: str, results: list[RunResult], pick: Callable[[LabelResult], Estimate]
) -> Table:
    """One column a run, or one row a run where there are many."""
    labels = list(dict.fromkeys(label for result in results for label in result.labels))

    def found(result: RunResult, label: str) -> Cell:
        item = result.labels.get(label)
        return cell(None if item is None else pick(item))

    if len(results) <= MAX_RUN_COLUMNS:
        columns = ("Label", *(result.run for result in results))
        rows = [(Cell(label), *(found(one, label) for one in results)) for label in labels]
    else:
        columns = ("Run", *labels)
        rows = [(Cell(one.run), *(found(one, label) for label in labels)) for one in results]
    notes = tuple(
        f"{label}: {caveat}."
        for label, item in results[0].labels.items()
        if (caveat := pick(item).caveat())
    )
    return Table(f"{name} per label", columns, tuple(rows), notes, forest=True)


def _counts_table(result: RunResult) -> list[Table]:
    return table_of(
        "counts",
        result.labels.items(),
        units="studies" if result.level == "study" else "images",
        counted_as=COUNTED.get(result.blank, result.blank),
    )


def _stored(run: Evaluated, predictions: Predictions, label: str) -> list[Stored]:
    """The operating points on the rows of `predictions`."""
    rows = (predictions.dataset, predictions.split)
    return [
        (
            *(criterion(point.criterion), point.threshold, point.estimates),
            *(point.sensitivity.text(), point.specificity.text()),
        )
        for result in run.results
        if (result.dataset, result.split) == rows and label in result.labels
        for point in result.labels[label].operating_points
        if point.threshold is not None
    ]


def _comparisons(comparisons: Sequence[tuple[tuple[str, str], Comparison]]) -> Section:
    several = len({rows for rows, _ in comparisons}) > 1
    items = [item for _, item in comparisons]
    endpoint = listing(sorted({one.endpoint() for one in items if one.is_primary()}))
    arms = {one.a: one.a_members for one in items} | {one.b: one.b_members for one in items}
    found = table_of("comparisons", comparisons, several=several, endpoint=endpoint, arms=arms)
    texts = [f"{one.endpoint()}, {text}" for one in items if (text := one.margin_text())]
    margins = [Text(f"Non-inferiority in {text}.") for text in texts]
    return Section("comparisons", "Comparison of runs", (*margins, *found))
