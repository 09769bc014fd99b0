"""Augmentation: drawn from (seed, epoch, row), applied alike by OpenCV and by torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torchvision.transforms import v2

from pulmonet.choices import TTA_VIEWS
from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches.augment import (
    GPU_TOLERANCE,
    Augmentation,
    apply,
    apply_torch,
    draw,
    tta_views,
)
from pulmonet.errors import ConfigError
from small_dataset import smooth_image

ROWS = np.arange(2_000)
ORIGINAL = AugmentConfig(geometry="original", flip=0.5)
STRONG = AugmentConfig(
    rotation_degrees=25, shift=0.1, scale=0.2, flip=0.5, brightness=0.2, contrast=0.3
)


def images_of(n: int, side: int = 256) -> torch.Tensor:
    return torch.from_numpy(np.stack([smooth_image(i, side, side) for i in range(n)])[:, None])


def identity(n: int, **changes: NDArray[np.float32]) -> Augmentation:
    values = {
        "affine": np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1)),
        "brightness": np.zeros(n, np.float32),
        "contrast": np.ones(n, np.float32),
    }
    return Augmentation(**{**values, **changes})


def sample(image: NDArray[np.uint8], affine: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Reference: every output pixel's centre mapped and interpolated by scipy."""
    side = image.shape[0]
    centre = (2 * np.arange(size) + 1) / size - 1
    x, y = np.meshgrid(centre, centre)
    source = affine.astype(np.float64) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    columns, lines = ((source + 1) * side - 1) / 2
    padded = np.pad(image.astype(np.float64), 1)
    values = ndimage.map_coordinates(padded, [lines + 1, columns + 1], order=1, cval=0.0)
    return values.reshape(size, size)


# --- draws --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [AugmentConfig(), ORIGINAL, STRONG])
def test_a_draw_depends_on_seed_epoch_and_row_only(config: AugmentConfig) -> None:
    everything = draw(config, seed=42, epoch=3, rows=ROWS)
    part = draw(config, seed=42, epoch=3, rows=ROWS[[700, 5, 5]])
    for name in ("affine", "brightness", "contrast"):
        np.testing.assert_array_equal(getattr(part, name), getattr(everything, name)[[700, 5, 5]])
    for other in ({"seed": 43, "epoch": 3}, {"seed": 42, "epoch": 4}):
        changed = draw(config, rows=ROWS, **other)
        assert (changed.affine != everything.affine).any(axis=(1, 2)).mean() > 0.99


def test_jitter_stays_in_its_ranges_and_fills_them() -> None:
    affine = draw(AugmentConfig(), seed=1, epoch=0, rows=ROWS).affine
    zoom = 1 / np.hypot(affine[:, 0, 0], affine[:, 0, 1])
    degrees = np.rad2deg(np.arctan2(affine[:, 0, 1], affine[:, 0, 0]))
    for values, low, high in (
        (zoom, 0.9, 1.1),
        (degrees, -7, 7),
        (affine[:, 0, 2] / 2, -0.05, 0.05),
        (affine[:, 1, 2] / 2, -0.05, 0.05),
    ):
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.001
    np.testing.assert_allclose(affine[:, 0, 0], affine[:, 1, 1])
    np.testing.assert_allclose(affine[:, 0, 1], -affine[:, 1, 0])


def test_no_flip_by_default_and_half_when_asked() -> None:
    assert (draw(AugmentConfig(), seed=1, epoch=0, rows=ROWS).affine[:, 0, 0] > 0).all()
    flipped = draw(ORIGINAL, seed=1, epoch=0, rows=ROWS).affine[:, 0, 0] < 0
    assert 0.45 < flipped.mean() < 0.55


def test_brightness_and_contrast_ranges() -> None:
    drawn = draw(STRONG, seed=1, epoch=0, rows=ROWS)
    assert stats.kstest(drawn.brightness, "uniform", (-51, 102)).pvalue > 0.001
    assert stats.kstest(drawn.contrast, "uniform", (0.7, 0.6)).pvalue > 0.001
    plain = draw(AugmentConfig(), seed=1, epoch=0, rows=ROWS)
    assert not plain.changes_grey().any()


def test_original_crops_as_random_resized_crop_does() -> None:
    affine = np.abs(draw(ORIGINAL, seed=1, epoch=0, rows=np.arange(20_000)).affine)
    width, height = affine[:, 0, 0], affine[:, 1, 1]
    side = 1_000
    transform = v2.RandomResizedCrop(8, scale=(0.8, 1.0))
    torch.manual_seed(0)
    blank = torch.zeros(1, side, side)
    boxes = [transform.make_params([blank]) for _ in range(4_000)]
    their_area = np.array([box["height"] * box["width"] for box in boxes]) / side**2
    their_ratio = np.log(np.array([box["width"] / box["height"] for box in boxes]))
    assert stats.ks_2samp(width * height, their_area).pvalue > 0.001
    assert stats.ks_2samp(np.log(width / height), their_ratio).pvalue > 0.001
    assert (np.abs(affine[:, 0, 2]) <= 1 - width + 1e-6).all()
    assert (np.abs(affine[:, 1, 2]) <= 1 - height + 1e-6).all()


# --- application --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [96, 224, 256])
def test_evaluation_is_the_area_filter(size: int) -> None:
    images = images_of(3)
    result = apply(images, None, size)
    assert (result.dtype, result.shape) == (torch.uint8, (3, 1, size, size))
    for image, square in zip(images[:, 0].numpy(), result[:, 0].numpy(), strict=True):
        expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(square, expected)


