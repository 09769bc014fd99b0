"""Duplicates and near-duplicates, on real X-rays and copies of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pulmonet.data.duplicates import (
    MAX_HASH_DISTANCE,
    MIN_CORRELATION,
    Scan,
    decode_squares,
    high_passed,
    near_duplicates,
    pairs_csv,
    perceptual_hash,
    same_pixels,
    scan_images,
)
from pulmonet.data.images.read import read_source_image
from pulmonet.data.images.square import fit_square
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from small_dataset import manifest_of, smooth_image

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def films(shared_data: Path) -> tuple[Manifest, Images]:
    """Every fourth of the real images, squared."""
    manifest = read_manifest(shared_data / "nih-cxr")
    table = manifest.table.iloc[::4].reset_index(drop=True)
    few = Manifest(manifest.name, manifest.root, manifest.source, manifest.labels, table)
    images = [fit_square(read_source_image(few, row), 256, "stretch") for row in range(len(few))]
    return few, np.stack(images)


def copies(image: Images) -> dict[str, Images]:
    """The same film, saved differently."""
    half = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return {
        "quality 50": np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8),
        "half size": np.asarray(cv2.resize(half, (256, 256)), np.uint8),
        "contrast": np.clip((image.astype(float) - 128) * 0.8 + 140, 0, 255).astype(np.uint8),
        "gamma": (255 * (image / 255.0) ** 0.7).astype(np.uint8),
    }


def scan_of(images: Images) -> Scan:
    return scan_images(np.arange(len(images)), lambda rows: (rows, images[rows]))


def test_different_films_are_no_near_duplicates(films: tuple[Manifest, Images]) -> None:
    manifest, images = films
    scan = scan_of(images)
    assert same_pixels(manifest, scan) == []
    assert near_duplicates(manifest, scan, lambda rows: images[rows]) == []
    distances = np.bitwise_count(scan.hashes[:, None] ^ scan.hashes[None])
    n_proposed = int((distances <= MAX_HASH_DISTANCE).sum() - len(images)) // 2
    assert n_proposed > 50  # hashes alone would accuse these


@pytest.mark.parametrize("kind", ["quality 50", "half size", "contrast", "gamma"])
def test_copies_across_splits_are_found(films: tuple[Manifest, Images], kind: str) -> None:
    manifest, images = films
    changed = images.copy()
    split = manifest.table["split"].to_numpy()
    train, valid = np.flatnonzero(split == "train")[::8], np.flatnonzero(split == "valid")
    pairs = list(zip(valid.tolist(), train.tolist(), strict=False))
    for to, source in pairs:
        changed[to] = copies(images[source])[kind]
    found = near_duplicates(manifest, scan_of(changed), lambda rows: changed[rows])
    assert {(pair.row_a, pair.row_b) for pair in found} == set(pairs)
    assert all(pair.correlation >= MIN_CORRELATION for pair in found)
    table = pd.read_csv(pd.io.common.StringIO(pairs_csv(manifest, found)))
    assert set(table["split_a"]) == {"valid"} and set(table["split_b"]) == {"train"}
    assert len(table) == len(pairs)


def test_hash_equals_a_plain_dct() -> None:
    from scipy.fft import dctn

    image = smooth_image(0, 64, 64)
    small = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    low = dctn(np.rint(small), norm="ortho")[:8, :8].ravel()
    bits = np.unpackbits(np.array([perceptual_hash(image)], np.uint64).view(np.uint8))
    assert (bits != (low > np.median(low))).sum() <= 2


def test_high_passed_pixels_have_unit_norm_and_ignore_exposure() -> None:
    image = smooth_image(1, 64, 64)
    one, other = high_passed(image, 32), high_passed((image * 0.5 + 40).astype(np.uint8), 32)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert float((one * other).sum()) > 0.99
    assert not high_passed(np.full((64, 64), 9, np.uint8), 32).any()


def test_the_same_pixels_under_two_names(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 1)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), smooth_image(seed))
    manifest = manifest_of(tmp_path, [f"{name}.png" for name in "abcde"])
    bad: dict[int, str] = {}
    scan = scan_images(np.arange(5), partial(decode_squares, manifest, bad, {}, None))
    assert same_pixels(manifest, scan) == [[0, 2, 4]]
    assert bad == {}


def test_unreadable_rows_are_named_and_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), smooth_image(1))
    (tmp_path / "b.png").write_bytes(b"x")
    manifest = manifest_of(tmp_path, ["a.png", "b.png", "c.png"])
    bad: dict[int, str] = {}
    seen: list[int] = []
    look = partial(decode_squares, manifest, bad, {}, 2)
    scan = scan_images(np.arange(3), look, lambda n, _: seen.append(n))
    assert scan.rows.tolist() == [0]
    assert sorted(bad) == [1, 2]
    assert seen == [3]
    assert len(scan_images(np.arange(0), look).rows) == 0
    assert len(scan_images(np.arange(1, 3), look).coarse) == 0
