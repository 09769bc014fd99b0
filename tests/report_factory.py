"""Artifacts made by hand with the package's own writers, for the tests of the report.

`tests` is no package: tests reach this module through the fixture ``factory`` or import it by
path. Numbers come from a seeded generator; nothing is trained.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import parse_config
from pulmonet.figures.training import draw_training_log
from pulmonet.files.write import write_atomic, write_json
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.metrics.estimate import BootstrapFacts, Estimate
from pulmonet.metrics.label_result import (
    CalibrationResult,
    Confusion,
    Curve,
    LabelResult,
    OperatingPoint,
    RankingResult,
    ReliabilityBin,
    WorstCase,
)
from pulmonet.metrics.results import (
    Baseline,
    Comparison,
    Evaluation,
    Gap,
    MacroResult,
    RunResult,
    Shift,
    StudyLevel,
    Subgroup,
    SubgroupLabel,
)
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.run.record import DatasetFacts, Provenance

HOSTILE_LABELS = (
    "<script>alert(1)</script>",
    "quote \" and ' end",
    "pipe | star * under_score [link](x)",
    "`tick` $x^2$ #1 & ~~no~~",
    "</script><img src=x onerror=alert(2)>",
)
FINGERPRINT = "f" * 16 + "0" * 48
WEIGHTS = b"weights"
WEIGHTS_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
PATIENT_IDS = tuple(f"patient{number:05d}" for number in range(1, 61))


def make_run(
    artifacts_dir: Path,
    name: str = "densenet121",
    *,
    labels: Sequence[str] = DEFAULT_LABELS,
    seed: int = 1,
    config: dict[str, Any] | None = None,
    synthetic: bool = False,
    evaluated: bool = True,
    logged: bool = True,
    n_explained: int = 0,
    n_rows: int = 90,
    skill: float = 1.4,
) -> RunDir:
    """A finished run: run_config.json, log, curves, predictions, evaluation.

    Each of `n_explained` images costs a report a fifth of a second: the strip that is drawn of it.
    """
    run_dir = RunDir(artifacts_dir / name)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    raw = {"data": {"labels": list(labels), "data_dir": "/srv/secret/CheXpert-v1.0-small"}}
    raw |= config or {}
    if "data" in (config or {}):
        raw["data"] = {"labels": list(labels)} | (config or {})["data"]
    settings = parse_config(raw)
    log = make_log(labels, n_epochs=5, seed=seed)
    run_dir.write_record(settings, make_provenance(name, labels, log, synthetic=synthetic))
    if logged:
        run_dir.write_log(log)
        write_atomic(run_dir.curves_path, _curves(tuple(labels)))
    write_atomic(run_dir.best_model_path, WEIGHTS)
    if evaluated:
        predictions = make_predictions(name, labels, n_rows=n_rows, seed=seed, skill=skill)
        path = run_dir.predictions_path(predictions.dataset, predictions.split)
        write_atomic(path, predictions.to_csv())
        evaluation = Evaluation(runs=[make_result(predictions, synthetic=synthetic)])
        write_evaluation(run_dir, evaluation)
        if n_explained:
            add_heat_maps(run_dir, predictions, n_images=n_explained)
    return run_dir


@cache
def _curves(labels: tuple[str, ...]) -> bytes:
    """Drawn once per set of labels: a figure takes a third of a second."""
    return draw_training_log(pd.DataFrame(make_log(labels, n_epochs=5, seed=1)))


def write_evaluation(run_dir: RunDir, evaluation: Evaluation) -> Path:
    """evaluation_<dataset>_<split>.json as `evaluate` names it."""
    result = evaluation.runs[0]
    path = run_dir.evaluation_path(result.dataset, result.split)
    write_json(path, evaluation.model_dump(mode="json", by_alias=True))
    return path


def make_provenance(
    name: str, labels: Sequence[str], log: list[dict[str, Any]], *, synthetic: bool
) -> Provenance:
    """A finished run's provenance with a path, a patient and an image in its notes."""
    best = max(log, key=lambda row: float(row["val_macro_auroc"]))
    counts = {label: 40 + 7 * position for position, label in enumerate(labels)}
    return Provenance(
        status="finished",
        pulmonet="0.1.0",
        versions={"python": "3.11.2", "torch": "2.15.0", "numpy": "2.4.0"},
        command=[
            "pulmonet",
            "train",
            "--data-dir",
            "/srv/secret/CheXpert-v1.0-small",
            "--name",
            name,
        ],
        device="cpu",
        device_name="AMD EPYC 9R14",
        threads=2,
        precision="bf16",
        weights={"name": "DenseNet121_Weights.IMAGENET1K_V1", "sha256": "a" * 64},
        labels=list(labels),
        dataset=DatasetFacts(
            name="CheXpert-v1.0-small",
            source="chexpert",
            root="/srv/secret/CheXpert-v1.0-small",
            fingerprint=FINGERPRINT,
            synthetic=synthetic,
            n_rows={"train": 2230, "valid": 234},
            n_patients={"train": 640, "valid": 200},
            positives={"train": {k: 9 * v for k, v in counts.items()}, "valid": counts},
            excluded={"unreadable: train/patient00007/study1/view1_frontal.jpg": 1},
            policy_changes={
                label: {"uncertain to 1": 12 + position, "blank to 0": 1400 - position}
                for position, label in enumerate(labels)
            },
            summary=make_summary(labels, synthetic=synthetic),
        ),
        start="2026-11-23T06:00:00+00:00",
        end="2026-11-23T06:04:12+00:00",
        duration_seconds=252.0,
        best_epoch=int(best["epoch"]),
        best_valid_macro_auroc=float(best["val_macro_auroc"]),
        checkpoint_sha256=WEIGHTS_SHA256,
        notes=["micro-batch halved to 16; the image /srv/secret/x/patient00009/view1.png was slow"],
    )


