"""What a run's images look like, in 228 numbers an image, and how far another image is from that.

The numbers are of the pixels, not of the network: its pooled features catch 5 % of the inverted
X-rays and 60 % of the turned ones (docs/explanations.md), and those of the pixels need no training.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Array, Pixels, Strings
from pulmonet.data.images.decoding import Remark
from pulmonet.errors import ArtifactError
from pulmonet.files.read import read_array
from pulmonet.files.write import bytes_of
from pulmonet.run.record import RunRecord

#: Side of the small image, halvings at each of which four textures are measured, bins of greys.
_SIDE, _LEVELS, _BINS = 8, 5, 16
#: Cells a side, and directions, of edges.
_CELLS, _DIRECTIONS = 4, 8
_N_NUMBERS = _SIDE**2 + 4 * _LEVELS + _BINS + _CELLS**2 * _DIRECTIONS
#: Side of what is described, whatever the run's: it costs the same, and has the same textures.
_LOOKED_AT = 256

#: Patients without whom the limit, their 99th percentile, is not known.
MIN_PATIENTS = 100


class Sight(NamedTuple):
    """What is known of an image beside its scores."""

    distance: float | None  # from those trained on; None: not known
    remark: Remark = Remark.NONE


def describe(squares: Iterable[Pixels]) -> Array:
    """(N, 228) numbers of N squares (R, R): coarse layout, textures, greys, edges.

    Layout is the image of 8 × 8 pixels, less its mean and over its deviation. Textures are, at
    each of five halvings, the logarithms of the mean step down and to the right, and of mean and
    deviation of what the next halving loses. Greys are the logarithms of a histogram. Edges are
    gradients by direction in 4 × 4 cells, after Dalal and Triggs 2005.
    """
    rows = []
    for given in squares:
        # linear takes a third of the time
        way = cv2.INTER_AREA if len(given) >= 2 * _LOOKED_AT else cv2.INTER_LINEAR
        square = cv2.resize(given, (_LOOKED_AT, _LOOKED_AT), interpolation=way).astype(np.uint8)
        small = cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        textures: list[float] = []
        image: NDArray[Any] = square.astype(np.float32)
        for _ in range(_LEVELS):
            size = image.shape[1], image.shape[0]
            half = cv2.resize(image, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
            lost = cv2.absdiff(image, cv2.resize(half, size, interpolation=cv2.INTER_LINEAR))
            steps = cv2.absdiff(image[1:], image[:-1]), cv2.absdiff(image[:, 1:], image[:, :-1])
            loss = (float(number[0, 0]) for number in cv2.meanStdDev(lost))
            textures += [*(cv2.mean(step)[0] for step in steps), *loss]
            image = half
        counts = cv2.calcHist([square], [0], None, [_BINS], [0, 256]).ravel()
        layout = (small - small.mean()) / (small.std() + 4)
        greys = np.log(counts / square.size + 1e-3)
        found = [layout.ravel(), np.log(np.add(textures, 0.25)), greys, _edges(square)]
        rows.append(np.concatenate(found))
    return np.asarray(rows, np.float64).reshape(-1, _N_NUMBERS)


def _edges(square: Pixels) -> Array:
    """(128,) logarithms of the rise in each direction, by cell, over the mean gradient."""
    small = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    turns = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False, dtype=np.float32)
    gradients = np.stack([across.ravel(), down.ravel()])
    rises = np.maximum(np.stack([np.cos(turns), np.sin(turns)], axis=1) @ gradients, 0)
    means = rises.reshape(_DIRECTIONS, _CELLS, 64 // _CELLS, _CELLS, -1).mean(axis=(2, 4))
    return np.asarray(np.log(means.ravel() / (cv2.magnitude(across, down).mean() + 4) + 0.1))


@dataclass(frozen=True)
class Likeness:
    """What a run's training images look like.

    At most 1 % of the patients, in validation and in training, have an image beyond the limit.
    """

    mean: Array  # (228,)
    whitening: Array  # (228, 228), makes the covariance the identity
    limit: float  # of Mahalanobis distances

    def distances(self, squares: Iterable[Pixels]) -> Array:
        """(N,) of N squares, of the run's size in the pack."""
        return _distances(describe(squares), self.mean, self.whitening)

    def beyond(self, distance: float) -> str:
        """What to say of an image at this distance; empty within the limit."""
        what = "unlike the images that this model was trained on"
        text = f"{what} (distance {distance:.3g}; 99 % of them lie below {self.limit:.3g})"
        return text if distance > self.limit else ""

    def to_bytes(self, key: str) -> bytes:
        """The content of ``likeness.npz``; `key` says of which data."""
        arrays: dict[str, Any] = vars(self) | {"key": np.asarray(key)}
        return bytes_of(lambda file: np.savez(file, **arrays))


