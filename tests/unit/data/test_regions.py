"""CheXlocalize's run lengths, against an encoder written after the COCO API's own."""

from __future__ import annotations

import json
import pickle
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import Key, Region, decode_runs, draw_runs, image_id, read_segmentations
from pulmonet.data.sources.collections import join_manifests
from pulmonet.errors import DataError


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """COCO's rleEncode, in numpy, and rleToString, transcribed."""
    changes = np.flatnonzero(np.diff(mask.T.reshape(-1), prepend=False)).tolist()
    counts = np.diff([0, *changes, mask.size]).tolist()
    text = ""
    for index, count in enumerate(counts):
        x = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text += chr((c | 0x20 if more else c) + 48)
    return text


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_masks_come_back_as_they_went(mask: NDArray[np.bool_]) -> None:
    runs = decode_runs(encode_mask(mask), mask.size)
    np.testing.assert_array_equal(draw_runs(runs, *mask.shape), mask)
    assert runs[1::2].any() == mask.any()


def test_an_empty_mask_of_the_published_files_is_read() -> None:
    """2320 x 2828 pixels in one run, as in CheXlocalize's sample."""
    assert decode_runs("PVWX6", 2320 * 2828).tolist() == [2320 * 2828]


@pytest.mark.parametrize("counts", ["PVWX", "PVWX7", "PVWX6\x10", "é"])
def test_damaged_masks_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"cut off|cover|character"):
        decode_runs(counts, 2320 * 2828)


def rows_of(paths: list[str]) -> pd.DataFrame:
    columns = dict.fromkeys(("study", "view", "sex"), "")
    table = pd.DataFrame({"path": paths, "split": "valid", "patient": paths, **columns})
    return table.assign(age_years=np.nan, Edema=np.float32(1))


def test_segmentations_are_matched_to_rows(tmp_path: Path) -> None:
    mask = np.zeros((30, 20), bool)
    mask[5:9, 3:17] = True
    nothing = encode_mask(np.zeros((30, 20), bool))
    document = {
        "patient64541_study1_view1_frontal": {
            "Airspace Opacity": {"size": [30, 20], "counts": encode_mask(mask)},
            "Edema": {"size": [30, 20], "counts": nothing},
        },
        "patient1_study1_view1_frontal": {"Edema": {"size": [30, 20], "counts": encode_mask(mask)}},
    }
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document))
    table = pd.DataFrame({"path": ["valid/x.jpg", "valid/patient64541/study1/view1_frontal.jpg"]})
    manifest = Manifest("c", tmp_path, "chexpert", (), table)

    regions, n_unmatched = read_segmentations(path, manifest)

    assert list(regions) == [(1, "Lung Opacity")]
    assert n_unmatched == 1
    on_square = regions[1, "Lung Opacity"].on_square(20, 30, 20, "stretch")
    assert on_square.sum() == pytest.approx(mask.sum() * 20 / 30, rel=0.15)

    document["patient1_study1_view1_frontal"]["Edema"]["counts"] = "!!"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="Edema: not a mask"):
        read_segmentations(path, manifest)
    path.write_text("[1]")
    with pytest.raises(DataError, match="expected a table of image ids"):
        read_segmentations(path, manifest)


def read_one(tmp_path: Path, tasks: object) -> dict[Key, Region]:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"patient1_study1_view1_frontal": tasks}))
    table = pd.DataFrame({"path": ["valid/patient1/study1/view1_frontal.jpg"]})
    return read_segmentations(path, Manifest("c", tmp_path, "chexpert", (), table))[0]


def test_the_annotators_contours_are_read_too(tmp_path: Path) -> None:
    """Two contours of one finding, points as fractions of pixels, as gt_annotations_val.json."""
    box = [[10.2, 20.1], [29.7, 20.1], [29.7, 39.8], [10.2, 39.8]]
    triangle = [[50.0, 10.0], [89.0, 10.0], [50.0, 49.0]]
    tasks = {"img_size": [60, 100], "Airspace Opacity": [box, triangle], "Edema": []}
    ((key, region),) = read_one(tmp_path, tasks).items()
    assert key == (0, "Lung Opacity")
    assert region.mask is not None
    rows, columns = np.mgrid[:60, :100]
    expected = (columns >= 10.2) & (columns <= 29.7) & (rows >= 20.1) & (rows <= 39.8)
    expected |= (columns >= 50) & (rows >= 10) & (columns - 50 + rows - 10 <= 39)
    found = region.mask()
    # the line itself belongs to it
    outline = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (found >= expected).all()
    assert (found <= outline).all()


