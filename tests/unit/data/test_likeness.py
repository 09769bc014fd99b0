"""What the images trained on look like: against scikit-learn, plain loops, and drawn normals."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.covariance import LedoitWolf

from pulmonet.arrays import Array, Strings
from pulmonet.data.likeness import Likeness, describe, learn, read_likeness
from pulmonet.errors import ArtifactError
from small_dataset import smooth_image


def drawn(n_patients: int, seed: int = 0) -> tuple[Array, Strings]:
    """Correlated normals of 1 to 3 images a patient."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(228, 228)) / 10 + np.eye(228)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 4, n_patients))
    names = np.array([f"p{seed}_{number}" for number in patients], object)
    return rng.normal(size=(len(names), 228)) @ mixing + 5, names


def reference_distances(trained: Array, numbers: Array) -> Array:
    mean, spread = trained.mean(axis=0), trained.std(axis=0)
    fitted = LedoitWolf(assume_centered=True).fit((trained - mean) / spread)
    return np.asarray(np.sqrt(fitted.mahalanobis((numbers - mean) / spread)))


def distances(found: Likeness, numbers: Array) -> Array:
    return np.asarray(np.linalg.norm((numbers - found.mean) @ found.whitening.T, axis=1))


def test_distances_are_mahalanobis_under_the_shrunk_covariance() -> None:
    trained, patients = drawn(300)
    held, others = drawn(120, seed=1)
    found = learn(trained, patients, held, others)
    assert found is not None
    np.testing.assert_allclose(
        distances(found, held), reference_distances(trained, held), rtol=1e-6
    )


def test_limit_is_the_99th_percentile_of_the_patients_farthest_images() -> None:
    """By a plain loop: training images against the other four fifths, held-out ones against all."""
    trained, patients = drawn(200)
    held, others = drawn(150, seed=1)
    farthest: dict[str, float] = {}
    names = sorted(set(patients))
    for fold in range(5):
        left = np.isin(patients, names[fold::5])
        found = reference_distances(trained[~left], trained[left])
        for name, value in zip(patients[left], found, strict=True):
            farthest[name] = max(farthest.get(name, 0.0), value)
    of_held: dict[str, float] = {}
    for name, value in zip(others, reference_distances(trained, held), strict=True):
        of_held[name] = max(of_held.get(name, 0.0), value)
    limits = []
    for values in (farthest | of_held, of_held):
        ranked = sorted(values.values())
        limits.append(ranked[len(ranked) - 1 - len(ranked) // 100])
    found_limit = learn(trained, patients, held, others)
    assert found_limit is not None
    assert found_limit.limit == pytest.approx(max(limits), rel=1e-6)


@pytest.mark.parametrize("n_held", [1, 40, 111, 230])
def test_at_most_one_in_a_hundred_held_out_patients_is_beyond_the_limit(n_held: int) -> None:
    trained, patients = drawn(250)
    held, others = drawn(n_held, seed=2)
    found = learn(trained, patients, held, others)
    assert found is not None
    beyond = {name for name, far in zip(others, distances(found, held), strict=True)
              if far > found.limit}  # fmt: skip
    assert len(beyond) <= n_held / 100


def test_new_patients_are_beyond_the_limit_about_as_often_as_promised() -> None:
    trained, patients = drawn(600)
    found = learn(trained, patients, *drawn(400, seed=1))
    assert found is not None
    new, names = drawn(2000, seed=3)
    n_beyond = len({name for name, far in zip(names, distances(found, new), strict=True)
                    if far > found.limit})  # fmt: skip
    assert stats.binomtest(n_beyond, 2000, 0.02, alternative="greater").pvalue > 0.001


def test_too_few_patients_are_not_judged() -> None:
    assert learn(*drawn(60), *drawn(39, seed=1)) is None
    assert learn(*drawn(60), *drawn(40, seed=1)) is not None
    assert learn(*drawn(9), *drawn(200, seed=1)) is None
    nobody = np.zeros((0, 228)), np.zeros(0, object)
    assert learn(*drawn(120), *nobody) is not None
    assert learn(*nobody, *drawn(120)) is None


def test_numbers_of_an_image() -> None:
    """The layout by hand, a histogram that adds up, and a blank square's numbers are finite."""
    square = cv2.resize(smooth_image(3), (256, 256))
    (found,) = describe([square])
    blocks = square.astype(float).reshape(8, 32, 8, 32).mean(axis=(1, 3)).ravel()
    expected = (blocks - blocks.mean()) / (blocks.std() + 4)
    np.testing.assert_allclose(found[:64], expected, atol=0.02)
    assert (np.exp(found[84:100]) - 1e-3).sum() == pytest.approx(1)
    step = np.abs(np.diff(square.astype(float), axis=0)).mean()
    assert np.exp(found[64]) - 0.25 == pytest.approx(step, rel=1e-5)
    assert np.isfinite(describe([np.zeros((256, 256), np.uint8)])).all()
    assert describe([]).shape == (0, 228)


def test_edges_of_an_image() -> None:
    """By a plain loop over the pixels of a square of 64, with scipy's gradients."""
    square = np.random.default_rng(5).integers(0, 256, (256, 256), dtype=np.uint8)
    square[:, 128:] //= 4
    small = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    across, down = (ndimage.sobel(small, axis, mode="mirror") for axis in (1, 0))
    means = np.zeros((8, 4, 4))
    for turn, row, column in np.ndindex(8, 64, 64):
        angle = np.radians(45 * turn)
        rise = across[row, column] * np.cos(angle) + down[row, column] * np.sin(angle)
        means[turn, row // 16, column // 16] += max(rise, 0) / 256
    expected = np.log(means / (np.hypot(across, down).mean() + 4) + 0.1).ravel()
    np.testing.assert_allclose(describe([square])[0, 100:], expected, atol=1e-4)


def test_any_side_is_described_at_256_pixels() -> None:
    square = cv2.resize(smooth_image(3), (512, 512), interpolation=cv2.INTER_CUBIC)
    halved = cv2.resize(square, (256, 256), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(describe([square]), describe([halved]))


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "likeness.npz"
    assert read_likeness(path, "key") is None
    found = learn(*drawn(120), *drawn(30, seed=1))
    assert found is not None
    path.write_bytes(found.to_bytes("key"))
    again = read_likeness(path, "key")
    assert again is not None and again.limit == found.limit
    np.testing.assert_array_equal(again.whitening, found.whitening)
    assert path.stat().st_size < 500_000


def test_what_is_no_file_of_the_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "likeness.npz"
    found = learn(*drawn(120), *drawn(30, seed=1))
    assert found is not None
    content = found.to_bytes("key")
    strange = {
        "of other training data": found.to_bytes("another"),
        "a zip file": content[: len(content) // 2],
        "File is not": b"nonsense",
        "shapes": arrays(mean=np.zeros(100), whitening=np.eye(100), limit=1.0, key="key"),
        "allow_pickle": arrays(mean=np.array([{}], object), whitening=0.0, limit=1.0, key="key"),
        "in the archive": arrays(mean=np.zeros(100)),
    }
    for reason, data in strange.items():
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=f"likeness.npz: damaged .*{reason}"):
            read_likeness(path, "key")


def arrays(**values: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **values)  # type: ignore[arg-type]
    return buffer.getvalue()
