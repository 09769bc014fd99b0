"""MedMNIST's npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pulmonet.data.images.read import read_source_image
from pulmonet.data.sources import read_manifest
from pulmonet.data.splits.choose import resolve_labels
from pulmonet.errors import DataError


def test_pneumoniamnist(shared_data: Path) -> None:
    root = shared_data / "pneumoniamnist"
    manifest = read_manifest(root, check_files=True)
    with np.load(root / "pneumoniamnist.npz", allow_pickle=False) as arrays:
        labels, images = arrays["val_labels"], arrays["val_images"]
    assert manifest.table["split"].value_counts().to_dict() == {
        "train": 4708,
        "test": 624,
        "valid": 524,
    }
    assert not manifest.patients_known
    assert resolve_labels(manifest, ("all",)) == ("Pneumonia",)
    valid = np.flatnonzero(manifest.table["split"] == "valid")
    np.testing.assert_array_equal(manifest.table["Pneumonia"].to_numpy()[valid], labels[:, 0])
    np.testing.assert_array_equal(read_source_image(manifest, int(valid[17])), images[17])
    with pytest.raises(DataError, match=r"no column for 'Edema'.*choose with --labels"):
        resolve_labels(manifest, ("Edema",))


def test_chestmnist_has_its_14_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (n, 14), dtype=np.uint8)
    np.savez(tmp_path / "chestmnist_64.npz", **arrays)
    manifest = read_manifest(tmp_path / "chestmnist_64.npz")
    assert manifest.name == "chestmnist_64"
    assert manifest.labels[0] == "Atelectasis"
    assert manifest.labels[2] == "Pleural Effusion"
    assert manifest.labels[12:] == ("Pleural Thickening", "Hernia")
    np.testing.assert_array_equal(manifest.raw_labels(manifest.labels)[:6], arrays["train_labels"])
    np.testing.assert_array_equal(read_source_image(manifest, 8), arrays["val_images"][2])


def test_other_npz_files_are_refused(tmp_path: Path) -> None:
    arrays = {"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": np.eye(2)}
    np.savez(tmp_path / "retinamnist.npz", **arrays)
    with pytest.raises(DataError, match="2 label columns under this name"):
        read_manifest(tmp_path)
    (tmp_path / "retinamnist.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match="not a readable npz"):
        read_manifest(tmp_path)
    pickled = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "retinamnist.npz", train_images=pickled, train_labels=pickled)
    with pytest.raises(DataError, match="not a readable npz"):
        read_manifest(tmp_path)
