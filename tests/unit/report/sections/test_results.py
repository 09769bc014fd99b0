"""Runs side by side, on the same rows only."""

from __future__ import annotations

import json
from pathlib import Path

from pulmonet.metrics.tables import Table
from pulmonet.report.render.blocks import ThresholdExplorer, Viewer
from report_factory import make_run
from report_reader import change_result, compare, sections_of, tables_of, words_of

ROWS = "CheXpert-v1.0-small, valid split"


def test_the_baseline_without_the_picture_stands_in_the_final_table(tmp_path: Path) -> None:
    make_run(tmp_path)
    last = tables_of(tmp_path)["Mean over the labels"].rows[-1]
    assert last[0].text == "baseline (view, age, sex)" and last[1].text.startswith("0.610 (0.560")


def test_runs_on_other_rows_are_never_ranked(tmp_path: Path) -> None:
    """Folds: the same dataset and split by name, other patients in it."""
    make_run(tmp_path, "fold0")
    change_result(make_run(tmp_path, "fold1", skill=3.0), dataset_fingerprint="e" * 64)
    sections = sections_of(tmp_path)
    summary = words_of(sections["Summary"])
    assert "fold1 (each run was tested on other images, so that none can be called best)" in summary
    assert "ot significantly different" not in summary
    for name in ("fold0", "fold1"):
        section = sections[f"CheXpert-v1.0-small, valid split: {name}"]
        assert "cannot be compared" in words_of(section)
        table = next(block for block in section.blocks if isinstance(block, Table))
        assert [row[0].text for row in table.rows] == [name, "baseline (view, age, sex)"]


def test_cohorts_of_one_size_are_told_apart_by_their_images(tmp_path: Path) -> None:
    """Another 90 images of 60 patients, under the same names of dataset and split."""
    make_run(tmp_path, "a")
    run_dir = make_run(tmp_path, "b")
    (path,) = run_dir.path.glob("predictions_*.csv")
    whole = "Mean over the labels, best first"
    assert len(tables_of(tmp_path)[whole].rows) == 3
    text = path.read_text()
    path.unlink()
    assert len(tables_of(tmp_path)[whole].rows) == 3  # nothing says that its rows are others
    path.write_text(text.replace("/patient", "/other"))
    assert "cannot be compared" in words_of(sections_of(tmp_path)[f"{ROWS}: b"])
    assert "tested on the same images" not in words_of(sections_of(tmp_path)["Summary"])


def test_cohorts_of_files_are_told_apart_by_their_labels(tmp_path: Path) -> None:
    """Of these no predictions are kept; what was compared has the same rows all the same."""
    for name in ("a", "b"):
        (path,) = make_run(tmp_path, name).path.glob("predictions_*.csv")
        path.unlink()
    (path,) = (tmp_path / "b").glob("evaluation_*.json")
    document = json.loads(path.read_text())
    document["runs"][0]["labels"]["Edema"]["positives"] += 1
    path.write_text(json.dumps(document))
    assert f"{ROWS}: b" in sections_of(tmp_path)
    compare(tmp_path, "a", "b")
    assert ROWS in sections_of(tmp_path)


def test_letters_of_runs_that_were_compared_apart_do_not_meet(tmp_path: Path) -> None:
    """Two calls on the same rows: an a of the one is no a of the other."""
    for a, b in (("r1", "r2"), ("r3", "r4")):
        for name in (a, b):
            make_run(tmp_path, name)
        compare(tmp_path, a, b)
        table = tables_of(tmp_path)["Mean over the labels, best first"]
        letters = {row[table.columns.index("Group")].text for row in table.rows[:-1]}
        assert letters == ({"a"} if a == "r1" else {"–"})
        assert ("share a letter" in " ".join(table.notes)) == (a == "r1")


def test_runs_become_rows_when_they_are_many(tmp_path: Path) -> None:
    for number in range(5):
        make_run(tmp_path, f"run{number}", seed=number, logged=False)
    assert tables_of(tmp_path)["AUROC per label"].columns[0] == "Run"


def test_the_final_table_serves_where_evaluations_are_gone(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    next(run_dir.path.glob("evaluation_*.json")).unlink()
    (tmp_path / "final_evaluation_results.csv").write_text("Model,Macro_AUROC\ndensenet121,0.8\n")
    table = tables_of(tmp_path)["final_evaluation_results.csv, as it is"]
    assert [cell.text for cell in table.rows[0]] == ["densenet121", "0.800"]


def test_explorer_and_viewer_open_with_the_best_run(tmp_path: Path) -> None:
    """By name it comes last, and fewer of its images were explained."""
    make_run(tmp_path, "a", skill=0.5, n_explained=2)
    make_run(tmp_path, "z", skill=3.0, n_explained=1)
    sections = sections_of(tmp_path)
    (explorer,) = sections["Choose a threshold"].blocks
    assert isinstance(explorer, ThresholdExplorer)
    assert list(dict.fromkeys(one.run for one in explorer.steps)) == ["z", "a"]
    (viewer,) = sections["Heat maps"].blocks
    assert isinstance(viewer, Viewer)
    assert [one.run for one in viewer.exhibits] == ["z", "a", "a"]
