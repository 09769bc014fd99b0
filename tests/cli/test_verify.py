"""`report --verify`: what a reviewer runs on a folder that somebody sent."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chexpert_factory import write_dataset
from evaluation_factory import evaluate
from pulmonet.cli.main import main
from run_factory import make_named_runs

EVALUATION, PREDICTIONS = "evaluation_tiny_valid.json", "predictions_tiny_valid.csv"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts of two runs that were evaluated together, and one of them on other rows too."""
    folder = tmp_path_factory.mktemp("sent")
    data = write_dataset(folder / "tiny", n_train=8, n_valid=40)
    make_named_runs(folder / "artifacts", data, ["first", "second"])
    flags = ("--prevalence", "0.2", "--calibrator", "temperature", "--threshold", "youden")
    assert evaluate(folder / "artifacts", "first", "second", *flags) == 0
    assert evaluate(folder / "artifacts", "first", "--split", "train", *flags) == 0
    return folder / "artifacts"


@pytest.fixture
def received(sent: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sent, tmp_path / "received")


def verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and the lines on standard output."""
    capsys.readouterr()
    code = main(["report", "--artifacts-dir", str(folder), "--verify"])
    return code, capsys.readouterr().out


def change(path: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_a_folder_as_it_was_written_is_verified_with_date(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = verify(received, capsys)
    assert code == 0, said
    assert "first: verified (weights and 2 evaluations)" in said
    assert "second: verified (weights and 1 evaluation)" in said
    report = (received / "report.md").read_text()
    assert re.search(r"Verified on 20\d\d-\d\d-\d\d \d\d:\d\d UTC", report)
    assert main(["report", "--artifacts-dir", str(received)]) == 0
    report = (received / "report.md").read_text()
    assert "Not verified" in report
    assert "Verified on" not in report


def test_a_changed_number_is_named(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def raise_auroc(document: Any) -> None:
        document["runs"][0]["labels"]["Edema"]["auroc"]["value"] = 0.987

    change(received / "first" / EVALUATION, raise_auroc)
    code, said = verify(received, capsys)
    assert code == 4
    assert f"first: differs: {EVALUATION}: labels.Edema.auroc.value is 0.987, and" in said
    assert "second: verified" in said
    report = (received / "report.md").read_text()
    assert "NOT VERIFIED on" in report
    assert "Verified on" not in report


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("macro", "auroc", "low"), 0.9),
        (("n_patients",), 4000),
        (("labels", "Edema", "operating_points", 0, "threshold"), 0.25),
        (("labels", "Edema", "calibrated", "brier", "value"), 0.001),
        (("labels", "Edema", "decision_curve", "net_benefit", 3), 0.5),
        (("subgroups", 0, "n_rows"), 1),
    ],
)
def test_any_other_number_is_named_too(
    where: tuple[str | int, ...], value: float, received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(document: Any) -> None:
        found = document["runs"][0]
        for part in where[:-1]:
            found = found[part]
        found[where[-1]] = value

    change(received / "second" / EVALUATION, edit)
    code, said = verify(received, capsys)
    assert code == 4
    assert f"second: differs: {EVALUATION}: {'.'.join(map(str, where))} is {value}" in said


def test_a_changed_weight_is_named(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = received / "second" / "best_model.pth"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, said = verify(received, capsys)
    assert code == 4
    assert "second: differs: best_model.pth: its digest is not the one in run_config.json" in said
    assert "first: verified" in said


@pytest.mark.parametrize("with_digest", [False, True])
def test_a_changed_prediction_is_named(
    with_digest: bool, received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the digest beside it was made to fit: then the numbers do not follow."""
    path = received / "first" / PREDICTIONS
    lines = path.read_text().splitlines()
    header = lines[0].split(",")
    column = header.index("Edema_score")
    cells = lines[3].split(",")
    cells[column] = "0.999" if float(cells[column]) < 0.6 else "0.001"
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    if with_digest:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        change(
            received / "first" / EVALUATION,
            lambda document: document["runs"][0].update(predictions_sha256=digest),
        )
    code, said = verify(received, capsys)
    assert code == 4
    file = EVALUATION if with_digest else PREDICTIONS
    assert f"first: differs: {file}: " in said
    assert "second: verified" in said


def test_a_changed_cell_of_the_table_is_named(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = received / "final_evaluation_results.csv"
    lines = path.read_text().splitlines()
    row = next(place for place, line in enumerate(lines) if line.startswith("second,"))
    cells = lines[row].split(",")
    cells[1] = "0.999999"
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    code, said = verify(received, capsys)
    assert code == 4
    column = lines[0].split(",")[1]
    assert f"second: differs: {path.name}: {column} is 0.999999, in the evaluation" in said


def test_what_is_missing_is_not_verified(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (received / "first" / PREDICTIONS).unlink()
    (received / "second" / "best_model.pth").unlink()
    code, said = verify(received, capsys)
    assert code == 0
    assert f"first: not verified: {EVALUATION}: its predictions are not there" in said
    assert "second: not verified: best_model.pth is not there" in said
    assert "NOT VERIFIED on" in (received / "report.md").read_text()


@pytest.mark.parametrize(
    ("file", "content", "verdict"),
    [
        ("first/calibration.json", "{", "first: differs: calibration.json: not a calibration"),
        (f"first/{EVALUATION}", '"seed": -1', f"first: differs: {EVALUATION}: --seed -1: at least"),
        (
            "final_evaluation_results.csv",
            "mine,and\nonly,mine\n",
            "final_evaluation_results.csv: differs: final_evaluation_results.csv: not a results",
        ),
    ],
)
def test_a_damaged_file_is_a_difference_and_the_report_is_written(
    file: str, content: str, verdict: str, received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = received / file
    whole = re.sub(r'"seed": \d+', content, path.read_text()) if "seed" in content else content
    path.write_text(whole)
    code, said = verify(received, capsys)
    assert code == 4
    assert verdict in said
    assert "second: verified" in said
    assert "NOT VERIFIED on" in (received / "report.md").read_text()
