"""Secondary Capture objects as another reader sees them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from pulmonet.explain.dicom_capture import encode_secondary_capture

pydicom = pytest.importorskip("pydicom")


def overlay_of(height: int = 21, width: int = 33) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pixels_come_back_as_they_went() -> None:
    overlay = overlay_of()
    read = pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay, "PulmoNet gradcam Edema")))
    np.testing.assert_array_equal(read.pixel_array, overlay)
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert read.SeriesDescription == "PulmoNet gradcam Edema (research only)"
    assert "not a medical device" in read.DerivationDescription
    assert read.PatientID == "ANONYMOUS"


def test_two_captures_are_two_objects() -> None:
    first, second = (
        pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay_of(), "x"))) for _ in range(2)
    )
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_a_capture_of_a_dicom_image_is_filed_with_its_study(tmp_path: Path) -> None:
    source = tmp_path / "x.dcm"
    source.write_bytes(encode_secondary_capture(overlay_of(), "stands in for an X-ray"))
    original = pydicom.dcmread(source)
    original.PatientID, original.AccessionNumber = "p17", "A1"
    original.save_as(source)
    read = pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay_of(), "map", source)))
    assert (read.PatientID, read.AccessionNumber) == ("p17", "A1")
    assert read.StudyInstanceUID == original.StudyInstanceUID
    assert read.SeriesInstanceUID != original.SeriesInstanceUID
    (reference,) = read.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == original.SOPInstanceUID


@pytest.mark.parametrize("name", ["x", "x.dcm"])
def test_a_source_without_a_preamble_is_read_as_the_x_ray_was(tmp_path: Path, name: str) -> None:
    """Its capture was anonymous, of a new study, and did not say that letters are burnt in."""
    original = pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay_of(), "an X-ray")))
    original.PatientID, original.BurnedInAnnotation = "p17", "YES"
    bare = pydicom.Dataset(original)
    bare.save_as(tmp_path / name, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (tmp_path / name).read_bytes()[128:132] != b"DICM"
    content = encode_secondary_capture(overlay_of(), "map", tmp_path / name)
    read = pydicom.dcmread(io.BytesIO(content))
    assert (read.PatientID, read.BurnedInAnnotation) == ("p17", "YES")
    assert read.StudyInstanceUID == original.StudyInstanceUID


def test_a_source_that_is_no_dicom_is_no_obstacle(tmp_path: Path) -> None:
    source = tmp_path / "x.jpg"
    source.write_bytes(b"\xff\xd8 nothing")
    read = pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay_of(), "map", source)))
    assert read.PatientName == "ANONYMOUS"


def test_long_descriptions_stay_within_dicoms_64_characters() -> None:
    read = pydicom.dcmread(io.BytesIO(encode_secondary_capture(overlay_of(), "x" * 200)))
    assert len(read.SeriesDescription) <= 64
