"""Runs, datasets and configurations of strangers: their error, nothing written elsewhere.

Each was tried by hand first (docs/security.md); what did harm then is a test here.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from run_factory import make_run
from small_dataset import smooth_image

NAMES = tuple(f"patient{number}/study1/view.png" for number in range(1, 7))


def write_dataset(root: Path, names: tuple[str, ...] = NAMES, table: str = "valid.csv") -> None:
    """Images in the layout of CheXpert; every second one has Edema."""
    lines = ["Path,patient,Edema,Pleural Effusion"]
    for number, name in enumerate(names):
        path = root / name
        if ".." not in name.split("/") and not name.startswith("/"):
            path.parent.mkdir(parents=True, exist_ok=True)
            png = cv2.imencode(".png", smooth_image(number))[1].tobytes()
            path.write_bytes(png)
        lines.append(f'"{name}",{table[0]}{number},{number % 2},{(number + 1) % 2}')
    (root / table).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def _original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    write_dataset(folder / "data")
    make_run(
        folder / "artifacts",
        model="timm:test_resnet",
        labels=("Edema", "Pleural Effusion"),
        image_size=32,
        data_dir=folder / "data",
        name="run",
    )
    return folder


@pytest.fixture
def run_dir(_original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run and its dataset in the current folder."""
    shutil.copytree(_original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return RunDir(Path("artifacts") / "run")


def evaluate(*further: str) -> int:
    return main(["evaluate", "run", "--data-dir", "data", "--bootstrap", "100", *further])


def explain(*further: str) -> int:
    return main(["explain", "--run", "run", "--data-dir", "data", *further])


def edit_record(run_dir: RunDir, **values: Any) -> None:
    """Change run_config.json: ``{"config.data.labels": [...]}``."""
    document = json.loads(run_dir.config_path.read_text())
    for key, value in values.items():
        *parents, last = key.split("__")
        place = document
        for parent in parents:
            place = place[parent]
        place[last] = value
    run_dir.config_path.write_text(json.dumps(document))


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["...png", "..png", "a/...png", "-rf.png", "p/" + "y" * 240 + ".png"]
)
def test_no_image_name_leaves_the_explain_folder(name: str, run_dir: RunDir) -> None:
    """``Path("...png").stem`` is ``..``: once the run's own folder."""
    shutil.rmtree("data")
    write_dataset(Path("data"), (name, "b/x.png", "c/x.jpg.png"))
    before = sorted(run_dir.path.iterdir())
    assert explain("--rows", "3", "--show-absent") == 0
    assert sorted(run_dir.path.iterdir()) == sorted(
        {*before, run_dir.explain_dir, run_dir.path / ".pulmonet"}
    )
    assert len([path for path in run_dir.explain_dir.iterdir() if path.is_dir()]) == 3


def test_images_of_one_name_in_two_folders_have_folders_of_their_own(run_dir: RunDir) -> None:
    shutil.rmtree("data")
    write_dataset(Path("data"), ("x/p1/s/v.png", "y/p1/s/v.png", "p1/s/v.png"))
    assert explain("--rows", "3") == 0
    assert len(list(run_dir.explain_dir.glob("*/maps.npz"))) == 3


