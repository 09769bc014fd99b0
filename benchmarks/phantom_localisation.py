"""Do a trained network's maps point at phantom findings better than every baseline?

    python benchmarks/phantom_localisation.py --work-dir /tmp/phantoms

Makes phantoms of 2,000 patients, trains a small network on 1,600 of them for a fixed number of
epochs, and scores its maps with `pulmonet explain --boxes`: pointing game against the four
baselines, per label, with the interval of the paired difference.

Method and layer are chosen on training patients; what is claimed is claimed on the 400 validation
patients, which chose nothing: the checkpoint is the last. Findings that always sit at one place
(Cardiomegaly) are hit by the prior alone, and no map can be shown to beat that.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from pulmonet.cli.main import main as pulmonet

#: Findings whose place varies.
MOVING = ("Atelectasis", "Consolidation", "Pleural Effusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--model", default="timm:test_resnet")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="other counts, other bits")
    parser.add_argument("--methods", default="gradcam,layercam")
    parser.add_argument("--layers", default="layer2,layer3,last")
    parser.add_argument("--choose-on", type=int, default=400, help="training rows")
    arguments = parser.parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.work_dir)
    size = ("--image-size", arguments.image_size)
    if not Path("data").exists():
        run("prepare", "--demo", "data", "--patients", arguments.patients, *size)
    run(
        *("train", "--data-dir", "data", "--model", arguments.model, "--weights", "none", *size),
        *("--views", "frontal", "--amp", "--batch-size", 32, "--epochs", arguments.epochs),
        *("--lr", arguments.lr, "--set", "optim.name=adamw", "--set", "optim.schedule=one-cycle"),
        *("--set", "optim.weight_decay=0.01", "--set", "select.checkpoint=last"),
        *("--set", f"runtime.threads={arguments.threads}", "--num-workers", 0),
        *("--name", "phantoms", "--resume"),
    )
    scored = ("explain", "--run", "phantoms", "--boxes", "boxes.csv", "--label", ",".join(MOVING))
    ways = ("--method", arguments.methods, "--layer", arguments.layers)
    rows = ("--split", "train", "--rows", arguments.choose_on)
    run(*scored, *ways, *rows, "--out-dir", "chosen-on-training-patients")
    chosen = best_way(read("chosen-on-training-patients"))
    run(*scored, *ways, "--split", "valid", "--out-dir", "on-validation-patients")
    print_table(read("on-validation-patients"), chosen)


def read(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "localization.json").read_text())
    return found


def best_way(found: dict[str, Any]) -> str:
    """The row with the highest mean hit rate over the moving labels."""

    def hits(name: str) -> float:
        rows = [found["labels"][label]["rows"][name] for label in MOVING]
        return sum(float(row["pointing"]["value"]) for row in rows)

    return max((str(way["name"]) for way in found["variants"]), key=hits)


def print_table(found: dict[str, Any], chosen: str) -> None:
    """Markdown: hits of the chosen way and of each baseline, and their paired differences."""
    print(f"\nChosen on training patients: {chosen}. Pointing game on validation patients:\n")
    print("| label | images (patients) | hits | baseline | its hits | difference, 95 % | beaten |")
    print("|---|---:|---:|---|---:|---:|---|")
    for label in MOVING:
        facts = found["labels"][label]
        own = facts["rows"][chosen]["pointing"]["value"]
        n = f"{facts['n_images']} ({facts['n_patients']})"
        for entry in facts["differences"]:
            if entry["metric"] != "pointing" or entry["row"] != chosen:
                continue
            value, baseline = entry["difference"], entry["baseline"]
            hits = facts["rows"][baseline]["pointing"]["value"]
            interval = f"{value['value']:+.2f} ({value['low']:+.2f} to {value['high']:+.2f})"
            beaten = "yes" if entry["distinguished"] and value["value"] > 0 else "**no**"
            name = baseline.partition(",")[0]
            print(f"| {label} | {n} | {own:.2f} | {name} | {hits:.2f} | {interval} | {beaten} |")


def run(*arguments: object) -> None:
    code = pulmonet([str(argument) for argument in arguments])
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
