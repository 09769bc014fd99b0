"""`train --resume`: what is refused and stays as it was, and how a longer run is repeated."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

import pulmonet.training.checkpoint
import pulmonet.training.loop
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from report_reader import whole_report

SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32"),
    *("--batch-size", "8", "--no-amp", "--name", "run"),
)
COSINE = ("--set", "optim.schedule=cosine")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "tiny")


def train(data: Path, *extra: str) -> int:
    out_dir = data.parent / "artifacts"
    return main(["train", "--data-dir", str(data), "--out-dir", str(out_dir), *SMALL, *extra])


def run_of(data: Path, name: str = "run") -> RunDir:
    return RunDir(data.parent / "artifacts" / name)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(data: Path, capsys: pytest.CaptureFixture[str], *extra: str) -> str:
    """What is said where a resumed run ends with code 4 and all of it stays as it was."""
    before = contents(run_of(data).path)
    capsys.readouterr()
    assert train(data, *extra, "--resume") == 4
    assert contents(run_of(data).path) == before
    return capsys.readouterr().err


def rates(run_dir: RunDir) -> list[float]:
    with run_dir.log_path.open() as file:
        return [float(row["lr"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("status", ["finished", "interrupted", "running"])
def test_results_without_their_checkpoint_are_not_started_over(
    data: Path, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    assert train(data, "--epochs", "2") == 0
    run_dir = run_of(data)
    run_dir.last_checkpoint_path.unlink()
    text = run_dir.config_path.read_text().replace('"finished"', f'"{status}"')
    run_dir.config_path.write_text(text)
    said = refused(data, capsys, "--epochs", "4")
    assert "last_checkpoint.pth: missing, so the run cannot go on" in said


@pytest.mark.parametrize("more", [("--epochs", "2"), ()])
def test_weights_of_another_run_do_not_become_this_ones(
    data: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    """Nor where nothing is left to train: then the run was called finished already."""
    assert train(data) == 0
    content = torch.load(run_of(data).best_model_path, weights_only=True)
    torch.save(content | {"fc.bias": content["fc.bias"] + 1}, run_of(data).best_model_path)
    said = refused(data, capsys, *more)
    assert "its digest is not the one in run_config.json" in said


def test_a_first_stage_without_its_checkpoint_is_not_started_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny", uncertain=0.3)
    policy = ("--uncertain-policy", "self-trained", "--set", "targets.self_trained_epochs=1")
    assert train(data, *policy) == 0
    (run_of(data).path / "stage1" / "last_checkpoint.pth").unlink()
    said = refused(data, capsys, *policy, "--epochs", "2")
    assert "stage1/last_checkpoint.pth: missing" in said


def test_a_finished_run_is_whole_without_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny", uncertain=0.3)
    drop = ("--set", "runtime.keep_checkpoint=false", "--uncertain-policy", "self-trained")
    assert train(data, *drop) == 0
    assert "the run takes no more epochs" in capsys.readouterr().err
    run_dir, artifacts = run_of(data), str(data.parent / "artifacts")
    assert not list(run_dir.path.rglob("last_checkpoint.pth"))
    assert train(data, "--uncertain-policy", "self-trained", "--resume") == 0
    assert "finished already after 1 epoch" in capsys.readouterr().out
    flags = ["--artifacts-dir", artifacts]
    assert main(["evaluate", "run", *flags, "--bootstrap", "100", "--no-figures"]) == 0
    assert main(["explain", "--run", "run", *flags, "--rows", "1"]) == 0
    assert main(["report", *flags]) == 0


def test_a_run_killed_at_its_first_best_model_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is there before all else, so results without one were never alone."""
    assert train(data, "--name", "calm", "--epochs", "2") == 0

    def kill(path: Path, _: object) -> None:
        path.write_bytes(b"")
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(pulmonet.training.checkpoint, "save_weights", kill)
        assert train(data, "--epochs", "2") == 137
    assert train(data, "--epochs", "2", "--resume") == 0
    calm = run_of(data, "calm").best_model_path.read_bytes()
    assert run_of(data).best_model_path.read_bytes() == calm


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_longer_run_is_said_recorded_and_repeated(
    data: Path, capsys: pytest.CaptureFixture[str], schedule: str
) -> None:
    how = ("--set", f"optim.schedule={schedule}", "--set", "select.checkpoint=last")
    assert train(data, *how, "--epochs", "2") == 0
    assert train(data, *how, "--epochs", "4", "--resume") == 0
    said = capsys.readouterr().out
    assert f"the {schedule} schedule, planned over 2 epochs, goes on over 4: the learning" in said
    assert train(data, "--name", "run", "--epochs", "5", "--resume", *how) == 0
    run_dir = run_of(data)
    record = run_dir.read_record()
    assert record.config.optim.prolonged == ((2, 2), (4, 4))
    assert "prolonged to 5 epochs: the learning rate of the first 2" in record.provenance.notes[0]
    found = rates(run_dir)
    assert found[1] == pytest.approx(1e-6) and found[2] > 1e-5 and found[3] == found[1]
    config = ["--config", str(run_dir.config_path), "--out-dir", str(run_dir.path.parent)]
    assert main(["train", *config, "--name", "again"]) == 0
    again = run_of(data, "again")
    assert again.best_model_path.read_bytes() == run_dir.best_model_path.read_bytes()
    assert rates(again) == found
    artifacts = str(run_dir.path.parent)
    assert main(["report", "--artifacts-dir", artifacts]) == 0
    assert "prolonged to 5 epochs" in whole_report(run_dir.path.parent)