def make_summary(labels: Sequence[str], *, synthetic: bool) -> dict[str, Any]:
    """What `pulmonet.data.summary.summarise` returns."""

    def split(n: int, patients: int) -> dict[str, Any]:
        return {
            "images": n,
            "patients": patients,
            "studies": patients + 3,
            "views": {"AP": n // 2, "LATERAL": n // 5, "PA": n - n // 2 - n // 5},
            "sex": {"Female": n // 2 - 4, "Male": n - n // 2 + 4},
            "age": {
                "median": 61.0,
                "unknown": 0,
                "histogram": {"20-29": n // 6, "50-59": n // 2, "60-69": n - n // 6 - n // 2},
            },
            "labels": {
                label: {"positive": 40, "negative": n - 90, "uncertain": 20, "blank": 30}
                for label in labels
            },
        }

    return {
        "name": "CheXpert-v1.0-small",
        "source": "chexpert",
        "synthetic": synthetic,
        "patients_known": True,
        "labels": list(labels),
        "splits": {"train": split(2230, 640), "valid": split(234, 200)},
    }


def make_log(labels: Sequence[str], *, n_epochs: int, seed: int) -> list[dict[str, Any]]:
    """Rows of training_log.csv that look like training."""
    random = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, n_epochs + 1):
        aurocs = 0.86 - 0.2 * np.exp(-epoch / 1.5) + 0.02 * random.standard_normal(len(labels))
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": round(0.35 + 0.3 * float(np.exp(-epoch / 2)), 5),
            "val_loss": round(0.4 + 0.25 * float(np.exp(-epoch / 2)), 5),
            "val_macro_auroc": round(float(aurocs.mean()), 5),
            "val_macro_pr_auc": round(float(aurocs.mean()) - 0.2, 5),
        }
        for label, value in zip(labels, aurocs, strict=True):
            row[f"val_auc_{label}"] = round(float(value), 5)
            row[f"val_pr_{label}"] = round(float(value) - 0.2, 5)
        rows.append(row | {"lr": 1e-4, "seconds": 48.1, "images_per_second": 46.4})
    return rows


def make_predictions(
    run: str,
    labels: Sequence[str],
    *,
    n_rows: int = 90,
    seed: int = 1,
    skill: float = 1.4,
    split: str = "valid",
) -> Predictions:
    """Scores that know something of the targets; patients have one or two images."""
    random = np.random.default_rng(seed)
    patients = [PATIENT_IDS[row % len(PATIENT_IDS)] for row in range(n_rows)]
    targets = (np.random.default_rng(0).random((n_rows, len(labels))) < 0.3).astype(np.float32)
    logits = skill * (targets - 0.5) + random.standard_normal(targets.shape) - 0.6
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    targets[3, 0] = np.nan
    return Predictions(
        run=run,
        dataset="CheXpert-v1.0-small",
        split=split,
        labels=tuple(labels),
        paths=tuple(
            f"{split}/{patient}/study1/view{1 + row // len(PATIENT_IDS)}_frontal.jpg"
            for row, patient in enumerate(patients)
        ),
        patients=tuple(patients),
        studies=tuple(f"{patient}/study1" for patient in patients),
        targets=targets,
        scores=scores,
    )


def make_result(predictions: Predictions, *, synthetic: bool = False) -> RunResult:
    """A RunResult with every part filled; intervals are made up, curves are real."""
    labels = {
        label: _label_result(predictions, column) for column, label in enumerate(predictions.labels)
    }
    mean = float(np.mean([item.auroc.value or 0.0 for item in labels.values()]))
    precision = float(np.mean([item.average_precision.value or 0.0 for item in labels.values()]))
    return RunResult(
        run=predictions.run,
        dataset=predictions.dataset,
        split=predictions.split,
        level="image",
        n_rows=len(predictions.paths),
        n_patients=len(set(predictions.patients or ())),
        synthetic=synthetic,
        rows_used_for=["checkpoint selection"],
        bootstrap=BootstrapFacts(
            unit="patient", n_resamples=1000, n_redrawn=0, seed=42, method="logit"
        ),
        labels=labels,
        macro=MacroResult(
            auroc=_estimate(mean),
            average_precision=_estimate(precision),
            n_labels=len(labels),
            labels=list(labels),
        ),
        group_letters="a",
        subgroups=[
            Subgroup(
                column="sex",
                group="Female",
                n_rows=40,
                n_patients=28,
                labels={
                    label: SubgroupLabel(
                        n=40, positives=12, auroc=_estimate(0.8), auroc_gap=_gap(-0.02),
                        sensitivity_gap=_gap(0.03),
                    )
                    for label in predictions.labels
                },
            ),
            Subgroup(
                column="sex",
                group="<b>Other</b>",
                n_rows=2,
                n_patients=2,
                labels={
                    label: SubgroupLabel(n=2, positives=0, reason="fewer than 10 positives")
                    for label in predictions.labels
                },
            ),
        ],
        study=StudyLevel(
            rule="max",
            n_studies=60,
            labels={
                label: RankingResult(
                    n=60, positives=20, auroc=_estimate(0.84), average_precision=_estimate(0.6)
                )
                for label in predictions.labels
            },
            macro=MacroResult(
                auroc=_estimate(0.84), average_precision=_estimate(0.6),
                n_labels=len(labels), labels=list(labels),
            ),
        ),
        shift=Shift(notes=["Edema: 24.6 % in training, 26.1 % here", "<b>older</b> patients"]),
        baseline=Baseline(
            features=["view", "age", "sex"],
            fitted_on="the training split",
            labels={},
            macro=MacroResult(
                auroc=_estimate(0.61), average_precision=_estimate(0.4),
                n_labels=len(labels), labels=list(labels),
            ),
        ),
        checkpoint_sha256=WEIGHTS_SHA256,
        dataset_fingerprint=FINGERPRINT,
        same_data_as_training=True,
        notes=["checked against /srv/secret/artifacts/x"],
    )  # fmt: skip


def _label_result(predictions: Predictions, column: int) -> LabelResult:
    known = ~np.isnan(predictions.targets[:, column])
    targets, scores = predictions.targets[known, column], predictions.scores[known, column]
    false_rate, true_rate, thresholds = roc_curve(targets, scores)
    positives = int(targets.sum())
    worst = np.argsort(np.where(targets == 1, -2, scores))[-2:]
    rows = np.flatnonzero(known)[worst]
    return LabelResult(
        n=int(known.sum()),
        positives=positives,
        negatives=int(known.sum()) - positives,
        n_patients=60,
        positive_patients=positives,
        prevalence=positives / int(known.sum()),
        few_positives=column == 0,
        auroc=_estimate(float(roc_auc_score(targets, scores))),
        auroc_delong=_estimate(float(roc_auc_score(targets, scores))),
        average_precision=_estimate(float(average_precision_score(targets, scores))),
        brier=_estimate(float(np.mean((scores - targets) ** 2))),
        calibration=CalibrationResult(
            scores="raw",
            slope=_estimate(0.9),
            intercept=_gap(-0.1),
            brier=_estimate(0.15),
            ece=0.08,
            ece_equal_mass=0.07,
            ece_if_perfect=_estimate(0.06),
            ece_equal_mass_if_perfect=_estimate(0.06),
            bins=[
                ReliabilityBin(low=0.0, high=0.5, n=40, mean_score=0.3, observed=0.2,
                               observed_low=0.1, observed_high=0.35),
                ReliabilityBin(low=0.5, high=1.0, n=40, mean_score=0.7, observed=0.6,
                               observed_low=0.45, observed_high=0.75),
            ],
        ),
        operating_points=[
            OperatingPoint(
                criterion="youden",
                chosen_on="cross-fitted by patient",
                threshold=0.41,
                estimates="procedure",
                sensitivity=_estimate(0.8),
                specificity=_estimate(0.7),
                ppv=_estimate(0.5),
                npv=_estimate(0.9),
                f1=_estimate(0.6),
                confusion=Confusion(
                    true_positive=20, false_positive=20, true_negative=40, false_negative=5
                ),
            )
        ],
        roc=Curve(
            x=false_rate.tolist(), y=true_rate.tolist(),
            threshold=[None, *thresholds[1:].tolist()],
            band_x=[0.0, 0.5, 1.0], band_low=[0.0, 0.6, 1.0], band_high=[0.3, 0.9, 1.0],
        ),
        precision_recall=Curve(x=[0.0, 0.5, 1.0], y=[1.0, 0.7, positives / len(targets)]),
        worst_cases=[
            WorstCase(
                path=predictions.paths[row],
                patient=(predictions.patients or ())[row],
                kind="false positive",
                score=float(predictions.scores[row, column]),
            )
            for row in rows
        ],
    )  # fmt: skip


def _estimate(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05))


