"""What the check "unlike the images that this model was trained on" catches, and what it takes.

The runs have been trained on `nih-cxr` and evaluated on their validation rows, e.g.

    pulmonet train --config quick --data-dir ../shared/data/nih-cxr
    pulmonet evaluate quick --data-dir ../shared/data/nih-cxr
    pulmonet prepare --demo phantoms
    python benchmarks/unlike.py quick --data ../shared/data --phantoms phantoms

With ``--features`` the pooled features of the network are measured instead of the pixels, on 400
training images and 40 of each kind.

Intervals are Wilson's, of patients for X-rays (one image beyond the limit counts) and of images
otherwise. Photographs are parts of scikit-learn's two; CT and MR slices are pydicom's test files
and drawn ones; hands are drawn.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pydicom
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydicom.data import get_testdata_file
from scipy.stats import binomtest
from sklearn.datasets import load_sample_images

import pulmonet
from pulmonet.api import Model
from pulmonet.arrays import Array, Pixels
from pulmonet.data.images.grey import to_8_bits
from pulmonet.data.images.read import read_file
from pulmonet.data.likeness import learn
from pulmonet.explain.maps.methods import to_network_input
from pulmonet.models.networks import Ensemble, forward_features
from pulmonet.run.predictions import Predictions

#: Images by patient, or by number where each counts alone.
Groups = Mapping[str, Sequence[Pixels]]
SLICES = ("CT_small.dcm", "693_J2KI.dcm", "MR_small.dcm", "examples_overlay.dcm")


def alone(images: Sequence[Pixels]) -> Groups:
    """Each image counted for itself."""
    return {str(number): [image] for number, image in enumerate(images)}


def x_rays(paths: Sequence[Path], patient: Callable[[Path], str]) -> Groups:
    found: dict[str, list[Pixels]] = {}
    for path in paths:
        found.setdefault(patient(path), []).append(read_file(path)[0])
    return found


def altered(images: Groups) -> Iterator[tuple[str, Groups]]:
    """The validation images turned into what they should not be."""

    def half(image: Pixels, number: int, parts: int) -> Pixels:
        height, width = image.shape[0] // parts, image.shape[1] // parts
        return image[:height, :width] if number % 2 else image[-height:, -width:]

    ways: dict[str, Callable[[Pixels, int], Pixels]] = {
        "inverted": lambda image, _: 255 - image,
        "rotated by 90°": lambda image, number: np.rot90(image, 1 if number % 2 else 3),
        "upside down": lambda image, _: image[::-1, ::-1],
        "cropped to a corner, a half by a half": lambda image, number: half(image, number, 2),
        "cropped to a corner, a third by a third": lambda image, number: half(image, number, 3),
        "mirrored": lambda image, _: image[:, ::-1],
    }
    for name, way in ways.items():
        yield (
            name,
            {
                patient: [np.ascontiguousarray(way(image, number)) for image in of_patient]
                for number, (patient, of_patient) in enumerate(images.items())
            },
        )


def charts(rng: np.random.Generator, n: int = 100) -> list[Pixels]:
    found = []
    for number in range(n):
        figure = Figure(figsize=(rng.uniform(3, 8), rng.uniform(3, 6)), dpi=80)
        canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
        if number % 4 == 0:
            axes.plot(np.cumsum(rng.normal(size=(60, 3)), axis=0))
        elif number % 4 == 1:
            axes.bar(range(8), rng.uniform(1, 9, 8))
        elif number % 4 == 2:
            axes.scatter(*rng.normal(size=(2, 200)))
        else:
            axes.pie(rng.uniform(1, 3, 5), labels=list("abcde"))
        canvas.draw()
        found.append(cv2.cvtColor(np.asarray(canvas.buffer_rgba())[..., :3], cv2.COLOR_RGB2GRAY))
    return found


def noise(rng: np.random.Generator, n: int = 100) -> list[Pixels]:
    """White, smooth, and with the falling spectrum of natural images."""
    found = []
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    frequency[0, 0] = 1
    for number in range(n):
        white = rng.normal(size=(256, 256))
        if number % 3 == 1:
            small = rng.normal(size=(int(rng.integers(4, 64)),) * 2)
            white = cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC)
        elif number % 3 == 2:
            white = np.fft.ifft2(np.fft.fft2(white) / frequency ** rng.uniform(0.8, 2)).real
        found.append(to_8_bits(white))
    return found


def photographs(rng: np.random.Generator, n: int = 100) -> list[Pixels]:
    whole = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in load_sample_images().images]
    found = list(whole)
    while len(found) < n:
        image = whole[len(found) % 2]
        side = int(rng.integers(120, image.shape[0]))
        top, left = (int(rng.integers(size - side + 1)) for size in image.shape)
        found.append(image[top : top + side, left : left + side])
    return found


def slices(rng: np.random.Generator, n: int = 40) -> Iterator[tuple[str, list[Pixels]]]:
    real = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in SLICES:
            path = get_testdata_file(name, download=False)
            if path is not None:
                real.append(to_8_bits(pydicom.dcmread(str(path)).pixel_array))
    yield "CT and MR slices of pydicom", real
    drawn = []
    for _ in range(n):
        canvas = np.zeros((512, 512), np.float32)
        x, y = (int(256 + step) for step in rng.integers(-15, 15, 2))
        a, b = int(rng.integers(180, 235)), int(rng.integers(120, 175))
        ellipses = [(x, y, a, b, 130), (x, y, a - 18, b - 18, 160)]
        ellipses += [
            (int(x + s * a * 0.45), y - 5, int(a * 0.32), int(b * 0.62), 20) for s in (-1, 1)
        ]
        ellipses += [(x - 20, y - 20, a // 4, int(b * 0.4), 170)]
        ellipses += [(x, int(y + b * 0.65), a // 7, a // 7, 240)]
        for left, top, width, height, grey in ellipses:
            cv2.ellipse(canvas, (left, top), (width, height), 0, 0, 360, grey, -1)
        canvas = cv2.GaussianBlur(canvas, (0, 0), 2) + rng.normal(0, 5, canvas.shape)
        drawn.append(canvas.clip(0, 255).astype(np.uint8))
    yield "CT slices, drawn", drawn


def hands(rng: np.random.Generator, n: int = 40) -> list[Pixels]:
    """Five rays of bones in soft tissue, and a wrist."""
    found = []
    for number in range(n):
        scale = rng.uniform(0.85, 1.1)
        soft, bone = np.zeros((512, 512), np.float32), np.zeros((512, 512), np.float32)
        for ray, angle in enumerate(np.deg2rad([-50, -18, -4, 10, 26])):
            start = np.array([256 + (ray - 2) * 14, 410.0])
            along = np.array([np.sin(angle), -np.cos(angle)])
            for joint, length in enumerate((88, 80, 68, 60)[: 3 if ray == 0 else 4]):
                end = start + along * length * scale
                line = [tuple(map(int, point)) for point in (start, end)]
                cv2.line(soft, *line, 95, int(46 * scale) - 4 * joint)
                line = [tuple(map(int, point)) for point in (start + 6 * along, end - 6 * along)]
                cv2.line(bone, *line, 110, int(17 * scale) - 2 * joint)
                start = end
        cv2.ellipse(soft, (256, 400), (int(90 * scale), int(70 * scale)), 0, 0, 360, 95, -1)
        cv2.line(soft, (256, 400), (256, 512), 95, int(110 * scale))
        for x in (235, 280):
            cv2.line(bone, (x, 450), (x, 512), 120, int(30 * scale))
        image = cv2.GaussianBlur(soft, (0, 0), 4) + cv2.GaussianBlur(bone, (0, 0), 2)
        image += rng.uniform(5, 25) + rng.normal(0, 3, image.shape)
        image = image.clip(0, 255).astype(np.uint8)
        found.append(image if number % 2 else cv2.flip(image, 1))
    return found


def kinds(model: Model, data: Path, phantoms: Path) -> Iterator[tuple[str, Groups]]:
    rng = np.random.default_rng(0)
    run_dir = model.run.run_dir
    rows = Predictions.read(run_dir.predictions_path("nih-cxr", "valid"))
    paths = [data / "nih-cxr" / path for path in rows.paths]
    valid = x_rays(paths, lambda path: path.parts[-3])
    yield "validation patients: false alarms", valid
    own = {path.name for path in (data / "nih-cxr").glob("*/*")} - set(valid)
    more = [path for path in (data / "nih-cxr-more").rglob("*.jpg") if path.parts[-3] not in own]
    yield "other patients of NIH (`nih-cxr-more`)", x_rays(more, lambda path: path.parts[-3])
    large = [read_file(path)[0] for path in sorted((data / "samples-1024").glob("*.jpg"))]
    yield "X-rays of NIH at 1024 px", alone(large)
    children = sorted((data / "kermany-224").rglob("*.jp*g"))[::8]
    yield "children (`kermany-224`)", x_rays(children, lambda path: path.parts[-3])
    tiny = np.load(data / "pneumoniamnist" / "pneumoniamnist.npz")["test_images"]
    yield "children, 28 px (`pneumoniamnist`)", alone(list(tiny))
    for name, images in altered(valid):
        yield name, images
    yield "charts", alone(charts(rng))
    yield "noise", alone(noise(rng))
    yield "photographs", alone(photographs(rng))
    for name, pictures in slices(rng):
        yield name, alone(pictures)
    yield "hands, drawn", alone(hands(rng))
    drawn = [read_file(path)[0] for path in sorted(phantoms.glob("valid/**/*.*g"))]
    yield "phantoms, by their pixels", alone(drawn)


def by_pixels(model: Model, images: Sequence[Pixels]) -> list[bool]:
    return [bool(model.run.measure(image, "")[1]) for image in images]


def pooled(model: Model, images: Sequence[Pixels]) -> Array:
    """(N, C) means of the last feature map; of an ensemble, those of its first member."""
    network = model.run.network
    network = network.members[0] if isinstance(network, Ensemble) else network
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 32):
            pixels = to_network_input(images[start : start + 32], model.run)
            found.append(forward_features(network, pixels).float().mean(dim=(2, 3)))
    return torch.cat(found).double().numpy()


def by_features(model: Model, data: Path) -> Callable[[Sequence[Pixels]], list[bool]]:
    """Whether images are beyond the limit that the product would learn from such features."""
    rows = Predictions.read(model.run.run_dir.predictions_path("nih-cxr", "valid"))
    held = [data / "nih-cxr" / path for path in rows.paths]
    trained = sorted({*(data / "nih-cxr").rglob("*.jpg")} - {*held})[::3][:400]
    parts = []
    for paths in (trained, held):
        patients = np.array([path.parts[-3] for path in paths], object)
        parts += [pooled(model, [read_file(path)[0] for path in paths]), patients]
    found = learn(*parts)
    assert found is not None
    return lambda images: [
        float(np.linalg.norm(found.whitening @ (one - found.mean))) > found.limit
        for one in pooled(model, images)
    ]


def say_cost(model: Model, image: Pixels) -> None:
    """CPU seconds of the check and of an explanation of the same image, the fastest of 20 each."""
    seconds, square = {}, model.run.square(image)  # which an explanation needs anyway
    for name, work in (
        ("check", lambda: model.run.measure(square, "")),
        ("explain", lambda: model.explain(image)),
    ):
        work()
        times = []
        for _ in range(20):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        seconds[name] = min(times)
    print(f"cost of {model.run.run_dir.name}: {1000 * seconds['check']:.1f} ms an image, "
          f"{seconds['check'] / seconds['explain']:.1%} of `Model.explain`")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--phantoms", type=Path, default=Path("phantoms"))
    parser.add_argument("--artifacts-dir", default="artifacts")
    parser.add_argument("--features", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("pulmonet").setLevel(logging.ERROR)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    table: dict[str, list[str]] = {}
    for name in arguments.runs:
        model = pulmonet.load(name, "cpu", arguments.artifacts_dir)
        judge = (
            by_features(model, arguments.data) if arguments.features else partial(by_pixels, model)
        )
        for kind, groups in kinds(model, arguments.data, arguments.phantoms):
            chosen = [*groups.values()][: 40 if arguments.features else None]
            beyond = [any(judge(group)) for group in chosen]
            low, high = binomtest(sum(beyond), len(beyond)).proportion_ci(method="wilson")
            cell = f"{np.mean(beyond):.1%} ({low:.1%} to {high:.1%})"
            table.setdefault(kind, []).append(f"{sum(beyond)} of {len(beyond)}: {cell}")
        read = [read_file(path) for path in sorted(arguments.phantoms.glob("valid/**/*.*g"))]
        known = sum(bool(model.run.measure(image, "", remark)[1]) for image, remark in read)
        row = table.setdefault("phantoms, files as `prepare` writes them", [])
        low, high = binomtest(known, len(read)).proportion_ci(method="wilson")
        row.append(f"{known} of {len(read)}: {known / len(read):.1%} ({low:.1%} to {high:.1%})")
        say_cost(model, next(iter(groups.values()))[0])
    print(f"| | {' | '.join(arguments.runs)} |")
    print("|---" * (1 + len(arguments.runs)) + "|")
    for kind, cells in table.items():
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