def test_a_run_that_goes_on_elsewhere_is_not_called_the_same(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record had machine, precision and versions of the last session as if of all."""
    assert train(data, "--epochs", "1") == 0
    path = run_of(data).config_path
    record = json.loads(path.read_text())
    threads, version = record["provenance"]["threads"], record["provenance"]["versions"]["torch"]
    record["provenance"] |= {"threads": 99, "precision": "fp16"}
    record["provenance"]["versions"] |= {"torch": "0.1", "python": "3.0"}
    path.write_text(json.dumps(record))
    capsys.readouterr()
    assert train(data, "--epochs", "2", "--resume") == 0
    note = run_of(data).read_record().provenance.notes[0]
    assert note.startswith(f"resumed elsewhere (threads 99 -> {threads}, precision fp16 -> ")
    assert note.endswith(f", torch 0.1 -> {version}): not bit-identical to a run without a break")
    assert note in " ".join(capsys.readouterr().err.split())
    assert train(data, "--epochs", "3", "--resume") == 0
    assert [one for one in run_of(data).read_record().provenance.notes if "resumed" in one] == [
        note
    ]
    assert note not in " ".join(capsys.readouterr().err.split())


def test_a_run_that_was_stopped_and_got_more_epochs_is_repeated(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch that had begun ends under its own plan."""
    with monkeypatch.context() as patch:
        patch.setattr(pulmonet.training.loop, "stop_requested", lambda *given: given[2:] == (2, 3))
        assert train(data, *COSINE, "--epochs", "3") == 143
    assert train(data, *COSINE, "--epochs", "6", "--resume") == 0
    record = run_of(data).read_record()
    assert record.config.optim.prolonged == ((3, 1),)
    config = ["--config", str(run_of(data).config_path)]
    out_dir = str(data.parent / "artifacts")
    assert main(["train", *config, "--out-dir", out_dir, "--name", "again"]) == 0
    again = run_of(data, "again")
    assert again.best_model_path.read_bytes() == run_of(data).best_model_path.read_bytes()
    assert rates(again) == rates(run_of(data))


def test_a_plan_that_does_not_lead_to_the_epochs_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, "--epochs", "2", "--set", "optim.prolonged=[[2, 2]]") == 2
    assert "set optim.prolonged=[]" in capsys.readouterr().err


def test_other_data_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data) == 0
    table = pd.read_csv(data / "train.csv")
    table.loc[4, "Edema"] = 1 - table.loc[4, "Edema"]
    table.to_csv(data / "train.csv", index=False)
    os.utime(data / "valid.csv", (0, 0))
    before = contents(run_of(data).path)
    assert train(data, "--epochs", "2", "--resume") == 4
    said = capsys.readouterr().err
    assert "is not the one that the run began with: train positives of Edema " in said
    assert "changed since it began: train.csv; put it back as it was" in said
    table.iloc[:20].to_csv(data / "train.csv", index=False)
    assert train(data, "--epochs", "2", "--resume") == 4
    assert "train images 24 -> 20" in capsys.readouterr().err
    assert contents(run_of(data).path) == before


