"""`pulmonet train`: its files, its messages, its exit codes, the same bits again."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import forked
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.errors import ArtifactError
from pulmonet.models.networks import build_network
from pulmonet.models.trained import load_run
from pulmonet.run.folder import RunDir
from pulmonet.training.checkpoint import load_checkpoint

NAME = "timm-test_resnet"
TIMED = {"seconds", "images_per_second", "peak_memory_mb"}
SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32"),
    *("--batch-size", "8", "--no-amp"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "tiny")


def train(data: Path, out_dir: Path, *extra: str) -> int:
    return main(["train", "--data-dir", str(data), "--out-dir", str(out_dir), *SMALL, *extra])


def untimed_log(run_dir: RunDir) -> list[dict[str, str]]:
    with run_dir.log_path.open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


def test_run_folder_is_complete(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "artifacts", "--epochs", "2", "--dropout", "0.2") == 0
    run_dir = RunDir(tmp_path / "artifacts" / NAME)
    record = run_dir.read_record()
    assert record.config.model.dropout == 0.2
    assert record.provenance.status == "finished"
    assert record.provenance.dataset is not None
    assert record.provenance.dataset.n_rows == {"train": 24, "valid": 10}
    assert record.provenance.dataset.n_patients == {"train": 24, "valid": 10}
    rows = untimed_log(run_dir)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = max(rows, key=lambda row: float(row["val_macro_auroc"]))
    assert record.provenance.best_epoch == int(best["epoch"])
    assert record.provenance.best_valid_macro_auroc == float(best["val_macro_auroc"])
    assert run_dir.curves_path.read_bytes().startswith(b"\x89PNG")
    out, _ = capsys.readouterr()
    assert out.splitlines()[0].startswith("Dataset: tiny (chexpert layout, 34 images) at ")
    assert "Epoch 2/2: train loss" in out
    assert "Next:    pulmonet evaluate timm-test_resnet" in out
    text = run_dir.config_path.read_text()
    assert os.uname().nodename not in text


def test_what_was_done_to_the_rows_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "valid.csv").unlink()
    patients = [f"patient{number:05d}" for number in range(1, 25)]
    sites = tmp_path / "sites.csv"
    sites.write_text("patient,site\n" + "".join(f"{name},north\n" for name in patients))
    out_dir = tmp_path / "two words"
    assert train(data, out_dir, "--join", str(sites), "--set", "data.valid_fraction=0.25") == 0
    shown = capsys.readouterr()
    assert "10%" not in shown.err
    assert "25% of the training patients were drawn (seed 42) and kept in" in shown.err
    assert "site" in shown.err
    assert f"--artifacts-dir '{out_dir}' --data-dir {data}" in shown.out
    assert RunDir(out_dir / NAME).read_record().config.data.join == str(sites)


def test_skip_bad_names_and_counts_what_it_leaves_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((data / "train").rglob("*.jpg"))[:7]
    for image in images:
        image.write_bytes(b"")
    assert train(data, tmp_path) == 3
    capsys.readouterr()
    assert train(data, tmp_path, "--skip-bad", "--overwrite") == 0
    said = capsys.readouterr().err
    assert "warning: left out 7 unreadable images of train (17 of 24 left): " in said
    assert "and 2 more" in said
    facts = RunDir(tmp_path / NAME).read_record().provenance.dataset
    assert facts is not None
    assert facts.unreadable == [str(image.relative_to(data)) for image in images]
    assert facts.excluded == {"unreadable": 7}


def test_own_csv_and_own_splits(data: Path, tmp_path: Path) -> None:
    table = (data / "train.csv").read_text().replace("tiny/train/", "train/").splitlines()
    (data / "mine.csv").write_text("\n".join([table[0].replace("Path", "File"), *table[1:]]))
    for name in ("train", "valid"):
        (data / f"{name}.csv").unlink()
    splits = tmp_path / "splits.csv"
    names = [f"patient{number:05d}" for number in range(1, 25)]
    parts = [f"{name},{'train' if row < 20 else 'valid'}" for row, name in enumerate(names)]
    splits.write_text("\n".join(["patient,split", *parts]))
    assert train(data, tmp_path, "--map", "path=File", "--splits", str(splits)) == 0
    facts = RunDir(tmp_path / NAME).read_record().provenance.dataset
    assert facts is not None
    assert facts.n_patients == {"train": 20, "valid": 4}


def test_a_run_is_repeated_and_evaluated_from_another_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(Path(data.name), Path("artifacts")) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = f"../artifacts/{NAME}/run_config.json"
    assert main(["train", "--config", config, "--name", "again"]) == 0
    again = RunDir(Path("artifacts") / "again").best_model_path
    assert again.read_bytes() == RunDir(tmp_path / "artifacts" / NAME).best_model_path.read_bytes()
    flags = ["--artifacts-dir", "../artifacts", "--bootstrap", "100", "--no-figures"]
    assert main(["evaluate", *flags]) == 0


def test_same_config_gives_the_same_bits_whatever_the_workers(data: Path, tmp_path: Path) -> None:
    extra = ("--epochs", "2", "--dropout", "0.3", "--set", "augment.brightness=0.1")
    assert train(data, tmp_path, "--name", "a", "--num-workers", "0", *extra) == 0
    assert train(data, tmp_path, "--name", "b", "--num-workers", "3", *extra) == 0
    config = str(tmp_path / "a" / "run_config.json")
    assert main(["train", "--config", config, "--out-dir", str(tmp_path), "--name", "c"]) == 0
    first, *others = (RunDir(tmp_path / name) for name in "abc")
    for other in others:
        assert other.best_model_path.read_bytes() == first.best_model_path.read_bytes()
        assert untimed_log(other) == untimed_log(first)


def test_underscores_of_the_original_scripts(data: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        "--data_dir",
        str(data),
        "--out_dir",
        str(tmp_path),
        "--model",
        "timm:test_resnet",
    ]
    arguments += ["--batch_size", "8", "--num_workers=1", "--subset_mode", "image", "--subset=0.5"]
    arguments += ["--uncertain_policy", "zeros", "--weights", "none", "--epochs", "1"]
    arguments += ["--set", "data.image_size=32", "--no-amp", "--seed", "7", "--lr", "1e-3"]
    assert main(arguments) == 0
    config = RunDir(tmp_path / NAME).read_record().config
    assert (config.optim.batch_size, config.runtime.num_workers) == (8, 1)
    assert (config.data.subset, config.data.subset_mode) == (0.5, "image")
    assert (config.targets.uncertain_policy, config.seed, config.optim.lr) == ("zeros", 7, 1e-3)


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (("--model", "densnet121"), 2, "did you mean 'densenet121'"),
        (("--set", "optim.lrr=1"), 2, "unknown key 'optim.lrr' (did you mean 'lr'?)"),
        (("--set", "optim.lr=fast"), 2, "optim.lr = 'fast'"),
        (("--lr", "-1"), 2, "optim.lr = -1.0"),
        (("--uncertain-policy", "Edem=ones"), 2, "did you mean 'Edema'"),
        (("--labels", "Edma"), 2, "did you mean 'Edema'"),
        (("--name", "../out"), 2, "not usable as a folder name"),
        (("--device", "cuda:9"), 5, "not on this machine"),
        (("--config", "orignal"), 2, "did you mean 'original'"),
        (("--fold", "3"), 2, "--fold 3: of how many? add --folds"),
        (("--set", "data.fold=3"), 2, "--fold 3: of how many? add --folds"),
        (("--set", "optim.growth=[[64,1]]"), 2, "64 pixels are more than data.image_size = 32"),
    ],
)
def test_wrong_words_end_with_their_code_and_the_near_miss(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    if extra[0] == "--device" and torch.cuda.is_available():
        pytest.skip("this machine may have that device")
    assert train(data, tmp_path / "artifacts", *extra) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "artifacts" / NAME).exists()


def test_offline_imagenet_ends_before_any_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", "http://127.0.0.1:9")
    arguments = ("--model", "resnet50", "--weights", "imagenet")
    assert train(data, tmp_path / "artifacts", *arguments) == 5
    error = capsys.readouterr().err
    assert "cannot be downloaded" in error
    assert "--weights none, or --weights FILE" in error
    assert not list((tmp_path / "artifacts").rglob("*.pth"))


def test_finished_run_is_kept_unless_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path) == 0
    run_dir = RunDir(tmp_path / NAME)
    before = {path.name: path.read_bytes() for path in run_dir.path.glob("*.*")}
    assert train(data, tmp_path) == 4
    assert "holds a finished run; choose another --name" in capsys.readouterr().err
    assert train(data, tmp_path, "--resume") == 0
    assert "finished already after 1 epoch" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in run_dir.path.glob("*.*")} == before
    assert main(["evaluate", NAME, "--artifacts-dir", str(tmp_path), "--bootstrap", "100"]) == 0
    (run_dir.path / "hirescam_Edema.png").write_bytes(b"made by hand")
    (run_dir.path / "notes.png").write_bytes(b"")
    assert train(data, tmp_path, "--overwrite", "--seed", "1") == 0
    assert run_dir.best_model_path.read_bytes() != before["best_model.pth"]
    after = {path.name for path in run_dir.path.glob("*.*")}
    assert after == {*before, "notes.png", "hirescam_Edema.png"}, "results of the run that is gone"


def test_resume_without_the_best_model_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path) == 0
    RunDir(tmp_path / NAME).best_model_path.unlink()
    assert train(data, tmp_path, "--resume") == 4
    assert "best_model.pth: missing from a finished run; put it back" in capsys.readouterr().err
    assert train(data, tmp_path, "--resume", "--epochs", "2") == 4
    assert (
        "best_model.pth: missing, and a resumed run may find no better" in capsys.readouterr().err
    )


def test_resume_refuses_another_configuration_and_takes_more_epochs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path) == 0
    assert train(data, tmp_path, "--resume", "--lr", "0.5") == 2
    assert "optim.lr (0.0001 -> 0.5)" in capsys.readouterr().err
    assert train(data, tmp_path, "--resume", "--epochs", "2") == 0
    assert len(untimed_log(RunDir(tmp_path / NAME))) == 2
    assert train(data, tmp_path, "--name", "straight", "--epochs", "2") == 0
    runs = [RunDir(tmp_path / name).best_model_path.read_bytes() for name in (NAME, "straight")]
    assert runs[0] == runs[1]


def test_resume_takes_other_workers(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--num-workers", "2") == 0
    assert train(data, tmp_path, "--resume", "--num-workers", "0", "--epochs", "2") == 0
    record = RunDir(tmp_path / NAME).read_record()
    assert (record.config.runtime.num_workers, record.provenance.n_resumed) == (0, 1)
    assert train(data, tmp_path, "--name", "straight", "--epochs", "2") == 0
    runs = [RunDir(tmp_path / name).best_model_path.read_bytes() for name in (NAME, "straight")]
    assert runs[0] == runs[1]


def test_weights_below_the_home_folder_are_shown_and_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """run_config.json has ``~`` for the home folder, and its checkpoint is still its own."""
    assert train(data, tmp_path / "artifacts") == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    state = torch.load(tmp_path / "artifacts" / NAME / "best_model.pth", weights_only=True)
    state["fc.weight"], state["fc.bias"] = torch.zeros(3, 96), torch.zeros(3)
    state["extra"] = state.pop("conv1.weight") if "conv1.weight" in state else torch.zeros(1)
    torch.save(state, tmp_path / "first.pth")
    command = ["train", "--data-dir", str(data), "--out-dir", str(tmp_path), "--name", "w"]
    capsys.readouterr()
    first = [*command, *SMALL, "--weights", str(tmp_path / "first.pth")]
    assert main(first) == 0
    said = "".join(capsys.readouterr())
    assert "taken over" in said and "before the classifier, by name" in said
    assert "new: nothing says which labels the file's 3 outputs are" in said
    assert "1 tensor, e.g. extra" in said
    record = RunDir(tmp_path / "w").read_record()
    assert record.config.model.weights == "~/first.pth"
    assert record.provenance.weights["n_matched"] > 10
    assert main([*command, "--model", "timm:test_resnet", "--resume", "--epochs", "2"]) == 0


def test_restarts_of_torchrun_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(data, tmp_path) == 0
    run_dir = RunDir(tmp_path / NAME)
    stopped = run_dir.config_path.read_text().replace('"finished"', '"running"')
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    for arguments in ((), ("--overwrite",)):
        run_dir.config_path.write_text(stopped)
        assert train(data, tmp_path, "--epochs", "2", *arguments) == 0
        assert run_dir.read_record().provenance.n_resumed > 0, arguments
    assert train(data, tmp_path, "--overwrite") == 0  # ended before it came to overwriting
    assert run_dir.read_record().provenance.n_resumed == 0


def test_a_rank_that_is_not_torchruns_means_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "3")
    assert train(data, tmp_path) == 0
    assert "Best epoch 1" in "".join(capsys.readouterr())


def test_self_trained_runs_do_not_grow_without_a_fixed_first_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny", uncertain=0.3)
    assert train(data, tmp_path, "--uncertain-policy", "self-trained") == 0
    assert train(data, tmp_path, "--resume", "--epochs", "2") == 2
    assert "would train stage one of self-trained again" in capsys.readouterr().err


def test_resuming_what_is_not_there_says_that_it_starts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "--name", "quick") == 0
    capsys.readouterr()
    assert train(data, tmp_path, "--name", "quikc", "--resume") == 0
    said = capsys.readouterr().out
    assert f"there is no run {tmp_path / 'quikc'} yet, so it starts (did you mean 'quick'?)" in said


def test_self_trained_has_one_stage_where_nothing_is_uncertain(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "--uncertain-policy", "self-trained") == 0
    assert "no training label is uncertain" in capsys.readouterr().out
    assert not (tmp_path / NAME / "stage1").exists()


def test_an_auc_margin_without_two_classes_leaves_no_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(data / "train.csv")
    table["Edema"] = 0.0
    table.to_csv(data / "train.csv", index=False)
    settings = ("--set", "loss.name=aucm", "--set", "optim.name=pesg")
    assert train(data, tmp_path, *settings, "--labels", "Edema") == 2
    assert "no label has both positive and negative training rows" in capsys.readouterr().err
    assert train(data, tmp_path, *settings, "--labels", "Cardiomegaly") == 0


def test_checkpoint_of_another_model_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "--name", "a") == 0
    assert train(data, tmp_path, "--name", "b", "--seed", "2") == 0
    a, b = RunDir(tmp_path / "a"), RunDir(tmp_path / "b")
    shutil.copy(b.last_checkpoint_path, a.last_checkpoint_path)
    before = a.config_path.read_bytes()
    assert train(data, tmp_path, "--name", "a", "--resume", "--epochs", "2") == 4
    assert a.config_path.read_bytes() == before, "a finished run stays one"
    assert "the checkpoint of another run" in capsys.readouterr().err
    with pytest.raises(ArtifactError, match="not a checkpoint that can be resumed"):
        load_checkpoint(a.best_model_path, "")


def test_non_finite_loss_names_step_and_rows_and_keeps_the_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path) == 0
    state = torch.load(tmp_path / NAME / "best_model.pth", weights_only=True)
    next(tensor for tensor in state.values() if tensor.ndim == 4)[:] = 3e38
    torch.save(state, tmp_path / "nan.pth")
    weights = str(tmp_path / "nan.pth")
    assert train(data, tmp_path, "--name", "nan", "--weights", weights) == 5
    error = capsys.readouterr().err
    assert "epoch 1, step 1: the loss is not finite; rows of the batch: train/patient" in error
    assert RunDir(tmp_path / "nan").read_record().provenance.status == "failed"
    assert not (tmp_path / "nan" / "last_checkpoint.pth").exists()


def test_full_disk_at_a_checkpoint_keeps_the_previous_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "--name", "calm", "--epochs", "3") == 0
    sync, n_checkpoints = os.fsync, 0

    def fill_up(handle: int) -> None:
        nonlocal n_checkpoints
        if ".last_checkpoint.pth." in str(Path(f"/proc/self/fd/{handle}").readlink()):
            n_checkpoints += 1
            if n_checkpoints == 3:  # the first comes before the first best_model.pth
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        assert train(data, tmp_path, "--name", "full", "--epochs", "3") == 4
    assert "free some space and run it again" in capsys.readouterr().err
    full, calm = RunDir(tmp_path / "full"), RunDir(tmp_path / "calm")
    content = torch.load(full.last_checkpoint_path, weights_only=True)
    assert content["progress"]["epoch"] == 1
    assert not list(full.path.glob(".*.tmp"))
    assert train(data, tmp_path, "--name", "full", "--epochs", "3", "--resume") == 0
    assert full.best_model_path.read_bytes() == calm.best_model_path.read_bytes()
    assert untimed_log(full) == untimed_log(calm)


def test_folder_in_use_and_read_only_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from pulmonet.run.folder import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / NAME)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert train(data, tmp_path) == 4
        assert "in use by another process" in capsys.readouterr().err
        process.kill()
    file = tmp_path / "file"
    file.write_text("")
    assert train(data, file) == 4
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_save_and_the_run_goes_on_to_the_same_bits(
    data: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments = [*SMALL, "--epochs", "40", "--data-dir", str(data), "--out-dir", str(tmp_path)]
    said = tmp_path / "said"
    process = forked.start("train", *arguments, "--name", "stopped", said=said)
    log = tmp_path / "stopped" / "training_log.csv"
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code, said.read_text()
    record = json.loads((tmp_path / "stopped" / "run_config.json").read_text())
    assert record["provenance"]["status"] == "interrupted"
    assert (tmp_path / "stopped" / "last_checkpoint.pth").exists()


@pytest.mark.parametrize(
    "policy",
    ["multiclass", "self-trained", "Edema=multiclass,Atelectasis=self-trained,default=ones-lsr"],
)
def test_policies_train_and_export_a_plain_head(tmp_path: Path, policy: str) -> None:
    data = write_dataset(tmp_path / "tiny", uncertain=0.3)
    assert train(data, tmp_path / "artifacts", "--uncertain-policy", policy) == 0
    run_dir = RunDir(tmp_path / "artifacts" / NAME)
    state = torch.load(run_dir.best_model_path, weights_only=True)
    assert state["fc.weight"].shape == (5, 96)
    facts = run_dir.read_record().provenance.dataset
    assert facts is not None
    assert any(
        "uncertain" in change for counts in facts.policy_changes.values() for change in counts
    )


@pytest.mark.parametrize(
    "settings",
    [
        ("optim.name=adamw", "optim.schedule=one-cycle", "optim.weight_decay=0.01"),
        ("optim.name=sgd", "optim.schedule=cosine", "optim.warmup_fraction=0.1"),
        ("optim.name=pesg", "loss.name=aucm", "optim.lr=0.01"),
        ("optim.ema_decay=0.9", "optim.clip_norm=1.0", "loss.pos_weight=balanced"),
        ("optim.growth=[[32,1]]", "loss.name=focal", "augment.mixup_alpha=0.2"),
        ("select.on=dev", "select.dev_fraction=0.3", "select.checkpoint=last"),
        ("loss.name=balanced-bce", "data.shuffle_labels=true", "augment.geometry=original"),
        ("optim.epochs=4", "optim.patience=1", "loss.name=asymmetric"),
        ("model.members=2", "select.checkpoint=last", "optim.name=pesg", "loss.name=aucm"),
        ("model.members=2", "select.checkpoint=last", "optim.ema_decay=0.9"),
    ],
)
def test_every_ingredient_trains(data: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    extra = [part for setting in settings for part in ("--set", setting)]
    assert train(data, tmp_path / "artifacts", *extra) == 0
    record = RunDir(tmp_path / "artifacts" / NAME).read_record()
    assert record.provenance.selected_on == ("dev" if "select.on=dev" in settings else "valid")


def test_an_ensemble_is_the_mean_of_its_members(data: Path, tmp_path: Path) -> None:
    """Its first network is the run without an ensemble; its scores are the mean of the members'."""
    last = ("--set", "select.checkpoint=last")
    members = ("--set", "model.members=2", *last)
    slow = ("--set", "optim.schedule=cosine", "--epochs", "2")
    policies = ("--uncertain-policy", "Edema=multiclass,default=ones")
    beside = ("--labels", "Edema,Cardiomegaly", "--set", 'data.auxiliary_labels=["Atelectasis"]')
    recipe = (*slow, *policies, *beside)
    assert train(data, tmp_path, *recipe, *last, "--name", "one") == 0
    assert train(data, tmp_path, *recipe, *members, "--name", "both") == 0
    one, both = RunDir(tmp_path / "one"), RunDir(tmp_path / "both")
    first, rows = untimed_log(one), untimed_log(both)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0] == first[0], "the first member is the run without an ensemble"
    assert rows[1]["train_loss"] == first[1]["train_loss"]
    assert rows[2]["lr"] == rows[0]["lr"] != rows[1]["lr"]
    assert rows[2]["train_loss"] != rows[0]["train_loss"]
    alone = torch.load(one.best_model_path, weights_only=True)
    ensemble = torch.load(both.best_model_path, weights_only=True)
    assert set(ensemble) == {f"members.{number}.{key}" for number in (0, 1) for key in alone}
    for key, tensor in alone.items():
        torch.testing.assert_close(ensemble[f"members.0.{key}"], tensor, rtol=0, atol=0)
    second = {key: ensemble[f"members.1.{key}"] for key in alone}
    assert not torch.equal(second["conv1.0.weight"], alone["conv1.0.weight"])

    images = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    run = load_run(both, "cpu")
    plain = build_network("timm:test_resnet", 2, 0.0).eval()
    scores = []
    with torch.no_grad():
        for state in (alone, second):
            plain.load_state_dict(state)
            scores.append(torch.sigmoid(plain(images)))
        found = torch.sigmoid(run.network(images))
    torch.testing.assert_close(found, (scores[0] + scores[1]) / 2)
    assert train(data, tmp_path, *recipe, *members, "--name", "both", "--resume") == 0


