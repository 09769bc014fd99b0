"""`benchmarks/pointing.py`: the deletion test, maps over views, and the tables, independently."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from chexpert_factory import write_dataset
from pulmonet.data.batches.augment import apply
from run_factory import make_run

pytest.importorskip("timm", reason="its test networks are the smallest at hand")

SIDE = 32
BOX = (0.25, 1 / 3, 0.5, 2 / 3)


@pytest.fixture(scope="module")
def pointing() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        import pointing

        yield pointing


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, pointing: ModuleType) -> argparse.Namespace:
    """A run of random weights, and a dataset with a box of Edema on every image."""
    folder = tmp_path_factory.mktemp("pointing")
    data = write_dataset(folder / "tiny", n_train=6, n_valid=4)
    lines = ["Path,label,xmin,ymin,xmax,ymax"]
    for split in ("train", "valid"):
        with (data / f"{split}.csv").open() as file:
            corners = ",".join(map(str, BOX))
            lines += [f"{row['Path']},Edema,{corners}" for row in csv.DictReader(file)]
    (data / "boxes.csv").write_text("\n".join(lines) + "\n")
    make_run(folder / "out", model="timm:test_resnet", image_size=SIDE, data_dir=data, name="run")
    return argparse.Namespace(data_dir=data, out=folder / "out", views="flip", resamples=400)


def filled_by_hand(image: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """Masked pixels as the weighted mean of their neighbours, by sweeping until nothing moves."""
    found = np.where(mask, image[~mask].mean(), image).astype(np.float64)
    around = {(y, x): 1 / (6 * max(y * y + x * x, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    del around[0, 0]
    for _ in range(600):
        for row, column in zip(*np.nonzero(mask), strict=True):
            near = [
                (weight, found[row + y, column + x])
                for (y, x), weight in around.items()
                if 0 <= row + y < len(image) and 0 <= column + x < len(image)
            ]
            found[row, column] = sum(w * v for w, v in near) / sum(w for w, _ in near)
    return found


def test_a_drop_is_the_logit_less_the_logit_with_the_pixels_filled_in(
    pointing: ModuleType, options: argparse.Namespace
) -> None:
    run_dir = pointing.RunDir(options.out / "run")
    pointing.score_maps(run_dir, options)
    cases = json.loads((run_dir.path / "pointing.json").read_text())
    assert {case["label"] for case in cases} == {"Edema"} and len(cases) == 4
    _, trained, chosen = pointing.validation_rows(run_dir, options)
    mask = np.zeros((SIDE, SIDE), bool)
    centres = (np.arange(SIDE) + 0.5) / SIDE
    xs, ys = ((centres > low) & (centres < high) for low, high in (BOX[::2], BOX[1::2]))
    mask[np.ix_(ys, xs)] = True
    rows = {path: row for row, path in enumerate(chosen.manifest.table["path"])}
    case = cases[0]
    image = pointing.read_source_image(chosen.manifest, rows[case["path"]])
    plain = pointing.to_network_input([image], trained)
    covered = filled_by_hand(plain[0, 0].numpy(), mask)
    with torch.inference_mode():
        pair = torch.cat([plain.float(), torch.from_numpy(covered).float()[None, None]])
        logits = trained.network(pair)[:, trained.labels.index("Edema")]
    assert case["box_drop"] == pytest.approx(float(logits[0] - logits[1]), abs=1e-4)
    assert case["box_drop"] != 0.0


class Sum(nn.Module):
    """The logit is a sum of weighted pixels: what covering does to it can be said exactly."""

    def __init__(self, weights: NDArray[Any]) -> None:
        super().__init__()
        self.weights = torch.from_numpy(weights).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, 0] * self.weights).sum(dim=(1, 2))[:, None].expand(-1, 5)


def test_covering_a_bright_box_takes_its_light_and_elsewhere_takes_none(
    pointing: ModuleType, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an even ground, with weights in the box alone: what it was lighter, times the weights."""
    run_dir = pointing.RunDir(options.out / "run")
    _, trained, chosen = pointing.validation_rows(run_dir, options)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:16, 4:11] = True
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE)) * mask
    drawn = np.full((SIDE, SIDE), 60, np.uint8)
    drawn[12:14, 6:9] = 200  # resizing spreads it by less than the box is wider
    monkeypatch.setattr(pointing, "read_source_image", lambda *_: drawn)
    path = str(chosen.manifest.table["path"].iloc[0])
    case = pointing.Case("Edema", path, "patient", mask, {})
    drops = pointing.Deletion([case], chosen.manifest, replace(trained, network=Sum(weights)))
    found = drops.of(case)
    pixels = pointing.to_network_input([drawn], trained)[0, 0].numpy().astype(float)
    assert (pixels[~mask] == 60).all() and pixels.max() > 150
    expected = ((pixels - 60) * weights).sum()
    assert found["box_drop"] == pytest.approx(expected, rel=1e-3) and abs(expected) > 10
    assert found["elsewhere_drop"] == pytest.approx(0.0, abs=1e-2)


