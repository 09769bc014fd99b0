"""A small dataset in CheXpert layout, written to disk: seeded noise with a shape per label."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pulmonet.labels import CHEXPERT_LABELS, DEFAULT_LABELS

HEADER = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS]


def write_dataset(
    root: Path,
    *,
    n_train: int = 24,
    n_valid: int = 10,
    side: int = 48,
    seed: int = 0,
    uncertain: float = 0.0,
) -> Path:
    """One image a patient; a positive label brightens its own square of the image.

    Args:
        root: the dataset root, made here.
        n_train: patients (= images) of train.csv.
        n_valid: of valid.csv.
        side: pixels.
        seed: of labels and noise.
        uncertain: share of the training labels that becomes -1.

    Returns:
        `root`.
    """
    rng = np.random.default_rng(seed)
    patient = 0
    for split, n_rows in (("train", n_train), ("valid", n_valid)):
        lines = [",".join(HEADER)]
        for row in range(n_rows):
            patient += 1
            labels = rng.random(len(DEFAULT_LABELS)) < 0.4
            if row < 2:  # both classes of every label in every split
                labels[:] = row == 0
            folder = root / split / f"patient{patient:05d}" / "study1"
            folder.mkdir(parents=True)
            image = rng.integers(0, 60, (side, side)).astype(np.uint8)
            for column in np.flatnonzero(labels):
                left = column * side // 5
                image[side // 3 : 2 * side // 3, left : left + side // 5] += 150
            cv2.imwrite(str(folder / "view1_frontal.jpg"), image)
            path = f"{root.name}/{split}/patient{patient:05d}/study1/view1_frontal.jpg"
            values = {name: str(float(on)) for name, on in zip(DEFAULT_LABELS, labels, strict=True)}
            if split == "train":
                for name in values:
                    if rng.random() < uncertain:
                        values[name] = "-1.0"
            cells = [path, "Male" if row % 2 else "Female", str(40 + row), "Frontal", "AP"]
            lines.append(",".join(cells + [values.get(name, "") for name in CHEXPERT_LABELS]))
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root
