"""Overlays as DICOM Secondary Capture, so that a PACS can show them. Needs the extra ``dicom``."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from pulmonet import __version__
from pulmonet.arrays import Pixels
from pulmonet.data.images.header import read_header
from pulmonet.files.write import bytes_of

#: What a capture of a DICOM image takes over from it, so that it is filed with the same study;
#: and what others have instead. A new study gets a new StudyInstanceUID.
_OF_STUDY = {
    "PatientID": "ANONYMOUS", "PatientName": "ANONYMOUS", "PatientBirthDate": "", "PatientSex": "",
    "StudyInstanceUID": "", "StudyID": "", "StudyDate": "", "StudyTime": "",
    "AccessionNumber": "", "ReferringPhysicianName": "",
}  # fmt: skip

#: What every capture says of itself.
_OF_CAPTURES = {
    "SeriesNumber": 9001, "InstanceNumber": 1, "Modality": "OT", "ConversionType": "WSD",
    "ImageType": ["DERIVED", "SECONDARY", "OTHER"], "PatientOrientation": "",
    "Manufacturer": "PulmoNet", "SoftwareVersions": __version__, "LossyImageCompression": "00",
}  # fmt: skip


def encode_secondary_capture(
    overlay: Pixels, description: str, source: Path | None = None, *, anonymous: bool = False
) -> bytes:
    """An RGB picture as a DICOM Secondary Capture object (PS3.3 A.8.1), uncompressed.

    The overlay is (H, W, 3); "research only" is added to the series' `description`. Where the
    X-ray's own file, `source`, is DICOM, patient and study are taken from it and it is referenced,
    unless `anonymous`: then, as otherwise, they are new and say nothing of anybody. Whether letters
    are burnt into the pixels stays as the source says, unknown too.
    """
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    header: Any = None
    with contextlib.suppress(pydicom.errors.InvalidDicomError, OSError):
        # as the X-ray was read: of old archives, without a preamble
        if source is not None:
            is_called_dicom = source.suffix.lower() in {".dcm", ".dicom"}
            is_dicom = is_called_dicom or read_header(source.read_bytes()).kind == "DICOM"
            header = pydicom.dcmread(source, force=is_dicom, stop_before_pixels=True)
    original = None if anonymous else header
    capture: Any = Dataset()
    capture.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: a name may be written in any
    for name, instead in _OF_STUDY.items():
        setattr(capture, name, getattr(original, name, instead))
    capture.StudyInstanceUID = capture.StudyInstanceUID or generate_uid()
    capture.SOPClassUID, capture.SeriesInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    # DICOM limits a description (LO) to 64 characters
    capture.SeriesDescription = f"{description[:47]} (research only)"
    capture.DerivationDescription = (
        f"{description}: heat map of a neural network, PulmoNet {__version__}; "
        "research and education only, not a medical device"
    )
    if "BurnedInAnnotation" in (header or ()):
        capture.BurnedInAnnotation = header.BurnedInAnnotation
    if original is not None and "SOPInstanceUID" in original:
        reference: Any = Dataset()
        reference.ReferencedSOPClassUID = original.SOPClassUID
        reference.ReferencedSOPInstanceUID = original.SOPInstanceUID
        capture.SourceImageSequence = [reference]
    for name, value in _OF_CAPTURES.items():
        setattr(capture, name, value)
    capture.set_pixel_data(overlay, "RGB", 8)
    return bytes_of(partial(capture.save_as, enforce_file_format=True))
