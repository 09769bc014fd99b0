"""The cases of ../shared/cases, read in place: what each `case.md` expects."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from field_cases import case_folder
from pulmonet.cli.main import main
from pulmonet.data.sources import read_manifest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a case is copied to, and tried in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_case(name: str, here: Path) -> Path:
    """A copy of a case."""
    root = here / name
    shutil.copytree(case_folder(name), root)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    return root


def prepared(folder: str) -> dict[str, Any]:
    """What `prepare` found."""
    (path,) = Path("artifacts/prepare").glob(f"{folder}*/prepare_report.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def images_of(document: dict[str, Any]) -> dict[str, int]:
    return {split: one["images"] for split, one in document["summary"]["splits"].items()}


@pytest.mark.parametrize("name", ["path-extension-differs", "path-no-extension"])
def test_endings_that_differ(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = copy_case(name, here)
    assert main(["prepare", str(root), "--check-only"]) == 0
    assert images_of(prepared(name)) == {"train": 8, "valid": 4}
    said = capsys.readouterr()
    assert "12 images found by name, not at the table's path (train/patient" in said.out + said.err


def test_mimic_dicom(here: Path) -> None:
    root = copy_case("mimic-dicom", here)
    assert main(["prepare", str(root), "--check-only"]) == 0
    assert sum(images_of(prepared("mimic-dicom")).values()) == 10


def test_padchest_images_224(here: Path) -> None:
    root = copy_case("padchest-images-224", here)
    assert main(["prepare", str(root), "--check-only"]) == 0
    assert sum(images_of(prepared("padchest-images-224")).values()) == 8


def test_path_absolute_below_root(here: Path) -> None:
    root = copy_case("path-absolute-below-root", here)
    for table in root.glob("*.csv"):
        table.write_text(table.read_text().replace("@HERE@", str(root)))
    assert main(["prepare", str(root), "--check-only"]) == 0
    assert images_of(prepared("path-absolute")) == {"train": 8, "valid": 4}


def test_images_behind_symlink(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = copy_case("images-behind-symlink", here) / "dataset"
    for split in ("train", "valid"):  # the copy in shared/ has lost its links
        if not (root / split).is_dir():
            (root / split).unlink()
            (root / split).symlink_to(f"../store/{split}")
    assert main(["prepare", str(root), "--check-only"]) == 3
    said = capsys.readouterr().err
    assert "12 images behind a symbolic link" in said and "--follow-links" in said
    assert "cannot be used" not in said
    assert main(["prepare", str(root), "--follow-links"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("--follow-links")


def test_symlinked_images(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = copy_case("path-absolute-below-root", here)
    farm = here / "farm"
    for path in sorted(store.rglob("*.jpg")):
        link = farm / path.relative_to(store)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    for table in store.glob("*.csv"):
        (farm / table.name).write_text(table.read_text().replace("@HERE@/", ""))
    train = ["train", "--data-dir", str(farm), "--weights", "none", "--model", "timm:test_resnet"]
    train += ["--image-size", "32", "--epochs", "1", "--labels", "Pneumonia", "--name", "f"]
    assert main(train) == 3
    assert "--follow-links allows that" in capsys.readouterr().err
    assert main([*train, "--follow-links"]) == 0
    assert main(["evaluate", "f"]) == 0
    assert main(["explain", "--run", "f"]) == 0
    (farm / "boxes.csv").write_text(
        "Path,label,xmin,ymin,xmax,ymax\nvalid/patient90010/study1/view1_frontal.jpg,Pneumonia,0,0,1,1\n"
    )
    assert main(["explain", "--run", "f", "--boxes", str(farm / "boxes.csv")]) == 0
    assert "--follow-links" not in capsys.readouterr().err
    farm.rename(here / "other")  # the run's data under another name: as in training
    assert main(["evaluate", "f", "--data-dir", "other"]) == 0


def checked(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, Path]:
    """Exit code of `prepare . --check-only` in a case's folder, and what it says on one line."""
    root = copy_case(name, here)
    os.chdir(root)
    code = main(["prepare", ".", "--check-only"])
    said = capsys.readouterr()
    return code, " ".join((said.out + said.err).split()), root


