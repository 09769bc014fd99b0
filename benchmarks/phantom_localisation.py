"""Do a trained network's maps point at phantom findings better than every baseline?

    python benchmarks/phantom_localisation.py --work-dir /tmp/phantoms --epochs 40

Makes phantoms, trains a small network on them (some minutes on two cores), and scores its maps
with `pulmonet explain --boxes`: pointing game against the four baselines, per label, with the
interval of the paired difference. Findings that always sit at one place (Cardiomegaly) are hit
by the prior alone, and no map can be shown to beat that.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from pulmonet.cli import main as pulmonet

#: Findings whose place varies.
MOVING = ("Atelectasis", "Consolidation", "Pleural Effusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--model", default="timm:resnet10t")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--method", action="append", help="default: gradcam and layercam")
    parser.add_argument("--layer", default="layer3", help="finer than the last map")
    arguments = parser.parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.work_dir)
    if not Path("data").exists():
        run("prepare", "--demo", "--patients", arguments.patients)
    run(
        *("train", "--data-dir", "data", "--model", arguments.model, "--weights", "none"),
        *("--image-size", arguments.image_size, "--epochs", arguments.epochs),
        *("--lr", 1e-3, "--batch-size", 16, "--name", "phantoms", "--resume"),
    )
    for method in arguments.method or ["gradcam", "layercam"]:
        options = ["--method", method, "--layer", arguments.layer, "--out-dir", method]
        run("explain", "--run", "phantoms", "--boxes", "boxes.csv", *options)
        print(f"\n{method} at {arguments.layer}: pointing game, method minus baseline")
        found = json.loads((Path(method) / "localization.json").read_text())
        for label in MOVING:
            for entry in found["labels"][label]["differences"]:
                if entry["metric"] != "pointing":
                    continue
                value = entry["difference"]
                mark = "beaten" if entry["distinguished"] and value["value"] > 0 else "NOT SHOWN"
                interval = f"{value['value']:+.2f} ({value['low']:+.2f} to {value['high']:+.2f})"
                print(f"  {label:18s} {entry['baseline']:20s} {interval}  {mark}")


def run(*arguments: object) -> None:
    code = pulmonet([str(argument) for argument in arguments])
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
