"""Results: tables with intervals, groups that are not distinguished, and each run in detail."""

import zlib
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from pulmonet.figures.comparison import draw_model_comparison
from pulmonet.figures.style import render
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import LabelResult
from pulmonet.metrics.results import UNKNOWN_USE, Comparison, RunResult, baselines_of, label_results
from pulmonet.metrics.tables import Cell, Table, by_run, grid
from pulmonet.report.collect import Collection, Context, Evaluated, key_of, kind_of
from pulmonet.report.render.blocks import Block, Picture, Section, ThresholdExplorer
from pulmonet.report.render.threshold_steps import Stored, threshold_steps
from pulmonet.report.sections.curves import curves_section
from pulmonet.report.sections.run_details import run_details
from pulmonet.report.texts import paragraphs, table_of
from pulmonet.report.wording import combination_notes, criterion, difference_of, listing, safe_name
from pulmonet.run.predictions import Predictions

Compared = Sequence[tuple[tuple[str, str], Comparison]]
"""(dataset, split) and a comparison on its rows."""


def results_section(context: Context) -> Section:
    """All evaluations; what is missing is named."""
    collection = context.collection
    missing = [run.name for run in collection.trained if not run.results]
    blocks: list[Block] = [*paragraphs("results", missing=missing)]
    if not collection.results:
        return Section("results", "Results", tuple(blocks))
    groups = grouped(collection)
    children = _splits(groups, collection.comparisons)
    if collection.comparisons:
        children.append(_comparisons(collection.results, collection.comparisons))
    every = [(found, result) for found in collection.evaluated for result in found.results]
    children += [run_details(context, found, result) for found, result in every]
    cases = (
        (result, label, case)
        for _, result in every
        for label, item in result.labels.items()
        for case in item.contradictions().values()
    )
    if found_cases := table_of("worst_cases", cases, identities=context.identities):
        parts = tuple(found_cases)
        children.append(Section("worst-cases", "Worst cases", parts, folded=True, beside=True))
    steps = [
        threshold_steps(predictions, label, _stored(found, predictions, label))
        for found in collection.evaluated
        for predictions in found.predictions
        for label in predictions.labels
    ]
    lead = collection.headline(collection.best_run())
    opens = lead and (lead.run, lead.dataset, lead.split)  # what speaks for the best run
    drawn = sorted(filter(None, steps), key=lambda x: (x.run, x.dataset, x.split) != opens)
    explorer = ThresholdExplorer(tuple(drawn))
    if explorer.steps:
        children.append(Section("thresholds", "Choose a threshold", (explorer,)))
    return Section("results", "Results", tuple(blocks), tuple(children))


def overview(collection: Collection) -> list[Block]:
    """The table and the figure of the first page."""
    groups = grouped(collection)
    if not groups:
        return []
    of_rows, main = [item for _, item in collection.comparisons], groups[0]
    every = sorted(collection.results, key=lambda one: (one.trained_on, one.run))
    found = table_of("collections", every) if len(groups) > 1 else macro_table(main)
    shown = [result for result in _ranked(main) if result.macro.auroc.value is not None]
    names = listing([result.run for result in shown])
    words = f"AUROC of {names} on {main[0].dataset}, {main[0].split}"
    intervals = any(one.macro.auroc.low is not None for one in shown)
    words += ", with 95 % intervals" * intervals
    png = render(draw_model_comparison(shown, of_rows)) if shown else b""
    return [*found, *[Picture("overview.png", png, words)] * bool(shown)]


def grouped(collection: Collection) -> list[list[RunResult]]:
    """Evaluations of the same rows, those of the best run first.

    Patient folds that were pooled share a group.
    """
    pooled = [result for result in collection.results if result.combines == "out-of-fold"]
    groups: dict[tuple[object, ...], list[RunResult]] = {}
    for result in collection.results:
        wholes = tuple(whole.run for whole in pooled if result.run in whole.members)
        rows = collection.rows_of(result)
        key = (*rows[:3], wholes) if wholes else rows
        groups.setdefault(key, []).append(result)
    best = collection.headline(collection.best_run())
    found = sorted(groups.values(), key=lambda group: all(one is not best for one in group))
    return [_of_one_comparison(collection, group) for group in found]


def _of_one_comparison(collection: Collection, group: list[RunResult]) -> list[RunResult]:
    """Without letters where several comparisons gave them: an a of one is no a of another."""
    lettered = (key_of(result) for result in group if result.group_letters)
    compared = (collection.compared.get(key, ()) for key in lettered)
    if len({frozenset(run for one in items for run in one.runs()) for items in compared}) < 2:
        return group
    return [result.model_copy(update={"group_letters": ""}) for result in group]


