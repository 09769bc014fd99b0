"""`pulmonet evaluate --plan`: how many patients the next study needs; nothing is written."""

from collections.abc import Sequence

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from pulmonet.errors import ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.compare import in_path_order
from pulmonet.flows.evaluate.material import find_sources, read_scores, with_labels
from pulmonet.flows.evaluate.options import EvaluateOptions, Plan
from pulmonet.metrics import planning
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.resamples import number_units
from pulmonet.metrics.studies import join_studies
from pulmonet.run.predictions import Predictions

Row = dict[str, str | int | float]


def run(options: EvaluateOptions) -> int:
    """A row a label of the files of scores, or one of what was assumed."""
    wanted = Plan(**options.plan)
    sources = find_sources(options) if options.predictions else []
    read = [with_labels(read_scores(one, options), options.labels) for one in sources]
    files = [in_path_order(material.predictions) for material in read]
    if files and (wanted.auroc or wanted.prevalence):
        raise ConfigError("--plan: auroc and prevalence are those of --predictions; leave them out")
    if options.level == "study":
        files = [join_studies(one, options.study_rule) for one in files]
    rows = _of_files(wanted, files) if files else [_assumed(wanted)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "label" else "right")
    for row in rows:
        cells = (f"{x:,}" if isinstance(x, int) else f"{x:.3g}" for x in list(row.values())[1:])
        table.add_row(escape(str(row["label"])), *cells)
    console.show_table(table)
    console.note(
        "Patients like these, for one label and one pair of models; a family of comparisons needs "
        "more. 95 % intervals, two-sided tests at 5 %."
    )
    if console.wants_json():
        console.show_json(rows)
    return 0


def _assumed(wanted: Plan) -> Row:
    if wanted.auroc is None or wanted.prevalence is None:
        raise ConfigError("--plan: needs auroc and prevalence, or --predictions FILE")
    known = (wanted.auroc, wanted.prevalence, wanted.images)
    one = planning.variance_a_patient(*known, wanted.alike)
    two = planning.difference_a_patient(one, wanted.auroc, wanted.models)
    return _row(wanted, "assumed", known, one, two)


def _of_files(wanted: Plan, files: list[Predictions]) -> list[Row]:
    """Of the first file's labels; with a second file of the same rows, of their difference."""
    first, rows = files[0], []
    if len(files) > 2 or any(other.paths != first.paths for other in files[1:]):
        raise ConfigError("--plan: takes one file of scores, or two of the same rows")
    for column, label in enumerate(first.labels):
        known = np.isfinite(first.targets[:, column])
        units = number_units(first.patients, len(known))[known]
        having = [one for one in files if label in one.labels]
        scores = [one.scores[known, one.labels.index(label)] for one in having]
        test = delong(first.targets[known, column], np.stack(scores, axis=1), units)
        n_patients, share = len(np.unique(units)), float(first.targets[known, column].mean())
        if not np.isfinite(test.covariance).all() or not test.covariance[0, 0] > 0:
            console.note(f"{label}: left out, its scores have no variance to plan with")
            continue
        auroc, one = float(test.auroc[0]), float(n_patients * test.covariance[0, 0])
        two = planning.difference_a_patient(one, auroc, wanted.models)
        if len(scores) == 2:
            two = float(n_patients * ([1, -1] @ test.covariance @ [1, -1]))
        rows.append(_row(wanted, label, (auroc, share, len(units) / n_patients), one, two))
    if not rows:
        raise ConfigError("--plan: no label of the file has a variance; give auroc=0.8 instead")
    return rows


def _row(wanted: Plan, label: str, known: Sequence[float], one: float, two: float) -> Row:
    names = ("auroc", "prevalence", "images_a_patient")
    row: Row = {"label": label, **dict(zip(names, known, strict=True))}
    if wanted.width is not None:
        row[f"patients_for_width_{wanted.width:g}"] = planning.patients_for_width(one, wanted.width)
    if wanted.difference is not None:
        n = planning.patients_for_power(two, wanted.difference, wanted.power)
        row[f"patients_for_difference_{wanted.difference:g}"] = n
    return row
