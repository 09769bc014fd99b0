"""What is measured on a GPU, in one run of under four minutes; each figure is written at once.

    python benchmarks/gpu.py --data-dir ../shared/data/nih-cxr --json gpu.json

For each network and batches of 16, 32 and 128 images of 224 px: images/s of training from the
pack, and the bound, which is plain torch (bf16, channels_last, fused AdamW, BCE) on one tensor
again and again: nothing of PulmoNet. Targets: 0.9 of it at 32, 0.95 at 128. Beside that, each
setting that is off until it has been measured here: a step as one CUDA graph, rows on the device,
cuDNN's own choice, and all of them. Then the classic recipe with 8 workers (target 5 times),
evaluation (fp32 without TF32), and last one network compiled, with its cold time apart. A part
that fails is written down as such; the others go on, and what there is no time left for is named.
The rows of the dataset are repeated to 20,096, a multiple of 128, so that every batch is whole.
Without --data-dir 245 phantoms are drawn, in ten seconds. `benchmarks/gpu.sh` runs this and
`tests/gpu` on a bare machine.
"""

from __future__ import annotations

import argparse
import gc
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
from pulmonet.data.batches.load import Batch, ResidentPack, TrainingBatches, evaluation_batches
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.phantoms.write import write_phantoms
from pulmonet.data.sources import read_manifest
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.device import choose_device, choose_precision, device_name, place
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

    def __init__(
        self, device: torch.device, seconds: float, path: Path | None, limit_seconds: float
    ) -> None:
        self.device, self.seconds, self.path = device, seconds, path
        self._end = time.monotonic() + limit_seconds
        self.precision = choose_precision("auto", device)
        self.figures: dict[str, Any] = {
            "benchmark": "gpu",
            "device": device_name(device),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "precision": self.precision,
            "targets": {"share_of_bound_32": 0.9, "share_of_bound_128": 0.95, "classic": 5.0},
            "no_time_for": [],
            "results": {},
        }

    def take(self, name: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Measure one thing and write all figures so far; a failure is a figure, too."""
        if time.monotonic() > self._end:
            self.figures["no_time_for"].append(name)
            return {}
        gc.collect()  # what a part before holds is not this one's memory
        try:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)
            found: dict[str, Any] = measure()
            if self.device.type == "cuda":
                found["peak_allocated_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
                found["peak_reserved_gib"] = torch.cuda.max_memory_reserved(self.device) / 2**30
        except Exception as error:  # the other figures are not to be lost
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        self.figures["results"][name] = found
        print(name, json.dumps(found), flush=True)
        self.save()
        return found

    def compare(self, own: dict[str, Any], other: dict[str, Any], key: str) -> None:
        """Write the ratio of two figures' rates into the first, where both are there."""
        if "images_per_second" in own and "images_per_second" in other:
            own[key] = own["images_per_second"] / other["images_per_second"]
            print(f"  {key} {own[key]:.3f}", flush=True)
            self.save()

    def save(self) -> None:
        if self.path is not None:
            self.path.write_text(json.dumps(self.figures, indent=2) + "\n", "utf-8")

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
    bench: Bench, name: str, batch_size: int, rows: Rows, pack: Pack, **runtime: bool
) -> dict[str, float]:
    """PulmoNet's step on batches from the pack, as `train` takes them under `runtime`."""
    settings: dict[str, Any] = {"optim": {"batch_size": batch_size}, "runtime": runtime}
    config = parse_config({"model": {"name": name, "weights": "none"}, **settings})
    torch.backends.cudnn.benchmark = config.runtime.cudnn_benchmark
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
    loading_seconds = 0.0
    if config.runtime.resident:
        start = time.perf_counter()
        pack = ResidentPack(pack, np.unique(rows.train), bench.device)
        loading_seconds = time.perf_counter() - start
    source = _endless(_batches(bench, rows, pack, batch_size))

    def step(i: int) -> int:
        batch = next(source)
        train_step(engine, batch, learning_rate=1e-4, seed=step_seed(0, 0, i, 0))
        return len(batch)

    start = time.perf_counter()
    step(0)
    bench.wait()
    found = {"first_step_seconds": time.perf_counter() - start, "loading_seconds": loading_seconds}
    return {"images_per_second": bench.rate_of(step)} | found


