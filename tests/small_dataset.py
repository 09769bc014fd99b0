"""Small datasets, their manifests and single files, for the tests of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.manifest import Manifest


def smooth_image(seed: int, height: int = 60, width: int = 72) -> NDArray[np.uint8]:
    """(H, W) random but smooth, as an X-ray is."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 7), dtype=np.uint8)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(image, np.uint8)


def write_dataset(root: Path, n_rows: int = 40) -> Manifest:
    """Images and manifest of `n_rows` rows, ten a folder."""
    paths = []
    for row in range(n_rows):
        path = f"train/patient{row // 10:05d}/study1/view{row % 10}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / path), smooth_image(row))
        paths.append(path)
    return manifest_of(root, paths)


def manifest_of(root: Path, paths: list[str]) -> Manifest:
    """A manifest that holds what packing looks at, and one label."""
    table = pd.DataFrame({"path": paths, "Edema": np.zeros(len(paths), np.float32)})
    return Manifest("tiny", root, "chexpert", ("Edema",), table)


def random_manifest(n_patients: int = 40, seed: int = 0) -> Manifest:
    """Two images a patient, AP and lateral, everything in train."""
    rng = np.random.default_rng(seed)
    patients = [f"patient{n // 2:04d}" for n in range(2 * n_patients)]
    table = pd.DataFrame(
        {
            "path": [f"train/{patient}/{n}.jpg" for n, patient in enumerate(patients)],
            "split": "train",
            "patient": patients,
            "study": patients,
            "view": ["AP", "LATERAL"] * n_patients,
            "sex": rng.choice(["Male", "Female", ""], 2 * n_patients),
            "age_years": rng.choice([5.0, 55.0, 99.0, np.nan], 2 * n_patients),
            "Edema": rng.choice([1, 0, -1, np.nan], 2 * n_patients).astype(np.float32),
            "Hernia": (rng.random(2 * n_patients) < 0.05).astype(np.float32),
            "Fracture": np.full(2 * n_patients, np.nan, np.float32),
        }
    )
    return Manifest("x", Path("x"), "chexpert", ("Edema", "Hernia", "Fracture"), table)


def write_picture(path: Path, seed: int = 0) -> None:
    """Noise, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (20, 24), dtype=np.uint8)
    cv2.imwrite(str(path), noise)


def write_text(path: Path, content: str) -> None:
    """A file, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def write_dicom(
    path: Path, pixels: np.ndarray, *, photometric: str = "MONOCHROME2", **elements: Any
) -> Any:
    """A minimal digital X-ray of (H, W) pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset
