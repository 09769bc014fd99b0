"""What the sections say of whole and of partial artifacts."""

from __future__ import annotations

from pathlib import Path

from pulmonet.report.blocks import Section, Table
from pulmonet.report.collect import collect
from pulmonet.report.context import Context
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.sections import build_document
from report_factory import make_run


def _tables(sections: tuple[Section, ...]) -> list[Table]:
    found = []
    for section in sections:
        found += [block for block in section.blocks if isinstance(block, Table)]
        found += _tables(section.children)
    return found


def _build(artifacts_dir: Path) -> dict[str, Table]:
    document = build_document(Context(collect(artifacts_dir), Identities(b"k" * 32)))
    return {table.caption: table for table in _tables(document.sections)}


def test_every_table_has_a_cell_for_every_column(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", seed=2, config={"optim": {"lr": 3e-4}})
    for caption, table in _build(tmp_path).items():
        assert table.rows, caption
        assert {len(row) for row in table.rows} == {len(table.columns)}, caption


def test_settings_are_split_into_shared_and_different(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", config={"optim": {"lr": 3e-4}, "seed": 7})
    tables = _build(tmp_path)
    assert tables["Settings in which the runs differ"].columns == ("Run", "Learning rate", "Seed")
    shared = [row[0].text for row in tables["Settings that all runs share"].rows]
    assert "Optimiser" in shared and "Seed" not in shared


def test_the_baseline_without_the_picture_stands_in_the_final_table(tmp_path: Path) -> None:
    make_run(tmp_path)
    last = _build(tmp_path)["Mean over the labels, best first"].rows[-1]
    assert last[0].text == "without the picture" and last[1].text.startswith("0.610 (0.560")


def test_runs_become_rows_when_they_are_many(tmp_path: Path) -> None:
    for number in range(5):
        make_run(tmp_path, f"run{number}", seed=number, explained=False, logged=False)
    assert _build(tmp_path)["AUROC per label"].columns[0] == "Run"


def test_study_level_and_prevalence_are_told(tmp_path: Path) -> None:
    make_run(tmp_path)
    tables = _build(tmp_path)
    assert tables["Study level"].rows[-1][0].text == "macro"
    assert tables["Positive images per label"].rows[0][1].text == "360 (16.1 %)"
    assert [row[0].text for row in tables["Rows and patients in each role"].rows] == [
        "training",
        "validation",
    ]


def test_the_final_table_serves_where_evaluations_are_gone(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    next(run_dir.path.glob("evaluation_*.json")).unlink()
    (tmp_path / "final_evaluation_results.csv").write_text("Model,Macro_AUROC\ndensenet121,0.8\n")
    table = _build(tmp_path)["final_evaluation_results.csv, as it is"]
    assert [cell.text for cell in table.rows[0]] == ["densenet121", "0.800"]
