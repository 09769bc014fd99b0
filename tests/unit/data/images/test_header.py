"""Sizes from headers alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.images import read_grey

from pulmonet.data.images.header import MAX_PIXELS
from pulmonet.data.images.read import image_size
from pulmonet.errors import DataError
from small_dataset import smooth_image, write_dicom

IMAGE = smooth_image(3, 60, 72)

WIDE = IMAGE.astype(np.uint16) * 13 + 700  # 12 bits' worth of contrast in a 16-bit file


def claims(path: Path, height: int, width: int) -> None:
    """A file whose header alone claims a size."""
    if path.suffix == ".png":
        body = struct.pack(">II", width, height) + b"\x08\x00\x00\x00\x00"
        chunk = struct.pack(">I", 13) + b"IHDR" + body
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + b"\0" * 20
        )
    elif path.suffix == ".jpg":
        frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
        path.write_bytes(b"\xff\xd8" + frame + b"\xff\xd9")
    else:
        entries = [(256, 4, 1, width), (257, 4, 1, height)]
        directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 2) + directory + b"\0" * 4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_header_beyond_the_limit_is_refused_before_decoding(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", must_not_run)
    path = tmp_path / f"bomb{suffix}"
    side = 60_000
    assert side * side > MAX_PIXELS
    claims(path, side, side)
    with pytest.raises(DataError, match="claims 60,000 x 60,000 pixels, more than 200 megapixels"):
        read_grey(path)


def test_sizes_come_from_headers(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    write_dicom(tmp_path / "image.dcm", WIDE)
    for suffix in ("jpg", "png", "tif"):
        cv2.imwrite(str(tmp_path / f"image.{suffix}"), IMAGE)
    for path in tmp_path.iterdir():
        assert image_size(path) == IMAGE.shape
    (tmp_path / "none.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match="no image size in its header"):
        image_size(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="No such file"):
        image_size(tmp_path / "nowhere.jpg")


def test_a_strip_that_would_be_padded_to_gigabytes(tmp_path: Path) -> None:
    claims(tmp_path / "strip.jpg", 1, 60_000)
    with pytest.raises(DataError, match=r"strip.jpg: .*60,000 x 1 pixels, .* or 32,768 a side"):
        read_grey(tmp_path / "strip.jpg")


def test_a_progressive_jpeg_of_thousands_of_parts(tmp_path: Path) -> None:
    """Each is read through the whole picture: 400 kB took minutes."""
    path = tmp_path / "image.jpg"
    Image.fromarray(IMAGE).save(path, progressive=True)
    content = path.read_bytes()
    read_grey(path)
    scan = content[content.rindex(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    path.write_bytes(content[:-2] + scan * 200 + content[-2:])
    with pytest.raises(DataError, match=r"image.jpg: a progressive JPEG of more than 200 parts"):
        read_grey(path)


def test_the_first_of_two_widths_counts_as_in_libtiff(tmp_path: Path) -> None:
    claims(tmp_path / "a.tif", 60_000, 60_000)
    content = (tmp_path / "a.tif").read_bytes()
    again = struct.pack("<HHII", 256, 4, 1, 10) + struct.pack("<HHII", 257, 4, 1, 10)
    (tmp_path / "a.tif").write_bytes(content[:8] + b"\4\0" + content[10:34] + again + bytes(4))
    with pytest.raises(DataError, match="claims 60,000 x 60,000 pixels"):
        read_grey(tmp_path / "a.tif")