def _batches(bench: Bench, rows: Rows, pack: Pack, batch_size: int) -> TrainingBatches:
    repeated = np.resize(rows.train, N_ROWS)
    return TrainingBatches(
        *(pack, repeated, rows.targets[repeated], parse_config({}).augment),
        image_size=SIDE,
        batch_size=batch_size,
        seed=42,
        device=bench.device,
    )


def _endless(batches: TrainingBatches) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def loading(bench: Bench, rows: Rows, pack: Pack, *, resident: bool) -> dict[str, float]:
    """The loader alone: batches of 128 on the device, nothing trained."""
    if resident:
        pack = ResidentPack(pack, np.unique(rows.train), bench.device)
    source = _endless(_batches(bench, rows, pack, 128))
    return {"images_per_second": bench.rate_of(lambda _: len(next(source)))}


def scoring(bench: Bench, name: str, rows: Rows, pack: Pack) -> dict[str, float]:
    """Images/s of `predict` over the rows, as `evaluate` does it."""
    choose_device("cpu")  # from here on without TF32, as in every command
    network = place(build_network(name, len(DEFAULT_LABELS)), bench.device).eval()
    repeated = np.resize(rows.train, 4096)
    seconds = []
    for _ in range(2):
        batches = evaluation_batches(
            *(pack, repeated), image_size=SIDE, batch_size=128, device=bench.device
        )
        start = time.perf_counter()
        predict(network, batches, device=bench.device)
        seconds.append(time.perf_counter() - start)
    return {"images_per_second": len(repeated) / seconds[-1]}


def old_recipe(bench: Bench, name: str, rows: Rows) -> dict[str, float]:
    """Images/s of the classic recipe behind its first batches, while its workers started."""
    torch.backends.cudnn.allow_tf32 = True  # torch's default, which most scripts have
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


#: Settings that are off by default, under the names that the figures have.
SETTINGS: dict[str, dict[str, bool]] = {
    "graph": {"cuda_graph": True},
    "resident": {"resident": True},
    "cudnn_benchmark": {"cudnn_benchmark": True},
    "all": {"cuda_graph": True, "resident": True, "cudnn_benchmark": True},
}


def measure_all(bench: Bench, models: list[str], rows: Rows, pack: Pack, *, compiled: bool) -> None:
    def take(name: str, size: int, kind: str, top: dict[str, float], **runtime: bool) -> None:
        own = bench.take(
            f"{name}/{size}/{kind}", lambda: product(bench, name, size, rows, pack, **runtime)
        )
        bench.compare(own, top, "share_of_bound")

    results, tops = bench.figures["results"], {}
    for name in models:
        for size in BATCH_SIZES:
            top = bench.take(f"{name}/{size}/bound", lambda n=name, s=size: bound(bench, n, s))
            tops[name, size] = top
            take(name, size, "pulmonet", top)
            take(name, size, "graph", top, **SETTINGS["graph"])
        old = bench.take(f"{name}/classic", lambda n=name: old_recipe(bench, n, rows))
        bench.compare(results.get(f"{name}/32/pulmonet", {}), old, "times_classic")
        bench.take(f"{name}/scoring", lambda n=name: scoring(bench, n, rows, pack))
    for resident in (False, True):
        kind = "resident" if resident else "streamed"
        bench.take(f"loading/{kind}", lambda r=resident: loading(bench, rows, pack, resident=r))
    for name in models:
        for size, kind in ((32, "all"), (128, "resident"), (32, "cudnn_benchmark")):
            take(name, size, kind, tops[name, size], **SETTINGS[kind])
    if compiled:
        take(models[0], 32, "compiled", tops[models[0], 32], compile=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="real X-rays; phantoms without it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=2.5, help="a figure")
    parser.add_argument("--limit-seconds", type=float, default=220.0, help="nothing begins later")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; nothing was measured")
        return
    limits = options.seconds, options.json, options.limit_seconds
    bench = Bench(torch.device(options.device), *limits)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PULMONET_CACHE_DIR"] = f"{folder}/cache"
        root = options.data_dir or Path(folder) / "phantoms"
        if options.data_dir is None:
            write_phantoms(root, 100, 42)
        manifest = read_manifest(root)
        rows = Rows(manifest, len(manifest), 0)
        bench.figures["n_images"] = len(rows.train)
        pack = open_pack(manifest, rows.train)
        measure_all(bench, list(options.models), rows, pack, compiled=not options.no_compile)
    bench.save()
    if left := bench.figures["no_time_for"]:
        print("no time for:", *left)


if __name__ == "__main__":
    main()
