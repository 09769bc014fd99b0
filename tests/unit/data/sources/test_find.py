"""Where a dataset is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from pulmonet.data.sources import locate_dataset, read_manifest, remember_dataset
from pulmonet.data.sources.find import is_synthetic, recognise
from pulmonet.data.sources.vindr import KAGGLE_COLUMNS
from pulmonet.errors import DataError


def test_data_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {
        name: write_dataset(tmp_path / name / "set", n_train=2, n_valid=2, side=32)
        for name in ("flag", "environment", "data", "remembered")
    }
    monkeypatch.chdir(tmp_path)
    remember_dataset(roots["remembered"])
    monkeypatch.setenv("PULMONET_DATA_DIR", str(tmp_path / "environment"))
    assert locate_dataset(str(tmp_path / "flag")) == roots["flag"]
    assert locate_dataset(None) == roots["environment"]
    monkeypatch.delenv("PULMONET_DATA_DIR")
    assert locate_dataset(None).resolve() == roots["data"]
    (tmp_path / "data").rename(tmp_path / "moved")
    assert locate_dataset(None) == roots["remembered"]
    (tmp_path / "remembered").rename(tmp_path / "moved too")
    with pytest.raises(DataError, match=r"looked in .*/data .*and .*remembered/set"):
        locate_dataset(None)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["mimic-cxr-2.0.0-chexpert.csv.gz", "train.csv"], "mimic"),
        (["Data_Entry_2017_v2020.csv"], "nih"),
        (["PADCHEST_chest_x_ray_images_labels_160K.csv"], "padchest"),
        (["annotations/image_labels_train.csv"], "vindr"),
        (["image_labels_test.csv"], "vindr"),
        (["groundtruth.csv"], "chexpert"),
        (["chestmnist.npz"], "medmnist"),
        (["chestmnist.npz", "pneumoniamnist.npz"], None),
        (["run_config.json", "seen.npz"], None),
        (["run_config.json", "train.csv"], "chexpert"),
        (["mine.csv"], None),
        (["train.csv/x"], None),
        (["CheXpert-v1.0 batch 2 (train 1)/patient1.x"], "chexpert"),
        (["mimic-cxr-2.0.0-chexpert.csv/mimic-cxr-2.0.0-chexpert.csv"], "mimic"),
        (["mimic-cxr-2.0.0/mimic-cxr-2.0.0-split.csv"], None),  # it lies below
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, names: list[str], kind: str | None) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recognise(tmp_path) == kind


def test_a_root_below_a_folder_of_no_dataset_is_found(tmp_path: Path) -> None:
    below = tmp_path / "mimic-cxr-2.0.0"
    below.mkdir()
    (below / "mimic-cxr-2.0.0-split.csv").touch()
    assert locate_dataset(str(tmp_path)) == below


def test_kaggles_train_csv_is_vindrs_and_others_are_chexperts(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(",".join((*KAGGLE_COLUMNS, "x_min\n")))
    assert recognise(tmp_path) == "vindr"
    (tmp_path / "train.csv").write_text("Path,Edema\n")
    assert recognise(tmp_path) == "chexpert"
    assert recognise(tmp_path / "nowhere") is None


def test_a_run_is_no_dataset(tmp_path: Path) -> None:
    run = tmp_path / "a"
    run.mkdir()
    for name in ("run_config.json", "seen.npz", "training_log.csv"):
        (run / name).touch()
    for place in (run, tmp_path):
        with pytest.raises(DataError, match=rf"found a run \({run}\); name the dataset"):
            read_manifest(place)


def test_phantoms_say_that_they_are(tmp_path: Path) -> None:
    assert not is_synthetic(tmp_path)
    for text, said in (("{", False), ("[]", False), ('{"synthetic": true}', True)):
        (tmp_path / "phantoms.json").write_text(text)
        assert is_synthetic(tmp_path) == said


def test_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As lost+found on a disk of one's own."""
    (tmp_path / "lost+found").mkdir(mode=0)
    (tmp_path / "x.json").touch()
    listdir, access, closed = os.listdir, os.access, tmp_path / "lost+found"

    def refuse(path: str | Path) -> list[str]:  # whoever runs this may be root
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, how: path != closed and access(path, how))
    with pytest.raises(DataError, match=r"no dataset there.*found x\.json"):
        locate_dataset(str(tmp_path))
    with pytest.raises(DataError, match=r"lost\+found: its permissions forbid to read it; name"):
        locate_dataset(str(closed))