def _gap(value: float) -> Gap:
    return Gap(value=value, low=value - 0.08, high=value + 0.08)


def make_comparison(a: str, b: str) -> Comparison:
    """Two runs that are not distinguished."""
    return Comparison(
        a=a, b=b, metric="auroc", label=None, difference=0.012, low=-0.02, high=0.044,
        p=0.4, distinguished=False,
    )  # fmt: skip


def add_heat_maps(
    run_dir: RunDir, predictions: Predictions, *, n_images: int, side: int = 160
) -> None:
    """What `explain` writes for some rows: folders with xray.png and maps.npz, and the JSON."""
    images = []
    for row in range(n_images):
        folder = run_dir.explain_dir / predictions.paths[row].replace("/", "_")[:-4]
        labels = list(predictions.labels)
        rows, columns = np.mgrid[0:64, 0:64] / 64
        maps = np.stack(
            [
                np.exp(-(((columns - 0.3 - 0.1 * n) / 0.15) ** 2 + ((rows - 0.5) / 0.2) ** 2))
                for n in range(len(labels))
            ]
        ).astype(np.float32)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            labels=np.asarray(labels, dtype=np.str_),
            scores=predictions.scores[row],
            raw=maps[:, ::9, ::9],
            maps=maps,
        )
        write_atomic(folder / "maps.npz", buffer.getvalue())
        write_atomic(folder / "xray.png", png_bytes(draw_xray(side, row)))
        images.append(
            {
                "image": predictions.paths[row],
                "width": side,
                "height": side,
                "maps": f"{folder.name}/maps.npz",
                "labels": {
                    label: {
                        "score": float(predictions.scores[row, n]),
                        "threshold": 0.41,
                        "panel": f"{folder.name}/gradcam_{n}.png",
                        "overlay": f"{folder.name}/gradcam_{n}_overlay.png",
                    }
                    for n, label in enumerate(labels)
                },
            }
        )
    facts = {"schema": 1, "run": run_dir.name, "model": "densenet121", "method": "gradcam"}
    facts |= {"layer": None, "colour_map": "plasma", "folder": "explain", "images": images}
    write_json(run_dir.explain_dir / "explanations.json", facts)


def draw_xray(side: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    """(side, side) grey: two dark lungs in a bright body."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    body = 190 * np.exp(-(((columns - 0.5) / 0.42) ** 4 + ((rows - 0.5) / 0.6) ** 4))
    lungs = sum(
        np.exp(-(((columns - centre) / 0.13) ** 2 + ((rows - 0.45) / 0.27) ** 2))
        for centre in (0.3, 0.7)
    )
    noise = 6 * np.random.default_rng(seed).standard_normal((side, side))
    return np.clip(body * (1 - 0.75 * lungs) + noise, 0, 255).astype(np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """PNG of an image."""
    done, buffer = cv2.imencode(".png", image)
    assert done
    return bytes(buffer.tobytes())


def default_config() -> RunConfig:
    """All defaults."""
    return RunConfig()
