"""The five lines that stand first."""

from __future__ import annotations

import json
from pathlib import Path

from report_factory import make_run
from report_reader import compare, sections_of, tables_of, words_of


def test_runs_on_the_same_rows_have_a_best_one(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", skill=3.0)
    compare(tmp_path, "a", "b")
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "The best run, b, reaches a mean AUROC" in summary
    assert "Not significantly different from b on these images: a." in summary
    assert "view, age and sex alone, without the image, 61." in summary
    table = tables_of(tmp_path)["Mean over the labels, best first"]
    assert [row[0].text for row in table.rows] == ["b", "a", "baseline (view, age, sex)"]


def test_a_best_run_is_called_better_only_where_that_is_significant(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", skill=3.0)
    better = "It is significantly better than a in macro AUROC."
    compare(tmp_path, "a", "b")
    assert better not in words_of(sections_of(tmp_path)["Summary"])
    compare(tmp_path, "a", "b", distinguished=True, difference=-0.2)
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert better in summary and "Not significantly different" not in summary
    compare(tmp_path, "a", "b", distinguished=True, difference=0.2)  # in another endpoint
    assert "ignificantly" not in words_of(sections_of(tmp_path)["Summary"])


def test_nothing_is_said_of_runs_that_the_best_one_was_not_compared_with(tmp_path: Path) -> None:
    for name, skill in (("r1", 3.0), ("r2", 1.4), ("r3", 0.5), ("r4", 0.4)):
        make_run(tmp_path, name, skill=skill)
    compare(tmp_path, "r1", "r2", distinguished=True, difference=0.3)
    compare(tmp_path, "r3", "r4")
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "It is significantly better than r2 in macro AUROC." in summary
    assert "Not significantly different" not in summary
    compare(tmp_path, "r1", "r2")
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "Not significantly different from r1 on these images: r2." in summary


def test_an_unfinished_run_is_named_and_not_counted(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    unfinished = make_run(tmp_path, "b", evaluated=False, logged=False)
    record = json.loads(unfinished.config_path.read_text())
    record["provenance"] |= {"best_epoch": None, "status": "interrupted"}
    unfinished.config_path.write_text(json.dumps(record))
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "A computer program (DenseNet-121, a neural network)" in summary
    assert "It reaches a mean AUROC" in summary
    assert "Not trained to the end of an epoch, and not counted: b." in summary


def test_runs_that_started_from_different_weights_are_told_apart(tmp_path: Path) -> None:
    for name, weights in (("a", "none"), ("b", "imagenet"), ("c", "none")):
        run_dir = make_run(tmp_path, name)
        record = json.loads(run_dir.config_path.read_text())
        record["config"]["model"]["weights"] = weights
        run_dir.config_path.write_text(json.dumps(record))
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "b started from a network that had seen everyday photographs (ImageNet)." in summary
    assert "a and c started from nothing: no earlier training." in summary


def test_a_run_beside_one_that_was_not_evaluated_was_not_tested_on_other_images(
    tmp_path: Path,
) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", evaluated=False)
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "a, the only run that was evaluated, reaches a mean AUROC" in summary
    assert "They started from" in summary


def test_without_an_evaluation_none_is_called_internal(tmp_path: Path) -> None:
    """And rows that only watched over training chose no model."""
    run_dir = make_run(tmp_path, evaluated=False)
    sections = sections_of(tmp_path)
    assert "on the rows that also chose the model" in words_of(sections["Summary"])
    limits = words_of(sections["Limitations"])
    assert "No evaluation with intervals" in limits and "Internal testing" not in limits
    record = json.loads(run_dir.config_path.read_text())
    record["config"]["select"]["checkpoint"] = "last"
    run_dir.config_path.write_text(json.dumps(record))
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "the last macro AUROC was" in summary and "that watched over it;" in summary


def test_what_is_not_so_of_all_runs_is_said_of_those_of_which_it_is(tmp_path: Path) -> None:
    """Data and labels without a positive, beside the run of which it is true."""
    for name, dataset, n_rows in (("a", "nih", 100), ("b", "nih", 120), ("c", "padchest", 70)):
        run_dir = make_run(tmp_path, name)
        record = json.loads(run_dir.config_path.read_text())
        facts = record["provenance"]["dataset"]
        facts |= {"name": dataset, "n_rows": {"train": n_rows}, "patients_known": False}
        if name == "c":
            facts["one_class"] = {"train": dict.fromkeys(("Edema", "Consolidation"), "no positive")}
        run_dir.config_path.write_text(json.dumps(record))
    summary = words_of(sections_of(tmp_path)["Summary"])
    assert "a and b: up to 120 X-rays from nih. c: 70 X-rays from padchest." in summary
    assert "They started from" in summary
    said = "c: nothing could be learned of Edema and Consolidation in training (no positive)."
    assert said in summary and summary.count("could be learned of") == 1