def test_val_csv_ignored(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked("val-csv-ignored", here, capsys)
    assert code == 0 and "train: 8 images of 8 patients; valid: 4 images of 4 patients" in said
    assert "drawn" not in said


def test_nih_lists_under_kaggle_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, root = checked("nih-lists-under-kaggle-names", here, capsys)
    assert code == 0 and "test: 4 images" in said
    tested = set((root / "test_list_NIH.txt").read_text().split())
    table = read_manifest(root).table
    assert {Path(path).name for path in table["path"][table["split"] == "test"]} == tested


def test_patients_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, root = checked("patients-folder", here, capsys)
    assert code == 0 and "10 images of 1 patient" not in said
    assert read_manifest(root).table["patient"].nunique() == 5


def test_row_short_in_the_middle(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked("row-short-in-the-middle", here, capsys)
    assert code == 3 and "train.csv" in said and "line 4 has 7 of 19" in said


def test_padchest_odd(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, root = checked("padchest-odd", here, capsys)
    manifest = read_manifest(root)
    assert code == 0 and not {"exclude", "unchanged"} & set(manifest.labels)
    assert manifest.table[list(manifest.labels)].isna().all(axis=1).sum() == 5


def test_csv_utf16(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = checked("csv-utf16", here, capsys)
    assert code == 0 and "train: 8 images" in said and "valid: 4 images" in said


def test_mimic_float_ids(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, root = checked("mimic-float-ids", here, capsys)
    manifest = read_manifest(root)
    assert code == 0 and manifest.table["Atelectasis"].notna().all()
    assert not manifest.table["patient"].str.contains(".", regex=False).any()


def boxes_of(folder: str) -> pd.DataFrame:
    return pd.read_csv(Path("artifacts") / "prepare" / folder / "boxes.csv")


@pytest.mark.parametrize(
    ("name", "source", "n_images"),
    [
        ("openi-indiana", "openi", 12),
        ("covid-chestxray", "covid-chestxray", 8),
        ("kermany-folders", "folders", 10),
        ("rsna-pneumonia", "rsna", 8),
    ],
)
def test_collections_that_are_recognised(name: str, source: str, n_images: int, here: Path) -> None:
    root = copy_case(name, here)
    assert main(["prepare", str(root), "--check-only"]) == 0
    document = prepared(name)
    assert document["dataset"]["source"] == source
    assert sum(images_of(document).values()) == n_images
    assert "todo" not in json.dumps(document["summary"])


def test_rsna_boxes(here: Path) -> None:
    root = copy_case("rsna-pneumonia", here)
    assert main(["prepare", str(root)]) == 0
    boxes = boxes_of("rsna-pneumonia")
    assert len(boxes) == 8 and set(boxes["label"]) == {"Pneumonia"}
    first = boxes.iloc[0][["xmin", "ymin", "xmax", "ymax"]].astype(float).tolist()
    assert first == pytest.approx([100 / 1024, 200 / 1024, 250 / 1024, 500 / 1024], abs=1e-5)


def test_vindr_resized_small_boxes(here: Path) -> None:
    root = copy_case("vindr-resized-small-boxes", here)
    assert main(["prepare", str(root)]) == 0
    boxes = boxes_of("vindr-resized-small-boxes")
    assert len(boxes) == 12
    assert boxes["xmin"].tolist() == pytest.approx([30 / 2304] * 12, abs=1e-5)
    assert boxes["ymax"].tolist() == pytest.approx([120 / 2880] * 12, abs=1e-5)


def test_vindr_partial_skip_bad(here: Path) -> None:
    root = copy_case("vindr-partial-skip-bad", here)
    assert main(["prepare", str(root), "--skip-bad"]) == 0
    images = {Path(path).stem for path in boxes_of("vindr-partial-skip-bad")["Path"]}
    assert {name[-1] for name in images} == {"2", "4", "6"}


def test_openi_by_a_mapping_with_a_join(here: Path) -> None:
    root = copy_case("openi-indiana", here)
    mapping = ["csv=indiana_projections.csv", "path=filename", "patient=uid", "view=projection"]
    mapping += ["findings=Problems", "separator=;", "folder=images/images_normalized", "join=uid"]
    flags = [word for pair in mapping for word in ("--map", pair)]
    reports = str(root / "indiana_reports.csv")
    prepare = ["prepare", str(root), "--check-only", "--labels", "all"]
    assert main([*prepare, *flags, "--join", reports]) == 0
    document = prepared("openi-indiana")
    assert document["dataset"]["source"] == "mapped"
    assert sum(images_of(document).values()) == 12
    assert "Cardiomegaly" in document["summary"]["labels"]


def test_covid_chestxray_by_a_mapping(here: Path) -> None:
    root = copy_case("covid-chestxray", here)
    mapping = ["path=filename", "patient=patientid", "findings=finding", "separator=/", "view=view"]
    flags = [word for pair in [*mapping, "folder=images"] for word in ("--map", pair)]
    assert main(["prepare", str(root), "--check-only", "--labels", "all", *flags]) == 0