def test_the_members_of_an_ensemble_take_turns_in_architecture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = ("--set", "select.checkpoint=last")
    other = ("--set", 'model.alternate=["timm:test_efficientnet"]')
    members = ("--set", "model.members=3", *other, *last)
    assert train(data, tmp_path, *last, "--name", "one") == 0
    assert train(data, tmp_path, *members, "--name", "three") == 0
    assert "timm:test_resnet × 2 + timm:test_efficientnet × 1" in capsys.readouterr().out
    one, three = RunDir(tmp_path / "one"), RunDir(tmp_path / "three")
    alone = torch.load(one.best_model_path, weights_only=True)
    ensemble = torch.load(three.best_model_path, weights_only=True)
    for key, tensor in alone.items():
        torch.testing.assert_close(ensemble[f"members.0.{key}"], tensor, rtol=0, atol=0)
    assert {f"members.2.{key}" for key in alone} < set(ensemble)
    names = ("timm:test_resnet", "timm:test_efficientnet", "timm:test_resnet")
    images = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    scores = []
    with torch.no_grad():
        for number, name in enumerate(names):
            member = build_network(name, 5, 0.0).eval()
            start = f"members.{number}."
            own = {key.removeprefix(start): ensemble[key] for key in ensemble if start in key}
            member.load_state_dict(own)
            scores.append(torch.sigmoid(member(images)))
        found = torch.sigmoid(load_run(three, "cpu").network(images))
    torch.testing.assert_close(found, sum(scores) / 3)


