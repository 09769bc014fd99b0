"""What was computed from other weights or rows than now lie there is named, and left out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from run_factory import make_run

MODEL = "timm:test_resnet"
EVALUATION = "evaluation_tiny_valid.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", n_train=8, n_valid=12)


def make(artifacts: Path, data: Path, name: str, seed: int) -> str:
    """A run, or its weights anew: what `--resume` with more epochs does to the folder."""
    how = {"model": MODEL, "labels": ("Cardiomegaly", "Edema"), "image_size": 32}
    run_dir = make_run(artifacts, data_dir=data, name=name, seed=seed, **how)
    return run_dir.read_record().provenance.checkpoint_sha256 or ""


def evaluate(artifacts: Path, *arguments: str) -> int:
    where = ("--artifacts-dir", str(artifacts), "--bootstrap", "100", "--no-figures")
    return main(["evaluate", *where, *arguments])


def report(artifacts: Path) -> str:
    """All pages as one text."""
    assert main(["report", "--artifacts-dir", str(artifacts), "--html"]) == 0
    pages = [artifacts / name for name in ("report.md", "report.html", "MODEL_CARD.md")]
    pages += sorted((artifacts / "report_files").glob("*.md"))
    return "\n".join(page.read_text("utf-8") for page in pages)


def macro(path: Path) -> str:
    return f"{json.loads(path.read_text())['runs'][0]['macro']['auroc']['value']:.3f}"


def test_an_evaluation_of_weights_that_are_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(tmp_path, data, "a", 0)
    assert evaluate(tmp_path) == 0
    old = macro(tmp_path / "a" / EVALUATION)
    assert old in report(tmp_path)
    after = make(tmp_path, data, "a", 1)
    capsys.readouterr()
    pages = report(tmp_path)
    said = capsys.readouterr().err
    for where in (f"a/{EVALUATION}", "a/calibration.json", "final_evaluation_results.csv"):
        assert where in said and where.replace("_", "\\_") in pages, where
    why = f"of other weights (SHA-256 {before[:12]}, now {after[:12]})"
    assert why in said and pages.count(why) >= 3  # in each of the pages
    assert old not in pages
    assert evaluate(tmp_path) == 0
    assert "fitted anew" in capsys.readouterr().err
    assert "STALE" not in report(tmp_path)


def test_the_table_marks_rows_of_weights_that_are_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate("ab"):
        make(tmp_path, data, name, seed)
    assert evaluate(tmp_path, "--ensemble") == 0
    make(tmp_path, data, "a", 7)
    capsys.readouterr()
    assert evaluate(tmp_path, "b") == 0
    said = capsys.readouterr().err
    assert "a on tiny, valid is of other weights" in said
    assert "ensemble on tiny, valid is of other weights" in said
    assert ": b on" not in said
    text = (tmp_path / "final_evaluation_results.md").read_text()
    assert re.search(r"\| a \(STALE: of other weights", text)


def test_the_table_goes_by_the_weights_that_lie_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by run_config.json, which has no digest while a longer run is unfinished."""
    for seed, name in enumerate("ab"):
        make(tmp_path, data, name, seed)
    assert evaluate(tmp_path) == 0
    path = tmp_path / "a" / "run_config.json"
    record = json.loads(path.read_text())
    record["provenance"] |= {"status": "interrupted", "checkpoint_sha256": None}
    path.write_text(json.dumps(record))
    (tmp_path / "a" / "best_model.pth").write_bytes(
        (tmp_path / "b" / "best_model.pth").read_bytes()
    )
    capsys.readouterr()
    assert evaluate(tmp_path, "b") == 0
    assert "a on tiny, valid is of other weights" in capsys.readouterr().err


def test_a_comparison_with_weights_that_are_gone_is_dropped(data: Path, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        make(tmp_path, data, name, seed)
    assert evaluate(tmp_path) == 0
    assert "a less b" in report(tmp_path)
    make(tmp_path, data, "b", 7)
    assert "a less b" not in report(tmp_path)
    (tmp_path / "b" / EVALUATION).unlink()  # nothing of b tells that it was compared
    assert "a less b" not in report(tmp_path)


def test_scores_that_are_not_those_of_the_evaluation(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, data, "a", 0)
    assert evaluate(tmp_path) == 0
    assert "Choose a threshold" in report(tmp_path)
    path = tmp_path / "a" / "predictions_tiny_valid.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    capsys.readouterr()
    assert "Choose a threshold" not in report(tmp_path)
    assert "predictions_tiny_valid.csv: of other rows or scores (SHA-256" in capsys.readouterr().err


def test_heat_maps_of_weights_that_are_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(tmp_path, data, "a", 0)
    where = ("--artifacts-dir", str(tmp_path), "--data-dir", str(data))
    assert main(["explain", *where, "--split", "valid", "--rows", "1"]) == 0
    assert main(["explain", *where, "--sanity", "--rows", "1", "--label", "Edema"]) == 0
    assert "X-ray and heat maps" in report(tmp_path)
    make(tmp_path, data, "a", 1)
    capsys.readouterr()
    pages = report(tmp_path)
    said = capsys.readouterr().err
    assert "X-ray and heat maps" not in pages and "Sanity check" not in pages
    for name in ("explanations.json", "sanity.json", "maps.npz"):
        assert re.search(f"explain/.*{name}: of other weights .SHA-256 {before[:12]}", said), name


def test_thresholds_of_weights_that_are_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make(tmp_path, data, "a", 0)
    assert evaluate(tmp_path) == 0
    after = make(tmp_path, data, "a", 1)
    capsys.readouterr()
    image = next((data / "valid").rglob("*.jpg"))
    assert main(["explain", str(image), "--artifacts-dir", str(tmp_path)]) == 0
    why = f"of other weights (SHA-256 {before[:12]}, now {after[:12]})"
    assert f"calibration.json: left out, since it is {why}" in capsys.readouterr().err
    found = json.loads((tmp_path / "a" / "explain" / "explanations.json").read_text())
    assert all(one["threshold"] is None for one in found["images"][0]["labels"].values())


def test_a_calibration_of_rows_that_have_changed_since(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "tiny", n_train=8, n_valid=12)
    make(tmp_path / "artifacts", root, "a", 0)
    assert evaluate(tmp_path / "artifacts") == 0
    table = root / "train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    capsys.readouterr()
    assert evaluate(tmp_path / "artifacts", "--split", "train") == 0
    assert "rows have changed since; fitted anew" in capsys.readouterr().err


def test_an_export_takes_no_thresholds_of_other_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    make(tmp_path, data, "a", 0)
    assert evaluate(tmp_path) == 0
    kept = (tmp_path / "a" / "calibration.json").read_bytes()
    after = make(tmp_path, data, "a", 1)
    assert evaluate(tmp_path, "--split", "train") == 0
    (tmp_path / "a" / "calibration.json").write_bytes(kept)
    capsys.readouterr()
    assert evaluate(tmp_path, "--tta", "flip", "--export", "onnx") == 0  # fits no calibration
    assert "calibration.json: left out, since it is of other weights" in capsys.readouterr().err
    model = onnx.load(tmp_path / "a" / "model.onnx")
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert facts["thresholds"] == {} and facts["checkpoint_sha256"] == after
