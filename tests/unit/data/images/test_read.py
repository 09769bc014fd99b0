"""Image files of every kind against the array that they were written from."""

from __future__ import annotations

import builtins
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pulmonet.data.images.file import inside_root
from pulmonet.data.images.grey import to_8_bits
from pulmonet.data.images.header import MAX_PIXELS
from pulmonet.data.images.read import image_size, read_grey, read_source_image
from pulmonet.data.images.square import fit_square, placement
from pulmonet.errors import ConfigError, DataError
from small_dataset import manifest_of, smooth_image

IMAGE = smooth_image(3, 60, 72)
WIDE = IMAGE.astype(np.uint16) * 13 + 700  # 12 bits' worth of contrast in a 16-bit file


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def stretched(image: np.ndarray) -> np.ndarray:
    """0-255 over the used range, in float64."""
    values = image.astype(float)
    return (values - values.min()) / (values.max() - values.min()) * 255


def save_pil(path: Path, mode: str) -> None:
    grey = Image.fromarray(IMAGE)
    if mode == "P":
        grey.convert("P").save(path)
    elif mode == "RGBA":
        grey.convert("RGBA").save(path)
    elif mode == "LA":
        grey.convert("LA").save(path)
    else:
        grey.convert(mode).save(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_lossless_kinds_give_the_same_grey(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"image{suffix}"
    save_pil(path, mode)
    got = read_grey(path)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - IMAGE).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_equal_pillows_decoder(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(IMAGE).convert(mode).save(path, quality=95)
    expected = np.asarray(Image.open(path).convert("L")).astype(int)
    assert np.abs(read_grey(path).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_keep_their_contrast(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), WIDE)
    got = read_grey(path)
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got - stretched(WIDE)).max() <= 1
    colour = tmp_path / f"colour{suffix}"
    cv2.imwrite(str(colour), cv2.merge([WIDE, WIDE, WIDE]))
    assert np.abs(read_grey(colour).astype(int) - got).max() <= 1


def test_real_16_bit_png_looks_like_its_8_bit_source(shared_data: Path, tmp_path: Path) -> None:
    source = sorted((shared_data / "samples-1024").glob("*.jpg"))[0]
    original = read_grey(source)
    cv2.imwrite(str(tmp_path / "deep.png"), original.astype(np.uint16) * 257)
    deep = read_grey(tmp_path / "deep.png")
    assert correlation(original, deep) > 0.9999
    assert deep.std() >= original.std()


def test_float_tiff_and_orientation(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "float.tif"), IMAGE.astype(np.float32) / 7 - 3)
    assert np.abs(read_grey(tmp_path / "float.tif") - stretched(IMAGE)).max() <= 1
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGE).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_grey(tmp_path / "turned.jpg").shape == IMAGE.shape  # as stored: boxes refer to it


def test_a_few_extreme_pixels_do_not_swallow_the_contrast() -> None:
    values = np.full((100, 100), 1000, np.uint16)
    values[:, 50:] = 1400
    values[0, 0] = 65535
    scaled = to_8_bits(values)
    assert scaled[50, 80] - int(scaled[50, 10]) == 255


# --- damage -------------------------------------------------------------------------------


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("kept", [0, 3, 20, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), smooth_image(0, 200, 240))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(DataError, match=f"image{suffix}"):
        read_grey(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", b"GIF89a", b"\x00" * 500])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"image.jpg: (empty file|not a JPEG, PNG, TIFF or DICOM)"):
        read_grey(tmp_path / "image.jpg")


def test_missing_files_and_impossible_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_grey(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="not a file name"):
        read_grey(tmp_path / "a\0b.jpg")


@pytest.mark.parametrize(
    "path", ["../x.png", "/etc/passwd", "a/../../x.png", "link.png", "out/x.png"]
)
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    (root / "link.png").symlink_to(tmp_path / "x.png")
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leaves the dataset root"):
        inside_root(root, path)
    with pytest.raises(DataError, match="leaves the dataset root"):
        read_source_image(manifest_of(root, [path]), 0)


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    np.testing.assert_array_equal(read_source_image(manifest_of(tmp_path, ["link.png"]), 0), IMAGE)


def test_a_pipe_or_a_folder_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"pipe\.png: cannot be read \(no regular file\)"):
        read_source_image(manifest_of(tmp_path, ["pipe.png"]), 0)
    with pytest.raises(DataError, match=r"folder\.png: cannot be read \(Is a directory\)"):
        read_source_image(manifest_of(tmp_path, ["folder.png"]), 0)


def test_a_network_folder_that_gives_a_file_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    genuine = os.read
    monkeypatch.setattr(os, "read", lambda handle, n_bytes: genuine(handle, min(n_bytes, 100)))
    np.testing.assert_array_equal(read_source_image(manifest_of(tmp_path, ["x.png"]), 0), IMAGE)


def test_a_hash_in_a_file_name_is_no_npz(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "film#2.png"), IMAGE)
    np.testing.assert_array_equal(
        read_source_image(manifest_of(tmp_path, ["film#2.png"]), 0), IMAGE
    )


def test_a_blank_image_is_no_source_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.full((9, 9), 7, np.uint8))
    with pytest.raises(DataError, match="blank image"):
        read_source_image(manifest_of(tmp_path, ["x.png"]), 0)


# --- squares ------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("shape", [(60, 72), (72, 60), (61, 72), (50, 50), (40, 200)])
def test_a_square_covers_what_its_placement_says(fit: str, shape: tuple[int, int]) -> None:
    """A bright dot lands where `placement` maps it to."""
    side = 32
    box = placement(*shape, fit)
    for y, x in ((shape[0] // 2, shape[1] // 2), (shape[0] // 2 + 8, shape[1] // 2 - 9)):
        image = np.zeros(shape, np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        square = fit_square(image, side, fit).astype(float)
        rows, columns = np.mgrid[:side, :side] + 0.5
        got = np.array([(square * axis).sum() / square.sum() for axis in (rows, columns)])
        expected = np.array(
            [
                (y + 0.5 - box.y0) / (box.y1 - box.y0) * side,
                (x + 0.5 - box.x0) / (box.x1 - box.x0) * side,
            ]
        )
        np.testing.assert_allclose(got, expected, atol=0.3)


def test_fit_square_uses_the_area_filter() -> None:
    image = smooth_image(1, 64, 96)
    blocks = image.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(fit_square(image, 32, "stretch") - blocks).max() <= 1
    assert fit_square(image, 32, "crop").shape == (32, 32)
    padded = fit_square(image, 96, "pad")
    np.testing.assert_array_equal(padded[16:80], image)
    assert padded[:16].max() == padded[80:].max() == 0
    with pytest.raises(ConfigError, match="fit 'squash': unknown"):
        placement(3, 4, "squash")


# --- DICOM --------------------------------------------------------------------------------

pydicom = pytest.importorskip("pydicom")


def write_dicom(
    path: Path, pixels: np.ndarray, *, photometric: str = "MONOCHROME2", **elements: Any
) -> Any:
    """A minimal digital X-ray of (H, W) pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


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
    with pytest.raises(DataError, match="DICOM pixels cannot be decoded"):
        read_grey(tmp_path / "short.dcm")
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x01" * 30)
    with pytest.raises(DataError, match="damaged DICOM"):
        read_grey(tmp_path / "bad.dcm")


def test_sizes_come_from_headers(tmp_path: Path) -> None:
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
