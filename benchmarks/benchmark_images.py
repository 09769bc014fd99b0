"""JPEGs as large as CheXpert-small's, for the benchmarks: made from real X-rays or from noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pulmonet.data.manifest import Manifest

#: Width and height of most CheXpert-small images.
SIZE = (390, 320)


def write_images(folder: Path, n_images: int, source: Path | None) -> Manifest:
    """`n_images` grey JPEGs of 390×320, quality 95, and their manifest.

    Args:
        folder: where to; must not hold images yet.
        n_images: how many.
        source: folder whose JPEGs and PNGs are taken in turn, resized; None makes noise with
            the smoothness of an X-ray, which compresses alike.
    """
    found = sorted([*source.rglob("*.jpg"), *source.rglob("*.png")]) if source else []
    n_distinct = min(n_images, len(found) or 256)
    encoded = [_encode(_x_ray(found[i]) if found else _noise(i)) for i in range(n_distinct)]
    paths = []
    for row in range(n_images):
        path = f"train/patient{row:06d}/study1/view1_frontal.jpg"
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(encoded[row % n_distinct])
        paths.append(path)
    return Manifest("benchmark", folder, "chexpert", (), pd.DataFrame({"path": paths}))


def _encode(image: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return encoded.tobytes()


def _x_ray(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)


def _noise(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (9, 11), dtype=np.uint8)
    image = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    image += random.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
