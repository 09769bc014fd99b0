"""`pulmonet explain FOLDER`: which files are images, and what is said of the others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pulmonet.cli.main import main
from run_factory import make_run


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    make_run(tmp_path / "artifacts", model="timm:test_resnet", name="small")
    return tmp_path / "artifacts"


def explain(artifacts: Path, *arguments: object) -> int:
    command = ["explain", "--artifacts-dir", str(artifacts), "--label", "Edema"]
    return main([*command, *map(str, arguments)])


def explained(artifacts: Path) -> list[str]:
    document = json.loads((artifacts / "small" / "explain" / "explanations.json").read_text())
    return [Path(image["image"]).name for image in document["images"]]


def write_dicom(path: Path, modality: str = "CR") -> None:
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.Dataset()
    image.Modality, image.Rows, image.Columns = modality, 40, 44
    image.PhotometricInterpretation, image.SamplesPerPixel = "MONOCHROME2", 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 44)).astype(np.uint16)
    image.PixelData = pixels.tobytes()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", f"1.2.{len(path.name)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def write_directory(path: Path) -> None:
    """The first bytes of a DICOMDIR: its preamble, and the SOP class of its table of contents."""
    uid = b"1.2.840.10008.1.3.10"
    path.write_bytes(bytes(128) + b"DICM" + b"\x02\0\x02\0UI" + bytes([len(uid), 0]) + uid)


def test_a_patients_cd(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names without an ending, a table of contents, a viewer, other modalities, macOS's files."""
    disc = tmp_path / "cd"
    write_dicom(disc / "DICOM" / "PA000000" / "ST000001" / "IM000001")
    write_dicom(disc / "DICOM" / "PA000000" / "ST000001" / "1.2.840.113619.2.55")
    write_directory(disc / "DICOMDIR")
    (disc / "VIEWER.EXE").write_bytes(b"MZ")
    (disc / "autorun.inf").write_text("[autorun]")
    (disc / "README").write_text("a viewer")
    (disc / "DICOM" / "._IM000001.dcm").write_bytes(b"\0\5\x16\7")
    assert explain(artifacts, disc) == 0
    said = capsys.readouterr().err
    assert "2 images, 4 other files passed over (" in said
    for kind in ("1 DICOMDIR", "1 .exe", "1 .inf", "1 without an ending"):
        assert kind in said
    assert explained(artifacts) == ["1.2.840.113619.2.55", "IM000001"]
    folder = artifacts / "small" / "explain"
    assert (folder / "IM000001").is_dir() and (folder / "1.2.840.113619.2.55").is_dir()


def test_other_modalities_are_passed_over_and_counted(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tmp_path / "x" / "chest.dcm")
    write_dicom(tmp_path / "x" / "slice1", "CT")
    write_dicom(tmp_path / "x" / "slice2.dcm", "CT")
    assert explain(artifacts, tmp_path / "x") == 0
    assert "2 DICOM files of modality CT passed over" in capsys.readouterr().err
    assert explained(artifacts) == ["chest.dcm"]
    assert explain(artifacts, tmp_path / "x" / "slice1") == 3
    assert "no chest radiograph (its Modality is CT)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["film", "film.tif", "film.JPG", "film.001", "film.jfif"])
def test_pictures_are_known_by_their_first_bytes(
    artifacts: Path, tmp_path: Path, name: str
) -> None:
    image = np.random.default_rng(1).integers(0, 255, (60, 50)).astype(np.uint8)
    (tmp_path / "x").mkdir()
    ending = ".tif" if name.endswith("tif") else ".jpg"
    assert cv2.imwrite(str(tmp_path / f"a{ending}"), image)
    shutil.move(tmp_path / f"a{ending}", tmp_path / "x" / name)
    assert explain(artifacts, tmp_path / "x") == 0
    assert explained(artifacts) == [name]


def test_a_folder_without_an_image_names_what_is_there(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    for name in ("a.txt", "b.txt", "c.nii.gz"):
        (tmp_path / "x" / name).write_text("no image")
    assert explain(artifacts, tmp_path / "x") == 3
    words = "no image in this folder, 3 other files passed over (2 .txt, 1 .gz); name JPEG, PNG"
    assert words in capsys.readouterr().err


def test_links_and_pipes_are_not_passed_over_in_silence(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to its own folder was followed without end by a pattern."""
    folder = tmp_path / "x"
    write_dicom(folder / "sub" / "a.dcm")
    (folder / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "me").symlink_to(folder)
    (folder / "myself").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    for argument in (folder, folder / "**", f"{tmp_path}/[x]/**"):
        assert explain(artifacts, argument) == 3
        said = " ".join(capsys.readouterr().err.split())
        assert "3 images, 2 other files passed over (2 link to a folder)" in said
        assert "lost.png: cannot be read (No such file or directory)" in said
        assert "pipe.png: cannot be read (not a plain file)" in said
        assert explained(artifacts) == ["a.dcm"]
    for pattern in ("**/*.dcm", "s*/**/*.dcm", "**/sub/*.dcm", "sub/a**.dcm", "**/sub/a*m"):
        assert explain(artifacts, folder / pattern) == 0, pattern
        assert explained(artifacts) == ["a.dcm"]


def test_names_that_are_no_text_or_look_like_formulas(artifacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    image = np.random.default_rng(1).integers(0, 255, (60, 50)).astype(np.uint8)
    names = [b"a\xff\xfe.png", b"b$\\frac$.png", b"c\xff" + b"x" * 220 + b".png", b"d\ne.png"]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(
            cv2.imencode(".png", image)[1].tobytes()
        )
    assert explain(artifacts, folder) == 0
    assert len(explained(artifacts)) == 4
