"""What training does to an image on its way from the pack to the network: drawn, then applied.

Draws are functions of (seed, epoch, row), made on the CPU for every device; `apply` carries them
out where the images are: with OpenCV on uint8 for the CPU, with torch on float for a GPU. The two
agree to within rounding (`GPU_TOLERANCE`).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pulmonet.arrays import Array, Flags, Floats32, Ints
from pulmonet.choices import TTA_VIEWS
from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches.random import uniform
from pulmonet.errors import ConfigError
from pulmonet.words import unknown

#: Largest mean difference, in grey levels, between the CPU's and the GPU's image of a batch: the
#: CPU rounds to whole levels and OpenCV to 1/32 pixel.
GPU_TOLERANCE = 1.0

#: RandomResizedCrop draws up to ten shapes and takes the first that fits (torchvision).
_CROP_ATTEMPTS = 10
_CROP_LOG_RATIO = math.log(4 / 3)

#: Streams of `uniform`: which of a row's random numbers is which. Never renumber.
_ROTATION, _SHIFT_X, _SHIFT_Y, _SCALE, _FLIP, _BRIGHTNESS, _CONTRAST = range(7)
_CROP_LEFT, _CROP_TOP, _CROP_SHAPES = 7, 8, 16


@dataclass(frozen=True)
class Augmentation:
    """What happens to each of B images."""

    #: (B, 2, 3): output to input position, both in [-1, 1] from edge to edge, x before y, a flip
    #: folded in; what `torch.nn.functional.affine_grid` takes.
    affine: Floats32
    brightness: Floats32  # (B,), added, in grey levels
    contrast: Floats32  # (B,), factor about mid-grey (127.5)

    def changes_grey(self) -> Flags:
        """(B,) whether brightness or contrast change."""
        return np.asarray((self.brightness != 0) | (self.contrast != 1))


def draw(config: AugmentConfig, *, seed: int, epoch: int, rows: Ints) -> Augmentation:
    """The augmentation of each of `rows` (B,) in an epoch: a function of (seed, epoch, row) only.

    MixUp is the loader's (`pulmonet.data.batches.load`).
    """

    def draws(stream: int) -> Array:
        return uniform(seed, epoch, rows, stream)

    n = len(rows)
    matrix = np.zeros((n, 2, 3), np.float64)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1.0
    if config.geometry == "jitter":
        angle = np.deg2rad(config.rotation_degrees) * (2 * draws(_ROTATION) - 1)
        zoom = 1.0 + config.scale * (2 * draws(_SCALE) - 1)
        # the map runs from output to input, hence 1 / zoom
        matrix[:, 0, 0] = matrix[:, 1, 1] = np.cos(angle) / zoom
        matrix[:, 0, 1] = np.sin(angle) / zoom
        matrix[:, 1, 0] = -np.sin(angle) / zoom
        matrix[:, 0, 2] = 2 * config.shift * (2 * draws(_SHIFT_X) - 1)
        matrix[:, 1, 2] = 2 * config.shift * (2 * draws(_SHIFT_Y) - 1)
    elif config.geometry == "original":
        width, height = _crop_shape(config, seed, epoch, rows)
        matrix[:, 0, 0], matrix[:, 1, 1] = width, height
        matrix[:, 0, 2] = (1 - width) * (2 * draws(_CROP_LEFT) - 1)
        matrix[:, 1, 2] = (1 - height) * (2 * draws(_CROP_TOP) - 1)
    if config.flip:
        matrix[:, :, 0] *= np.where(draws(_FLIP) < config.flip, -1.0, 1.0)[:, None]
    return Augmentation(
        affine=matrix.astype(np.float32),
        brightness=(255 * config.brightness * (2 * draws(_BRIGHTNESS) - 1)).astype(np.float32),
        contrast=(1 + config.contrast * (2 * draws(_CONTRAST) - 1)).astype(np.float32),
    )


def tta_views(kind: str) -> tuple[Floats32 | None, ...]:
    """The views of an image over which test-time augmentation averages, the plain one first.

    Fixed, not drawn, and inside what training draws by default: `jitter` is 5 % smaller and
    larger, and 4 degrees to either side; `flip` is the mirrored image, which training does not
    show by default (the heart lies on the left).

    Per view None, the whole square as evaluation takes it, or (2, 3) float32 as one image's
    `Augmentation.affine`.

    Raises:
        ConfigError: another kind.
    """
    if kind not in TTA_VIEWS:
        raise ConfigError(unknown(f"--tta {kind}", kind, TTA_VIEWS))
    if kind == "flip":
        return None, np.array([[-1, 0, 0], [0, 1, 0]], np.float32)
    views: list[Floats32 | None] = [None]
    if kind == "jitter":
        for zoom, degrees in ((0.95, 0.0), (1.05, 0.0), (1.0, -4.0), (1.0, 4.0)):
            cosine, sine = (part(np.deg2rad(degrees)) / zoom for part in (np.cos, np.sin))
            views.append(np.array([[cosine, sine, 0], [-sine, cosine, 0]], np.float32))
    return tuple(views)


def _crop_shape(config: AugmentConfig, seed: int, epoch: int, rows: Ints) -> tuple[Array, Array]:
    """(B,) widths and heights of RandomResizedCrop as shares of the side.

    torchvision's rule without its rounding to whole pixels: area uniform in `crop_scale`,
    log aspect ratio uniform in log 3/4 .. log 4/3, the first of ten that fits, else the whole.
    """
    low, high = config.crop_scale
    width, height = np.ones(len(rows)), np.ones(len(rows))
    undecided = np.ones(len(rows), bool)
    for attempt in range(_CROP_ATTEMPTS):
        stream = _CROP_SHAPES + 2 * attempt
        area = low + (high - low) * uniform(seed, epoch, rows, stream)
        ratio = np.exp(_CROP_LOG_RATIO * (2 * uniform(seed, epoch, rows, stream + 1) - 1))
        tried_width, tried_height = np.sqrt(area * ratio), np.sqrt(area / ratio)
        taken = undecided & (tried_width <= 1) & (tried_height <= 1)
        width[taken], height[taken] = tried_width[taken], tried_height[taken]
        undecided &= ~taken
    return width, height


def apply(images: Tensor, parameters: Augmentation | Floats32 | None, image_size: int) -> Tensor:
    """Images of the pack as the network takes them, on the device where they are.

    Args:
        images: (B, 1, R, R) uint8.
        parameters: `draw`'s, or one of `tta_views` for all; None resizes the whole square with
            the area filter, as evaluation does.
        image_size: S.

    Returns:
        (B, 1, S, S): uint8 on the CPU, float32 in [0, 255] elsewhere; black outside the square.
    """
    if isinstance(parameters, np.ndarray):
        zeros, ones = np.zeros(len(images), np.float32), np.ones(len(images), np.float32)
        affine = np.repeat(parameters[None], len(images), axis=0)
        parameters = Augmentation(affine, zeros, ones)
    on_cpu = images.device.type == "cpu"
    return (_apply_opencv if on_cpu else apply_torch)(images, parameters, image_size)


def _apply_opencv(images: Tensor, parameters: Augmentation | None, image_size: int) -> Tensor:
    sources = images.numpy()[:, 0]
    result = torch.empty((len(sources), 1, image_size, image_size), dtype=torch.uint8)
    targets = result.numpy()[:, 0]
    size, area = (image_size, image_size), cv2.INTER_AREA
    if parameters is None:
        for source, target in zip(sources, targets, strict=True):
            cv2.resize(source, size, target, interpolation=area)
        return result
    side = _warp_side(sources.shape[-1], image_size)
    matrices = _pixel_matrices(parameters.affine, side, image_size)
    shape_only = _keeps_place(parameters.affine)
    warp = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        if shape_only[row]:
            cv2.resize(source, size, target, interpolation=area)
            if parameters.affine[row, 0, 0] < 0:
                target[:] = target[:, ::-1]
        else:
            is_side = source.shape[0] == side
            shrunk = source if is_side else cv2.resize(source, (side, side), interpolation=area)
            cv2.warpAffine(shrunk, matrices[row], size, target, warp)  # black beyond the edges
    for row in np.flatnonzero(parameters.changes_grey()).tolist():
        levels = (np.arange(256, dtype=np.float32) - 127.5) * parameters.contrast[row]
        levels = np.rint(levels + 127.5 + parameters.brightness[row])
        cv2.LUT(targets[row], np.clip(levels, 0, 255).astype(np.uint8), targets[row])
    return result


def _warp_side(side: int, image_size: int) -> int:
    """Side to shrink to, with the area filter, before a bilinear warp: a warp alone would alias.

    Growing sizes then see the same sharpness: 8 pixels of the source to 7 of the target, as 256
    to 224.
    """
    return side if 2 * side <= 3 * image_size else round(image_size * 256 / 224)


def _keeps_place(affine: Floats32) -> Flags:
    """(B,) whether an image is taken whole, flipped or not: then the area filter serves better."""
    upright = affine * np.sign(affine[:, :1, :1])
    upright[:, :, 1:] = affine[:, :, 1:]
    off = np.abs(upright - np.eye(2, 3, dtype=np.float32)).max(axis=(1, 2))
    return np.asarray(off < 1e-7)


def _pixel_matrices(affine: Floats32, side: int, image_size: int) -> Array:
    """The maps between pixel centres: output (0..S-1) to input (0..R-1), (B, 2, 3)."""
    scaled = affine.astype(np.float64)
    linear = scaled[:, :, :2] * (side / image_size)
    # normalised = (2 p + 1) / S - 1 for pixel p; p' = ((normalised' + 1) R - 1) / 2
    first = scaled[:, :, :2].sum(axis=2) * (1 / image_size - 1) + scaled[:, :, 2]
    offset = ((first + 1) * side - 1) / 2
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def place_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`; for CUDA from pinned memory, so that nothing waits for the copy.

    Elsewhere the copy is waited for: MPS would read memory that may be given back by then.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def apply_torch(images: Tensor, parameters: Augmentation | None, image_size: int) -> Tensor:
    """`apply` in torch on any device: (B, 1, S, S) float32 in [0, 255]."""
    pixels = images.float()
    if parameters is None:
        return _resize_area(pixels, image_size).round()

    def placed(values: Floats32) -> Tensor:
        return place_tensor(torch.from_numpy(values), images.device)

    affine = placed(parameters.affine)
    if _keeps_place(parameters.affine).all():
        result = _resize_area(pixels, image_size)
        flipped = (affine[:, 0, 0] < 0)[:, None, None, None]
        result = torch.where(flipped, result.flip(-1), result)
    else:
        shrunk = _resize_area(pixels, _warp_side(images.shape[-1], image_size))
        shape = [len(images), 1, image_size, image_size]
        grid = F.affine_grid(affine, shape, align_corners=False)
        result = F.grid_sample(shrunk, grid, align_corners=False)  # bilinear, black outside
    if parameters.changes_grey().any():
        contrast, brightness = placed(parameters.contrast), placed(parameters.brightness)
        result = (result - 127.5) * contrast[:, None, None, None] + 127.5
        result = result + brightness[:, None, None, None]
    return result.clamp(0, 255)


def _resize_area(pixels: Tensor, image_size: int) -> Tensor:
    """The area filter as two matrix products; fractional pixels weigh what they cover."""
    side = pixels.shape[-1]
    if side == image_size:
        return pixels
    weights = _area_weights(side, image_size, pixels.device)
    return weights @ pixels @ weights.T


@lru_cache(maxsize=16)
def _area_weights(side: int, image_size: int, device: torch.device) -> Tensor:
    """(S, R): the share of each source pixel in each target pixel; bilinear when enlarging.

    OpenCV's INTER_AREA does the same: coverage when shrinking, linear interpolation otherwise.
    The copy to the device is waited for, so any stream may use what is kept here.
    """
    if image_size < side:
        edges = np.linspace(0, side, image_size + 1)
        pixel = np.arange(side)
        covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        weights = np.clip(covered, 0, None)
        weights /= weights.sum(axis=1, keepdims=True)
    else:
        weights = cv2.resize(np.eye(side), (side, image_size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(weights.astype(np.float32)).to(device)
