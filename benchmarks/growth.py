"""The growth curves of a `benchmarks/run`: seconds and memory over the rows, in one picture.

    python benchmarks/growth.py today.json --png docs/images/growth.png

Both axes are logarithmic: what grows with the rows runs along the dashed line.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

#: Figure of `benchmarks/run` -> what it is called in the picture.
SECONDS = {
    "manifest: check s": "read and check the labels",
    "pack_scale: open s": "open the pack",
    "pack_scale: order s": "order an epoch",
    "scale: write_s": "write predictions",
    "scale: read_s": "read predictions",
    "scale: bootstrap_s": "1,000 resamples, 5 labels",
    "scale: report_s": "report with page",
}
MEGABYTES = {
    "manifest: peak MB": "labels",
    "pack_scale: peak_mb": "pack",
    "scale: peak_mb": "evaluation and report",
}

Curve = list[tuple[int, float]]


def curves_of(figures: dict[str, Any], names: dict[str, str]) -> dict[str, Curve]:
    """(rows, median) points per curve, by rows; curves of fewer than two points are left out."""
    found: dict[str, Curve] = {}
    for name, entry in figures.items():
        parts = re.fullmatch(r"(\w+): ([\d,]+) rows, (.+)", name)
        if parts is None or f"{parts[1]}: {parts[3]}" not in names:
            continue
        point = (int(parts[2].replace(",", "")), statistics.median(entry["values"]))
        found.setdefault(names[f"{parts[1]}: {parts[3]}"], []).append(point)
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}


def draw(document: dict[str, Any], path: Path) -> None:
    """Two panels, seconds and MB, over rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.8), layout="constrained")
    for panel, names, unit in zip(panels, (SECONDS, MEGABYTES), ("seconds", "MB"), strict=True):
        curves = curves_of(document["figures"], names)
        for name, points in curves.items():
            panel.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        panel.set(xscale="log", yscale="log", xlabel="rows", ylabel=unit)
        if unit == "seconds":
            last = max((points[-1] for points in curves.values()), key=lambda point: point[1])
            first = min(points[0][0] for points in curves.values())
            slope_one = [last[1] * first / last[0], last[1]]
            panel.plot([first, last[0]], slope_one, "--", color="0.6", label="in proportion")
            panel.set_ylim(bottom=1e-3)
        else:
            panel.set_ylim(bottom=10)
        panel.legend(fontsize="small", frameon=False, loc="upper center", ncols=2,
                     bbox_to_anchor=(0.5, -0.15))  # fmt: skip
    where = document["machine"]
    figure.suptitle(f"{where['cores']} x {where['cpu']}, {document['date'][:10]}", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="written by benchmarks/run")
    parser.add_argument("--png", type=Path, required=True)
    options = parser.parse_args()
    draw(json.loads(options.json.read_text()), options.png)


if __name__ == "__main__":
    main()
