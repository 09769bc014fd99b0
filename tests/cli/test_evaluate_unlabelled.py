"""`pulmonet evaluate` on a table without labels: scores, and one line that there is no more."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS
from run_factory import make_named_runs


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    data = write_dataset(tmp_path / "data", n_train=8, n_valid=6)
    make_named_runs(tmp_path / "artifacts", data, ["a", "b"], DEFAULT_LABELS)
    return tmp_path / "artifacts"


def evaluate(artifacts: Path, *arguments: object) -> int:
    command = ["evaluate", "--artifacts-dir", artifacts, "--no-figures", *arguments]
    return main(list(map(str, command)))


def images_alone(artifacts: Path, column: str, name: str = "test.csv") -> Path:
    """A folder of films beside the dataset: images under numbers, and a list of them."""
    folder = artifacts.parent / "films"
    folder.mkdir()
    images = sorted((artifacts.parent / "data").rglob("*.jpg"))
    for number, image in enumerate(images):
        (folder / f"{number}.jpg").write_bytes(image.read_bytes())
    names = [f"{number}.jpg" for number in range(len(images))]
    pd.DataFrame({column: names}).to_csv(folder / name, index=False)
    return folder


def test_paths_alone_are_scored_like_rows_with_labels(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = images_alone(artifacts, "Path")
    assert evaluate(artifacts, "a", "--data-dir", films) == 0
    shown = capsys.readouterr()
    path = artifacts / "a" / "predictions_films_test.csv"
    assert f"14 images without labels: nothing to evaluate; scores: {path}" in shown.out
    assert "error" not in shown.err
    scored = pd.read_csv(path)
    assert scored["Path"].tolist() == [f"{number}.jpg" for number in range(14)]
    assert scored[list(DEFAULT_LABELS)].isna().all(axis=None)
    assert evaluate(artifacts, "a", "--split", "valid") == 0
    labelled = pd.read_csv(artifacts / "a" / "predictions_data_valid.csv")
    of_valid = scored.iloc[8:]
    for label in DEFAULT_LABELS:
        found, expected = of_valid[f"{label}_score"], labelled[f"{label}_score"]
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_list_of_ones_own_needs_the_column_of_the_paths_alone(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = images_alone(artifacts, "film", "list.csv")
    assert evaluate(artifacts, "a", "--data-dir", films, "--map", "path=film", "--json") == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []
    assert len(pd.read_csv(artifacts / "a" / "predictions_films_test.csv")) == 14


def test_the_map_that_is_offered_for_it_works_as_it_is(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = images_alone(artifacts, "film", "list.csv")
    table = pd.read_csv(films / "list.csv").assign(ward=[f"ward {n % 3}" for n in range(14)])
    table.to_csv(films / "list.csv", index=False)
    assert evaluate(artifacts, "a", "--data-dir", films) == 3
    said = " ".join(capsys.readouterr().err.split())
    offer = re.search(r"to read it: (--map .*) \(columns of list.csv", said)
    assert offer and offer[1] == "--map csv=list.csv --map path=film"
    assert evaluate(artifacts, "a", "--data-dir", films, *offer[1].split()) == 0


def test_an_ensemble_and_augmented_views_are_written_as_well(artifacts: Path) -> None:
    films = images_alone(artifacts, "Path")
    assert evaluate(artifacts, "a", "b", "--ensemble-name", "both", "--data-dir", films) == 0
    parts = [pd.read_csv(artifacts / run / "predictions_films_test.csv") for run in "ab"]
    mean = pd.read_csv(artifacts / "both" / "predictions_films_test.csv")
    for label in DEFAULT_LABELS:
        expected = (parts[0][f"{label}_score"] + parts[1][f"{label}_score"]) / 2
        assert mean[f"{label}_score"].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert evaluate(artifacts, "a", "--tta", "flip", "--data-dir", films) == 0
    assert len(pd.read_csv(artifacts / "a+flip" / "predictions_films_test.csv")) == 14


def test_labels_of_others_are_still_no_reason_to_score(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = images_alone(artifacts, "Path")
    table = pd.read_csv(films / "test.csv").assign(patient="p1", Fibrosis=1)
    table.to_csv(films / "test.csv", index=False)
    assert evaluate(artifacts, "a", "--data-dir", films) == 3
    assert "has none of the run's labels" in capsys.readouterr().err
