"""Overlays as DICOM Secondary Capture, so that a PACS can show them. Needs the extra ``dicom``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from pulmonet import __version__
from pulmonet.arrays import Pixels
from pulmonet.errors import ConfigError

#: What a capture of a DICOM image takes over from it, so that it is filed with the same study;
#: and what others have instead. A new study gets a new StudyInstanceUID.
_OF_STUDY = {
    "PatientID": "ANONYMOUS", "PatientName": "ANONYMOUS", "PatientBirthDate": "", "PatientSex": "",
    "StudyInstanceUID": "", "StudyID": "", "StudyDate": "", "StudyTime": "",
    "AccessionNumber": "", "ReferringPhysicianName": "",
}  # fmt: skip


def check_dicom_installed() -> None:
    """Fail before any work.

    Raises:
        ConfigError: pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--dicom: pydicom is not installed; pip install 'pulmonet[dicom]'"
        ) from None


def encode_secondary_capture(
    overlay: Pixels, description: str, source: Path | None = None, *, anonymous: bool = False
) -> bytes:
    """An RGB picture as a DICOM Secondary Capture object (PS3.3 A.8.1), uncompressed.

    Args:
        overlay: (H, W, 3) uint8 RGB.
        description: of the series, e.g. ``PulmoNet gradcam Edema``; "research only" is added.
        source: the X-ray's own file; where it is DICOM, patient and study are taken from it and
            it is referenced. Otherwise patient and study are new and say nothing of anybody.
            Whether letters are burnt into the pixels stays as the source says, unknown too.
        anonymous: patient and study are new for a DICOM source, too, and it is not referenced.

    Raises:
        ConfigError: pydicom is not installed.
    """
    check_dicom_installed()
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    capture: Any = Dataset()
    header = _read_header(source)
    original = None if anonymous else header
    capture.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: a name may be written in any
    for name, instead in _OF_STUDY.items():
        setattr(capture, name, getattr(original, name, instead))
    capture.StudyInstanceUID = capture.StudyInstanceUID or generate_uid()
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = generate_uid()
    capture.SeriesInstanceUID = generate_uid()
    capture.SeriesNumber, capture.InstanceNumber = 9001, 1
    capture.Modality, capture.ConversionType = "OT", "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    # DICOM limits a description (LO) to 64 characters
    capture.SeriesDescription = f"{description[:47]} (research only)"
    capture.DerivationDescription = (
        f"{description}: heat map of a neural network, PulmoNet {__version__}; "
        "research and education only, not a medical device"
    )
    capture.Manufacturer, capture.SoftwareVersions = "PulmoNet", __version__
    if "BurnedInAnnotation" in (header or ()):
        capture.BurnedInAnnotation = header.BurnedInAnnotation
    capture.PatientOrientation = ""
    capture.LossyImageCompression = "00"
    if original is not None and "SOPInstanceUID" in original:
        reference: Any = Dataset()
        reference.ReferencedSOPClassUID = original.SOPClassUID
        reference.ReferencedSOPInstanceUID = original.SOPInstanceUID
        capture.SourceImageSequence = [reference]
    capture.Rows, capture.Columns = overlay.shape[:2]
    capture.SamplesPerPixel, capture.PhotometricInterpretation = 3, "RGB"
    capture.PlanarConfiguration, capture.PixelRepresentation = 0, 0
    capture.BitsAllocated, capture.BitsStored, capture.HighBit = 8, 8, 7
    pixels = np.ascontiguousarray(overlay).tobytes()
    capture.PixelData = pixels + b"\0" * (len(pixels) % 2)
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID
    capture.file_meta.MediaStorageSOPInstanceUID = capture.SOPInstanceUID
    buffer = io.BytesIO()
    capture.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _read_header(source: Path | None) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if source is None:
        return None
    try:
        return pydicom.dcmread(source, stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return None
