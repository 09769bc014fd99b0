"""Settings, shared and different."""

from __future__ import annotations

from pathlib import Path

from pulmonet.report.render.blocks import Charts
from report_factory import make_run
from report_reader import change_result, sections_of, tables_of, words_of


def test_settings_are_split_into_shared_and_different(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", config={"optim": {"lr": 3e-4}, "seed": 7})
    tables = tables_of(tmp_path)
    differing = tables["Settings in which the runs differ"]
    assert differing.columns == ("Setting", "a", "b")
    assert [[cell.text for cell in row] for row in differing.rows] == [
        ["Learning rate", "0.0001, constant", "0.0003, constant"],
        ["Seed", "42", "7"],
    ]
    shared = [row[0].text for row in tables["What was set"].rows]
    assert "Optimiser" in shared and "Seed" not in shared


def test_the_last_epoch_was_chosen_by_nothing(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, config={"select": {"checkpoint": "last"}})
    change_result(run_dir, rows_used_for=[])
    rows = {row[0].text: row[1].text for row in tables_of(tmp_path)["What was set"].rows}
    assert rows["Checkpoint"] == "the last epoch"
    words = words_of(sections_of(tmp_path)["CheXpert-v1.0-small, valid split"])
    assert words.startswith("These rows chose neither a checkpoint nor a calibration.")
    (curves,) = sections_of(tmp_path)["densenet121"].blocks[:1]
    assert isinstance(curves, Charts) and curves.caption == "The last epoch was kept."
