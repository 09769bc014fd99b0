"""RunDir and Predictions: atomic writes, locks, round trips, damaged files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.paths import portable_path
from pulmonet.files.write import write_atomic, write_json
from pulmonet.run.folder import RunDir, best_run, check_run_name, find_run, list_runs, no_run
from pulmonet.run.predictions import Predictions
from run_factory import make_run


def test_write_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ArtifactError, match="free some space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_nan_becomes_null_and_numpy_becomes_plain(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": np.float32(0.5), "c": np.arange(2)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": 0.5, "c": [0, 1]}


def test_home_is_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert portable_path("/home/somebody/data") == "~/data"
    assert portable_path("/home/somebody2/data") == "/home/somebody2/data"


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x", ".hidden", "a b", "a\n"])
def test_names_never_leave_the_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="not usable as a folder name"):
        check_run_name(name)


def test_runs_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    first = make_run(tmp_path, model="timm:test_resnet", name="first", auroc=0.6)
    make_run(tmp_path, model="timm:test_resnet", name="second", auroc=0.8)
    assert [run.name for run in list_runs(tmp_path)] == ["first", "second"]
    assert find_run("first", tmp_path).path == first.path
    assert find_run(str(first.path), Path("elsewhere")).path == first.path
    assert best_run(tmp_path).name == "second"
    with pytest.raises(ArtifactError, match="did you mean 'second'"):
        find_run("secnd", tmp_path)
    with pytest.raises(ArtifactError, match="no such folder; train one"):
        best_run(tmp_path / "nothing")
    for name in ("first", "second"):
        (tmp_path / name / "best_model.pth").unlink()
    with pytest.raises(ArtifactError, match=r"\(first, second: unreadable, or no best_model.pth\)"):
        best_run(tmp_path)


def test_a_run_without_its_record_is_named(tmp_path: Path) -> None:
    make_run(tmp_path, model="timm:test_resnet", name="lost").config_path.unlink()
    with pytest.raises(ArtifactError, match=r"lost: holds no run \(no run_config.json\)"):
        find_run("lost", tmp_path)
    assert "no trained run (lost: no run_config.json); train one" in no_run(tmp_path)
    with pytest.raises(ArtifactError, match=r"\(lost: no run_config.json\)"):
        best_run(tmp_path)


def test_a_folder_of_scores_alone_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, model="timm:test_resnet", name="one")
    (tmp_path / "mean").mkdir()
    (tmp_path / "mean" / "evaluation_d_valid.json").write_text("{}")
    why = "mean: has the scores of several runs or of a file, no network; name one run; runs there"
    with pytest.raises(ArtifactError, match=f"{why}: one"):
        find_run("mean", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"schema": 1}', '{"schema": 1, "config": {"x": 1}, "provenance": {}}'),
        '{"config": {}, "provenance": {"status": "finished", "pulmonet": "0.1.0"}}',
    ],
)
def test_damaged_record(tmp_path: Path, text: str) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet")
    run_dir.config_path.write_text(text)
    with pytest.raises(ArtifactError, match="not a run configuration"):
        run_dir.read_record()


def test_lock_leaves_no_empty_folder(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    with run_dir.lock():
        assert run_dir.path.exists()
    assert not run_dir.path.exists()


text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(
    label=text.filter(str.strip),
    paths=st.lists(text.filter(str.strip), min_size=1, max_size=6, unique=True),
    data=st.data(),
)
def test_predictions_round_trip(
    tmp_path_factory: pytest.TempPathFactory, label: str, paths: list[str], data: st.DataObject
) -> None:
    if label in {"Path", "patient", "study", "view"} or label.endswith("_score"):
        return
    n = len(paths)
    score = st.floats(0, 1, width=32)
    scores = np.array(data.draw(st.lists(score, min_size=n, max_size=n)), np.float32)[:, None]
    target = st.sampled_from([0.0, 1.0, np.nan])
    targets = np.array(data.draw(st.lists(target, min_size=n, max_size=n)), np.float32)[:, None]
    file = tmp_path_factory.mktemp("predictions") / "p.csv"
    written = Predictions(
        run="r",
        dataset="d",
        split="valid",
        labels=(label,),
        paths=tuple(paths),
        patients=tuple(paths),
        studies=None,
        targets=targets,
        scores=scores,
        columns={"view": np.array(["AP"] * n, object)},
    )
    write_atomic(file, written.to_csv())
    read = Predictions.read(file)
    assert read.labels == (label,)
    assert read.paths == tuple(paths)
    assert read.studies is None
    np.testing.assert_array_equal(read.scores, scores)
    np.testing.assert_array_equal(read.targets, targets)
    assert list(read.columns["view"]) == ["AP"] * n


def test_columns_without_a_value_stay_text_but_ages(tmp_path: Path) -> None:
    """As of a collection whose source knows no sex: blank text, which was NaN once."""
    file = tmp_path / "p.csv"
    file.write_text("Path,sex,age_years,Edema,Edema_score\na.png,,,1,0.5\nb.png,,,0,0.25\n")
    columns = Predictions.read(file).columns
    assert columns["sex"].tolist() == ["", ""]
    assert np.isnan(columns["age_years"]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as CSV"),
        ("a,b\n1,2\n", "no pair of columns"),
        ("Edema,Edema_score\n", "no rows"),
        ("Edema,Edema_score\n1,2.5\n", "logits are refused"),
        ("Edema,Edema_score\n1,\n", r"line 2: ''; expected a score"),
        ("Edema,Edema_score\n2,0.5\n", "expected 0, 1 or blank"),
        ("Edema,Edema_score\nyes,0.5\n", "expected 0, 1 or blank"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(content)
    with pytest.raises(ArtifactError, match=message):
        Predictions.read(file)


def test_scores_of_others_that_begin_as_ours_are_tidied(tmp_path: Path) -> None:
    """A comma at the end of each line, a blank behind an id, no last line break."""
    cells = [f"{row}.png,p{row // 2}{' ' * (row % 2)},s{row},{row % 2},0.25," for row in range(4)]
    lines = ["Path,patient,study,Edema,Edema_score", *cells]
    (tmp_path / "theirs.csv").write_text("\n".join(lines))
    found = Predictions.read(tmp_path / "theirs.csv")
    assert found.paths == ("0.png", "1.png", "2.png", "3.png")
    assert found.patients == ("p0", "p0", "p1", "p1")
    assert found.scores.max() == 0.25


@pytest.mark.parametrize(
    ("name", "end", "words"),
    [
        ("predictions_x_valid.csv", "0.2", "it ends without a line break: cut short"),
        ("mine.csv", "0.25,north\n", "cannot be read as CSV"),
    ],
)
def test_cells_lost_at_the_end_are_refused(tmp_path: Path, name: str, end: str, words: str) -> None:
    row = "1.png,p1,s1,1,"
    (tmp_path / name).write_text(f"Path,patient,study,Edema,Edema_score\n{row}{end}")
    with pytest.raises(ArtifactError, match=words):
        Predictions.read(tmp_path / name)
