"""Rows, patients and positives of each role."""

from __future__ import annotations

import json
from pathlib import Path

from report_factory import make_run
from report_reader import sections_of, tables_of, words_of


def test_rows_and_positives_of_each_role_are_told(tmp_path: Path) -> None:
    make_run(tmp_path)
    tables = tables_of(tmp_path)
    assert tables["Positive images per label"].rows[0][1].text == "360 (16.1 %)"
    assert [row[0].text for row in tables["Rows and patients in each role"].rows] == [
        "training",
        "validation split",
    ]


def test_a_damaged_summary_is_left_out(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    assert "Who is in each split of the source" in tables_of(tmp_path)
    record = json.loads(run_dir.config_path.read_text())
    record["provenance"]["dataset"]["summary"]["splits"]["train"]["images"] = 10**400
    run_dir.config_path.write_text(json.dumps(record))
    section = sections_of(tmp_path)["CheXpert-v1.0-small in detail"]
    assert "Age, sex and view per split are not in the artifacts." in words_of(section)
