"""`--verify`: whether artifacts follow from each other: digests, and numbers from the scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pulmonet.choices import CalibratorKind
from pulmonet.flows import console
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.metrics.subgroups import DEFAULT_COLUMNS
from pulmonet.report.collect import Collection
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.words import count, list_first

#: What follows from the predictions and the options.
_COMPUTED = {"n_rows", "n_patients", "n_studies", "bootstrap", "labels", "macro", "study"}
_COMPUTED |= {"subgroups"}


def verify(collection: Collection, artifacts_dir: Path) -> dict[str, str]:
    """A verdict for each run, ensemble and so on, and each file beside them, which is said too.

    It begins with ``verified``, ``not verified`` (something is missing) or ``differs``.
    """
    wrong: dict[str, list[str]] = {found.name: [] for found in collection.evaluated}
    missing: dict[str, list[str]] = {name: [] for name in wrong}
    for problem in (*collection.problems, *collection.stale):
        folder, _, file = problem.where.partition("/")
        name = folder if file else problem.where
        wrong.setdefault(name, []).append(f"{file or problem.where}: {problem.what}")
    for found in collection.evaluated:
        run_dir = RunDir(artifacts_dir / found.name)
        if run_dir.exists() and not run_dir.best_model_path.exists():
            missing[found.name].append("best_model.pth is not there")
        tables = {(rows.dataset, rows.split): rows for rows in found.predictions}
        for result in found.results:
            file = run_dir.evaluation_path(result.dataset, result.split).name
            rows = tables.get((result.dataset, result.split))
            if rows is None:
                missing[found.name].append(f"{file}: its predictions are not there")
            else:
                wrong[found.name] += [
                    f"{file}: {what}" for what in _differing(result, rows, run_dir)
                ]
    for name, text in _differing_rows(collection, artifacts_dir):
        wrong[name].append(text)
    n_results = {found.name: len(found.results) for found in collection.evaluated}
    verdicts = {}
    for name, differences in wrong.items():
        verdicts[name] = f"verified (weights and {count(n_results.get(name, 0), 'evaluation')})"
        if found_missing := missing.get(name):
            verdicts[name] = f"not verified: {list_first(found_missing)}"
        if differences:
            verdicts[name] = f"differs: {list_first(differences)}"
        console.say(f"{name}: {verdicts[name]}")
    return verdicts


def _differing(result: RunResult, rows: Predictions, run_dir: RunDir) -> list[str]:
    """Numbers of an evaluation that do not follow from its predictions."""
    columns = [rows.labels.index(label) for label in result.labels if label in rows.labels]
    if len(columns) < len(result.labels):
        return [f"{rows.run}: its predictions lack a label of it"]
    labels = tuple(result.labels)
    rows = replace(
        rows, labels=labels, targets=rows.targets[:, columns], scores=rows.scores[:, columns]
    )
    points = {label: item.operating_points for label, item in result.labels.items()}
    every = [point for of_label in points.values() for point in of_label]
    kinds = [item.calibrated.calibrator for item in result.labels.values() if item.calibrated]
    stored = read_calibration(run_dir.calibration_path)
    is_stored = any(point.estimates == "threshold" for point in every)
    options = EvaluationOptions(
        n_resamples=result.bootstrap.n_resamples,
        seed=result.bootstrap.seed,
        interval=result.bootstrap.method,
        level=result.level,
        study_rule=result.study.rule if result.study else "max",
        criteria=tuple(dict.fromkeys(point.criterion for point in every)),
        calibrator=next((cast("CalibratorKind", kind) for kind in kinds if kind), "platt"),
        prevalence={
            label: of_label[0].deployment_prevalence
            for label, of_label in points.items()
            if of_label and of_label[0].deployment_prevalence
        },
        subgroup_columns=tuple(
            name
            for name in dict.fromkeys(group.column for group in result.subgroups)
            if name in rows.columns and name not in DEFAULT_COLUMNS
        ),
    )
    again = evaluate_predictions(rows, options, stored=stored if is_stored else None)
    said = result.model_dump(include=_COMPUTED, exclude_unset=True)
    return list(_walk(said, again.model_dump(), ""))


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


def _differing_rows(collection: Collection, artifacts_dir: Path) -> Iterator[tuple[str, str]]:
    """(run, cell of final_evaluation_results.csv that its evaluation does not have)."""
    path = artifacts_dir / "final_evaluation_results.csv"
    key = ["Model", "Dataset", "Split"]
    rows = {
        tuple(row[name] for name in key): row
        for row in final_table.read_table(path).to_dict("records")
    }
    for result in collection.results:
        new = final_table.table_of([result]).to_dict("records")[0]
        old = rows.get(tuple(new[name] for name in key), {})
        for name in new:
            if name in old and name != "Group" and old[name] != new[name]:
                yield (
                    result.run,
                    f"{path.name}: {name} is {old[name]}, in the evaluation {new[name]}",
                )
