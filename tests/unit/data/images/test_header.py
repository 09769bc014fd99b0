"""Sizes from headers alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
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
