"""Everything that is measured on a GPU, in one run of under eight minutes.

    python benchmarks/gpu.py --data-dir ../shared/data/nih-cxr --json gpu.json

For each network: images/s of training from the pack, of the same network fed one tensor again
and again (the bound; target 0.9 of it), both also compiled, of the classic recipe with 8 workers
(target 5 ×), and the peak memory. Without --data-dir it writes phantoms and uses those.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import classic
import numpy as np
import torch
from epoch import Rows

from pulmonet.config.fields import RunConfig
from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch, TrainingBatches
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.phantoms.write import write_phantoms
from pulmonet.data.sources import read_manifest
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.device import choose_precision, device_name, place
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import step_seed, train_step

MODELS = ("densenet121", "resnet50", "efficientnet_b0")
BATCH_SIZE = 128
SECONDS_EACH = 12.0


def engine_of(name: str, config: RunConfig, device: torch.device) -> Engine:
    return Engine(
        place(build_network(name, len(DEFAULT_LABELS)), device),
        config,
        device=device,
        precision=choose_precision("auto", device),
        processes=Processes(),
        policies=("ones",) * len(DEFAULT_LABELS),
        notify=print,
    )


def rate_of(step: Callable[[int], int], device: torch.device, warm_steps: int = 5) -> float:
    """Images/s of `step(i) -> images`, after a warm-up, over `SECONDS_EACH`."""
    for i in range(warm_steps):
        step(i)
    _wait(device)
    start, n_images, i = time.perf_counter(), 0, warm_steps
    while time.perf_counter() - start < SECONDS_EACH:
        n_images += step(i)
        i += 1
    _wait(device)
    return n_images / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    name: str, rows: Rows, pack: Pack, device: torch.device, *, compiled: bool
) -> dict[str, float]:
    """Rates of one network: from the pack, from one tensor, and its memory."""
    config = parse_config(
        {"model": {"name": name, "weights": "none"}, "runtime": {"compile": compiled}}
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    engine = engine_of(name, config, device)
    engine.network.train()
    batches = TrainingBatches(
        pack,
        rows.train,
        rows.targets[rows.train],
        config.augment,
        image_size=224,
        batch_size=BATCH_SIZE,
        seed=42,
        num_workers=8,
        device=device,
    )
    full = next(batch for batch in _endless(batches, 2) if len(batch) == BATCH_SIZE)

    def bound(i: int) -> int:
        train_step(engine, full, learning_rate=1e-4, seed=step_seed(0, 0, i, 0))
        return len(full)

    source = _endless(batches, 10_000)

    def real(i: int) -> int:
        batch = next(source)
        train_step(engine, batch, learning_rate=1e-4, seed=step_seed(0, 0, i, 0))
        return len(batch)

    # an epoch to warm up: its last, smaller batch is compiled too, outside of the time taken
    result = {
        "one_tensor": rate_of(bound, device),
        "from_pack": rate_of(real, device, warm_steps=batches.n_steps() + 1),
    }
    result["share_of_bound"] = result["from_pack"] / result["one_tensor"]
    if device.type == "cuda":
        result["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return result


def _endless(batches: TrainingBatches, n_epochs: int) -> Iterator[Batch]:
    for epoch in range(n_epochs):
        yield from batches.epoch(epoch)


def measure_classic(name: str, rows: Rows, device: torch.device, n_workers: int) -> float:
    """Images/s of one epoch of the classic recipe, after one that is not counted."""
    network = classic.build(name, len(DEFAULT_LABELS), device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    dataset = classic.Images(rows.manifest, rows.train, rows.targets[rows.train], classic.TRAIN)
    batches = classic.loader(dataset, shuffle=True, num_workers=n_workers, batch_size=BATCH_SIZE)
    classic.train_epoch(network, optimiser, batches, device)
    start = time.perf_counter()
    classic.train_epoch(network, optimiser, batches, device)
    _wait(device)
    return len(dataset) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="real X-rays; phantoms without it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS_EACH)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    globals()["SECONDS_EACH"] = options.seconds
    device = torch.device(options.device)
    results: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = f"{folder}/cache"
        root = options.data_dir or Path(folder) / "phantoms"
        if options.data_dir is None:
            write_phantoms(root, 400, 42)
        manifest = read_manifest(root)
        rows = Rows(manifest, len(manifest), 0)
        pack = open_pack(manifest, rows.train, num_workers=8)
        for name in options.models:
            eager = measure(name, rows, pack, device, compiled=False)
            old = measure_classic(name, rows, device, n_workers=8)
            results[name] = {
                "eager": eager,
                "classic_8_workers": old,
                "ratio_to_classic": eager["from_pack"] / old,
            }
            if not options.no_compile:
                results[name]["compiled"] = measure(name, rows, pack, device, compiled=True)
            print(name, json.dumps(results[name], indent=1), flush=True)
    content = {
        "benchmark": "gpu",
        "device": device_name(device),
        "torch": torch.__version__,
        "batch_size": BATCH_SIZE,
        "n_images": len(np.unique(rows.train)),
        "targets": {"share_of_bound": 0.9, "ratio_to_classic": 5.0},
        "results": results,
    }
    if options.json:
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
