"""Patients in folds, validation splits and shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.config.fields import DataConfig
from pulmonet.data.sources import inspect_manifest, read_manifest
from pulmonet.data.splits.choose import dev_rows, select_rows
from pulmonet.data.splits.files import splits_path
from pulmonet.data.splits.folds import assign, deal_patients, take_share
from pulmonet.errors import DataError
from small_dataset import random_manifest


def test_splits_are_stratified_better_than_chance() -> None:
    """A rare label's positives spread over folds as evenly as they can (here within two)."""
    manifest = random_manifest(400, seed=3)
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
    manifest = random_manifest(1)
    with pytest.raises(DataError, match="one patient only"):
        dev_rows(manifest, select_rows(manifest, "train"), 0.2, 0)


def test_folds_leave_the_test_rows_alone() -> None:
    manifest = random_manifest(20)
    table = manifest.table.copy()
    table.loc[:9, "split"] = "test"
    split, notes = assign(table, manifest.labels, Path("x"), DataConfig(folds=3, fold=1), 0)
    assert (split[:10] == "test").all() and "test" not in split[10:]
    assert notes == ["split: fold 1 of 3 patient folds (seed 0) is valid"]
    with pytest.raises(DataError, match="--folds 50: the dataset has only 15 patients"):
        assign(table, manifest.labels, Path("x"), DataConfig(folds=50), 0)


@pytest.mark.parametrize("is_named", [True, False])
def test_folds_spare_the_patients_that_a_list_holds_out(tmp_path: Path, is_named: bool) -> None:
    """Also a patient that the list calls valid is dealt, and one that it does not name."""
    manifest = random_manifest(20)
    table = manifest.table.assign(split="")
    data = DataConfig(folds=3, fold=1)
    plain, _ = assign(table, manifest.labels, tmp_path, data, 0)
    path = tmp_path / "splits.csv"
    if is_named:
        data = data.model_copy(update={"splits": str(path)})
    path.write_text("patient,split\npatient0000,valid\npatient0001,train\n")
    split, notes = assign(table, manifest.labels, tmp_path, data, 0)
    assert split.tolist() == plain.tolist()
    assert notes == ["split: fold 1 of 3 patient folds (seed 0) is valid"]
    held = [f"patient{n:04d}" for n in range(5)]
    path.write_text("patient,split\n" + "".join(f"{one},test\n" for one in held))
    split, notes = assign(table, manifest.labels, tmp_path, data, 0)
    assert ((split == "test") == table["patient"].isin(held)).all()
    assert notes[1] == f"split: test from {path}"
    others = table[~table["patient"].isin(held)].reset_index(drop=True)
    alone, _ = assign(others, manifest.labels, Path("x"), DataConfig(folds=3, fold=1), 0)
    assert split[split != "test"].tolist() == alone.tolist()


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


@pytest.mark.parametrize("seed", range(10))
def test_the_rarest_label_is_dealt_first(seed: int) -> None:
    """One positive patient a fold, whatever the commoner labels are; and those as they can be."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((60, 3)) < [0.5, 0, 0.3]).astype(np.float32)
    labels[generator.permutation(60)[:3], 1] = 1
    patients = np.asarray([f"p{n}" for n in range(60)], object)
    folds = deal_patients(patients, labels, f"folds {seed}") % 3
    counts = np.stack([np.bincount(folds[column == 1], minlength=3) for column in labels.T])
    assert counts[1].tolist() == [1, 1, 1]
    assert np.ptp(counts, axis=1).max() <= 3
