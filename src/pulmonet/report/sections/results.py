"""Results: tables with intervals, groups that are not distinguished, and each run in detail."""

import zlib
from collections.abc import Callable, Sequence

from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import LabelResult
from pulmonet.metrics.results import UNKNOWN_USE, Comparison, MacroResult, RunResult, baselines_of
from pulmonet.report.collect import Context, Evaluated, rows_of
from pulmonet.report.render.blocks import Block, Cell, Section, Table, Text, ThresholdExplorer
from pulmonet.report.render.threshold_steps import threshold_steps
from pulmonet.report.sections.run_details import run_details
from pulmonet.report.wording import (
    COUNTED,
    Value,
    cell,
    combination_notes,
    criterion,
    listing,
    number,
    percent,
    table,
)
from pulmonet.run.predictions import Predictions

#: Up to this many runs stand side by side as columns; more become rows.
MAX_RUN_COLUMNS = 4


def results_section(context: Context) -> Section:
    """All evaluations; what is missing is named."""
    collection = context.collection
    blocks: list[Block] = []
    if missing := [run.name for run in collection.trained if not run.results]:
        words = f"Not evaluated: {listing(missing)}. `pulmonet evaluate` fills this in."
        blocks.append(Text(words, "note"))
    if not collection.results:
        final = collection.final_table
        rows = (
            {str(column): v if isinstance(v, float) else str(v) for column, v in row.items()}
            for row in ([] if final is None else final.to_dict("records"))
        )
        blocks += table("final_evaluation_results.csv, as it is", rows)
        return Section("results", "Results", tuple(blocks))
    if len({result.dataset for result in collection.results}) > 1:
        cells: list[dict[str, Value]] = [
            {
                **{"Trained on": one.trained_on or None, "Run": one.run, "Tested on": one.dataset},
                **{"Split": one.split, "Testing": one.testing(), "Labels": one.macro.n_labels},
                "Macro AUROC": one.macro.auroc,
            }
            for one in sorted(collection.results, key=lambda one: (one.trained_on, one.run))
        ]
        blocks += table("Trained on, tested on", cells, forest=True)
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
        _one_split(title, group, pooled, is_alone=titles.count(title) == 1)
        for title, group in zip(titles, groups.values(), strict=True)
    ]


def _one_split(
    title: str, results: list[RunResult], pooled: list[RunResult], *, is_alone: bool
) -> Section:
    """Tables of `results`; beside other rows of the same split they are told apart by name."""
    first = Text(
        "These rows chose neither a checkpoint nor a calibration. Whether settings were chosen "
        "by looking at them is not in the artifacts."
    )
    if any(UNKNOWN_USE in result.rows_used_for for result in results):
        first = Text("Scores from a file: what these rows decided before is not known.")
    if used := sorted({use for result in results for use in result.known_uses()}):
        words = f"These rows had been used for {listing(used)}: the numbers are somewhat too good."
        first = Text(words, "warning")
    names = [result.run for result in results]
    folds = [(whole.run, [one for one in names if one in whole.members]) for whole in pooled]
    notes = [
        f"{listing(parts)} are folds of {whole}, each on rows of its own: see there."
        for whole, parts in folds
        if parts
    ]
    if notes:
        title = f"{title}: folds of {listing([whole for whole, parts in folds if parts])}"
    elif not is_alone:
        title = f"{title}: {listing(names)}"
        what = "Other runs were tested on other rows of this split:"
        notes.append(f"{what} {listing(names)} cannot be compared with them by these numbers.")
    blocks = (
        first,
        *(Text(note, "note") for note in notes),
        *_macro_table(results),
        _label_table("AUROC", results, lambda label: label.auroc),
        _label_table("Average precision", results, lambda label: label.average_precision),
        *(_counts_table(results[0]) if len(set(map(rows_of, results))) == 1 else ()),
    )
    # names may hold any character, an anchor may not
    key = zlib.crc32(title.encode("utf-8", "surrogatepass"))
    return Section(f"results-{key}", title, blocks)


