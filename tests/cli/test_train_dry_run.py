"""`pulmonet train --dry-run`: what a run takes; and the time left while it trains."""

import re
from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.data.batches.load import Batch
from pulmonet.flows.train.plan import Plan
from pulmonet.training.stage import Stage


def files_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = write_dataset(tmp_path / "films", n_train=40, n_valid=10)
    command = ["train", "--data-dir", str(data), "--out-dir", str(tmp_path / "artifacts")]
    command += ["--model", "timm:test_resnet", "--weights", "none", "--image-size", "64"]
    return [*command, "--batch-size", "8", "--epochs", "3"]


def test_it_says_what_the_run_takes_and_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    assert main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert files_below(tmp_path) == before
    assert "train 40 images of 40 patients · valid 10 images of 10 patients" in out
    assert re.search(r"Step: +8 images in [\d.]+ s \([\d,.]+ images/s\), [\d,]+ MB of memory", out)
    assert re.search(r"packing 50 images [\d.]+ s, then 3 epochs of [\d.]+ s each \(5 steps", out)
    assert re.search(r"Disk: +3 MB for the pack \([\d,]+ MB free\), \d+ MB for the run", out)
    assert "Dry run: nothing is written" in out


def test_a_setting_without_effect_is_said(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--dry-run", "--set", "loss.focal_gamma=3"]) == 0
    assert (
        "warning: loss.focal_gamma: has no effect without loss.name=focal"
        in capsys.readouterr().err
    )
    assert main([*command, "--dry-run", "--config", "large"]) == 0
    assert "no effect" not in capsys.readouterr().err


def test_after_the_packing_no_image_is_left_to_pack(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert main([*command, "--dry-run", "--name", "other"]) == 0
    assert "packing 0 images" in capsys.readouterr().out
    assert main([*command, "--dry-run", "--resume", "--epochs", "9"]) == 0
    assert "then 6 epochs of" in capsys.readouterr().out


def test_stage_one_of_self_trained_counts(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "unsure", n_train=40, n_valid=10, uncertain=0.3)
    more = ["--uncertain-policy", "self-trained", "--set", "targets.self_trained_epochs=2"]
    assert main([*command, "--data-dir", str(data), *more, "--dry-run"]) == 0
    assert "then 5 epochs of" in capsys.readouterr().out


def test_each_architecture_of_an_ensemble_is_timed(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `strong`, Lite2 and Lite1 were timed as the first network, Lite0."""
    from pulmonet.flows.train import rehearsal

    counted = {"timm:test_resnet": (1.0, 0.1, 0.0, 10**6), "timm:test_vit": (4.0, 0.4, 0.0, 10**7)}
    real, seen = rehearsal._time, []

    def measured(plan: Plan, stage: Stage, batch: Batch) -> tuple[float, float, float, int]:
        assert real(plan, stage, batch)[3] > 1000
        seen.append(stage.config.model.name)
        return counted[seen[-1]]

    monkeypatch.setattr(rehearsal, "_time", measured)
    more = ["model.members=3", "select.checkpoint=last", 'model.alternate=["timm:test_vit"]']
    command += [part for one in more for part in ("--set", one)]
    assert main([*command, "--dry-run", "--image-size", "160"]) == 0
    assert seen == [*counted]  # two of the first, one of the second
    out = " ".join(capsys.readouterr().out.split())
    assert "Step: 8 images in 2.0 s" in out
    assert "then 9 epochs of 12 s each (5 steps, and 2.0 s of validation)" in out
    assert ", 60 MB for the run" in out


def test_what_would_end_the_run_ends_it_now(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((tmp_path / "films" / "train").rglob("*.jpg"))[7]
    image.write_bytes(image.read_bytes()[:200])
    assert main([*command, "--dry-run", "--batch-size", "40"]) == 3
    assert str(image.name) in capsys.readouterr().err
    assert main([*command, "--dry-run", "--batch-size", "40", "--skip-bad"]) == 0
    assert "39 images in" in capsys.readouterr().out


def test_the_progress_says_what_is_left_of_the_whole_run(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pulmonet.flows import console

    clock = iter(range(100_000))
    monkeypatch.setattr(console, "SECONDS_PER_LINE", -1.0)
    monkeypatch.setattr("pulmonet.flows.train.screen.time.monotonic", lambda: 10.0 * next(clock))
    assert main(command) == 0
    err = capsys.readouterr().err
    lines = re.findall(r"epoch (\d)/3: (\d) of 5 .*?(\S+ ?\S* ?\S*) left in all", err)
    assert len(lines) == 15
    assert lines[-1][2].strip() == "0.0 s"
    first = re.search(r"epoch 1/3: 1 of 5  (.*) left in all", err)
    assert first is not None
    minutes, seconds = re.fullmatch(r"(\d+) min (\d+) s", first[1]).groups()  # type: ignore[union-attr]
    assert int(minutes) * 60 + int(seconds) >= 14 * 10, "14 steps of at least a tick are left"
