"""Damaged image files: a DataError or an image, never anything else."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmonet.data.images.header import read_header
from pulmonet.data.images.read import decode
from pulmonet.data.images.square import fit_square, placement
from pulmonet.errors import DataError
from small_dataset import smooth_image


def dicom_bytes() -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    pixels = smooth_image(0).astype(np.uint16) * 9
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


FILES = {
    "jpg": cv2.imencode(".jpg", smooth_image(0))[1].tobytes(),
    "png": cv2.imencode(".png", smooth_image(0))[1].tobytes(),
    "png16": cv2.imencode(".png", smooth_image(0).astype(np.uint16) * 99)[1].tobytes(),
    "tif": cv2.imencode(".tif", smooth_image(0))[1].tobytes(),
    "dcm": dicom_bytes(),
}


def check(content: bytes, name: str) -> None:
    try:
        image = decode(content, name)[0]
    except DataError as error:
        assert str(error).startswith(name)
    else:
        assert image.dtype == np.uint8 and image.ndim == 2 and image.size


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300), name=st.sampled_from(["a.jpg", "a.dcm"]))
def test_arbitrary_bytes(content: bytes, name: str) -> None:
    check(content, name)
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"\0" * 128 + b"DICM"):
        check(start + content, name)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom remarks on damaged values
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    end=st.none() | st.floats(0, 1),
)
def test_mutated_files(kind: str, edits: list[tuple[float, int]], end: float | None) -> None:
    content = bytearray(FILES[kind])
    for place, value in edits:
        content[int(place * (len(content) - 1))] = value
    if end is not None:
        del content[int(end * len(content)) :]
    check(bytes(content), f"image.{kind}")


@given(kind=st.sampled_from(["jpg", "png", "png16", "tif"]))
def test_headers_say_the_size(kind: str) -> None:
    header = read_header(FILES[kind])
    assert (header.height, header.width) == smooth_image(0).shape
    assert header.complete


@settings(deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(1, 64),
    fit=st.sampled_from(["stretch", "pad", "crop"]),
)
def test_every_shape_becomes_a_square(height: int, width: int, side: int, fit: str) -> None:
    image = np.full((height, width), 200, np.uint8)
    square = fit_square(image, side, fit)
    assert square.shape == (side, side) and square.dtype == np.uint8
    if fit != "pad":
        assert (square == 200).all()
    box = placement(height, width, fit)
    if fit == "stretch":
        assert (box.x0, box.y0, box.x1, box.y1) == (0, 0, width, height)
    else:
        assert box.x1 - box.x0 == box.y1 - box.y0 == (max if fit == "pad" else min)(height, width)
