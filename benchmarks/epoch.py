"""A whole epoch with validation against the classic recipe on the same images, in one run.

    python benchmarks/epoch.py --data-dir ../shared/data/nih-cxr --json epoch.json

Targets on a two-core CPU with AVX512-BF16: DenseNet-121 and ResNet-50 2.2, EfficientNet-B0 1.25;
loader idle under 2 % of the epoch. The two take turns, the first epoch of each is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import classic
import numpy as np
import torch

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch, TrainingBatches, evaluation_batches
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.sources import read_manifest
from pulmonet.labels import DEFAULT_LABELS, evaluation_targets
from pulmonet.models.device import choose_precision, place
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import step_seed, train_step

TARGETS = {"densenet121": 2.2, "resnet50": 2.2, "efficientnet_b0": 1.25}
N_WORKERS = 2


class Rows:
    """The images of both sides."""

    def __init__(self, manifest: Manifest, n_train: int, n_valid: int) -> None:
        rng = np.random.default_rng(0)
        order = rng.permutation(len(manifest)).astype(np.int64)
        self.manifest = manifest
        self.train, self.valid = order[:n_train], order[n_train : n_train + n_valid]
        raw = manifest.raw_labels(DEFAULT_LABELS)
        self.targets = np.nan_to_num(evaluation_targets(raw))


def classic_epochs(name: str, rows: Rows, device: torch.device) -> Iterator[float]:
    """Seconds of one epoch after another, training and validation."""
    network = classic.build(name, len(DEFAULT_LABELS), device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    train = classic.Images(rows.manifest, rows.train, rows.targets[rows.train], classic.TRAIN)
    valid = classic.Images(rows.manifest, rows.valid, rows.targets[rows.valid], classic.EVALUATE)
    train_batches = classic.loader(train, shuffle=True, num_workers=N_WORKERS)
    valid_batches = classic.loader(valid, shuffle=False, num_workers=N_WORKERS)
    while True:
        start = time.perf_counter()
        classic.train_epoch(network, optimiser, train_batches, device)
        classic.validate(network, valid_batches, device)
        yield time.perf_counter() - start


def pulmonet_epochs(
    name: str, rows: Rows, pack: Pack, device: torch.device
) -> Iterator[tuple[float, float]]:
    """Seconds of one epoch after another, and the share of them spent waiting for the loader."""
    config: RunConfig = parse_config({"model": {"name": name, "weights": "none"}})
    precision = choose_precision("auto", device)
    engine = Engine(
        place(build_network(name, len(DEFAULT_LABELS)), device),
        config,
        device=device,
        precision=precision,
        processes=Processes(),
        policies=("ones",) * len(DEFAULT_LABELS),
        notify=print,
    )
    batches = TrainingBatches(
        pack,
        rows.train,
        rows.targets[rows.train],
        config.augment,
        image_size=224,
        batch_size=32,
        seed=42,
        num_workers=N_WORKERS,
        device=device,
    )
    epoch = 0
    while True:
        start = time.perf_counter()
        waited = _train(engine, batches, epoch)
        predict(
            engine.network,
            evaluation_batches(pack, rows.valid, image_size=224, batch_size=32, device=device),
            device=device,
            precision=precision,
        )
        seconds = time.perf_counter() - start
        yield seconds, waited / seconds
        epoch += 1


def _train(engine: Engine, batches: TrainingBatches, epoch: int) -> float:
    engine.network.train()
    waited = 0.0
    source: Iterator[Batch] = batches.epoch(epoch)
    step = 0
    while True:
        asked = time.perf_counter()
        batch = next(source, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return waited
        total, _ = train_step(engine, batch, learning_rate=1e-4, seed=step_seed(42, epoch, step, 0))
        float(total)
        step += 1


def measure(name: str, rows: Rows, pack: Pack, n_epochs: int) -> dict[str, float]:
    """Medians over `n_epochs` pairs of epochs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    old, new = classic_epochs(name, rows, device), pulmonet_epochs(name, rows, pack, device)
    next(old), next(new)
    pairs = [(next(old), *next(new)) for _ in range(n_epochs)]
    return {
        "classic_seconds": statistics.median(pair[0] for pair in pairs),
        "pulmonet_seconds": statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(pair[0] / pair[1] for pair in pairs),
        "loader_wait_share": statistics.median(pair[2] for pair in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=list(TARGETS))
    parser.add_argument("--n-train", type=int, default=192)
    parser.add_argument("--n-valid", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3, help="counted pairs of epochs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = folder
        rows = Rows(read_manifest(options.data_dir), options.n_train, options.n_valid)
        pack = open_pack(rows.manifest, np.concatenate([rows.train, rows.valid]))
        results = {name: measure(name, rows, pack, options.epochs) for name in options.models}
    for name, result in results.items():
        print(
            f"{name:16} classic {result['classic_seconds']:6.1f} s, pulmonet "
            f"{result['pulmonet_seconds']:6.1f} s: {result['ratio']:.2f} × "
            f"(target {TARGETS[name]}), loader wait {result['loader_wait_share']:.2%}"
        )
    if options.json:
        content = {"benchmark": "epoch", "targets": TARGETS, "results": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
