"""What `evaluate` works on: runs or files of scores, and predictions with what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.options import ScoringOptions
from pulmonet.labels import file_name_of, resolve_label
from pulmonet.metrics.baseline import KnownRows
from pulmonet.run.folder import RunDir, find_run, is_run_name, list_runs
from pulmonet.run.predictions import Predictions

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
        facts: further fields of `RunResult` (checkpoint, fingerprint, what the rows were used for).
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
        results_dir: where they go.
        run_dir: the run; None for a file.
        file: the scores; None for a run.
    """

    name: str
    results_dir: RunDir
    run_dir: RunDir | None = None
    file: Path | None = None


def find_sources(
    runs: Sequence[str],
    artifacts_dir: Path,
    predictions: Sequence[Path],
    scoring: ScoringOptions,
) -> list[Source]:
    """What is to be evaluated, in the order named: runs only, or files only.

    Raises:
        ConfigError: runs and files at once, two files of one name, ``--tta`` for files.
        ArtifactError: no such run.
    """
    if predictions:
        if scoring.tta != "none":
            raise ConfigError(
                f"--tta {scoring.tta}: saved scores have no images; name runs instead"
            )
        if runs:
            raise ConfigError(
                "--predictions: takes no runs beside it; name runs or predictions files"
            )
        return _find_files(predictions, artifacts_dir)
    found = [find_run(name, artifacts_dir) for name in dict.fromkeys(runs)]
    found = found or list_runs(artifacts_dir)
    if not found:
        raise ArtifactError(
            f"{artifacts_dir}: no run there; train one with `pulmonet train`, or name its folder "
            "with --artifacts-dir"
        )
    names = [scoring.name_of(run_dir.name) for run_dir in found]
    return [
        Source(name, RunDir(run_dir.path.with_name(name)), run_dir)
        for name, run_dir in zip(names, found, strict=True)
    ]


def _find_files(predictions: Sequence[Path], artifacts_dir: Path) -> list[Source]:
    """Files by name: ``NAME=FILE`` as typed, else the file's stem."""
    files: dict[str, Path] = {}
    for path in predictions:
        name, separator, rest = str(path).partition("=")
        is_named = separator and rest and is_run_name(name) and not path.exists()
        name, file = (name, Path(rest)) if is_named else (path.stem, path)
        if name in files:
            raise ConfigError(
                f"--predictions: {files[name]} and {file} would both be called '{name}'; name "
                f"them: --predictions NAME={files[name]}"
            )
        files[name] = file
    return [
        Source(name, RunDir(artifacts_dir / file_name_of(name)), file=file)
        for name, file in files.items()
    ]


def read_scores(source: Source, split: str | None) -> Material:
    """The scores of a file.

    Raises:
        ArtifactError: it cannot be read, or its results would go where a run lives.
    """
    path = source.file
    assert path is not None
    read = Predictions.read(path, run=source.name, dataset="predictions", split=split or "all")
    if source.results_dir.exists():
        raise ArtifactError(
            f"{path}: its results would go to {source.results_dir.path}, which holds a run; rename "
            "the file, or choose another --artifacts-dir"
        )
    if read.patients is None:
        console.note(f"{path}: names no patients, so images are resampled")
    facts = {"rows_used_for": ["unknown (scores from a file)"]}
    return Material(read, source.results_dir, facts, fits_calibration=True)


def with_labels(material: Material, wanted: Sequence[str]) -> Material:
    """Only the labels asked for, in that order; all where none is."""
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


# --- several together -----------------------------------------------------------------------


def sharing_labels(name: str, materials: Sequence[Material]) -> list[Material]:
    """The members cut to the labels that all have, in the first one's order; others are named.

    Raises:
        ConfigError: they share none.
    """
    all_labels = [material.predictions.labels for material in materials]
    shared = [label for label in all_labels[0] if all(label in labels for labels in all_labels)]
    if not shared:
        raise ConfigError(f"{name}: its members share no label; choose runs of the same labels")
    others = dict.fromkeys(label for labels in all_labels for label in labels)
    left_out = [label for label in others if label not in shared]
    if left_out:
        console.note(f"{name}: without {', '.join(left_out)}, which not all of its members have")
    return [with_labels(material, shared) for material in materials]


def joined_facts(materials: Sequence[Material], combines: str, note: str) -> dict[str, Any]:
    """Provenance of what several runs make together: what they share, and all that was used."""
    facts = [material.facts for material in materials]
    same_data = {one.get("same_data_as_training") for one in facts}
    digests = [one.get("checkpoint_sha256") for one in facts]
    known = sorted(digest for digest in digests if digest)
    joined: dict[str, Any] = {
        "combines": combines,
        "members": [material.predictions.run for material in materials],
        "synthetic": any(one.get("synthetic", False) for one in facts),
        "rows_used_for": list(dict.fromkeys(x for one in facts for x in one["rows_used_for"])),
        "checkpoint_sha256": hashlib.sha256("\n".join(known).encode()).hexdigest()
        if len(known) == len(digests)
        else None,
        "same_data_as_training": False if False in same_data else same_data == {True} or None,
        "notes": list(dict.fromkeys([note, *(x for one in facts for x in one.get("notes", []))])),
    }
    for key in ("blank", "views", "tta", "dataset_fingerprint"):
        values = {one.get(key) for one in facts}
        if len(values) == 1 and None not in values:
            joined[key] = values.pop()
    return joined
