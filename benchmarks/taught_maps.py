"""Maps taught with boxes beside maps that were not, of held-out phantoms: a picture of twenty.

    python benchmarks/taught_maps.py --work-dir /tmp/taught --picture taught-maps.png

Makes phantoms of 300 patients, trains one small network without and one with their boxes, on the
same patients with the same seed, scores both with `pulmonet explain --boxes`, and draws four
validation images a label, of different patients, drawn by lot. Phantoms are synthetic: the
picture shows what the loss does, and nothing about patients.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from PIL import Image

import pulmonet
from pulmonet.cli.main import main as run_pulmonet
from pulmonet.figures.style import INK, new_figure, render
from pulmonet.labels import DEFAULT_LABELS

#: Run -> what it has beside the settings that both have.
RUNS: dict[str, tuple[str, ...]] = {
    "without-boxes": (),
    "with-boxes": ("--boxes", "--set", "pointing.weight=0.5"),
}
IMAGES_A_LABEL = 4
LINE = {"fill": False, "edgecolor": "#56f4e9", "linewidth": 1.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1, help="other counts, other bits")
    options = parser.parse_args()
    picture = options.picture.resolve()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work_dir)
    train(options)
    call("explain", "--run", ",".join(RUNS), "--data-dir", "phantoms", "--boxes")
    drawn = Image.open(io.BytesIO(draw(Path("phantoms"))))
    drawn.quantize(192, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(picture)


def train(options: argparse.Namespace) -> None:
    """Both runs; what is there already is left alone."""
    size = ("--image-size", options.image_size)
    if not Path("phantoms").exists():
        call("prepare", "--demo", "phantoms", "--patients", options.patients, *size)
    for name, extra in RUNS.items():
        call(
            *("train", "--data-dir", "phantoms", "--name", name, "--resume", *size, *extra),
            *("--model", "timm:test_resnet", "--weights", "none", "--views", "frontal"),
            *("--epochs", options.epochs, "--lr", "4e-3", "--set", "optim.name=adamw"),
            *("--set", "optim.schedule=one-cycle", "--set", "optim.weight_decay=0.01"),
            *("--set", "model.output_stride=16", "--set", "select.checkpoint=last"),
            *("--set", f"runtime.threads={options.threads}", "--num-workers", 0),
        )


def call(*arguments: object) -> None:
    if code := run_pulmonet([str(argument) for argument in arguments]):
        raise SystemExit(code)


def choose(root: Path) -> pd.DataFrame:
    """Path and label of frontal validation images with a box, of other patients each, by lot."""
    boxes = pd.read_csv(root / "boxes.csv")
    held = boxes[boxes["Path"].str.contains("/valid/.*frontal")].drop_duplicates(["Path", "label"])
    held = held.assign(patient=held["Path"].str.extract(r"(patient\d+)", expand=False))
    order = np.random.default_rng(0).permutation(len(held))
    parts, taken = [], set[str]()
    for label in DEFAULT_LABELS:
        own = held.iloc[order]
        own = own[(own["label"] == label) & ~own["patient"].isin(taken)]
        parts.append(own.drop_duplicates("patient").head(IMAGES_A_LABEL))
        taken |= {*parts[-1]["patient"]}
    return pd.concat(parts)


def draw(root: Path) -> bytes:
    """Two pictures a case, without and with boxes; a label a pair of columns."""
    models = [pulmonet.load(Path("artifacts") / name) for name in RUNS]
    boxes, chosen = pd.read_csv(root / "boxes.csv"), choose(root)
    figure = new_figure(2.6 * len(DEFAULT_LABELS), 1.42 * IMAGES_A_LABEL + 0.6)
    axes = figure.subplots(IMAGES_A_LABEL, len(models) * len(DEFAULT_LABELS), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, label in enumerate(DEFAULT_LABELS):
        for row, path in enumerate(chosen.loc[chosen["label"] == label, "Path"]):
            drawn = boxes[(boxes["Path"] == path) & (boxes["label"] == label)]
            drawn = drawn[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
            for place, (model, name) in enumerate(zip(models, RUNS, strict=True)):
                axis = axes[row, len(models) * column + place]
                overlay = model.explain(root.parent / path, label=label).overlay(label)
                height, width = overlay.shape[:2]
                axis.imshow(overlay)
                half = max(height, width) / 2  # all in squares of one size
                axis.set_xlim(width / 2 - half - 0.5, width / 2 + half - 0.5)
                axis.set_ylim(height / 2 + half - 0.5, height / 2 - half - 0.5)
                for left, top, right, bottom in drawn * ([width, height] * 2):
                    sides = right - left, bottom - top
                    axis.add_patch(Rectangle((left - 0.5, top - 0.5), *sides, **LINE))
                if row == 0:
                    words = f"{label if place == 0 else ''}\n{name.replace('-', ' ')}"
                    axis.set_title(words, fontsize=8, color=INK, loc="left")
    what = "maps of a network without, and of one taught with boxes"
    figure.suptitle(f"SYNTHETIC phantoms, held out: {what}", fontsize=9.5, color=INK)
    return render(figure)


if __name__ == "__main__":
    main()
