"""The phantom set as a whole: layout, labels, boxes, determinism, what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pulmonet.data.phantoms.patients import imagine_patient
from pulmonet.data.phantoms.write import TABLES, write_phantoms
from pulmonet.errors import DataError
from pulmonet.labels import CHEXPERT_LABELS, DEFAULT_LABELS

LABELS = list(CHEXPERT_LABELS)
N_PATIENTS = 12


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "demo"
    write_phantoms(root, N_PATIENTS, seed=7)
    return root


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file by its path under `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / name)


def imagined(seed: int, n_patients: int) -> pd.DataFrame:
    """Labels and truth of a set without drawing it: one row a study."""
    rows = []
    for number in range(1, n_patients + 1):
        patient = imagine_patient(seed, number)
        for study in patient.studies:
            row: dict[str, object] = {"patient": number, "split": patient.split}
            row |= {f"{label} true": study.truth[label] for label in LABELS}
            row |= {label: study.labels[label] for label in LABELS}
            row |= {"age": study.age_years, "sex": patient.sex}
            row |= {f"{label} severity": 0.0 for label in DEFAULT_LABELS}
            for finding in study.findings:
                key = f"{finding.label} severity"
                row[key] = max(float(str(row[key])), finding.severity)
            rows.append(row)
    return pd.DataFrame(rows)


def test_columns_and_paths_are_chexperts(phantoms: Path) -> None:
    for split in ("train", "valid"):
        rows = table(phantoms, f"{split}.csv")
        assert list(rows.columns) == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS]
        pattern = rf"demo/{split}/patient\d{{5}}/study\d+/view[12]_(frontal|lateral)\.jpg"
        assert rows["Path"].str.fullmatch(pattern).all()
        assert rows["Sex"].isin(["Male", "Female"]).all()
        assert rows["Age"].between(18, 90).all()
        lateral = rows["Path"].str.endswith("_lateral.jpg")
        assert (lateral == (rows["Frontal/Lateral"] == "Lateral")).all()
        assert rows.loc[lateral, "AP/PA"].isna().all()
        assert rows.loc[~lateral, "AP/PA"].isin(["AP", "PA"]).all()
        assert np.isin(rows[LABELS].fillna(0).to_numpy(float), [-1, 0, 1]).all()


def test_the_same_columns_as_the_real_set(phantoms: Path, shared_data: Path) -> None:
    for name in ("train.csv", "boxes.csv"):
        real = pd.read_csv(shared_data / "nih-cxr" / name, nrows=1)
        assert list(table(phantoms, name).columns) == list(real.columns)


def test_every_listed_image_exists_and_no_other(phantoms: Path) -> None:
    listed = pd.concat([table(phantoms, "train.csv"), table(phantoms, "valid.csv")])["Path"]
    assert listed.is_unique
    found = {f"demo/{path.relative_to(phantoms).as_posix()}" for path in phantoms.rglob("*.jpg")}
    assert set(listed) == found
    sizes = set()
    for path in listed:
        image = cv2.imread(str(phantoms.parent / path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        sizes.add(image.shape)
        assert image.std() > 20  # a picture, not a flat field
    assert sizes <= {(320, 390), (390, 320)}


def test_marked_as_synthetic(phantoms: Path) -> None:
    mark = json.loads((phantoms / "phantoms.json").read_text())
    assert mark["synthetic"] is True
    assert (mark["seed"], mark["n_patients"]) == (7, N_PATIENTS)


def test_patients_are_disjoint_and_a_fifth_validates(phantoms: Path) -> None:
    patients = {
        split: set(table(phantoms, f"{split}.csv")["Path"].str.split("/").str[2])
        for split in ("train", "valid")
    }
    assert not patients["train"] & patients["valid"]
    assert len(patients["train"] | patients["valid"]) == N_PATIENTS
    assert 0.1 <= len(patients["valid"]) / N_PATIENTS <= 0.3


def test_valid_labels_are_the_truth(phantoms: Path) -> None:
    valid = table(phantoms, "valid.csv").set_index("Path")[LABELS]
    truth = table(phantoms, "truth.csv").set_index("Path")
    np.testing.assert_array_equal(valid.to_numpy(float), truth.loc[valid.index, LABELS].to_numpy())


def test_truth_agrees_with_severities_and_parents(phantoms: Path) -> None:
    truth = table(phantoms, "truth.csv").set_index("Path")
    for label in DEFAULT_LABELS:
        np.testing.assert_array_equal(truth[label] == 1, truth[f"{label} severity"] > 0)
    five = truth[list(DEFAULT_LABELS)].any(axis=1)
    np.testing.assert_array_equal(truth["No Finding"] == 1, ~five)
    opacities = truth[["Edema", "Consolidation", "Atelectasis"]].any(axis=1)
    np.testing.assert_array_equal(truth["Lung Opacity"] == 1, opacities)


def test_every_finding_has_its_boxes_inside_the_image(phantoms: Path) -> None:
    boxes = table(phantoms, "boxes.csv")
    truth = table(phantoms, "truth.csv")
    assert set(boxes["Path"]) <= set(truth["Path"])
    edges = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
    assert ((edges >= 0) & (edges <= 1)).all()
    assert (edges[:, 2] > edges[:, 0]).all()
    assert (edges[:, 3] > edges[:, 1]).all()
    drawn = set(zip(boxes["Path"], boxes["label"], strict=True))
    true = {
        (row["Path"], label)
        for _, row in truth.iterrows()
        for label in DEFAULT_LABELS
        if row[label] == 1
    }
    assert drawn == true


def test_same_seed_same_bytes_and_another_seed_another_set(phantoms: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "demo", 4, seed=7)
    small = digests(tmp_path / "demo")
    whole = digests(phantoms)
    images = {name: digest for name, digest in small.items() if name.endswith(".jpg")}
    assert len(images) > 4
    # A larger set contains the smaller one, byte for byte: images and rows.
    assert all(whole[name] == digest for name, digest in images.items())
    for name in TABLES:
        lines = (tmp_path / "demo" / name).read_text().splitlines()
        assert (phantoms / name).read_text().splitlines()[: len(lines)] == lines
    write_phantoms(tmp_path / "other" / "demo", 2, seed=8)
    other = digests(tmp_path / "other" / "demo")
    assert not set(other.values()) & set(images.values())


def test_rewriting_replaces_an_earlier_set_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    write_phantoms(root, 4, seed=7)
    (root / "notes.txt").write_text("mine")
    keep = root / "train" / "patient00001" / "study1" / "view1_frontal.jpg"
    before = keep.stat().st_mtime_ns
    write_phantoms(root, 2, seed=7)
    assert keep.stat().st_mtime_ns == before  # an unchanged image keeps its place in the pack
    assert sorted(path.name for path in root.glob("*/patient*")) == ["patient00001", "patient00002"]
    assert (root / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["train.csv", "holiday.jpg"])
def test_refuses_a_folder_with_other_content(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("precious")
    with pytest.raises(DataError, match=rf"not an earlier demo set \({content}\); nothing was"):
        write_phantoms(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [content]
    assert (tmp_path / content).read_text() == "precious"


def test_refuses_a_foreign_marker_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "phantoms.json").write_text("[]")
    with pytest.raises(DataError, match="not an earlier demo set"):
        write_phantoms(tmp_path, 2)
    with pytest.raises(DataError, match="is a file"):
        write_phantoms(tmp_path / "phantoms.json", 2)


def test_an_interrupted_set_is_no_dataset_and_can_be_finished(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    write_phantoms(root, 3, seed=7)
    finished = digests(root)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(root, 5, seed=7, progress=interrupt)
    assert not any((root / name).exists() for name in TABLES)
    write_phantoms(root, 3, seed=7)
    assert digests(root) == finished


def test_progress_counts_patients(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_phantoms(tmp_path / "demo", 2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("n_patients", [2, 20, 120])
def test_both_classes_of_all_five_in_both_splits(n_patients: int) -> None:
    studies = imagined(42, n_patients)
    for _, rows in studies.groupby("split"):
        for label in DEFAULT_LABELS:
            assert set(rows[f"{label} true"]) == {0, 1}
    fraction = studies.groupby("split")["patient"].nunique()["valid"] / n_patients
    assert fraction == pytest.approx(0.2, abs=0.31 if n_patients == 2 else 0.01)


def test_prevalence_co_occurrence_and_label_noise_over_many_patients() -> None:
    studies = imagined(3, 3000)
    assert studies.groupby("patient")["split"].nunique().max() == 1
    assert studies.groupby("patient").size().mean() > 1.5
    for label in DEFAULT_LABELS:
        assert 0.18 <= studies[f"{label} true"].mean() <= 0.42
    train = studies[studies["split"] == "train"]
    failing = train[train["Edema true"] == 1]
    assert failing["Pleural Effusion true"].mean() > 1.4 * train["Pleural Effusion true"].mean()
    assert failing["Cardiomegaly true"].mean() > 1.25 * train["Cardiomegaly true"].mean()
    for label in DEFAULT_LABELS:
        present = train[train[f"{label} true"] == 1]
        mild = present[f"{label} severity"] < 0.33
        unsure = present[label] == -1
        assert unsure[mild].mean() > 2 * unsure[~mild].mean()
        assert train[label].isna().mean() > 0.3
        assert (train[label] == 0).mean() > 0.1
    found = train[[label for label in LABELS if label not in ("No Finding", "Support Devices")]]
    clear = ~found.isin([1, -1]).any(axis=1)
    np.testing.assert_array_equal(clear, train["No Finding"] == 1)
    old = train["age"] > train["age"].median()
    assert (
        1.03 < train[old]["Cardiomegaly true"].mean() / train[~old]["Cardiomegaly true"].mean() < 2
    )
