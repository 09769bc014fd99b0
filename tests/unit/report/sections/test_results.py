"""Runs side by side, on the same rows only."""

from __future__ import annotations

import json
from pathlib import Path

from pulmonet.metrics.tables import Table
from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.render.blocks import Choice, Picture, ThresholdExplorer, Viewer
from pulmonet.report.sections.curves import curves_section
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


def test_each_run_s_labels_have_their_remarks(tmp_path: Path) -> None:
    """Also those that the first run has not; and means of other labels do not compare."""
    make_run(tmp_path, "a", labels=("Edema", "Mass"))
    run_dir = make_run(tmp_path, "b", labels=("Edema", "Hernia"))
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    few = {"value": 0.9, "low": None, "high": None, "reason": "2 positive patients"}
    document["runs"][0]["labels"]["Hernia"]["auroc"] = few
    document["runs"][0]["bootstrap"]["n_resamples"] = 200
    path.write_text(json.dumps(document))
    tables = tables_of(tmp_path)
    rows = {row[0].text: row[-1].text for row in tables["Rows behind the numbers"].rows}
    assert set(rows) == {"Edema", "Mass", "Hernia"} and rows["Hernia"] == few["reason"]
    assert "Hernia: 2 positive patients." in tables["AUROC per label"].notes
    notes = tables["Mean over the labels, best first"].notes
    how = "In brackets: 95 % intervals from {} resamples of patients (seed 42, logit), of {}."
    assert {how.format("1,000", "a"), how.format("200", "b")} <= {*notes}
    assert any(note.startswith("Not all runs average the same labels") for note in notes)
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "Not all runs average the same findings" in summary
    make_run(tmp_path, "b", labels=("Edema", "Mass"))
    notes = tables_of(tmp_path)["Mean over the labels, best first"].notes
    assert not any(note.startswith("Not all runs") for note in notes)
    assert "Not all runs" not in words_of(sections_of(tmp_path)["Summary"])


def test_without_an_interval_none_is_spoken_of(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    (path,) = run_dir.path.glob("evaluation_*.json")
    result = json.loads(path.read_text())["runs"][0]
    for item in (result["macro"], *result["labels"].values()):
        for measure in ("auroc", "average_precision"):
            item[measure] |= {"low": None, "high": None}
    change_result(run_dir, macro=result["macro"], labels=result["labels"])
    table = tables_of(tmp_path)["Mean over the labels"]
    assert not any("In brackets" in note for note in table.notes)
    summary = sections_of(tmp_path)["Summary"]
    (picture,) = (block for block in summary.blocks if isinstance(block, Picture))
    assert picture.alt == "AUROC of densenet121 on CheXpert-v1.0-small, valid"
    assert "Mean over the labels, with" not in render_model_card(
        Context(collect(tmp_path), Identities(b"k" * 32))
    )


def test_differences_say_which_labels_the_macro_has(tmp_path: Path) -> None:
    run_dirs = [make_run(tmp_path, name) for name in "ab"]
    compare(tmp_path, "a", "b")
    for run_dir in run_dirs:
        change_result(run_dir, primary="macro AUROC of Edema, Cardiomegaly")
    tables = tables_of(tmp_path)
    which = "macro AUROC of Edema, Cardiomegaly"
    assert f"Differences in {which}: the row's run less the column's" in tables
    notes = " ".join(tables["Differences on the same rows and the same resamples"].notes)
    assert f"{which}, the primary endpoint" in notes


def test_pooled_folds_are_counted_as_a_whole(tmp_path: Path) -> None:
    """The title of a finding's curves has the rows of the pooled one, whatever comes first."""
    runs = [make_run(tmp_path, name, n_rows=n) for name, n in (("fold", 40), ("whole", 90))]
    results = [collect(tmp_path).runs[place].results[0] for place, _ in enumerate(runs)]
    whole = results[1].labels["Edema"]
    section = curves_section("key", "rows", results)
    (choice,) = (block for block in section.blocks if isinstance(block, Choice))
    titles = {chart.title for _, charts in choice.charts for chart in charts}
    assert f"ROC, {whole.positives} of {whole.n} positive" in titles
    assert not any(" of 40 positive" in title for title in titles)


def test_runs_become_rows_when_they_are_many(tmp_path: Path) -> None:
    for number in range(5):
        make_run(tmp_path, f"run{number}", seed=number, logged=False)
    assert tables_of(tmp_path)["AUROC per label"].columns[0] == "Run"


def test_without_evaluations_the_final_table_is_no_stand_in(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    next(run_dir.path.glob("evaluation_*.json")).unlink()
    (tmp_path / "final_evaluation_results.csv").write_text("Model,Macro_AUROC\ndensenet121,0.8\n")
    assert "0.800" not in str(sections_of(tmp_path)["Results"])
    assert "pulmonet evaluate" in words_of(sections_of(tmp_path)["Results"])


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
