"""`--verify`: whether artifacts follow from each other: digests, numbers, and the scores."""

import io
import math
from collections import Counter, defaultdict
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.choices import METHODS, SPLITS
from pulmonet.data.manifest import fingerprint
from pulmonet.errors import ArtifactError, ConfigError, DataError, TrainingError
from pulmonet.files.ledger import NAME, Ledger
from pulmonet.files.read import read_text
from pulmonet.flows import console
from pulmonet.flows.dataset import Datasets
from pulmonet.flows.evaluate.combine import average, pool
from pulmonet.flows.evaluate.compare import compare_all
from pulmonet.flows.evaluate.flow import evaluate_one
from pulmonet.flows.evaluate.material import Material, find_sources, read_scores, with_labels
from pulmonet.flows.evaluate.options import EvaluateOptions
from pulmonet.flows.options import check_options
from pulmonet.metrics import final_table
from pulmonet.metrics.calibration.fit import Calibration, read_calibration
from pulmonet.metrics.evaluation import fit_calibration
from pulmonet.metrics.label_result import RankingResult
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import Comparison, RunResult, ThresholdTest
from pulmonet.report.collect import Collection, Evaluated, RunArtifacts, collect
from pulmonet.report.names import FIGURES
from pulmonet.report.stale import Reader
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.words import count, list_first

_TABLE = "final_evaluation_results.csv"
_KEY, _JOINT = ("Model", "Dataset", "Split"), ("Group", "Combines")
#: What follows from the predictions and the options.
_COMPUTED = {"n_rows", "n_patients", "n_studies", "bootstrap", "labels", "macro", "study"}
_COMPUTED |= {"study_rule", "subgroups", "baseline", "collection_baseline"}
#: And from the run and its data, where the rows are scored again.
_SCORED = {"synthetic", "rows_used_for", "same_data_as_training", "external", "seen", "shift"}
_SCORED |= {"one_class_in_training"}
#: Scores of another device or version of torch differ by less.
_ROUNDING = 0.01
#: What `evaluate` and `explain` write, the report shows, and nothing here computes.
_SHOWN = (
    *("final_evaluation_results.*", "evaluation_*.json", "predictions_*.csv", "calibration.json"),
    *("explanations.json", "localization.json", "sanity.json", "maps*.npz", "xray.png"),
    *(f"{name}_*.png" for name in ("model", *FIGURES, *METHODS)),
)


def run(options: EvaluateOptions) -> int:
    """`evaluate --verify`: what is in the folders is checked, and nothing is written."""
    folders = defaultdict[Path, list[str]](list)
    for source in find_sources(options):
        folders[source.results_dir.path.parent].append(source.name)
    verdicts: dict[str, str] = {}
    for folder, names in folders.items():
        only = names if options.runs or options.predictions else ()
        verdicts |= verify(collect(folder, anything=True), folder, options, only)
    if console.wants_json():
        console.show_json(verdicts)
    differs = any(verdict.startswith("differs") for verdict in verdicts.values())
    return ArtifactError.exit_code if differs else 0


def verify(
    collection: Collection, folder: Path, options: EvaluateOptions, only: Names[str] = ()
) -> dict[str, str]:
    """A verdict for each run, ensemble and so on, and each file beside them, which is said too.

    It begins with ``verified``, ``not verified`` (something is missing) or ``differs``. `options`
    say where the data are and how rows are scored; `only` names those that are looked at.
    """
    check = _Check(collection, folder, options)
    verdicts: dict[str, str] = {}
    for found in collection.evaluated:
        if not only or found.name in only:
            verdicts[found.name] = check.evaluated(found)
    wrong, missing = check.wrong, check.missing
    check.table()
    for problem in reversed(dict.fromkeys(check.attempt.problems)):  # before what may come of them
        name, _, file = problem.where.partition("/")
        wrong[name].insert(0, f"{file or name}: {problem.what}")
    check.pairs(only)
    check.written()
    for name in (*verdicts, *([] if only else wrong)):
        if wrong[name]:
            verdicts[name] = f"differs: {list_first(dict.fromkeys(wrong[name]))}"
        elif missing[name]:
            verdicts[name] = f"not verified: {list_first(missing[name])}"
    for name, verdict in verdicts.items():
        console.say(f"{name}: {verdict}")
    return verdicts


