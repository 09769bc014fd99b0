"""`evaluate --ensemble`: the mean of several runs' scores; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pulmonet.errors import ConfigError
from pulmonet.flows.evaluate.material import Material, joined_facts, sharing_labels
from pulmonet.metrics.baseline import KnownRows
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions


def average(name: str, materials: Sequence[Material], run_dir: RunDir) -> Material:
    """The mean of the members' scores, row by row, on the labels that all share.

    Args:
        name: of the ensemble.
        materials: two or more, scored on the same rows with the same targets.
        run_dir: where its results go.

    Raises:
        ConfigError: another dataset, split, rows, targets or patients; no label shared.
    """
    sharing = sharing_labels(name, materials)
    first = sharing[0].predictions
    scores, patients = [first.scores], first.patients
    for material in sharing[1:]:
        other = material.predictions
        order = _same_rows(first, other)
        _same_truth(first, other, order)
        scores.append(other.scores[order])
        if patients is None and other.patients is not None:
            patients = tuple(other.patients[row] for row in order.tolist())
    mean = np.stack(scores).astype(np.float64).mean(axis=0).astype(np.float32)
    names = [material.predictions.run for material in materials]
    return Material(
        replace(first, run=name, scores=mean, patients=patients),
        run_dir,
        joined_facts(sharing, "ensemble", f"Mean of the scores of {', '.join(names)}."),
        _shared_training([material.training for material in sharing]),
        sharing[0].read_image,
        fits_calibration=all(material.fits_calibration for material in materials),
        without_calibration=any(material.without_calibration for material in materials),
        is_saved=False,
    )


def _same_rows(first: Predictions, other: Predictions) -> NDArray[np.int64]:
    """(N,) where each row of `first` is in `other`."""
    for what, ours, theirs in (
        ("dataset", first.dataset, other.dataset),
        ("split", first.split, other.split),
    ):
        if ours != theirs:
            raise ConfigError(
                f"--ensemble: {first.run} was scored on {what} {ours}, {other.run} on {theirs}; "
                f"choose one for all with {'--data-dir' if what == 'dataset' else '--split'}"
            )
    if first.paths == other.paths:
        return np.arange(len(first.paths))
    lacking = set(first.paths) ^ set(other.paths)
    if lacking:
        raise ConfigError(
            f"--ensemble: {first.run} ({len(first.paths):,} rows) and {other.run} "
            f"({len(other.paths):,}) were scored on other rows: {len(lacking):,} are in one only; "
            "choose --views and --split for all; the folds of one recipe go with --pool-folds"
        )
    if len(set(first.paths)) < len(first.paths) or len(first.paths) != len(other.paths):
        raise ConfigError(
            f"--ensemble: {first.run} and {other.run} have rows of the same path, in another "
            "order; sort both files alike"
        )
    row_of = {path: row for row, path in enumerate(other.paths)}
    return np.asarray([row_of[path] for path in first.paths], np.int64)


def _same_truth(first: Predictions, other: Predictions, order: NDArray[np.int64]) -> None:
    theirs = other.targets[order]
    differs = ~((first.targets == theirs) | (np.isnan(first.targets) & np.isnan(theirs)))
    for column in np.flatnonzero(differs.any(axis=0)).tolist():
        raise ConfigError(
            f"--ensemble: {first.run} and {other.run} have other targets of "
            f"{first.labels[column]} in {int(differs[:, column].sum()):,} of {len(order):,} rows; "
            "use the same labels for both, or leave it out with --labels"
        )
    if first.patients is not None and other.patients is not None:
        wrong = sum(
            ours != other.patients[row]
            for ours, row in zip(first.patients, order.tolist(), strict=True)
        )
        if wrong:
            raise ConfigError(
                f"--ensemble: {first.run} and {other.run} name other patients in {wrong:,} of "
                f"{len(order):,} rows; make them the same"
            )


def _shared_training(found: Sequence[KnownRows | None]) -> KnownRows | None:
    """The rows that all members were trained on; None where they differ or are not at hand."""
    first = found[0]
    for other in found[1:]:
        if first is None or other is None:
            return None
        ages = (first.covariates.age_years, other.covariates.age_years)
        same = np.array_equal(first.targets, other.targets, equal_nan=True)
        if not same or not np.array_equal(*ages, equal_nan=True):
            return None
    return first
