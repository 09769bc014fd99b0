"""One of two processes on one card: a step of each on its half of a batch, its loss into a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from pulmonet.config.load import parse_config
from pulmonet.data.batches.load import Batch
from pulmonet.models.device import choose_device, place
from pulmonet.models.networks import build_network
from pulmonet.training.distributed import Processes
from pulmonet.training.engine import Engine
from pulmonet.training.step import train_step


def loss_of(processes: Processes) -> float:
    device = choose_device("cuda:0")  # without TF32
    torch.manual_seed(0)
    engine = Engine(
        place(build_network("timm:test_convnext", 2), device),
        parse_config({"model": {"name": "timm:test_convnext", "weights": "none"}}),
        device=device,
        precision="fp32",
        processes=processes,
        policies=("ones", "ones"),
        notify=print,
    )
    engine.network.train()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 1, 64, 64)).astype(np.float32)
    targets = random.integers(0, 2, (8, 2)).astype(np.float32)
    own = np.array_split(np.arange(8), processes.world_size)[processes.rank]
    batch = Batch(torch.from_numpy(images[own]), torch.from_numpy(targets[own]), own)
    for step in range(3):
        loss, known = train_step(engine, batch, learning_rate=1e-3, seed=step)
    return float(loss / known)


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    if rank == 0:
        (folder / "alone").write_text(repr(loss_of(Processes())))
    dist.init_process_group("gloo")
    (folder / str(rank)).write_text(repr(loss_of(Processes(rank, 0, 2))))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
