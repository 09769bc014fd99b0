"""Opening the dataset, the same way in every command: find it, name it, check it."""

from __future__ import annotations

from pulmonet.commands.console import note, say
from pulmonet.config import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import inspect_manifest, locate_dataset
from pulmonet.data.sources.reading import join_problems
from pulmonet.errors import DataError


def open_dataset(data: DataConfig, seed: int, *, check_files: bool = False) -> Manifest:
    """The manifest that `data` describes; its name is the first line of output.

    What was done to the rows on the way (a split drawn, columns joined) is said as notes.

    Raises:
        DataError: no dataset, or one that cannot be used.
    """
    root = locate_dataset(data.data_dir)
    manifest, problems, notes = inspect_manifest(root, data, seed, check_files=check_files)
    if problems:
        raise DataError(join_problems(root, problems))
    say(dataset_line(manifest))
    for text in notes:
        note(text)
    return manifest


def dataset_line(manifest: Manifest) -> str:
    """``Dataset: NAME (source, n images) at PATH``, SYNTHETIC shouted."""
    kind = "SYNTHETIC phantoms" if manifest.synthetic else f"{manifest.source} layout"
    return f"Dataset: {manifest.name} ({kind}, {len(manifest):,} images) at {manifest.root}"
