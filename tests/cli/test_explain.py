"""`pulmonet explain`: its files, what it says, its exit codes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.errors import ConfigError
from pulmonet.explain.results import Explanations
from pulmonet.files.write import write_json
from pulmonet.flows.explain.images import folder_names
from pulmonet.labels import DEFAULT_LABELS, file_name_of
from pulmonet.run.folder import RunDir
from report_reader import whole_report
from run_factory import make_run

MODEL = "timm:test_resnet"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose labels brighten one place each, with boxes around these places."""
    root = write_dataset(tmp_path_factory.mktemp("data") / "tiny", n_train=8, n_valid=12)
    lines = ["Path,label,xmin,ymin,xmax,ymax"]
    for split in ("train", "valid"):
        with (root / f"{split}.csv").open() as file:
            for row in csv.DictReader(file):
                for position, label in enumerate(DEFAULT_LABELS):
                    if row[label] == "1.0":
                        box = (position / 5, 1 / 3, (position + 1) / 5, 2 / 3)
                        lines.append(f"{row['Path']},{label}," + ",".join(map(str, box)))
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def artifacts(tmp_path: Path, data: Path) -> Path:
    make_run(tmp_path / "artifacts", model=MODEL, image_size=64, data_dir=data, name="small")
    return tmp_path / "artifacts"


def explain(artifacts: Path, *arguments: object) -> int:
    return main(["explain", "--artifacts-dir", str(artifacts), *map(str, arguments)])


def read_image(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_COLOR)