def test_elsewhere_is_the_deepest_place_that_touches_no_box(
    pointing: ModuleType, options: argparse.Namespace
) -> None:
    """Against every shift of the mask and of its mirror image, one by one."""
    _, trained, chosen = pointing.validation_rows(pointing.RunDir(options.out / "run"), options)
    drops = pointing.Deletion([], chosen.manifest, trained)
    rng = np.random.default_rng(1)
    drops.lungs = rng.random((SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[3:8, 2:9] = mask[20:23, 15:19] = True
    best = 0.0
    for shape in (mask, mask[:, ::-1]):
        for dy in range(-SIDE, SIDE):
            for dx in range(-SIDE, SIDE):
                moved = np.zeros_like(mask)
                for y, x in zip(*np.nonzero(shape), strict=True):
                    if 0 <= y + dy < SIDE and 0 <= x + dx < SIDE:
                        moved[y + dy, x + dx] = True
                if moved.sum() == mask.sum() and not (moved & mask).any():
                    best = max(best, float(drops.lungs[moved].mean()))
    found = drops.elsewhere(mask)
    assert found.sum() == mask.sum() and not (found & mask).any()
    assert drops.lungs[found].mean() == pytest.approx(best)
    assert drops.elsewhere(np.ones((SIDE, SIDE), bool)) is None


def test_a_map_of_a_mirrored_view_is_moved_back(
    pointing: ModuleType, options: argparse.Namespace
) -> None:
    """The mean of the map and of the mirrored image's map, mirrored; jitter's views move little."""
    _, trained, chosen = pointing.validation_rows(pointing.RunDir(options.out / "run"), options)
    image = pointing.read_source_image(chosen.manifest, 0)
    column = [trained.labels.index("Edema")]
    maps = []
    for pixels in (image, np.ascontiguousarray(image[:, ::-1])):
        given = pointing.to_network_input([pixels], trained)
        raw = pointing.explain_images(trained.network, given, column).raw
        large = nn.functional.interpolate(torch.from_numpy(raw), (SIDE, SIDE), mode="bilinear")
        maps.append(large[0, 0].numpy())
    expected = np.maximum(maps[0] + maps[1][:, ::-1], 0)
    found = pointing.map_over_views(trained, image, "Edema", "flip")
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_each_view_of_jitter_is_moved_back_to_where_it_was(pointing: ModuleType) -> None:
    """A bright square, through a view and back, lies where it lay; through the view it did not."""
    image = torch.zeros(1, 1, 56, 56, dtype=torch.uint8)
    image[..., 6:14, 40:50] = 255
    for view in pointing.tta_views("jitter")[1:]:
        seen = apply(image, view, 56).float()
        back = pointing.moved_back(seen, view)
        errors = [float((one - image.float()).abs().mean()) for one in (seen, back)]
        assert errors[1] < 1.5 < 2 * errors[1] < errors[0]


def test_the_tables_are_means_over_seeds_and_paired_differences(
    pointing: ModuleType, tmp_path: Path
) -> None:
    """Two arms, two seeds, five folds of numbers by lot, against loops over the written files."""
    rng = np.random.default_rng(3)
    written: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for arm in ("none", "boxes"):
        for seed in (0, 1):
            for fold in range(5):
                cases = [
                    {
                        "label": "Edema",
                        "path": f"{fold}-{number}",
                        "patient": f"{fold}-{number // 2}",
                        "scores": {
                            row: {
                                "hit": float(rng.integers(2)),
                                "energy": rng.random(),
                                "ious": rng.random(19).tolist(),
                            }
                            for row in (pointing.METHOD, *pointing.BASELINES)
                        },
                        "box_drop": rng.normal(),
                        "elsewhere_drop": None if number == 3 else rng.normal(),
                    }
                    for number in range(6)
                ]
                run_dir = tmp_path / pointing.study.run_name(arm, seed, fold)
                run_dir.mkdir()
                (run_dir / "pointing.json").write_text(json.dumps(cases))
                written.setdefault((arm, seed), []).extend(cases)
    words = ["table", "--data-dir", "d", "--out", str(tmp_path), "--seeds", "0", "1"]
    parser, _, _ = pointing.study.commands_of("A study.", pointing.ARMS, seeds=[0], against="none")
    options = parser.parse_args([*words, "--resamples", "2000"])
    found = pointing.localisation(options)
    assert list(found) == ["none", "boxes"]
    own = found["boxes"]["labels"]["Edema"]
    assert (own["n_images"], own["n_patients"]) == (30, 15)

    def mean_of(arm: str, value: Any) -> dict[str, float]:
        """Path -> mean over the seeds."""
        paths = [case["path"] for case in written[arm, 0]]
        return {
            path: np.mean([value(c) for s in (0, 1) for c in written[arm, s] if c["path"] == path])
            for path in paths
        }

    def hit(case: dict[str, Any]) -> float:
        return float(case["scores"][pointing.METHOD]["hit"])

    def gain(case: dict[str, Any]) -> float:
        away = case["elsewhere_drop"]
        return case["box_drop"] - away if away is not None else float("nan")

    hits, before = mean_of("boxes", hit), mean_of("none", hit)
    assert own["rows"][pointing.METHOD]["pointing"]["value"] == pytest.approx(
        np.mean([*hits.values()])
    )
    pairs = {path: hits[path] - before[path] for path in hits}
    assert own["to_none"]["pointing"]["value"] == pytest.approx(np.mean([*pairs.values()]))
    gains = {path: gained for path, gained in mean_of("boxes", gain).items() if np.isfinite(gained)}
    less = mean_of("none", gain)
    deletion = own["deletion"]
    assert deletion["n_without_elsewhere"] == 5 and len(gains) == 25
    assert deletion["difference"]["value"] == pytest.approx(np.mean([*gains.values()]))
    more = [gains[path] - less[path] for path in gains]
    assert deletion["to_none"]["value"] == pytest.approx(np.mean(more))
    # the interval, by whole patients drawn with another generator
    patients = sorted({path.partition("-")[0] + str(int(path[-1]) // 2) for path in pairs})
    of_patient = {name: [v for p, v in pairs.items() if p[0] + str(int(p[-1]) // 2) == name]
                  for name in patients}  # fmt: skip
    samples = [
        np.mean(np.concatenate([of_patient[name] for name in rng.choice(patients, len(patients))]))
        for _ in range(4000)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    assert own["to_none"]["pointing"]["low"] == pytest.approx(low, abs=0.03)
    assert own["to_none"]["pointing"]["high"] == pytest.approx(high, abs=0.03)
    words = pointing.deletion_table(found)
    assert f"{deletion['difference']['value']:+.2f}" in words
