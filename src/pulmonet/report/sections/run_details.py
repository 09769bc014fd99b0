"""One run on one split in detail: curves, calibration, operating points, subgroups, errors."""

from functools import partial
from typing import Any

from pulmonet.metrics.results import RunResult
from pulmonet.metrics.tables import Table, Value, table
from pulmonet.report.collect import Context, Evaluated
from pulmonet.report.names import COUNTED, FIGURES
from pulmonet.report.render.blocks import Block, Charts, Picture, Section
from pulmonet.report.texts import paragraphs, table_of
from pulmonet.report.wording import picture_name, safe_name


def run_details(context: Context, run: Evaluated, result: RunResult) -> Section:
    """Everything about one evaluation that does not fit into the tables above."""
    datasets = [one.dataset for one in run.results]
    file = safe_name(run.name, context.collection.names), safe_name(result.dataset, datasets)
    pictures = partial(_pictures, run, result, *file)
    groups = [(f"{group.column}: {group.group}", group) for group in result.subgroups]
    every = [(name, *pair) for name, group in groups for pair in group.labels.items()]
    study, labels = result.study, result.labels.items()
    studies: list[tuple[Any, ...]] = []
    if study:
        studies += [(name, one.n, one.positives, one) for name, one in study.labels.items()]
        studies += [("macro", study.n_studies, "", study.macro)]
    blocks: list[Block] = [
        *paragraphs("run_details", result=result, scrub=context.identities.scrub),
        *table_of("flow", result.flow),
        *_missing(result),
        *pictures("flow"),
        # which the page draws finding by finding
        Charts((), pictures("roc", "precision_recall", "reliability")),
        *table_of("intervals", labels),
        *table_of("conformal", labels),
        *pictures("decision"),
        *table_of("subgroups", every),
        *paragraphs("subgroups_left", result=result),
        *table_of("subgroups_calibration", every),
        *table_of("underdiagnosis", groups),
        *pictures("subgroups", "calibration_subgroups"),
        *table_of("study_level", studies, study=study),
    ]
    title = f"More about {run.name} on {result.dataset}, {result.split}"
    key = "-".join(("detail", *file, safe_name(result.split)))
    return Section(key, title, tuple(blocks), folded=True, beside=True)


def _missing(result: RunResult) -> list[Table]:
    """What is known of each label."""
    kinds = dict.fromkeys(kind for counts in result.missing.values() for kind in counts)
    note = f"Uncertain labels are left out, blank ones {COUNTED.get(result.blank, result.blank)}."
    labels: list[dict[str, Value]] = []
    for label, counts in result.missing.items():
        if (item := result.labels.get(label)) is not None:
            labels.append({"Label": label, "Known": item.n, "Positive": item.positives})
            labels[-1] |= {kind.capitalize(): counts.get(kind, 0) for kind in kinds}
    return table("Missing labels in these rows", labels, [note], key="missing")


def _pictures(
    run: Evaluated, result: RunResult, whose: str, of: str, *names: str
) -> tuple[Picture, ...]:
    """Figures of `evaluate`, under names without identifiers: run and dataset as in files."""
    rows = (result.dataset, result.split)
    return tuple(
        Picture(
            picture_name(whose, name, of, result.split),
            run.figures[*rows, name],
            f"{FIGURES[name]} of {run.name} on {result.dataset}, {result.split}",
        )
        for name in names
        if (*rows, name) in run.figures
    )
