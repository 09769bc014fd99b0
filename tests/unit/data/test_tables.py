"""Columns of a CSV of one's own, joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.data.sources import read_manifest
from pulmonet.data.tables import join_columns
from pulmonet.errors import DataError


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "train.csv").write_text(
        "Path,Edema\ntrain/patient1/a.jpg,1\ntrain/patient1/b.jpg,0\ntrain/patient2/c.jpg,\n"
    )
    return read_manifest(tmp_path).table


@pytest.mark.parametrize(
    "content, race, score",
    [
        ("patient,race,score\npatient1,X,1.5\npatient9,Y,2\n", ["X", "X", ""], [1.5, 1.5, np.nan]),
        ("subject_id,race,score\n1,X,\n2,Y,3\n", ["X", "X", "Y"], [np.nan, np.nan, 3]),
        ("Path,race,score\ntrain/patient1/b.jpg,X,7\n", ["", "X", ""], [np.nan, 7, np.nan]),
        ("Path,race,score\nset/train/patient1/b.jpg,X,7\n", ["", "X", ""], [np.nan, 7, np.nan]),
        ("image,race,score\nc.jpg,Z,1\na.jpg,X,2\n", ["X", "", "Z"], [2, np.nan, 1]),
        ("image_id,race,score\nc,Z,1\n", ["", "", "Z"], [np.nan, np.nan, 1]),
    ],
)
def test_columns_join_by_patient_or_image(
    tmp_path: Path, table: pd.DataFrame, content: str, race: list[str], score: list[float]
) -> None:
    (tmp_path / "more.csv").write_text(content)
    joined, note = join_columns(table, tmp_path / "more.csv")
    assert joined["race"].tolist() == race
    np.testing.assert_array_equal(joined["score"].to_numpy(float), score)
    assert note.startswith("join: more.csv gave race, score to")


@pytest.mark.parametrize(
    "content, message",
    [
        ("race\nX\n", "no column 'patient' or 'Path' to join by"),
        ("patient,race\npatient1,X\npatient1,Y\n", "1 value of 'patient' more than once"),
        ("patient,race\nsomebody,X\n", "there it is 'somebody', in the dataset 'patient1'"),
        ("patient,sex\npatient1,X\n", "column 'sex' is in the dataset already"),
    ],
)
def test_joins_that_cannot_be(
    tmp_path: Path, table: pd.DataFrame, content: str, message: str
) -> None:
    (tmp_path / "more.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        join_columns(table, tmp_path / "more.csv")
