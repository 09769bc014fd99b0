"""`--verify`: whether artifacts follow from each other: digests, and numbers from the scores."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pulmonet.flows import console
from pulmonet.flows.options import check_options
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.metrics.subgroups import DEFAULT_COLUMNS
from pulmonet.report.collect import Collection
from pulmonet.report.stale import Reader
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.words import count, list_first

_TABLE = "final_evaluation_results.csv"
#: What follows from the predictions and the options.
_COMPUTED = {"n_rows", "n_patients", "n_studies", "bootstrap", "labels", "macro", "study"}
_COMPUTED |= {"subgroups"}


def verify(collection: Collection, artifacts_dir: Path) -> dict[str, str]:
    """A verdict for each run, ensemble and so on, and each file beside them, which is said too.

    It begins with ``verified``, ``not verified`` (something is missing) or ``differs``.
    """
    attempt = Reader(artifacts_dir, [*collection.problems, *collection.stale])
    verdicts: dict[str, str] = {}
    missing, wrong = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for found in collection.evaluated:
        run_dir = RunDir(artifacts_dir / found.name)
        verdicts[found.name] = f"verified (weights and {count(len(found.results), 'evaluation')})"
        if run_dir.exists() and not run_dir.best_model_path.exists():
            missing[found.name].append("best_model.pth is not there")
        stored = attempt(run_dir.calibration_path, read_calibration)
        tables = {(rows.dataset, rows.split): rows for rows in found.predictions}
        for result in found.results:
            path = run_dir.evaluation_path(result.dataset, result.split)
            rows = tables.get((result.dataset, result.split))
            if rows is None:
                missing[found.name].append(f"{path.name}: its predictions are not there")
            else:
                wrong[found.name] += attempt(path, partial(_differing, result, rows, stored)) or []
    table = attempt(artifacts_dir / _TABLE, final_table.read_table)
    for name, text in () if table is None else _differing_rows(collection, table):
        wrong[name].append(text)
    for problem in reversed(dict.fromkeys(attempt.problems)):  # before what may come of them
        name, _, file = problem.where.partition("/")
        wrong[name].insert(0, f"{file or name}: {problem.what}")
    for name in (*verdicts, *wrong):
        if wrong[name]:
            verdicts[name] = f"differs: {list_first(wrong[name])}"
        elif missing[name]:
            verdicts[name] = f"not verified: {list_first(missing[name])}"
    for name, verdict in verdicts.items():
        console.say(f"{name}: {verdict}")
    return verdicts


def _differing(
    result: RunResult, rows: Predictions, stored: Calibration | None, path: Path
) -> list[str]:
    """Numbers of the evaluation at `path` that do not follow from its predictions."""
    columns = [rows.labels.index(label) for label in result.labels if label in rows.labels]
    if len(columns) < len(result.labels):
        return [f"{path.name}: {rows.run}: its predictions lack a label of it"]
    targets, scores = rows.targets[:, columns], rows.scores[:, columns]
    rows = replace(rows, labels=tuple(result.labels), targets=targets, scores=scores)
    points = {label: item.operating_points for label, item in result.labels.items()}
    every = [point for of_label in points.values() for point in of_label]
    kinds = (item.calibrated.calibrator for item in result.labels.values() if item.calibrated)
    is_stored = any(point.estimates == "threshold" for point in every)
    options = check_options(
        EvaluationOptions,
        {
            "n_resamples": result.bootstrap.n_resamples,
            "seed": result.bootstrap.seed,
            "interval": result.bootstrap.method,
            "level": result.level,
            "study_rule": result.study.rule if result.study else "max",
            "criteria": tuple(dict.fromkeys(point.criterion for point in every)),
            "calibrator": next(filter(None, kinds), "platt"),
            "prevalence": {
                label: of_label[0].deployment_prevalence
                for label, of_label in points.items()
                if of_label and of_label[0].deployment_prevalence
            },
            "subgroup_columns": tuple(
                name
                for name in dict.fromkeys(group.column for group in result.subgroups)
                if name in rows.columns and name not in DEFAULT_COLUMNS
            ),
        },
    )
    again = evaluate_predictions(rows, options, stored=stored if is_stored else None)
    said = result.model_dump(include=_COMPUTED, exclude_unset=True)
    return [f"{path.name}: {what}" for what in _walk(said, again.model_dump(), "")]


def _walk(said: Any, again: Any, where: str) -> Iterator[str]:
    """``labels.Edema.auroc.value is 0.91, and computed again 0.71`` for each that differs."""
    if isinstance(said, Mapping) and isinstance(again, Mapping):
        for key in said:
            yield from _walk(said[key], again.get(key), f"{where}.{key}".lstrip("."))
    elif (
        isinstance(said, list | tuple)
        and isinstance(again, list | tuple)
        and len(said) == len(again)
    ):
        for place, pair in enumerate(zip(said, again, strict=True)):
            yield from _walk(*pair, f"{where}.{place}")
    elif isinstance(said, float) and isinstance(again, float):
        if not math.isclose(said, again, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{where} is {said:.9g}, and computed again {again:.9g}"
    elif said != again:
        yield f"{where} is {said!r}, and computed again {again!r}"


def _differing_rows(collection: Collection, table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(run, cell of the `table` that its evaluation does not have)."""
    key = ["Model", "Dataset", "Split"]
    rows = {tuple(row[name] for name in key): row for row in table.to_dict("records")}
    for result in collection.results:
        new = final_table.table_of([result]).to_dict("records")[0]
        old = rows.get(tuple(new[name] for name in key), {})
        for name, value in new.items():
            if name in old and name not in ("Group", "Combines") and old[name] != value:
                yield result.run, f"{_TABLE}: {name} is {old[name]}, in the evaluation {value}"
