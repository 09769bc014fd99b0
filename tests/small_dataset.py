"""A small dataset of JPEGs and its manifest, for the tests of packing and loading."""

from __future__ import annotations

from pathlib import Path

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
