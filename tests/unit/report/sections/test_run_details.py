"""One run on one split."""

from __future__ import annotations

import json
from pathlib import Path

from report_factory import make_run
from report_reader import tables_of


def test_groups_too_small_to_score_are_named_once(tmp_path: Path) -> None:
    make_run(tmp_path)
    table = tables_of(tmp_path)["Subgroups"]
    assert {row[0].text for row in table.rows} == {"sex: Female"}
    assert table.notes[-1] == "Too small to score: sex: <b>Other</b> (all labels)."


def test_thresholds_that_were_cross_fitted_are_told_from_the_stored_one(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    for item in document["runs"][0]["labels"].values():
        for point in item["operating_points"]:
            point |= {"estimates": "procedure", "chosen_on": "these rows, cross-fitted"}
    path.write_text(json.dumps(document))
    table = tables_of(tmp_path)["Operating points"]
    assert "Threshold chosen on" not in table.columns
    assert table.notes[0] == "Chosen on these rows, cross-fitted."
    assert "the numbers are those of this procedure" in table.notes[-1]


def test_study_level_ends_in_the_macro(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert tables_of(tmp_path)["Study level"].rows[-1][0].text == "macro"