def test_geometry_none_trains_on_what_evaluation_sees() -> None:
    images = images_of(4)
    config = AugmentConfig(geometry="none", flip=0.5)
    drawn = draw(config, seed=3, epoch=0, rows=np.arange(4))
    flipped = drawn.affine[:, 0, 0] < 0
    assert 0 < flipped.sum() < 4
    expected = apply(images, None, 224).numpy()
    expected[flipped] = expected[flipped][..., ::-1]
    np.testing.assert_array_equal(apply(images, drawn, 224).numpy(), expected)
    by_torch = apply_torch(images, drawn, 224).numpy()
    np.testing.assert_allclose(by_torch, expected, atol=1.01)


@pytest.mark.parametrize("config", [AugmentConfig(), ORIGINAL])
def test_the_cpu_path_against_plain_sampling(config: AugmentConfig) -> None:
    images = images_of(4)
    drawn = draw(config, seed=7, epoch=1, rows=np.arange(4))
    result = apply(images, drawn, 224)[:, 0].numpy().astype(np.float64)
    for row in range(4):
        difference = np.abs(result[row] - sample(images[row, 0].numpy(), drawn.affine[row], 224))
        assert difference.mean() < GPU_TOLERANCE
        assert np.quantile(difference, 0.99) < 4


@pytest.mark.parametrize("config", [AugmentConfig(), ORIGINAL, STRONG])
@pytest.mark.parametrize("size", [96, 224])
def test_the_torch_path_agrees_with_the_cpu_path(config: AugmentConfig, size: int) -> None:
    images = images_of(6)
    drawn = draw(config, seed=7, epoch=1, rows=np.arange(6))
    by_torch = apply_torch(images, drawn, size)
    assert by_torch.dtype == torch.float32
    assert by_torch.min() >= 0
    assert by_torch.max() <= 255
    difference = (by_torch - apply(images, drawn, size).float()).abs()
    assert difference.mean() < GPU_TOLERANCE


def test_the_torch_evaluation_agrees_with_the_cpu_one() -> None:
    images = images_of(3)
    for size in (96, 224, 256, 300):
        difference = (apply_torch(images, None, size) - apply(images, None, size).float()).abs()
        assert difference.max() <= 1.0
        assert difference.mean() < 0.1


def test_a_shift_moves_the_image_that_way() -> None:
    images = images_of(1)
    affine = np.array([[[1, 0, 2 * 16 / 256], [0, 1, 0]]], np.float32)
    moved = apply(images, identity(1, affine=affine), 256)[0, 0]
    np.testing.assert_array_equal(moved[:, :-16], images[0, 0, :, 16:])
    assert (moved[:, -15:] == 0).all()


def test_growing_sizes_do_not_alias() -> None:
    stripes = torch.zeros(1, 1, 256, 256, dtype=torch.uint8)
    stripes[..., ::2] = 255
    drawn = draw(AugmentConfig(), seed=1, epoch=0, rows=np.array([3]))
    for small in (apply(stripes, drawn, 64).float(), apply_torch(stripes, drawn, 64)):
        inner = small[..., 16:48, 16:48]
        assert abs(inner.mean().item() - 127.5) < 3
        assert inner.std().item() < 20
    bare = sample(stripes[0, 0].numpy(), drawn.affine[0], 64)[16:48, 16:48]
    assert bare.std() > 40  # what a warp without the area filter would give


def test_brightness_and_contrast_by_their_formula() -> None:
    images = images_of(2)
    drawn = identity(
        2, brightness=np.array([20, -30], np.float32), contrast=np.array([1.3, 0.6], np.float32)
    )
    expected = images.float()
    for row in range(2):
        value = (expected[row] - 127.5) * drawn.contrast[row] + 127.5 + drawn.brightness[row]
        expected[row] = value.clamp(0, 255)
    np.testing.assert_allclose(apply(images, drawn, 256).float(), expected, atol=0.51)
    np.testing.assert_allclose(apply_torch(images, drawn, 256), expected, atol=1e-3)


def test_a_rotation_turns_about_the_centre() -> None:
    images = images_of(1)
    quarter = np.array([[[0, 1, 0], [-1, 0, 0]]], np.float32)
    turned = apply(images, identity(1, affine=quarter), 256)[0, 0].numpy()
    expected = np.rot90(images[0, 0].numpy(), -1)
    assert np.abs(turned.astype(float) - expected).mean() < 0.5


# --- test-time views ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(TTA_VIEWS))
def test_views_begin_with_the_plain_image_and_stay_inside_the_jitter(kind: str) -> None:
    plain, *others = tta_views(kind)
    assert plain is None
    assert 1 + len(others) == TTA_VIEWS[kind]
    assert len({view.tobytes() for view in others}) == len(others)
    images = images_of(3)
    config = AugmentConfig()
    for view in others:
        if kind == "flip":
            mirrored = apply(images, None, 64).flip(-1)
            np.testing.assert_array_equal(apply(images, view, 64), mirrored)
            continue
        zoom = 1 / np.hypot(view[0, 0], view[0, 1])
        degrees = np.rad2deg(np.arctan2(view[0, 1], view[0, 0]))
        assert abs(zoom - 1) <= config.scale
        assert abs(degrees) <= config.rotation_degrees
        seen = apply(images, view, 224)
        for image, source in zip(seen[:, 0].numpy(), images[:, 0].numpy(), strict=True):
            assert np.abs(image - sample(source, view, 224)).mean() < GPU_TOLERANCE


def test_an_unknown_kind_of_views() -> None:
    with pytest.raises(ConfigError, match=r"--tta jiter: unknown \(did you mean 'jitter'"):
        tta_views("jiter")
