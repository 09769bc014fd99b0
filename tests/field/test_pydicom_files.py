"""pydicom's own test files: the grey that pydicom's own steps give, or an error that says why not.

Its files are of every modality; here all of them are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.images import read_grey

from pulmonet.data.images import dicom
from pulmonet.errors import DataError

pydicom = pytest.importorskip("pydicom")

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.dcm"))

#: What cannot be read, and why; None where pydicom alone fails, and the image is read.
REASONS = {
    "JPEG-lossy.dcm": "damaged DICOM .*misplaced marker",
    "JPEG2000-embedded-sequence-delimiter.dcm": "holds a picture of 3,722,445,056 x 1,024",
    "MR_truncated.dcm": "8130 vs 8192 bytes",
    "badVR.dcm": None,  # pixel_array fails over its number of frames
}


def shown(path: Path) -> np.ndarray | None:
    """Grey in float64 as pydicom's functions give it; None with a window (see test_dicom.py)."""
    from pydicom.pixels import processing

    dataset: Any = pydicom.dcmread(path, force=True)
    pixels = dataset.pixel_array
    pixels = pixels[0] if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels
    luma, bits = np.asarray([0.299, 0.587, 0.114]), int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return np.asarray(processing.apply_color_lut(pixels, dataset) @ luma / 256)
    if pixels.ndim == 3:
        return np.asarray(pixels @ luma / 2 ** (bits - 8))
    values = processing.apply_modality_lut(pixels, dataset)
    if dataset.get("WindowWidth"):
        return None
    values = values.astype(float)
    return np.asarray((values - values.min()) / (values.max() - values.min()) * 255)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_right_grey_or_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "NO_RADIOGRAPHS", frozenset())
    if REASONS.get(name):
        with pytest.raises(DataError, match=REASONS[name]):
            read_grey(FOLDER / name)
    elif "Rows" not in pydicom.dcmread(FOLDER / name, force=True):
        with pytest.raises(DataError, match="DICOM without an image in it, or damaged; leave"):
            read_grey(FOLDER / name)
    else:
        grey, expected = read_grey(FOLDER / name), None if name in REASONS else shown(FOLDER / name)
        assert grey.ndim == 2 and grey.min() < grey.max()
        if expected is not None:
            assert np.abs(grey - expected).max() < 1.5  # 16 bits are cut to 8


def test_pictures_stored_in_several_ways_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "NO_RADIOGRAPHS", frozenset())
    right = read_grey(FOLDER / "SC_rgb_jpeg_dcmd.dcm").astype(int)
    assert np.abs(read_grey(FOLDER / "SC_rgb_jpeg.dcm") - right).max() <= 1
    right = read_grey(FOLDER / "SC_rgb_rle.dcm").astype(int)
    greys = map(read_grey, FOLDER.glob("SC_*.dcm"))
    same = [grey for grey in greys if grey.shape == right.shape]
    assert len(same) == 19
    assert max(np.abs(grey - right).max() for grey in same) <= 8  # JPEG with fewer colours
