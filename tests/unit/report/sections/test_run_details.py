"""One run on one split."""

from __future__ import annotations

import json
from pathlib import Path

from pulmonet.report.render.blocks import Charts
from report_factory import draw_xray, make_run, png_bytes
from report_reader import sections_of, tables_of, texts_of


def test_groups_too_small_to_score_are_named_once(tmp_path: Path) -> None:
    make_run(tmp_path)
    table = tables_of(tmp_path)["Subgroups"]
    assert {row[0].text for row in table.rows} == {"sex: Female"}
    said = "Subgroups too small to score: sex: <b>Other</b> (all labels)."
    assert texts_of(tmp_path).count(said) == 1


def test_thresholds_that_were_cross_fitted_are_told_from_the_stored_one(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    (path,) = run_dir.path.glob("evaluation_*.json")
    shown = {}
    for estimates in ("threshold", "procedure"):
        document = json.loads(path.read_text())
        for item in document["runs"][0]["labels"].values():
            for point in item["operating_points"]:
                point |= {"estimates": estimates, "chosen_on": "other rows"}
        path.write_text(json.dumps(document))
        shown[estimates] = tables_of(tmp_path)
    stored = shown["threshold"]["Operating points: stored thresholds"]
    assert {"Threshold", "Sensitivity", "LR+"} <= {*stored.columns}
    assert stored.notes[0].startswith("Chosen on other rows: not on the rows that")
    tables = shown["procedure"]
    assert "Operating points: stored thresholds" not in tables
    rates = tables["Operating points: choosing a threshold"]
    assert "Threshold" not in rates.columns  # the numbers are not those of one
    assert "The numbers are those of this procedure" in rates.notes[-1]
    chosen = tables["Thresholds chosen on these rows"]
    assert "Sensitivity" not in chosen.columns and "Threshold" in chosen.columns


def test_study_level_ends_in_the_macro(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert tables_of(tmp_path)["Study level"].rows[-1][0].text == "macro"


def test_a_prevalence_of_one_label_leaves_the_others_blank(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)  # `evaluate --prevalence Edema=0.05`
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    (point,) = document["runs"][0]["labels"]["Edema"]["operating_points"]
    point |= {"deployment_prevalence": 0.05, "ppv_at_deployment": point["ppv"]}
    path.write_text(json.dumps(document))
    table = tables_of(tmp_path)["Operating points: choosing a threshold"]
    column = table.columns.index("Stated prevalence")
    shown = {row[0].text: row[column].text for row in table.rows}
    assert shown == {"Edema": "5.0 %", **dict.fromkeys(shown.keys() - {"Edema"}, "–")}


def test_conformal_thresholds_stand_beside_operating_points(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    names = list(document["runs"][0]["labels"])
    for label in names:
        document["runs"][0]["labels"][label]["conformal"] = None
    document["runs"][0]["labels"][names[0]]["conformal"] = {
        "rule_out": None, "rule_in": 0.625,
        "chosen_on": "d, split valid", "negative_coverage": 0.934, "undecided": 0.805,
    }  # fmt: skip
    path.write_text(json.dumps(document))
    tables = tables_of(tmp_path)
    found = tables["Ruled out, ruled in or undecided (conformal, 90 % coverage)"]
    (row,) = found.rows
    words = [cell.text for cell in row]
    assert words == [names[0], "0.625", "0.934", "0.805"]
    why = "nothing is ruled out, which 29 positive patients or more have to choose"
    assert found.notes[1] == f"{names[0]}: {why}."
    assert found.notes[0].startswith("Chosen on d, split valid. With 95 % confidence each, at")


def test_runs_whose_names_make_one_file_name_have_files_of_their_own(tmp_path: Path) -> None:
    """Pages, pictures and tables; and those of a run that is alone with its name keep theirs."""
    for name in ("m.1", "m-1", "m2.x"):
        run_dir = make_run(tmp_path, name)
        run_dir.figure_path("roc", "CheXpert-v1.0-small", "valid").write_bytes(
            png_bytes(draw_xray())
        )
    document = sections_of(tmp_path)
    pages = [section for title, section in document.items() if title.startswith("More about")]
    keys = {section.title.split()[2]: section.key for section in pages}
    assert keys["m2.x"] == "detail-m2-x-CheXpert-v1-0-small-valid"
    charts = [block for section in pages for block in section.blocks if isinstance(block, Charts)]
    names = [picture.name for chart in charts for picture in chart.pictures]
    curves = [document[run].key for run in keys]
    assert all(len({*some}) == 3 for some in (keys.values(), names, curves))
    assert "m2-x_roc_CheXpert-v1-0-small_valid.png" in names and "curves-m2-x" in curves
