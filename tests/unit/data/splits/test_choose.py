"""Which rows and labels, and the files that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.config.schema import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import inspect_manifest, read_manifest
from pulmonet.data.splits.choose import (
    annotated_in_split,
    dev_rows,
    resolve_labels,
    select_rows,
    subset_rows,
    summarise,
)
from pulmonet.data.splits.deal import take_share
from pulmonet.data.splits.files import (
    assign,
    parse_split,
    read_splits,
    splits_path,
    write_shareable_split,
)
from pulmonet.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[4]


def make(n_patients: int = 40, seed: int = 0) -> Manifest:
    """Two images a patient, AP and lateral, everything in train."""
    rng = np.random.default_rng(seed)
    patients = [f"patient{n // 2:04d}" for n in range(2 * n_patients)]
    table = pd.DataFrame(
        {
            "path": [f"train/{patient}/{n}.jpg" for n, patient in enumerate(patients)],
            "split": "train",
            "patient": patients,
            "study": patients,
            "view": ["AP", "LATERAL"] * n_patients,
            "sex": rng.choice(["Male", "Female", ""], 2 * n_patients),
            "age_years": rng.choice([5.0, 55.0, 99.0, np.nan], 2 * n_patients),
            "Edema": rng.choice([1, 0, -1, np.nan], 2 * n_patients).astype(np.float32),
            "Hernia": (rng.random(2 * n_patients) < 0.05).astype(np.float32),
            "Fracture": np.full(2 * n_patients, np.nan, np.float32),
        }
    )
    return Manifest("x", Path("x"), "chexpert", ("Edema", "Hernia", "Fracture"), table)


def test_labels_by_any_spelling() -> None:
    manifest = make()
    assert resolve_labels(manifest, ("all",)) == ("Edema", "Hernia")
    assert resolve_labels(manifest, ("hernia", "PULMONARY_EDEMA")) == ("Hernia", "Edema")


@pytest.mark.parametrize(
    "labels, error, message",
    [
        (("Edma",), ConfigError, r"label 'Edma': unknown \(did you mean 'Edema'"),
        (("Fracture",), DataError, "not annotated 'Fracture'; this dataset has Edema, Hernia"),
        (("Pneumonia", "Edema"), DataError, "no column for 'Pneumonia'"),
        (("Edema", "oedema"), ConfigError, "the same label twice"),
    ],
)
def test_labels_that_cannot_be_had(
    labels: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve_labels(make(), labels)


def test_rows_by_split_and_view() -> None:
    manifest = make(4)
    np.testing.assert_array_equal(select_rows(manifest, "train"), np.arange(8))
    np.testing.assert_array_equal(select_rows(manifest, "train", "frontal"), [0, 2, 4, 6])
    np.testing.assert_array_equal(select_rows(manifest, "train", "lateral"), [1, 3, 5, 7])
    with pytest.raises(DataError, match="no row in split 'valid'; it has train"):
        select_rows(manifest, "valid")
    with pytest.raises(DataError, match="no PA view"):
        select_rows(manifest, "train", "PA")
    with pytest.raises(ConfigError, match=r"split 'tran': unknown \(did you mean 'train'"):
        select_rows(manifest, "tran")
    with pytest.raises(ConfigError, match="--views sideways: unknown"):
        select_rows(manifest, "train", "sideways")


def test_subsets_take_their_share() -> None:
    manifest = make(200)
    rows = select_rows(manifest, "train")
    chosen = subset_rows(manifest, rows, 0.1, "patient", 1)
    assert len(chosen) == 40  # 20 patients with both images
    assert len(subset_rows(manifest, rows, 0.1, "image", 1)) == 40
    other = subset_rows(manifest, rows, 0.1, "patient", 2)
    assert set(chosen) != set(other)


def test_splits_are_stratified_better_than_chance() -> None:
    """A rare label's positives spread over folds as evenly as they can (here within two)."""
    manifest = make(400, seed=3)
    positive_patients = manifest.table.groupby("patient")["Hernia"].max()
    counts = []
    for fold in range(5):
        split, _ = assign(
            manifest.table, manifest.labels, Path("x"), DataConfig(folds=5, fold=fold), 0
        )
        valid = set(manifest.table["patient"].to_numpy()[split == "valid"])
        counts.append(int(positive_patients[sorted(valid)].sum()))
    assert sum(counts) == int(positive_patients.sum())
    assert max(counts) - min(counts) <= 2


def test_a_single_patient_cannot_be_split() -> None:
    manifest = make(1)
    with pytest.raises(DataError, match="one patient only"):
        dev_rows(manifest, select_rows(manifest, "train"), 0.2, 0)


def test_folds_leave_the_test_rows_alone() -> None:
    manifest = make(20)
    table = manifest.table.copy()
    table.loc[:9, "split"] = "test"
    split, notes = assign(table, manifest.labels, Path("x"), DataConfig(folds=3, fold=1), 0)
    assert (split[:10] == "test").all() and "test" not in split[10:]
    assert notes == ["split: fold 1 of 3 patient folds (seed 0) is valid"]
    with pytest.raises(DataError, match="--folds 50: the dataset has only 15 patients"):
        assign(table, manifest.labels, Path("x"), DataConfig(folds=50), 0)


def write_train(root: Path, n_patients: int = 12) -> None:
    root.mkdir(exist_ok=True)
    lines = [f"train/patient{n}/study1/a.jpg,{n % 2}" for n in range(n_patients)]
    (root / "train.csv").write_text("\n".join(["Path,Edema", *lines]) + "\n")


