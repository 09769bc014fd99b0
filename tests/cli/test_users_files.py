"""Files of the user's in PulmoNet's way: they stay as they are, and are named."""

from __future__ import annotations

from pathlib import Path

import pytest

import report_factory
from chexpert_factory import write_dataset
from evaluation_factory import digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.files.ledger import NAME
from run_factory import make_run

MINE = b"written by hand\n"


def report(artifacts: Path, *arguments: object) -> int:
    return main(["report", "--artifacts-dir", str(artifacts), *map(str, arguments)])


@pytest.mark.parametrize("name", ["report.md", "MODEL_CARD.md", "report.html"])
def test_a_page_written_by_hand_is_named_and_stays(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_factory.make_run(tmp_path / "artifacts")
    (tmp_path / "artifacts" / name).write_bytes(MINE)
    before = digests(tmp_path)
    assert report(tmp_path / "artifacts", "--html") == 4
    said = capsys.readouterr().err
    reason = "not PulmoNet's (another file, edited, or of an earlier version)"
    assert f"{name}: {reason}; remove or rename, or" in said
    assert "--output" in said
    after = digests(tmp_path)
    after.pop("artifacts/.pseudonym_key", None)
    assert after == before
    assert report(tmp_path / "artifacts", "--html", "--output", tmp_path / "elsewhere") == 0


def test_a_report_edited_by_hand_is_not_replaced(tmp_path: Path) -> None:
    report_factory.make_run(tmp_path)
    assert report(tmp_path) == 0
    assert report(tmp_path) == 0  # its own it replaces
    card = tmp_path / "MODEL_CARD.md"
    card.write_text(card.read_text("utf-8").replace("TODO", "filled in"), "utf-8")
    assert report(tmp_path) == 4
    card.unlink()
    assert report(tmp_path) == 0


def test_pictures_of_the_users_in_the_folder_of_the_reports_stay(tmp_path: Path) -> None:
    report_factory.make_run(tmp_path, n_explained=1)
    mine = tmp_path / "report_files" / "holiday.png"
    mine.parent.mkdir()
    mine.write_bytes(MINE)
    assert report(tmp_path) == 0
    assert mine.read_bytes() == MINE
    taken = next(path for path in mine.parent.glob("*.png") if path != mine)
    taken.write_bytes(MINE)
    assert report(tmp_path) == 4
    assert taken.read_bytes() == mine.read_bytes() == MINE


@pytest.mark.parametrize("link", ["report_files", "report.md", "report_files/{first}"])
def test_a_report_writes_through_no_link(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts, mine = tmp_path / "artifacts", tmp_path / "mine"
    report_factory.make_run(artifacts)
    mine.mkdir()
    (mine / "holiday.png").write_bytes(MINE)
    if "{first}" in link:
        assert report(artifacts, "--output", tmp_path / "first") == 0
        beside = next((tmp_path / "first" / "report_files").glob("*.md"))
        link = f"report_files/{beside.name}"
    (artifacts / link).parent.mkdir(exist_ok=True)
    (artifacts / link).symlink_to(mine if link == "report_files" else mine / "holiday.png")
    assert report(artifacts) == 4
    assert f"{link}: a link, and PulmoNet writes through none" in capsys.readouterr().err
    assert [(path.name, path.read_bytes()) for path in mine.iterdir()] == [("holiday.png", MINE)]
    assert (artifacts / link).is_symlink()


def test_an_artifacts_folder_that_is_a_link_is_a_folder(tmp_path: Path) -> None:
    report_factory.make_run(tmp_path / "big-disk")
    (tmp_path / "artifacts").symlink_to(tmp_path / "big-disk")
    assert report(tmp_path / "artifacts") == 0
    assert report(tmp_path / "artifacts") == 0


def explain(artifacts: Path, *arguments: object) -> int:
    return main(["explain", "--artifacts-dir", str(artifacts), *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", n_train=4, n_valid=4)


@pytest.fixture
def artifacts(tmp_path: Path, data: Path) -> Path:
    make_run(tmp_path / "artifacts", model="timm:test_resnet", data_dir=data, name="small")
    return tmp_path / "artifacts"


def test_explain_leaves_files_of_others_where_they_are(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((data / "valid").rglob("*.jpg"))
    there = tmp_path / "there"
    arguments = (image, "--label", "Edema", "--out-dir", there)
    assert explain(artifacts, *arguments) == 0
    assert explain(artifacts, *arguments) == 0  # its own it replaces
    for path in (p for p in sorted(there.rglob("*")) if p.is_file() and p.name != NAME):
        content = path.read_bytes()
        path.write_bytes(MINE)
        assert explain(artifacts, *arguments) == 4, path
        assert "remove or rename, or choose another folder with --out-dir" in (
            capsys.readouterr().err
        )
        assert path.read_bytes() == MINE
        path.write_bytes(content)


def test_explain_writes_through_no_link(artifacts: Path, data: Path, tmp_path: Path) -> None:
    image, mine = next((data / "valid").rglob("*.jpg")), tmp_path / "mine"
    mine.mkdir()
    (artifacts / "small" / "explain").symlink_to(mine)
    assert explain(artifacts, image, "--label", "Edema") == 4
    assert not list(mine.iterdir())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("final_evaluation_results.md", "final_evaluation_results.md: not PulmoNet's"),
        ("final_evaluation_results.csv", "final_evaluation_results.csv: not a results table"),
    ],
)
def test_evaluate_leaves_a_table_of_the_users_before_any_work(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = write_predictions(tmp_path / "scores.csv")
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / name).write_bytes(MINE)
    assert evaluate(artifacts, "--predictions", str(scores)) == 4
    assert reason in capsys.readouterr().err
    assert list(artifacts.iterdir()) == [artifacts / name]
    assert (artifacts / name).read_bytes() == MINE


def test_prepare_leaves_a_report_of_the_users(data: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    arguments = ["prepare", str(data), "--check-only", "--out-dir", str(there)]
    (there / "prepare_report.json").write_bytes(MINE)
    assert main(arguments) == 4
    assert (there / "prepare_report.json").read_bytes() == MINE
    (there / "prepare_report.json").unlink()
    assert main(arguments) == 0
    assert main(arguments) == 0


def test_a_lock_takes_no_file_of_the_users(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(MINE)
    folder = artifacts / "new"
    folder.mkdir()
    for make in (lambda path: path.symlink_to(mine), lambda path: path.write_bytes(MINE)):
        make(folder / ".lock")
        assert main(["train", "--out-dir", str(artifacts), "--name", "new"]) == 4
        assert ".lock" in capsys.readouterr().err
        assert mine.read_bytes() == (folder / ".lock").read_bytes() == MINE
        (folder / ".lock").unlink()


SMALL = ("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1", "--batch-size", "4")
SMALL += ("--image-size", "32", "--device", "cpu", "--num-workers", "0")


def test_training_anew_removes_only_what_a_run_has_written(data: Path, tmp_path: Path) -> None:
    def train(*arguments: str) -> int:
        where = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--name", "run")
        return main(["train", *where, *SMALL, *arguments])

    assert train() == 0
    run = tmp_path / "run"
    assert main(["evaluate", "run", "--artifacts-dir", str(tmp_path), "--bootstrap", "100"]) == 0
    assert explain(tmp_path, "--run", "run", "--label", "Edema") == 0
    ours = {path for path in run.rglob("*") if path.is_file()}
    mine = [run / name for name in ("notes.txt", "predictions_of_mine.csv", "roc_of_mine.png")]
    mine += [run / "explain" / "notes.txt", run / "stage1" / "notes.txt", run / "tensorboard" / "x"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(MINE)
    edited = next(path for path in ours if path.name == "calibration.json")
    edited.write_bytes(edited.read_bytes() + b"\n")
    assert train("--overwrite") == 0
    assert all(path.read_bytes() == MINE for path in mine) and edited.exists()
    left = {path for path in run.rglob("*") if path.is_file()} - set(mine) - {edited}
    assert {path.name for path in left} == {
        *("run_config.json", "best_model.pth", "last_checkpoint.pth", "training_log.csv"),
        "seen.npz",
        "curves.png",
    }


def test_a_run_is_not_trained_over_weights_of_somebody_else(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "run" / "best_model.pth"
    weights.parent.mkdir()
    weights.write_bytes(MINE)
    where = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--name", "run")
    assert main(["train", *where, *SMALL]) == 4
    assert "holds best_model.pth of no run" in capsys.readouterr().err
    assert weights.read_bytes() == MINE
    weights.unlink()
    weights.symlink_to("on a disk that is not here now")
    where = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--name", "run")
    assert main(["train", *where, *SMALL]) == 4
    assert weights.is_symlink()


def test_a_file_in_the_place_of_a_folder_below_a_run_is_kept(data: Path, tmp_path: Path) -> None:
    where = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--name", "run")
    assert main(["train", *where, *SMALL]) == 0
    (tmp_path / "run" / "stage1").write_bytes(MINE)
    assert main(["train", *where, *SMALL, "--overwrite"]) == 0
    assert (tmp_path / "run" / "stage1").read_bytes() == MINE
