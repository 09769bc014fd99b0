"""Heat maps: speed against pytorch-grad-cam in one run, and memory over many images.

    python benchmarks/heat_maps.py                 # five labels of one image, DenseNet-121
    python benchmarks/heat_maps.py --images 1000   # also: 1,000 images, memory and time
    python benchmarks/heat_maps.py --rows 1000 --data-dir data/CheXpert-v1.0-small  # the command

Both libraries run the same network on the same image, in turns, after a warm-up; the ratio of
the medians is what counts, since both see the same machine. pytorch-grad-cam is given its
better way of the two: one call per label, or one call with the image repeated per label.
`--rows` runs `pulmonet explain --split train --rows N` itself, panels and all, and watches the
resident memory of its process from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from pulmonet.explain.maps.methods import explain_images
from pulmonet.models.networks import build_network

LAST_LAYERS = {
    "densenet121": "features.denseblock4",  # norm5's output is changed in place afterwards
    "resnet50": "layer4",
    "efficientnet_b0": "features.8",
}


def seconds_of(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(network: nn.Module, layer: str, image: Tensor, n_labels: int, n_runs: int) -> dict:
    """Median seconds for all labels of one image, three ways, in turns."""
    labels = list(range(n_labels))
    targets = [ClassifierOutputTarget(label) for label in labels]
    with GradCAM(model=network, target_layers=[network.get_submodule(layer)]) as cam:

        def label_by_label() -> None:
            for target in targets:
                cam(input_tensor=image.float(), targets=[target])

        def repeated() -> None:
            cam(input_tensor=image.float().repeat(n_labels, 1, 1, 1), targets=targets)

        ways: dict[str, Callable[[], object]] = {
            "pulmonet": lambda: explain_images(network, image, labels),
            "pytorch-grad-cam, label by label": label_by_label,
            "pytorch-grad-cam, image repeated": repeated,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(n_runs + 1):
            # pytorch-grad-cam's hooks stay on the network; they cost the others nothing worth
            # counting, and are what its users live with
            for name, way in ways.items():
                found = seconds_of(way)
                if turn:
                    times[name].append(found)
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(value for name, value in medians.items() if name != "pulmonet")
    return {"seconds": medians, "ratio": best / medians["pulmonet"]}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_megabytes(process: str = "self") -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def processor_seconds(process: int) -> float:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return round((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), 1)


def run_many(network: nn.Module, side: int, n_images: int, n_labels: int) -> dict:
    """Time and resident memory over many images, in tenths."""
    generator = np.random.default_rng(0)
    memory, seconds = [], []
    start = time.perf_counter()
    for number in range(n_images):
        pixels = generator.integers(0, 256, (1, 1, side, side), dtype=np.uint8)
        explain_images(network, torch.from_numpy(pixels), list(range(n_labels)))
        if (number + 1) % max(n_images // 10, 1) == 0:
            memory.append(round(resident_megabytes(), 1))
            seconds.append(round(time.perf_counter() - start, 2))
            start = time.perf_counter()
    return {
        "n_images": n_images,
        "resident_mb_by_tenth": memory,
        "seconds_by_tenth": seconds,
        "growth_mb_after_first_tenth": round(memory[-1] - memory[0], 1),
        "peak_mb": round(peak_megabytes(), 1),
    }


def run_command(data_dir: Path, n_rows: int) -> dict:
    """Memory and processor time of `pulmonet explain` over many rows, one label, by tenths."""
    pulmonet = [sys.executable, "-m", "pulmonet"]
    with tempfile.TemporaryDirectory() as folder:
        train = ["train", "--data-dir", data_dir, "--model", "timm:test_resnet", "--name", "small"]
        small = ["--weights", "none", "--image-size", "64", "--epochs", "1", "--subset", "0.02"]
        subprocess.run([*pulmonet, *train, *small], cwd=folder, check=True, capture_output=True)
        rows = ["--split", "train", "--rows", str(n_rows), "--label", "Edema", "--out-dir", "out"]
        explain = [*pulmonet, "explain", "--run", "small", *rows]
        memory, seconds = [], []
        with subprocess.Popen(explain, cwd=folder, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                done = len(list(Path(folder, "out").glob("*/maps.npz")))
                while done >= (len(memory) + 1) * n_rows / 10:
                    memory.append(round(resident_megabytes(str(process.pid)), 1))
                    seconds.append(processor_seconds(process.pid))
                time.sleep(0.2)
        if process.returncode:
            raise SystemExit(process.returncode)
    return {"n_rows": n_rows, "resident_mb_by_tenth": memory, "cpu_seconds_by_tenth": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="densenet121", choices=sorted(LAST_LAYERS))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--images", type=int, default=0, help="also run this many images")
    parser.add_argument("--rows", type=int, default=0, help="run the command over this many rows")
    parser.add_argument("--data-dir", type=Path, help="whose train split has as many")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.rows:
        if arguments.data_dir is None:
            parser.error("--rows needs --data-dir")
        print(json.dumps(run_command(arguments.data_dir.resolve(), arguments.rows), indent=2))
        return
    torch.manual_seed(0)
    network = build_network(arguments.model, arguments.labels).eval()
    size = (1, 1, arguments.image_size, arguments.image_size)
    image = torch.randint(0, 256, size, dtype=torch.uint8)
    result = {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": arguments.model,
        "image_size": arguments.image_size,
        "labels": arguments.labels,
        **compare(network, LAST_LAYERS[arguments.model], image, arguments.labels, arguments.runs),
    }
    if arguments.images:
        result["many"] = run_many(network, arguments.image_size, arguments.images, arguments.labels)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