@pytest.mark.parametrize("label", ["../x", "..", "a/b", "é" * 190, "[bold]x[/]", "=cmd|x"])
def test_labels_become_file_names_in_their_folder(
    label: str, run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [label, "Edema"]
    edit_record(run_dir, config__data__labels=labels, provenance__labels=labels)
    before = sorted(Path().rglob("*"))
    assert explain() == 0
    new = set(Path().rglob("*")) - set(before)
    assert all(run_dir.path in path.parents for path in new)
    assert len([path for path in new if path.name.startswith("gradcam_")]) >= 2
    assert main(["report", "--html"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("label", ["a\nb", "a\0b", "x" * 5000, "\x1b]0;title\x07", " "])
def test_labels_that_are_no_names_are_refused(
    label: str, run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_record(run_dir, provenance__labels=[label, "Edema"])
    assert explain() == 4
    said = capsys.readouterr().err
    assert "not a name" in said and "\x1b" not in said and len(said) < 1000


def test_labels_that_would_share_files_are_refused(
    run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path("data/valid.csv").read_text().replace("Edema,", "A b,").replace("Pleural ", "A/b ")
    Path("data/valid.csv").write_text(table.replace("A/b Effusion", "A/b"))
    assert main(["prepare", "data", "--labels", "all", "--check-only"]) == 2
    assert "their files would have the same names" in capsys.readouterr().err


# --- files that are none -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("run/run_config.json", ("report", "evaluate", "explain")),
        ("run/best_model.pth", ("evaluate", "explain")),
        ("run/calibration.json", ("report", "explain")),
        ("run/training_log.csv", ("report",)),
        ("run/explain/explanations.json", ("report",)),
        ("run/predictions_data_valid.csv", ("report",)),
        ("run/evaluation_data_valid.json", ("report",)),
        ("run/explain/one/maps.npz", ("report",)),
        ("final_evaluation_results.csv", ("report", "evaluate")),
    ],
)
def test_nothing_waits_for_a_pipe(
    name: str, commands: tuple[str, ...], kind: str, run_dir: RunDir
) -> None:
    path = Path("artifacts") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    calls = {"report": lambda: main(["report"]), "evaluate": evaluate, "explain": explain}
    for command in commands:
        assert calls[command]() == 4


def test_no_image_is_a_pipe(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.png")
    assert main(["explain", "--run", "run", "pipe.png"]) == 3
    assert "pipe.png: cannot be read (not a plain file)" in capsys.readouterr().err
    assert main(["explain", "--run", "run", "missing.png"]) == 3
    assert "missing.png: no such file" in capsys.readouterr().err
    assert main(["explain", "--run", "run", "pipe.png", "missing.png"]) == 3
    assert "missing.png: cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_no_option_waits_for_a_pipe(place: str, run_dir: RunDir) -> None:
    os.mkfifo("pipe")
    assert main(["train", "--config", place]) == 2
    assert main(["report", "--author-notes", place]) == 2
    assert main(["prepare", "data", "--check-only", "--splits", place]) == 3
    assert main(["prepare", "data", "--check-only", "--join", place]) == 3


@pytest.mark.parametrize("name", ["boxes.csv", "gt_segmentations_val.json"])
def test_no_regions_come_from_a_pipe(
    name: str, run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(name)
    assert main(["explain", "--run", "run", "--data-dir", "data", "--boxes", name]) == 3
    assert f"{name}: cannot be read" in capsys.readouterr().err


# --- bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dots.toml", ".".join("a" * 5000) + " = 1"),
        ("deep.toml", "x = " + "[" * 100_000),
        ("deep.json", "[" * 100_000),
        ("digits.json", '{"seed": ' + "9" * 5000 + "}"),
        ("keys.json", json.dumps({f"key{number}": {} for number in range(5000)})),
    ],
)
def test_configurations_that_are_bombs(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert main(["train", "--config", str(path)]) == 2
    assert len(capsys.readouterr().err) < 5000


@pytest.mark.parametrize("assignment", ["seed=" + "[" * 100_000, "a." * 5000 + "x=1"])
def test_assignments_that_are_bombs(assignment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--set", assignment]) == 2
    assert len(capsys.readouterr().err) < 1000


def test_heat_maps_that_are_bombs_are_named_and_left_out(
    run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain() == 0
    (path,) = run_dir.explain_dir.glob("*/maps.npz")
    np.savez_compressed(
        path,
        labels=np.asarray(["Edema"]),
        scores=np.zeros(1, np.float32),
        maps=np.zeros((1, 5000, 5000), np.float32),
    )
    capsys.readouterr()
    assert main(["report"]) == 4
    assert "would unpack to 100,000,000 bytes" in capsys.readouterr().err
    # the X-ray beside good maps: a header of 3.6 gigapixels
    assert explain() == 4  # what another hand has changed stays until it is removed
    path.unlink()
    assert explain() == 0
    png = bytearray((path.parent / "xray.png").read_bytes())
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    (path.parent / "xray.png").write_bytes(png)
    capsys.readouterr()
    assert main(["report"]) == 4
    assert "more than 200 megapixels" in capsys.readouterr().err


class Bomb:
    """What a pickle makes of this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pickle_was_executed"),)


@pytest.mark.parametrize(
    "name", ["best_model.pth", "last_checkpoint.pth", "stage1/last_checkpoint.pth"]
)
def test_no_pickle_of_a_stranger_is_executed(name: str, run_dir: RunDir) -> None:
    path = run_dir.path / name
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"format": 1, "network": Bomb(), "state_dict": Bomb()}, buffer)
    path.write_bytes(buffer.getvalue())
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)  # it would go off
    Path("pickle_was_executed").unlink()
    edit_record(run_dir, provenance__checkpoint_sha256=None, provenance__status="running")
    write_dataset(
        Path("data"),
        tuple(f"train/{name}".replace("patient", "patient1") for name in NAMES),
        "train.csv",
    )
    policy = ["--set", "targets.uncertain_policy=self-trained"] if "stage1" in name else []
    if policy:
        table = Path("data") / "train.csv"  # something uncertain, or there is no stage one
        table.write_text(table.read_text().replace(",1,0\n", ",-1,0\n", 1))
        edit_record(run_dir, config__targets__uncertain_policy="self-trained")
    codes = {
        evaluate(),
        main(["train", "--name", "run", "--resume", "--data-dir", "data", *policy]),
    }
    assert codes <= {0, 4} and 4 in codes
    assert not Path("pickle_was_executed").exists()


# --- what is shown -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Glyph")
def test_file_names_do_not_command_the_terminal(
    run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "patient1/\x1b]0;title\x07\x9b2J.png"
    shutil.rmtree("data")
    write_dataset(Path("data"), (name, "b/x.png"))
    assert explain() == 0
    Path("data", name).write_bytes(b"damaged")
    shutil.rmtree(os.environ["PULMONET_CACHE_DIR"], ignore_errors=True)
    assert evaluate() == 3
    said = "".join(capsys.readouterr())
    assert "damaged" in said or "not a JPEG" in said
    assert not any(control in said for control in "\x1b\x07\x9b")
