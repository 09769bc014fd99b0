"""Duplicates and near-duplicates, on real X-rays and copies of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pulmonet.data.boxes import read_boxes
from pulmonet.data.duplicates import (
    MAX_HASH_DISTANCE,
    MIN_CORRELATION,
    Scan,
    decode_blocks,
    high_passed,
    near_duplicates,
    pairs_csv,
    perceptual_hash,
    read_blocks,
    same_pixels,
    scan_images,
)
from pulmonet.data.images.read import read_source_image
from pulmonet.data.images.square import fit_square
from pulmonet.data.joining import join_columns
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import read_manifest
from pulmonet.data.splits.choose import summarise
from pulmonet.data.summary import most_frequent_labels
from pulmonet.errors import DataError
from pulmonet.figures.dataset import contact_sheet, dataset_figure
from small_dataset import manifest_of, smooth_image

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def films(shared_data: Path) -> tuple[Manifest, Images]:
    """Every fourth of the real images, squared."""
    manifest = read_manifest(shared_data / "nih-cxr")
    table = manifest.table.iloc[::4].reset_index(drop=True)
    few = Manifest(manifest.name, manifest.root, manifest.source, manifest.labels, table)
    images = [fit_square(read_source_image(few, row), 256, "stretch") for row in range(len(few))]
    return few, np.stack(images)


def copies(image: Images) -> dict[str, Images]:
    """The same film, saved differently."""
    half = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return {
        "quality 50": np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8),
        "half size": np.asarray(cv2.resize(half, (256, 256)), np.uint8),
        "contrast": np.clip((image.astype(float) - 128) * 0.8 + 140, 0, 255).astype(np.uint8),
        "gamma": (255 * (image / 255.0) ** 0.7).astype(np.uint8),
    }


def scan_of(images: Images) -> Scan:
    return scan_images(read_blocks(np.arange(len(images)), lambda rows: images[rows]))


def test_different_films_are_no_near_duplicates(films: tuple[Manifest, Images]) -> None:
    manifest, images = films
    scan = scan_of(images)
    assert same_pixels(manifest, scan) == []
    assert near_duplicates(manifest, scan, lambda rows: images[rows]) == []
    distances = np.bitwise_count(scan.hashes[:, None] ^ scan.hashes[None])
    n_proposed = int((distances <= MAX_HASH_DISTANCE).sum() - len(images)) // 2
    assert n_proposed > 50  # hashes alone would accuse these


@pytest.mark.parametrize("kind", ["quality 50", "half size", "contrast", "gamma"])
def test_copies_across_splits_are_found(films: tuple[Manifest, Images], kind: str) -> None:
    manifest, images = films
    changed = images.copy()
    split = manifest.table["split"].to_numpy()
    train, valid = np.flatnonzero(split == "train")[::8], np.flatnonzero(split == "valid")
    pairs = list(zip(valid.tolist(), train.tolist(), strict=False))
    for to, source in pairs:
        changed[to] = copies(images[source])[kind]
    found = near_duplicates(manifest, scan_of(changed), lambda rows: changed[rows])
    assert {(pair.row_a, pair.row_b) for pair in found} == set(pairs)
    assert all(pair.correlation >= MIN_CORRELATION for pair in found)
    table = pd.read_csv(pd.io.common.StringIO(pairs_csv(manifest, found)))
    assert set(table["split_a"]) == {"valid"} and set(table["split_b"]) == {"train"}
    assert len(table) == len(pairs)


def test_hash_equals_a_plain_dct() -> None:
    from scipy.fft import dctn

    image = smooth_image(0, 64, 64)
    small = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    low = dctn(np.rint(small), norm="ortho")[:8, :8].ravel()
    bits = np.unpackbits(np.array([perceptual_hash(image)], np.uint64).view(np.uint8))
    assert (bits != (low > np.median(low))).sum() <= 2


def test_high_passed_pixels_have_unit_norm_and_ignore_exposure() -> None:
    image = smooth_image(1, 64, 64)
    one, other = high_passed(image, 32), high_passed((image * 0.5 + 40).astype(np.uint8), 32)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert float((one * other).sum()) > 0.99
    assert not high_passed(np.full((64, 64), 9, np.uint8), 32).any()


def test_the_same_pixels_under_two_names(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 1)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), smooth_image(seed))
    manifest = manifest_of(tmp_path, [f"{name}.png" for name in "abcde"])
    bad: dict[int, str] = {}
    scan = scan_images(decode_blocks(manifest, np.arange(5), bad))
    assert same_pixels(manifest, scan) == [[0, 2, 4]]
    assert bad == {}


def test_unreadable_rows_are_named_and_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), smooth_image(1))
    (tmp_path / "b.png").write_bytes(b"x")
    manifest = manifest_of(tmp_path, ["a.png", "b.png", "c.png"])
    bad: dict[int, str] = {}
    seen: list[int] = []
    blocks = decode_blocks(manifest, np.arange(3), bad, progress=lambda n, _: seen.append(n))
    scan = scan_images(blocks)
    assert scan.rows.tolist() == [0]
    assert sorted(bad) == [1, 2]
    assert seen == [3]
    assert len(scan_images(iter(())).rows) == 0


# --- boxes, joins, pictures ---------------------------------------------------------------


def test_boxes_of_a_boxes_csv(shared_data: Path) -> None:
    manifest = read_manifest(shared_data / "nih-cxr")
    boxes = read_boxes(manifest)
    raw = pd.read_csv(shared_data / "nih-cxr" / "boxes.csv")
    assert len(boxes) == len(raw) == 677
    assert set(boxes["path"]) <= set(manifest.table["path"])
    columns = ["xmin", "ymin", "xmax", "ymax"]
    np.testing.assert_allclose(boxes[columns].to_numpy(), raw[columns].to_numpy())


def test_nih_boxes_become_fractions(shared_data: Path) -> None:
    root = shared_data / "nih-native"
    boxes = read_boxes(read_manifest(root))
    lines = (root / "BBox_List_2017.csv").read_text().splitlines()[1:]
    expected = [line.split(",") for line in lines]
    names = {Path(path).stem for path in boxes["path"]}
    there = [cells for cells in expected if Path(cells[0]).stem in names]
    assert len(boxes) == len(there) > 5
    for (_, got), cells in zip(boxes.iterrows(), there, strict=True):
        x, y, width, height = (float(cell) / 1024 for cell in cells[2:6])
        names_here = {"Effusion": "Pleural Effusion", "Infiltrate": "Infiltration"}
        assert got["label"] == names_here.get(cells[1], cells[1])
        box = [got[name] for name in ("xmin", "ymin", "xmax", "ymax")]
        np.testing.assert_allclose(box, [x, y, x + width, y + height])


def test_vindr_boxes_become_fractions(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "aaa.png"), smooth_image(0, 100, 200))
    (tmp_path / "annotations" / "image_labels_train.csv").write_text(
        "image_id,rad_id,Cardiomegaly,No finding\naaa,R1,1,0\nbbb,R1,0,1\n"
    )
    (tmp_path / "annotations" / "annotations_train.csv").write_text(
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
        "aaa,R1,Cardiomegaly,50,20,150,80\nbbb,R1,No finding,,,,\nzzz,R1,Cardiomegaly,1,1,2,2\n"
    )
    boxes = read_boxes(read_manifest(tmp_path))
    assert boxes.to_numpy().tolist() == [["train/aaa.png", "Cardiomegaly", 0.25, 0.2, 0.75, 0.8]]


def test_wrong_boxes_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("Path,Edema\npatient1/a.jpg,1\npatient2/b.jpg,1\n")
    manifest = read_manifest(tmp_path)
    assert len(read_boxes(manifest)) == 0
    (tmp_path / "boxes.csv").write_text(
        "Path,label,xmin,ymin,xmax,ymax\npatient1/a.jpg,Edema,0.1,0.1,0.2,0.2\n"
        "patient1/a.jpg,Edema,0.5,0.1,0.2,0.2\npatient1/a.jpg,Edema,10,10,20,20\n"
    )
    with pytest.raises(DataError, match=r"2 boxes are none \(lines 3, 4\)"):
        read_boxes(manifest)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "train.csv").write_text(
        "Path,Edema\ntrain/patient1/a.jpg,1\ntrain/patient1/b.jpg,0\ntrain/patient2/c.jpg,\n"
    )
    return read_manifest(tmp_path).table


@pytest.mark.parametrize(
    "content, race, score",
    [
        ("patient,race,score\npatient1,X,1.5\npatient9,Y,2\n", ["X", "X", ""], [1.5, 1.5, np.nan]),
        ("subject_id,race,score\n1,X,\n2,Y,3\n", ["X", "X", "Y"], [np.nan, np.nan, 3]),
        ("Path,race,score\ntrain/patient1/b.jpg,X,7\n", ["", "X", ""], [np.nan, 7, np.nan]),
        ("Path,race,score\nset/train/patient1/b.jpg,X,7\n", ["", "X", ""], [np.nan, 7, np.nan]),
        ("image,race,score\nc.jpg,Z,1\na.jpg,X,2\n", ["X", "", "Z"], [2, np.nan, 1]),
        ("image_id,race,score\nc,Z,1\n", ["", "", "Z"], [np.nan, np.nan, 1]),
    ],
)
def test_columns_join_by_patient_or_image(
    tmp_path: Path, table: pd.DataFrame, content: str, race: list[str], score: list[float]
) -> None:
    (tmp_path / "more.csv").write_text(content)
    joined, notes = join_columns(table, tmp_path / "more.csv")
    assert joined["race"].tolist() == race
    np.testing.assert_array_equal(joined["score"].to_numpy(float), score)
    assert notes[0].startswith("join: more.csv gave race, score to")


@pytest.mark.parametrize(
    "content, message",
    [
        ("race\nX\n", "no column 'patient' or 'Path' to join by"),
        ("patient,race\npatient1,X\npatient1,Y\n", "1 value of 'patient' more than once"),
        ("patient,race\nsomebody,X\n", "there it is 'somebody', in the dataset 'patient1'"),
        ("patient,sex\npatient1,X\n", "column 'sex' is in the dataset already"),
    ],
)
def test_joins_that_cannot_be(
    tmp_path: Path, table: pd.DataFrame, content: str, message: str
) -> None:
    (tmp_path / "more.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        join_columns(table, tmp_path / "more.csv")


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
    pairs = [("a" * 60, images[row], "b", images[row + 1]) for row in range(3)]
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(pairs), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None and sheet.shape == (2 * 290, 4 * 260 + 12)
    np.testing.assert_array_equal(sheet[:256, :256], images[0])


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


def test_the_most_frequent_labels_in_their_order() -> None:
    def split(**positives: int) -> dict[str, Any]:
        return {"labels": {label: {"positive": n} for label, n in positives.items()}}

    splits = {"train": split(a=5, b=9, c=0, d=7), "valid": split(a=5, b=0, c=1, d=1)}
    summary = {"labels": ["a", "b", "c", "d"], "splits": splits}
    assert most_frequent_labels(summary, 2) == ["a", "b"]
    assert most_frequent_labels(summary, 3) == ["a", "b", "d"]
    assert most_frequent_labels(summary, 9) == ["a", "b", "c", "d"]
