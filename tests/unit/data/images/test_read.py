"""Image files of every kind against the array that they were written from."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.images import read_grey

from pulmonet.data.images.read import read_source_image
from pulmonet.errors import DataError
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
    assert read_grey(tmp_path / "turned.jpg").shape == IMAGE.shape[::-1]  # as viewers show it


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("kept", [0, 3, 20, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), smooth_image(0, 200, 240))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(DataError, match=f"image{suffix}"):
        read_grey(path)


@pytest.mark.parametrize("way", ["tiff_lzw", "tiff_adobe_deflate"])
def test_damaged_compressed_pixels_of_a_tiff_are_named(tmp_path: Path, way: str) -> None:
    """OpenCV makes black of them and says nothing."""
    path = tmp_path / "image.tif"
    Image.fromarray(smooth_image(0, 200, 240)).save(path, compression=way)
    whole = read_grey(path)
    content = bytearray(path.read_bytes())
    with Image.open(path) as picture:
        start = picture.tag_v2[273][0]  # type: ignore[attr-defined]
    content[start + 20 : start + 120] = b"\xff" * 100
    path.write_bytes(content)
    assert len(np.unique(whole)) > 50
    with pytest.raises(DataError, match=r"image.tif: damaged TIFF"):
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


def test_a_blank_image_is_no_source_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.full((9, 9), 7, np.uint8))
    with pytest.raises(DataError, match="blank image"):
        read_source_image(manifest_of(tmp_path, ["x.png"]), 0)
    with pytest.raises(DataError, match=r"x.png: blank image .* leave it out"):
        read_grey(tmp_path / "x.png")  # and none to be explained


def test_colours_of_an_npz_are_red_green_blue(tmp_path: Path) -> None:
    rgb = np.stack([IMAGE, IMAGE // 2, 255 - IMAGE], axis=-1).astype(np.uint8)
    np.savez(tmp_path / "x.npz", train_images=rgb[None])
    got = read_source_image(manifest_of(tmp_path, ["x.npz#train/0"]), 0)
    assert np.abs(got - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 1


def tiff(pixels: bytes, *tags: tuple[int, int]) -> bytes:
    """A TIFF of one strip, 72 pixels wide and 60 high, of tags of one value each."""
    size = [(256, 72), (257, 60), (259, 1), (273, 8), (278, 60), (279, len(pixels))]
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted([*size, *tags])
    )
    count = struct.pack("<H", len(size) + len(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + count + entries + bytes(4)


def test_tiffs_that_would_be_read_wrongly_are_refused(tmp_path: Path) -> None:
    path, grey = tmp_path / "a.tif", ((258, 8), (262, 1), (277, 1))
    path.write_bytes(tiff(IMAGE.tobytes(), *grey))
    np.testing.assert_array_equal(read_grey(path), IMAGE)
    path.write_bytes(tiff(IMAGE.tobytes(), *grey, (254, 1)))
    with pytest.raises(DataError, match=r"a.tif: a TIFF that begins with a thumbnail; convert it"):
        read_grey(path)
    path.write_bytes(tiff(WIDE.astype(np.float16).tobytes(), (258, 16), (262, 1), (339, 3)))
    with pytest.raises(DataError, match=r"a.tif: a TIFF of a rare kind, or damaged; convert it"):
        read_grey(path)
    path.write_bytes(b"II+\0" + bytes(100))
    with pytest.raises(DataError, match=r"a.tif: not a .* file, but a BigTIFF; convert it to PNG"):
        read_grey(path)


def test_separate_colour_planes_of_16_bits_are_refused(tmp_path: Path) -> None:
    """OpenCV mixes them up and says nothing; those of 8 bits it reads well."""
    tifffile = pytest.importorskip("tifffile")
    for kind in (np.uint8, np.uint16):
        planes = np.stack([IMAGE, IMAGE // 2, 255 - IMAGE]).astype(kind)
        how = {"photometric": "rgb", "planarconfig": "separate"}
        tifffile.imwrite(tmp_path / f"{kind.__name__}.tif", planes, **how)
    expected = np.array([0.299, 0.587, 0.114]) @ planes.reshape(3, -1)
    got = read_grey(tmp_path / "uint8.tif")
    assert np.abs(got.ravel() - expected).max() <= 1
    with pytest.raises(DataError, match=r"uint16.tif: a TIFF of separate colour planes; convert"):
        read_grey(tmp_path / "uint16.tif")
