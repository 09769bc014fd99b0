"""Do maps taught with boxes point, and at what cost? Out of fold, on real X-rays.

    python benchmarks/pointing.py run --data-dir DATA --out pointing none boxes --seeds 0 1 2
    python benchmarks/pointing.py table --data-dir DATA --out pointing --json pointing.json

`run` trains what is missing with `pulmonet train` (a finished run is left alone, an interrupted
one resumed): one Lite0 by the settings of `quick` at 224 pixels for six epochs, with the arm's
changes, on each of five patient folds. `pulmonet evaluate` then scores each fold's validation
patients. Their maps are scored as `pulmonet explain --boxes own` does it, and the deletion test is
done: the logit as the boxes of a label are covered (linear imputation of Rong et al. 2022, as in
ROAD, no noise), and as an equal area elsewhere is. Both go into RUN/pointing.json, which a further
call finds.
With `--folds` there are only these folds, and in `run` no AUROC.
`run --tta jitter` (or flip) also scores maps that are averaged over the views of test-time
augmentation, each moved back; the table has them as an arm of their own, `boxes+jitter`.
`--folds 0` trains that fold alone.

The arm `others` learns the boxes of all labels but `UNTAUGHT`: do their maps get worse?
The arm `auxiliary` also learns the boxes of labels that have no column in `nih-cxr`. It needs a
copy that has them. The copy has other folds, so `boxes` is trained on it as well:

    python benchmarks/pointing.py columns --data-dir nih-cxr --out more
    python benchmarks/pointing.py run --data-dir more/nih-cxr --out more/pointing boxes auxiliary

"Elsewhere" is where the same boxes, moved as a whole (also mirrored), touch no box of the label on
this image, and lie as far in the lungs as they can: where boxes of any label on other patients'
images, and their mirror images, are densest.

`table` gives per label and arm the pointing game, IoU and energy inside, with the paired
differences to the arm `none` (or `--against`) and, in the JSON, to every baseline (bold: the arm
beats them all); the deletion test; and the macro AUROC of CheXpert's five with its paired
difference. A case (label and image) has the mean of its seeds' values; intervals are 95 %, from
resampling patients. A difference to `none` is taken over the seeds that both have.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import study
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from study_arms import LITE0

from pulmonet.data.batches.augment import tta_views
from pulmonet.data.images.read import read_source_image
from pulmonet.data.regions import read_regions
from pulmonet.explain.checks.localization import score_map, tuned_ious
from pulmonet.explain.checks.sanity import impute
from pulmonet.explain.maps.methods import explain_images, to_network_input
from pulmonet.explain.results import BASELINES
from pulmonet.flows.dataset import Datasets, RunRows
from pulmonet.flows.explain.boxes import Case, score_run
from pulmonet.flows.explain.options import ExplainOptions, Settled, settle
from pulmonet.metrics.ranking.resamples import number_units
from pulmonet.models.trained import TrainedRun, load_run
from pulmonet.run.folder import RunDir

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
    *("Pneumonia", "Pneumothorax"),
)
#: In the place of a label: the cases of all of them.
ALL = "all labels"
#: Labels with boxes in `nih-cxr`, but without a column there.
BOXED_ALONE = ("Infiltration", "Mass", "Nodule")
UNTAUGHT = ("Atelectasis", "Pleural Effusion")
METHOD = "gradcam"
METRICS = ("pointing", "iou", "energy")


def auxiliary(*labels: str) -> str:
    return f"data.auxiliary_labels={json.dumps(labels)}"


def arm(*settings: str, boxes: bool = True) -> list[str]:
    words = ["--config", "quick", "--model", LITE0, "--labels", ",".join(LABELS)]
    common = ("model.members=1", "data.image_size=224", "optim.epochs=6")
    for assignment in (*common, auxiliary("No Finding"), *settings):
        words += ["--set", assignment]
    return [*words, "--boxes", "own"] if boxes else words


ARMS = {
    "none": arm(boxes=False),
    "boxes": arm(),
    "weight-0.02": arm("pointing.weight=0.02"),
    "weight-0.1": arm("pointing.weight=0.1"),
    "weight-0.2": arm("pointing.weight=0.2"),
    "weight-0.5": arm("pointing.weight=0.5"),
    "weight-1": arm("pointing.weight=1"),
    "cells": arm("pointing.form=cells"),
    "cells-weight-0.5": arm("pointing.form=cells", "pointing.weight=0.5"),
    "lse": arm("pointing.form=lse"),
    "pcam": arm("pointing.form=pcam"),
    "temperature-0.5": arm("pointing.temperature=0.5"),
    "temperature-2": arm("pointing.temperature=2"),
    "none-288": arm("data.image_size=288", boxes=False),
    "boxes-288": arm("data.image_size=288"),
    "none-stride-16": arm("model.output_stride=16", boxes=False),
    "stride-16": arm("model.output_stride=16"),
    "auxiliary": arm(auxiliary("No Finding", *BOXED_ALONE), "targets.blank=ignore"),
    "others": arm(boxes=False),
    "none-quick": arm("model.members=3", boxes=False),
    "boxes-quick": arm("model.members=3"),
}
study.ARMS.update(ARMS)


# --- running ------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    for name in options.arms:
        for assignment in options.set:
            ARMS[name] += ["--set", assignment]
        if name == "others":
            boxes = pd.read_csv(options.data_dir / "boxes.csv")
            path = options.out.resolve() / "boxes-of-others.csv"
            boxes[~boxes["label"].isin(UNTAUGHT)].to_csv(path, index=False)
            ARMS[name] += ["--boxes", str(path)]
        for seed in options.seeds:
            for fold in options.folds or range(study.N_FOLDS):
                print(study.train_fold(name, seed, fold, options), flush=True)
                run_dir = RunDir(options.out / study.run_name(name, seed, fold))
                score_maps(run_dir, options)
                if options.views != "none":
                    score_views(run_dir, options)
            if not options.folds:
                study.score(name, seed, options)


def validation_rows(
    run_dir: RunDir, options: argparse.Namespace
) -> tuple[Settled, TrainedRun, RunRows]:
    task = settle(
        ExplainOptions(
            run=str(run_dir.path),
            boxes=Path("own"),
            data_dir=str(options.data_dir),
            split="valid",
            artifacts_dir=options.out,
        )
    )
    trained = load_run(run_dir, "cpu")
    return task, trained, Datasets().rows_of(trained.record, task)


def score_maps(run_dir: RunDir, options: argparse.Namespace) -> None:
    """RUN/pointing.json: the cases of the fold's validation patients."""
    path = run_dir.path / "pointing.json"
    if path.exists():
        return
    task, trained, chosen = validation_rows(run_dir, options)
    found = score_run(task, trained, chosen, run_dir)
    assert not found.n_taught, "the folds are of other patients"
    drops = Deletion(found.cases, chosen.manifest, trained)
    document = [
        {
            "label": case.label,
            "path": case.path,
            "patient": case.patient,
            "scores": {
                name: {"hit": one.hit, "energy": one.energy, "ious": one.ious.tolist()}
                for name, one in case.scores.items()
            },
            **drops.of(case),
        }
        for case in found.cases
    ]
    path.write_text(json.dumps(document) + "\n")


