"""How fast packing is against what the cores could decode: target 0.8.

    python benchmarks/packing.py --images ../shared/data/nih-cxr --json packing.json

The yardstick is one core that does nothing but cv2.imread and the area resize, times the number
of cores. Beside it stands what that many threads decode at the time: on shared or hyperthreaded
cores less than the product. All are measured in turns in one run; packing includes its checks,
checksums and syncs.

On a machine that others use as well, threads wait for a core where the yardstick, alone, finds one,
and the share says little; the processor time an image, printed below, says what packing costs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from benchmark_images import write_images

from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import open_pack

TARGET = 0.8


def decode_rate(manifest: Manifest, n_threads: int = 1) -> tuple[float, float]:
    """Images/s of `n_threads` that decode and resize, nothing else; processor seconds an image."""
    paths = [str(manifest.root / path) for path in manifest.table["path"]]
    used, started = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(_decode, [paths[i::n_threads] for i in range(n_threads)]))
    seconds = time.perf_counter() - started
    return len(paths) / seconds, (time.process_time() - used) / len(paths)


def _decode(paths: list[str]) -> None:
    for path in paths:
        image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)


def pack_rate(manifest: Manifest, num_workers: int) -> tuple[float, float]:
    """Images/s of `open_pack` into an empty cache; processor seconds an image."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PULMONET_CACHE_DIR"] = cache
        used, started = time.process_time(), time.perf_counter()
        open_pack(manifest, range(len(manifest)), num_workers=num_workers)
        seconds = time.perf_counter() - started
        return len(manifest) / seconds, (time.process_time() - used) / len(manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of X-rays (default: noise)")
    parser.add_argument("--n-images", type=int, default=5000)
    parser.add_argument("--num-workers", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    n_workers = options.num_workers
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_images(Path(folder), options.n_images, options.images)
        decode_rate(manifest)  # the page cache is warm for both
        rounds = [
            (
                *decode_rate(manifest),
                decode_rate(manifest, n_workers)[0],
                *pack_rate(manifest, n_workers),
            )
            for _ in range(options.repeats)
        ]
    ratios = [packing / (n_workers * single) for single, _, _, packing, _ in rounds]
    single, decode_cpu, threaded, packing, pack_cpu = (
        statistics.median(rates) for rates in zip(*rounds, strict=True)
    )
    cpu_ratios = [decode / pack for _, decode, _, _, pack in rounds]
    result = {
        "benchmark": "packing",
        "n_images": options.n_images,
        "num_workers": n_workers,
        "decode_images_per_second_per_core": single,
        "decode_images_per_second_all_threads": threaded,
        "pack_images_per_second": packing,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "decode_processor_seconds_per_image": decode_cpu,
        "pack_processor_seconds_per_image": pack_cpu,
        "processor_time_ratio": statistics.median(cpu_ratios),
        "target": TARGET,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(f"one core, decode + area resize  {single:6.0f}/s")
    print(
        f"the same in {n_workers:2} threads          {threaded:6.0f}/s   (what the cores give now)"
    )
    print(f"packing with {n_workers:2} threads         {packing:6.0f}/s")
    print(
        f"processor time an image: {decode_cpu * 1e6:.0f} µs to decode and resize, "
        f"{pack_cpu * 1e6:.0f} µs to pack ({result['processor_time_ratio']:.2f})"
    )
    print(f"share of {n_workers} × one core          {result['ratio']:6.2f}   (target {TARGET})")


if __name__ == "__main__":
    main()
