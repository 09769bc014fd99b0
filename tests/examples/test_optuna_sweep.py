"""The Optuna example, with a stand-in for `pulmonet train` that writes a log as it does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir

optuna = pytest.importorskip("optuna", reason="the engine of the example")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

#: Good scores for even trials, bad ones for odd; says when it was told to stop.
STAND_IN = """
import csv, os, signal, sys, time
arguments = sys.argv[1:]
value = lambda flag: arguments[arguments.index(flag) + 1]
folder = os.path.join(value("--out-dir"), value("--name"))
os.makedirs(folder)
number = int(value("--name").split("-")[1])

def stop(*_):
    open(os.path.join(folder, "stopped"), "w").close()
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
if "--fail" in arguments and number == 1:
    sys.exit("valid.csv: no such file; run pulmonet prepare")
rows = []
for epoch in range(1, 5):
    good = number % 2 == 0
    rows.append({"epoch": epoch, "val_macro_auroc": (0.8 if good else 0.6) + epoch / 100})
    temporary = os.path.join(folder, "log.tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, os.path.join(folder, "training_log.csv"))
    time.sleep(30 if "--slow" in arguments and not good and epoch >= 2 else 0.02)
print(" ".join(arguments))
"""


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import optuna_sweep
    import training_process

    monkeypatch.setattr(training_process, "SECONDS_BETWEEN_LOOKS", 0.01)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna_sweep


@pytest.fixture
def stand_in(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return (sys.executable, "-S", str(path))


def test_bad_trials_are_pruned_at_the_median_and_their_process_stopped(
    sweep: ModuleType,
    stand_in: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = optuna.pruners.MedianPruner
    monkeypatch.setattr(
        optuna.pruners, "MedianPruner", lambda **_: plain(n_startup_trials=1, n_warmup_steps=2)
    )
    out_dir = tmp_path / "sweep"
    study = sweep.main(
        [
            "--trials",
            "4",
            "--out-dir",
            str(out_dir),
            "--seed",
            "0",
            "--",
            "--config",
            "quick",
            "--slow",
        ],
        stand_in,
    )
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "PRUNED",
        "COMPLETE",
        "PRUNED",
    ]
    assert study.best_value == pytest.approx(0.84)
    assert study.trials[0].intermediate_values == pytest.approx(
        {1: 0.81, 2: 0.82, 3: 0.83, 4: 0.84}
    )
    assert set(study.trials[1].intermediate_values) == {1, 2}
    assert (out_dir / "trial-0001" / "stopped").exists()
    assert not (out_dir / "trial-0000" / "stopped").exists()
    said = (out_dir / "trial-0002.txt").read_text().split()
    assert said[:5] == ["--config", "quick", "--slow", "--set", "select.on=dev"]
    assert said[-4:] == ["--out-dir", str(out_dir), "--name", "trial-0002"]
    printed = capsys.readouterr().out
    assert "2 complete, 2 pruned" in printed
    assert "best: val_macro_auroc 0.8400, trial 0" in printed
    assert f"--config {out_dir / 'trial-0000' / 'run_config.json'} --set select.on=valid" in printed


@pytest.mark.slow
def test_the_real_command_is_searched_with(
    sweep: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm", reason="its test networks are the smallest at hand")
    data = write_dataset(tmp_path / "tiny", n_train=40)
    out_dir = tmp_path / "sweep"
    study = sweep.main(
        [
            *("--trials", "1", "--out-dir", str(out_dir), "--", "--data-dir", str(data)),
            *("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32"),
            *("--epochs", "2", "--set", "select.dev_fraction=0.4"),
        ]
    )
    log = RunDir(out_dir / "trial-0000").read_log()
    assert study.best_value == pytest.approx(log["val_macro_auroc"].iloc[-1])
    assert set(study.trials[0].intermediate_values) == {1, 2}

    following = capsys.readouterr().out.split("next: pulmonet ")[1].split()
    assert main([*following, "--out-dir", str(tmp_path / "final")]) == 0
    tuned = RunDir(tmp_path / "final" / "tuned").read_record()
    assert tuned.config.optim.lr == pytest.approx(study.best_params["lr"], rel=5e-3)
    assert tuned.provenance.selected_on == "valid"


def test_a_study_goes_on_where_it_ended(
    sweep: ModuleType, stand_in: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = ["--trials", "1", "--out-dir", str(tmp_path)]
    sweep.main(arguments, stand_in)
    study = sweep.main(arguments, stand_in)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert (tmp_path / "trial-0001" / "training_log.csv").exists()


def test_a_failed_run_is_one_failed_trial(
    sweep: ModuleType, stand_in: tuple[str, ...], tmp_path: Path
) -> None:
    study = sweep.main(["--trials", "3", "--out-dir", str(tmp_path), "--", "--fail"], stand_in)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_the_last_words_of_a_failed_run_are_told(
    sweep: ModuleType, stand_in: tuple[str, ...], tmp_path: Path
) -> None:
    process = sweep.TrainingProcess(["--fail"], tmp_path, "trial-0001", stand_in)
    with pytest.raises(sweep.RunFailedError, match=r"exit code 1: valid.csv: no such file"):
        list(process.epochs())


def test_the_search_space_is_settings_that_train_takes(sweep: ModuleType) -> None:
    from pulmonet.config.load import load_config

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        settings = sweep.suggest_settings(study.ask())
        config = load_config("quick", assignments=["select.on=dev", *settings])
        assert 1e-4 <= config.optim.lr <= 3e-3
        assert config.select.on == "dev"
