"""`pulmonet evaluate`: its files, its table, its messages, its exit codes; the same bytes again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from evaluation_factory import LABELS, QUICK, digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.results import Evaluation
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from run_factory import make_named_runs, make_run

# --- saved predictions ----------------------------------------------------------------------


def test_predictions_give_every_file_and_the_same_bytes_again(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "mine.csv")
    artifacts = tmp_path / "artifacts"
    arguments = ("--predictions", str(path), "--labels", "Edema", "--figures", "png")
    assert evaluate(artifacts, *arguments) == 0
    written = digests(artifacts)
    assert set(written) == {
        "final_evaluation_results.csv",
        "final_evaluation_results.md",
        "model_comparison.png",
        "mine/calibration.json",
        "mine/evaluation_predictions_all.json",
        *(
            f"mine/{name}_predictions_all.png"
            for name in (
                *("roc", "precision_recall", "reliability", "decision"),
                *("score_histograms", "subgroups", "calibration_subgroups"),
            )
        ),
    }
    assert evaluate(artifacts, *arguments) == 0
    assert digests(artifacts) == written


def test_table_fits_eighty_columns_and_names_what_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_predictions(tmp_path / "mine.csv")
    assert evaluate(tmp_path / "artifacts", "--predictions", str(path)) == 0
    shown = capsys.readouterr()
    table = [line for line in shown.out.splitlines() if not line.startswith("Written")]
    assert max(len(line) for line in table) <= 80
    assert "mine on predictions, split all" in shown.out
    rows = ("Edema", "Pleural Effusion", "Macro (2 labels)", "baseline (view, age, sex;")
    for text in (*rows, "AUROC (95 %)"):
        assert text in shown.out
    assert "…" not in shown.out
    assert "what these rows decided before is not known here" in shown.err


def test_hand_made_csv_without_patients_needs_no_torch(tmp_path: Path) -> None:
    """A CSV of scores is enough, in a Python in which torch cannot be imported."""
    lines = ["Edema,Edema_score"]
    lines += [f"{row % 2},{(row % 2) * 0.3 + (row % 7) / 10}" for row in range(60)]
    (tmp_path / "theirs.csv").write_text("\n".join(lines) + "\n")
    blocker = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "timm"}:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocker())
from pulmonet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    arguments = ["evaluate", "--predictions", "theirs.csv", "--bootstrap", "100"]
    done = subprocess.run(
        [sys.executable, "-c", blocker, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    assert "patients unknown: images resampled" in done.stdout
    assert (tmp_path / "artifacts" / "theirs" / "evaluation_predictions_all.json").exists()


def test_json_is_one_valid_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [write_predictions(tmp_path / f"{name}.csv", seed=i) for i, name in enumerate("ab")]
    flags = [text for path in names for text in ("--predictions", str(path))]
    assert evaluate(tmp_path / "artifacts", *flags, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    evaluation = Evaluation.model_validate(document)
    assert [result.run for result in evaluation.runs] == ["a", "b"]
    first = document["runs"][0]
    assert set(first["labels"]) == set(LABELS)
    assert {"value", "low", "high"} <= set(first["labels"]["Edema"]["auroc"])
    assert {"auroc", "average_precision", "n_labels"} <= set(first["macro"])
    macro = [entry for entry in document["comparisons"] if entry["label"] is None]
    assert {entry["metric"] for entry in macro} == {"auroc", "average_precision"}
    assert {"a", "b", "difference", "low", "high", "p", "distinguished"} <= set(macro[0])


def test_quiet_json_is_the_document_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_predictions(tmp_path / "mine.csv", n=60)
    arguments = ["evaluate", "--artifacts-dir", str(tmp_path / "artifacts"), *QUICK, "--json"]
    arguments += ["--predictions", str(path)]
    assert main(["--quiet", *arguments]) == 0
    shown = capsys.readouterr()
    assert Evaluation.model_validate_json(shown.out).runs[0].run == "mine"
    assert shown.err == ""
    assert main(arguments) == 0
    assert "Macro (2 labels)" in capsys.readouterr().err


def test_comparison_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = []
    for name, strength, seed in (("good", 0.5, 0), ("alike", 0.5, 1), ("bad", 0.0, 2)):
        path = write_predictions(tmp_path / f"{name}.csv", strength=strength, seed=seed, n=300)
        flags += ["--predictions", str(path)]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    with (tmp_path / "artifacts" / "final_evaluation_results.csv").open() as file:
        letters = {row["Model"]: row["Group"] for row in csv.DictReader(file)}
    assert (letters["good"], letters["alike"], letters["bad"]) == ("a", "a", "b")
    assert letters["baseline (view, age, sex; cross-fitted)"] == ""
    assert "share a letter are not significantly different" in capsys.readouterr().err
    assert evaluate(tmp_path / "artifacts", *flags[:2]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "so the comparison with alike, bad stays" in said
    assert evaluate(tmp_path / "artifacts", *flags[:2], "--seed", "7") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "model_comparison.png no longer compare alike, bad, good" in said
    assert evaluate(tmp_path / "artifacts", *flags[:2], "--seed", "7") == 0
    assert "no longer compare" not in " ".join(capsys.readouterr().err.split())


def test_differences_are_shown_whether_told_apart_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = []
    for name, strength, seed in (("good", 0.5, 0), ("alike", 0.5, 1), ("bad", 0.0, 2)):
        path = write_predictions(tmp_path / f"{name}.csv", strength=strength, seed=seed, n=300)
        flags += ["--predictions", str(path)]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if " less " in line]
    assert len(lines) == 3
    (between_equals,) = [line for line in lines if line.endswith(", not significant")]
    assert set(between_equals.partition(":")[0].split(" less ")) == {"good", "alike"}
    assert all(": +0." in line for line in lines)  # the better one first


def test_one_class_in_one_run_says_what_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_predictions(tmp_path / "whole.csv")
    table = pd.read_csv(whole, dtype=str)
    table["Edema"] = "0"
    table.to_csv(tmp_path / "lacking.csv", index=False)
    flags = ["--predictions", str(whole), "--predictions", str(tmp_path / "lacking.csv")]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    shown = capsys.readouterr().err
    assert "Edema: one class only" in shown
    assert "compared on the labels that all runs share: Pleural Effusion" in shown
    assert "differences are of the labels that all share" in shown


def test_a_primary_label_that_differs_is_not_replaced_by_the_macro(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One target of Edema is another: what is left is said, or nothing where Edema was named."""
    paths = [write_predictions(tmp_path / f"{name}.csv", seed=i) for i, name in enumerate("ab")]
    table = pd.read_csv(paths[1], dtype=str)
    table.loc[0, "Edema"] = "1" if table.loc[0, "Edema"] == "0" else "0"
    table.to_csv(paths[1], index=False)
    flags = [word for path in paths for word in ("--predictions", str(path))]
    artifacts = tmp_path / "artifacts"
    assert evaluate(artifacts, *flags, "--primary", "Edema", "--margin", "0.9") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "is called Edema; not compared" in said
    assert "inferior" not in said
    path = artifacts / "a" / "evaluation_predictions_all.json"
    assert json.loads(path.read_text())["comparisons"] == []
    assert evaluate(artifacts, *flags) == 0
    expected = "macro AUROC of Pleural Effusion"
    said = " ".join(capsys.readouterr().err.split())
    assert f"share a letter are not significantly different in {expected} (" in said
    assert json.loads(path.read_text())["runs"][0]["primary"] == expected


