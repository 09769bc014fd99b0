"""`evaluate --pool-folds`: each fold's run scores its own fold, and all rows are one result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.config.schema import RunConfig
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material, ReadImage, joined_facts, sharing_labels
from pulmonet.flows.evaluate.options import ScoringOptions
from pulmonet.flows.folds import DisjointFolds
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions

#: The pooled rows' split: no split of the source, but every row that was in one fold.
OUT_OF_FOLD = "out-of-fold"


def check_folds(name: str, run_dirs: Sequence[RunDir | None], scoring: ScoringOptions) -> None:
    """That the runs are all folds of one deal, each once, before anything is scored.

    A run that cannot be read is passed over: it will be named when it is its turn.

    Raises:
        ConfigError: no run of a fold, another number of folds or seed, a fold twice or missing.
    """
    flag = f"--pool-folds {name}"
    if scoring.split not in {None, "valid"} or "splits" in scoring.columns:
        raise ConfigError(
            f"{flag}: takes each run's own validation fold; leave out --split and --splits"
        )
    configs: dict[str, RunConfig] = {}
    for run_dir in run_dirs:
        if run_dir is None:
            raise ConfigError(
                f"{flag}: takes runs; a file of scores does not say which fold it is of"
            )
        with contextlib.suppress(ArtifactError):
            configs[run_dir.name] = run_dir.read_record().config
    if not configs:
        return
    names = _names_by_fold(flag, configs)
    n_folds = next(iter(configs.values())).data.folds or 0
    missing = [str(fold) for fold in range(n_folds) if fold not in names]
    if missing and len(configs) == len(run_dirs):
        what = f"fold {missing[0]}" if len(missing) == 1 else f"folds {', '.join(missing)}"
        raise ConfigError(f"{flag}: no run of {what} of {n_folds}; name one of each")
    _say_differences(configs)


def _names_by_fold(flag: str, configs: Mapping[str, RunConfig]) -> dict[int, str]:
    """Which run is of which fold; all are of one deal."""
    first, like = next(iter(configs.items()))
    names: dict[int, str] = {}
    for run, config in configs.items():
        if config.data.folds is None:
            raise ConfigError(
                f"{flag}: {run} was not trained with --folds; name the runs of one recipe's folds"
            )
        for what, ours, theirs in (
            ("--folds", like.data.folds, config.data.folds),
            ("--seed", like.seed, config.seed),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"{flag}: {first} was trained with {what} {ours}, {run} with {theirs}: their "
                    "folds are not of one deal; pool runs of one --folds and --seed"
                )
        if config.data.fold in names:
            raise ConfigError(
                f"{flag}: {names[config.data.fold]} and {run} are both of fold "
                f"{config.data.fold}; name one run a fold"
            )
        names[config.data.fold] = run
    return names


def _say_differences(configs: Mapping[str, RunConfig]) -> None:
    """One recipe is what the pooled row stands for: settings that differ are named."""
    first, *others = configs
    like = dict(_settings(configs[first].model_dump(mode="json")))
    for run in others:
        found = dict(_settings(configs[run].model_dump(mode="json")))
        differing = [key for key in found if found[key] != like.get(key)]
        if differing:
            console.warn(f"{run} was not trained as {first} was: other {', '.join(differing)}")


def _settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings that decide what is learned, by dotted name."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name == "runtime" or name in {"data.fold", "data.data_dir", "data.skip_bad"}:
            continue
        if isinstance(value, dict):
            yield from _settings(value, f"{name}.")
        else:
            yield name, value


def pool(name: str, materials: Sequence[Material], run_dir: RunDir) -> Material:
    """All rows of all folds, each with the score of the run that did not train on its patient.

    Args:
        name: of the row.
        materials: one run a fold, each scored on its own fold.
        run_dir: where the results go.

    Raises:
        ConfigError: an image or patient in two folds; other data or views.
        ArtifactError: the data have changed since a run was trained.
    """
    ordered = sorted(materials, key=lambda material: _fold_of(name, material))
    _same_deal(name, ordered)
    disjoint = DisjointFolds()
    for material in ordered:
        rows = material.predictions
        disjoint.add(rows.paths, rows.patients, run=rows.run, split=rows.split)
    sharing = sharing_labels(name, ordered)
    names = [material.predictions.run for material in ordered]
    note = (
        f"Out of fold: {', '.join(names)} scored one fold each, so no patient was scored by a "
        "network that had seen them."
    )
    return Material(
        _concatenated(name, [material.predictions for material in sharing]),
        run_dir,
        joined_facts(sharing, "out-of-fold", note),
        read_image=_reader(ordered),
        without_calibration=True,
        is_saved=False,
    )


def _fold_of(name: str, material: Material) -> int:
    if material.fold is None:
        raise ConfigError(
            f"--pool-folds {name}: {material.predictions.run} was scored on another dataset than "
            "it was trained on, which has none of its folds; leave out --data-dir"
        )
    return material.fold.fold


def _same_deal(name: str, materials: Sequence[Material]) -> None:
    first = materials[0]
    for material in materials:
        run = material.predictions.run
        if material.facts.get("same_data_as_training") is False:
            raise ArtifactError(
                f"--pool-folds {name}: rows, patients or labels have changed since {run} was "
                "trained, so its fold may hold patients that it has seen; restore the data, or "
                "train the folds again"
            )
        assert material.fold is not None
        assert first.fold is not None
        if material.fold.data != first.fold.data:
            raise ConfigError(
                f"--pool-folds {name}: {first.predictions.run} and {run} were trained on other "
                "rows or labels, so their folds are not of one deal; train them on the same data"
            )
        if material.facts["views"] != first.facts["views"]:
            raise ConfigError(
                f"--pool-folds {name}: {first.predictions.run} is scored on views "
                f"{first.facts['views']}, {run} on {material.facts['views']}; choose --views"
            )


def _concatenated(name: str, parts: Sequence[Predictions]) -> Predictions:
    first = parts[0]
    columns = [key for key in first.columns if all(key in part.columns for part in parts)]
    return replace(
        first,
        run=name,
        split=OUT_OF_FOLD,
        paths=tuple(path for part in parts for path in part.paths),
        patients=_joined([part.patients for part in parts]),
        studies=_joined([part.studies for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        columns={key: np.concatenate([part.columns[key] for part in parts]) for key in columns},
    )


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    known = [part for part in parts if part is not None]
    return tuple(one for part in known for one in part) if len(known) == len(parts) else None


def _reader(materials: Sequence[Material]) -> ReadImage:
    reader_of = {
        path: material.read_image for material in materials for path in material.predictions.paths
    }

    def read(path: str) -> NDArray[np.uint8]:
        reader = reader_of[path]
        assert reader is not None
        return reader(path)

    return read
