"""Localisation scores against plain loops; baselines against what is known of real boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import Region, read_box_regions
from pulmonet.data.sources import read_manifest
from pulmonet.errors import DataError
from pulmonet.explain.checks.localization import (
    THRESHOLDS,
    MapScores,
    compare_with_baselines,
    image_centre,
    mean_box,
    prior_density,
    score_map,
    tuned_ious,
)
from pulmonet.explain.results import BASELINES
from pulmonet.metrics.estimate import Estimate


def loop_scores(
    heat: NDArray[np.floating], region: NDArray[np.bool_]
) -> tuple[float, float, list[float]]:
    """The definitions, pixel by pixel."""
    best, where, total, inside = -1.0, (0, 0), 0.0, 0.0
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            value = float(heat[row, column])
            total += value
            inside += value if region[row, column] else 0.0
            if value > best:
                best, where = value, (row, column)
    ious = []
    for threshold in THRESHOLDS:
        on = heat >= threshold * best
        ious.append(float((on & region).sum() / (on | region).sum()))
    return float(region[where]), inside / total, ious


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_the_definitions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    heat = np.maximum(generator.normal(size=(14, 11)), 0).astype(np.float32)
    region = np.zeros((14, 11), dtype=bool)
    region[3 : 5 + seed, 2:7] = True
    found = score_map(heat, region)
    hit, energy, ious = loop_scores(heat, region)
    assert found.hit == hit
    assert found.energy == pytest.approx(energy)
    np.testing.assert_allclose(found.ious, ious)


def test_a_map_of_zeros_is_a_miss() -> None:
    region = np.ones((8, 8), dtype=bool)
    found = score_map(np.zeros((8, 8)), region)
    assert (found.hit, found.energy, found.ious.max()) == (0.0, 0.0, 0.0)


def test_a_perfect_map_scores_one() -> None:
    region = np.zeros((20, 20), dtype=bool)
    region[4:9, 6:15] = True
    found = score_map(region.astype(float), region)
    assert (found.hit, found.energy, found.ious.min()) == (1.0, 1.0, 1.0)


def test_the_threshold_of_a_case_is_tuned_on_other_patients_alone() -> None:
    """Two patients that want different thresholds each get the other one's."""
    ious = np.zeros((3, len(THRESHOLDS)))
    ious[0, 2] = ious[1, 2] = 1.0  # patient a, twice
    ious[2, 9] = 1.0  # patient b
    tuned, _ = tuned_ious(ious, np.asarray([0, 0, 1]))
    np.testing.assert_array_equal(tuned, [0, 0, 0])
    agreeing, threshold = tuned_ious(np.roll(ious[[0, 1, 0]], 0, axis=0), np.asarray([0, 0, 1]))
    np.testing.assert_array_equal(agreeing, [1, 1, 1])
    assert threshold == pytest.approx(0.15)
    alone, none = tuned_ious(ious, np.zeros(3, dtype=np.int64))
    assert np.isnan(alone).all()
    assert none is None


def test_tuned_thresholds_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(1)
    ious, units = generator.random((30, len(THRESHOLDS))), generator.integers(0, 9, 30)
    units[:9] = np.arange(9)
    tuned, _ = tuned_ious(ious, units)
    for case in range(30):
        others = ious[units != units[case]]
        assert tuned[case] == ious[case, others.mean(axis=0).argmax()]


def fake_scores(hits: list[float]) -> list[MapScores]:
    return [MapScores(hit, hit / 2, np.full(len(THRESHOLDS), hit / 3)) for hit in hits]


