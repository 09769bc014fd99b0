"""How reading and checking a manifest grows with its rows, against plain `pandas.read_csv`.

    python benchmarks/manifest.py --rows 10000 100000 223414 1000000 --json manifest.json

Each size runs in a process of its own, on a CSV in CheXpert's layout (four images a patient, 14
labels, a validation CSV beside). The floor is `pandas.read_csv` of the same files, measured in the
same process. ``--files`` also makes the images (empty files) and checks that they are there; making
223,414 of them takes a while.

``--find 100000`` measures instead how long so many images take to be found by their names, where
the table has another ending: in folders of 10,000, and in CheXpert's folders, one a study.

Bounds (exit code 1 when missed): 223,414 rows under 5 s, a million rows under 1.5 GB, and time a
row at the largest size at most 1.5 times that at 100,000 rows or the smallest size above it;
finding adds at most a second to 100,000 files.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHEXPERT_ROWS = 223_414
MAX_SECONDS = 5.0
MAX_GIGABYTES = 1.5
MAX_GROWTH = 1.5
MAX_FIND_SECONDS = 1.0  # for 100,000 files


def write_tables(root: Path, n_rows: int, *, files: bool) -> None:
    """train.csv and valid.csv (one row in a thousand) in CheXpert's layout."""
    import numpy as np

    from pulmonet.labels import CHEXPERT_LABELS

    rng = np.random.default_rng(0)
    cells = np.array(["1.0", "0.0", "-1.0", ""])
    header = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS])
    n_valid = max(4, n_rows // 1000)
    sizes = {"train": n_rows - n_valid, "valid": n_valid}
    for number, (split, n_split) in enumerate(sizes.items(), start=1):
        labels = cells[rng.choice(4, (n_split, len(CHEXPERT_LABELS)), p=(0.15, 0.1, 0.05, 0.7))]
        with (root / f"{split}.csv").open("w") as table:
            table.write(header + "\n")
            for row in range(n_split):
                patient = number * 1_000_000 + row // 4
                study, view = row // 2 % 2 + 1, row % 2 + 1
                path = f"{split}/patient{patient}/study{study}/view{view}_frontal.jpg"
                side = "Frontal,AP" if view == 1 else "Lateral,"
                line = f"{root.name}/{path},Female,{row % 90},{side},{','.join(labels[row])}\n"
                table.write(line)
                if files:
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).touch()


def measure(n_rows: int, *, files: bool) -> dict[str, float]:
    """All figures of one size, in this process."""
    import pandas as pd

    from pulmonet.data.manifest import fingerprint
    from pulmonet.data.sources import read_manifest
    from pulmonet.data.splits.choose import dev_rows, select_rows, subset_rows
    from pulmonet.data.summary import summarise

    figures = {"n_rows": float(n_rows)}

    def timed(name: str, call: Any) -> Any:
        started = time.perf_counter()
        result = call()
        figures[name] = time.perf_counter() - started
        return result

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "CheXpert-v1.0-small"
        root.mkdir()
        write_tables(root, n_rows, files=files)
        figures["start_gb"] = _peak_gb()
        manifest = timed("check_s", lambda: read_manifest(root, check_files=files))
        figures["check_gb"] = _peak_gb()
        timed("fingerprint_s", lambda: fingerprint(manifest))
        timed("summary_s", lambda: summarise(manifest))
        rows = select_rows(manifest, "train")
        timed("subset_s", lambda: subset_rows(manifest, rows, 0.1, "patient", 1))
        timed("dev_s", lambda: dev_rows(manifest, rows, 0.1, 1))
        figures["peak_gb"] = _peak_gb()
        timed(
            "read_csv_s", lambda: [pd.read_csv(root / f"{name}.csv") for name in ("train", "valid")]
        )
    figures["check_over_read_csv"] = figures["check_s"] / figures["read_csv_s"]
    return figures


def measure_finding(n_files: int, layout: str) -> dict[str, float | str]:
    """Seconds to find `n_files` empty files by name, beyond those to look at their paths."""
    from pulmonet.data.sources.index import place_images

    names = {
        "flat": lambda n: f"images_{n // 10_000:03d}/images/{n // 10:08d}_{n % 10:03d}",
        "studies": lambda n: f"train/patient{n // 4}/study{n // 2 % 2 + 1}/view{n % 2 + 1}_frontal",
    }[layout]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(n_files):
            path = root / f"{names(number)}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        started = time.perf_counter()
        there = place_images(root, [f"{names(number)}.jpg" for number in range(n_files)])
        looked = time.perf_counter()
        found = place_images(root, [f"{names(number)}.png" for number in range(n_files)])
        seconds = time.perf_counter() - looked
    if found.paths != there.paths or len(found.moved) != n_files:
        raise RuntimeError(f"{layout}: not all were found")
    return {"layout": layout, "look_s": looked - started, "find_s": seconds - (looked - started)}


def _peak_gb() -> float:
    """Largest resident memory of this process so far (KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def judge(results: list[dict[str, float]]) -> list[str]:
    """The bounds that were missed."""
    missed = []
    for figures in results:
        if figures["n_rows"] == CHEXPERT_ROWS and figures["check_s"] >= MAX_SECONDS:
            missed.append(f"{figures['check_s']:.1f} s for CheXpert's {CHEXPERT_ROWS:,} rows")
        if figures["n_rows"] <= 1_000_000 and figures["peak_gb"] >= MAX_GIGABYTES:
            missed.append(f"{figures['peak_gb']:.2f} GB for {figures['n_rows']:,.0f} rows")
    large = [figures for figures in results if figures["n_rows"] >= 100_000]
    if len(large) > 1:
        first, last = (figures["check_s"] / figures["n_rows"] for figures in (large[0], large[-1]))
        if last > MAX_GROWTH * first:
            missed.append(f"time a row grew {last / first:.2f} times")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 100_000, CHEXPERT_ROWS, 1_000_000]
    )
    parser.add_argument("--files", action="store_true", help="make and check the image files, too")
    parser.add_argument("--find", type=int, metavar="N", help="find N files by name instead")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.rows[0], files=options.files)))
        return 0
    if options.find:
        found = [measure_finding(options.find, layout) for layout in ("flat", "studies")]
        for figures in found:
            print(figures)
        bound = MAX_FIND_SECONDS * options.find / 100_000
        return int(any(float(figures["find_s"]) > bound for figures in found))
    results = []
    print("      rows  check s  read_csv s  ratio  us/row  peak GB  subset s  dev s")
    for n_rows in sorted(options.rows):
        command = [sys.executable, __file__, "--one", "--rows", str(n_rows)]
        command += ["--files"] if options.files else []
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures: dict[str, float] = json.loads(output.splitlines()[-1])
        results.append(figures)
        print(
            f"{n_rows:>10,}  {figures['check_s']:>7.2f}  {figures['read_csv_s']:>10.2f}  "
            f"{figures['check_over_read_csv']:>5.2f}  {figures['check_s'] / n_rows * 1e6:>6.1f}  "
            f"{figures['peak_gb']:>7.2f}  {figures['subset_s']:>8.2f}  {figures['dev_s']:>5.2f}",
            flush=True,
        )
    missed = judge(results)
    for text in missed:
        print(f"missed: {text}")
    if options.json:
        options.json.write_text(json.dumps({"results": results, "missed": missed}, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
