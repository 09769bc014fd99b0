"""Which rows and labels, and the files that say so."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.data.splits.choose import annotated_in_split, resolve_labels, select_rows, subset_rows
from pulmonet.errors import ConfigError, DataError
from small_dataset import random_manifest


def test_labels_by_any_spelling() -> None:
    manifest = random_manifest()
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
        resolve_labels(random_manifest(), labels)


def test_rows_by_split_and_view() -> None:
    manifest = random_manifest(4)
    np.testing.assert_array_equal(select_rows(manifest, "train"), np.arange(8))
    np.testing.assert_array_equal(select_rows(manifest, "train", "frontal"), [0, 2, 4, 6])
    np.testing.assert_array_equal(select_rows(manifest, "train", "lateral"), [1, 3, 5, 7])
    with pytest.raises(DataError, match="no row in split 'valid'; it has train"):
        select_rows(manifest, "valid")
    with pytest.raises(DataError, match="no PA view"):
        select_rows(manifest, "train", "PA")


def test_subsets_take_their_share() -> None:
    manifest = random_manifest(200)
    rows = select_rows(manifest, "train")
    chosen = subset_rows(manifest, rows, 0.1, "patient", 1)
    assert len(chosen) == 40  # 20 patients with both images
    assert len(subset_rows(manifest, rows, 0.1, "image", 1)) == 40
    other = subset_rows(manifest, rows, 0.1, "patient", 2)
    assert set(chosen) != set(other)


def test_a_label_is_annotated_per_split() -> None:
    manifest = random_manifest(6)
    manifest.table.loc[:, ["split"]] = ["train"] * 6 + ["valid"] * 6
    first, second = manifest.labels[:2]
    manifest.table.loc[6:, first] = np.nan
    manifest.table.loc[6:10, second] = np.nan
    of = annotated_in_split
    assert of(manifest, "valid", [first, second], np.arange(6, 9)).tolist() == [[False, True]] * 3
    assert of(manifest, "train", [second, first], np.arange(2)).tolist() == [[True, True]] * 2


def test_at_least_one_patient_or_image_is_taken() -> None:
    manifest = random_manifest(10)
    rows = select_rows(manifest, "train")
    assert len(subset_rows(manifest, rows, 0.001, "patient", 0)) == 2  # both images of one
    assert len(subset_rows(manifest, rows, 0.001, "image", 0)) == 1


def test_views_are_those_of_the_split() -> None:
    manifest = random_manifest(4)
    manifest.table.loc[4:, "split"] = "valid"
    np.testing.assert_array_equal(select_rows(manifest, "train", "frontal"), [0, 2])
    np.testing.assert_array_equal(select_rows(manifest, "valid", "frontal"), [4, 6])
    np.testing.assert_array_equal(select_rows(manifest, None, "lateral"), [1, 3, 5, 7])