class _Check:
    """What one call of `verify` finds."""

    def __init__(self, collection: Collection, folder: Path, options: EvaluateOptions) -> None:
        self.collection, self.folder, self.options = collection, folder, options
        self.attempt = Reader(folder, [*collection.problems, *collection.stale])
        self.wrong = defaultdict[str, list[str]](list)
        self.missing = defaultdict[str, list[str]](list)
        self._datasets = Datasets()
        files = find_sources(options) if options.predictions else []
        self._files = {source.name: source for source in files}
        self._materials: dict[tuple[object, ...], list[Material]] = {}
        self._tables = {
            (rows.run, rows.dataset, rows.split): rows
            for found in collection.evaluated
            for rows in found.predictions
        }
        self._n_scored = Counter[str]()
        self._unscored: dict[str, str] = {}

    def evaluated(self, found: Evaluated) -> str:
        """What can be said of a run, or of what is none, where nothing is wrong or missing."""
        name, run_dir = found.name, RunDir(self.folder / found.name)
        if isinstance(found, RunArtifacts):
            if not run_dir.best_model_path.exists():
                self.missing[name].append("best_model.pth is not there")
            self.wrong[name] += _unlike_log(found)
        stored = self.attempt(run_dir.calibration_path, read_calibration)
        for result in found.results:
            path = run_dir.evaluation_path(result.dataset, result.split)
            key = (name, result.dataset, result.split)
            if name in self._files:
                like = {"split": result.split, "blank": result.blank}
                read = read_scores(self._files[name], self.options.model_copy(update=like))
                self._tables[key] = read.predictions
            rows = self._tables.get(key)
            if rows is None:
                is_file = not result.members and not isinstance(found, RunArtifacts)
                how = f"; evaluate --verify --predictions {name}=FILE reads them" * is_file
                self.missing[name].append(f"{path.name}: its predictions are not there{how}")
                continue
            found_in = partial(self._differing, result, rows, stored)
            self.wrong[name] += self.attempt(path, found_in) or []
        weights = "weights and " if isinstance(found, RunArtifacts) else ""
        said = f"verified ({weights}{count(len(found.results), 'evaluation')}"
        if n := self._n_scored[name]:
            said += f"; {count(n, 'image')} {'read' if name in self._files else 'scored'} again"
        why = self._unscored.get(name)
        return f"{said}; not scored again: {why})" if why else f"{said})"

    def _differing(
        self, result: RunResult, rows: Predictions, stored: Calibration | None, path: Path
    ) -> list[str]:
        """What does not follow from the predictions, or they not from the weights and the data."""
        options = self._options_of(result)
        run_dir = RunDir(path.parent)
        material = Material(rows, run_dir)
        wrong: list[str] = []
        fields = _COMPUTED
        scored = self._again(result, options)
        if scored is not None:
            if result.run not in self._files:
                wrong += _unlike(rows, scored.predictions, run_dir)
            material, fields = replace(scored, predictions=rows), _COMPUTED | _SCORED
        material = with_labels(material, tuple(result.labels))
        points = [point for item in result.labels.values() for point in item.operating_points]
        is_stored = any(point.estimates == "threshold" for point in points)
        again = evaluate_one(material, options, stored if is_stored else None)
        shown: dict[str, Any] = dict.fromkeys(fields, True)
        if is_stored and not _is_of(result, stored):
            why = f"{path.name}: calibration.json was fitted anew since, or is gone"
            self.missing[result.run].append(why)
            shown["labels"] = {"__all__": {*RankingResult.model_fields}}
            shown.pop("subgroups")
        said = result.model_dump(include=shown, exclude_unset=True)
        fitted_on = [one.baseline and one.baseline.fitted_on for one in (result, again)]
        if fitted_on[0] != fitted_on[1]:
            said.pop("baseline", None)  # the rows trained on were, or are, not at hand
            said.pop("collection_baseline", None)
        if material.training is None:
            said.pop("shift", None)
        how = "" if result.options else " (with the default options, for it names none)"
        wrong += _named(f"{path.name}{how}", said, again.model_dump())
        own = ("dataset", "split", "checkpoint_sha256", "dataset_fingerprint", "n_rows")
        is_own = [getattr(stored, key, None) == getattr(result, key) for key in own]
        if stored and all(is_own) and not is_stored and result.level == "image":
            fitted = fit_calibration(material.predictions, options, result=again)
            shared = fitted.labels.keys() & stored.labels.keys()
            theirs = stored.model_dump(include={"labels": shared}, exclude_unset=True)
            wrong += _named("calibration.json", theirs, fitted.model_dump())
        return wrong

    def _options_of(self, result: RunResult) -> EvaluateOptions:
        """How `result` was computed, and how its rows are scored again."""
        kept = (result.options or EvaluationOptions()).model_dump()
        given = kept | result.model_dump(include={"level", "blank", "views", "tta"})
        if result.split in SPLITS or result.combines == "out-of-fold":
            given["split"] = result.split if result.split in SPLITS else "valid"
        asked = self.options.model_dump(exclude_unset=True, exclude={"verify", "predictions"})
        return check_options(EvaluateOptions, asked | given)

    def _again(self, result: RunResult, options: EvaluateOptions) -> Material | None:
        """The rows scored, combined or read again; where that cannot be, None and `_unscored`."""
        try:
            found = [self._scored(one, result, options) for one in result.members or [result.run]]
            if result.members:
                make = average if result.combines == "ensemble" else pool
                found = [make(result.run, found, RunDir(self.folder / result.run))]
            self._n_scored[result.run] += len(found[0].predictions.paths)
            return found[0]
        except (ConfigError, DataError, TrainingError, ImportError) as error:
            self._unscored[result.run] = str(error)
            return None

    def _scored(self, name: str, result: RunResult, options: EvaluateOptions) -> Material:
        """A run's rows scored as those of `result` were, or the file of scores of that name."""
        if name in self._files:
            return read_scores(self._files[name], options)
        source = RunDir(self.folder / name.removesuffix(f"+{result.tta}"))
        if not source.exists():
            text = f"evaluate --verify --predictions {name}=FILE reads its file again"
            raise DataError(f"no run is called {name}; {text}")
        damaged = {problem.where for problem in self.attempt.problems}
        if not source.best_model_path.exists() or f"{source.name}/best_model.pth" in damaged:
            raise DataError(f"the weights of {name} are not there")
        record = source.read_record()
        manifest, trained_on = self._datasets.rows_of(record, options).manifest, record.provenance
        # the folds of one deal have no fingerprint in common
        told = result.dataset_fingerprint or (trained_on.dataset and trained_on.dataset.fingerprint)
        key = (name, options.split, options.views, options.blank)
        if told in {None, *(fingerprint(one) for one in (manifest, *manifest.parts))}:
            if key not in self._materials:
                from pulmonet.flows.evaluate.score import score

                where = RunDir(self.folder / name)
                self._materials[key] = score(name, source, where, options, self._datasets)
            for one in self._materials[key]:
                if one.predictions.dataset == result.dataset:
                    return one
        raise DataError(f"{result.dataset} as it was evaluated is not at hand")

    def pairs(self, only: Names[str]) -> None:
        """Differences between runs, and letters, that do not follow from their predictions."""
        compared, shown = self.collection.compared, self.collection.comparisons
        families: dict[tuple[tuple[str, str], tuple[str, ...]], dict[str, RunResult]] = {}
        for result in self.collection.results:
            where = (result.dataset, result.split)
            own = compared.get((result.run, *where), [])
            # not in the report: of other weights by now; computed otherwise: an earlier version's
            if own and all((where, one) in shown and one.p_adjusted is not None for one in own):
                every = dict.fromkeys(run for at in (0, 1) for x in own for run in x.sides()[at])
                families.setdefault((where, tuple(every)), {})[result.run] = result
        for (where, names), found in families.items():
            if (only and not {*names} <= {*only}) or any(self.wrong[name] for name in names):
                continue
            there = [name for name in names if name in found and (name, *where) in self._tables]
            if len(there) < len(names):
                lost = list_first(sorted({*names} - {*there}))
                for name in there:
                    self.missing[name].append(f"it was compared with {lost}, not there")
                continue
            again, pairs = self._compare([found[name] for name in names], where)
            for result in again:
                file = RunDir(self.folder / result.run).evaluation_path(*where).name
                said = _by_pair(found[result.run], compared[result.run, *where])
                self.wrong[result.run] += _named(file, said, _by_pair(result, pairs))

    def _compare(
        self, results: list[RunResult], where: tuple[str, str]
    ) -> tuple[list[RunResult], list[Comparison]]:
        own = self.collection.compared[results[0].run, *where]
        arms = {one.a: one.a_members for one in own} | {one.b: one.b_members for one in own}
        primary = next((one for one in own if one.is_primary()), own[0])
        tables = [self._tables[one.run, *where] for one in results]
        rows = [
            with_labels(Material(table, RunDir(self.folder)), tuple(one.labels)).predictions
            for table, one in zip(tables, results, strict=True)
        ]
        more: dict[str, Any] = {"primary": primary.label or "macro", "margin": primary.margin}
        more |= {"arms": {arm: tuple(members) for arm, members in arms.items() if members}}
        options = self._options_of(results[0]).model_copy(update=more)
        return compare_all(rows, results, options)

    def table(self) -> None:
        """Cells of the final table that no evaluation has."""
        table = self.attempt(self.folder / _TABLE, final_table.read_table)
        found = [] if table is None else table.to_dict("records")
        rows = {tuple(row[name] for name in _KEY): row for row in found}
        for result in self.collection.results:
            new = final_table.table_of([result]).to_dict("records")[0]
            old = rows.get(tuple(new[name] for name in _KEY), {})
            said = {name: old[name] for name in new if name in old and name not in _JOINT}
            self.wrong[result.run] += _named(_TABLE, said, new)

    def written(self) -> None:
        """Files that are not as `evaluate` or `explain` wrote them, by the lists beside them."""
        for path in sorted({path for name in _SHOWN for path in self.folder.rglob(name)}):
            name, _, file = path.relative_to(self.folder).as_posix().partition("/")
            place = self.folder / name if file else self.folder
            is_named = any(what.startswith(file or name) for what in self.wrong[name])
            if (place / NAME).exists() and not is_named and not Ledger(place, "").owns(path):
                self.wrong[name].append(f"{file or name}: not as it was written")