def test_intervals_resample_patients_not_images() -> None:
    """Forty-two images of six patients are six observations: of five there is no interval."""
    hits = [1.0] * 21 + [0.0] * 21

    def pointing(patients: list[str]) -> Estimate:
        found = compare_with_baselines({"gradcam": fake_scores(hits)}, patients, pairs=[])
        return found.rows["gradcam"].pointing

    per_patient = pointing([patient for patient in "abcdef" for _ in range(7)])
    per_image = pointing([str(n) for n in range(42)])
    assert per_patient.value == per_image.value == 0.5
    assert per_patient.low is not None and 0.0 < per_patient.low < 0.2
    assert per_image.low is not None and 0.3 < per_image.low < 0.45
    few = pointing([patient for patient in "abcde" for _ in range(7)] + ["e"] * 7)
    assert (few.value, few.low, few.high) == (0.5, None, None)
    assert few.reason == "fewer than 6 patients: no interval"


def test_five_patients_that_agree_are_no_evidence() -> None:
    """With the map right and the baseline wrong on each of five, chance alone has p = 0.06."""
    for n, is_evidence in ((5, False), (6, True)):
        rows = {"gradcam": fake_scores([1.0] * n), "image centre": fake_scores([0.0] * n)}
        pairs = [("gradcam", "image centre")]
        found = compare_with_baselines(rows, [str(i) for i in range(n)], pairs=pairs)
        assert {one.distinguished for one in found.differences} == {is_evidence}
        assert binomtest(n, n).pvalue < 0.05 or not is_evidence
        assert found.winners() == ["gradcam"] * is_evidence


def test_differences_are_paired() -> None:
    """A method that is right whenever the baseline is, and more often, is told apart."""
    baseline = [1.0, 0.0, 0.0] * 20
    method = [1.0, 1.0, 0.0] * 20
    patients = [str(n) for n in range(60)]
    found = compare_with_baselines(
        {"gradcam": fake_scores(method), "image centre": fake_scores(baseline)},
        patients,
        pairs=[("gradcam", "image centre"), ("gradcam", "left out")],
    )
    (pointing,) = [d for d in found.differences if d.metric == "pointing"]
    assert pointing.difference.value == pytest.approx(1 / 3)
    assert pointing.distinguished
    same = compare_with_baselines(
        {"gradcam": fake_scores(baseline), "image centre": fake_scores(baseline)},
        patients,
        pairs=[("gradcam", "image centre"), ("gradcam", "left out")],
    )
    assert not any(d.distinguished for d in same.differences)
    assert {(d.row, d.baseline) for d in same.differences} == {("gradcam", "image centre")}


def test_baselines_that_look_at_no_image() -> None:
    left, right = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    left[2:6, 1:5] = True
    right[2:6, 3:9] = True
    density = prior_density([left, right])
    assert density[3, 4] == 1.0
    assert density[3, 1] == 0.5
    box = mean_box([left, right])
    assert np.unravel_index(box.argmax(), box.shape) == (4, 4)
    rows, columns = np.nonzero(box)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 2, 6)
    centre = image_centre(9)
    assert np.unravel_index(centre.argmax(), centre.shape) == (4, 4)
    assert centre[0, 0] == pytest.approx(0)


# --- regions --------------------------------------------------------------------------------


def test_boxes_become_the_pixels_whose_centres_they_hold() -> None:
    box = Region(np.asarray([[0.25, 0.5, 0.5, 1.0]]))
    mask = box.on_square(8, 1, 1, "stretch")
    expected = np.zeros((8, 8), bool)
    expected[4:8, 2:4] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_boxes_follow_the_square_out_of_the_image(shape: tuple[int, int], fit: str) -> None:
    """A box drawn as pixels and sent through the same geometry gives the same region."""
    from pulmonet.data.images.square import fit_square

    height, width = shape
    image = np.zeros(shape, np.uint8)
    image[90:150, 80:140] = 255
    box = Region(np.asarray([[80 / width, 90 / height, 140 / width, 150 / height]]))
    found = box.on_square(100, height, width, fit)
    expected = fit_square(image, 100, fit) > 127
    assert (found ^ expected).sum() <= 0.03 * expected.sum()


def test_a_hairline_box_keeps_a_pixel() -> None:
    assert (
        Region(np.asarray([[0.51, 0.51, 0.512, 0.512]])).on_square(32, 1, 1, "stretch").sum() == 1
    )


