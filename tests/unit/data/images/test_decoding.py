"""One guard for all decoders: what they raise, and what their C libraries print."""

from __future__ import annotations

import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.images import read_grey

from pulmonet.cli.main import Terminated
from pulmonet.data.images.decoding import Remark, decoding
from pulmonet.data.images.read import decode, image_size
from pulmonet.errors import DataError
from small_dataset import smooth_image

IMAGE = smooth_image(3, 160, 200)


class PanicException(BaseException):
    """As pyo3 makes of a panic in Rust: no `Exception`."""


def jpeg(image: np.ndarray = IMAGE) -> bytes:
    noisy = image // 2 + np.random.default_rng(0).integers(0, 100, image.shape, np.uint8)
    return cv2.imencode(".jpg", noisy)[1].tobytes()


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("wrong"), RecursionError("deep"), PanicException("index 7")),
        OSError("no picture <_io.BytesIO object at 0x7f00>"),
    ],
)
def test_whatever_a_decoder_raises_is_an_error_with_the_name(error: BaseException) -> None:
    reason = r"a.dcm: damaged DICOM \((wrong|deep|index 7|no picture)\); copy it"
    with pytest.raises(DataError, match=reason), decoding("a.dcm", "DICOM"):
        raise error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(2), MemoryError(), Terminated(15)]
)
def test_what_stops_the_process_goes_through(error: BaseException) -> None:
    with pytest.raises(type(error)), decoding("a.dcm", "DICOM"):
        raise error


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("damage", ["hole", "cut and closed", "cut before another"])
def test_pictures_that_are_half_there(
    damage: str, progressive: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(jpeg()))
    picture.save(buffer, "JPEG", quality=95, progressive=progressive)
    whole = buffer.getvalue()
    half = len(whole) // 2
    content = {
        "hole": whole[:half] + bytes(2000) + whole[half + 2000 :],
        "cut and closed": whole[:half] + b"\xff\xd9",
        "cut before another": whole[:half] + jpeg(),
    }[damage]
    with pytest.raises(DataError, match=r"a.jpg: damaged JPEG \("):
        decode(content, "a.jpg")
    assert capfd.readouterr() == ("", ""), "nothing without a name"


@pytest.mark.parametrize("behind", [b"\0" * 50, b"text", jpeg(), jpeg()[:900]])
def test_data_behind_the_end_does_not_matter(behind: bytes) -> None:
    right, _ = decode(jpeg(), "a.jpg")
    got, remark = decode(jpeg() + behind, "a.jpg")
    np.testing.assert_array_equal(got, right)
    assert remark == Remark.NONE


def test_harmless_lines_carry_the_name(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, "PNG", icc_profile=b"no profile" * 20)
    with caplog.at_level(logging.INFO, "pulmonet"):
        got, remark = decode(buffer.getvalue(), "a.png")
    np.testing.assert_array_equal(got, IMAGE)
    assert remark == Remark.WARNED
    assert "a.png: libpng warning: iCCP" in caplog.text
    assert all("a.png" in line for line in capfd.readouterr().err.splitlines())


def test_each_thread_hears_its_own_file() -> None:
    whole = jpeg()
    half = len(whole) // 2
    broken = whole[:half] + bytes(1500) + whole[half + 1500 :]

    def is_bad(number: int) -> bool:
        try:
            decode(broken if number % 3 == 0 else whole, f"{number}.jpg")
        except DataError as error:
            assert f"{number}.jpg: damaged JPEG" in str(error)
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_bad, range(120))) == [number % 3 == 0 for number in range(120)]


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("jpg", "L"), ("png", "L"), *(("tif", mode) for mode in ("L", "RGBA", "I;16", "F"))],
)
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_pictures_are_read_upright(
    tmp_path: Path, suffix: str, mode: str, orientation: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(IMAGE).convert("F" if mode == "F" else "L")
    image = Image.fromarray(IMAGE.astype(np.uint16) * 9) if mode == "I;16" else image
    image = image.convert("RGBA") if mode == "RGBA" else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"tiffinfo": {0x0112: orientation}} if suffix == "tif" else {"exif": exif}
    image.save(path, **how)
    shown, remark = decode(path.read_bytes(), str(path))
    plain = tmp_path / f"b.{suffix}"
    image.save(plain)
    picture = Image.fromarray(read_grey(plain))
    picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(shown, np.asarray(ImageOps.exif_transpose(picture)))
    assert remark == (Remark.TURNED if orientation > 1 else Remark.NONE)
    assert image_size(path) == shown.shape
