"""A run folder with seeded random weights, for tests that need a model but no training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pulmonet.config.load import parse_config
from pulmonet.files.read import sha256_of
from pulmonet.files.write import write_atomic
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.networks import Ensemble, build_network
from pulmonet.run.folder import RunDir
from pulmonet.run.record import Provenance


def make_run(
    artifacts_dir: Path,
    *,
    model: str = "resnet50",
    labels: tuple[str, ...] = DEFAULT_LABELS,
    image_size: int = 64,
    data_dir: Path | None = None,
    seed: int = 0,
    name: str | None = None,
    auroc: float = 0.7,
    settings: dict[str, dict[str, Any]] | None = None,
) -> RunDir:
    """A finished-looking run: run_config.json and best_model.pth (random weights).

    `seed` is that of the config and the weights; `settings` are further fields by section.
    """
    more = settings or {}
    torch.manual_seed(seed)
    network = build_network(model, len(labels))
    n_members = more.get("model", {}).get("members", 1)
    if n_members > 1:
        others = [build_network(model, len(labels)) for _ in range(n_members - 1)]
        network = Ensemble([network, *others])
    run_dir = RunDir(artifacts_dir / (name or model.replace(":", "-")))
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    write_atomic(run_dir.best_model_path, buffer.getvalue())
    config = parse_config(
        {
            "model": {"name": model, "weights": "none", **more.get("model", {})},
            "data": {
                "labels": list(labels),
                "image_size": image_size,
                "data_dir": None if data_dir is None else str(data_dir),
                **more.get("data", {}),
            },
            "seed": seed,
            **{name: values for name, values in more.items() if name not in {"data", "model"}},
        }
    )
    provenance = Provenance(
        status="finished",
        pulmonet="0.1.0",
        versions={"torch": torch.__version__},
        device="cpu",
        labels=list(labels),
        start="2026-01-01T00:00:00+00:00",
        end="2026-01-01T00:01:00+00:00",
        duration_seconds=60.0,
        best_epoch=1,
        best_valid_macro_auroc=auroc,
        checkpoint_sha256=sha256_of(run_dir.best_model_path),
    )
    run_dir.write_record(config, provenance)
    return run_dir


def make_named_runs(
    artifacts_dir: Path,
    data_dir: Path,
    names: Sequence[str],
    labels: tuple[str, ...] = ("Cardiomegaly", "Edema"),
) -> None:
    """Runs with random weights, each of its own seed, trained on `data_dir`.

    Evaluating takes time by the label, so there are few.
    """
    for seed, name in enumerate(names):
        make_run(
            artifacts_dir,
            model="timm:test_resnet",
            labels=labels,
            image_size=32,
            data_dir=data_dir,
            seed=seed,
            name=name,
        )
