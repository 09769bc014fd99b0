"""Where `evaluate` takes predictions from: runs, or CSV files of anybody's scores; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.artifacts import Predictions, RunDir, find_run, list_runs
from pulmonet.commands import console
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.labels import file_name_of, resolve_label
from pulmonet.metrics.shift import KnownRows

ReadImage = Callable[[str], NDArray[np.uint8]]


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
        has_own_splits: whether the splits are not the run's: its calibration is then neither used
            nor written, since rows that chose a threshold may be among those reported later.
    """

    predictions: Predictions
    run_dir: RunDir
    facts: Mapping[str, Any] = field(default_factory=dict)
    training: KnownRows | None = None
    read_image: ReadImage | None = None
    fits_calibration: bool = False
    has_own_splits: bool = False


def sources_of(
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    data: Mapping[str, Any],
) -> list[Callable[[], Material]]:
    if predictions:
        if runs:
            raise ConfigError(
                "--predictions: takes no runs beside it; name runs or predictions files"
            )
        stems = [path.stem for path in predictions]
        twice = [path for path in predictions if stems.count(path.stem) > 1]
        if twice:
            raise ConfigError(
                f"--predictions: {' and '.join(map(str, twice))} would both be called "
                f"'{twice[0].stem}'; rename one"
            )
        return [_from_file(path, artifacts_dir, data.get("split")) for path in predictions]
    found = [find_run(name, artifacts_dir) for name in dict.fromkeys(runs)]
    found = found or list_runs(artifacts_dir)
    if not found:
        raise ArtifactError(
            f"{artifacts_dir}: no run there; train one with `pulmonet train`, or name its folder "
            "with --artifacts-dir"
        )
    from pulmonet.commands.predict_flow import Datasets, predict_run

    datasets = Datasets()
    return [_from_run(run_dir, datasets, predict_run, data) for run_dir in found]


def _from_run(
    run_dir: RunDir, datasets: Any, predict_run: Callable[..., Material], data: Mapping[str, Any]
) -> Callable[[], Material]:
    return lambda: predict_run(run_dir, datasets, **data)


def _from_file(path: Path, artifacts_dir: Path, split: str | None) -> Callable[[], Material]:
    def make() -> Material:
        read = Predictions.read(path, dataset="predictions", split=split or "all")
        run_dir = RunDir(artifacts_dir / file_name_of(read.run))
        if run_dir.exists():
            raise ArtifactError(
                f"{path}: its results would go to {run_dir.path}, which holds a run; rename the "
                "file, or choose another --artifacts-dir"
            )
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