def key_of(record: RunRecord) -> str:
    """Of which data, in which squares, a run's images are."""
    facts, data = record.provenance.dataset, record.config.data
    return f"{facts and facts.fingerprint} {data.image_size} {data.fit}"


def read_likeness(path: Path, key: str) -> Likeness | None:
    """What a run has stored; None of an earlier version, or of too few patients.

    Raises:
        ArtifactError: damaged, or of other data than those of the `key`.
    """
    if not path.exists():
        return None
    names = ("mean", "whitening", "limit", "key")
    try:
        mean, whitening, limit, written_for = (read_array(path, name) for name in names)
        if str(written_for) != key:
            raise ValueError("of other training data than run_config.json")
        shapes = mean.shape, whitening.shape
        if shapes != ((_N_NUMBERS,), (_N_NUMBERS, _N_NUMBERS)) or not np.isfinite(limit):
            raise ValueError(f"arrays of the shapes {shapes}")
        return Likeness(mean.astype(np.float64), whitening.astype(np.float64), float(limit))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); restore or remove it") from None


def learn(
    trained: Array, patients: Strings, held: Array, held_patients: Strings
) -> Likeness | None:
    """What the images trained on look like, and how far those lie that it was not learnt from.

    Numbers (N, 228) and patients (N,) of the images trained on, and of those held out. The limit
    is the 99th percentile of the patients' farthest images, each training image measured against
    the other four fifths of the patients; at least that of the held-out patients alone. None:
    fewer than `MIN_PATIENTS`, or none to spare of those trained on.
    """
    names, of_row = np.unique(patients, return_inverse=True)
    everybody = np.concatenate([patients, held_patients])
    if len(np.unique(everybody)) < MIN_PATIENTS or len(names) < 10:
        return None
    learnt = _whiten(trained)
    distances = _distances(np.concatenate([trained, held]), *learnt)
    for fold in range(5):
        left = np.flatnonzero(of_row % 5 == fold)
        rest = np.delete(trained, left, axis=0)
        distances[left] = _distances(trained[left], *_whiten(rest))
    start = 0 if not len(held) else len(trained)
    limits = [_of_patients(distances[at:], everybody[at:]) for at in (0, start)]
    return Likeness(*learnt, max(limits) * (1 + 1e-9))  # rounding puts no one beyond


def _of_patients(distances: Array, patients: Strings) -> float:
    """What at most 1 % of the patients have an image beyond."""
    farthest = pd.Series(distances).groupby(patients).max()
    return float(np.quantile(farthest, 0.99, method="higher"))


def _whiten(numbers: Array) -> tuple[Array, Array]:
    """Mean, and what makes the shrunk covariance (Ledoit and Wolf 2004) the identity."""
    from sklearn.covariance import ledoit_wolf

    mean, spread = numbers.mean(axis=0), numbers.std(axis=0) + 1e-9
    covariance, _ = ledoit_wolf((numbers - mean) / spread, assume_centered=True)
    return mean, np.linalg.inv(np.linalg.cholesky(covariance)) / spread


def _distances(numbers: Array, mean: Array, whitening: Array) -> Array:
    return np.asarray(np.linalg.norm((numbers - mean) @ whitening.T, axis=1))
