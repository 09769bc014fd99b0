"""`--verify` of what several runs or files make together, and of what compares them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from chexpert_factory import write_dataset
from evaluation_factory import digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.metrics.results import read_evaluation
from pulmonet.report.collect import collect
from run_factory import make_named_runs, make_run

FOLDS = ("f0", "f1", "f2")


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts of two runs and their mean, and of three folds and what they make together."""
    folder = tmp_path_factory.mktemp("sent")
    data = write_dataset(folder / "tiny", n_train=12, n_valid=24)
    make_named_runs(folder / "artifacts", data, ["first", "second"])
    assert evaluate(folder / "artifacts", "first", "second", "--ensemble") == 0
    for fold, name in enumerate(FOLDS):
        make_run(
            folder / "folds",
            model="timm:test_resnet",
            image_size=32,
            data_dir=data,
            seed=7,
            name=name,
            settings={"data": {"folds": 3, "fold": fold}, "select": {"checkpoint": "last"}},
        )
    assert evaluate(folder / "folds", *FOLDS, "--pool-folds", "pooled") == 0
    return folder


@pytest.fixture
def received(sent: Path, tmp_path: Path) -> Path:
    for name in ("artifacts", "folds"):
        shutil.copytree(sent / name, tmp_path / name)
    return tmp_path