def test_rare_labels_delete_nobody_elses_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve labels with one positive patient each; in no resample are they all there."""
    flags = []
    for seed, name in enumerate("ab"):
        table = pd.read_csv(write_predictions(tmp_path / f"{name}.csv", seed=seed), dtype=str)
        for number in range(12):
            table[f"Rare {number}"] = ["1" if row == number else "0" for row in range(len(table))]
            table[f"Rare {number}_score"] = table["Edema_score"]
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        flags += ["--predictions", str(tmp_path / f"{name}.csv")]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    shown = capsys.readouterr()
    assert "Macro (2 of 14 labels)" in shown.out
    assert "Rare 0: 1 positive patient, at least 5 are needed" in shown.err
    result = json.loads((tmp_path / "artifacts/a/evaluation_predictions_all.json").read_text())
    result, compared = result["runs"][0], result["comparisons"]
    assert None not in (result["macro"]["auroc"]["low"], result["labels"]["Edema"]["auroc"]["low"])
    assert result["labels"]["Rare 3"]["auroc"]["value"] is not None
    assert result["labels"]["Rare 3"]["auroc"]["low"] is None
    assert {entry["label"] for entry in compared} == {None, *LABELS}
    only_rare = [f"--labels={name}" for name in ("Rare 0", "Rare 1")]
    assert evaluate(tmp_path / "few", *flags, *only_rare) == 0
    expected = "not compared, no label has 5 positive and 5 negative patients"
    assert expected in " ".join(capsys.readouterr().err.split())


def test_patients_named_by_one_file_serve_the_comparison(tmp_path: Path) -> None:
    named = write_predictions(tmp_path / "named.csv")
    other = write_predictions(tmp_path / "other.csv", seed=3)
    without = tmp_path / "without.csv"
    pd.read_csv(other, dtype=str).drop(columns="patient").to_csv(without, index=False)
    found = []
    for second in (other, without):
        for order in ((named, second), (second, named)):
            artifacts = tmp_path / f"artifacts{len(found)}"
            flags = [word for path in order for word in ("--predictions", str(path))]
            assert evaluate(artifacts, *flags) == 0
            text = (artifacts / "named" / "evaluation_predictions_all.json").read_text()
            macro = next(entry for entry in json.loads(text)["comparisons"] if not entry["label"])
            found.append(macro["high"] - macro["low"])
    assert found == pytest.approx([found[0]] * 4)


def test_rows_in_another_order_compare(tmp_path: Path) -> None:
    first = write_predictions(tmp_path / "first.csv")
    lines = first.read_text().splitlines()
    second = tmp_path / "second.csv"
    second.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    flags = ["--predictions", str(first), "--predictions", str(second)]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    document = json.loads(
        (tmp_path / "artifacts" / "first" / "evaluation_predictions_all.json").read_text()
    )
    macro = [entry for entry in document["comparisons"] if entry["label"] is None]
    assert macro[0]["difference"] == 0
    assert macro[0]["p"] == 1


def test_options_reach_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_predictions(tmp_path / "mine.csv")
    flags = ["--labels", "pleural_effusion", "--threshold", "ppv=0.5"]
    flags += ["--prevalence", "0.3", "--prevalence", "effusion=0.02"]
    flags += ["--interval", "bca", "--calibrator", "temperature", "--seed", "7", "--json"]
    assert evaluate(tmp_path / "artifacts", "--predictions", str(path), *flags) == 0
    captured = capsys.readouterr()
    run = json.loads(captured.out)["runs"][0]
    assert list(run["labels"]) == ["Pleural Effusion"]
    assert run["bootstrap"]["method"] == "bca"
    assert run["bootstrap"]["seed"] == 7
    (point,) = run["labels"]["Pleural Effusion"]["operating_points"]
    assert point["criterion"] == "ppv=0.5"
    assert point["deployment_prevalence"] == 0.02
    assert point["ppv_at_deployment"]["value"] < point["ppv"]["value"]
    assert run["labels"]["Pleural Effusion"]["calibrated"]["calibrator"] == "temperature"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--bootstrap", "10"], 2, "--bootstrap 10: an interval needs 100 to 100,000"),
        (["--level", "patient"], 2, "--level patient: unknown; choose from image, study"),
        (["--level", "study"], 2, "these rows name no studies"),
        (["--labels", "Edem"], 2, "did you mean 'Edema'"),
        (["--threshold", "yuden"], 2, "did you mean 'youden'"),
        (["--prevalence", "Edema=3"], 2, "--prevalence Edema=3: not a fraction"),
        (["--prevalence", "Edma=0.1"], 2, "evaluated (did you mean 'Edema'?); choose from"),
        (["--subgroup", "race"], 2, "--subgroup race: no such column"),
        (["some-run"], 2, "--predictions: takes no runs beside it"),
    ],
)
def test_wrong_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, message: str
) -> None:
    path = write_predictions(tmp_path / "mine.csv", n=30)
    found = evaluate(tmp_path / "artifacts", "--predictions", str(path), *flags)
    assert (found, message in capsys.readouterr().err) == (code, True)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Edema,Edema_score\n1,3.5\n", "logits are refused"),
        ("Edema,Edema_score\n7,0.5\n", "expected 0, 1 or blank"),
        ("Edema\n1\n", "no pair of columns LABEL and LABEL_score"),
        ("Edema,Edema_score\n", "no rows"),
        ("", "cannot be read as CSV"),
    ],
)
def test_bad_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert evaluate(tmp_path / "artifacts", "--predictions", str(path)) == 4
    assert message in capsys.readouterr().err


def test_further_columns_as_others_write_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ages as DICOM has them, codes of a hospital, more views than groups."""
    path = write_predictions(tmp_path / "mine.csv")
    table = pd.read_csv(path, dtype=str).drop(columns="study")
    row = table.index.to_series()
    table["age_years"] = (30 + row % 50).map("{:03d}Y".format).mask(row < 2, "old")
    table["hospital"], table["view"] = 1000001 + row % 2, (row % 14).map("v{}".format)
    table.to_csv(path, index=False)
    flags = ("--predictions", str(path), "--subgroup", "hospital", "--json")
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    shown = capsys.readouterr()
    groups = {
        (one["column"], one["group"]): one["n_rows"]
        for one in json.loads(shown.out)["runs"][0]["subgroups"]
    }
    assert {name for name, _ in groups} == {"sex", "age", "hospital"}
    assert groups["hospital", "1000001"] == groups["hospital", "1000002"] == 60
    assert sum(n for (name, _), n in groups.items() if name == "age") == 118
    said = " ".join(shown.err.split())
    assert "no age in years, so unknown: old" in said
    assert "view has more than 12 different values: no subgroups by it." in said


