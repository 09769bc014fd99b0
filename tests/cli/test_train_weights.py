"""`pulmonet train --weights`: files of other people's programs, and what is no start at all."""

from __future__ import annotations

import argparse
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import forked
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.models.networks import build_network
from pulmonet.run.folder import RunDir
from run_factory import make_run

NAME = "w"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("weights") / "tiny", n_train=4, n_valid=4)


@pytest.fixture
def start(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], int]:
    """One step of training from a file, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(model: str, weights: str, *further: str) -> int:
        size = "32" if "test_" in model else "64"
        return main(
            [
                *("train", "--data-dir", str(data), "--model", model, "--weights", weights),
                *("--epochs", "1", "--batch-size", "4", "--image-size", size, "--no-amp"),
                *("--name", NAME, "--overwrite", *further),
            ]
        )

    return run


def facts() -> dict[str, Any]:
    """What the run has written down about its first weights."""
    return RunDir(Path("artifacts") / NAME).read_record().provenance.weights


# --- twelve and more that are a start ------------------------------------------------------------


def lightning(path: str) -> str:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, n_labels: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.backbone = torchvision.models.resnet18(num_classes=n_labels)

    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(Module(14))
    trainer.save_checkpoint(path)
    return "timm:resnet18"


def data_parallel(path: str) -> str:
    network = nn.DataParallel(torchvision.models.resnet18(num_classes=7))
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, path)
    return "timm:resnet18"


def compiled(path: str) -> str:
    torch.save(torch.compile(build_network("timm:test_resnet", 5)).state_dict(), path)
    return "timm:test_resnet"


def timm_for_torchvision(path: str) -> str:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("efficientnet_b0", num_classes=3).state_dict(), path)
    return "efficientnet_b0"


def torchvision_for_timm(path: str) -> str:
    torch.save({"model": torchvision.models.efficientnet_b0().state_dict()}, path)
    return "timm:efficientnet_b0"


def timm_safetensors(path: str) -> str:
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    safetensors.save_file(timm.create_model("efficientnet_b0").state_dict(), path)
    return "efficientnet_b0"


def monai(path: str) -> str:
    nets = pytest.importorskip("monai.networks.nets")
    network = nets.DenseNet121(spatial_dims=2, in_channels=3, out_channels=14)
    torch.save(network.state_dict(), path)
    return "densenet121"


def torchxrayvision(path: str) -> str:
    xrv = pytest.importorskip("torchxrayvision")
    torch.save(xrv.models.DenseNet(weights=None, num_classes=18).state_dict(), path)
    return "densenet121"


def chexnet(path: str) -> str:
    state = torchvision.models.densenet121(num_classes=14).state_dict()
    old = {
        "module.densenet121." + re.sub(r"(\.(?:norm|conv))([12]\.)", r"\1.\2", key): tensor
        for key, tensor in state.items()
        if not key.startswith("classifier") and not key.endswith("num_batches_tracked")
    }
    head = "module.densenet121.classifier.0."
    old |= {f"{head}weight": torch.zeros(14, 1024), f"{head}bias": torch.zeros(14)}
    torch.save({"state_dict": old, "best_loss": np.float64(0.2)}, path)
    return "densenet121"


def averaged(path: str) -> str:
    network = build_network("timm:test_resnet", 5)
    average = torch.optim.swa_utils.AveragedModel(network)
    content = {"state_dict": network.state_dict(), "state_dict_ema": average.state_dict()}
    torch.save(content | {"args": argparse.Namespace(lr=1e-3)}, path)
    return "timm:test_resnet"


def of_a_trainer(path: str) -> str:
    network = build_network("timm:test_resnet", 5)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.zeros(2, 1, 32, 32)).sum().backward()
    optimiser.step()
    content = {"optimizer": optimiser.state_dict(), "epoch": np.int64(3), "rng": np.arange(3)}
    torch.save(content | {"net": network.state_dict()}, path)
    return "timm:test_resnet"


def sequential(path: str) -> str:
    parts = list(torchvision.models.resnet18().children())[:-1]
    torch.save(nn.Sequential(*parts, nn.Flatten(), nn.Linear(512, 4)).state_dict(), path)
    return "timm:resnet18"


STARTS = (
    *(lightning, data_parallel, compiled, timm_for_torchvision, torchvision_for_timm, monai),
    *(timm_safetensors, torchxrayvision, chexnet, averaged, of_a_trainer, sequential),
)


@pytest.mark.parametrize("write", STARTS)
def test_twelve_foreign_checkpoints_are_a_start(
    write: Callable[[str], str], start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = ".safetensors" if "safetensors" in write.__name__ else ".pth"
    model = write(f"file{suffix}")
    assert start(model, f"file{suffix}") == 0
    found = facts()
    assert found["n_fit"] == found["n_backbone"] > 50
    assert len(found["unexpected"]) <= 2  # a classifier of another name
    said = "".join(capsys.readouterr())
    assert "classifier" in said and found["head"].split(",")[0] in said
    if write is averaged:
        assert found["prefix"] == "state_dict_ema.module."
    if write is torchxrayvision:
        assert "batch norm has to adapt" in said


# --- the classifier ------------------------------------------------------------------------------


def test_a_run_gives_its_name_and_its_classifier_by_label(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("Fracture", "Pleural Effusion", "Edema")
    base = make_run(tmp_path / "artifacts", model="timm:test_resnet", labels=other, name="base")
    theirs = torch.load(base.best_model_path, weights_only=True)
    for named in ("base", "artifacts/base", "artifacts/base/best_model.pth"):
        assert start("timm:test_resnet", named, "--lr", "1e-12") == 0
        assert "new for Atelectasis, Cardiomegaly, Consolidation" in facts()["head"]
        said = "".join(capsys.readouterr())
        assert "the file's for Edema, Pleural Effusion" in said
        record = RunDir(Path("artifacts") / NAME).read_record()
        assert record.config.model.weights == "artifacts/base/best_model.pth"
        ours = torch.load(Path("artifacts") / NAME / "best_model.pth", weights_only=True)
        torch.testing.assert_close(ours["fc.weight"][3], theirs["fc.weight"][2])
        torch.testing.assert_close(ours["fc.weight"][4], theirs["fc.weight"][1])
        torch.testing.assert_close(ours["fc.bias"][3:], theirs["fc.bias"][[2, 1]])
    stranger = tmp_path / "copy.pth"
    stranger.write_bytes(base.best_model_path.read_bytes())
    assert start("timm:test_resnet", str(stranger)) == 0
    assert facts()["head"] == "new: nothing says which labels the file's 3 outputs are"
    assert facts()["replaced"] == ["fc.bias", "fc.weight"]


def test_a_new_run_never_empties_the_folder_that_it_starts_from(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_run(tmp_path / "artifacts", model="timm:test_resnet", name=NAME)
    before = base.best_model_path.read_bytes()
    Path("folder").symlink_to(base.path)
    Path("file.pth").symlink_to(base.best_model_path)
    there = f"artifacts/{NAME}/best_model.pth"
    for named in (NAME, there, f"artifacts/../{there}", "folder", "file.pth"):
        assert start("timm:test_resnet", named) == 4
        assert "give the new run another --name" in capsys.readouterr().err
        assert base.best_model_path.read_bytes() == before
    elsewhere = base.best_model_path.rename(tmp_path / "kept.pth")
    base.best_model_path.symlink_to(elsewhere)
    assert start("timm:test_resnet", NAME) == 4
    assert base.best_model_path.read_bytes() == before


# --- what is none --------------------------------------------------------------------------------


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("touch pickle_was_executed",))


def bomb(path: str) -> str:
    state = build_network("timm:test_resnet", 5).state_dict()
    torch.save({"state_dict": state, "x": _Bomb()}, path)
    return "asks for posix.system to be run"


def deflated(path: str) -> str:
    torch.save({"w": torch.zeros(1 << 24)}, "plain.pth")
    with (
        zipfile.ZipFile("plain.pth") as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    return "compressed, which torch.save never does"


def whole_module(path: str) -> str:
    torch.save(torchvision.models.resnet18(), path)
    return 'torch.save(torch.load("file.pth", weights_only=False).state_dict(), "plain.pth")'


def changed(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[str], str]:
    def write(path: str) -> str:
        state = build_network("timm:test_resnet", 5).state_dict()
        state[key] = change(state[key])
        torch.save(state, path)
        return key

    return write


def quantised(tensor: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


NO_STARTS = (
    *(bomb, deflated, whole_module, changed("bn1.weight", lambda t: t.to("meta"))),
    *(changed("bn1.weight", torch.Tensor.to_sparse), changed("bn1.weight", torch.Tensor.int)),
    *(changed("bn1.weight", lambda t: t * torch.nan), changed("bn1.weight", lambda t: t / 0)),
    changed("layer1.0.conv1.weight", quantised),
)


@pytest.mark.filterwarnings("ignore")  # torch's own, about quantised tensors
@pytest.mark.parametrize("write", NO_STARTS)
def test_no_start_is_an_error_and_nothing_runs(
    write: Callable[[str], str], start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    said = write("file.pth")
    assert start("timm:test_resnet", "file.pth") == 4
    shown = capsys.readouterr().err
    assert "file.pth" in shown and said in shown
    assert not Path("pickle_was_executed").exists() and not Path("artifacts", NAME).exists()


@pytest.mark.parametrize(
    "weights", ["x" * 300, "x" * 300 + "/y.pth", "nowhere.pth", "a\0b", "/dev/null", "."]
)
def test_a_name_of_no_file(
    weights: str, start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("timm:test_resnet", weights) == 2
    assert "neither a file, nor a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("timm:resnet18.a1_in1kk", "did you mean 'resnet18.a1_in1k'?"),
        ("timm:resnet18.", "no such model"),
        ("timm:resnet18.../x", "no such model"),
        ("timm:../resnet18", "no such model"),
        ("timm:resnet19", "did you mean 'resnet18'?"),
        ("timm:" + "x" * 300, "no such model"),
    ],
)
def test_models_that_timm_does_not_have(
    model: str, said: str, start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    assert start(model, "none") == 2
    assert said in capsys.readouterr().err


# --- within a memory limit -----------------------------------------------------------------------


def test_weights_that_are_not_numbers_end_every_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet", image_size=32, data_dir=data)
    state = torch.load(run_dir.best_model_path, weights_only=True)
    torch.save(state | {"fc.bias": torch.full((5,), torch.nan)}, run_dir.best_model_path)
    record = run_dir.read_record()
    own = record.provenance.model_copy(update={"checkpoint_sha256": None})
    run_dir.write_record(record.config, own)
    image = next(data.rglob("*.jpg"))
    for command in (["evaluate"], ["explain", str(image)]):
        assert main([*command, "--artifacts-dir", str(tmp_path)]) == 4
        assert "fc.bias holds values that are not finite numbers" in capsys.readouterr().err


def test_a_bomb_ends_in_its_error_where_memory_is_short(data: Path, tmp_path: Path) -> None:
    """26 MB that become 6.7 GB, in a process that may have 6 GB of addresses."""
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("x/data.pkl", b"\x80\x02}.")
        file.writestr("x/version", b"3\n")
        with file.open("x/data/0", "w", force_zip64=True) as member:
            for _ in range(100):
                member.write(bytes(1 << 20))
    code = "import resource, sys; from pulmonet.cli.main import main; most = 6 << 30; "
    code += "resource.setrlimit(resource.RLIMIT_AS, (most, most)); sys.exit(main(sys.argv[1:]))"
    line = ["train", "--data-dir", str(data), "--weights", "bomb.pth", "--model", "resnet50"]
    done = forked.run(*line, folder=tmp_path, code=code)
    assert done.returncode == 4, done.stderr
    assert "bomb.pth: not readable as plain weights: compressed" in done.stderr
