"""Everything that a report is made of, read from an artifacts folder into one frozen view.

A file that is missing is missing: the sections say so. A file that is damaged becomes a
`Problem`, which the report names, and the rest goes on.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from PIL import Image

from pulmonet.config.fields import RunConfig
from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_bytes
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.final_table import mark_stale
from pulmonet.metrics.results import Comparison, RunResult, read_evaluation
from pulmonet.report.heatmaps import HeatMaps, find_heat_maps
from pulmonet.report.names import FIGURES
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.stale import Problem, Reader, Rows
from pulmonet.run.folder import RunDir, list_runs, no_run
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import DatasetFacts, Provenance, RunRecord


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` left in a folder: of a run, or of an ensemble, pooled folds or a file."""

    name: str
    results: tuple[RunResult, ...]  # its rows of every evaluation_*.json, one per dataset and split
    predictions: tuple[Predictions, ...]
    figures: Mapping[tuple[str, str, str], bytes]
    """Pictures by (dataset, split, name); none of them names an image."""


Found = TypeVar("Found", bound=Evaluated)


@dataclass(frozen=True)
class RunArtifacts(Evaluated):
    """What one run left behind; a log or curves that are missing or damaged are None."""

    config: RunConfig
    provenance: Provenance
    log: pd.DataFrame | None
    curves: bytes | None
    heat_maps: HeatMaps

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels trained on, in the order of the outputs."""
        return tuple(self.provenance.labels or self.config.data.labels)

    def main_result(self) -> RunResult | None:
        """The evaluation that speaks for the run: untouched rows first, then test, then valid."""
        order = {"test": 0, "valid": 1, "dev": 2, "train": 3}

        def rank(result: RunResult) -> tuple[bool, bool, int, str]:
            used = bool(result.rows_used_for) or result.split == "train"
            return result.level != "image", used, order.get(result.split, 2), result.dataset

        return min(self.results, key=rank, default=None)


#: Equal for evaluations of as many rows of one kind; their images may still be others.
kind_of = attrgetter(
    "dataset", "split", "level", "dataset_fingerprint", "n_rows", "n_patients", "views", "blank"
)
#: A `Rows`.
key_of = attrgetter("run", "dataset", "split")


@dataclass(frozen=True)
class Collection:
    """All runs of an artifacts folder, and what was evaluated there that is no run."""

    runs: tuple[RunArtifacts, ...]
    others: tuple[Evaluated, ...]
    comparisons: tuple[tuple[tuple[str, str], Comparison], ...]
    """(dataset, split) and a comparison on its rows."""
    compared: dict[Rows, list[Comparison]]
    """The same by run, with those of other weights than now lie there."""
    problems: tuple[Problem, ...]
    stale: tuple[Problem, ...] = ()
    """What was left out since it is of other weights, or of other rows, than now lie there."""
    cohorts: Mapping[Rows, Any] = field(default_factory=dict)
    """What tells evaluations of one kind and size apart."""

    def rows_of(self, result: RunResult) -> tuple[Any, ...]:
        """Equal for evaluations of the same rows with the same reference standard."""
        return *kind_of(result), self.cohorts.get(key_of(result))

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """Runs, then ensembles, pooled folds and files of scores."""
        return (*self.runs, *self.others)

    @property
    def names(self) -> list[str]:
        """What `evaluated` are called, in its order."""
        return [found.name for found in self.evaluated]

    @property
    def results(self) -> list[RunResult]:
        """All evaluations, in the order of `evaluated`."""
        return [result for found in self.evaluated for result in found.results]

    @property
    def trained(self) -> tuple[RunArtifacts, ...]:
        """The runs that have finished an epoch, and published ones; all, where none has."""
        done = tuple(
            run
            for run in self.runs
            if run.provenance.best_epoch or run.results or run.provenance.is_published
        )
        return done or self.runs

    @property
    def datasets(self) -> list[DatasetFacts]:
        """What each run was trained on, where it is recorded."""
        return [run.provenance.dataset for run in self.runs if run.provenance.dataset]

    @property
    def synthetic(self) -> bool:
        """Whether any run saw phantoms."""
        seen: list[DatasetFacts | RunResult] = [*self.datasets, *self.results]
        return any(item.synthetic for item in seen)

    def best_run(self) -> RunArtifacts:
        """The run with the highest macro AUROC on its main evaluation, else on selection."""

        def standing(run: RunArtifacts) -> tuple[bool, float]:
            result = self.headline(run)
            tested = result.macro.auroc.value if result else None
            watched = run.provenance.best_valid_macro_auroc
            auroc = watched if tested is None else tested
            return tested is not None, -1.0 if auroc is None else auroc

        return max(self.runs, key=standing)

    def headline(self, run: RunArtifacts) -> RunResult | None:
        """The evaluation that speaks for a run; for a patient fold that of all folds together.

        The best of several folds is a lucky one.
        """
        for other in self.others:
            for result in other.results:
                if result.combines == "out-of-fold" and run.name in result.members:
                    return result
        return run.main_result()

    def rivals(self) -> list[RunResult]:
        """Main evaluations of the other runs on the rows of the best one."""
        best = self.best_run()
        result = best.main_result()
        others = [run.main_result() for run in self.runs if run is not best]
        rows = result and self.rows_of(result)
        return [item for item in others if item and self.rows_of(item) == rows]


@dataclass(frozen=True)
class Context:
    """What every section is built from."""

    collection: Collection
    identities: Identities
    notes: Mapping[str, str] = field(default_factory=dict)
    """The authors' words by key (``--author-notes``)."""
    written: str = ""  # when, ISO 8601 in UTC
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Of ``--verify`` by run: begins with verified, not verified or differs."""


def collect(artifacts_dir: Path, *, anything: bool = False) -> Collection:
    """Read all runs below `artifacts_dir`, and `anything` else where there are none.

    Raises:
        ArtifactError: no folder, no run, or no run that can be read.
    """
    run_dirs = list_runs(artifacts_dir)
    if not (run_dirs or (anything and artifacts_dir.is_dir())):
        raise ArtifactError(no_run(artifacts_dir))
    attempt = Reader(artifacts_dir)
    problems = attempt.problems
    records: dict[RunDir, RunRecord] = {}
    for run_dir in run_dirs:
        record = attempt(run_dir.config_path, lambda path: RunDir(path.parent).read_record())
        if record is not None:
            records[run_dir] = record
            attempt.look_at_weights(run_dir, record)
    runs = [_read_run(run_dir, record, attempt) for run_dir, record in records.items()]
    if run_dirs and not runs:
        raise ArtifactError(
            f"{artifacts_dir}: none of its {len(run_dirs)} runs can be read "
            f"({problems[0].where}: {problems[0].what}); restore them or train again"
        )
    others = [
        _read_evaluated(RunDir(folder), attempt)
        for folder in sorted(entry for entry in artifacts_dir.iterdir() if entry.is_dir())
        if not RunDir(folder).exists()
    ]
    for items in attempt.compared.values():
        items[:] = (item.model_copy(update=attempt.names_of(item)) for item in items)
    pairs = {
        (key[1:], item.a, item.b, item.metric, item.label): (key[1:], item)
        for key, items in attempt.compared.items()
        for item in items
        if not attempt.is_stale(item, key)
    }
    fresh = partial(_without_stale_letters, attempt)
    final_path = artifacts_dir / "final_evaluation_results.csv"
    attempt(final_path, partial(_look_at_final_table, attempt))
    return Collection(
        runs=tuple(fresh(run) for run in runs),
        others=tuple(fresh(other) for other in others if other.results),
        comparisons=tuple(pairs.values()),
        compared=attempt.compared,
        problems=tuple(problems),
        stale=tuple(attempt.stale),
        cohorts=_cohorts([*runs, *others], pairs.values()),
    )


def _cohorts(
    every: Sequence[Evaluated], pairs: Iterable[tuple[tuple[str, str], Comparison]]
) -> dict[Rows, Any]:
    """By the images of the predictions; where some are not there, by how many have each label."""
    images = {
        (one.name, of.dataset, of.split): hash(frozenset(of.paths))
        for one in every
        for of in one.predictions
    }
    first: dict[Rows, str] = {}  # of those that were compared, and so share their rows
    for rows, pair in pairs:
        for name in pair.runs():
            first[name, *rows] = min(first.get((name, *rows), name), *pair.runs())
    kinds: dict[Any, dict[Rows, RunResult]] = {}
    for result in (result for one in every for result in one.results):
        kinds.setdefault(kind_of(result), {})[key_of(result)] = result
    found: dict[Rows, Any] = {}
    for some in kinds.values():
        shared = sorted(set.intersection(*({*result.labels} for result in some.values())))
        for key, result in some.items():
            labels = some.get((first.get(key, ""), *key[1:]), result).labels
            counts = [
                (one.n, one.positives, one.positive_patients)
                for one in map(labels.__getitem__, shared)
            ]
            found[key] = images[key] if {*some} <= {*images} else tuple(counts)
    return found


def _without_stale_letters(reader: Reader, found: Found) -> Found:
    """Without letters and tests that a run shared with one of other weights, or evaluated since."""
    results = list(found.results)
    for at, result in enumerate(results):
        key = key_of(result)
        stale = [one for one in reader.compared.get(key, ()) if reader.is_stale(one, key)]
        sides = [(one.a_members or [one.a], one.b_members or [one.b]) for one in stale]
        gone = [{*pair} for side in sides for pair in product(*side)]
        tests = [one.model_copy(update=reader.names_of(one)) for one in result.threshold_tests]
        update: dict[str, Any] = {"group_letters": ""} if stale else {}
        update["threshold_tests"] = [one for one in tests if {one.a, one.b} not in gone]
        results[at] = result.model_copy(update=update)
    return replace(found, results=tuple(results))


def _read_run(run_dir: RunDir, record: RunRecord, attempt: Reader) -> RunArtifacts:
    path = run_dir.calibration_path
    kept = attempt(path, read_calibration)  # a damaged one is named, and one of other weights
    attempt.is_fresh(path, kept and kept.checkpoint_sha256, "evaluate", run_dir.name)
    return RunArtifacts(
        **vars(_read_evaluated(run_dir, attempt)),
        config=record.config,
        provenance=record.provenance,
        log=attempt(run_dir.log_path, lambda _: _read_log(run_dir)),
        curves=attempt(run_dir.curves_path, _read_png),
        heat_maps=find_heat_maps(run_dir, attempt),
    )


def _read_evaluated(run_dir: RunDir, attempt: Reader) -> Evaluated:
    """Evaluations with predictions and pictures, but of other weights."""
    results: list[RunResult] = []
    left_out: set[Path] = set()
    for path in sorted(run_dir.path.glob("evaluation_*.json")):
        evaluation = attempt(path, read_evaluation)
        for named in evaluation.runs if evaluation else ():
            if len(evaluation.runs) > 1 and named.run != run_dir.name:
                continue
            members = [attempt.renamed.get(name, name) for name in named.members]
            result = named.model_copy(update={"run": run_dir.name, "members": members})
            table = run_dir.predictions_path(result.dataset, result.split)
            of = result.members or [result.run]
            fresh = attempt.is_fresh(path, result.checkpoint_sha256, "evaluate", *of)
            if fresh:
                results.append(result)
                if named.run not in attempt.weights:  # the folder was called so then
                    attempt.renamed[named.run] = run_dir.name
                attempt.compared[key_of(result)] = list(evaluation.comparisons)
            if not fresh or not attempt.check_rows(table, result):
                left_out.add(table)
    read_figure = partial(_read_figure, part=2 if attempt.n_evaluations <= 4 else 3)
    figures = {
        (result.dataset, result.split, name): png
        for result in results
        for name in FIGURES
        if (png := attempt(run_dir.figure_path(name, result.dataset, result.split), read_figure))
    }
    read = partial(_read_predictions, run_dir, results)
    tables = sorted(set(run_dir.path.glob("predictions_*.csv")) - left_out)
    predictions = tuple(item for path in tables if (item := attempt(path, read)) is not None)
    return Evaluated(run_dir.name, tuple(results), predictions, figures)


def _read_log(run_dir: RunDir) -> pd.DataFrame:
    log = run_dir.read_log()
    if "epoch" not in log.columns:
        raise ArtifactError(f"{run_dir.log_path}: no column 'epoch'; not a training log")
    for name in log.columns:
        if log[name].dtype.kind not in "fiu":
            what = f"column '{name}' holds more than numbers; restore the file"
            raise ArtifactError(f"{run_dir.log_path}: {what}")
    return log


def _read_predictions(run_dir: RunDir, results: list[RunResult], path: Path) -> Predictions:
    """Predictions with the dataset's and split's own names, where an evaluation tells them."""
    dataset, _, split = path.stem.removeprefix("predictions_").rpartition("_")
    for result in results:
        if run_dir.predictions_path(result.dataset, result.split) == path:
            dataset, split = result.dataset, result.split
    return Predictions.read(path, run=run_dir.name, dataset=dataset, split=split)


def _read_png(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or b"IEND" not in data[-16:]:
        raise ArtifactError(f"{path}: not a whole PNG; write it again")
    return data


def _read_figure(path: Path, part: int) -> bytes:
    """Where it was made for print, at 1 / `part` of its resolution and in 32 colours."""
    file = io.BytesIO(_read_png(path))
    with Image.open(file) as image:
        if image.width > 1600:
            small = image.convert("RGB").reduce(part).quantize(32, Image.Quantize.FASTOCTREE)
            small.save(file := io.BytesIO(), "png")
    return file.getvalue()


def _look_at_final_table(reader: Reader, path: Path) -> None:
    """Name its rows of other weights than now lie there."""
    content = io.BytesIO(read_bytes(path))
    marked = mark_stale(pd.read_csv(content, dtype=str, keep_default_na=False), reader.weights)
    reader.stale += [
        Problem(f"{path.name}, {row.get('Model')}", row["Stale"])
        for row in marked[marked["Stale"] != ""].to_dict("records")
    ]
