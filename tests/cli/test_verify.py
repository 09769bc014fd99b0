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
from evaluation_factory import digests, evaluate
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
    assert "first: verified (weights and 2 evaluations; 48 images scored again)" in said
    assert "second: verified (weights and 1 evaluation; 40 images scored again)" in said
    report = (received / "report.md").read_text()
    assert re.search(r"Verified on 20\d\d-\d\d-\d\d \d\d:\d\d UTC: first verified", report)
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


@pytest.mark.parametrize("anew", [("--threshold", "f1"), ("--calibrator", "platt")])
def test_thresholds_that_were_chosen_anew_since_are_no_difference(
    anew: tuple[str, str], received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training rows were judged by those of before; what does not hang on them is checked."""
    assert evaluate(received, "first", *anew) == 0
    code, said = verify(received, capsys)
    assert code == 0, said
    name = "evaluation_tiny_train.json"
    assert f"first: not verified: {name}: calibration.json was fitted anew since, or is" in said

    def raise_auroc(document: Any) -> None:
        document["runs"][0]["labels"]["Edema"]["auroc"]["value"] = 0.987

    change(received / "first" / name, raise_auroc)
    code, said = verify(received, capsys)
    assert (code, f"first: differs: {name}: labels.Edema.auroc.value is 0.987" in said) == (4, True)


def test_an_evaluation_without_its_options_is_computed_with_the_default_ones(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of an earlier version: what was asked for otherwise differs, and the reason is said."""
    assert main(["evaluate", "--artifacts-dir", str(received), "--no-figures", "first"]) == 0

    def forget(document: Any) -> None:
        assert document["runs"][0].pop("options")["calibrator"] in {"platt", "temperature"}

    for run in ("first", "second"):
        change(received / run / EVALUATION, forget)
        (received / run / ".pulmonet").unlink()
    code, said = verify(received, capsys)
    assert code == 4
    assert f"first: differs: {EVALUATION}" not in said
    assert f"second: differs: {EVALUATION} (with the default options, for it names none): " in said


def test_a_changed_weight_is_named(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = received / "second" / "best_model.pth"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, said = verify(received, capsys)
    assert code == 4
    assert "second: differs: best_model.pth: its digest is not the one in run_config.json" in said
    assert "first: verified" in said


def change_prediction(run: Path, column: str = "Edema_score", *, with_digest: bool) -> None:
    """A high score becomes a low one or the other way round, a positive row a negative one."""
    path = run / PREDICTIONS
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index(column)
    cells = lines[3].split(",")
    if column.endswith("_score"):
        cells[place] = "0.999" if float(cells[place]) < 0.6 else "0.001"
    else:
        cells[place] = "0" if cells[place] == "1" else "1"
    lines[3] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if with_digest:
        told = {"predictions_sha256": digest}
        change(run / EVALUATION, lambda document: document["runs"][0].update(told))


@pytest.mark.parametrize(
    ("column", "with_digest", "with_data", "named"),
    [
        ("Edema_score", False, True, f"{PREDICTIONS}: of other rows or scores"),
        ("Edema_score", True, True, f"{PREDICTIONS}: Edema_score of "),
        ("Edema", True, True, f"{PREDICTIONS}: its patients, reference labels or columns"),
        ("Edema_score", True, False, f"{EVALUATION}: labels.Edema."),
    ],
)
def test_a_changed_prediction_is_named(
    column: str,
    with_digest: bool,
    with_data: bool,
    named: str,
    received: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where the digest beside it was made to fit: the images decide, else the numbers."""
    change_prediction(received / "first", column, with_digest=with_digest)
    if not with_data:
        for name in ("first", "second"):
            path = received / name / "run_config.json"
            change(path, lambda document: document["config"]["data"].update(data_dir="/nowhere"))
    code, said = verify(received, capsys)
    assert code == 4
    assert f"first: differs: {named}" in said
    assert "second: verified" in said
    assert ("not scored again: /nowhere: the dataset" in said) is not with_data


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
    assert f"second: differs: {path.name}: {column} is '0.999999', and computed again" in said


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
        (f"first/{EVALUATION}", '"seed": -1', f"first: differs: {EVALUATION}: not an evaluation ("),
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


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts of the demo: prepared, trained, evaluated and explained as people type it."""
    folder = tmp_path_factory.mktemp("demo")
    data, artifacts = str(folder / "phantoms"), str(folder / "artifacts")
    prepare = ["prepare", data, "--demo", "--patients", "12", "--out-dir", str(folder / "figures")]
    assert main(prepare) == 0
    tiny = ("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32")
    train = ["train", "--data-dir", data, "--out-dir", artifacts, *tiny, "--epochs", "1"]
    assert main([*train, "--labels", "Edema,Atelectasis", "--name", "tiny"]) == 0
    assert evaluate(folder / "artifacts") == 0
    assert main(["explain", "--artifacts-dir", artifacts, "--rows", "2", "--split", "valid"]) == 0
    return folder


@pytest.mark.parametrize("with_data", [True, False])
def test_the_demo_sent_elsewhere(
    with_data: bool, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One number, one weight, one prediction, each alone: `report --verify` names it."""
    hidden = demo / "phantoms"
    if not with_data:
        hidden = hidden.rename(demo / "not sent")

    def change_byte(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def change_json(path: Path) -> None:
        text, n_found = re.subn(r'(?<=value": 0\.)\d\d', "99", path.read_text(), count=1)
        assert n_found == 1
        path.write_text(text)

    def change_line(path: Path) -> None:
        """The last number with decimals: a score, or a cell of the table."""
        numbers = [*re.finditer(r"(?<![\w.])0\.\d{3,}(?![\w.])", path.read_text())]
        start, end = numbers[-1].span()
        text = path.read_text()
        path.write_text(f"{text[:start]}0.9931{text[end:]}")

    kinds: dict[str, Callable[[Path], None]] = {
        "evaluation_phantoms_valid.json": change_json,
        "calibration.json": change_json,
        "best_model.pth": change_byte,
        "predictions_phantoms_valid.csv": change_line,
        "final_evaluation_results.csv": change_line,
        "final_evaluation_results.md": change_line,
        "run_config.json": lambda path: change(
            path, lambda one: one["provenance"].update(best_valid_macro_auroc=0.9931)
        ),
        "explanations.json": change_line,
        "maps.npz": change_byte,
    }
    try:
        received = shutil.copytree(demo / "artifacts", tmp_path / "received")
        code, said = verify(received, capsys)
        assert code == 0, said
        assert "tiny: verified (weights and 1 evaluation" in said
        assert ("scored again)" in said) is with_data
        for name, edit in [*kinds.items()][: None if with_data else 4]:
            shutil.rmtree(received)
            shutil.copytree(demo / "artifacts", received)
            edit(next(received.rglob(name)))
            code, said = verify(received, capsys)
            assert code == 4, name
            assert re.search(rf"differs: \S*{re.escape(name)}: ", said), (name, said)
    finally:
        hidden.rename(demo / "phantoms")


def test_evaluate_verify_writes_nothing(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(received)
    assert evaluate(received, "--verify") == 2  # with flags that say how to evaluate
    assert "--verify: checks evaluations as they were made" in capsys.readouterr().err
    command = ["evaluate", "--artifacts-dir", str(received), "--verify"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "first: verified (weights and 2 evaluations; 48 images scored again)" in said
    change_prediction(received / "second", with_digest=True)
    changed = digests(received)
    assert changed != before
    assert main([*command, "second", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert [*found] == ["second"]
    assert found["second"].startswith(f"differs: {PREDICTIONS}: Edema_score of ")
    assert main([*command, "first"]) == 0
    assert digests(received) == changed


def test_a_changed_comparison_is_named(received: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In both files alike, and with the list of what was written taken away."""
    for name in ("first", "second"):
        path = received / name / EVALUATION
        change(path, lambda document: document["comparisons"][0].update(p_adjusted=0.01))
        (received / name / ".pulmonet").unlink()
    code, said = verify(received, capsys)
    assert code == 4
    for name in ("first", "second"):
        assert f"{name}: differs: {EVALUATION}: first less second, auroc of macro.p_adj" in said


def test_scores_of_studies_are_joined_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two images a study, and their mean: the largest gives other numbers."""
    data = write_dataset(tmp_path / "tiny", n_train=8, n_valid=40)
    table = (data / "valid.csv").read_text().splitlines()
    lines = [table[0]]
    for first, second in zip(table[1::2], table[2::2], strict=True):
        path, _, labels = first.partition(",")
        source, _, _ = second.partition(",")
        twin = path.replace("view1", "view2")
        shutil.copy(data.parent / source, data.parent / twin)
        lines += [first, f"{twin},{labels}"]
    (data / "valid.csv").write_text("\n".join(lines) + "\n")
    make_named_runs(tmp_path / "artifacts", data, ["run"])
    studies = ("--level", "study", "--study-rule", "mean")
    assert evaluate(tmp_path / "artifacts", *studies) == 0
    code, said = verify(tmp_path / "artifacts", capsys)
    assert code == 0, said
    path = tmp_path / "artifacts" / "run" / EVALUATION
    change(path, lambda document: document["runs"][0].update(study_rule="max"))
    (path.parent / ".pulmonet").unlink()
    code, said = verify(tmp_path / "artifacts", capsys)
    assert code == 4
    assert f"run: differs: {EVALUATION}: " in said
