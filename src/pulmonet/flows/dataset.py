"""Opening the dataset, the same way in every command: find it, name it, check it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulmonet.config.schema import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import inspect_manifest, locate_dataset
from pulmonet.data.sources.read import join_problems
from pulmonet.data.splits.fingerprint import patients_by_split
from pulmonet.errors import DataError
from pulmonet.flows.console import note, say
from pulmonet.run.record import RunRecord


def open_dataset(
    data: DataConfig, seed: int, *, check_files: bool = False, keep_split: bool = True
) -> Manifest:
    """The manifest that `data` describes; its name is the first line of output.

    What was done to the rows on the way (a split drawn, columns joined) is said as notes.

    Raises:
        DataError: no dataset, or one that cannot be used.
    """
    root = locate_dataset(data.data_dir)
    manifest, problems, notes = inspect_manifest(
        root, data, seed, check_files=check_files, keep_split=keep_split
    )
    if problems:
        raise DataError(join_problems(root, problems))
    say(dataset_line(manifest))
    for text in notes:
        note(text)
    return manifest


def run_data(
    record: RunRecord, data_dir: str | None, columns: Mapping[str, Any] | None = None
) -> DataConfig:
    """The run's data section, with the dataset named, else the run's own where it still is.

    Args:
        record: of the run.
        data_dir: as typed.
        columns: ``map``, ``join`` and ``splits`` where they are not the run's own.
    """
    facts, data = record.provenance.dataset, record.config.data
    if data_dir is None and data.data_dir and Path(data.data_dir).expanduser().is_file():
        data_dir = data.data_dir  # one .npz; there may be others in its folder
    if data_dir is None and facts is not None and Path(facts.root).expanduser().exists():
        data_dir = str(Path(facts.root).expanduser())
    if data_dir is None and data.data_dir and Path(data.data_dir).expanduser().exists():
        data_dir = data.data_dir
    return data.model_copy(update={"data_dir": data_dir, **(columns or {})})


def is_own_dataset(record: RunRecord, data: DataConfig) -> bool:
    """Whether `data` names the dataset that a run was trained on; by its name, it may have moved.

    Raises:
        DataError: no dataset.
    """
    facts, written = record.provenance.dataset, record.config.data.data_dir
    own = facts.name if facts is not None else (Path(written).name if written else None)
    if own is None:
        return True
    root = locate_dataset(data.data_dir)
    return (root.name if root.is_dir() else root.stem) == own


def check_split(record: RunRecord, manifest: Manifest, split: str) -> None:
    """Refuse a split of the run's own dataset that may hold patients whom the run has learned from.

    A table that is gone or cut makes another split: without valid.csv, one is drawn from the
    training patients.

    Args:
        record: of the run.
        manifest: of the dataset that it was trained on.
        split: whose rows are wanted.

    Raises:
        DataError: neither this split nor the training split has the run's patients.
    """
    facts = record.provenance.dataset
    if facts is None or not facts.split_patients or split == "train":
        return
    here, trained = patients_by_split(manifest), facts.split_patients
    if here.get(split) == trained.get(split) or here.get("train") == trained.get("train"):
        return
    raise DataError(
        f"{manifest.root}: its {split} and train splits have other patients than when the run was "
        f"trained, so {split} may hold patients that it has learned from; restore the dataset's "
        "tables (or splits.csv), or say with --splits who is held out"
    )


def dataset_line(manifest: Manifest) -> str:
    """``Dataset: NAME (source, n images) at PATH``, SYNTHETIC shouted."""
    kind = "SYNTHETIC phantoms" if manifest.synthetic else f"{manifest.source} layout"
    return f"Dataset: {manifest.name} ({kind}, {len(manifest):,} images) at {manifest.root}"
