"""Saved scores of models of known strength, and `pulmonet evaluate` in its quickest form."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from pulmonet.cli.main import main
from pulmonet.files.ledger import NAME
from pulmonet.files.write import write_atomic
from pulmonet.run.predictions import Predictions

QUICK = ("--bootstrap", "100", "--no-figures")
LABELS = ("Edema", "Pleural Effusion")


def write_predictions(path: Path, *, strength: float = 0.4, seed: int = 0, n: int = 120) -> Path:
    """Scores of a model of some strength; the rows depend on n alone."""
    generator = np.random.default_rng(n)
    patients = np.sort(generator.integers(0, n // 2, n))
    targets = (generator.random((n, 2)) < 0.4).astype(np.float32)
    noise = np.random.default_rng(seed).random((n, 2))
    predictions = Predictions(
        run="",
        dataset="",
        split="",
        labels=LABELS,
        paths=tuple(f"p{patient}/{row}.png" for row, patient in enumerate(patients)),
        patients=tuple(f"p{patient}" for patient in patients),
        studies=None,
        targets=targets,
        scores=np.clip(noise * (1 - strength) + strength * targets, 0, 1).astype(np.float32),
        columns={"sex": generator.choice(["Female", "Male"], n).astype(object)},
    )
    write_atomic(path, predictions.to_csv())
    return path


def evaluate(artifacts_dir: Path, *arguments: str) -> int:
    quick = QUICK[:-1] if "--figures" in arguments else QUICK
    return main(["evaluate", "--artifacts-dir", str(artifacts_dir), *quick, *arguments])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }
