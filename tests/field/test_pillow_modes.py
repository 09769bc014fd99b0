"""Every mode that Pillow writes as PNG, TIFF, JPEG, BMP: its own grey, or an error with a cause."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pulmonet.data.images.read import decode
from pulmonet.errors import DataError
from small_dataset import smooth_image

COLOURS = np.stack([smooth_image(seed, 60, 72) for seed in (3, 4, 5)], axis=-1)
ALPHA = Image.fromarray(smooth_image(6, 60, 72))
DEEP = smooth_image(3, 60, 72).astype(np.uint16) * 40 + 7

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
DEEP_MODES = {"I;16": np.uint16, "I;16B": ">u2", "I": np.int32, "F": np.float32}
SUFFIX = {"PNG": "png", "TIFF": "tif", "JPEG": "jpg", "BMP": "bmp"}


def picture(mode: str) -> Image.Image:
    if mode in DEEP_MODES:
        return Image.fromarray(DEEP.astype(DEEP_MODES[mode]))
    colours = Image.fromarray(COLOURS)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        return ImageCms.applyTransform(colours, made)
    if mode == "PA":
        return colours.convert("P").convert("PA")
    found = colours.convert(mode)
    if mode in ("LA", "RGBA"):
        found.putalpha(ALPHA)
    return found


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file; an OSError where Pillow writes none of this mode."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cases() -> Iterator[tuple[str, str]]:
    """(mode, kind) of what Pillow writes."""
    for kind in SUFFIX:
        for mode in (*MODES, *DEEP_MODES):
            with contextlib.suppress(OSError):
                written(picture(mode), kind)
                yield mode, kind


def grey_of(content: bytes) -> np.ndarray:
    """Pillow's grey in float64; over the used range where there are more than 8 bits."""
    image = Image.open(io.BytesIO(content))
    if image.mode in DEEP_MODES:
        values = np.asarray(image).astype(float)
        return (values - values.min()) / (values.max() - values.min()) * 255
    colours = image.convert("RGBA") if image.mode in ("P", "PA", "RGBA", "LA") else image
    return np.asarray(colours.convert("RGB").convert("L")).astype(float)


@pytest.mark.parametrize(("mode", "kind"), list(cases()))
def test_every_mode(mode: str, kind: str) -> None:
    content = written(picture(mode), kind)
    where = f"a.{SUFFIX[kind]}"
    if kind == "BMP":
        with pytest.raises(DataError, match="but a BMP; convert it to PNG"):
            decode(content, where)[0]
    elif mode == "LAB":
        with pytest.raises(DataError, match="a TIFF of CIELab or other rare colours"):
            decode(content, where)[0]
    else:
        assert np.abs(decode(content, where)[0] - grey_of(content)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    "way", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"]
)
def test_compressed_tiffs(mode: str, way: str) -> None:
    content = written(picture(mode), "TIFF", compression=way)
    assert np.abs(decode(content, "a.tif")[0] - grey_of(content)).max() <= 2


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_transparent_palettes(transparency: Any) -> None:
    content = written(picture("P"), "PNG", transparency=transparency)
    assert np.abs(decode(content, "a.png")[0] - grey_of(content)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_tiffs_where_white_is_zero(mode: str) -> None:
    image = picture(mode)
    content = bytearray(written(image, "TIFF"))
    (start,) = struct.unpack("<I", content[4:8])
    (n_tags,) = struct.unpack("<H", content[start : start + 2])
    for place in range(start + 2, start + 2 + 12 * n_tags, 12):
        if content[place : place + 2] == struct.pack("<H", 262):
            content[place + 8 : place + 10] = struct.pack("<H", 0)
    values = np.asarray(image).astype(float)
    if mode == "I;16":
        values = (values - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(decode(bytes(content), "a.tif")[0] - (255 - values)).max() <= 1
