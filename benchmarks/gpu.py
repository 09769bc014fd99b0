"""What is measured on a GPU, in one run of under six minutes; each figure is written at once.

    python benchmarks/gpu.py --data-dir ../shared/data/nih-cxr --json gpu.json

For each network and batches of 16, 32 and 128 images of 224 px: images/s of training from the
pack, and the bound, which is plain torch (bf16, channels_last, fused AdamW, BCE) on one tensor
again and again: nothing of PulmoNet. Targets: 0.9 of it at 32, 0.95 at 128. Then the classic
recipe with 8 workers (target 5 times), validation, and last one network compiled, with its cold
time apart. A part that fails is written down as such; the others go on. The rows of the dataset
are repeated to 20,096, a multiple of 128, so that every batch is whole. Without --data-dir
phantoms are drawn. `benchmarks/gpu.sh` runs this and `tests/gpu` on a bare machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import classic
import numpy as np
import torch
import torchvision
from epoch import Rows
from torch import Tensor, nn

from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch, TrainingBatches, evaluation_batches
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.phantoms.write import write_phantoms
from pulmonet.data.sources import read_manifest
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.device import choose_precision, device_name, place
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import step_seed, train_step

MODELS = ("densenet121", "resnet50", "efficientnet_b0")
BATCH_SIZES = (16, 32, 128)
N_ROWS = 157 * 128
SIDE = 224


class Bench:
    """The device, the data, and the figures so far."""

    def __init__(self, device: torch.device, seconds: float, path: Path | None) -> None:
        self.device, self.seconds, self.path = device, seconds, path
        self.precision = choose_precision("auto", device)
        self.figures: dict[str, Any] = {
            "benchmark": "gpu",
            "device": device_name(device),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "precision": self.precision,
            "targets": {"share_of_bound_32": 0.9, "share_of_bound_128": 0.95, "classic": 5.0},
            "results": {},
        }

    def take(self, name: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Measure one thing and write all figures so far; a failure is a figure, too."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            found: dict[str, Any] = measure()
            if self.device.type == "cuda":
                found["peak_allocated_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
                found["peak_reserved_gib"] = torch.cuda.max_memory_reserved(self.device) / 2**30
        except Exception as error:  # the other figures are not to be lost
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        self.figures["results"][name] = found
        print(name, json.dumps(found), flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.figures, indent=2) + "\n", "utf-8")
        return found

    def rate_of(self, step: Callable[[int], int], warm_steps: int = 8) -> float:
        """Images/s of `step(i) -> images`, after a warm-up."""
        for i in range(warm_steps):
            step(i)
        self.wait()
        start, n_images, i = time.perf_counter(), 0, warm_steps
        while time.perf_counter() - start < self.seconds:
            n_images += step(i)
            i += 1
            if i % 16 == 0:
                self.wait()  # or the host runs ahead of what it counts
        self.wait()
        return n_images / (time.perf_counter() - start)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def bound(bench: Bench, name: str, batch_size: int) -> dict[str, float]:
    """Plain torch on one tensor: torchvision's network, three channels, no pack, no PulmoNet."""
    network: nn.Module = getattr(torchvision.models, name)(num_classes=len(DEFAULT_LABELS))
    network = network.to(bench.device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    criterion = nn.BCEWithLogitsLoss()
    images = torch.rand(batch_size, 3, SIDE, SIDE, device=bench.device)
    images = images.to(memory_format=torch.channels_last)
    targets = torch.randint(0, 2, (batch_size, len(DEFAULT_LABELS)), device=bench.device).float()

    def step(_i: int) -> int:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, torch.bfloat16):
            logits: Tensor = network(images)
        loss = criterion(logits.float(), targets)
        loss.backward()
        optimiser.step()
        return batch_size

    return {"images_per_second": bench.rate_of(step)}


def product(
    bench: Bench, name: str, batch_size: int, rows: Rows, pack: Pack, *, compiled: bool = False
) -> dict[str, float]:
    """PulmoNet's step on batches from the pack, as `train` takes them."""
    config = parse_config(
        {"model": {"name": name, "weights": "none"}, "runtime": {"compile": compiled}}
    )
    engine = Engine(
        place(build_network(name, len(DEFAULT_LABELS)), bench.device),
        config,
        device=bench.device,
        precision=bench.precision,
        processes=Processes(),
        policies=("ones",) * len(DEFAULT_LABELS),
        notify=print,
    )
    engine.network.train()
    repeated = np.resize(rows.train, N_ROWS)
    batches = TrainingBatches(
        *(pack, repeated, rows.targets[repeated], config.augment),
        image_size=SIDE,
        batch_size=batch_size,
        seed=42,
        num_workers=8,
        device=bench.device,
    )
    source = _endless(batches)

    def step(i: int) -> int:
        batch = next(source)
        train_step(engine, batch, learning_rate=1e-4, seed=step_seed(0, 0, i, 0))
        return len(batch)

    start = time.perf_counter()
    step(0)
    bench.wait()
    first = time.perf_counter() - start
    return {"images_per_second": bench.rate_of(step), "first_step_seconds": first}