def test_a_newer_versions_record_is_named_as_such(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data) == 0
    path = run_of(data).config_path
    written = json.loads(path.read_text())
    newer = written | {"schema": 2, "more": {}}
    newer["provenance"] = written["provenance"] | {"pulmonet": "7.1.0"}
    path.write_text(json.dumps(newer))
    for arguments in (["evaluate", "run"], ["explain", "--run", "run"]):
        assert main([*arguments, "--artifacts-dir", str(data.parent / "artifacts")]) == 4
        said = capsys.readouterr().err
        assert "run_config.json: written by a newer pulmonet 7.1.0, and this is" in said
        assert "train again" not in said
    newer |= {"schema": 1, "config": written["config"] | {"taste": 1}}
    path.write_text(json.dumps(newer))
    assert train(data, "--resume", "--epochs", "2") == 4
    assert "newer pulmonet 7.1.0" in capsys.readouterr().err
    assert main(["train", "--config", str(path), "--name", "again"]) == 2
    assert "newer pulmonet 7.1.0" in capsys.readouterr().err


def test_no_memory_for_a_checkpoint_ends_the_run_as_failed(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(*_: object) -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    with monkeypatch.context() as patch:
        patch.setattr(pulmonet.training.checkpoint.torch, "save", save)
        assert train(data) == 5
    assert "out of memory" in capsys.readouterr().err
    assert run_of(data).read_record().provenance.status == "failed"
    assert train(data, "--resume") == 0


def test_a_recipe_goes_on_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the recipe leaves open is the run's, its dataset too, wherever one stands."""
    write_dataset(tmp_path / "here" / "tiny")
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        '[model]\nname = "timm:test_resnet"\nweights = "none"\n[optim]\nbatch_size = 8\n'
    )
    common = ("train", "--config", str(recipe), "--name", "run", "--out-dir", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path / "here")
    begun = ("--data-dir", "tiny", "--image-size", "32", "--seed", "3", "--epochs", "1")
    assert main([*common, *begun]) == 0
    monkeypatch.chdir(tmp_path)
    assert main([*common, "--epochs", "2", "--resume"]) == 0
    record = RunDir(tmp_path / "out" / "run").read_record()
    assert record.provenance.status == "finished"
    config = record.config
    assert (config.seed, config.data.image_size, config.optim.epochs) == (3, 32, 2)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of `head`, here in tmp_path: trained on top of run `w`'s encoder."""
    data = write_dataset(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    line = ["train", "--data-dir", str(data), *SMALL]
    assert main([*line, "--name", "w"]) == 0
    line += ["--weights", "w", "--set", "model.freeze=encoder", "--set", "select.checkpoint=last"]
    monkeypatch.setattr("sys.argv", ["pulmonet", "first"])
    assert main([*line, "--name", "head"]) == 0
    monkeypatch.setattr("sys.argv", ["pulmonet", "second"])
    return line


def test_a_run_with_a_start_goes_on_and_is_repeated_from_another_folder(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*started, "--name", "longer", "--epochs", "2"]) == 0
    monkeypatch.chdir(tmp_path / "artifacts")
    again = ["train", "--config", "head/run_config.json", "--name", "again", "--out-dir", "."]
    assert main(again) == 0
    go_on = ["train", "--resume", "--name", "head", "--epochs"]
    one, same, two = (Path(name, "best_model.pth") for name in ("head", "again", "longer"))
    assert same.read_bytes() == one.read_bytes()
    assert main([*go_on, "2", "--out-dir", "."]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert RunDir(Path("head")).read_record().provenance.command == ["pulmonet", "first"]
    monkeypatch.chdir(tmp_path)
    assert main([*go_on, "3"]) == 0
    monkeypatch.chdir(tmp_path / "artifacts")
    assert main([*go_on, "4", "--out-dir", "."]) == 0


def test_another_file_in_the_place_of_the_start_is_refused(
    started: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(tmp_path / "artifacts" / "head")
    other = ["--weights", "none", "--set", "model.freeze=null", "--seed", "1", "--overwrite"]
    assert main([*started, *other, "--name", "w"]) == 0
    assert main(["train", "--resume", "--name", "head", "--epochs", "2"]) == 4
    assert "w/best_model.pth is not the file that the run began with" in capsys.readouterr().err
    assert contents(tmp_path / "artifacts" / "head") == before
    monkeypatch.chdir(tmp_path / "artifacts")
    again = ["train", "--config", "head/run_config.json", "--name", "again", "--out-dir", "."]
    assert main(again) == 2
    assert "w/best_model.pth: neither a file, nor a run" in capsys.readouterr().err


def test_a_run_of_a_fold_takes_its_fold_again(data: Path) -> None:
    assert train(data, "--folds", "3", "--fold", "1") == 0
    assert train(data, "--fold", "1", "--epochs", "2", "--resume") == 0
    assert len(rates(run_of(data))) == 2
