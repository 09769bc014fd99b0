"""Where `evaluate` takes predictions from: runs, or CSV files of anybody's scores; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.choices import TTA_VIEWS
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.folders import check_folder, tta_name
from pulmonet.labels import file_name_of, resolve_label
from pulmonet.metrics.shift import KnownRows
from pulmonet.run.folder import RunDir, find_run, is_run_name, list_runs
from pulmonet.run.predictions import Predictions
from pulmonet.words import did_you_mean

ReadImage = Callable[[str], NDArray[np.uint8]]


@dataclass(frozen=True)
class Fold:
    """The patient fold that a run was not trained on.

    Attributes:
        fold: which, from 0.
        data: digest of all rows that were dealt, the same for all folds of one deal.
    """

    fold: int
    data: str


@dataclass(frozen=True)
class Material:
    """One run's predictions with what is known around them.

    Attributes:
        predictions: images as rows.
        run_dir: where its results go.
        facts: provenance for the result (checkpoint, fingerprint, what the rows were used for).
        training: the rows trained on, where they are at hand.
        read_image: path in the dataset -> grey image, where the images are at hand.
        fits_calibration: whether these rows may replace a stored calibration of other rows.
        without_calibration: whether a calibration is neither used nor written: where the splits
            are not the run's (rows that chose a threshold may be among those reported later), and
            where the scores are not those that `explain` gives.
        fold: whose rows these are, where the run was trained on folds and scored on its own.
        is_saved: whether the predictions are in a file already.
    """

    predictions: Predictions
    run_dir: RunDir
    facts: Mapping[str, Any] = field(default_factory=dict)
    training: KnownRows | None = None
    read_image: ReadImage | None = None
    fits_calibration: bool = False
    without_calibration: bool = False
    fold: Fold | None = None
    is_saved: bool = True


@dataclass(frozen=True)
class Source:
    """A run, or a file of scores, before anything is scored or read.

    Attributes:
        name: what its results are called.
        make: scores or reads it; raises ArtifactError where it is damaged.
        run_dir: the run; None for a file.
    """

    name: str
    make: Callable[[], Material]
    run_dir: RunDir | None = None


def sources_of(
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    data: Mapping[str, Any],
) -> list[Source]:
    """What is to be evaluated, in the order named.

    Raises:
        ConfigError: runs and files at once, or two files of one name; an unknown ``--tta``.
        ArtifactError: no such run.
    """
    tta = data["tta"]
    if tta not in TTA_VIEWS:
        raise ConfigError(
            f"--tta {tta}: unknown{did_you_mean(tta, TTA_VIEWS)}; choose from "
            f"{', '.join(TTA_VIEWS)}"
        )
    if predictions:
        if tta != "none":
            raise ConfigError(f"--tta {tta}: saved scores have no images; name runs instead")
        if runs:
            raise ConfigError(
                "--predictions: takes no runs beside it; name runs or predictions files"
            )
        named = [_named(path) for path in predictions]
        names = [name for name, _ in named]
        twice = [(name, path) for name, path in named if names.count(name) > 1]
        if twice:
            files = " and ".join(str(path) for name, path in twice if name == twice[0][0])
            raise ConfigError(
                f"--predictions: {files} would both be called '{twice[0][0]}'; name them: "
                f"--predictions NAME={twice[0][1]}"
            )
        return [
            Source(name, _from_file(name, path, artifacts_dir, data.get("split")))
            for name, path in named
        ]
    found = [find_run(name, artifacts_dir) for name in dict.fromkeys(runs)]
    found = found or list_runs(artifacts_dir)
    if not found:
        raise ArtifactError(
            f"{artifacts_dir}: no run there; train one with `pulmonet train`, or name its folder "
            "with --artifacts-dir"
        )
    from pulmonet.flows.evaluate.score import Datasets, predict_run

    datasets = Datasets()
    return [
        Source(
            tta_name(run_dir.name, tta), _from_run(run_dir, datasets, predict_run, data), run_dir
        )
        for run_dir in found
    ]


def _named(path: Path) -> tuple[str, Path]:
    """``NAME=FILE`` as typed, else the file's stem and the file."""
    name, separator, rest = str(path).partition("=")
    if separator and rest and is_run_name(name) and not path.exists():
        return name, Path(rest)
    return path.stem, path


def _from_run(
    run_dir: RunDir, datasets: Any, predict_run: Callable[..., Material], data: Mapping[str, Any]
) -> Callable[[], Material]:
    return lambda: predict_run(run_dir, datasets, **data)


def _from_file(
    name: str, path: Path, artifacts_dir: Path, split: str | None
) -> Callable[[], Material]:
    def make() -> Material:
        read = Predictions.read(path, run=name, dataset="predictions", split=split or "all")
        run_dir = RunDir(artifacts_dir / file_name_of(name))
        if run_dir.exists():
            raise ArtifactError(
                f"{path}: its results would go to {run_dir.path}, which holds a run; rename the "
                "file, or choose another --artifacts-dir"
            )
        check_folder(run_dir, None, [], flag="--predictions NAME=FILE")
        if read.patients is None:
            console.note(f"{path}: names no patients, so images are resampled")
        return Material(
            read,
            run_dir,
            {"rows_used_for": ["unknown (scores from a file)"]},
            fits_calibration=True,
        )

    return make


def with_labels(material: Material, wanted: Sequence[str]) -> Material:
    """Only the labels asked for, in that order."""
    if not wanted:
        return material
    labels = material.predictions.labels
    names = [resolve_label(name, labels) for name in wanted]
    columns = [labels.index(name) for name in dict.fromkeys(names)]
    chosen = replace(
        material.predictions,
        labels=tuple(labels[column] for column in columns),
        targets=material.predictions.targets[:, columns],
        scores=material.predictions.scores[:, columns],
    )
    training = material.training
    if training is not None:
        training = replace(training, targets=training.targets[:, columns])
    return replace(material, predictions=chosen, training=training)
