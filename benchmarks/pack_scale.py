"""How the pack and the loader's order grow with the rows of a dataset; nothing is trained.

    python benchmarks/pack_scale.py --rows 1000 10000 100000 1000000 --json pack_scale.json

Each size runs in a process of its own, on a manifest of that many rows of which at most 4,000
have an image: made (first opening), opened again, those images packed, the sources of all rows
compared, an epoch put in order; and the peak of its memory. Disk: `images.npy` is sparse.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sizes import peak_mb, run_sizes, write_sizes

N_IMAGES = 4_000


def measure(n_rows: int, folder: Path) -> dict[str, float]:
    """All figures of one size, in this process."""
    import numpy as np
    import pandas as pd
    from benchmark_images import write_images

    from pulmonet.config.fields import AugmentConfig
    from pulmonet.data.batches.load import TrainingBatches
    from pulmonet.data.manifest import Manifest
    from pulmonet.data.pack.open import open_pack
    from pulmonet.data.pack.write import stat_sources

    n_images = min(N_IMAGES, n_rows)
    paths = write_images(folder / "images", n_images, None).table["path"].tolist()
    paths += [
        f"train/patient{row:07d}/study1/view1_frontal.jpg" for row in range(len(paths), n_rows)
    ]
    table = pd.DataFrame({"path": paths})
    manifest = Manifest("scale", folder / "images", "chexpert", (), table)
    some = np.arange(n_images)
    figures = {"n_rows": float(n_rows), "n_packed": float(n_images), "start_mb": peak_mb()}
    started = time.perf_counter()

    def note(name: str) -> None:
        nonlocal started
        figures[name] = time.perf_counter() - started
        started = time.perf_counter()

    open_pack(manifest, [])
    note("make_s")
    pack = open_pack(manifest, [])
    note("open_s")
    pack = open_pack(manifest, some)
    note("pack_s")
    stat_sources(manifest.root, paths, np.arange(n_rows))
    note("compare_sources_s")
    batches = TrainingBatches(
        pack,
        np.arange(n_rows),
        np.zeros((n_rows, 5), np.float32),
        AugmentConfig(),
        image_size=224,
        batch_size=32,
        seed=42,
    )
    started = time.perf_counter()
    batches.order(0)
    note("order_s")
    figures["peak_mb"] = peak_mb()
    used = (pack.folder / "images.npy").stat().st_blocks * 512
    figures["images_npy_used_mb"] = used / 2**20
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.rows[0], options.one)))
        return
    write_sizes(options.json, "pack_scale", run_sizes(__file__, options.rows))


if __name__ == "__main__":
    main()
