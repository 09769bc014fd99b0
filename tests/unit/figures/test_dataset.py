"""The picture of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmonet.data.images.read import read_source_image
from pulmonet.data.images.square import fit_square
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.data.summary import summarise
from pulmonet.figures.dataset import contact_sheet, dataset_figure

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def films(shared_data: Path) -> tuple[Manifest, Images]:
    """Every fourth of the real images, squared."""
    manifest = read_manifest(shared_data / "nih-cxr")
    table = manifest.table.iloc[::4].reset_index(drop=True)
    few = Manifest(manifest.name, manifest.root, manifest.source, manifest.labels, table)
    images = [fit_square(read_source_image(few, row), 256, "stretch") for row in range(len(few))]
    return few, np.stack(images)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "train.csv").write_text(
        "Path,Edema\ntrain/patient1/a.jpg,1\ntrain/patient1/b.jpg,0\ntrain/patient2/c.jpg,\n"
    )
    return read_manifest(tmp_path).table


@pytest.fixture
def pneumonia_summary() -> dict[str, Any]:
    """As of PneumoniaMNIST: one label, and nothing known of patients or views."""
    values = {"positive": 70, "negative": 30, "uncertain": 0, "blank": 0}
    split = {
        "images": 100,
        "patients": None,
        "studies": None,
        "views": {"unknown": 100},
        "sex": {"unknown": 100},
        "age": {"median": None, "unknown": 100, "histogram": {"0-9": 0, "10-19": 0}},
        "labels": {"Pneumonia": values},
    }
    splits = {name: dict(split) for name in ("train", "valid")}
    return {"name": "x", "synthetic": False, "labels": ["Pneumonia"], "splits": splits}


def test_pictures_are_pictures(films: tuple[Manifest, Images]) -> None:
    manifest, images = films
    examples = [(f"image {row}", images[row]) for row in range(8)]
    figure = cv2.imdecode(
        np.frombuffer(dataset_figure(summarise(manifest), examples), np.uint8), cv2.IMREAD_COLOR
    )
    assert figure is not None and figure.shape[1] == 1320 and figure.std() > 20


def test_pairs_stand_side_by_side(films: tuple[Manifest, Images], drawn: list[Figure]) -> None:
    _, images = films
    pairs = [("SYNTHETIC " + "a" * 60, images[row], "日本$x$", images[row + 1]) for row in range(3)]
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(pairs), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None and sheet.shape[1] == 2160
    panels = [axes for axes in drawn[0].axes if axes.images]
    assert len(panels) == 6
    for axes, image in zip(panels, [images[n] for n in (0, 1, 1, 2, 2, 3)], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert panels[0].get_title().startswith("SYNTHETIC") and panels[1].get_title() == "日本$x$"


def test_paths_break_at_their_folders(drawn: list[Figure]) -> None:
    image = np.zeros((20, 20), np.uint8)
    first = "SYNTHETIC valid/patient00002/study1/view1_frontal.jpg"
    contact_sheet([(first, image, "train/patient00001/study1/view1_frontal.jpg r=1.000", image)])
    assert [axes.get_title() for axes in drawn[0].axes[:2]] == [
        "SYNTHETIC valid/patient00002/\nstudy1/view1_frontal.jpg",
        "train/patient00001/study1/\nview1_frontal.jpg r=1.000",
    ]


def test_a_picture_of_which_little_is_known(pneumonia_summary: dict[str, Any]) -> None:
    pictures = [dataset_figure(pneumonia_summary)]
    for split in pneumonia_summary["splits"].values():
        split["sex"] = {"unknown": 40, "Male": 60}
    pictures.append(dataset_figure(pneumonia_summary))
    sheets = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for png in pictures]
    # where nobody's sex is known no bar is drawn: the lower right corner is white but for words
    shares = [(sheet[-160:, 900:] < 255).mean() for sheet in sheets]
    assert shares[0] < 0.01
    assert shares[1] > 0.1
