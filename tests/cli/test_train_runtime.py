"""`pulmonet train`: settings of speed, whose effect a CPU can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.flows.train import features
from pulmonet.run.folder import RunDir

SMALL = (
    *("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32"),
    *("--batch-size", "8", "--no-amp", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("runtime") / "tiny", n_train=13, n_valid=5)


@pytest.fixture(scope="module")
def plain(data: Path) -> bytes:
    assert train(data, data.parent, "--name", "plain") == 0
    return RunDir(data.parent / "plain").best_model_path.read_bytes()


@pytest.fixture(autouse=True)
def _cudnn_as_it_was() -> Iterator[None]:
    yield
    torch.backends.cudnn.benchmark = False


def train(data: Path, out_dir: Path, *extra: str) -> int:
    return main(["train", "--data-dir", str(data), "--out-dir", str(out_dir), *SMALL, *extra])


def weights_of(data: Path, out_dir: Path, *settings: str) -> bytes:
    flags = [part for setting in settings for part in ("--set", setting)]
    assert train(data, out_dir, "--name", "run", *flags) == 0
    return RunDir(out_dir / "run").best_model_path.read_bytes()


def test_rows_on_the_device_change_no_weight(
    data: Path, plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(features, "room_on", lambda _: 1e9)  # as of a GPU
    real = features.ResidentPack
    monkeypatch.setattr(features, "ResidentPack", lambda *how: made.append(real(*how)) or made[-1])
    assert weights_of(data, tmp_path, "runtime.resident=true") == plain
    assert len(made[0].select(torch.arange(18).numpy())) == 18, "training and validation rows"


def test_rows_without_room_are_read_from_the_pack_and_that_is_said(
    data: Path, plain: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights_of(data, tmp_path, "runtime.resident=true") == plain
    said = " ".join("".join(capsys.readouterr()).split())
    assert "runtime.resident: 0.00 GB of pixels, and 0.00 GB of GPU memory for them" in said
    assert "they are read from the pack" in said


@pytest.mark.parametrize("wanted", [False, True])
def test_cudnn_may_choose_where_it_is_told_to(
    data: Path, plain: bytes, tmp_path: Path, wanted: bool
) -> None:
    torch.backends.cudnn.benchmark = not wanted
    assert weights_of(data, tmp_path, f"runtime.cudnn_benchmark={wanted}") == plain
    assert torch.backends.cudnn.benchmark is wanted


def test_deterministic_kernels_are_not_chosen_by_their_speed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("--set", "runtime.cudnn_benchmark=true", "--set", "runtime.deterministic=true")
    assert train(data, tmp_path, *settings) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "runtime.cudnn_benchmark: what is fastest is not the same each time" in said
    assert not torch.are_deterministic_algorithms_enabled()


def test_steps_on_tensors_that_stay_change_no_weight(data: Path, tmp_path: Path) -> None:
    """13 images of 8 a batch: a whole batch and a short one, at a rate that float32 has exactly."""
    rate = f"optim.lr={2.0**-13}"
    found = weights_of(data, tmp_path / "graph", rate, "runtime.cuda_graph=true")
    assert found == weights_of(data, tmp_path / "plain", rate)


@pytest.mark.parametrize(
    "settings",
    [("loss.name=aucm", "optim.name=pesg"), ("runtime.compile=true",), ("pointing.boxes=own",)],
)
def test_what_cannot_be_recorded_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...]
) -> None:
    flags = [part for one in ("runtime.cuda_graph=true", *settings) for part in ("--set", one)]
    assert train(data, tmp_path, *flags) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "boxes, aucm and torch.compile cannot be recorded" in said


def test_a_resumed_run_may_change_how_fast_it_is(data: Path, plain: bytes, tmp_path: Path) -> None:
    changed = ("runtime.cudnn_benchmark=true", "runtime.cuda_graph=true")
    first = weights_of(data, tmp_path, "runtime.resident=true")
    flags = [part for setting in changed for part in ("--set", setting)]
    assert train(data, tmp_path, "--name", "run", "--epochs", "2", "--resume", *flags) == 0
    record = RunDir(tmp_path / "run").read_record()
    assert record.config.runtime.cudnn_benchmark
    assert first == plain
