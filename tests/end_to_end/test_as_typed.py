"""The design's command lines exactly as typed, each in a process of its own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import forked
from pulmonet.data.phantoms.write import write_phantoms
from small_networks import small_densenet121

pytestmark = pytest.mark.slow


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Seeded weights of a small DenseNet with 1,000 outputs, on a mirror on this machine."""
    folder = tmp_path_factory.mktemp("mirror")
    torch.manual_seed(0)
    plain = folder / "weights.pth"
    torch.save(small_densenet121().state_dict(), plain)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
    plain.rename(folder / f"densenet121-{digest}.pth")
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/densenet121-{digest}.pth"
    server.shutdown()
    thread.join()
    server.server_close()


SMALL = """
import torchvision, small_networks
torchvision.models.densenet121 = small_networks.small_densenet121
"""


def pulmonet(folder: Path, weights_url: str, *arguments: str) -> str:
    """Standard output of one command, run in `folder`; it must end with 0."""
    environment = {
        "PULMONET_WEIGHTS_URL": weights_url,
        "TORCH_HOME": str(folder / ".torch"),
        "OMP_NUM_THREADS": "1",
    }
    code = SMALL + forked.PULMONET
    done = forked.run(*arguments, folder=folder, environment=environment, code=code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lines_of_the_design(tmp_path: Path, weights_url: str) -> None:
    write_phantoms(tmp_path / "data" / "CheXpert-v1.0-small", 10, 42)
    image = next((tmp_path / "data").rglob("*frontal.jpg"))
    shutil.copy(image, tmp_path / "image.jpg")
    trained = pulmonet(tmp_path, weights_url, "train", "--model", "densenet121", "--subset", "0.01")
    assert trained.splitlines()[0].startswith("Dataset: CheXpert-v1.0-small (SYNTHETIC")
    assert "DenseNet121_Weights.IMAGENET1K_V1" in trained
    explained = pulmonet(tmp_path, weights_url, "explain", "image.jpg", "--label", "Edema")
    assert "Edema" in explained
    pulmonet(tmp_path, weights_url, "report")
    run = tmp_path / "artifacts" / "densenet121"
    expected = {"run_config.json", "best_model.pth", "last_checkpoint.pth", "training_log.csv"}
    assert expected | {"curves.png"} <= {path.name for path in run.iterdir()}
    assert (run / "explain" / "image" / "gradcam_Edema.png").exists()
    assert "CheXpert-v1.0-small" in (tmp_path / "artifacts" / "report.md").read_text()


def test_without_data_after_the_demo(tmp_path: Path, weights_url: str) -> None:
    prepared = pulmonet(tmp_path, weights_url, "prepare", "--demo", "--patients", "10")
    assert "SYNTHETIC" in prepared
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    trained = pulmonet(
        elsewhere, weights_url, "train", "--model", "densenet121", "--subset", "0.01", "--epochs=1"
    )
    assert "SYNTHETIC" in trained.splitlines()[0]