def _is_of(result: RunResult, stored: Calibration | None) -> bool:
    """Whether the thresholds and calibrators of other rows in a result are those stored now."""
    for label, item in result.labels.items():
        points = [point for point in item.operating_points if point.estimates == "threshold"]
        own = stored.labels.get(label) if stored else None
        if not points:
            continue
        if own is None or any(own.thresholds.get(x.criterion) != x.threshold for x in points):
            return False
        fitted, said = own.calibrator, item.calibrated
        if fitted and said and fitted.kind != said.calibrator:
            return False
    return True


def _unlike_log(run: RunArtifacts) -> list[str]:
    """The score of run_config.json where training_log.csv has another one."""
    log, said = run.log, run.provenance.best_valid_macro_auroc
    if log is None or said is None or "val_macro_auroc" not in log:
        return []
    found = log["val_macro_auroc"][log["epoch"] == run.provenance.best_epoch].tolist()
    key = "provenance.best_valid_macro_auroc"
    return _named("run_config.json", {key: said}, {key: found[0]}) if found else []


def _by_pair(result: RunResult, items: Iterable[Comparison]) -> dict[str, Any]:
    found: dict[str, Any] = {"group_letters": result.group_letters}
    every: list[Comparison | ThresholdTest] = [*items, *result.threshold_tests]
    for item in every:
        what = item.metric if isinstance(item, Comparison) else item.measure
        found[f"{item.a} less {item.b}, {what} of {item.label or 'macro'}"] = item.model_dump()
    return found