def manifest_of(paths: list[str], root: Path) -> Manifest:
    return Manifest(
        name="cxr", root=root, source="chexpert", labels=(), table=pd.DataFrame({"path": paths})
    )


def test_boxes_are_matched_to_rows_and_aligned_labels(tmp_path: Path) -> None:
    csv = tmp_path / "boxes.csv"
    csv.write_text(
        "Path,label,xmin,ymin,xmax,ymax\n"
        "cxr/valid/a.jpg,Effusion,0.1,0.1,0.2,0.2\n"
        "cxr/valid/a.jpg,Pleural Effusion,0.3,0.3,0.4,0.5\n"
        "cxr/train/gone.jpg,Edema,0.3,0.3,0.4,0.5\n"
    )
    regions, n_unmatched = read_box_regions(
        csv, manifest_of(["valid/a.jpg", "valid/b.jpg"], tmp_path)
    )
    assert list(regions) == [(0, "Pleural Effusion")]
    assert regions[0, "Pleural Effusion"].boxes.shape == (2, 4)
    assert n_unmatched == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Path,label,xmin,ymin,xmax\na,b,0,0,1\n", "no column 'ymax'"),
        ("Path,label,xmin,ymin,xmax,ymax\na,b,0.5,0,0.2,1\n", r"1 wrong box \(line 2\)"),
        ("Path,label,xmin,ymin,xmax,ymax\na,b,30,0,200,1\n", "fractions of the image"),
        ("Path,label,xmin,ymin,xmax,ymax\na,b,x,0,1,1\n", "fractions of the image"),
    ],
)
def test_bad_boxes_are_named(tmp_path: Path, text: str, message: str) -> None:
    csv = tmp_path / "boxes.csv"
    csv.write_text(text)
    with pytest.raises(DataError, match=message):
        read_box_regions(csv, manifest_of(["a"], tmp_path))


def test_real_priors_are_as_strong_as_known(shared_data: Path) -> None:
    """Cardiomegaly's box prior hits every time and so proves nothing; Effusion's one in three."""
    manifest = read_manifest(shared_data / "nih-cxr")
    regions, n_unmatched = read_box_regions(shared_data / "nih-cxr" / "boxes.csv", manifest)
    assert n_unmatched == 0
    valid = (manifest.table["split"] == "valid").to_numpy()
    rates = {}
    for label in ("Cardiomegaly", "Pleural Effusion"):
        masks = {key: region.on_square(112, 1, 1, "stretch") for key, region in regions.items()
                 if key[1] == label}  # fmt: skip
        density = prior_density([mask for (row, _), mask in masks.items() if not valid[row]])
        hits = [score_map(density, mask).hit for (row, _), mask in masks.items() if valid[row]]
        rates[label] = np.mean(hits)
    assert rates["Cardiomegaly"] >= 0.9
    assert 0.15 <= rates["Pleural Effusion"] <= 0.5
    assert len(BASELINES) == 4


def test_regions_beyond_the_crop_have_no_part_in_the_mean_box() -> None:
    outside, inside = np.zeros((2, 8, 8), bool)
    inside[2:6, 2:6] = True
    np.testing.assert_array_equal(mean_box([outside, inside]), mean_box([inside]))
    assert not mean_box([outside]).any()


def test_a_resample_is_averaged_over_its_own_images() -> None:
    """Patients have 1, 2, 3 ... images; what all of them share, every resample has."""
    patients = [str(n) for n in range(1, 9) for _ in range(n)]
    found = compare_with_baselines(
        {"gradcam": fake_scores([0.6] * len(patients))}, patients, pairs=[]
    )
    pointing, energy = found.rows["gradcam"].pointing, found.rows["gradcam"].energy
    assert (pointing.low, pointing.high) == pytest.approx((0.6, 0.6))
    assert (energy.low, energy.high) == pytest.approx((0.3, 0.3))
