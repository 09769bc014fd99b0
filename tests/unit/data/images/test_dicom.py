"""DICOM pixels against the standard's formulas."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulmonet.data.images.read import read_grey
from pulmonet.errors import DataError
from small_dataset import smooth_image, write_dicom

pytest.importorskip("pydicom")

IMAGE = smooth_image(3, 60, 72)

WIDE = IMAGE.astype(np.uint16) * 13 + 700  # 12 bits' worth of contrast in a 16-bit file


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def stretched(image: np.ndarray) -> np.ndarray:
    """0-255 over the used range, in float64."""
    values = image.astype(float)
    return (values - values.min()) / (values.max() - values.min()) * 255


def test_dicom_monochrome_1_and_2(tmp_path: Path) -> None:
    write_dicom(tmp_path / "two.dcm", WIDE)
    write_dicom(tmp_path / "one.dcm", WIDE, photometric="MONOCHROME1")
    assert np.abs(read_grey(tmp_path / "two.dcm") - stretched(WIDE)).max() <= 1
    assert np.abs(read_grey(tmp_path / "one.dcm") - (255 - stretched(WIDE))).max() <= 1


def test_dicom_8_bit_and_signed(tmp_path: Path) -> None:
    write_dicom(tmp_path / "eight.dcm", IMAGE)
    assert np.abs(read_grey(tmp_path / "eight.dcm") - stretched(IMAGE)).max() <= 1
    write_dicom(tmp_path / "signed.dcm", WIDE.astype(np.int16) - 1000)
    assert np.abs(read_grey(tmp_path / "signed.dcm") - stretched(WIDE)).max() <= 1


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_dicom_windows_after_rescale(tmp_path: Path, function: str) -> None:
    center, width = 500.0, 900.0
    write_dicom(
        tmp_path / "windowed.dcm",
        WIDE,
        RescaleSlope="0.5",
        RescaleIntercept="-100",
        WindowCenter=[center, 40.0],
        WindowWidth=[width, 400.0],
        VOILUTFunction=function,
    )
    x = WIDE * 0.5 - 100
    shown = {
        "LINEAR": np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1),
        "LINEAR_EXACT": np.clip((x - center) / width + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - center) / width)),
    }[function]
    assert np.abs(read_grey(tmp_path / "windowed.dcm") - 255 * shown).max() <= 1


def test_dicom_voi_lut(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    lut = Dataset()
    table = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(np.uint16)
    lut.LUTDescriptor = [4096, 0, 16]
    lut.add_new(0x00283006, "OW", table.tobytes())
    write_dicom(tmp_path / "lut.dcm", WIDE, VOILUTSequence=[lut])
    expected = stretched(table[np.minimum(WIDE, 4095)])
    assert np.abs(read_grey(tmp_path / "lut.dcm") - expected).max() <= 1


def test_dicom_padding_does_not_count(tmp_path: Path) -> None:
    pixels = WIDE.copy()
    pixels[:, :20] = 0
    write_dicom(tmp_path / "padded.dcm", pixels, PixelPaddingValue=0)
    got = read_grey(tmp_path / "padded.dcm")
    assert (got[:, :20] == 0).all()
    assert np.abs(got[:, 20:] - stretched(WIDE[:, 20:])).max() <= 1


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless"])
def test_dicom_compressed_without_loss(tmp_path: Path, syntax: str) -> None:
    from pydicom import uid

    dataset = write_dicom(tmp_path / "plain.dcm", WIDE)
    dataset.compress(getattr(uid, syntax))
    dataset.save_as(tmp_path / "packed.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(
        read_grey(tmp_path / "packed.dcm"), read_grey(tmp_path / "plain.dcm")
    )


def test_dicom_with_jpeg_inside(tmp_path: Path, shared_data: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    source = sorted((shared_data / "samples-1024").glob("*.jpg"))[0]
    dataset = write_dicom(tmp_path / "plain.dcm", read_grey(source))
    dataset.PixelData = encapsulate([source.read_bytes()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(tmp_path / "jpeg.dcm", enforce_file_format=True)
    assert correlation(read_grey(tmp_path / "jpeg.dcm"), read_grey(source)) > 0.999


def test_dicom_beyond_the_limit_and_damaged(tmp_path: Path) -> None:
    write_dicom(tmp_path / "bomb.dcm", IMAGE, Rows=60000, Columns=60000)
    with pytest.raises(DataError, match="more than 200 megapixels"):
        read_grey(tmp_path / "bomb.dcm")
    write_dicom(tmp_path / "short.dcm", WIDE, PixelData=b"\0\0")
    with pytest.raises(DataError, match=r"damaged DICOM .*less than expected"):
        read_grey(tmp_path / "short.dcm")
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x01" * 30)
    with pytest.raises(DataError, match="without an image in it, or damaged"):
        read_grey(tmp_path / "bad.dcm")


def test_dicom_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(tmp_path / "image.dcm", WIDE)
    real = builtins.__import__

    def without_pydicom(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_pydicom)
    with pytest.raises(DataError, match=r"pip install 'pulmonet\[dicom\]'"):
        read_grey(tmp_path / "image.dcm")
