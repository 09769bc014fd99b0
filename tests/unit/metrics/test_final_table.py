"""The table of all runs: columns, replaced rows, names of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.errors import ArtifactError
from pulmonet.metrics import final_table
from pulmonet.metrics.results import Baseline, RunResult


def test_original_columns_come_first(result: RunResult) -> None:
    table = final_table.table_of([result])
    labels = final_table.labels_in(table, list(result.labels))
    header = final_table.to_csv(table, labels).splitlines()[0].split(",")
    assert header[:9] == [
        *("Model", "AUROC_Edema", "AUROC_Rare", "AUROC_Absent"),
        *("PR_AUC_Edema", "PR_AUC_Rare", "PR_AUC_Absent", "Macro_AUROC", "Macro_PR_AUC"),
    ]
    assert header[9:11] == ["Dataset", "Split"]
    assert "Macro_AUROC_low" in header


def test_rows_are_replaced_not_doubled(result: RunResult, tmp_path: Path) -> None:
    other = result.model_copy(update={"run": "other", "group_letters": "a"})
    path = tmp_path / "final_evaluation_results.csv"
    nothing = final_table.read_table(path)
    rows = final_table.merge(nothing, final_table.table_of([result, other]))
    path.write_text(final_table.to_csv(rows, ["Edema", "Rare", "Absent"]))
    again = final_table.merge(final_table.read_table(path), final_table.table_of([result]))
    assert list(again["Model"]) == ["net", "other"]
    fresh = result.model_copy(update={"group_letters": "a"})
    again = final_table.merge(final_table.read_table(path), final_table.table_of([fresh]))
    letters = dict(zip(again["Model"], again["Group"], strict=True))
    assert letters == {"net": "a", "other": ""}  # stale
    both = final_table.merge(nothing, final_table.table_of([fresh, other]))
    alone = final_table.merge(both, final_table.table_of([result]))
    assert set(alone["Group"]) == {""}, "one of a comparison was evaluated alone"
    text = final_table.to_markdown(again, ["Edema", "Rare", "Absent"])
    assert "| Model | Macro AUROC | Macro PR\\_AUC | Group | Rows | Patients | Used for |" in text
    assert "| Label | net | other |" in text and "| Edema | 0." in text
    assert max(map(len, text.splitlines()[:-1])) < 160, "narrow enough to read"


def test_a_baseline_of_other_images_does_not_stand_beside_rows_that_stay(
    result: RunResult, tmp_path: Path
) -> None:
    """Other images under the same names, and as many: the new baseline is not that of all."""
    macro = result.macro
    base = Baseline(features=["view"], fitted_on="training rows", labels={}, macro=macro)
    auroc = macro.auroc.model_copy(update={"value": 0.1234})
    other = base.model_copy(update={"macro": macro.model_copy(update={"auroc": auroc})})
    nothing = final_table.read_table(tmp_path / "none.csv")

    def row(run: str, baseline: Baseline) -> RunResult:
        return result.model_copy(update={"run": run, "baseline": baseline})

    first = final_table.merge(nothing, final_table.table_of([row("a", base)]))
    for run, found, n in (("b", base, 1), ("b", other, 0), ("a", other, 1)):
        table = final_table.merge(first, final_table.table_of([row(run, found)]))
        assert table["Model"].str.startswith("baseline").sum() == n, (run, n)


def test_hostile_names_stay_text(result: RunResult) -> None:
    hostile = result.model_copy(update={"run": "a|b<script>"})
    text = final_table.to_markdown(final_table.table_of([hostile]), ["Edema"])
    assert "a\\|b\\<script\\>" in text


def test_foreign_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "final_evaluation_results.csv"
    assert final_table.read_table(path).empty
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ArtifactError, match="not a results table"):
        final_table.read_table(path)


def test_every_number_of_the_markdown_has_its_interval(result: RunResult) -> None:
    text = final_table.to_markdown(final_table.table_of([result]), ["Edema", "Rare"])
    shown = [entry.auroc for entry in result.labels.values()]
    for found in (*shown, result.macro.auroc, result.macro.average_precision):
        if found.value is not None:
            assert f"| {found.value:.3f} ({found.low:.3f}–{found.high:.3f}) |" in text