def test_another_model_takes_the_place_of_all_architectures(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mixed.toml"
    recipe.write_text(
        '[model]\nname = "densenet121"\nalternate = ["resnet50"]\nmembers = 2\n'
        '[select]\ncheckpoint = "last"\n'
    )
    assert train(data, tmp_path, "--config", str(recipe), "--name", "run") == 0
    assert RunDir(tmp_path / "run").read_record().config.model.architectures() == {
        "timm:test_resnet": 2
    }


def test_a_run_of_several_architectures_is_resumed_by_its_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = ("--set", "model.members=2", "--set", "select.checkpoint=last")
    other = ("--set", 'model.alternate=["timm:test_efficientnet"]')
    assert train(data, tmp_path, *members, *other, "--name", "run") == 0
    capsys.readouterr()
    assert train(data, tmp_path, "--resume", "--name", "run") == 0
    assert "finished already" in capsys.readouterr().out


def test_a_network_that_takes_no_such_images_is_refused_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--set", 'model.alternate=["timm:vit_tiny_patch16_224"]', "--image-size", "48")
    members = ("--set", "model.members=2", "--set", "select.checkpoint=last")
    assert train(data, tmp_path, *members, *other) == 2
    shown = capsys.readouterr().err
    assert "model timm:vit_tiny_patch16_224: takes no images of 48 × 48 pixels" in shown
    growth = ("--set", "optim.growth=[[48, 1]]", "--epochs", "2", "--image-size", "224")
    assert train(data, tmp_path, "--model", "timm:vit_tiny_patch16_224", *growth) == 2
    assert "takes no images of 48 × 48 pixels" in capsys.readouterr().err


def test_a_new_run_starts_from_the_first_network_of_an_ensemble(data: Path, tmp_path: Path) -> None:
    members = ("--set", "model.members=2", "--set", "select.checkpoint=last")
    assert train(data, tmp_path, *members, "--name", "both") == 0
    weights = RunDir(tmp_path / "both").best_model_path
    assert train(data, tmp_path, "--weights", str(weights), "--name", "further") == 0
    facts = RunDir(tmp_path / "further").read_record().provenance.weights
    assert not facts["missing"]


def _weights_of(model: str, folder: Path) -> Path:
    torch.save(build_network(model, 5).state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def test_an_ensemble_says_what_it_does_not_go_with(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "--set", "model.members=2") == 2
    assert "set select.checkpoint=last as well" in capsys.readouterr().err
    members = ("--set", "model.members=2", "--set", "select.checkpoint=last")
    assert train(data, tmp_path, *members, "--set", "optim.patience=1") == 2
    assert "leave out optim.patience" in capsys.readouterr().err
    alternate = ("--set", 'model.alternate=["resnet50", "densenet121"]')
    assert train(data, tmp_path, *members, *alternate) == 2
    assert "set model.members to 3 or more" in capsys.readouterr().err
    assert train(data, tmp_path, *members, "--set", 'model.alternate=["resnet51"]') == 2
    assert "timm:NAME (did you mean 'resnet50'?)" in capsys.readouterr().err
    wrong = ("--weights", str(_weights_of("timm:test_resnet", tmp_path)))
    alternate = ("--set", 'model.alternate=["timm:test_efficientnet"]')
    assert train(data, tmp_path, *members, *alternate, *wrong) == 4
    assert "give weights of this very architecture" in capsys.readouterr().err
    assert train(data, tmp_path, *members, *alternate, "--name", "mixed") == 0
    assert "weights of timm:test_efficientnet: none" in capsys.readouterr().err
    mixed = ("--weights", str(RunDir(tmp_path / "mixed").best_model_path), "--name", "again")
    assert train(data, tmp_path, *members, *alternate, *mixed) == 0
    weights = RunDir(tmp_path / "again").read_record().provenance.weights
    for facts in (weights, weights["of timm:test_efficientnet"]):
        assert facts["n_matched"] and not facts["missing"] and not facts["replaced"]
    assert train(data, tmp_path, *members) == 0
    assert "(network 2 of 2)" in capsys.readouterr().out
    assert train(data, tmp_path, *members, "--epochs", "3", "--resume") == 2
    assert "would train every member of the ensemble again" in capsys.readouterr().err


def test_a_checkpoint_with_one_wrong_bit_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path) == 0
    path = RunDir(tmp_path / NAME).last_checkpoint_path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert train(data, tmp_path, "--epochs", "2", "--resume") == 4
    assert "is damaged (CRC-32)" in capsys.readouterr().err


def test_accumulation_weighs_targets_alike(data: Path, tmp_path: Path) -> None:
    """Micro-batches change batch norm only; the first step's loss is that of the whole batch."""
    assert train(data, tmp_path, "--name", "whole") == 0
    assert train(data, tmp_path, "--name", "parts", "--set", "optim.micro_batch_size=4") == 0
    whole, parts = (untimed_log(RunDir(tmp_path / name))[0] for name in ("whole", "parts"))
    assert float(parts["train_loss"]) == pytest.approx(float(whole["train_loss"]), rel=0.2)
    assert parts != whole


def test_home_folder_is_written_as_a_tilde_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    data = write_dataset(home / "tiny")
    monkeypatch.setenv("HOME", str(home))
    assert train(data, tmp_path / "artifacts") == 0
    run_dir = RunDir(tmp_path / "artifacts" / NAME)
    assert "somebody" not in run_dir.config_path.read_text()
    shutil.copy(run_dir.best_model_path, home / "weights.pth")
    assert train(data, home / "artifacts", "--weights", str(home / "weights.pth")) == 0
    again = RunDir(home / "artifacts" / NAME)
    assert again.read_record().config.model.weights == "~/weights.pth"
    config = ("--config", str(again.config_path), "--name", "again")
    assert main(["train", *config, "--out-dir", str(home / "artifacts")]) == 0
    assert train(data, home / "artifacts", "--weights", str(home / "weights.pth"), "--resume") == 0
