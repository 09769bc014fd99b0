"""From a run to its rows: whose splits and columns hold, and what is read twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.config.load import parse_config
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError
from pulmonet.flows.dataset import Datasets
from pulmonet.flows.options import RowOptions
from pulmonet.run.record import DatasetFacts, Provenance, RunRecord


def make_record(root: Path, **data: object) -> RunRecord:
    provenance = Provenance(
        status="finished", pulmonet="0.1.0", versions={}, device="cpu", start="2026-01-01T00:00:00"
    )
    config = parse_config({"data": {"data_dir": str(root), **data}})
    return RunRecord(schema=1, config=config, provenance=provenance)


def test_a_runs_own_folds_and_views_decide_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "tiny")
    datasets = Datasets()
    found = [
        datasets.rows_of(make_record(root, folds=2, fold=fold), RowOptions()) for fold in (0, 1)
    ]
    assert not any(rows.external or rows.other_splits for rows in found)
    assert [rows.split for rows in found] == ["valid", "valid"]
    dealt = np.concatenate([rows.rows for rows in found])
    assert sorted(dealt.tolist()) == list(range(len(found[0].manifest)))
    assert capsys.readouterr().out.count("Dataset: tiny") == 1

    frontal = datasets.rows_of(make_record(root, views="frontal"), RowOptions(split="train"))
    assert frontal.rows.tolist() == select_rows(frontal.manifest, "train", "frontal").tolist()
    lateral = datasets.rows_of(make_record(root, views="frontal"), RowOptions(views="all"))
    assert len(lateral.rows) >= len(
        datasets.rows_of(make_record(root, views="frontal"), RowOptions()).rows
    )
    assert datasets.rows_of(make_record(root), RowOptions()).manifest is lateral.manifest


def test_a_list_decides_in_place_of_the_folds_of_a_run(tmp_path: Path) -> None:
    root, path = write_dataset(tmp_path / "tiny"), tmp_path / "who.csv"
    ids = sorted({*Datasets().rows_of(make_record(root), RowOptions()).manifest.table["patient"]})
    said = ["valid", "test", *["train"] * (len(ids) - 2)]
    path.write_text("patient,split\n" + "".join(map("{},{}\n".format, ids, said)))
    options = RowOptions(columns={"splits": str(path)})
    found = Datasets().rows_of(make_record(root, folds=2), options)
    assert {*found.manifest.table["patient"].iloc[found.rows]} == {ids[0]}


def test_another_dataset_keeps_its_own_splits(tmp_path: Path) -> None:
    root, other = write_dataset(tmp_path / "tiny"), write_dataset(tmp_path / "other")
    record = make_record(root, folds=2)
    datasets = Datasets()
    found = datasets.rows_of(record, RowOptions(data_dir=str(other)))
    assert found.external
    assert found.manifest.root == other
    assert len(found.rows) == (found.manifest.table["split"] == "valid").sum()
    assert len(found.rows) < len(found.manifest) // 2  # no folds
    seen = datasets.training_rows_of(record, found)
    assert (seen.manifest.root, seen.split) == (root, "train")


def test_other_patients_in_a_split_than_when_trained_are_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "tiny")
    record = make_record(root)
    facts = DatasetFacts(
        name="tiny",
        source="chexpert",
        root=str(root),
        fingerprint="0",
        split_patients={"train": "another", "valid": "another"},
        n_rows={},
        n_patients={},
    )
    seen = record.provenance.model_copy(update={"dataset": facts})
    record = record.model_copy(update={"provenance": seen})
    with pytest.raises(DataError, match="say with --splits who is held out"):
        Datasets().rows_of(record, RowOptions())
    assert Datasets().rows_of(record, RowOptions(split="train")).split == "train"
