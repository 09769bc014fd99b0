"""A whole run of marked patients: what must be in no file that one gives away."""

from __future__ import annotations

import contextlib
import csv
import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import forked

PATIENT, HOME, HOST = "ZQMARK", "homezqx", "hostzqx"
#: Commands on a machine of that name, until one ends with another code than 0.
PULMONET = f"""
import json, platform, socket, sys
socket.gethostname = platform.node = lambda: "{HOST}"
from pulmonet.cli.main import main

for line in json.loads(sys.argv[1]):
    code = main(line)
    if code:
        sys.exit(code)
"""
#: What names patients by its purpose, and is said to in docs/file-formats.md.
NAMES_PATIENTS = (
    *("predictions_", "evaluation_", "suspect_labels"),
    *("prepare_report.json", "near_duplicates", "boxes"),
)
SMALL = ("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--image-size", "32")


def pulmonet(cwd: Path, *lines: list[str], code: int = 0) -> str:
    """What the commands say on stderr."""
    home = cwd.parent
    environment = {
        "HOME": str(home),
        "PULMONET_CACHE_DIR": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "user"),
    }
    done = forked.run(json.dumps(lines), folder=cwd, environment=environment, code=PULMONET)
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the five commands leave, and a damaged file that quotes a patient."""
    work = tmp_path_factory.mktemp("x") / HOME / "work"
    root = work / "tiny"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (root / "train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Path", "patient", "split", "Edema", "Fracture"])
        for number in range(24):
            name = f"{PATIENT}{number:03d}/film_{PATIENT}{number:03d}.png"
            (root / name).parent.mkdir()
            cv2.imwrite(str(root / name), rng.integers(0, 255, (40, 40), dtype=np.uint8))
            split = "train" if number < 14 else "valid"
            table.writerow([name, f"{PATIENT}{number:03d}", split, number % 2, number % 3 == 0])
    data = ("--data-dir", str(root))
    mapped = ("--map", "path=Path", "--map", "patient=patient", "--map", "split=split")
    train = ["train", *data, *SMALL, "--labels", "all", "--name", "run", "--batch-size", "8"]
    export = ("--export", "onnx") if _has("onnxscript") else ()
    evaluate = ["evaluate", "run", *data, "--bootstrap", "100", *export]
    explain = ["explain", "--run", "run", *data, "--split", "valid", "--rows", "2"]
    pulmonet(work, ["prepare", str(root), *mapped], train, evaluate, explain)
    found = work / "artifacts"
    predictions = next((found / "run").glob("predictions_*.csv"))
    text = predictions.read_text().splitlines()
    text[2] = text[2].replace(",1,", f",{PATIENT}017,").replace(",0,", f",{PATIENT}017,")
    predictions.write_text("\n".join(text) + "\n")
    maps = sorted((found / "run" / "explain").glob("*/maps.npz"))[0]
    maps.write_bytes(b"damaged")
    said = pulmonet(work, ["report", "--html"], code=4)
    assert PATIENT in said  # on the screen of whoever has the data it helps
    return found


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _holds(path: Path, word: str) -> bool:
    """Whether a name or a file holds a word, packed as a page packs its pictures or not."""
    content = path.read_bytes()
    texts = [str(path.name).encode(), content]
    start = content.find(b"x\x9c")
    while start >= 0 and len(texts) < 40:
        with contextlib.suppress(zlib.error):
            texts.append(zlib.decompressobj().decompress(content[start:]))
        start = content.find(b"x\x9c", start + 1)
    return any(word.encode() in text for text in texts)


def test_neither_home_nor_host_is_in_any_file(artifacts: Path) -> None:
    files = [path for path in artifacts.rglob("*") if path.is_file()]
    assert len(files) > 25
    for word in (HOME, HOST):
        assert [path for path in files if _holds(path, word)] == [], word


def test_no_patient_is_in_what_is_given_away(artifacts: Path) -> None:
    run = artifacts / "run"
    pages = [*artifacts.glob("*.*"), *artifacts.glob("report_files/*"), *run.glob("*.*")]
    given = [path for path in pages if not path.name.startswith(NAMES_PATIENTS)]
    names = {path.name for path in given}
    assert {"report.md", "report.html", "MODEL_CARD.md", "best_model.pth"} <= names
    assert [path for path in given if path.is_file() and _holds(path, PATIENT)] == []
    assert [path for path in run.rglob("*") if _holds_name(path)], "the marker marks nothing"


def _holds_name(path: Path) -> bool:
    return path.is_file() and PATIENT in str(path.relative_to(path.parents[3]))