def write_image(path: Path, height: int = 60, width: int = 90, seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return path


def calibrate(run_dir: RunDir, threshold: float, **facts: Any) -> None:
    """A calibration as `evaluate` writes it: the same threshold for all labels."""
    entry = {
        "calibrator": {"kind": "platt", "intercept": 0.0, "slope": 1.0},
        "prevalence": 0.4,
        "n": 100,
        "positives": 40,
        "thresholds": {"youden": threshold},
        "positive_patients": 40,
        "negative_patients": 60,
        "auroc": {"value": 0.81, "low": 0.72, "high": 0.89},
    } | facts
    write_json(
        run_dir.path / "calibration.json",
        {
            "schema": 1, "fitted_on": "tiny valid", "dataset": "tiny", "split": "valid",
            "n_rows": 100, "n_patients": 100,
            "labels": dict.fromkeys(DEFAULT_LABELS, entry),
        },
    )  # fmt: skip


def test_without_an_image_the_first_validation_row_is_explained(
    artifacts: Path, drawn_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(artifacts) == 0
    captured = capsys.readouterr()
    for label in DEFAULT_LABELS:
        panel = artifacts / "small" / f"gradcam_{file_name_of(label)}.png"
        assert read_image(panel).shape[1] > 600, "X-ray and overlay side by side"
        assert label in captured.out
    assert "Run: small, the only run" in captured.out
    assert "Dataset: tiny" in captured.out
    assert "not a medical device" in captured.out
    assert "pulmonet evaluate" in captured.err, "no thresholds yet: says how to get them"
    table = [line for line in captured.out.splitlines() if line.startswith(("Label", "Edema"))]
    assert len(table) == 2
    assert all(len(line.rstrip()) <= 80 for line in table)
    document = json.loads((artifacts / "small" / "explain" / "explanations.json").read_text())
    (image,) = document["images"]
    assert image["image"] == "valid/patient00009/study1/view1_frontal.jpg"
    folder = artifacts / "small" / "explain"
    assert (folder / image["labels"]["Edema"]["panel"]).samefile(
        artifacts / "small" / "gradcam_Edema.png"
    )


def test_an_image_gives_overlay_maps_and_scores(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_image(tmp_path / "portrait.png", height=150, width=100)
    assert explain(artifacts, image, "--label", "edema", "--label", "Pleural_Effusion") == 0
    folder = artifacts / "small" / "explain" / "portrait"
    assert read_image(folder / "gradcam_Pleural_Effusion_overlay.png").shape == (150, 100, 3)
    assert not (folder / "gradcam_Atelectasis.png").exists()
    with np.load(folder / "maps.npz", allow_pickle=False) as maps:
        assert maps["labels"].tolist() == ["Edema", "Pleural Effusion"]
        assert maps["raw"].shape == (2, 2, 2)
        assert maps["raw"].dtype == maps["maps"].dtype == maps["scores"].dtype == np.float32
        assert maps["maps"].shape == (2, 64, 64)
        assert maps["maps"].min() >= 0
        assert maps["maps"].max() <= 1
        scores = maps["scores"]
    document = Explanations.model_validate_json(
        (artifacts / "small" / "explain" / "explanations.json").read_text()
    )
    assert document.images[0].labels["Edema"].score == pytest.approx(float(scores[0]))
    assert f"{scores[1]:.3f}" in capsys.readouterr().out


def test_scores_are_those_of_evaluation(artifacts: Path, data: Path) -> None:
    """The same pixels by the same way: pack size first, then the network's size."""
    from pulmonet.data.batches.load import evaluation_batches
    from pulmonet.data.pack.open import open_pack
    from pulmonet.data.sources import read_manifest
    from pulmonet.models.inference import predict
    from pulmonet.models.trained import load_run

    assert explain(artifacts, "--split", "valid", "--rows", 3) == 0
    trained = load_run(RunDir(artifacts / "small"), "cpu")
    manifest = read_manifest(data)
    rows = np.flatnonzero(manifest.table["split"] == "valid")[:3]
    pack = open_pack(manifest, rows, image_size=64, num_workers=0)
    batches = evaluation_batches(pack, rows, image_size=64, batch_size=3, num_workers=0)
    expected = predict(trained.network, batches)
    document = json.loads((artifacts / "small" / "explain" / "explanations.json").read_text())
    found = [[entry["score"] for entry in image["labels"].values()] for image in document["images"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_best_run_is_taken_and_named(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(artifacts, model=MODEL, image_size=64, data_dir=data, name="better", auroc=0.9)
    assert explain(artifacts, "--label", "Edema") == 0
    assert "Run: better, the best of 2 runs in" in (said := capsys.readouterr().out)
    assert "(validation AUROC 0.900)" in said
    assert (artifacts / "better" / "gradcam_Edema.png").exists()
    assert explain(artifacts, "--model", "small", "--label", "Edema") == 0
    assert (artifacts / "small" / "gradcam_Edema.png").exists()


def test_no_map_is_drawn_of_a_finding_below_its_threshold(
    artifacts: Path, capsys: pytest.CaptureFixture[str], drawn_figures: None
) -> None:
    run_dir = RunDir(artifacts / "small")
    overlay = (
        run_dir.explain_dir / "patient00009_study1_view1_frontal" / "gradcam_Edema_overlay.png"
    )
    calibrate(run_dir, threshold=0.0)
    assert explain(artifacts, "--label", "Edema") == 0
    assert overlay.exists()
    shown = read_image(run_dir.path / "gradcam_Edema.png")
    calibrate(run_dir, threshold=1.0)
    assert explain(artifacts, "--label", "Edema") == 0
    said = capsys.readouterr()
    assert "above the threshold (Youden's)" in said.out
    assert "below the threshold (Youden's)" in said.out and "0.810" in said.out
    assert "No map is drawn below the threshold (--show-absent draws it)" in said.out
    assert not overlay.exists(), "an earlier overlay must not outlive its verdict"
    hidden = read_image(run_dir.path / "gradcam_Edema.png")

    def colourfulness(panel: Any) -> float:
        half = panel[80:-80, panel.shape[1] // 2 :].astype(int)
        return float((half.max(axis=2) - half.min(axis=2)).mean())

    assert colourfulness(hidden) < 0.1 < colourfulness(shown)
    assert explain(artifacts, "--label", "Edema", "--show-absent") == 0
    assert overlay.exists()
    (image,) = json.loads((run_dir.explain_dir / "explanations.json").read_text())["images"]
    assert image["labels"]["Edema"]["present"] is False
    assert image["labels"]["Edema"]["auroc"]["value"] == 0.81


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"positive_patients": 9},
            "threshold chosen on 9 positive and 60 negative patients (10 of each",
        ),
        (
            {"negative_patients": 9},
            "threshold chosen on 40 positive and 9 negative patients (10 of each",
        ),
        (
            {"auroc": {"value": 0.6, "low": 0.5, "high": 0.7}},
            "AUROC 0.600 (0.500–0.700) is not significantly above 0.5",
        ),
        (  # five labels: 0.65 is no surprise, one label: it is
            {"auroc": {"value": 0.65, "low": 0.51, "high": 0.79}},
            "AUROC 0.650 (0.510–0.790) is not significantly above 0.5 among 5 labels",
        ),
        (
            {"positive_patients": None, "negative_patients": None, "auroc": None},
            "threshold of an earlier version; run `pulmonet evaluate` again",
        ),
        (
            {"thresholds": {"f1": 0.3}},
            "no threshold (Youden's); `pulmonet evaluate` without --threshold",
        ),
    ],
)
def test_no_verdict_stands_on_a_threshold_that_cannot_carry_it(
    facts: dict[str, Any], reason: str, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = RunDir(artifacts / "small")
    calibrate(run_dir, threshold=0.0, **facts)
    assert explain(artifacts, "--label", "Edema") == 0
    said = capsys.readouterr()
    assert "no verdict" in said.out and "above the threshold" not in said.out
    assert f"no verdict on Edema: {reason}" in " ".join(said.err.split())
    (image,) = json.loads((run_dir.explain_dir / "explanations.json").read_text())["images"]
    found = image["labels"]["Edema"]
    assert reason in found["reason"]
    assert [found[key] for key in ("present", "threshold", "probability")] == [None] * 3
    assert main(["report", "--artifacts-dir", str(artifacts), "--html"]) == 0
    page = (artifacts / "report.html").read_text()
    assert '"verdict":"no verdict; ' in page and "the threshold (Youden's)\"" not in page


def test_the_page_draws_no_map_below_the_threshold(artifacts: Path) -> None:
    calibrate(RunDir(artifacts / "small"), threshold=1.0)

    def maps_of_page() -> list[dict[str, Any]]:
        assert main(["report", "--artifacts-dir", str(artifacts), "--html"]) == 0
        page = (artifacts / "report.html").read_text()
        start = page.index("{", page.index('type="application/json"'))
        data = json.JSONDecoder().raw_decode(page[start:])[0]
        return list(data["exhibits"][0]["maps"])

    assert explain(artifacts) == 0
    for item in maps_of_page():
        assert item["png"] is None
        assert item["verdict"] == "below the threshold (Youden's); AUROC 0.81 (0.72–0.89)"
    assert explain(artifacts, "--show-absent") == 0
    assert all(item["png"].startswith("data:image/png") for item in maps_of_page())
    # another call tells of other images: what was drawn of this one is known still
    assert explain(artifacts) == 0
    (RunDir(artifacts / "small").explain_dir / "explanations.json").unlink()
    assert all(item["png"] is None for item in maps_of_page())


def test_a_label_of_one_class_is_the_reason_that_it_has_no_verdict(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also: the facts that verdicts rest on are those of the evaluation."""
    root = shutil.copytree(data, tmp_path / "tiny")
    table = (root / "valid.csv").read_text().splitlines()
    column = table[0].split(",").index("Edema")
    rows = [line.split(",") for line in table[1:]]
    lines = [",".join([*row[:column], "0.0", *row[column + 1 :]]) for row in rows]
    (root / "valid.csv").write_text("\n".join([table[0], *lines]) + "\n")
    arguments = ["--artifacts-dir", str(artifacts), "--data-dir", str(root)]
    assert main(["evaluate", *arguments, "--bootstrap", "100"]) == 0
    run_dir = RunDir(artifacts / "small")
    calibration = json.loads((run_dir.path / "calibration.json").read_text())
    evaluation = json.loads(next(run_dir.path.glob("evaluation_*.json")).read_text())
    own = evaluation["runs"][0]["labels"]
    with next(run_dir.path.glob("predictions_*.csv")).open() as file:
        predicted = list(csv.DictReader(file))
    assert set(calibration["labels"]) == set(own) - {"Edema"}
    for label, entry in calibration["labels"].items():
        for value, key in (("1", "positive_patients"), ("0", "negative_patients")):
            patients = {row["patient"] for row in predicted if row[label] == value}
            assert entry[key] == len(patients) > 0
        assert entry["auroc"] == own[label]["auroc"]
    capsys.readouterr()
    assert main(["explain", *arguments]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no verdict on Edema: no threshold: one class only: no positive among 12 rows" in said
    assert "evaluate` sets" not in said
    assert "(10 of each needed)" in said


def test_folders_globs_and_a_bad_file_among_many(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x-rays"
    (folder / "deeper").mkdir(parents=True)
    write_image(folder / "a.jpg", seed=1)
    write_image(folder / "deeper" / "b.png", seed=2)
    sixteen = np.random.default_rng(0).integers(0, 4000, (40, 40)).astype(np.uint16)
    cv2.imwrite(str(folder / "c.png"), sixteen)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")

    assert explain(artifacts, folder, "--label", "Edema") == 3
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "1 of 4 images could not be read" in captured.err
    out = artifacts / "small" / "explain"
    document = json.loads((out / "explanations.json").read_text())
    assert [Path(image["image"]).name for image in document["images"]] == [
        "a.jpg",
        "c.png",
        "b.png",
    ]
    assert [Path(bad["image"]).name for bad in document["bad_images"]] == ["broken.jpg"]
    assert read_image(out / "contact_sheet.png") is not None

    assert (
        explain(artifacts, folder / "*.png", "--label", "Edema", "--out-dir", tmp_path / "o") == 0
    )
    assert (tmp_path / "o" / "c" / "gradcam_Edema.png").exists()


def test_many_images_end_with_counts_by_verdict(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above, below and without verdict; all that fits 80 columns, and its words are whole."""
    run_dir = RunDir(artifacts / "small")
    calibrate(run_dir, threshold=0.5)
    monkeypatch.setenv("COLUMNS", "80")
    assert explain(artifacts, "--split", "valid", "--rows", 11) == 0
    shown = capsys.readouterr()
    images = json.loads((run_dir.explain_dir / "explanations.json").read_text())["images"]
    lines = shown.out.splitlines()
    head = max(n for n, line in enumerate(lines) if line.startswith("Label") and "Above" in line)
    assert len(images) == 11 and "not a medical device" in lines[-1]
    for line, label in zip(lines[head + 1 :], DEFAULT_LABELS, strict=False):
        present = [image["labels"][label]["present"] for image in images]
        counts = [present.count(value) for value in (True, False, None)]
        assert line.split(label)[1].split()[:3] == list(map(str, counts))
    table = lines[: lines.index(next(line for line in lines if "more image" in line))]
    assert max(map(len, table[-40:])) <= 80
    assert " ".join(table).count("Cardiomegaly") == 10


def test_maps_of_two_methods_stand_beside_each_other(artifacts: Path) -> None:
    """The second method leaves the first one's maps; the page has both of the same image."""
    calibrate(RunDir(artifacts / "small"), threshold=0.0)
    for method in ("gradcam", "layercam"):
        assert explain(artifacts, "--method", method, "--label", "Edema") == 0
    (folder,) = (RunDir(artifacts / "small").explain_dir).glob("*/")
    kept = {path.name: dict(np.load(path)) for path in folder.glob("maps*.npz")}
    assert sorted(kept) == ["maps.npz", "maps_layercam.npz"]
    assert [str(kept[name]["method"]) for name in sorted(kept)] == ["gradcam", "layercam"]
    document = json.loads((folder.parent / "explanations.json").read_text())
    assert document["images"][0]["maps"] == f"{folder.name}/maps_layercam.npz"
    assert main(["report", "--artifacts-dir", str(artifacts), "--html"]) == 0
    page = (artifacts / "report.html").read_text()
    start = page.index("{", page.index('class="exhibits"'))
    exhibits = json.JSONDecoder().raw_decode(page[start:])[0]
    assert [one["method"] for one in exhibits["exhibits"]] == ["gradcam", "layercam"]
    assert len(exhibits["greys"]) == 1, "one X-ray for both"
    first, second = (one["maps"][0] for one in exhibits["exhibits"])
    assert first["score"] == pytest.approx(second["score"]) and first["png"] and second["png"]


def test_another_image_of_the_same_name_takes_the_place_of_the_first(
    artifacts: Path, tmp_path: Path
) -> None:
    """Two patients' IM1: no map or capture of the first stays over the second's X-ray."""
    calibrate(RunDir(artifacts / "small"), threshold=0.0)
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    first = write_image(tmp_path / "x" / "IM1.png")
    second = tmp_path / "y" / "IM1.png"
    cv2.imwrite(str(second), 255 - cv2.imread(str(first), cv2.IMREAD_GRAYSCALE))
    assert explain(artifacts, first, "--label", "Edema", "--dicom") == 0
    folder = RunDir(artifacts / "small").explain_dir / "IM1"
    (folder / "mine.txt").write_text("the user's")
    assert (folder / "gradcam_Edema.dcm").exists()
    assert explain(artifacts, second, "--label", "Edema", "--method", "layercam") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        *("layercam_Edema.png", "layercam_Edema_overlay.png"),
        *("maps_layercam.npz", "mine.txt", "xray.png"),
    ]


def test_one_document_on_stdout(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_image(tmp_path / "x.png")
    assert explain(artifacts, image, "--class-idx", 3, "--json", "--method", "layercam") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert list(document["images"][0]["labels"]) == ["Edema"]
    assert document["method"] == "layercam"
    assert explain(artifacts, image, "--class-idx", 3, "--json", "--quiet") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["schema"] == 1
    assert captured.err == ""


@pytest.mark.parametrize(
    "method", ["gradcam++", "hirescam", "scorecam", "integrated-gradients", "occlusion"]
)
def test_every_method_writes_its_own_files(artifacts: Path, tmp_path: Path, method: str) -> None:
    image = write_image(tmp_path / "x.png")
    arguments = (image, "--label", "Edema", "--method", method)
    assert explain(artifacts, *arguments) == 0
    folder = artifacts / "small" / "explain" / "x"
    assert (folder / f"{method}_Edema.png").exists()


def test_an_inner_layer_gives_finer_maps(artifacts: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "x.png")
    assert explain(artifacts, image, "--layer", "layer2", "--colour-map", "jet") == 0
    with np.load(artifacts / "small" / "explain" / "x" / "maps.npz") as maps:
        assert maps["raw"].shape[1:] == (8, 8)


def test_dicom_images_are_explained_and_their_captures_filed_with_them(
    artifacts: Path, tmp_path: Path
) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    x_ray = pydicom.Dataset()
    x_ray.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    x_ray.SOPInstanceUID, x_ray.StudyInstanceUID = generate_uid(), generate_uid()
    x_ray.PatientID, x_ray.Modality = "p5", "DX"
    x_ray.Rows, x_ray.Columns = 48, 40
    x_ray.SamplesPerPixel, x_ray.PhotometricInterpretation = 1, "MONOCHROME2"
    x_ray.BitsAllocated, x_ray.BitsStored, x_ray.HighBit, x_ray.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(0).integers(0, 4096, (48, 40)).astype("<u2")
    x_ray.PixelData = pixels.tobytes()
    x_ray.file_meta = FileMetaDataset()
    x_ray.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    x_ray.save_as(tmp_path / "chest.dcm", enforce_file_format=True)

    assert explain(artifacts, tmp_path / "chest.dcm", "--label", "Edema", "--dicom") == 0
    folder = artifacts / "small" / "explain" / "chest"
    assert read_image(folder / "gradcam_Edema_overlay.png").shape == (48, 40, 3)
    capture = pydicom.dcmread(folder / "gradcam_Edema.dcm")
    assert (capture.PatientID, capture.StudyInstanceUID) == ("p5", x_ray.StudyInstanceUID)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == x_ray.SOPInstanceUID


def test_what_is_no_radiograph_is_left_out_and_named(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pydicom = pytest.importorskip("pydicom")
    slice_ = pydicom.Dataset()
    slice_.Modality, slice_.Rows, slice_.Columns = "CT", 48, 40
    slice_.file_meta = pydicom.dataset.FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    slice_.SOPClassUID, slice_.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    (tmp_path / "x").mkdir()
    slice_.save_as(tmp_path / "x" / "slice.dcm", enforce_file_format=True)
    write_image(tmp_path / "x" / "chest.png")
    assert explain(artifacts, tmp_path / "x", "--label", "Edema") == 0
    assert "1 DICOM file of modality CT passed over" in capsys.readouterr().err
    assert explain(artifacts, tmp_path / "x" / "slice.dcm", "--label", "Edema") == 3
    assert "slice.dcm: no chest radiograph (its Modality is CT)" in capsys.readouterr().err
    document = json.loads((artifacts / "small" / "explain" / "explanations.json").read_text())
    assert len(document["images"]) == 1


def test_a_file_that_is_not_there_is_told_at_once(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(artifacts, "nope.jpg") == 3
    assert "nope.jpg: no such file" in capsys.readouterr().err


def test_a_folder_of_images_may_be_called_as_a_run_is(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    write_image(tmp_path / "small" / "x.png")
    monkeypatch.chdir(tmp_path)
    assert explain(artifacts, "small", "--label", "Edema") == 0


def test_dicom_captures(artifacts: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    image = write_image(tmp_path / "x.png")
    assert explain(artifacts, image, "--label", "Edema", "--dicom") == 0
    read = pydicom.dcmread(artifacts / "small" / "explain" / "x" / "gradcam_Edema.dcm")
    assert read.pixel_array.shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "Edena"], 2, "label 'Edena'.*did you mean 'Edema'"),
        (["--class-idx", "5"], 2, "--class-idx 5: no such output; choose from 0 Atelectasis"),
        (["--method", "gradcan"], 2, "--method gradcan.*did you mean 'gradcam'"),
        (["--layer", "layr4"], 2, "--layer layr4.*did you mean 'layer4'"),
        (["--layer", "layer4", "--method", "occlusion"], 2, "occlusion works on the pixels"),
        (["--colour-map", "jett"], 2, "did you mean 'jet'"),
        (["--run", "smal"], 4, r"no such run \(did you mean 'small'"),
        (["--rows", "0"], 2, "--rows 0: at least 1"),
        (["--split", "vald"], 2, "--split vald: unknown.*did you mean 'valid'"),
        (["nothere.jpg"], 3, "nothere.jpg: no such file; name JPEG"),
        (["small"], 2, "images: small is a run; name it with --run small"),
        (["small", "--rows", "3"], 2, "images: small is a run"),
        (["x.jpg", "--rows", "3"], 2, "images: --rows takes rows of the dataset; leave one of"),
        (["x.jpg", "--data-dir", "x"], 2, "images: --data-dir takes rows of the dataset"),
        (["x.jpg", "--map", "csv=x.csv"], 2, "images: --map takes rows of the dataset"),
        (["x.jpg", "--boxes"], 2, "images: --boxes scores rows of the dataset"),
        (["--boxes", "--dicom"], 2, "--boxes: --dicom is for explained images; leave one of"),
        (["--boxes", "--colour-map", "jet"], 2, "--boxes: --colour-map is for explained"),
        (["--anonymous"], 2, "--anonymous: goes with --dicom only; leave it out, or add that"),
        (["--bootstrap", "200"], 2, "--bootstrap: goes with --boxes only"),
        (["--boxes", "--parquet"], 2, "--boxes: --parquet is for explained images"),
        (["--sanity", "--show-absent"], 2, "--sanity: --show-absent is for explained images"),
        (["--against", "small", "--boxes-out"], 2, "--against: --boxes-out is for explained"),
        (["--boxes", "--bootstrap", "0"], 2, "--bootstrap 0: at least 100 is needed"),
        (["*.nothing"], 3, "matches no file"),
        (["--boxes", "none.csv"], 3, "--boxes none.csv: no such file"),
        (["--boxes", "boxes.txt"], 2, "give a boxes.csv"),
        (["--device", "gpu"], 2, "--device gpu"),
    ],
)
def test_wrong_words_end_with_their_code(
    artifacts: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    import re

    assert explain(artifacts, *arguments) == code
    captured = capsys.readouterr()
    assert re.search(message, captured.err.replace("\n", " "))
    assert captured.err.count("error:") == 1


def test_rows_are_of_the_views_asked_for(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tiny"
    shutil.copytree(data, root)
    lines = (root / "valid.csv").read_text().splitlines()
    lines[1] = lines[1].replace("Frontal,AP", "Lateral,")
    (root / "valid.csv").write_text("\n".join(lines) + "\n")
    flags = ("--data-dir", root, "--split", "valid", "--label", "Edema", "--json")
    assert explain(artifacts, *flags, "--views", "frontal") == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 11
    assert explain(artifacts, *flags, "--views", "lateral") == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 1
    assert explain(artifacts, "x.jpg", "--views", "lateral") == 2


def test_a_wrong_label_answers_without_torch(artifacts: Path) -> None:
    code = (
        "import sys; from pulmonet.cli.main import main; "
        f"code = main(['explain', '--artifacts-dir', {str(artifacts)!r}, '--label', 'Edena']); "
        "print(code, sorted({'torch', 'pandas', 'cv2', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "2 []"


def test_no_run_at_all_is_an_artifact_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(tmp_path / "none") == 4
    assert "no such folder; train one with `pulmonet train`" in capsys.readouterr().err


def test_boxes_give_a_table_with_all_baselines(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(artifacts, "--boxes", data / "boxes.csv", "--bootstrap", 100) == 0
    captured = capsys.readouterr()
    document = json.loads((artifacts / "small" / "explain" / "localization.json").read_text())
    assert set(document["labels"]) == set(DEFAULT_LABELS)
    edema = document["labels"]["Edema"]
    rows = ["gradcam", "prior density", "mean box", "image centre", "randomised networks"]
    assert list(edema["rows"]) == rows
    # every box of a label lies at the same place, so the priors are perfect
    assert edema["rows"]["prior density"]["pointing"]["value"] == 1.0
    assert edema["rows"]["mean box"]["iou"]["value"] > 0.95
    assert len(edema["differences"]) == 4 * 3
    for name in rows:
        assert name in captured.out
    assert "Not significantly better than every baseline" in captured.out
    assert all(len(line.rstrip()) <= 80 for line in captured.out.splitlines() if "–" in line)
    with (data / "valid.csv").open() as file:
        n_positive = sum(row["Edema"] == "1.0" for row in csv.DictReader(file))
    assert edema["n_images"] == n_positive


def test_boxes_of_another_dataset_are_no_empty_split(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A boxes.csv, a table of VinDr's, CheXlocalize's contours: none is of an image here."""
    lines = (data / "boxes.csv").read_text().replace("patient", "person")
    vindr = "image_id,class_name,x_min,y_min,x_max,y_max\nabc,Atelectasis,1,2,3,4\n"
    lung = {
        "patient1_study1_view1_frontal": {"img_size": [9, 9], "Edema": [[[1, 1], [5, 5], [1, 5]]]}
    }
    for name, text in (("a.csv", lines), ("b.csv", vindr), ("c.json", json.dumps(lung))):
        (tmp_path / name).write_text(text)
        assert explain(artifacts, "--boxes", tmp_path / name) == 3
        said = " ".join(capsys.readouterr().err.split())
        assert f"{name}: no boxes of images of dataset tiny; name a boxes.csv, or CheX" in said


def test_methods_and_layers_are_compared_on_the_same_rows(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = ("--boxes", data / "boxes.csv", "--bootstrap", 100, "--label", "Edema", "--json")
    ways = ("--method", "layercam,gradcam", "--layer", "last,layer3")
    assert explain(artifacts, *boxes, *ways) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["localization"]
    names = ["layercam last", "layercam layer3", "gradcam last", "gradcam layer3"]
    assert [one["name"] for one in found["variants"]] == names
    layer3 = {"name": names[1], "method": "layercam", "layer": "layer3", "cells": [4, 4]}
    assert found["variants"][1] == layer3
    edema = found["labels"]["Edema"]
    priors = ["prior density", "mean box", "image centre"]
    randoms = [f"randomised networks, {name}" for name in names]
    assert list(edema["rows"]) == [*names, *priors, *randoms]
    tested = {(entry["row"], entry["baseline"]) for entry in edema["differences"]}
    assert tested == {
        (name, baseline) for name in names for baseline in (*priors, f"randomised networks, {name}")
    }
    assert "4 ways were tried on the same rows" in captured.err
    lines = captured.err.splitlines()
    assert sum(line.startswith("best randomised networks ") for line in lines) == 1, "the strongest"

    assert explain(artifacts, *boxes, "--method", "gradcam", "--layer", "layer3") == 0
    alone = json.loads(capsys.readouterr().out)["localization"]["labels"]["Edema"]
    assert alone["rows"]["gradcam"] == edema["rows"]["gradcam layer3"]
    assert alone["rows"]["randomised networks"] == edema["rows"][randoms[3]]

    assert explain(artifacts, "--method", "gradcam,layercam") == 2
    assert "go with --boxes only" in capsys.readouterr().err
    assert explain(artifacts, "--boxes", data / "boxes.csv", "--sanity", *ways) == 2


def teach(run: Path, patients: list[str]) -> None:
    """Make it a run whose maps learned from boxes of these patients."""
    salt, nobody = np.zeros(16, np.uint8), np.zeros(1, "<u8")
    digests = [hashlib.blake2b(one.encode(), digest_size=8, salt=bytes(16)) for one in patients]
    taught = np.frombuffer(b"".join(one.digest() for one in digests), "<u8")
    np.savez(run / "seen.npz", salt=salt, images_boxes=nobody, patients_boxes=taught)


def test_folds_are_pooled_each_on_its_own_rows(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in range(2):
        run_dir = make_run(artifacts, model=MODEL, image_size=64, data_dir=data, name=f"fold{fold}")
        record = run_dir.read_record()
        folded = record.config.data.model_copy(update={"folds": 2, "fold": fold})
        config = record.config.model_copy(update={"data": folded})
        run_dir.write_record(config, record.provenance)
    arguments = ("--boxes", "boxes.csv", "--bootstrap", 100, "--label", "Edema")
    assert explain(artifacts, "--run", "fold0,fold1", *arguments) == 0
    document = json.loads((artifacts / "fold0" / "explain" / "localization.json").read_text())
    assert document["runs"] == ["fold0", "fold1"]
    captured = capsys.readouterr()
    assert "out of fold over 2 folds" in captured.out
    assert "Explaining with fold0, fold1 (" in captured.out
    n_boxes = sum(",Edema," in line for line in (data / "boxes.csv").read_text().splitlines())
    assert document["labels"]["Edema"]["n_images"] == n_boxes, "every image once, out of fold"
    assert explain(artifacts, "--run", "fold0,small", *arguments) == 2
    assert "pool runs of disjoint patient folds, or compare" in capsys.readouterr().err
    # the boxes of one patient taught it: what is left is no reason to look away
    lines = (data / "boxes.csv").read_text().splitlines()
    patient = next(one for one in lines if "/valid/" in one and ",Edema," in one).split("/")[2]
    teach(artifacts / "small", [patient])
    assert explain(artifacts, "--run", "small,fold0", *arguments) == 2
    captured = capsys.readouterr()
    assert "1 region of patients whose boxes small learned from" in captured.err
    assert "pool runs of disjoint patient folds, or compare" in captured.err
    assert explain(artifacts, "--run", "fold0,fold1") == 2
    assert "go with --boxes only" in capsys.readouterr().err


def test_images_with_other_names_are_no_other_fold(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of two collections has their names before paths and patients: they were pooled."""
    write_dataset(tmp_path / "more", n_train=4, n_valid=4)
    both = {"data": {"data_dir": [str(data), str(tmp_path / "more")]}}
    make_run(artifacts, model=MODEL, image_size=64, name="both", settings=both)
    arguments = ("--run", "small,both", "--boxes", "--bootstrap", 100, "--label", "Edema")
    assert explain(artifacts, *arguments) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "of different datasets (tiny and more+tiny); name one dataset with --data-dir" in said
    assert explain(artifacts, *arguments, "--data-dir", data) == 0
    document = json.loads((artifacts / "small" / "explain" / "localization.json").read_text())
    assert document["groups"] == [["small"], ["both"]]
    copied = shutil.copytree(data, tmp_path / "other")  # other images of the same names
    lines = (copied / "train.csv").read_text().splitlines()
    (copied / "train.csv").write_text("\n".join(lines[:-1]) + "\n")
    make_run(artifacts, model=MODEL, image_size=64, data_dir=copied, name="copied")
    assert explain(artifacts, "--run", "small,copied", *arguments[2:]) == 2
    assert "of different datasets (tiny and other)" in " ".join(capsys.readouterr().err.split())


def test_runs_of_one_name_are_refused(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One's numbers stood for both, with a difference of 0.00."""
    shutil.copytree(artifacts / "small", tmp_path / "other" / "small")
    assert explain(artifacts, "--run", f"small,{tmp_path / 'other' / 'small'}", "--boxes") == 2
    assert "two are called alike; name each once" in " ".join(capsys.readouterr().err.split())


def test_an_unreadable_image_is_left_out_of_the_priors(
    artifacts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(data, tmp_path / "tiny")
    lines = (root / "boxes.csv").read_text().splitlines()
    name = next(one for one in lines if "/train/" in one and ",Edema," in one).split(",")[0]
    (tmp_path / name).write_bytes(b"\xff\xd8\xff broken")
    settings = {"data": {"fit": "pad", "skip_bad": True}}
    make_run(artifacts, model=MODEL, image_size=64, data_dir=root, name="pad", settings=settings)
    arguments = ("--run", "pad", "--boxes", "--bootstrap", 100, "--label", "Edema")
    assert explain(artifacts, *arguments) == 0
    assert "left out of the priors 1 unreadable image: " in capsys.readouterr().err
    document = json.loads((artifacts / "pad" / "explain" / "localization.json").read_text())
    assert "prior density" in document["labels"]["Edema"]["rows"]


def test_runs_of_the_same_rows_are_compared(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paired on each image; each with its own randomised networks, all with the same priors."""
    for seed, name in ((1, "other"), (2, "third")):
        make_run(artifacts, model=MODEL, image_size=64, data_dir=data, name=name, seed=seed)
    arguments = ("--boxes", "--bootstrap", 200, "--label", "Edema", "--json")
    assert explain(artifacts, "--run", "small,other,third", *arguments) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["localization"]
    assert found["groups"] == [["small"], ["other"], ["third"]]
    assert [one["cells"] for one in found["variants"]] == [[2, 2]] * 3
    assert "gradcam of small: maps of 2 × 2 cells" in captured.err
    ways = ["gradcam of small", "gradcam of other", "gradcam of third"]
    assert [one["name"] for one in found["variants"]] == ways
    edema = found["labels"]["Edema"]
    alone = {}
    for name, way in zip(("small", "other", "third"), ways, strict=True):
        assert explain(artifacts, "--run", name, *arguments) == 0
        alone[way] = json.loads(capsys.readouterr().out)["localization"]["labels"]["Edema"]
        assert edema["rows"][way] == alone[way]["rows"]["gradcam"]
        randoms = edema["rows"][f"randomised networks of {name}"]
        assert randoms == alone[way]["rows"]["randomised networks"]
    between = {
        (one["row"], one["baseline"]): one["difference"]["value"]
        for one in edema["differences"]
        if one["baseline"] in ways and one["metric"] == "energy"
    }
    means = {way: entry["rows"]["gradcam"]["energy"]["value"] for way, entry in alone.items()}
    assert between == {
        (way, ways[0]): pytest.approx(means[way] - means[ways[0]]) for way in ways[1:]
    }
    assert "Pointing game, gradcam of other less gradcam of small: " in captured.err
    lines = [line for line in (data / "boxes.csv").read_text().splitlines() if ",Edema," in line]
    patients = sorted({line.split("/")[2] for line in lines if "/valid/" in line})
    teach(artifacts / "small", patients[:1])
    teach(artifacts / "other", patients[1:])
    assert explain(artifacts, "--run", "small,other", *arguments) == 3
    assert "some learned from the boxes of each patient; choose another" in capsys.readouterr().err
    for rows in (edema, alone[ways[0]]):  # a run that is worse than another one beats no baseline
        assert {one["baseline"] for one in rows["differences"]} >= {"prior density", "mean box"}


def test_boxes_out_are_around_what_the_tuned_threshold_leaves(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of labels with a tuned threshold, where a map is drawn; from maps.npz the same again."""
    assert explain(artifacts, "--boxes-out") == 4
    said = capsys.readouterr().err
    assert (
        "localization.json" in said and "run `pulmonet explain --run small --boxes` first" in said
    )
    assert explain(artifacts, "--boxes", "--bootstrap", 100, "--label", "Edema,Cardiomegaly") == 0
    table = json.loads((artifacts / "small" / "explain" / "localization.json").read_text())
    assert explain(artifacts, "--boxes-out", "--rows", 2) == 0
    document = json.loads((artifacts / "small" / "explain" / "explanations.json").read_text())
    for image in document["images"]:
        stored = np.load(artifacts / "small" / "explain" / image["maps"])
        for label, found in image["labels"].items():
            if label not in ("Edema", "Cardiomegaly"):
                assert found["boxes"] is None
                continue
            share = table["labels"][label]["rows"]["gradcam"]["iou_threshold"]
            heat = stored["maps"][list(stored["labels"]).index(label)]
            size = (image["width"], image["height"])
            above = cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR)
            above = above >= share * above.max()
            covered = np.zeros_like(above)
            for box in found["boxes"]:
                covered[box["top"] : box["bottom"], box["left"] : box["right"]] = True
                assert box["xmin"] == pytest.approx(box["left"] / size[0])
            assert heat.any() == bool(found["boxes"])
            if not heat.any():
                continue
            assert (covered | ~above).mean() > 0.98, "all of it is in a box"
    assert explain(artifacts, "--boxes-out", "--method", "layercam") == 4
    assert "of other weights or another map" in capsys.readouterr().err
    assert explain(artifacts, "--boxes-out", "--no-maps") == 2


def test_maps_are_not_scored_on_patients_whose_boxes_taught_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not on the training split, and not where the same images have other names and patients."""
    out = tmp_path / "artifacts"
    small = ("--model", MODEL, "--weights", "none", "--epochs", "1", "--image-size", "64")
    common = ("--data-dir", str(data), "--out-dir", str(out), "--no-amp")
    lines = (data / "boxes.csv").read_text().splitlines()
    some = [line for line in lines[1:] if "/train/" in line and ",Edema," in line]
    (tmp_path / "some.csv").write_text("\n".join([lines[0], some[0]]) + "\n")
    boxes = ("--boxes", str(tmp_path / "some.csv"), "--name", "taught")
    assert main(["train", *small, *common, *boxes]) == 0
    capsys.readouterr()
    arguments = ("--run", "taught", "--bootstrap", 100, "--json")
    assert explain(out, *arguments, "--boxes", "--split", "valid") == 0
    assert json.loads(capsys.readouterr().out)["localization"]["n_taught"] == 0
    assert explain(out, *arguments, "--boxes", "--split", "train", "--label", "Edema") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["localization"]
    patient = some[0].split("/")[2]
    of_patient = sum(f"/{patient}/" in line for line in some)
    assert found["n_taught"] == of_patient >= 1
    assert found["labels"]["Edema"]["n_images"] == len(some) - of_patient
    assert "of patients whose boxes taught learned from" in captured.err
    only = ("--boxes", tmp_path / "some.csv", "--split", "train")
    assert explain(out, *arguments, *only) == 3
    assert "all 1 regions of split 'train' are of patients whose boxes" in capsys.readouterr().err

    other = tmp_path / "elsewhere"
    shutil.copytree(data / "train", other / "train")
    (other / "train" / patient).rename(other / "train" / "patient99999")
    for name in ("train.csv", "boxes.csv"):
        text = (data / name).read_text().replace("tiny/", "elsewhere/")
        kept = [line for line in text.splitlines() if "/valid/" not in line]
        (other / name).write_text("\n".join(kept).replace(patient, "patient99999") + "\n")
    moved = ("--data-dir", other, "--split", "train", "--label", "Edema")
    assert explain(out, *arguments, "--boxes", *moved) == 0
    assert json.loads(capsys.readouterr().out)["localization"]["n_taught"] == of_patient
    RunDir(out / "taught").seen_path.unlink()
    assert explain(out, *arguments, "--boxes", "--split", "train") == 4
    assert "seen.npz: damaged" in capsys.readouterr().err


def test_sanity_is_one_command(
    artifacts: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(artifacts, model=MODEL, image_size=64, data_dir=data, name="other", seed=9, auroc=0.1)
    arguments = ["--sanity", "--rows", 3, "--against", "other", "--layer", "layer2"]
    coarse = "too coarse to tell: maps of 2 x 2 cells (5 x 5 needed)"
    few = "too few maps to tell: 15 (20 needed)"
    for layer, reason in (("layer4", coarse), ("layer2", few)):
        arguments[-1] = layer
        assert explain(artifacts, "--run", "small", *arguments) == 0
        out = " ".join(capsys.readouterr().out.split())
        document = json.loads((artifacts / "small" / "explain" / "sanity.json").read_text())
        assert document["passed"] is document["against"]["passed"] is None
        assert document["reason"] == reason
        assert f"Sanity check {reason}: mean" in out
        assert "Against other (not shuffled): no verdict" in out
    assert main(["report", "--artifacts-dir", str(artifacts)]) == 0
    assert f"Sanity check of gradcam at layer2 {few}" in whole_report(artifacts)
    arguments[2] = 4
    assert explain(artifacts, "--run", "small", *arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    document = json.loads((artifacts / "small" / "explain" / "sanity.json").read_text())
    assert document["passed"] is None and document["value"] < document["threshold"]
    assert document["n_images"] == 4
    assert document["against"]["run"] == "other"
    assert document["road"]["n"] == 4
    (low, mean, high) = (
        document["value"] + n * 1.96 * document["stages"][-1]["standard_error"] for n in (-1, 0, 1)
    )
    assert f"conv1 {mean:.2f} ({low:.2f}–{high:.2f})" in out
    assert "Sanity check undecided: the 95 % interval " in out and "(--rows): mean" in out
    assert "Against other (not shuffled)" in out
    assert read_image(artifacts / "small" / "explain" / "sanity.png") is not None


def test_maps_that_cannot_be_compared_are_refused_before_the_work(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(artifacts, model=MODEL, image_size=64, name="others", labels=("Fracture",))
    make_run(artifacts, model=MODEL, image_size=96, name="large")
    large = "its images are of 96 pixels, not 64; compare runs of one network and image size"
    for name, why in (("others", "that run has none of the labels Atelectasis"), ("large", large)):
        assert explain(artifacts, "--run", "small", "--sanity", "--against", name) == 2
        captured = capsys.readouterr()
        assert f"--against {name}: {why}" in " ".join(captured.err.split())
        assert not captured.out


def test_a_bad_file_does_not_stop_the_sanity_check(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [write_image(tmp_path / "a.png"), tmp_path / "gone.png"]
    assert explain(artifacts, *images, "--sanity", "--label", "Edema") == 3
    assert "1 of 2 images could not be read" in capsys.readouterr().err
    assert explain(artifacts, images[1], "--sanity") == 3


def test_folders_are_named_by_stems_and_by_more_where_these_repeat() -> None:
    assert folder_names([("a", "x.jpg"), ("a", "y.png")]) == ["x", "y"]
    assert folder_names([("p1", "s1", "v.jpg"), ("p2", "s1", "v.jpg")]) == ["p1_s1_v", "p2_s1_v"]
    assert folder_names([("a.jpg",), ("a.png",)]) == ["a_0", "a_1"]


def test_the_python_api_gives_scores_and_maps(artifacts: Path, tmp_path: Path) -> None:
    import pulmonet

    path = write_image(tmp_path / "x.png", height=70, width=50)
    model = pulmonet.load(artifacts / "small", device="cpu")
    assert model.labels == DEFAULT_LABELS
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scores = model.predict([path, pixels])
    assert scores.shape == (2, 5)
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_allclose(model.predict(pixels), scores[:1], atol=1e-6)
    found = model.explain(pixels, label="Edema", method="hirescam")
    assert found.labels == ("Edema",)
    assert found.scores == pytest.approx(scores[0, 3:4], abs=1e-5)
    assert found.maps.shape == (1, 64, 64)
    assert found.overlay("Edema").shape == (70, 50, 3)
    np.testing.assert_array_equal(found.overlay("edema"), found.overlay())
    with pytest.raises(ConfigError, match="label 'Cardiomegaly'"):
        found.overlay("Cardiomegaly")
    with pytest.raises(ConfigError, match="did you mean 'jet'"):
        found.overlay(colour_map="jett")
    assert model.explain(path, ["Edema", "Atelectasis"], "Grad-CAM++").method == "gradcam++"
    assert model.explain(path).raw.shape == (5, 2, 2)
    assert not any(p.requires_grad and p.grad is not None for p in model.run.network.parameters())
    with pytest.raises(ValueError, match="expected \\(H, W\\) uint8"):
        model.predict(torch.zeros(4, 4).numpy())
