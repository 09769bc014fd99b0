"""Where a dataset is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from pulmonet.data.sources import locate_dataset, remember_dataset
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
