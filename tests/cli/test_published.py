"""Published networks as runs: ``--run xrv:NAME`` and ``train --weights xrv:NAME``."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from tests.images import read_grey
from torch import Tensor

import forked
import pulmonet
from chexpert_factory import write_dataset
from published_factory import ALL, DenseNet, make, package, save, served, small
from pulmonet.cli.main import main
from pulmonet.data.images.square import fit_square, pack_side
from pulmonet.errors import ArtifactError
from pulmonet.labels import align
from pulmonet.models.matching import backbone_keys
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import load_pretrained
from pulmonet.models.published import PREFIX, published
from pulmonet.run.folder import RunDir
from report_reader import whole_report

RUN = "xrv-densenet121-res224-all"


@pytest.fixture
def real_size() -> None:
    """For tests of networks as large as the published ones."""


@pytest.fixture(autouse=True)
def _small(request: pytest.FixtureRequest) -> Iterator[None]:
    """For all others: the same layers, fewer and narrower."""
    with contextlib.nullcontext() if "real_size" in request.fixturenames else small():
        yield


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the release page's: the file of `ALL`, in the old format."""
    folder = tmp_path_factory.mktemp("release")
    with small(), package():
        save(make(), folder / Path(published(ALL).url).name, new_format=False)
    return folder


@pytest.fixture
def offered(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That file, downloadable without a server, for commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", release.as_uri())
    return release / Path(published(ALL).url).name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("published") / "tiny", n_train=4, n_valid=8)


def squares(paths: list[Path], side: int = 224) -> NDArray[np.uint8]:
    """(N, S, S) grey: the central squares, through the pack's size."""
    packed = [fit_square(read_grey(path), pack_side(side), "crop") for path in paths]
    return np.stack([fit_square(each, side, "stretch") for each in packed])


def at_their_scale(pixels: NDArray[np.uint8]) -> Tensor:
    """torchxrayvision's `utils.normalize`: 0 to 255 becomes -1024 to 1024."""
    return torch.from_numpy((2 * (pixels.astype(np.float32) / 255) - 1) * 1024)[:, None]


# --- scores against theirs -----------------------------------------------------------------------


