"""The cases of the field about images and DICOM, read where they lie (../shared/cases)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.images import read_grey

from field_cases import case_folder
from pulmonet.cli.main import main

Case = Callable[[str], Path]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A copy of a case by its name, made the working folder."""

    def copy(name: str) -> Path:
        shutil.copytree(case_folder(name), tmp_path / name, symlinks=True)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return copy


def check(capfd: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    """`pulmonet prepare . --check-only`: exit code, and all that is printed, on one line."""
    code = main(["prepare", ".", "--check-only", *flags])
    shown = capfd.readouterr()
    return code, " ".join((shown.out + shown.err).split())


def differ(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).max())


def test_dicom_ybr_colour(case: Case) -> None:
    root = case("dicom-ybr-colour")
    right = read_grey(root / "rgb.dcm")
    assert differ(read_grey(root / "ybr_full.dcm"), right) <= 2
    assert differ(read_grey(root / "ybr_rct_j2k.dcm"), right) <= 2
    for lossy in ("ybr_full_422_jpeg.dcm", "ybr_ict_j2k.dcm"):
        assert np.abs(read_grey(root / lossy).astype(int) - right).mean() < 3


def test_dicom_without_preamble(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    case("dicom-without-preamble")
    code, said = check(capfd)
    assert code == 0 and "nothing wrong found" in said


def test_dicom_elements_missing_or_empty(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    case("dicom-elements-missing-or-empty")
    code, said = check(capfd)
    assert code == 0 and "nothing wrong found" in said
    assert "3 images without all DICOM elements about the pixels" in said


def test_dicom_number_of_frames_text(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    case("dicom-number-of-frames-text")
    code, said = check(capfd, "--labels", "all")
    assert code == 0 and "nothing wrong found" in said


def test_dicom_8bit_window_on_12bit(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    root = case("dicom-8bit-window-on-12bit")
    code, said = check(capfd)
    assert code == 0 and "image with a DICOM window or lookup table that hides the image" in said
    for path in root.rglob("*.dcm"):
        assert np.isin(read_grey(path), (0, 255)).mean() < 0.2


def test_png16_marker_beyond_range(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    root = case("png16-marker-beyond-range")
    for path in root.rglob("*.png"):
        assert len(np.unique(read_grey(path))) > 200
    code, said = check(capfd)
    assert code == 0 and "look the same" not in said


def test_jpeg_hole_of_zeros(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    case("jpeg-hole-of-zeros")
    code, said = check(capfd)
    assert code == 3 and "2 of 12 images cannot be used" in said
    assert said.count("damaged JPEG (Corrupt JPEG data: premature end of data segment)") == 2
    assert said.count("premature end") == 2  # libjpeg's own line is not printed beside


def test_jpeg_data_behind_end(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    case("jpeg-data-behind-end")
    code, said = check(capfd)
    assert code == 0 and "nothing wrong found" in said


def test_exif_orientation_6(case: Case) -> None:
    root = case("exif-orientation-6")
    turned, upright = read_grey(root / "photo.jpg"), read_grey(root / "upright.jpg")
    assert turned.shape == upright.shape
    assert np.abs(turned.astype(int) - upright).mean() < 3