def verify(
    folder: Path, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[int, dict[str, str]]:
    capsys.readouterr()
    words = ("evaluate", "--artifacts-dir", str(folder), "--verify", "--json", *flags)
    code = main([*words])
    said: dict[str, str] = json.loads(capsys.readouterr().out)
    return code, said


def change(path: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def change_score(evaluation: Path, predictions: Path) -> None:
    """A score of Edema and its digest, with the list of what was written taken away."""
    table = pd.read_csv(predictions, dtype=str, keep_default_na=False)
    old = float(table.loc[2, "Edema_score"])
    table.loc[2, "Edema_score"] = "0.999" if old < 0.6 else "0.001"
    table.to_csv(predictions, index=False)
    digest = hashlib.sha256(predictions.read_bytes()).hexdigest()
    change(evaluation, lambda document: document["runs"][0].update(predictions_sha256=digest))
    (evaluation.parent / ".pulmonet").unlink()


@pytest.mark.parametrize(
    ("place", "name", "stem", "n_images"),
    [("artifacts", "ensemble", "tiny_valid", 24), ("folds", "pooled", "tiny_out-of-fold", 36)],
)
def test_what_runs_make_together_is_scored_again(
    place: str,
    name: str,
    stem: str,
    n_images: int,
    received: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = received / place
    before = digests(folder)
    code, said = verify(folder, capsys)
    assert (code, digests(folder)) == (0, before)
    assert said[name] == f"verified (1 evaluation; {n_images} images scored again)"
    evaluation = folder / name / f"evaluation_{stem}.json"
    change(evaluation, lambda document: document["runs"][0].update(external=True))
    (folder / name / ".pulmonet").unlink()
    code, said = verify(folder, capsys)
    assert code == 4
    assert said[name].startswith(f"differs: {evaluation.name}: external is True, and computed")
    change(evaluation, lambda document: document["runs"][0].update(external=False))
    (folder / name / ".pulmonet").touch()
    change_score(evaluation, folder / name / f"predictions_{stem}.csv")
    code, said = verify(folder, capsys)
    assert code == 4
    assert said[name].startswith(f"differs: predictions_{stem}.csv: Edema_score of ")
    assert all(one.startswith("verified") for run, one in said.items() if run != name)


def test_a_member_without_weights_leaves_the_scores_unchecked(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (received / "artifacts" / "second" / "best_model.pth").unlink()
    code, said = verify(received / "artifacts", capsys)
    assert code == 0
    why = "not scored again: the weights of second are not there"
    assert said["ensemble"] == f"verified (1 evaluation; {why})"
    assert said["second"] == "not verified: best_model.pth is not there"


def test_files_of_scores_are_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder without any run; their mean, and what was computed of each."""
    files = [write_predictions(tmp_path / f"{name}.csv", seed=seed) for seed, name in
             enumerate(("one", "two"))]  # fmt: skip
    flags = [word for file in files for word in ("--predictions", str(file))]
    assert evaluate(tmp_path / "out", *flags, "--ensemble") == 0
    make_named_runs(tmp_path / "out", write_dataset(tmp_path / "tiny"), ["run"])
    assert main(["report", "--artifacts-dir", str(tmp_path / "out"), "--verify"]) == 0
    assert "evaluate --verify --predictions one=FILE reads them" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "out" / "run")
    code, said = verify(tmp_path / "out", capsys, *flags)
    assert code == 0, said
    assert said == dict.fromkeys(("one", "two"), "verified (1 evaluation; 120 images read again)")
    evaluation = tmp_path / "out" / "one" / "evaluation_predictions_all.json"
    whole = evaluation.read_text()

    def raise_auroc(document: Any) -> None:
        document["runs"][0]["labels"]["Edema"]["auroc"]["value"] = 0.987

    change(evaluation, raise_auroc)
    code, said = verify(tmp_path / "out", capsys, *flags)
    assert code == 4
    assert said["one"].startswith(f"differs: {evaluation.name}: labels.Edema.auroc.value is 0.987")
    evaluation.write_text(whole)
    table = pd.read_csv(files[1])
    table["Edema_score"] = table["Edema_score"].round(1)
    table.to_csv(files[1], index=False)
    code, said = verify(tmp_path / "out", capsys, *flags)
    assert code == 4
    assert said["one"].startswith("verified")
    assert said["two"].startswith("differs: evaluation_predictions_all.json: labels.Edema.")


@pytest.fixture
def thresholds(received: Path) -> Path:
    """Both runs on other rows than those that chose their thresholds: they are compared there."""
    folder = received / "artifacts"
    assert evaluate(folder, "first", "second") == 0
    other = write_dataset(received / "other", n_train=4, n_valid=60, seed=5)
    for name in ("first", "second"):  # random weights get no verdict, but thresholds all the same
        state = torch.load(folder / name / "best_model.pth", weights_only=True)
        assert state
    assert evaluate(folder, "first", "second", "--data-dir", str(other)) == 0
    return folder


def test_tests_at_thresholds_are_computed_again(
    thresholds: Path, received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = thresholds / "first" / "evaluation_other_valid.json"
    tests = read_evaluation(path).runs[0].threshold_tests
    assert tests, "nothing to check"
    where = ("--data-dir", str(received / "other"))
    code, said = verify(thresholds, capsys, *where)
    assert code == 0, said
    change(path, lambda document: document["runs"][0]["threshold_tests"][0].update(p=0.001))
    (thresholds / "first" / ".pulmonet").unlink()
    code, said = verify(thresholds, capsys, *where)
    assert code == 4
    one = tests[0]
    named = f"{one.a} less {one.b}, {one.measure} of {one.label}.p is 0.001"
    assert f"{path.name}: {named}" in said["first"]
    assert said["second"].startswith("verified")


def test_tests_beside_weights_that_are_gone_are_not_reported(thresholds: Path) -> None:
    """And those of a folder that was renamed have its new name."""
    found = {run.name: run for run in collect(thresholds).runs}
    of_first = [one for one in found["first"].results if one.dataset == "other"]
    assert of_first[0].threshold_tests
    (thresholds / "second").rename(thresholds / "third")
    found = {run.name: run for run in collect(thresholds).runs}
    (result,) = (one for one in found["first"].results if one.dataset == "other")
    assert {one.b for one in result.threshold_tests} == {"third"}
    (thresholds / "third").rename(thresholds / "second")
    config = thresholds / "second" / "run_config.json"
    change(config, lambda document: document["provenance"].update(checkpoint_sha256="0" * 64))
    (thresholds / "second" / "best_model.pth").unlink()
    found = {run.name: run for run in collect(thresholds).runs}
    (result,) = (one for one in found["first"].results if one.dataset == "other")
    assert result.threshold_tests == [] and result.group_letters == ""