def score_views(run_dir: RunDir, options: argparse.Namespace) -> None:
    """RUN/pointing+VIEWS.json: the same cases, their maps averaged over views of the image."""
    path = run_dir.path / f"pointing+{options.views}.json"
    if path.exists():
        return
    _, trained, chosen = validation_rows(run_dir, options)
    regions, _, _ = read_regions(Path("own"), chosen.manifest)
    row_of = {name: row for row, name in enumerate(chosen.manifest.table["path"])}
    document = json.loads((run_dir.path / "pointing.json").read_text())
    for case in document:
        row, label = row_of[case["path"]], case["label"]
        image = read_source_image(chosen.manifest, row)
        region = regions[row, label].on_square(trained.image_size, *image.shape, trained.fit)
        one = score_map(map_over_views(trained, image, label, options.views), region)
        own = {"hit": one.hit, "energy": one.energy, "ious": one.ious.tolist()}
        case["scores"][METHOD] = own
    path.write_text(json.dumps(document) + "\n")


def map_over_views(
    trained: TrainedRun, image: NDArray[np.uint8], label: str, kind: str
) -> NDArray[np.float32]:
    """(S, S) map, not negative: the mean of the signed maps of all views, each moved back."""
    side, column = trained.image_size, trained.labels.index(label)
    total = torch.zeros(1, 1, side, side)
    for view in tta_views(kind):
        pixels = to_network_input([image], trained, view)
        raw = explain_images(trained.network, pixels, [column], method=METHOD).raw
        heat = F.interpolate(torch.from_numpy(raw), (side, side), mode="bilinear")
        total += heat if view is None else moved_back(heat, view)
    return total[0, 0].clamp(min=0).numpy()


