"""Several collections through `prepare`, `train` and `evaluate`: the same bits in any order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from chexpert_factory import write_dataset
from evaluation_factory import QUICK
from pulmonet.cli.main import main
from pulmonet.files.read import sha256_of
from pulmonet.metrics.results import RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from report_reader import whole_report

TINY = ["--model", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--epochs", "1"]
TINY += ["--batch-size", "8", "--num-workers", "0", "--labels", "Cardiomegaly,Edema"]


def train(out: Path, name: str, *arguments: object) -> RunDir:
    command = ["train", "--out-dir", str(out), "--name", name, *TINY, *map(str, arguments)]
    assert main(command) == 0
    return RunDir(out / name)


def evaluate(out: Path, *arguments: object) -> int:
    command = ["evaluate", "--artifacts-dir", str(out), *QUICK, "--num-workers", "0"]
    return main([*command, *map(str, arguments)])


def copy_run(work: Path, tmp_path: Path, name: str) -> Path:
    """A folder with one run as it was trained."""
    results = shutil.ignore_patterns("evaluation_*", "predictions_*", "calibration.json", ".*")
    shutil.copytree(work / "runs" / name, tmp_path / "runs" / name, ignore=results)
    return tmp_path / "runs"


def result_of(run_dir: RunDir, dataset: str, split: str = "valid") -> RunResult:
    return read_evaluation(run_dir.evaluation_path(dataset, split)).runs[0]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections of which the south lacks Edema, and runs of both and of the north alone."""
    folder = tmp_path_factory.mktemp("work")
    write_dataset(folder / "north", n_train=20, n_valid=16, seed=1)
    south = write_dataset(folder / "south", n_train=12, n_valid=14, seed=2)
    for split in ("train", "valid"):
        table = pd.read_csv(south / f"{split}.csv")
        table["Edema"] = np.nan
        table.to_csv(south / f"{split}.csv", index=False)
    both = ("--data-dir", folder / "south", "--data-dir", folder / "north")
    train(folder / "runs", "both", *both)
    train(folder / "runs", "north", "--data-dir", folder / "north")
    return folder


def test_the_order_on_the_command_line_changes_no_bit(work: Path, tmp_path: Path) -> None:
    again = train(tmp_path, "both", "--data-dir", f"{work / 'north'},{work / 'south'}")
    before = RunDir(work / "runs" / "both")
    assert sha256_of(again.best_model_path) == sha256_of(before.best_model_path)
    facts, first = (one.read_record().provenance.dataset for one in (again, before))
    assert facts is not None
    assert first is not None
    assert (facts.name, facts.fingerprint) == (first.name, first.fingerprint)
    assert facts.name == "north+south"
    assert facts.positives["train"]["Edema"] == pd.read_csv(work / "north/train.csv")["Edema"].sum()