def _macro_table(results: list[RunResult]) -> list[Table]:
    ranked = sorted(results, key=lambda result: -(result.macro.auroc.value or -1.0))
    units = "Studies" if ranked[0].level == "study" else "Images"

    def row(name: Value, macro: MacroResult, result: RunResult | None) -> dict[str, Value]:
        return {
            "Run": name,
            "Macro AUROC": macro.auroc,
            "Macro average precision": macro.average_precision,
            "Labels": macro.counted().removesuffix(" labels") if macro.left_out else macro.n_labels,
            "Group": (result.group_letters if result else "") or None,
            units: result.n_rows if result else None,
            "Patients": result.n_patients if result else None,
        }

    rows = [row(result.run, result.macro, result) for result in ranked]
    facts = ranked[0].bootstrap
    notes = [
        f"In brackets: 95 % intervals from {facts.n_resamples:,} resamples of {facts.unit}s "
        f"(seed {facts.seed}, {facts.method})."
    ]
    if endpoint := next((result.primary for result in results if result.group_letters), None):
        notes.append(f"Runs that share a letter are not significantly different in {endpoint}.")
    some = ranked if len(set(map(rows_of, results))) == 1 else []
    for name, baseline in baselines_of(some).items():
        rows.append(row(Cell(name, kind="muted"), baseline.macro, None))
        what = f"The {name} sees no image: a logistic model on {listing(baseline.features)},"
        notes.append(f"{what} fitted on {baseline.fitted_on}.")
    notes += combination_notes(ranked)
    caption = "Mean over the labels" + (", best first" if len(results) > 1 else "")
    return table(caption, rows, notes, forest=True)


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
    units = "studies" if result.level == "study" else "images"
    return table(
        "Rows behind the numbers",
        (
            {
                "Label": label,
                f"Known {units}": item.n,
                "Positive": item.positives,
                "Prevalence": Cell(percent(item.prevalence), item.prevalence),
                "Patients": item.n_patients,
                "Positive patients": item.positive_patients,
                "Remark": item.auroc.caveat()
                or ("fewer than 20: thresholds are uncertain" if item.few_positives else ""),
            }
            for label, item in result.labels.items()
        ),
        [f"Blank labels {COUNTED.get(result.blank, result.blank)}, uncertain ones are left out."],
    )


def _stored(run: Evaluated, predictions: Predictions, label: str) -> list[tuple[str, float]]:
    """(criterion, threshold) of the operating points on the rows of `predictions`."""
    rows = (predictions.dataset, predictions.split)
    return [
        (criterion(point.criterion), point.threshold)
        for result in run.results
        if (result.dataset, result.split) == rows and label in result.labels
        for point in result.labels[label].operating_points
        if point.threshold is not None
    ]


def _comparisons(comparisons: Sequence[tuple[tuple[str, str], Comparison]]) -> Section:
    several = len({rows for rows, _ in comparisons}) > 1
    items = [item for _, item in comparisons]
    endpoint = listing(sorted({one.endpoint() for one in items if one.is_primary()}))
    notes = [
        f"Intervals and p values come from one procedure (max-t) in two families: {endpoint}, the "
        "primary endpoint (`evaluate --primary`), over all pairs; all other rows together. Each "
        "family calls equal runs different in at most 5 % of datasets."
    ]
    arms = {one.a: one.a_members for one in items} | {one.b: one.b_members for one in items}
    notes += [
        f"{arm} is one arm, the mean of {listing(runs)}: its intervals hold for other seeds, too."
        for arm, runs in arms.items()
        if runs
    ]
    found = table(
        "Differences on the same rows and the same resamples",
        (
            ({"Rows": ", ".join(rows)} if several else {})
            | {
                "Runs": f"{item.a} less {item.b}",
                "Measure": item.metric.replace("_", " ").replace("auroc", "AUROC"),
                "Label": item.label or "macro",
                "Difference": Cell(
                    f"{number(item.difference)} ({number(item.low)} to {number(item.high)})",
                    item.difference,
                ),
                "p (adjusted)": item.p_adjusted,  # an older file's is of another rule
                "p (DeLong)": item.p_delong,
                "Significant": "yes" if item.distinguished else "no",
            }
            for rows, item in comparisons
        ),
        notes,
    )
    texts = [f"{one.endpoint()}, {text}" for one in items if (text := one.margin_text())]
    margins = [Text(f"Non-inferiority in {text}.") for text in texts]
    return Section("comparisons", "Comparison of runs", (*margins, *found))