def moved_back(heat: torch.Tensor, view: NDArray[np.float32]) -> torch.Tensor:
    """A map (1, 1, S, S) of a view, from the view's places to the image's."""
    inverse = np.linalg.inv(np.vstack([view, [0, 0, 1]]))[:2].astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(inverse)[None], list(heat.shape), align_corners=False)
    return F.grid_sample(heat, grid, padding_mode="border", align_corners=False)


class Deletion:
    """How much less a label's logit is with its boxes covered, and with as much elsewhere."""

    def __init__(self, cases: Sequence[Case], manifest: Any, trained: Any) -> None:
        self.trained, self.manifest = trained, manifest
        self.row_of = {path: row for row, path in enumerate(manifest.table["path"])}
        scored = {case.patient for case in cases}
        regions, _, _ = read_regions(Path("own"), manifest)
        patients = manifest.table["patient"].tolist()
        side = trained.image_size
        density = np.zeros((side, side))
        for (row, _), region in regions.items():
            if patients[row] not in scored:
                density += region.on_square(side, side, side, "stretch")
        self.lungs = density + density[:, ::-1]

    def of(self, case: Case) -> dict[str, float | None]:
        elsewhere = self.elsewhere(case.mask)
        image = to_network_input(
            [read_source_image(self.manifest, self.row_of[case.path])], self.trained
        )
        plain = image[0, 0].numpy().astype(np.float64)
        covered = [plain, self.cover(plain, case.mask)]
        if elsewhere is not None:
            covered.append(self.cover(plain, elsewhere))
        column = self.trained.labels.index(case.label)
        with torch.inference_mode():
            pixels = torch.from_numpy(np.stack(covered)).float()[:, None]
            logits = self.trained.network(pixels)[:, column].tolist()
        return {
            "box_drop": logits[0] - logits[1],
            "elsewhere_drop": None if elsewhere is None else logits[0] - logits[2],
        }

    @staticmethod
    def cover(image: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(impute(image, mask, np.zeros_like(image)).clip(0, 255))

    def elsewhere(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """The mask moved to where it touches itself nowhere, deepest in the lungs; else None."""
        side, best, most = len(mask), None, 0.0
        step = max(side // 28, 1)
        for shape in (mask, mask[:, ::-1]):
            ys, xs = np.nonzero(shape)
            for dy in range(-int(ys.min()), side - int(ys.max()), step):
                for dx in range(-int(xs.min()), side - int(xs.max()), step):
                    if mask[ys + dy, xs + dx].any():
                        continue
                    depth = float(self.lungs[ys + dy, xs + dx].mean())
                    if depth > most:
                        most, best = depth, (ys + dy, xs + dx)
        if best is None:
            return None
        moved = np.zeros_like(mask)
        moved[best] = True
        return moved


def write_columns(options: argparse.Namespace) -> None:
    """A copy of the dataset (its images as links) with columns of `BOXED_ALONE`.

    Positive is an image with a box of the label, negative one of No Finding; else it is unknown.
    """
    source, root = options.data_dir, options.out / options.data_dir.name
    shutil.copytree(source, root, copy_function=os.link)
    boxes = pd.read_csv(source / "boxes.csv")
    for path in root.glob("*.csv"):
        table = pd.read_csv(source / path.name)
        if "No Finding" not in table:
            continue
        for label in BOXED_ALONE:
            table[label] = table["No Finding"].map({1.0: 0.0})
            table.loc[table["Path"].isin(boxes["Path"][boxes["label"] == label]), label] = 1.0
        path.unlink()  # a link: the original stays as it is
        table.to_csv(path, index=False)


# --- the table ----------------------------------------------------------------------------


def values_of(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any] | None:
    """Per label: cases in the order of their paths, and values by row of the table and metric."""
    trained, plus, views = name.partition("+")
    paths = [
        options.out / study.run_name(trained, seed, fold) / f"pointing{plus}{views}.json"
        for fold in options.folds or range(study.N_FOLDS)
    ]
    if not all(path.exists() for path in paths):
        return None
    cases = [case for path in paths for case in json.loads(path.read_text())]
    found: dict[str, Any] = {}
    for label in (*LABELS, ALL):
        own = sorted(
            (case for case in cases if case["label"] in (LABELS if label == ALL else [label])),
            key=lambda case: (case["label"], case["path"]),
        )
        if not own:
            continue
        units = number_units([case["patient"] for case in own], len(own))
        rows: dict[str, dict[str, NDArray[np.float64]]] = {}
        for row in (METHOD, *BASELINES):
            scores = [case["scores"][row] for case in own]
            ious, _ = tuned_ious(np.asarray([one["ious"] for one in scores]), units)
            rows[row] = {
                "pointing": np.asarray([one["hit"] for one in scores]),
                "iou": ious,
                "energy": np.asarray([one["energy"] for one in scores]),
            }
        drops = {
            key: np.asarray([case[key] for case in own], float)
            for key in ("box_drop", "elsewhere_drop")
        }
        found[label] = {
            "paths": [case["path"] for case in own],
            "units": units,
            "rows": rows,
            "drops": drops,
        }
    return found


class Intervals:
    """Means with 95 % intervals, from resampling the patients of a label's cases."""

    def __init__(self, units: NDArray[np.int64], n_resamples: int) -> None:
        n_units = int(units.max()) + 1
        draws = np.random.default_rng([0, n_units]).integers(0, n_units, (n_resamples, n_units))
        weights = np.stack([np.bincount(draw, minlength=n_units) for draw in draws])
        self.weights = weights[:, units].astype(float)

    def mean(self, values: NDArray[np.float64]) -> dict[str, float]:
        """NaN: a case that has no value."""
        there = ~np.isnan(values)
        weights, known = self.weights[:, there], values[there]
        samples = (weights @ known) / weights.sum(axis=1).clip(1e-9)
        low, high = np.quantile(samples, [0.025, 0.975])
        return {"value": float(known.mean()), "low": float(low), "high": float(high)}


def mean_over(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(np.stack(parts), axis=0))


def localisation(options: argparse.Namespace) -> dict[str, Any]:
    """Arm -> label -> means, differences to baselines and to `none`, the deletion test."""
    values = {
        name: {
            seed: found
            for seed in options.seeds
            if (found := values_of(name, seed, options)) is not None
        }
        for name in (f"{arm}{ending}" for arm in ARMS for ending in ("", "+jitter", "+flip"))
    }
    plain = values[options.against]
    result: dict[str, Any] = {}
    for name, of_seeds in values.items():
        if not of_seeds:
            continue
        result[name] = {"seeds": sorted(of_seeds), "labels": {}}
        for label in next(iter(of_seeds.values())):
            own = {seed: found[label] for seed, found in of_seeds.items()}
            other = {seed: plain[seed][label] for seed in own if seed in plain}
            result[name]["labels"][label] = of_label(own, other, options.resamples)
    return result


def of_label(own: Mapping[int, Any], other: Mapping[int, Any], n_resamples: int) -> dict[str, Any]:
    first = next(iter(own.values()))
    assert all(each["paths"] == first["paths"] for each in (*own.values(), *other.values()))
    intervals = Intervals(first["units"], n_resamples)

    def of(row: str, metric: str, seeds: Mapping[int, Any]) -> NDArray[np.float64]:
        return mean_over([each["rows"][row][metric] for each in seeds.values()])

    def drop(key: str, seeds: Mapping[int, Any]) -> NDArray[np.float64]:
        return mean_over([each["drops"][key] for each in seeds.values()])

    found: dict[str, Any] = {
        "n_images": len(first["paths"]),
        "n_patients": int(first["units"].max()) + 1,
        "rows": {
            row: {metric: intervals.mean(of(row, metric, own)) for metric in METRICS}
            for row in (METHOD, *BASELINES)
        },
        "to_baselines": {
            base: {
                metric: intervals.mean(of(METHOD, metric, own) - of(base, metric, own))
                for metric in METRICS
            }
            for base in BASELINES
        },
    }
    gain = drop("box_drop", own) - drop("elsewhere_drop", own)
    found["deletion"] = {
        "n_without_elsewhere": int(np.isnan(gain).sum()),
        "box": intervals.mean(drop("box_drop", own)),
        "elsewhere": intervals.mean(drop("elsewhere_drop", own)),
        "difference": intervals.mean(gain),
    }
    if other:
        common = {seed: own[seed] for seed in other}
        found["to_none"] = {
            metric: intervals.mean(of(METHOD, metric, common) - of(METHOD, metric, other))
            for metric in METRICS
        }
        more = drop("box_drop", common) - drop("elsewhere_drop", common)
        less = drop("box_drop", other) - drop("elsewhere_drop", other)
        found["deletion"]["to_none"] = intervals.mean(more - less)
    return found


def beats_all(found: Mapping[str, Any], metric: str) -> bool:
    return all(one[metric]["low"] > 0 for one in found["to_baselines"].values())


def with_interval(one: Mapping[str, float], signed: bool = False) -> str:
    form = "+.2f" if signed else ".2f"
    return f"{one['value']:{form}} ({one['low']:{form}} to {one['high']:{form}})"


def as_markdown(result: Mapping[str, Any], metric: str) -> str:
    """One metric: arms below the baselines, labels side by side; bold beats every baseline."""
    some = next(iter(result.values()))["labels"]
    heads = [f"{label} ({found['n_images']})" for label, found in some.items()]
    lines = [
        f"| {metric} | seeds | " + " | ".join(heads) + " |",
        "|---|---:|" + "---:|" * len(some),
    ]
    for base in BASELINES:
        cells = [f"{found['rows'][base][metric]['value']:.2f}" for found in some.values()]
        lines.append(f"| {base} | | " + " | ".join(cells) + " |")
    for name, entry in result.items():
        cells = []
        for found in entry["labels"].values():
            text = with_interval(found["rows"][METHOD][metric])
            text = f"**{text}**" if beats_all(found, metric) else text
            if name != "none" and "to_none" in found:
                text += f"; {with_interval(found['to_none'][metric], signed=True)}"
            cells.append(text)
        lines.append(f"| {name} | {len(entry['seeds'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def deletion_table(result: Mapping[str, Any]) -> str:
    lines = [
        "| arm | label | boxes covered | elsewhere | difference | that, less without boxes |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, entry in result.items():
        for label, of_label_ in entry["labels"].items():
            found = of_label_["deletion"]
            cells = [with_interval(found[key], signed=True) for key in ("box", "elsewhere")]
            cells.append(with_interval(found["difference"], signed=True))
            is_other = name != "none" and "to_none" in found
            cells.append(with_interval(found["to_none"], signed=True) if is_other else "")
            lines.append(f"| {name} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(options: argparse.Namespace) -> None:
    result = localisation(options)
    for metric in METRICS:
        print("\n" + as_markdown(result, metric))
    print("\nLogit less with the boxes covered, and with as much elsewhere in the lungs\n")
    print(deletion_table(result))
    document: dict[str, Any] = {"localisation": result}
    scored = {name: of for name, of in study.finished(options).items() if name in ARMS}
    if scored:
        document["auroc"] = study.summarise(scored, options)
        print("\n" + study.as_markdown(document["auroc"]))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser, runs, _ = study.commands_of(
        __doc__ or "", ARMS, seeds=[0, 1, 2], against="none", others=["columns"]
    )
    runs.add_argument("--set", action="append", default=[], help="of all arms, for a short trial")
    runs.add_argument("--tta", dest="views", default="none", choices=["none", "jitter", "flip"])
    runs.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.data_dir, options.tta = options.data_dir.resolve(), "none"
    {"run": run, "table": table, "columns": write_columns}[options.command](options)


if __name__ == "__main__":
    main()