def test_one_alone_has_the_bits_of_a_list_of_one(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text(f'[[collection]]\ndata_dir = "{work / "north"}"\n')
    listed = train(tmp_path, "listed", "--data-dir", path)
    alone = RunDir(work / "runs" / "north")
    assert sha256_of(listed.best_model_path) == sha256_of(alone.best_model_path)


def test_a_list_of_one_is_named_in_the_next_line(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder alone would lose what the list says of it."""
    path = tmp_path / "one.toml"
    path.write_text(f'[[collection]]\nname = "other"\ndata_dir = "{work / "north"}"\n')
    assert main(["prepare", "--data-dir", str(path), "--image-size", "32"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.partition("Next: ")[2].startswith(f"pulmonet train --data-dir {path}")


def test_a_row_for_each_collection_and_one_for_all(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(work / "runs", "both", "north", "--data-dir", f"{work}/north,{work}/south") == 0
    runs = {name: RunDir(work / "runs" / name) for name in ("both", "north")}
    for run_dir in runs.values():
        whole, north, south = (
            result_of(run_dir, name) for name in ("north+south", "north", "south")
        )
        assert (whole.n_rows, north.n_rows, south.n_rows) == (30, 16, 14)
        assert south.missing["Edema"]["not annotated"] == 14
        assert whole.labels["Edema"].n == north.labels["Edema"].n == 16
        assert whole.labels["Cardiomegaly"].n == 30
        assert {one.group for one in whole.subgroups if one.column == "collection"} == {
            *("north", "south")
        }
        assert whole.trained_on == run_dir.read_record().provenance.dataset.name
    # the one trained on both was selected on all of these, the other on the north alone
    assert not any(result_of(runs["both"], name).external for name in ("north", "south"))
    assert not result_of(runs["north"], "north").external
    assert result_of(runs["north"], "south").external
    # on the very same rows, of each and of all, they are compared
    for name in ("north+south", "north", "south"):
        found = read_evaluation(runs["both"].evaluation_path(name, "valid")).comparisons
        if name == "south":  # too few patients
            assert not found
            continue
        assert {(one.a, one.b) for one in found} == {("both", "north")}
        of_macro = [one for one in found if one.label is None and one.metric == "auroc"]
        scores = {
            key: roc_auc_score(rows["Cardiomegaly"], rows["Cardiomegaly_score"])
            for key, run_dir in runs.items()
            for rows in [pd.read_csv(run_dir.predictions_path(name, "valid"))]
        }
        (own,) = [one for one in found if (one.label, one.metric) == ("Cardiomegaly", "auroc")]
        assert own.difference == pytest.approx(scores["both"] - scores["north"], abs=1e-6)
        assert [one.rows for one in of_macro] == [f"{name} valid"] * len(of_macro)
        assert len(of_macro) == 1, "differences on other rows stand in the files of these"
    rows = pd.read_csv(runs["both"].predictions_path("north", "valid"))
    alone = pd.read_csv(runs["north"].predictions_path("north", "valid"))
    assert rows["Path"].tolist() == alone["Path"].tolist()
    assert rows["patient"].tolist() == alone["patient"].tolist()
    said = capsys.readouterr()
    assert "north+south" in said.out
    assert "baseline (collection)" in said.out
    assert all(f") on {name} valid" in said.err for name in ("north", "north+south"))
    assert "both, north on south valid: not compared, no label has" in said.err


def test_what_the_collection_alone_tells(work: Path, tmp_path: Path) -> None:
    """As good as the shares of positives in each collection of these rows; of one, a half."""
    out = copy_run(work, tmp_path, "both")
    assert evaluate(out, "both") == 0
    found = result_of(RunDir(out / "both"), "north+south").collection_baseline
    assert found is not None
    assert found.features == ["collection"]
    rows = pd.read_csv(RunDir(out / "both").predictions_path("north+south", "valid"))
    scores = rows.groupby("collection")["Cardiomegaly"].transform("mean")
    expected = roc_auc_score(rows["Cardiomegaly"], scores)
    assert expected >= 0.5
    assert found.labels["Cardiomegaly"].auroc.value == pytest.approx(expected)
    assert found.labels["Edema"].auroc.value == 0.5  # annotated in the north alone
    assert result_of(RunDir(out / "both"), "north").collection_baseline is None


def test_the_report_says_what_was_trained_and_tested_on(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(copy_run(work, tmp_path / "a", "both") / "both", out / "both")
    shutil.copytree(copy_run(work, tmp_path / "b", "north") / "north", out / "north")
    assert evaluate(out, "both", "north", "--data-dir", f"{work}/north,{work}/south") == 0
    assert main(["report", "--artifacts-dir", str(out)]) == 0
    said = whole_report(out)
    lines = said.partition("Trained on, tested on")[2].splitlines()
    cells = [tuple(cell.strip() for cell in line.split("|")[1:6]) for line in lines]
    expected = {("both", one): "internal" for one in ("north", "north+south", "south")}
    expected |= {("north", "north"): "internal", ("north", "south"): "external"}
    for (run, tested), testing in expected.items():
        trained = "north" if run == "north" else "north+south"
        assert (trained, run, tested, "valid", testing) in cells
    assert "The baseline (collection) sees no image" in said
    assert main(["explain", "--artifacts-dir", str(out), "--run", "both", "--no-maps"]) == 0


def test_a_part_of_its_own_data_is_no_other_dataset(work: Path, tmp_path: Path) -> None:
    out = copy_run(work, tmp_path, "both")
    assert evaluate(out, "both", "--data-dir", work / "south") == 0
    found = result_of(RunDir(out / "both"), "south")
    assert found.same_data_as_training
    assert not found.external
    assert found.rows_used_for == ["checkpoint selection"]
    assert not RunDir(out / "both").calibration_path.exists()


def test_rows_trained_on_are_known_in_other_company(work: Path, tmp_path: Path) -> None:
    """The north's training patients, among others: seen, though a number alone says nothing."""
    out = copy_run(work, tmp_path, "north")
    places = f"{work}/north,{work}/south"
    assert evaluate(out, "north", "--data-dir", places, "--split", "train") == 0
    run_dir = RunDir(out / "north")
    whole = result_of(run_dir, "north+south", "train")
    assert whole.seen is not None
    assert (whole.seen.trained_on, whole.seen.of_their_patients) == (20, 0)
    assert whole.seen.of_the_same_ids == 12
    assert not whole.external
    assert result_of(run_dir, "south", "train").external


def test_a_number_said_to_mean_the_same_patient_was_seen(work: Path, tmp_path: Path) -> None:
    out = copy_run(work, tmp_path, "north")
    places = ("--data-dir", f"{work}/north,{work}/south", "--same-patients", "north,south")
    assert evaluate(out, "north", *places, "--split", "train") == 0
    rows = {
        name: pd.read_csv(work / name / "train.csv")["Path"].str.extract("(patient[0-9]+)")[0]
        for name in ("north", "south")
    }
    held = pd.read_csv(work / "north" / "valid.csv")["Path"].str.extract("(patient[0-9]+)")[0]
    n_known = int((rows["south"].isin(rows["north"]) & ~rows["south"].isin(held)).sum())
    found = result_of(RunDir(out / "north"), "south", "train")
    assert found.seen is not None
    assert (found.seen.trained_on, found.seen.of_the_same_ids) == (0, 0)
    assert found.seen.of_their_patients == n_known > 0
    assert not found.external


def test_verify_scores_each_collection_again(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_run(work, tmp_path, "both")
    assert evaluate(out, "both") == 0
    capsys.readouterr()
    assert main(["evaluate", "--artifacts-dir", str(out), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "verified (weights and 3 evaluations; 60 images scored again)" in said


def test_folds_are_pooled_over_all_and_for_each(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = f"{work}/north,{work}/south"
    for fold in range(2):
        train(tmp_path, f"f{fold}", "--data-dir", places, "--folds", 2, "--fold", fold)
    capsys.readouterr()
    assert evaluate(tmp_path, "f0", "f1", "--pool-folds", "pooled") == 0
    assert capsys.readouterr().out.count("that may be wrong") == 1, "those of all together"
    pooled = RunDir(tmp_path / "pooled")
    sizes = {"north+south": 62, "north": 36, "south": 26}
    for name, n_rows in sizes.items():
        assert result_of(pooled, name, "out-of-fold").n_rows == n_rows
    rows = pd.read_csv(pooled.predictions_path("north", "out-of-fold"))
    table = [pd.read_csv(work / "north" / f"{split}.csv")["Path"] for split in ("train", "valid")]
    assert sorted(rows["Path"]) == sorted(pd.concat(table).str.removeprefix("north/"))


def test_its_own_data_are_its_own_in_any_folder_and_company(work: Path, tmp_path: Path) -> None:
    """A copy under another name, alone and beside the rest: internal, and as it was called."""
    out = copy_run(work, tmp_path, "both")
    moved = shutil.copytree(work / "north", tmp_path / "moved")
    assert evaluate(out, "both", "--data-dir", moved) == 0
    run_dir = RunDir(out / "both")
    alone = result_of(run_dir, "north")
    assert (alone.external, alone.same_data_as_training, alone.n_rows) == (False, True, 16)
    assert not run_dir.calibration_path.exists(), "thresholds are those of all together"
    assert evaluate(out, "both", "--data-dir", moved, "--data-dir", work / "south") == 0
    for name, n_rows in (("north+south", 30), ("north", 16), ("south", 14)):
        found = result_of(run_dir, name)
        assert (found.external, found.same_data_as_training, found.n_rows) == (False, True, n_rows)


def test_thresholds_are_not_reported_on_rows_that_chose_them(work: Path, tmp_path: Path) -> None:
    """Those of the north, on the north beside the south: fitted anew, and the north's stay."""
    out = tmp_path / "runs"
    given = ("--data-dir", work / "north", "--select-on", "dev")
    run_dir = train(out, "dev", *given)
    assert evaluate(out, "dev") == 0
    before = run_dir.calibration_path.read_bytes()
    assert evaluate(out, "dev", "--data-dir", f"{work}/north,{work}/south") == 0
    assert run_dir.calibration_path.read_bytes() == before
    for name in ("north+south", "north"):
        found = result_of(run_dir, name)
        assert not found.external
        points = found.labels["Cardiomegaly"].operating_points
        assert points
        assert all("cross-fitted" in str(point.chosen_on) for point in points)
    south = result_of(run_dir, "south")
    assert south.external
    chosen = [point.chosen_on for point in south.labels["Cardiomegaly"].operating_points]
    assert "north, split valid" in chosen


def test_what_a_run_was_told_of_its_data_is_not_asked_of_other(work: Path, tmp_path: Path) -> None:
    """Shared patients, and splits of one collection, do not hinder an evaluation elsewhere."""
    out = tmp_path / "runs"
    both = ("--data-dir", f"{work}/north,{work}/south", "--same-patients", "north,south")
    shared = train(out, "shared", *both)
    third = write_dataset(tmp_path / "third", n_train=4, n_valid=6, seed=3)
    for place in (work / "north", third):
        assert evaluate(out, "shared", "--data-dir", place) == 0
    assert not result_of(shared, "north").external
    assert result_of(shared, "third").external
    path = tmp_path / "list.toml"
    places = (work / "north", third)
    path.write_text("".join(f'[[collection]]\ndata_dir = "{one}"\n' for one in places))
    split = tmp_path / "splits.csv"
    rows = pd.concat([pd.read_csv(work / "north" / f"{one}.csv") for one in ("train", "valid")])
    patients = rows["Path"].str.extract("(patient[0-9]+)")[0].drop_duplicates()
    held = ["valid" if place % 3 == 0 else "train" for place in range(len(patients))]
    pd.DataFrame({"patient": patients, "split": held}).to_csv(split, index=False)
    own = train(out, "own", "--data-dir", work / "north", "--splits", split)
    assert evaluate(out, "own", "--data-dir", path) == 0
    assert result_of(own, "north+third").n_rows == 22


def test_a_collection_that_is_gone_is_named(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one can be evaluated alone, and a split that one has no rows of is said."""
    for name in ("north", "south"):
        shutil.copytree(work / name, tmp_path / name)
    train(tmp_path / "runs", "both", "--data-dir", f"{tmp_path}/north,{tmp_path}/south")
    shutil.move(tmp_path / "south", tmp_path / "away")
    capsys.readouterr()
    assert evaluate(tmp_path / "runs", "both") == 3
    said = capsys.readouterr().err
    assert f"{tmp_path / 'south'}: the dataset that the run was trained on is not there" in said
    assert evaluate(tmp_path / "runs", "both", "--data-dir", tmp_path / "north") == 0
    assert not result_of(RunDir(tmp_path / "runs" / "both"), "north").external
    (tmp_path / "away" / "valid.csv").rename(tmp_path / "away" / "test.csv")
    (tmp_path / "away" / "train.csv").unlink()
    places = f"{tmp_path}/north,{tmp_path}/away"
    assert evaluate(tmp_path / "runs", "both", "--data-dir", places) == 0
    assert "away: has no rows of split valid" in capsys.readouterr().err


def test_resuming_needs_the_same_rows(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_run(work, tmp_path, "both")
    command = ["train", "--out-dir", str(out), "--name", "both", "--resume"]
    assert main([*command, "--epochs", "2"]) == 0
    assert len(RunDir(out / "both").read_log()) == 2
    capsys.readouterr()
    places = ["--data-dir", f"{work}/north,{work}/south", "--same-patients", "north,south"]
    assert main([*command, "--epochs", "3", *places]) == 4
    assert "is not the one that the run began with" in capsys.readouterr().err


def test_collections_are_drawn_evenly(work: Path, tmp_path: Path) -> None:
    places = ("--data-dir", work / "north", "--data-dir", work / "south")
    run_dir = train(tmp_path, "even", *places, "--set", "data.balance=collections")
    plain = RunDir(work / "runs" / "both")
    assert sha256_of(run_dir.best_model_path) != sha256_of(plain.best_model_path)
    alone = train(
        *(tmp_path, "alone", "--data-dir", work / "north"), *("--set", "data.balance=collections")
    )
    north = RunDir(work / "runs" / "north")
    assert sha256_of(alone.best_model_path) == sha256_of(north.best_model_path)


def test_prepare_finds_the_same_pixels_in_two_collections(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both roots lie in the home folder, which the report does not name."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    shutil.copytree(work / "south", tmp_path / "south")
    shutil.copytree(work / "south", tmp_path / "copy")
    places = ["--data-dir", str(tmp_path / "south"), "--data-dir", str(tmp_path / "copy")]
    out = ["--out-dir", str(tmp_path / "out"), "--image-size", "32", "--labels", "Cardiomegaly"]
    assert main(["prepare", *places, *out]) == 0
    said = capsys.readouterr()
    report = json.loads((tmp_path / "out" / "prepare_report.json").read_text())
    assert len(report["same_pixels"]) == 26
    assert report["dataset"]["name"] == "copy+south"
    assert report["dataset"]["root"] == "~/copy + ~/south"
    assert "26 images with the same pixels" in said.err
    assert "--data-dir ~/south --data-dir ~/copy" in said.out