@pytest.mark.parametrize("new_format", [True, False])
def test_scores_of_a_stand_in_file_are_those_of_the_module(
    real_size: None, new_format: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", tmp_path.as_uri())
    network = make()
    with package():
        save(network, tmp_path / Path(published(ALL).url).name, new_format=new_format)
    paths = sorted(data.rglob("*.jpg"))[:4]
    model = pulmonet.load(ALL, "cpu", tmp_path)
    with torch.inference_mode():
        theirs = torch.sigmoid(network(at_their_scale(squares(paths)))).numpy()
    np.testing.assert_allclose(model.predict(paths), theirs, atol=1e-5)
    assert theirs.std(axis=0).max() > 0.01


@pytest.mark.filterwarnings("ignore")  # the package's own
def test_scores_and_logits_are_the_packages_on_real_x_rays(
    real_size: None, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = pytest.importorskip("torchxrayvision").models
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", tmp_path.as_uri())
    network = make(models.DenseNet)
    save(network, tmp_path / Path(published(ALL).url).name, new_format=False)
    paths = sorted((shared_data / "nih-cxr" / "valid").rglob("*.jpg"))[:4]
    model, pixels = pulmonet.load(ALL, "cpu", tmp_path), squares(paths)
    inputs = np.stack([models.utils.normalize(each.astype(np.float32), 255) for each in pixels])
    theirs = torch.from_numpy(inputs)[:, None]
    with torch.no_grad():
        logits = network(theirs)
        ours = model.run.network(torch.from_numpy(pixels)[:, None])
        np.testing.assert_allclose(ours, logits, atol=1e-5)
        scores = model.predict(paths)
        np.testing.assert_allclose(scores, torch.sigmoid(logits), atol=1e-5)
        # where the operating points are set, the package maps each of them to 0.5
        network.op_threshs = torch.tensor(models.model_urls["all"]["op_threshs"])
        normed = models.op_norm(torch.from_numpy(scores), network.op_threshs)
        np.testing.assert_allclose(normed, network(theirs), atol=1e-4)
    calibration = json.loads((tmp_path / RUN / "calibration.json").read_text())
    kept = [calibration["labels"][label]["thresholds"]["youden"] for label in model.labels]
    above = scores >= np.asarray(kept)
    assert (above == (network(theirs).detach().numpy() >= 0.5)).mean() == 1
    assert 0 < above.mean() < 1


@pytest.mark.filterwarnings("ignore")
def test_the_catalogue_is_the_packages() -> None:
    urls = pytest.importorskip("torchxrayvision").models.model_urls
    names = [name for name in urls if "-res" in name]
    assert len(names) == 8
    for name in names:
        ours, theirs = published(PREFIX + name), urls[name]
        assert (ours.url, ours.image_size) == (theirs["weights_url"], theirs["input_resolution"])
        expected = {
            align(label): (place, None if np.isnan(threshold) else threshold)
            for place, (label, threshold) in enumerate(
                zip(theirs["labels"], theirs["op_threshs"], strict=True)
            )
            if label
        }
        assert {label: tuple(pair) for label, pair in ours.outputs.items()} == expected
        assert name.startswith(ours.architecture)


# --- from install to picture, report and card ----------------------------------------------------


DRAWN = "import blank; blank.draw_figures()\n"
SMALL = """
import torchvision, small_networks
torchvision.models.densenet121 = small_networks.small_densenet121
"""


def test_one_line_from_an_empty_home_to_the_picture(
    release: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sorted(data.rglob("*.jpg"))[0], tmp_path / "image.jpg")
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "TORCH_HOME", "PULMONET_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()

    def run(line: str, url: str) -> tuple[int, str, str]:
        where = {"HOME": str(tmp_path / "home"), "PULMONET_WEIGHTS_URL": url}
        code = DRAWN + SMALL + forked.PULMONET
        done = forked.run(*line.split()[1:], folder=tmp_path, environment=where, code=code)
        return done.returncode, done.stdout, done.stderr

    with served(release) as url:
        code, _, said = run("pulmonet explain image.jpg --label Edema", url)
        offer = re.search(r"take a published network: (pulmonet .*)", said)
        assert code == 4 and offer is not None
        assert offer[1] == f"pulmonet explain image.jpg --label Edema --run {ALL}"
        code, out, said = run(offer[1] + " --show-absent", url)
    assert code == 0, said
    assert "trained on NIH ChestX-ray14, PadChest, CheXpert, MIMIC-CXR" in said
    assert "on these it is no external test" in said
    assert "threshold published by torchxrayvision" in said and "no verdict" not in said
    folder = tmp_path / "artifacts" / RUN / "explain"
    assert (folder / "image" / "gradcam_Edema.png").stat().st_size > 10_000
    found = json.loads((folder / "explanations.json").read_text())["images"][0]["labels"]["Edema"]
    with torch.inference_mode():
        logits = make()(at_their_scale(squares([tmp_path / "image.jpg"])))
    score = float(torch.sigmoid(logits)[0, 4])
    assert found["score"] == pytest.approx(score, abs=1e-5)
    assert found["threshold"] == 0.023601074 and found["present"] == (score >= 0.023601074)
    assert f"{found['score']:.3f}" in out
    # once: what is there needs no server, in no other folder either
    again = run(offer[1] + " --artifacts-dir other", "http://127.0.0.1:9")
    assert again[0] == 0, again[2]


def test_evaluate_report_and_card(
    offered: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(data, tmp_path / "hospital")
    line = ("evaluate", "--run", ALL, "--data-dir", str(root), "--bootstrap", "100")
    assert main([*line]) == 0
    said = "".join(capsys.readouterr())
    origin = "ublished by torchxrayvision (licence Apache-2.0) and trained on NIH ChestX-ray14"
    assert f"P{origin}" in said and "These rows decided nothing before" in said
    result = _result("hospital")
    assert result["external"] is True and result["rows_used_for"] == []
    point = result["labels"]["Edema"]["operating_points"][0]
    assert point["threshold"] == 0.023601074 and "torchxrayvision" in point["chosen_on"]
    assert main(["report", "--verify"]) == 0
    assert f"{RUN}: verified" in capsys.readouterr().out
    artifacts = tmp_path / "artifacts"
    for name in ("final_evaluation_results.csv", "final_evaluation_results.md", "report.md"):
        assert f"p{origin}" in (artifacts / name).read_text(), name
    card = (artifacts / "MODEL_CARD.md").read_text()
    assert card.count(f"p{origin}") >= 2 and "trained with PulmoNet" not in card
    assert "one channel, from −1024 to 1024" in card and "ImageNet" not in card
    report = whole_report(artifacts)
    assert "Learning rate" not in report and "0.0001" not in report  # nobody's settings
    assert f"pulmonet evaluate {ALL} --artifacts-dir ." in report


def _result(dataset: str, run: str = RUN) -> dict[str, Any]:
    path = Path("artifacts") / run / f"evaluation_{dataset}_valid.json"
    found: dict[str, Any] = json.loads(path.read_text())["runs"][0]
    return found


def test_a_dataset_called_as_one_trained_on_is_no_external_test(
    offered: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(data, tmp_path / "NIH-sample")
    line = ("--data-dir", str(root), "--bootstrap", "100", "--no-figures")
    assert main(["evaluate", ALL, *line]) == 0
    assert "used for perhaps training (it is called nih" in "".join(capsys.readouterr())
    assert _result("NIH-sample")["external"] is False
    assert "Internal testing only" in _report()


def _report() -> str:
    assert main(["report"]) == 0
    return whole_report(Path("artifacts"))


# --- every network -------------------------------------------------------------------------------


def test_resnet_of_three_labels_without_thresholds(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "xrv:resnet50-res512-all"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", tmp_path.as_uri())
    torch.manual_seed(1)
    network = torchvision.models.resnet50(num_classes=18).eval()
    network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    torch.nn.init.normal_(network.conv1.weight, std=0.0005)
    torch.save(network.state_dict(), Path(published(name).url).name)
    image = sorted(data.rglob("*.jpg"))[0]
    model = pulmonet.load(name, "cpu")
    assert model.run.image_size == 512 and len(model.labels) == 18
    with torch.inference_mode():
        theirs = torch.sigmoid(network(at_their_scale(squares([image], 512)))).numpy()
    np.testing.assert_allclose(model.predict(image), theirs, atol=1e-5)
    assert main(["explain", str(image), "--run", name, "--label", "Lung Lesion"]) == 0
    found = next(Path("artifacts").rglob("explanations.json")).read_text()
    assert "no threshold: none is published" in found


def test_outputs_without_a_name_are_left_out(offered: Path, tmp_path: Path) -> None:
    # the file of another network by that address: same outputs, other names for them
    monkey = pytest.MonkeyPatch()
    monkey.setenv("PULMONET_WEIGHTS_URL", offered.as_uri())
    rsna = pulmonet.load("xrv:densenet121-res224-rsna", "cpu", tmp_path)
    every = pulmonet.load(ALL, "cpu", tmp_path)
    monkey.undo()
    assert rsna.labels == ("Pneumonia", "Lung Opacity")
    image = np.random.default_rng(0).integers(0, 256, (300, 260), dtype=np.uint8)
    columns = [every.labels.index(label) for label in rsna.labels]
    np.testing.assert_allclose(rsna.predict(image), every.predict(image)[:, columns], atol=1e-6)


# --- as a start of training ----------------------------------------------------------------------


def test_licence_and_collections_go_on_from_run_to_run(offered: Path, data: Path) -> None:
    pulmonet.load(ALL, "cpu", Path("artifacts"))
    for start, name in ((f"artifacts/{RUN}", "first"), ("first", "second")):
        line = ["train", "--data-dir", str(data), "--weights", start, "--model", "densenet121"]
        line += ["--labels", "Edema,effusion", "--image-size", "32", "--epochs", "1", "--no-amp"]
        assert main([*line, "--name", name, "--set", "model.freeze=encoder"]) == 0
        facts = RunDir(Path("artifacts") / name).read_record().provenance
        assert facts.weights["source"] == "file" and not facts.is_published
        assert facts.weights["head"] == "the file's, by label name: Edema, Pleural Effusion"
        origin = f"started from {ALL}, made by torchxrayvision (licence Apache-2.0) and trained on"
        assert facts.origin().startswith(f"{origin} NIH ChestX-ray14, PadChest")
    root = write_dataset(Path("NIH-sample"), n_train=4, n_valid=8, seed=5)
    line = ["--data-dir", str(root), "--no-figures", "--bootstrap", "100"]
    assert main(["evaluate", "second", *line]) == 0
    assert any("called nih" in use for use in _result("NIH-sample", "second")["rows_used_for"])
    assert origin in _report()


def test_training_starts_from_it_at_its_own_pixel_scale(
    offered: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--data-dir", str(data), "--weights", ALL, "--model", "densenet121"]
    line += ["--labels", "Edema,effusion", "--image-size", "64", "--epochs", "1"]
    assert main([*line, "--batch-size", "4", "--no-amp", "--name", "fine"]) == 0
    said = "".join(capsys.readouterr())
    n_before = len(backbone_keys(build_network("densenet121", 2)))
    assert f"{n_before} of the {n_before} before the classifier" in said
    facts = RunDir(Path("artifacts/fine")).read_record().provenance
    assert facts.weights["name"] == ALL and len(facts.weights["sha256"]) == 64
    assert facts.weights["head"] == "the file's, by label name: Edema, Pleural Effusion"
    assert not facts.is_published and facts.origin().startswith(f"started from {ALL}, made by")
    assert "started from xrv:densenet121-res224-all" in _report()
    # before training: what a network of three channels on ImageNet's scale gives is the same but
    # for the border, where ImageNet's zero is another grey
    network = build_network("densenet121", 2).eval()
    load_pretrained(network, "densenet121", ALL, ("Edema", "Pleural Effusion"))
    pixels = squares(sorted(data.rglob("*.jpg"))[:3])
    with torch.inference_mode():
        ours = network(torch.from_numpy(pixels)[:, None])
        theirs = make()(at_their_scale(pixels))[:, [4, 7]]
    assert (ours - theirs).abs().max() < 0.1 * theirs.std()


def test_training_from_a_wrong_name(
    offered: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--data-dir", str(data), "--weights", "xrv:densenet121-res224-nhi"]
    assert main(line) == 2
    assert "did you mean 'xrv:densenet121-res224-nih'" in capsys.readouterr().err


# --- names, digests, what is in the way ----------------------------------------------------------


def test_wrong_names_are_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["explain", "x.jpg", "--run"], ["evaluate"], ["evaluate", "--run"]):
        assert main([*command, "xrv:densenet121-res224-al"]) == 2
        assert f"did you mean '{ALL}'" in capsys.readouterr().err
    assert main(["evaluate"]) == 4
    assert f"pulmonet evaluate {ALL}" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_file_that_changed_since_its_first_download_is_refused(
    offered: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", str(sorted(data.rglob("*.jpg"))[0]), "--label", "Edema", "--run", ALL]
    assert main(line) == 0
    cached = tmp_path / "torch" / "hub" / "checkpoints" / offered.name
    first = (cached.parent / f"{RUN}.sha256").read_text()
    network = make()
    network.classifier.bias.data += 1
    with package():
        save(network, cached)
    assert main(line) == 0  # the run that was made of the first one stays what it was
    capsys.readouterr()
    assert main([*line, "--artifacts-dir", "other"]) == 4
    said = capsys.readouterr().err
    assert f"was {first[:12]} at the first download" in said and "remove it" in said
    assert not Path("other").exists()
    cached.unlink()
    assert main([*line, "--artifacts-dir", "other"]) == 0  # fetched anew, and the same


def test_a_cache_that_may_only_be_read_serves(
    offered: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, _: str) -> None:
        raise ArtifactError(f"{path}: cannot be written")

    monkeypatch.setattr("pulmonet.models.published.write_atomic", write)
    image = str(sorted(data.rglob("*.jpg"))[0])
    assert main(["explain", image, "--label", "Edema", "--run", ALL]) == 0
    assert not list(tmp_path.rglob(f"{RUN}.sha256"))


def test_out_of_reach_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", "http://127.0.0.1:9")
    assert main(["evaluate", "--run", ALL]) == 4
    said = capsys.readouterr().err
    assert f"{ALL}: cannot be downloaded from http://127.0.0.1:9/" in said
    assert "put the file at" in said and "PULMONET_WEIGHTS_URL" in said
    assert not (tmp_path / "artifacts").exists()


def test_another_run_or_file_in_its_place_stays(
    offered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "artifacts" / RUN
    folder.mkdir(parents=True)
    (folder / "best_model.pth").write_bytes(b"mine")
    assert main(["evaluate", "--run", ALL]) == 4
    assert "not PulmoNet's" in capsys.readouterr().err
    assert (folder / "best_model.pth").read_bytes() == b"mine"
    (folder / "best_model.pth").unlink()
    pulmonet.load(ALL, "cpu")
    record = json.loads((folder / "run_config.json").read_text())
    record["provenance"]["weights"]["name"] = "xrv:densenet121-res224-nih"
    (folder / "run_config.json").write_text(json.dumps(record))
    assert main(["evaluate", "--run", ALL]) == 4
    assert "another run; rename it" in capsys.readouterr().err


def test_a_file_that_is_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PULMONET_WEIGHTS_URL", tmp_path.as_uri())
    whole = make().state_dict()
    states: list[dict[str, Tensor]] = [
        {key: tensor for key, tensor in whole.items() if key != "features.norm5.running_mean"},
        whole | {"features.norm5.running_mean": whole["features.norm5.running_mean"] * torch.nan},
        torchvision.models.resnet18().state_dict(),
        DenseNet().state_dict() | {"classifier.weight": whole["classifier.weight"][:5]},
        DenseNet().state_dict()
        | {"features.conv0.weight": whole["features.conv0.weight"].repeat(1, 3, 1, 1)},
    ]
    for state in states:
        shutil.rmtree(tmp_path / "torch", ignore_errors=True)
        torch.save(state, Path(published(ALL).url).name)
        assert main(["evaluate", "--run", ALL]) == 4
        assert f"not {ALL} (" in capsys.readouterr().err
        assert not (tmp_path / "artifacts").exists()
    shutil.rmtree(tmp_path / "torch")
    (tmp_path / Path(published(ALL).url).name).write_text("<!doctype html><title>Sign in</title>")
    assert main(["evaluate", "--run", ALL]) == 4
    assert "a web page instead of the file" in capsys.readouterr().err
    # none of these was taken for the published file: the right one is not refused after them
    (tmp_path / "torch" / "hub" / "checkpoints" / Path(published(ALL).url).name).unlink()
    torch.save(whole, Path(published(ALL).url).name)
    assert len(pulmonet.load(ALL, "cpu").labels) == 18