def test_a_drawn_split_is_kept_and_may_be_edited(tmp_path: Path) -> None:
    write_train(tmp_path / "set")
    root = tmp_path / "set"
    first, _, notes = inspect_manifest(root, seed=1)
    kept = splits_path(root, 0.1)
    assert str(kept) in notes[0] and kept.is_file()
    assert not (root / "splits.csv").exists()  # datasets are read, never written to
    assert first.table["split"].tolist() == read_manifest(root, seed=2).table["split"].tolist()
    lines = pd.read_csv(kept)
    lines["split"] = ["valid"] * 4 + ["test"] * 2 + ["train"] * 6
    lines.to_csv(kept, index=False)
    table = read_manifest(root).table
    assert dict(zip(table["patient"], table["split"], strict=True)) == dict(
        zip(lines["patient"], lines["split"], strict=True)
    )
    other = read_manifest(root, DataConfig(valid_fraction=0.5)).table
    assert (other["split"] == "valid").sum() == 6  # another fraction has its own file
    write_train(root, 14)
    with pytest.raises(DataError, match=r"2 patients of the dataset not listed .*patient12"):
        read_manifest(root)


@pytest.mark.parametrize(
    "content, message",
    [
        ("patient,split\np1,train\np1,valid\n", "1 patient with more than one split"),
        ("patient,split\np1,training\np2,maybe\n", "line 3: 'maybe'"),
        ("patient\np1\n", "no column 'split'"),
        ("", "empty"),
    ],
)
def test_damaged_splits_files(tmp_path: Path, content: str, message: str) -> None:
    write_train(tmp_path / "set")
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "set", DataConfig(splits=str(tmp_path / "mine.csv")))


def test_a_shareable_split_names_nobody_and_fits_one_dataset(tmp_path: Path) -> None:
    write_train(tmp_path / "set")
    manifest = read_manifest(tmp_path / "set")
    shared = tmp_path / "split.json"
    write_shareable_split(manifest, shared, salt="pepper")
    assert "patient1" not in shared.read_text()
    again = read_manifest(tmp_path / "set", DataConfig(splits=str(shared)))
    columns = ["path", "patient", "split"]
    pd.testing.assert_frame_equal(again.table[columns], manifest.table[columns])
    write_shareable_split(manifest, tmp_path / "other.json")
    assert shared.read_text() != (tmp_path / "other.json").read_text()  # another salt
    write_train(tmp_path / "set", 11)
    with pytest.raises(DataError, match="1 of the file's are not in the dataset"):
        read_manifest(tmp_path / "set", DataConfig(splits=str(shared)))
    shared.write_text("{}")
    with pytest.raises(DataError, match="not a shareable split"):
        read_splits(shared, np.array(["a"], dtype=object))


def test_spellings_of_splits() -> None:
    assert [parse_split(name) for name in ("Val", "validate", "TRAIN", "test ", "x")] == [
        "valid",
        "valid",
        "train",
        "test",
        "",
    ]


def test_summary_equals_a_plain_count() -> None:
    manifest = make(30, seed=5)
    manifest.table.loc[40:, "split"] = "valid"
    summary = summarise(manifest)
    assert summary["labels"] == ["Edema", "Hernia"]
    for split, part in manifest.table.groupby("split"):
        got = summary["splits"][split]
        assert got["images"] == len(part)
        assert got["patients"] == len(set(part["patient"]))
        values = part["Edema"].tolist()
        assert got["labels"]["Edema"] == {
            "positive": values.count(1),
            "negative": values.count(0),
            "uncertain": values.count(-1),
            "blank": sum(np.isnan(value) for value in values),
        }
        ages = [age for age in part["age_years"] if not np.isnan(age)]
        assert got["age"]["unknown"] == len(part) - len(ages)
        assert got["age"]["histogram"]["50-59"] == ages.count(55)
        assert got["age"]["histogram"]["90+"] == ages.count(99)
        assert got["sex"].get("unknown", 0) == part["sex"].tolist().count("")
        assert sum(got["views"].values()) == len(part)


def test_a_label_is_annotated_per_split() -> None:
    manifest = make(6)
    manifest.table.loc[:, ["split"]] = ["train"] * 6 + ["valid"] * 6
    first, second = manifest.labels[:2]
    manifest.table.loc[6:, first] = np.nan
    manifest.table.loc[6:10, second] = np.nan
    assert annotated_in_split(manifest, "valid", [first, second]).tolist() == [False, True]
    assert annotated_in_split(manifest, "train", [second, first]).tolist() == [True, True]


@pytest.mark.parametrize(
    ("n_patients", "fraction", "taken"),
    [(10, 0.3, [2, 5, 8]), (4, 0.5, [1, 3]), (25, 0.1, [6, 19])],
)
def test_a_share_is_spread_over_the_order_and_stays_what_it_was(
    n_patients: int, fraction: float, taken: list[int]
) -> None:
    """Places i whose count n (i + 1/2) / N steps up, written out: a change would move patients."""
    found = np.flatnonzero(take_share(np.arange(n_patients), fraction)).tolist()
    count = [
        round(fraction * n_patients) * (i + 0.5) / n_patients + 0.5 for i in range(-1, n_patients)
    ]
    assert found == taken
    assert found == [i for i in range(n_patients) if int(count[i + 1]) > int(max(count[i], 0))]


def test_at_least_one_patient_or_image_is_taken() -> None:
    manifest = make(10)
    rows = select_rows(manifest, "train")
    assert len(subset_rows(manifest, rows, 0.001, "patient", 0)) == 2  # both images of one
    assert len(subset_rows(manifest, rows, 0.001, "image", 0)) == 1
