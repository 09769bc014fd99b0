"""What the readers of all sources share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.data.sources.rows import (
    ROW_COLUMNS,
    column_or,
    label_columns,
    other_columns,
    parse_age,
    parse_view,
    source_rows,
    strip_root,
)
from pulmonet.errors import DataError

WHERE = Path("train.csv")


def test_rows_without_patients_are_their_own() -> None:
    paths = np.asarray(["a.jpg", "b.jpg"], object)
    labels = {"Edema": np.asarray([1, 0], np.float32)}
    rows = source_rows(paths, labels, split="test")
    table = rows.table
    assert not rows.patients_known and rows.labels == ("Edema",)
    assert list(table.columns) == [*ROW_COLUMNS, "Edema"]
    assert table["patient"].tolist() == table["study"].tolist() == ["a.jpg", "b.jpg"]
    assert table["split"].tolist() == ["test"] * 2 and table["age_years"].isna().all()
    known = source_rows(paths, {}, patient=np.asarray(["p", "q"], object))
    assert known.patients_known and known.table["study"].tolist() == ["p/a.jpg", "q/b.jpg"]


def test_one_of_two_columns_of_a_label_is_kept_and_the_other_named() -> None:
    raw = pd.DataFrame({"Effusion": ["1", ""], "Pleural Effusion": ["0", "0"], "Age": ["3", "4"]})
    problems: list[str] = []
    labels = label_columns(raw, ["Effusion", "Pleural Effusion"], WHERE, problems)
    np.testing.assert_array_equal(labels["Pleural Effusion"], [1, np.nan])
    assert problems == [
        "train.csv: column 'Pleural Effusion' is one of two for the label 'Pleural Effusion'; "
        "keep one"
    ]
    assert list(other_columns(raw, (), labels)) == ["Age"]


def test_wrong_label_values_are_named_with_their_lines() -> None:
    raw = pd.DataFrame({"Edema": ["1", "2", "yes", "-1", "x"], "sex": ["1"] * 5})
    problems: list[str] = []
    labels = label_columns(raw, ["Edema"], WHERE, problems)
    np.testing.assert_array_equal(labels["Edema"], [1, np.nan, 1, -1, np.nan])
    assert "2 wrong values in column 'Edema' (line 3: '2', line 6: 'x')" in problems[0]
    with pytest.raises(DataError, match="a label cannot be called 'sex'"):
        label_columns(raw, ["sex"], WHERE, problems)


def test_cells_of_a_column_that_may_not_be_there() -> None:
    raw = pd.DataFrame({"b": ["058Y", "011M"], "c": ["1", "2"]})
    np.testing.assert_allclose(column_or(raw, "b", parse_age, np.nan), [58, 11 / 12])
    assert column_or(raw, "z", str).tolist() == ["", ""]
    views = [parse_view(cell) for cell in ("ap", "AP_horizontal", "LL", "frontal", "COSTAL")]
    assert views == ["AP", "AP", "LATERAL", "FRONTAL", ""]


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        *(("60 years", 60), ("7 yrs.", 7), ("61yo", 61), (">89", 89), ("90+", 90), ("≥ 90 Y", 90)),
        *(("018M", 1.5), ("6 months", 0.5), ("5.9e1", 59), ("54,5", 54.5), ("0", 0)),
        *(("-3", np.nan), ("121", np.nan), ("411Y", np.nan), ("adult", np.nan), ("3-5", np.nan)),
        *(("", np.nan), ("Y", np.nan), ("nan", np.nan), ("1,234", np.nan), ("5 feet", np.nan)),
    ],
)
def test_ages_as_tables_write_them(cell: str, years: float) -> None:
    np.testing.assert_allclose(parse_age(cell), years, equal_nan=True)


def test_an_older_name_of_the_root_is_stripped(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    paths = np.asarray(["old-name/train/a.jpg", "old-name\\train\\b.jpg"], object)
    assert strip_root(paths, tmp_path).tolist() == ["train/a.jpg", "train/b.jpg"]


def test_one_way_to_write_a_path(tmp_path: Path) -> None:
    paths = np.asarray(["./a/b.jpg", "a//b.jpg", "a/./b.jpg", "a\\b.jpg"], object)
    assert strip_root(paths, tmp_path).tolist() == ["a/b.jpg"] * 4
