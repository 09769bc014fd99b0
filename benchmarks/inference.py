"""Inference of `evaluate` on packed images against the bare network on images in memory.

python benchmarks/inference.py --data-dir ../shared/data/nih-cxr --model densenet121
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch

from pulmonet.config.fields import DataConfig
from pulmonet.data.batches.load import Batch, evaluation_batches
from pulmonet.data.pack.open import open_pack
from pulmonet.data.sources import locate_dataset, read_manifest
from pulmonet.models.device import choose_device, place
from pulmonet.models.inference import predict
from pulmonet.models.networks import build_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--model", default="densenet121")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    manifest = read_manifest(locate_dataset(arguments.data_dir), DataConfig())
    rows = np.arange(len(manifest))[: arguments.rows]
    pack = open_pack(manifest, rows, image_size=arguments.image_size)
    network = place(build_network(arguments.model, 5), device).eval()

    def batches() -> Iterator[Batch]:
        return evaluation_batches(
            pack,
            rows,
            image_size=arguments.image_size,
            batch_size=arguments.batch_size,
            num_workers=arguments.num_workers,
            device=device,
        )

    in_memory = list(batches())
    predict(network, in_memory[:2], device=device)  # warm
    bare, packed = [], []
    for _ in range(arguments.repeats):  # in turns, so that a busy machine slows both
        for source, seconds in ((in_memory, bare), (None, packed)):
            start = time.perf_counter()
            predict(network, batches() if source is None else source, device=device)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    rates = [len(rows) / min(seconds) for seconds in (bare, packed)]
    print(
        f"{arguments.model}, {arguments.image_size} px, {device}: bare network {rates[0]:.1f} "
        f"images/s, from the pack {rates[1]:.1f} images/s, ratio {rates[1] / rates[0]:.3f} "
        "(wanted: 0.9)"
    )


if __name__ == "__main__":
    main()