def _endless(batches: TrainingBatches) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def loading(bench: Bench, rows: Rows, pack: Pack) -> dict[str, float]:
    """The loader alone: batches of 128 on the device, nothing trained."""
    config = parse_config({})
    repeated = np.resize(rows.train, N_ROWS)
    batches = TrainingBatches(
        *(pack, repeated, rows.targets[repeated], config.augment),
        image_size=SIDE,
        batch_size=128,
        seed=42,
        num_workers=8,
        device=bench.device,
    )
    source = _endless(batches)
    return {"images_per_second": bench.rate_of(lambda _: len(next(source)))}


def scoring(bench: Bench, name: str, rows: Rows, pack: Pack) -> dict[str, float]:
    """Images/s of `predict` over the rows, as `evaluate` does it."""
    network = place(build_network(name, len(DEFAULT_LABELS)), bench.device).eval()
    repeated = np.resize(rows.train, 4096)
    seconds = []
    for _ in range(2):
        batches = evaluation_batches(
            *(pack, repeated), image_size=SIDE, batch_size=128, num_workers=8, device=bench.device
        )
        start = time.perf_counter()
        predict(network, batches, device=bench.device, precision=bench.precision)
        seconds.append(time.perf_counter() - start)
    return {"images_per_second": len(repeated) / seconds[-1]}


def old_recipe(bench: Bench, name: str, rows: Rows) -> dict[str, float]:
    """Images/s of the classic recipe behind its first batches, while its workers started."""
    network = classic.build(name, len(DEFAULT_LABELS), bench.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    repeated = np.resize(rows.train, N_ROWS)
    dataset = classic.Images(rows.manifest, repeated, rows.targets[repeated], classic.TRAIN)
    batches = iter(classic.loader(dataset, shuffle=True, num_workers=8, batch_size=32))

    def step(_i: int) -> int:
        batch = next(batches)
        classic.train_epoch(network, optimiser, [batch], bench.device)
        return len(batch[0])

    return {"images_per_second": bench.rate_of(step, warm_steps=24)}


def measure_all(bench: Bench, models: list[str], rows: Rows, pack: Pack, *, compiled: bool) -> None:
    results = bench.figures["results"]
    bench.take("loading", lambda: loading(bench, rows, pack))
    for name in models:
        for size in BATCH_SIZES:
            top = bench.take(f"{name}/{size}/bound", lambda n=name, s=size: bound(bench, n, s))
            own = bench.take(
                f"{name}/{size}/pulmonet", lambda n=name, s=size: product(bench, n, s, rows, pack)
            )
            if "images_per_second" in top and "images_per_second" in own:
                own["share_of_bound"] = own["images_per_second"] / top["images_per_second"]
        bench.take(f"{name}/scoring", lambda n=name: scoring(bench, n, rows, pack))
        old = bench.take(f"{name}/classic", lambda n=name: old_recipe(bench, n, rows))
        own = results[f"{name}/32/pulmonet"]
        if "images_per_second" in old and "images_per_second" in own:
            own["times_classic"] = own["images_per_second"] / old["images_per_second"]
    if compiled:
        name = models[0]
        bench.take(
            f"{name}/32/compiled", lambda: product(bench, name, 32, rows, pack, compiled=True)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="real X-rays; phantoms without it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=6.0, help="a figure")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; nothing was measured")
        return
    bench = Bench(torch.device(options.device), options.seconds, options.json)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = f"{folder}/cache"
        root = options.data_dir or Path(folder) / "phantoms"
        if options.data_dir is None:
            write_phantoms(root, 400, 42)
        manifest = read_manifest(root)
        rows = Rows(manifest, len(manifest), 0)
        bench.figures["n_images"] = len(rows.train)
        pack = open_pack(manifest, rows.train, num_workers=8)
        measure_all(bench, list(options.models), rows, pack, compiled=not options.no_compile)
    if options.json:
        options.json.write_text(json.dumps(bench.figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