def _splits(groups: list[list[RunResult]], comparisons: Compared) -> list[Section]:
    """A section for each group; all but the first stand beside."""
    titles = [
        f"{first.dataset}, {first.split} split{' (studies)' if first.level == 'study' else ''}"
        for first, *_ in groups
    ]
    pooled = [one for group in groups for one in group if one.combines == "out-of-fold"]
    sections = []
    for title, results in zip(titles, groups, strict=True):
        names = [result.run for result in results]
        parts = {whole.run: [one for one in names if one in whole.members] for whole in pooled}
        folds = {whole: some for whole, some in parts.items() if some}
        is_alone = titles.count(title) == 1
        said = paragraphs(
            "rows",
            used=sorted({use for result in results for use in result.known_uses()}),
            unknown_use=any(UNKNOWN_USE in result.rows_used_for for result in results),
            folds=folds,
            is_alone=is_alone,
            names=names,
        )
        name = title if is_alone else f"{title}: {listing(names)}"
        name = f"{title}: folds of {listing(list(folds))}" if folds else name
        counted = label_results(results).items() if _same_rows(results) else ()
        blocks = (
            *said,
            *(macro_table(results) if len(groups) > 1 else ()),
            *_label_table("AUROC", results, lambda label: label.auroc),
            *_label_table("Average precision", results, lambda label: label.average_precision),
            *table_of("counts", counted, result=results[0]),
            *_differences(results, comparisons),
        )
        # names may hold any character, an anchor may not
        key = f"{safe_name(title)}-{zlib.crc32(name.encode('utf-8', 'surrogatepass')):x}"
        sections.append(Section(f"results-{key}", name, blocks, beside=results is not groups[0]))
        sections.append(curves_section(f"curves-{key}", name, _ranked(results)))
    return sections


def macro_table(results: list[RunResult]) -> list[Table]:
    ranked = _ranked(results)
    rows: list[tuple[Any, ...]] = [(result.run, result.macro, result) for result in ranked]
    baselines = baselines_of(ranked if _same_rows(results) else [])
    for name, baseline in baselines.items():
        rows.append((Cell(name, kind="muted"), baseline.macro, None))
    return table_of("macro", rows, combination_notes(ranked), baselines=baselines, results=ranked)


def _label_table(
    name: str, results: list[RunResult], pick: Callable[[LabelResult], Estimate]
) -> list[Table]:
    labels = label_results(results)
    cells = {
        (label, one.run): pick(one.labels[label]) if label in one.labels else None
        for label in labels
        for one in _ranked(results)
    }
    alike = _same_rows(results)
    caveats = {
        f"{'' if alike else f'{one.run}, '}{label}: {caveat}.": None
        for one in results
        for label, item in one.labels.items()
        if (caveat := pick(item).caveat())
    }
    return by_run(f"{name} per label", "Label", cells, notes=tuple(caveats), forest=True)


def _same_rows(results: list[RunResult]) -> bool:
    """Not so of patient folds beside what they were pooled to."""
    return len(set(map(kind_of, results))) == 1


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


def _differences(results: list[RunResult], comparisons: Compared) -> list[Table]:
    """The primary endpoint's differences on some rows: a row's run less a column's."""
    rows, names = (results[0].dataset, results[0].split), {result.run for result in results}
    items = [item for of, item in comparisons if of == rows and item.is_primary()]
    found = {(one.a, one.b): one for one in items if {*one.runs()} <= names}
    ranked = [one.run for one in _ranked(results)] + [run for pair in found for run in pair]
    runs = [run for run in dict.fromkeys(ranked) if any(run in pair for pair in found)]
    cells: dict[tuple[str, str], Estimate | str] = {}
    for a, b in product(runs[:-1], runs[1:]):
        cells[a, b] = ""
        if runs.index(a) < runs.index(b) and {(a, b), (b, a)} & {*found}:
            cells[a, b] = difference_of(found.get((a, b)) or found[b, a], swap=(a, b) not in found)
    endpoint = _endpoint(results, [(rows, one) for one in items])
    caption = f"Differences in {endpoint}: the row's run less the column's"
    notes = ("Simultaneous 95 % intervals: where one leaves out 0, the runs differ significantly.",)
    return grid(caption, "Run", cells, notes=notes, key="differences")


def _endpoint(results: list[RunResult], comparisons: Compared) -> str:
    """The primary one in the results' words: a macro with its labels, where some average more."""
    sides = {(run, *rows) for rows, one in comparisons if one.is_primary() for run in one.runs()}
    return listing(sorted({one.primary for one in results if key_of(one) in sides}))


def _ranked(results: list[RunResult]) -> list[RunResult]:
    return sorted(results, key=lambda result: -(result.macro.auroc.value or -1.0))


def _comparisons(results: list[RunResult], comparisons: Compared) -> Section:
    several = len({rows for rows, _ in comparisons}) > 1
    items = [item for _, item in comparisons]
    endpoint = _endpoint(results, comparisons)
    arms = {one.a: one.a_members for one in items} | {one.b: one.b_members for one in items}
    found = table_of("comparisons", comparisons, several=several, endpoint=endpoint, arms=arms)
    margins = paragraphs("margins", items=items, endpoint=endpoint)
    return Section(
        "comparisons", "All differences between runs", (*margins, *found), folded=True, beside=True
    )