@pytest.mark.parametrize(
    "tasks",
    [
        {"img_size": [60], "Edema": [[[1, 2], [3, 4]]]},
        {"img_size": [10**6, 10**6], "Edema": [[[1, 2], [3, 4]]]},
        {"img_size": [60, 60], "Edema": [[[1, 2, 3], [3, 4, 5]]]},
        {"img_size": [60, 60], "Edema": [[[1, float("nan")], [3, 4]]]},
        {"img_size": [60, 60], "Edema": [[[1, 1e30], [3, 4]]]},
        {"img_size": [60, 60], "Edema": {"size": [60, 60], "counts": "P"}},
        {"Edema": {"size": [10**6, 10**6], "counts": ""}},
        {"Edema": [[[1, 2], [3, 4]]]},
    ],
)
def test_what_is_no_mask_is_named(tmp_path: Path, tasks: object) -> None:
    with pytest.raises(DataError, match=r"frontal, Edema: not a mask"):
        read_one(tmp_path, tasks)


def test_masks_stay_small_in_memory(tmp_path: Path) -> None:
    """As pixels, CheXlocalize's 643 masks would fill 4 GB."""
    mask = np.zeros((2320, 2828), bool)
    mask[700:1500, 400:900] = True
    tasks = {"Edema": {"size": [2320, 2828], "counts": encode_mask(mask)}}
    (region,) = read_one(tmp_path, tasks).values()
    assert region.mask is not None
    assert len(pickle.dumps(region)) < 10_000
    np.testing.assert_array_equal(region.mask(), mask)


def test_a_hairline_mask_keeps_pixels_on_a_small_square() -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[:, 700:703] = True
    region = Region(np.zeros((0, 4)), partial(np.copy, mask))
    square = region.on_square(100, 2000, 2000, "stretch")
    assert square.any(axis=1).all()
    assert set(np.flatnonzero(square.any(axis=0))) == {35}


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_mask_of_one_pixel_is_where_a_box_of_it_is(fit: str) -> None:
    mask = np.zeros((2320, 2828), bool)
    mask[1000, 1500] = True
    box = np.array([[1500 / 2828, 1000 / 2320, 1501 / 2828, 1001 / 2320]])
    found, expected = (
        Region(boxes, drawn).on_square(64, 2320, 2828, fit)
        for boxes, drawn in ((np.zeros((0, 4)), partial(np.copy, mask)), (box, None))
    )
    assert found.sum() == 1
    np.testing.assert_array_equal(found, expected)


def test_a_mask_outside_the_crop_is_nowhere() -> None:
    """It was the whole square: pointing game and energy were perfect."""
    mask = np.zeros((300, 200), bool)
    mask[:30, 50:100] = True  # the crop takes rows 50 to 250
    region = Region(np.zeros((0, 4)), partial(np.copy, mask))
    assert not region.on_square(64, 300, 200, "crop").any()
    assert not Region(np.array([[0.25, 0, 0.5, 0.1]])).on_square(64, 300, 200, "crop").any()
    assert region.on_square(64, 300, 200, "pad").any()


def test_an_id_of_two_collections_is_refused_where_none_is_named(tmp_path: Path) -> None:
    drawn = {"img_size": [9, 9], "Edema": [[[1, 1], [5, 5], [1, 5]]]}
    parts = [
        Manifest(name, tmp_path / name, "chexpert", ("Edema",), rows_of(paths))
        for name, paths in (
            ("one", ["valid/patient1/study1/view1_frontal.jpg"]),
            ("two", ["valid/patient1/study1/view1_frontal.jpg", "valid/p2/s1/view1.jpg"]),
        )
    ]
    both, path = join_manifests(parts, ()), tmp_path / "gt.json"
    path.write_text(json.dumps({"patient1_study1_view1_frontal": drawn}))
    both_of_them = "one/valid/patient1/study1/view1_frontal.jpg, two/valid/patient1/study1/view1_f"
    with pytest.raises(DataError, match=f"may mean {both_of_them}.*; write one/patient1_study1_"):
        read_segmentations(path, both)
    document = {"one/patient1_study1_view1_frontal": drawn, "p2_s1_view1": drawn, "p3": drawn}
    path.write_text(json.dumps(document))
    regions, n_unmatched = read_segmentations(path, both)
    paths = [both.table["path"].iloc[row] for row, _ in regions]
    assert paths == ["one/valid/patient1/study1/view1_frontal.jpg", "two/valid/p2/s1/view1.jpg"]
    assert n_unmatched == 1


def test_image_ids_are_chexlocalizes() -> None:
    assert image_id("valid/patient1/study2/view1_frontal.jpg") == "patient1_study2_view1_frontal"
