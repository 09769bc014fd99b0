"""No patient in two splits, ever; the same seed takes the same patients whatever the row order."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmonet.config.fields import DataConfig
from pulmonet.data.manifest import Manifest, fingerprint
from pulmonet.data.splits.choose import dev_rows, select_rows, subset_rows
from pulmonet.data.splits.files import read_splits, write_shareable_split, write_splits
from pulmonet.data.splits.folds import assign

LABELS = ("Edema", "Cardiomegaly")
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def tables(draw: st.DrawFn, min_patients: int = 2) -> pd.DataFrame:
    """Rows of 2 to 40 patients with 1 to 4 images each, in random order, no splits."""
    n_images = draw(st.lists(st.integers(1, 4), min_size=min_patients, max_size=40))
    rng = np.random.default_rng(draw(SEEDS))
    patients = np.repeat([f"patient{n:03d}" for n in range(len(n_images))], n_images)
    patients = rng.permutation(patients).astype(object)
    values = rng.choice([1.0, 0.0, -1.0, np.nan], (len(patients), 2)).astype(np.float32)
    table = pd.DataFrame(
        {
            "path": [f"{patient}/{row}.jpg" for row, patient in enumerate(patients)],
            "split": "train",
            "patient": patients,
            "study": patients,
            "view": "AP",
            "sex": "",
            "age_years": 1.0,
        }
    )
    return pd.concat([table, pd.DataFrame(values, columns=list(LABELS))], axis=1)


def manifest_of(table: pd.DataFrame) -> Manifest:
    return Manifest("x", Path("x"), "chexpert", LABELS, table.reset_index(drop=True))


def split_patients(table: pd.DataFrame, split: np.ndarray) -> dict[str, set[str]]:
    patients = table["patient"].to_numpy()
    return {name: set(patients[split == name]) for name in np.unique(split.astype(str))}


def assert_disjoint(groups: dict[str, set[str]]) -> None:
    names = list(groups)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            assert not groups[one] & groups[other]


@settings(max_examples=50, deadline=None)
@given(table=tables(), fraction=st.floats(0.01, 0.99), seed=SEEDS)
def test_a_drawn_validation_split(table: pd.DataFrame, fraction: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = DataConfig(valid_fraction=fraction)
        first, _ = assign(table, LABELS, root, data, seed)
        groups = split_patients(table, first)
        assert_disjoint(groups)
        n_patients = table["patient"].nunique()
        assert set(groups) == {"train", "valid"}
        expected = min(max(1, round(fraction * n_patients)), n_patients - 1)
        assert len(groups["valid"]) == expected
        again, _ = assign(table, LABELS, root, data, seed + 1)  # kept, whatever the seed
        np.testing.assert_array_equal(first, again)


@settings(max_examples=50, deadline=None)
@given(table=tables(min_patients=5), folds=st.integers(2, 5), seed=SEEDS)
def test_folds_part_the_patients(table: pd.DataFrame, folds: int, seed: int) -> None:
    seen: list[str] = []
    sizes = []
    for fold in range(folds):
        data = DataConfig(folds=folds, fold=fold)
        split, _ = assign(table, LABELS, Path("nowhere"), data, seed)
        groups = split_patients(table, split)
        assert_disjoint(groups)
        seen += groups["valid"]
        sizes.append(len(groups["valid"]))
    assert sorted(seen) == sorted(set(table["patient"]))  # each patient validates exactly once
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=50, deadline=None)
@given(table=tables(), seed=SEEDS, shuffle=SEEDS, fraction=st.floats(0.01, 1.0))
def test_row_order_does_not_choose_patients(
    table: pd.DataFrame, seed: int, shuffle: int, fraction: float
) -> None:
    shuffled = table.sample(frac=1, random_state=shuffle).reset_index(drop=True)
    taken = []
    for rows_table in (table, shuffled):
        manifest = manifest_of(rows_table)
        rows = select_rows(manifest, "train")
        chosen = subset_rows(manifest, rows, fraction, "patient", seed)
        images = subset_rows(manifest, rows, fraction, "image", seed)
        train, dev = dev_rows(manifest, rows, min(fraction, 0.49), seed)
        fold, _ = assign(rows_table, LABELS, Path("x"), DataConfig(folds=2), seed)
        column = rows_table["patient"].to_numpy()
        assert not set(column[train]) & set(column[dev])
        assert (
            np.isin(rows, chosen).sum() == np.isin(column, column[chosen]).sum()
        )  # whole patients
        taken.append(
            (
                set(column[chosen]),
                set(rows_table["path"].to_numpy()[images]),
                set(column[dev]),
                set(column[fold == "valid"]),
            )
        )
    assert taken[0] == taken[1]


@settings(max_examples=50, deadline=None)
@given(table=tables(), seed=SEEDS)
def test_larger_subsets_hold_smaller_ones(table: pd.DataFrame, seed: int) -> None:
    manifest = manifest_of(table)
    rows = select_rows(manifest, "train")
    for mode in ("patient", "image"):
        subsets = [
            set(subset_rows(manifest, rows, fraction, mode, seed).tolist())
            for fraction in (0.05, 0.3, 0.7, 1.0)
        ]
        for smaller, larger in itertools.pairwise(subsets):
            assert smaller <= larger
        assert len(subsets[0]) >= 1


@settings(max_examples=25, deadline=None)
@given(table=tables(), seed=SEEDS, salt=st.none() | st.text(min_size=1))
def test_splits_survive_their_files(table: pd.DataFrame, seed: int, salt: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        split, _ = assign(table, LABELS, Path("x"), DataConfig(folds=2), seed)
        patients = table["patient"].to_numpy(object)
        own, shared = Path(folder, "splits.csv"), Path(folder, "split.json")
        write_splits(own, patients, split)
        write_shareable_split(manifest_of(table.assign(split=split)), shared, salt)
        for path in (own, shared):
            np.testing.assert_array_equal(read_splits(path, patients)[0], split)


@settings(max_examples=50, deadline=None)
@given(table=tables(), changed=st.integers(0, 10**6))
def test_a_fingerprint_sees_every_change(table: pd.DataFrame, changed: int) -> None:
    manifest = manifest_of(table)
    row = changed % len(table)
    before = fingerprint(manifest)
    assert before == fingerprint(manifest_of(table.copy()))
    for column, value in (("split", "valid"), ("patient", "other"), ("Edema", 0.5), ("path", "y")):
        other = table.copy()
        other.loc[row, column] = value
        assert fingerprint(manifest_of(other)) != before
    view = table.copy()
    view.loc[row, "view"] = "PA"
    assert fingerprint(manifest_of(view)) == before
