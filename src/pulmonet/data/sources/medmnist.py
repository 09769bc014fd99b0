"""MedMNIST's chest sets (Yang et al. 2023): ChestMNIST and PneumoniaMNIST, images inside an npz."""

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from pulmonet.arrays import Floats32
from pulmonet.data.sources import rows
from pulmonet.data.spellings import SPELLINGS
from pulmonet.errors import DataError
from pulmonet.files.read import read_array
from pulmonet.labels import align

_SPLITS = {"train": "train", "val": "valid", "test": "test"}


def recognises(_root: Path, names: Collection[str]) -> bool:
    """By a single npz file that is not a run's."""
    n_files = sum(name.endswith(".npz") for name in names)
    return n_files == 1 and "run_config.json" not in names


def read(path: Path) -> rows.SourceRows:
    """An ``.npz`` file, or the only one in a folder; each image counts as its own patient."""
    archive = path if path.is_file() else next(path.glob("*.npz"))
    parts = []
    for name, split in _SPLITS.items():
        values = _labels_of(archive, f"{name}_labels")
        if values is None:
            continue
        kind = archive.stem.lower().partition("_")[0]
        labels = tuple(map(align, SPELLINGS["medmnist"].get(kind, ())))
        if len(labels) != values.shape[1]:
            raise DataError(
                f"{archive}: {values.shape[1]} label columns under this name; the chest sets of "
                "MedMNIST are chestmnist.npz (14) and pneumoniamnist.npz (1)"
            )
        paths = [f"{archive.name}#{name}/{row}" for row in range(len(values))]
        parts.append(rows.source_rows(paths, dict(zip(labels, values.T, strict=True)), split=split))
    if not parts:
        text = f"{archive}: no train_labels, val_labels or test_labels; take MedMNIST's file"
        raise DataError(text)
    return rows.stack(parts)


def _labels_of(archive: Path, name: str) -> Floats32 | None:
    """(N, L) of 1 and 0; None where the split is not there."""
    try:
        with zipfile.ZipFile(archive) as arrays:
            names = arrays.namelist()
        if f"{name}.npy" not in names or f"{name.replace('labels', 'images')}.npy" not in names:
            return None
        values = read_array(archive, name)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: not a readable npz file ({error}); copy it again") from None
    if values.ndim != 2 or values.dtype.kind not in "buif" or not np.isin(values, (0, 1)).all():
        raise DataError(f"{archive}: {name} is not a table of 0 and 1; take MedMNIST's file")
    return values.astype(np.float32)
