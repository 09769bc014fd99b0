"""Opening the dataset, the same way in every command: find it, name it, check it."""

from __future__ import annotations

from pulmonet.commands.console import note, say
from pulmonet.config import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import locate_dataset, read_manifest


def open_dataset(data: DataConfig, seed: int, *, check_files: bool = False) -> Manifest:
    """The manifest that `data` describes; its name is the first line of output.

    Raises:
        DataError: no dataset, or one that cannot be used.
    """
    root = locate_dataset(data.data_dir)
    manifest = read_manifest(root, data, seed, check_files=check_files)
    say(dataset_line(manifest))
    if not manifest.patients_known:
        note("this source has no patient ids: each image counts as its own patient")
    return manifest


def dataset_line(manifest: Manifest) -> str:
    """``Dataset: NAME (source, n images) at PATH``, SYNTHETIC shouted."""
    kind = "SYNTHETIC phantoms" if manifest.synthetic else f"{manifest.source} layout"
    return f"Dataset: {manifest.name} ({kind}, {len(manifest):,} images) at {manifest.root}"
