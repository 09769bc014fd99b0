"""`pulmonet explain FOLDER --no-maps`: scores.csv, as a table and after whatever interrupted it."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import forked
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.explain.results import Explanations
from pulmonet.files.write import write_json
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.trained import TrainedRun
from pulmonet.run.folder import RunDir
from run_factory import make_run

MODEL = "timm:test_resnet"
THRESHOLDS = dict(zip(DEFAULT_LABELS, (0.1, 0.5, 0.9, 0.48, 0.52), strict=True))


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "artifacts", model=MODEL, image_size=64, name="small")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """70 films: two passes of 32 and one of 6."""
    folder = tmp_path / "films"
    for number in range(70):
        path = folder / f"ward{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (90, 70 + number)))
    return folder


def score(run_dir: RunDir, *arguments: object) -> int:
    command = ["explain", "--artifacts-dir", run_dir.path.parent, "--no-maps", *arguments]
    return main(list(map(str, command)))


def table(run_dir: RunDir) -> list[dict[str, str]]:
    with (run_dir.path / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def calibrate(run_dir: RunDir, slope: float = 1.0) -> None:
    labels = {
        label: {
            "calibrator": {"kind": "platt", "intercept": 0.5, "slope": slope},
            "prevalence": 0.4, "n": 100, "positives": 40, "thresholds": {"youden": threshold},
            "positive_patients": 40, "negative_patients": 60,
            "auroc": {"value": 0.81, "low": 0.72, "high": 0.89},
        }
        for label, threshold in THRESHOLDS.items()
    }  # fmt: skip
    del labels["Edema"]
    facts = {"dataset": "tiny", "split": "valid", "n_rows": 100, "n_patients": 100}
    whole = {"schema": 1, "fitted_on": "tiny valid", "labels": labels, **facts}
    write_json(run_dir.calibration_path, whole)


def test_each_label_has_score_probability_threshold_and_verdict(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pulmonet

    calibrate(run_dir)
    assert score(run_dir, films) == 0
    rows = table(run_dir)
    paths = sorted(films.rglob("*.png"))
    assert [row["path"] for row in rows] == list(map(str, paths))
    expected = pulmonet.load(run_dir.path).predict(paths)
    n_above = dict.fromkeys(DEFAULT_LABELS, 0)
    for row, scores in zip(rows, expected, strict=True):
        for label, value in zip(DEFAULT_LABELS, scores, strict=True):
            assert float(row[f"{label}_score"]) == pytest.approx(float(value), abs=1e-6)
            threshold = f"{label}_threshold"
            if label == "Edema":
                cells = [row[f"Edema_{kind}"] for kind in ("probability", "threshold", "verdict")]
                assert cells == ["", "", ""]
                continue
            odds = np.exp(0.5) * value / (1 - value)
            assert float(row[f"{label}_probability"]) == pytest.approx(odds / (1 + odds), rel=1e-4)
            assert float(row[threshold]) == THRESHOLDS[label]
            above = float(row[f"{label}_score"]) >= float(row[threshold])
            assert row[f"{label}_verdict"] == ("above" if above else "below")
            n_above[label] += above
    assert 0 < n_above["Consolidation"] + n_above["Pleural Effusion"] < 140, "both verdicts occur"
    assert {row["run"] for row in rows} == {"small"}
    assert {int(row["bytes"]) for row in rows} == {path.stat().st_size for path in paths}
    shown = capsys.readouterr()
    assert "Scores of 70 images" in shown.out
    counted = [line for line in shown.out.split("\n") if line.startswith(DEFAULT_LABELS)]
    lines = {line.rsplit(maxsplit=5)[0].strip(): line.split()[-5:-2] for line in counted}
    assert lines == {
        label: [str(n), str(70 - n), "0"] if label != "Edema" else ["0", "0", "70"]
        for label, n in n_above.items()
    }
    assert "no verdict on Edema" in shown.err
    assert not (run_dir.path / "explain").exists(), "no map, no picture"


@pytest.mark.parametrize("cut", [0, 3, 200, 5_000, 9_999, -700, -1])
def test_a_table_that_was_cut_short_becomes_what_it_would_have_been(
    run_dir: RunDir, films: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    calibrate(run_dir)
    assert score(run_dir, films) == 0
    path = run_dir.path / "scores.csv"
    whole = path.read_bytes()
    n_rows = max(whole[:cut].count(b"\n") - 1, 0)
    path.write_bytes(whole[:cut])
    passes: list[int] = []
    plain = TrainedRun.scores

    def counted(run: TrainedRun, batches: list[object], *progress: object) -> object:
        passes.extend(len(batch) for batch in batches)  # type: ignore[arg-type]
        return plain(run, batches, *progress)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainedRun, "scores", counted)
    assert score(run_dir, films) == 0
    assert path.read_bytes() == whole
    assert sum(passes) == 70 - n_rows // 32 * 32, "passes that are there are not done again"
    assert score(run_dir, films) == 0
    assert sum(passes) == 70 - n_rows // 32 * 32
    assert path.read_bytes() == whole


def test_killed_and_started_again_it_is_the_table_of_one_go(
    run_dir: RunDir, tmp_path: Path, films: Path
) -> None:
    for number in range(3):  # enough to be killed among
        for path in sorted(films.glob("ward?/0??.png")):
            (path.parent / f"{number}{path.name}").write_bytes(path.read_bytes())
    out = tmp_path / "again"
    command = ["explain", "--artifacts-dir", str(run_dir.path.parent), "--no-maps", str(films)]
    command += ["--out-dir", str(out)]
    for _ in range(2):
        process = forked.start(*command)
        before, deadline = size_of(out / "scores.csv"), time.monotonic() + 120
        while size_of(out / "scores.csv") == before and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert forked.run(*command).returncode == 0
    assert score(run_dir, films) == 0
    assert (out / "scores.csv").read_bytes() == (run_dir.path / "scores.csv").read_bytes()
    assert len(table(run_dir)) == 280


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_rows_of_other_images_stay_and_new_ones_come_behind(run_dir: RunDir, films: Path) -> None:
    assert score(run_dir, films / "ward0") == 0
    assert score(run_dir, films / "ward1") == 0
    wards = [Path(row["path"]).parent.name for row in table(run_dir)]
    assert wards == ["ward0"] * 24 + ["ward1"] * 23


@pytest.mark.parametrize("change", ["calibration", "weights", "labels", "image"])
def test_what_is_stale_is_neither_added_to_nor_lost(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    calibrate(run_dir)
    assert score(run_dir, films) == 0
    before = (run_dir.path / "scores.csv").read_bytes()
    more: list[str] = []
    if change == "calibration":
        calibrate(run_dir, slope=1.1)
    elif change == "weights":
        make_run(run_dir.path.parent, model=MODEL, image_size=64, name="small", seed=1)
    elif change == "labels":
        more = ["--label", "Edema"]
    else:
        path = films / "ward0" / "000.png"
        path.write_bytes((films / "ward1" / "001.png").read_bytes())
    capsys.readouterr()
    assert score(run_dir, films, *more) == 4
    error = capsys.readouterr().err
    assert "scores.csv" in error
    assert "move it away, or choose another folder with --out-dir" in error
    expected = {
        "calibration": "other weights or settings (settings ",
        "weights": "other weights or settings (weights ",
        "labels": "of other labels",
        "image": "1 image changed since",
    }
    assert expected[change] in error
    assert (run_dir.path / "scores.csv").read_bytes() == before


def test_a_table_of_the_users_is_left_alone(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_dir.path / "scores.csv"
    path.write_text("path,points\na.png,3\n")
    assert score(run_dir, films) == 4
    assert "no scores.csv of PulmoNet's" in capsys.readouterr().err
    assert path.read_text() == "path,points\na.png,3\n"


def test_a_damaged_row_in_the_middle_is_named(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(run_dir, films) == 0
    path = run_dir.path / "scores.csv"
    lines = path.read_bytes().split(b"\n")
    lines[5] = lines[5][:50]
    path.write_bytes(b"\n".join(lines))
    assert score(run_dir, films) == 4
    assert "damaged at byte" in capsys.readouterr().err
    assert path.read_bytes() == b"\n".join(lines)


def test_unreadable_images_are_named_and_tried_again(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = films / "ward0" / "003.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    for _ in range(2):
        assert score(run_dir, films) == 3
        error = capsys.readouterr().err
        assert f"{broken}: truncated PNG" in error
        assert "1 of 70 images could not be read" in error
        assert len(table(run_dir)) == 69
    broken.write_bytes(content)
    assert score(run_dir, films) == 0
    assert table(run_dir)[-1]["path"] == str(broken)
    broken.write_bytes(content[:100])
    assert score(run_dir, broken, "--out-dir", films.parent / "one") == 3
    assert "error: " in capsys.readouterr().err


def test_json_and_parquet_say_the_same(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    calibrate(run_dir)
    assert score(run_dir, films / "ward2") == 0
    capsys.readouterr()
    assert score(run_dir, films / "ward0", "--json", "--parquet") == 0
    document = Explanations.model_validate_json(capsys.readouterr().out)
    rows = {row["path"]: row for row in table(run_dir)}
    assert len(rows) == 24 + 23
    assert len(document.images) == 24, "only the images of this call"
    for image in document.images:
        for label, found in image.labels.items():
            cells = rows[image.image]
            assert np.float32(found.score) == np.float32(cells[f"{label}_score"])
            assert found.verdict().split()[0] == (cells[f"{label}_verdict"] or "no")
            if found.probability is not None:
                probability = float(cells[f"{label}_probability"])
                assert found.probability == pytest.approx(probability, rel=1e-6)
    parquet = pd.read_parquet(run_dir.path / "scores.parquet")
    assert parquet["path"].tolist() == list(rows)
    assert parquet["Atelectasis_score"].dtype == np.float64
    assert parquet["settings"].tolist() == [row["settings"] for row in rows.values()]
    texts = [f"{value:.9g}" for value in parquet["Atelectasis_score"]]
    assert texts == [row["Atelectasis_score"] for row in rows.values()]


def test_a_name_that_a_spreadsheet_would_compute_is_text(
    run_dir: RunDir, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strange = ["=1+1.png", 'a,"b"\nc.png', "@x.png"]
    for name in strange:
        Path(name).write_bytes((films / "ward0" / "000.png").read_bytes())
    for _ in range(2):
        assert score(run_dir, *strange) == 0
        paths = [row["path"] for row in table(run_dir)]
        assert paths == ["'=1+1.png", 'a,"b"\nc.png', "'@x.png"]


def test_rows_of_a_dataset_all_of_them_or_a_split(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny", n_train=8, n_valid=5)
    run_dir = make_run(
        tmp_path / "artifacts", model=MODEL, image_size=64, data_dir=data, name="small"
    )
    assert score(run_dir, "--split", "valid") == 0
    assert [row["path"].split("/")[0] for row in table(run_dir)] == ["valid"] * 5
    assert score(run_dir, "--out-dir", tmp_path / "all") == 0
    assert (tmp_path / "all" / "scores.csv").read_text().count("\n") == 14
    assert main(["evaluate", "--artifacts-dir", str(run_dir.path.parent), "--no-figures"]) == 0
    predictions = pd.read_csv(next(run_dir.path.glob("predictions_*.csv")))
    mine = pd.read_csv(run_dir.path / "scores.csv")
    for label in DEFAULT_LABELS:
        assert mine[f"{label}_score"].tolist() == predictions[f"{label}_score"].tolist()


def test_with_maps_it_is_written_too_and_follows_the_calibration(
    run_dir: RunDir, films: Path
) -> None:
    path = run_dir.explain_dir / "scores.csv"
    images = [str(films / "ward0" / name) for name in ("000.png", "003.png")]
    command = ["explain", "--artifacts-dir", str(run_dir.path.parent), "--label", "Edema"]
    assert main([*command, *images]) == 0
    first = pd.read_csv(path)
    document = json.loads((run_dir.explain_dir / "explanations.json").read_text())
    for name, value, image in zip(
        first["path"], first["Edema_score"], document["images"], strict=True
    ):
        assert (name, value) == (image["image"], pytest.approx(image["labels"]["Edema"]["score"]))
    calibrate(run_dir)
    assert main([*command, images[0]]) == 0
    assert len(pd.read_csv(path)) == 1
    assert set(pd.read_csv(path)["settings"]) != set(first["settings"])


@pytest.mark.parametrize(
    "flag",
    [
        *("--boxes=boxes.csv", "--sanity", "--dicom", "--show-absent", "--colour-map=jet"),
        *("--method=layercam", "--layer=layer1"),
    ],
)
def test_what_needs_maps_is_refused(
    run_dir: RunDir, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert score(run_dir, flag) == 2
    assert f"--no-maps: {flag.partition('=')[0]} needs the maps" in capsys.readouterr().err


def test_json_of_rows_has_their_reference_standard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny", n_train=8, n_valid=6)
    run_dir = make_run(tmp_path / "runs", model=MODEL, image_size=32, data_dir=data)
    capsys.readouterr()
    assert score(run_dir, "--split", "valid", "--label", "Edema", "--json") == 0
    images = json.loads(capsys.readouterr().out)["images"]
    expected = [{1.0: True, 0.0: False}.get(x) for x in pd.read_csv(data / "valid.csv")["Edema"]]
    assert [one["labels"]["Edema"]["reference"] for one in images] == expected
    assert {*expected} & {True, False}


@pytest.mark.parametrize("word", ["predict", "score", "infer"])
def test_predict_leads_here(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word, "films/"]) == 2
    assert "pulmonet explain FOLDER --no-maps" in capsys.readouterr().err


def test_an_image_unlike_the_training_has_its_score_and_no_verdict(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.images import read_grey

    from pulmonet.data.images.square import fit_square, pack_side
    from pulmonet.data.likeness import Likeness, describe, key_of

    squares = [
        fit_square(read_grey(path), pack_side(64), "stretch") for path in films.rglob("*.png")
    ]
    numbers = describe(squares)
    mean, spread = numbers.mean(axis=0), numbers.std(axis=0) + 1e-9
    distances = np.linalg.norm((numbers - mean) / spread, axis=1)
    likeness = Likeness(mean, np.diag(1 / spread), float(np.sort(distances)[-4:-2].mean()))
    run_dir.likeness_path.write_bytes(likeness.to_bytes(key_of(run_dir.read_record())))
    calibrate(run_dir)
    assert score(run_dir, films, "--json") == 0
    shown = capsys.readouterr()
    assert "3 of 70 images unlike the images that this model was trained on" in shown.err
    rows = table(run_dir)
    assert [row["unlike_training"] for row in rows].count("yes") == 3
    for row in rows:
        is_unlike = float(row["distance"]) > likeness.limit
        assert row["unlike_training"] == ("yes" if is_unlike else "no")
        assert bool(row["Atelectasis_verdict"]) is not is_unlike
        assert row["Atelectasis_score"]
    images = json.loads(shown.out)["images"]
    assert [image["unlike"] for image in images] == [r["unlike_training"] == "yes" for r in rows]
    found = [image["labels"]["Atelectasis"] for image in images if image["unlike"]]
    assert all("unlike the images" in one["reason"] for one in found)


def test_a_row_says_what_90_percent_coverage_allows(
    run_dir: RunDir, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pulmonet

    calibrate(run_dir)
    document = json.loads(run_dir.calibration_path.read_text())
    scores = np.asarray(pulmonet.load(run_dir.path).predict(sorted(films.rglob("*.png"))))
    low, high = np.quantile(scores[:, DEFAULT_LABELS.index("Consolidation")], [0.3, 0.6])
    for label, ends in (("Consolidation", (low, high)), ("Cardiomegaly", (None, 0.5))):
        names = dict(zip(("rule_out", "rule_in"), ends, strict=True))
        document["labels"][label]["conformal"] = names
    write_json(run_dir.calibration_path, document)
    assert score(run_dir, films) == 0
    shown, counted = capsys.readouterr(), Counter()
    for row in table(run_dir):
        value = float(row["Consolidation_score"])
        word = "ruled out" if value < low else "ruled in" if value > high else "undecided"
        assert row["Consolidation_conformal"] == word
        counted[word] += 1
        word = "ruled in" if float(row["Cardiomegaly_score"]) > 0.5 else "undecided"
        assert row["Cardiomegaly_conformal"] == word
        assert row["Edema_conformal"] == row["Atelectasis_conformal"] == ""
    assert min(counted.values()) > 0 and len(counted) == 3, "all three occur"
    (line,) = (line for line in shown.out.split("\n") if line.startswith("Consolidation"))
    numbers = [str(counted[word]) for word in ("ruled out", "ruled in", "undecided")]
    assert line.split()[-5:-2] == numbers
    assert "undecided, Cardiomegaly: nothing is ruled out" in " ".join(
        (shown.out + shown.err).split()
    )
