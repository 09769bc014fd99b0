"""One training step on a batch in memory, and the memory it takes, against the classic recipe.

    python benchmarks/step.py --json step.json

Forward, backward and optimiser of 32 images of 224 px, nothing loaded: what precision, layout and
the fused optimiser give, without what the loader gives (`loader.py`) and all of it together
(`epoch.py`). Each side runs in a process of its own, in turns, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import classic
import numpy as np
import torch

from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.models.device import choose_precision, place
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import train_step

MODELS = ("densenet121", "resnet50", "efficientnet_b0")
SIDES = ("classic", "pulmonet")
BATCH_SIZE = 32


def classic_step(name: str, pixels: torch.Tensor, targets: torch.Tensor) -> Callable[[int], None]:
    """fp32, NCHW, three channels, Adam as it comes."""
    network = classic.build(name, len(DEFAULT_LABELS), torch.device("cpu"))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    images = pixels.float().div(255).repeat(1, 3, 1, 1)

    def step(_number: int) -> None:
        classic.train_epoch(network, optimiser, [(images, targets)], torch.device("cpu"))

    return step


def pulmonet_step(name: str, pixels: torch.Tensor, targets: torch.Tensor) -> Callable[[int], None]:
    """As `train` takes it, with the precision that it chooses here."""
    device = torch.device("cpu")
    config = parse_config({"model": {"name": name, "weights": "none"}})
    engine = Engine(
        place(build_network(name, len(DEFAULT_LABELS)), device),
        config,
        device=device,
        precision=choose_precision("auto", device),
        processes=Processes(),
        policies=("ones",) * len(DEFAULT_LABELS),
        notify=print,
    )
    engine.network.train()
    batch = Batch(pixels, targets, np.arange(len(pixels)))

    def step(number: int) -> None:
        total, _ = train_step(engine, batch, learning_rate=1e-4, seed=number)
        float(total)

    return step


def measure(side: str, name: str, n_steps: int) -> dict[str, float]:
    """Seconds a step (median) and peak memory of one side, in this process."""
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH_SIZE, 1, 224, 224)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    targets = torch.randint(0, 2, (BATCH_SIZE, len(DEFAULT_LABELS)), generator=generator).float()
    step = (classic_step if side == "classic" else pulmonet_step)(name, pixels, targets)
    step(0)  # kernels are chosen and memory is taken here
    seconds = []
    for number in range(1, n_steps + 1):
        started = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds), "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.steps)))
        return
    results = {}
    for name in options.models:
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(options.turns):
            for side in SIDES:
                command = [sys.executable, __file__, "--steps", str(options.steps), "--one"]
                done = subprocess.run([*command, side, name], check=True, stdout=subprocess.PIPE)
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
        of_side = {
            side: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            for side, turns in found.items()
        }
        old, new = of_side["classic"], of_side["pulmonet"]
        results[name] = {
            "ratio": old["seconds"] / new["seconds"],
            "memory_ratio": new["peak_mb"] / old["peak_mb"],
            **{f"{side}_{key}": value for side, it in of_side.items() for key, value in it.items()},
        }
        print(
            f"{name:16} classic {old['seconds']:6.2f} s, {old['peak_mb']:,.0f} MB; pulmonet "
            f"{new['seconds']:6.2f} s, {new['peak_mb']:,.0f} MB: {results[name]['ratio']:.2f} ×, "
            f"{results[name]['memory_ratio']:.2f} of the memory",
            flush=True,
        )
    if options.json:
        content = {"benchmark": "step", "results": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
