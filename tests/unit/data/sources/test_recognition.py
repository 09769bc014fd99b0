"""Every source is known by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.data.sources.recognition import is_synthetic, recognise
from pulmonet.data.sources.vindr import KAGGLE_HEADER


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
        (["mine.csv"], None),
        (["train.csv/x"], None),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, names: list[str], kind: str | None) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recognise(tmp_path) == kind


def test_kaggles_train_csv_is_vindrs_and_others_are_chexperts(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"{KAGGLE_HEADER},x_min\n")
    assert recognise(tmp_path) == "vindr"
    (tmp_path / "train.csv").write_text("Path,Edema\n")
    assert recognise(tmp_path) == "chexpert"
    assert recognise(tmp_path / "nowhere") is None


def test_phantoms_say_that_they_are(tmp_path: Path) -> None:
    assert not is_synthetic(tmp_path)
    for text, said in (("{", False), ("[]", False), ('{"synthetic": true}', True)):
        (tmp_path / "phantoms.json").write_text(text)
        assert is_synthetic(tmp_path) == said
