"""Comparing the runs that `evaluate` was given: those on the very same rows, label by label."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.labels import match_label
from pulmonet.metrics.fixed_threshold import compare_at_thresholds
from pulmonet.metrics.ranking.comparison import ModelComparison, compare
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS, number_units
from pulmonet.metrics.results import Comparison, Evaluation, RunResult, read_evaluation
from pulmonet.metrics.studies import join_studies
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import joint_digest
from pulmonet.words import count, did_you_mean, list_first


def compare_all(
    predictions: Sequence[Predictions], results: Sequence[RunResult], options: EvaluateOptions
) -> tuple[list[RunResult], list[Comparison]]:
    """Compare runs that were evaluated on the very same rows: results with letters, and pairs."""
    groups: dict[tuple[Any, ...], list[tuple[int, Predictions]]] = {}
    for number, (images, result) in enumerate(zip(predictions, results, strict=True)):
        study = options.level == "study"
        rows = in_path_order(join_studies(images, options.study_rule) if study else images)
        key = (rows.dataset, rows.split, rows.paths, result.blank)
        groups.setdefault(key, []).append((number, rows))
    _say_unmatched([rows for (_, rows), *_ in groups.values()])
    lettered, records = list(results), []
    weights = {result.run: result.checkpoint_sha256 for result in results}
    for group in groups.values():
        own_results = [results[number] for number, _ in group]
        rows_of = [rows for _, rows in group]
        found = _compare_group(rows_of, own_results, options) if len(group) > 1 else None
        if found is not None:
            for one in found.comparisons:
                a, b = (joint_digest(map(weights.get, side)) for side in one.sides())
                facts = {"rows": own_results[0].rows(), "a_sha256": a, "b_sha256": b}
                records.append(one.model_copy(update=facts))
            letters = dict(zip(found.names, found.letters, strict=True))
            arm_of = {run: arm for arm, runs in _arms(options).items() for run in runs}
            for number, rows in group:
                of_run = letters.get(arm_of.get(rows.run, ""), letters.get(rows.run, ""))
                own = [test for test in found.threshold_tests if rows.run in (test.a, test.b)]
                update = {"group_letters": of_run, "threshold_tests": own}
                update["primary"] = _endpoint(found.comparisons, own_results)
                lettered[number] = lettered[number].model_copy(update=update)
    return lettered, records


def _endpoint(comparisons: Sequence[Comparison], results: Sequence[RunResult]) -> str:
    """The primary one; of a macro its labels, where runs' own macros average others, too."""
    labels, said = [one.label for one in comparisons if one.label], comparisons[0].endpoint()
    if comparisons[0].label or all({*one.macro.labels} == {*labels} for one in results):
        return said
    return f"{said} of {', '.join(dict.fromkeys(labels))}"


def check_arms(options: EvaluateOptions, names: Sequence[str]) -> None:
    """Refuse arms of what is not evaluated, of all that is, or called as a row is.

    Raises:
        ConfigError: with the runs that there are.
    """
    made = options.combination()
    for arm, members in _arms(options).items():
        for run in members:
            if run not in names:
                text = f"--arm {arm}: {run} is not evaluated here{did_you_mean(run, names)}"
                raise ConfigError(f"{text}; choose from {', '.join(names)}")
        is_taken = arm in {*names, made and made.name}
        if is_taken or set(members) == set(names):
            what = "is a run's name" if is_taken else "is of all runs: there is nothing else"
            raise ConfigError(f"--arm {arm}: {what}; choose another name, or name more runs")


def _arms(options: EvaluateOptions) -> dict[str, list[str]]:
    """Runs by arm, as their results are called."""
    return {arm: [options.name_of(run) for run in runs] for arm, runs in options.arms.items()}


def earlier_comparison(
    materials: Sequence[Material], results: Sequence[RunResult], options: EvaluateOptions
) -> tuple[list[RunResult], list[Comparison]] | None:
    """Letters and pairs of an earlier call with more runs; None where anything is another now.

    So a run that is evaluated again, alone, takes nothing away from those it was compared with,
    if these hold the same pairs still.
    """
    lettered: list[RunResult] = []
    records: dict[tuple[str, str, str, str, str | None], Comparison] = {}
    if options.arms or options.primary != "macro" or options.margin:
        return None
    for material, result in zip(materials, results, strict=True):
        where, folder = (result.dataset, result.split), material.run_dir.path
        before = _before(folder, where)
        names = {name for item in before.comparisons for name in item.runs()}
        old = next((one for one in before.runs if one.run == result.run), None)
        here = {one.run for one in results if (one.dataset, one.split) == where}
        if old is None or not here < names or _ranked(old) != _ranked(result):
            return None
        theirs = {name: _before(folder.parent / name, where).comparisons for name in names - here}
        pairs = ((one, name) for one in before.comparisons for name in {*one.runs()} - here)
        if any(one not in theirs[name] for one, name in pairs):
            return None
        same: dict[str, Any] = {"group_letters": old.group_letters, "primary": old.primary}
        if _thresholds(old) == _thresholds(result):
            same["threshold_tests"] = old.threshold_tests
        lettered.append(result.model_copy(update=same))
        before_here = [one.model_copy(update={"rows": result.rows()}) for one in before.comparisons]
        records |= {(one.rows, one.a, one.b, one.metric, one.label): one for one in before_here}
    every = {name for item in records.values() for name in item.runs()}
    others = every - {one.run for one in results}
    if others:
        console.note(
            f"{list_first(one.run for one in results)}: of the same weights, rows and scores as "
            f"before, so the comparison with {list_first(sorted(others))} stays"
        )
    return lettered, [*records.values()]


