"""CheXlocalize's run lengths, against an encoder written after the COCO API's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.explain.chexlocalize import decode_mask, image_id, read_segmentations


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """COCO's rleEncode and rleToString, transcribed."""
    counts, previous, length = [], False, 0
    for value in mask.T.reshape(-1):
        if value != previous:
            counts.append(length)
            length, previous = 0, bool(value)
        length += 1
    counts.append(length)
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
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *mask.shape), mask)


def test_an_empty_mask_of_the_published_files_is_read() -> None:
    """2320 x 2828 pixels in one run, as in CheXlocalize's sample."""
    assert not decode_mask("PVWX6", 2320, 2828).any()


@pytest.mark.parametrize("counts", ["PVWX", "PVWX7", "PVWX6\x10", "é"])
def test_damaged_masks_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"cut off|cover|character"):
        decode_mask(counts, 2320, 2828)


def test_segmentations_are_matched_to_rows(tmp_path: Path) -> None:
    mask = np.zeros((30, 20), bool)
    mask[5:9, 3:17] = True
    nothing = encode_mask(np.zeros((30, 20), bool))
    document = {
        "patient64541_study1_view1_frontal": {
            "Airspace Opacity": {"size": [30, 20], "counts": encode_mask(mask)},
            "Edema": {"size": [30, 20], "counts": nothing},
        },
        "patient1_study1_view1_frontal": {
            "Edema": {"size": [30, 20], "counts": encode_mask(mask)},
        },
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
    with pytest.raises(DataError, match="Edema: not a run-length encoded mask"):
        read_segmentations(path, manifest)
    path.write_text("[1]")
    with pytest.raises(DataError, match="expected a table of image ids"):
        read_segmentations(path, manifest)


def test_image_ids_are_chexlocalizes() -> None:
    assert image_id("valid/patient1/study2/view1_frontal.jpg") == "patient1_study2_view1_frontal"