def test_one_class_only_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "healthy.csv"
    path.write_text("Edema,Edema_score\n" + "0,0.25\n" * 30)
    assert evaluate(tmp_path / "artifacts", "--predictions", str(path)) == 0
    shown = capsys.readouterr()
    assert "Macro (0 of 1 labels)" in shown.out
    assert "Edema: one class only: no positive among 30 rows" in shown.err


def test_no_runs_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "artifacts") == 4
    assert "no such folder; train one with `pulmonet train`" in capsys.readouterr().err


def test_two_files_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_predictions(tmp_path / folder / "scores.csv", n=30)
        flags += ["--predictions", str(path)]
    assert evaluate(tmp_path / "artifacts", *flags) == 2
    assert (
        "would both be called 'scores'; name them: --predictions NAME=" in capsys.readouterr().err
    )


# --- runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `tiny` and two runs with random weights."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "tiny", n_train=40, n_valid=30)
    make_named_runs(folder / "artifacts", data, ("first", "second"))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def test_all_runs_are_evaluated_and_compared(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("Dataset: tiny (")
    assert shown.out.count("Dataset: tiny") == 1
    assert "Comparison" in shown.out
    assert "These rows were used for checkpoint selection" in shown.err
    for name in ("first", "second"):
        run_dir = RunDir(runs / name)
        predictions = Predictions.read(run_dir.predictions_path("tiny", "valid"))
        assert len(predictions.paths) == 30
        assert {"view", "sex", "age_years"} <= set(predictions.columns)
        calibration = read_calibration(run_dir.calibration_path)
        assert calibration is not None
        assert calibration.fitted_on == "tiny, split valid"
    with (runs / "final_evaluation_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["Model"] for row in rows} == {"first", "second", "baseline (view, age, sex)"}
    assert {row["Rows_Used_For"] for row in rows} == {"checkpoint selection", "nothing"}
    written = digests(runs)
    assert evaluate(runs) == 0
    assert digests(runs) == written


def test_saved_predictions_give_the_run_s_numbers(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "first", "--json") == 0
    of_run = json.loads(capsys.readouterr().out)["runs"][0]
    path = RunDir(runs / "first").predictions_path("tiny", "valid")
    assert evaluate(runs, "--predictions", str(path), "--json") == 0
    of_file = json.loads(capsys.readouterr().out)["runs"][0]
    assert of_file["labels"] == of_run["labels"]
    assert of_file["macro"] == of_run["macro"]


def test_some_labels_leave_the_calibration_of_the_others(runs: Path) -> None:
    assert evaluate(runs, "first") == 0
    before = RunDir(runs / "first").calibration_path.read_bytes()
    assert evaluate(runs, "first", "--labels", "Edema") == 0
    assert RunDir(runs / "first").calibration_path.read_bytes() == before


def test_contact_sheet_of_confident_errors(runs: Path) -> None:
    assert evaluate(runs, "first", "--labels", "Edema", "--figures", "png") == 0
    png = (runs / "first" / "worst_cases_tiny_valid.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert (runs / "model_comparison.png").exists()


def test_figures_become_the_files_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (
        write_predictions(tmp_path / f"{name}.csv", seed=seed) for seed, name in enumerate("ab")
    )
    artifacts = tmp_path / "artifacts"
    files = ("--predictions", str(a), "--predictions", str(b), "--labels", "Edema")
    assert evaluate(artifacts, *files, "--figures", "svg,png", "--figures", "pdf") == 0
    for stem in ("roc_predictions_all", "model_comparison", "a/reliability_predictions_all"):
        assert (artifacts / f"{stem}.svg").read_bytes().startswith(b"<?xml")
        assert (artifacts / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert (artifacts / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    assert evaluate(artifacts, *files, "--figures", "pdf") == 0
    kinds = {path.suffix for path in artifacts.rglob("*") if path.stem.startswith(("roc", "model"))}
    assert kinds == {".pdf"}, "those of the earlier call are gone"
    (artifacts / "model_comparison.svg").write_text("mine")
    capsys.readouterr()
    assert evaluate(artifacts, *files, "--figures", "svg") == 4
    assert "model_comparison.svg" in capsys.readouterr().err
    assert evaluate(artifacts, *files, "--figures", "tiff") == 2
    assert "tiff" in capsys.readouterr().err


def test_models_take_commas_and_splits(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(runs, "--models", "first,second", "--split", "train", "--batch_size", "7") == 0
    assert "These rows were used for training" in capsys.readouterr().err
    assert RunDir(runs / "second").predictions_path("tiny", "train").exists()


def test_stored_thresholds_of_valid_serve_another_split(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "first") == 0
    before = RunDir(runs / "first").calibration_path.read_bytes()
    capsys.readouterr()
    assert evaluate(runs, "first", "--split", "train", "--json") == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    point = run["labels"]["Edema"]["operating_points"][0]
    assert (point["chosen_on"], point["estimates"]) == ("tiny, split valid", "threshold")
    assert RunDir(runs / "first").calibration_path.read_bytes() == before


def test_damaged_run_is_named_and_the_others_go_on(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = RunDir(runs / "first").best_model_path
    weights.write_bytes(weights.read_bytes()[:-10])
    assert evaluate(runs) == 4
    shown = capsys.readouterr()
    assert "first/best_model.pth: its digest is not the one in run_config.json" in shown.err
    assert "second on tiny, split valid" in shown.out
    assert not RunDir(runs / "first").predictions_path("tiny", "valid").exists()
    assert evaluate(runs, "first") == 4


def test_predictions_never_touch_a_run_of_that_name(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_predictions(tmp_path / "first.csv", n=30)
    before = digests(runs)
    assert evaluate(runs, "--predictions", str(path)) == 4
    assert "which holds a run; rename the file" in capsys.readouterr().err
    assert digests(runs) == before


def test_unknown_run_has_a_near_miss(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(runs, "frist") == 4
    assert "did you mean 'first'" in capsys.readouterr().err


def test_external_dataset_aligns_labels(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_dataset(tmp_path / "elsewhere", n_train=4, n_valid=25, seed=5)
    lines = (other / "valid.csv").read_text().splitlines()
    (other / "valid.csv").write_text(
        "\n".join([lines[0].replace("Cardiomegaly", "Something"), *lines[1:]]) + "\n"
    )
    train = (other / "train.csv").read_text()
    (other / "train.csv").write_text(train.replace("Cardiomegaly", "Something", 1))
    assert evaluate(runs, "first", "--data-dir", str(other)) == 0
    shown = capsys.readouterr()
    assert "elsewhere has no column for Cardiomegaly: not scored" in shown.err
    assert "Macro (1 of 2 labels)" in shown.out
    assert "Another dataset than the one trained on" in shown.err


def test_columns_are_joined_for_subgroups(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"patient{number:05d}" for number in range(1, 71)]
    sites = tmp_path / "sites.csv"
    lines = [f"{name},{'north' if row % 2 else 'south'}" for row, name in enumerate(names)]
    sites.write_text("\n".join(["patient,site", *lines]))
    flags = ("--join", str(sites), "--subgroup", "site", "--json")
    assert evaluate(runs, "first", *flags) == 0
    shown = capsys.readouterr()
    assert '"south"' in shown.out


def test_other_splits_may_hold_rows_trained_on(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"patient{number:05d}" for number in range(1, 71)]
    splits = tmp_path / "splits.csv"
    lines = [f"{name},{'train' if row % 2 else 'valid'}" for row, name in enumerate(names)]
    splits.write_text("\n".join(["patient,split", *lines]))
    assert evaluate(runs, "first", "--splits", str(splits), "--json") == 0
    assert "perhaps training (--splits are not the run's)" in capsys.readouterr().out
    calibration = RunDir(runs / "first").calibration_path
    assert not calibration.exists(), "its thresholds could be reported on rows that chose them"
    assert evaluate(runs, "first") == 0
    before = calibration.read_bytes()
    assert evaluate(runs, "first", "--splits", str(splits)) == 0
    assert calibration.read_bytes() == before


def test_a_split_that_may_hold_patients_learned_from_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without valid.csv one is drawn from the training patients, whom the run knows."""
    data = write_dataset(tmp_path / "tiny", n_train=40, n_valid=30)
    runs = tmp_path / "artifacts"
    settings = ("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32")
    where = ("--data-dir", str(data), "--out-dir", str(runs), "--name", "first", "--epochs", "1")
    assert main(["train", *settings, *where]) == 0
    kept = (data / "valid.csv").rename(tmp_path / "valid.csv")
    for command in (
        ("evaluate", "first", "--artifacts-dir", str(runs)),
        ("explain", "--run", "first", "--artifacts-dir", str(runs)),
    ):
        assert main([*command, "--data-dir", str(data)]) == 3
        assert "so valid may hold patients that it was trained on" in capsys.readouterr().err
    assert not list(tmp_path.rglob("splits.csv"))
    kept.rename(data / "valid.csv")
    assert evaluate(runs, "first", "--data-dir", str(data)) == 0


def test_missing_split_and_data(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(runs, "first", "--split", "test") == 3
    assert "no row in split 'test'; it has train, valid" in capsys.readouterr().err
    assert evaluate(runs, "first", "--data-dir", str(runs / "nowhere")) == 3
    assert evaluate(runs, "first", "--blank", "ones") == 2


@pytest.mark.parametrize("trained_with", ["zeros", "ignore"])
@pytest.mark.parametrize("blank", ["zeros", "ignore"])
def test_shift_counts_blanks_alike_on_both_sides(
    tmp_path: Path, blank: str, trained_with: str
) -> None:
    data = write_dataset(tmp_path / "tiny")
    for name in ("train.csv", "valid.csv"):
        table = pd.read_csv(data / name, dtype=str, keep_default_na=False)
        table.loc[table.index % 3 == 0, "Edema"] = ""
        table.to_csv(data / name, index=False)
    table = pd.read_csv(data / "train.csv")["Edema"]
    expected = (table == 1).sum() / (len(table) if blank == "zeros" else table.notna().sum())
    artifacts = tmp_path / "artifacts"
    settings = {"targets": {"blank": trained_with}}
    make_run(artifacts, model="timm:test_resnet", image_size=32, data_dir=data, settings=settings)
    assert evaluate(artifacts, "--split", "train", "--blank", blank) == 0
    (path,) = artifacts.glob("*/evaluation_*_train.json")
    shift = json.loads(path.read_text())["runs"][0]["shift"]
    assert shift["prevalence"]["Edema"] == pytest.approx([expected, expected])
    assert shift["notes"] == []


def test_an_unfinished_run_is_called_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny")
    make_named_runs(tmp_path / "artifacts", data, ["first"])
    path = RunDir(tmp_path / "artifacts" / "first").config_path
    record = json.loads(path.read_text())
    record["provenance"] |= {"status": "interrupted", "checkpoint_sha256": None}
    path.write_text(json.dumps(record))
    assert evaluate(tmp_path / "artifacts", "first") == 0
    said = "".join(capsys.readouterr())
    assert "Training is unfinished (interrupted): these are its best weights so far." in said
    assert "digest" not in said