def _before(folder: Path, where: tuple[str, str]) -> Evaluation:
    """What an earlier call wrote; nothing where that is not there, or damaged."""
    with contextlib.suppress(ArtifactError):
        return read_evaluation(RunDir(folder).evaluation_path(*where))
    return Evaluation(runs=[])


def _thresholds(result: RunResult) -> list[float | None]:
    points = (point for item in result.labels.values() for point in item.operating_points)
    return [point.threshold for point in points if point.estimates == "threshold"]


def _ranked(result: RunResult) -> dict[str, Any]:
    """What two evaluations share whose rows are ranked alike."""
    every = {"auroc", "average_precision"}
    facts = dict.fromkeys(("checkpoint_sha256", "dataset_fingerprint", "level", "blank"), True)
    facts |= dict.fromkeys(("bootstrap", "n_rows", "n_patients", "macro"), True)
    return result.model_dump(include={**facts, "labels": {"__all__": every}})


def _say_unmatched(firsts: Sequence[Predictions]) -> None:
    """Why files of scores are not compared: how many paths they share, and one that they do not."""
    files = [rows for rows in firsts if rows.dataset == "predictions"]
    for other in files[1:]:
        ours, theirs = {*files[0].paths}, {*other.paths}
        alone = min(ours ^ theirs, default="")
        owner = files[0] if alone in ours else other
        console.note(
            f"{files[0].run} and {other.run} are not compared: they share "
            f"{len(ours & theirs):,} of {len(ours):,} and {len(theirs):,} paths; only {owner.run} "
            f"has {alone!r}"
        )


def in_path_order(predictions: Predictions) -> Predictions:
    """Rows sorted by path, so that files in another order compare; left alone on doubles."""
    if len(set(predictions.paths)) < len(predictions.paths):
        return predictions
    return predictions.take(np.argsort(np.asarray(predictions.paths), kind="stable"))


def _compare_group(
    group: Sequence[Predictions], results: Sequence[RunResult], options: EvaluateOptions
) -> ModelComparison | None:
    first, names = group[0], [predictions.run for predictions in group]
    targets_of = [dict(zip(run.labels, run.targets.T, strict=True)) for run in group]
    shared = [
        label
        for label, ours in targets_of[0].items()
        if all(
            label in of_run and np.array_equal(of_run[label], ours, equal_nan=True)
            for of_run in targets_of
        )
    ]
    if not shared:
        console.warn(f"{', '.join(names)}: no label with the same targets; not compared")
        return None
    if any(set(shared) != set(predictions.labels) for predictions in group):
        console.note(f"compared on the labels that all runs share: {', '.join(shared)}")
        for run, of_run in zip(group[1:], targets_of[1:], strict=True):
            for label in targets_of[0].keys() & of_run.keys() - {*shared}:
                same = np.isclose(of_run[label], targets_of[0][label], equal_nan=True)
                rows = count(int((~same).sum()), "row")
                console.note(f"{label}: {run.run} has other targets in {rows} than {names[0]}")
    targets = np.stack([targets_of[0][label] for label in shared], axis=1)
    scores = [run.scores[:, [run.labels.index(label) for label in shared]] for run in group]
    n_rows, named = len(first.paths), [run for run in group if run.patients is not None]
    every = [number_units(run.patients, n_rows) for run in named or group]
    units = every[0]  # known if any of the files names them
    for run, theirs in zip(named, every, strict=False):
        if n_other := int((theirs != units).sum()):
            where = f"in {n_other:,} of {count(n_rows, 'row')}"
            what = f"{named[0].run} and {run.run} name other patients {where}"
            console.warn(f"{what}; not compared, make them the same")
            return None
    primary = None if options.primary == "macro" else match_label(options.primary, shared)
    if primary is None and options.primary != "macro":
        what = f"no label that all have with the same targets is called {options.primary}"
        console.warn(f"{', '.join(names)}: {what}; not compared")
        return None
    arms = {arm: runs for arm, runs in _arms(options).items() if {*runs} <= {*names}}
    if arms.keys() < options.arms.keys():
        left_out = ", ".join(options.arms.keys() - arms.keys())
        console.warn(f"--arm {left_out}: not all of its runs were scored on the same rows")
    how = options.model_dump(include={"n_resamples", "seed", "margin"})
    found = compare(names, shared, targets, scores, units, primary=primary, arms=arms, **how)
    if not found.comparisons:
        console.warn(
            f"{', '.join(names)} on {results[0].rows()}: not compared, {primary or 'no label'} "
            f"{'lacks' if primary else 'has'} {MIN_PATIENTS} positive and {MIN_PATIENTS} negative "
            "patients"
        )
        return None
    tests = compare_at_thresholds(results, shared, targets, scores, units)
    return replace(found, threshold_tests=tests)