def _named(file: str, said: Mapping[Any, Any], again: Mapping[Any, Any]) -> list[str]:
    """What differs in a file: ``labels.Edema.auroc.value is 0.91, and computed again 0.71``."""
    return [f"{file}: {text}" for text in _walk(said, again, "")]


def _unlike(rows: Predictions, scored: Predictions, run_dir: RunDir) -> Iterator[str]:
    """How saved rows differ from those that weights and data give."""
    path = run_dir.predictions_path(rows.dataset, rows.split)
    if (rows.paths, rows.labels) != (scored.paths, scored.labels):
        yield f"{path.name}: its rows or labels are not those of the run and its data"
        return
    ours, theirs = (
        pd.read_csv(io.StringIO(csv), dtype=str, keep_default_na=False)
        for csv in (scored.to_csv(), read_text(path))
    )
    names = [name for name in ours if not str(name).endswith(("_score", "_distance"))]
    if not ours[names].equals(theirs.reindex(columns=names)):
        yield f"{path.name}: its patients, reference labels or columns are not those of the data"
    apart = np.abs(rows.scores - scored.scores)
    if apart.max() > _ROUNDING:
        row, column = np.unravel_index(apart.argmax(), apart.shape)
        yield (
            f"{path.name}: {rows.labels[column]}_score of '{rows.paths[row]}' is "
            f"{rows.scores[row, column]:.4g}, and scored again {scored.scores[row, column]:.4g}"
        )


def _walk(said: Any, again: Any, where: str) -> Iterator[str]:
    both = (said, again)
    if all(isinstance(one, list | tuple) for one in both) and len(said) == len(again):
        said, again = dict(enumerate(said)), dict(enumerate(again))
    if isinstance(said, Mapping) and isinstance(again, Mapping):
        for key in said:
            yield from _walk(said[key], again.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(said, float) and isinstance(again, float):
        if not math.isclose(said, again, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{where} is {said:.9g}, and computed again {again:.9g}"
    elif said != again:
        yield f"{where} is {said!r}, and computed again {again!r}"
