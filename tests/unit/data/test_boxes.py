"""Boxes of every source as fractions of the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pulmonet.config.load import parse_config
from pulmonet.data.boxes import read_boxes
from pulmonet.data.images.read import image_size
from pulmonet.data.manifest import Manifest
from pulmonet.data.regions import read_box_regions
from pulmonet.data.sources import read_manifest
from pulmonet.data.sources.collections import join_manifests
from pulmonet.errors import DataError
from pulmonet.flows.train.boxes import find_boxes
from small_dataset import smooth_image, write_picture, write_text


def test_boxes_of_a_boxes_csv(shared_data: Path) -> None:
    manifest = read_manifest(shared_data / "nih-cxr")
    boxes = read_boxes(manifest)
    raw = pd.read_csv(shared_data / "nih-cxr" / "boxes.csv")
    assert len(boxes) == len(raw) == 677
    assert set(boxes["path"]) <= set(manifest.table["path"])
    columns = ["xmin", "ymin", "xmax", "ymax"]
    np.testing.assert_allclose(boxes[columns].to_numpy(), raw[columns].to_numpy())


def test_several_collections_have_the_boxes_of_each(shared_data: Path) -> None:
    """Of one with a boxes.csv, one with NIH's list, and one without any."""
    names = ("nih-cxr", "nih-native", "nih-cxr-more")
    parts = [read_manifest(shared_data / name) for name in names]
    whole = join_manifests(parts, ())
    boxes = read_boxes(whole)
    alone = {part.name: read_boxes(part) for part in parts}
    assert [len(one) > 0 for one in alone.values()] == [True, True, False]
    for name, own in alone.items():
        here = boxes[boxes["path"].str.startswith(f"{name}/")].reset_index(drop=True)
        expected = own.assign(path=f"{name}/" + own["path"])
        if len(own):
            pd.testing.assert_frame_equal(here, expected)
    assert len(boxes) == sum(map(len, alone.values()))
    assert set(boxes["path"]) <= set(whole.table["path"])


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
    with pytest.raises(DataError, match=r"2 wrong boxes \(lines 3, 4\); xmin < xmax"):
        read_boxes(manifest)
    (tmp_path / "boxes.csv").write_text("Path,label,xmin,ymin,xmax,ymax\na.jpg,Edema,1,1,0,0\n")
    with pytest.raises(DataError, match=r"1 wrong box \(line 2\)"):
        read_boxes(manifest)


def test_boxes_of_images_that_were_found_by_name(tmp_path: Path) -> None:
    header = "Path,patient,Edema\n"
    write_text(
        tmp_path / "train.csv", header + "".join(f"a/{n}.dcm,p{n},{n % 2}\n" for n in range(4))
    )
    for n in range(4):
        write_picture(tmp_path / "a" / f"{n}.png", n)
    lines = [f"a/{n}.dcm,Edema,0.1,0.1,0.5,0.5" for n in range(4)] + ["b/9.png,Edema,0,0,1,1"]
    lines.append("b/1.png,Edema,0,0,1,1")  # another image of the same name
    write_text(tmp_path / "boxes.csv", "Path,label,xmin,ymin,xmax,ymax\n" + "\n".join(lines) + "\n")
    boxes = read_boxes(read_manifest(tmp_path))
    assert boxes["path"].tolist() == [*(f"a/{n}.png" for n in range(4)), "b/9.png", "b/1.png"]


def two_collections(tmp_path: Path, others: tuple[str, ...] = ("a", "c")) -> Manifest:
    """`one` with the images a and b, `two` with a and c, each in valid/."""
    for name, images in (("one", ("a", "b")), ("two", others)):
        lines = [f"valid/{image}.png,{name}-{image},1" for image in images]
        write_text(tmp_path / name / "valid.csv", "\n".join(["Path,patient,Edema", *lines]) + "\n")
        for number, image in enumerate(images):
            write_picture(tmp_path / name / "valid" / f"{image}.png", number)
    return join_manifests([read_manifest(tmp_path / name) for name in ("one", "two")], ())


def test_a_table_of_several_collections_by_their_names(tmp_path: Path) -> None:
    """Lines of two/ were taken for one's images of the same path, or left out."""
    manifest, path = two_collections(tmp_path), tmp_path / "b.csv"
    names = ["two/valid/a.png", "one/valid/a.png", "two/valid/b.png", "valid/c.png"]
    names += [f"{tmp_path}/two/valid/c.png", "two\\valid\\c.png", "one/valid/c.png"]
    lines = [f"{name},Edema,0,0,0.{number + 1},1" for number, name in enumerate(names)]
    path.write_text("\n".join(["Path,label,xmin,ymin,xmax,ymax", *lines]) + "\n")
    boxes = read_boxes(manifest, path)
    found = ["two/valid/a.png", "one/valid/a.png", *["two/valid/c.png"] * 3]
    assert boxes["path"].tolist() == [*found, "", ""], "in the table's order, then those of none"
    assert boxes["xmax"].tolist() == [0.1, 0.2, 0.4, 0.5, 0.6, 0.3, 0.7]
    regions, n_unmatched = read_box_regions(path, manifest)
    assert len(regions) == 3
    assert n_unmatched == 2
    path.write_text("Path,label,xmin,ymin,xmax,ymax\nvalid/a.png,Edema,0,0,1,1\n")
    with pytest.raises(DataError, match=r"line 2 may mean one/valid/a.png, two/valid/a.png; write"):
        read_boxes(manifest, path)
    path.write_text("Path,label,xmin,ymin,xmax,ymax\none/valid/a.png,Edema,0,0,9,9\n")
    warnings: list[str] = []
    read_boxes(manifest, path, warnings)
    assert [text.partition(" left")[0] for text in warnings] == [f"{path}: 1 wrong box (line 2)"]


def test_boxes_in_pixels_of_several_collections(tmp_path: Path) -> None:
    """The size of a picture was looked for in a folder that is none, and all boxes vanished."""
    manifest, path = two_collections(tmp_path), tmp_path / "b.csv"
    height, width = image_size(tmp_path / "two" / "valid" / "c.png")
    lines = [f"{name},Edema,0,0,{width / 2},{height}" for name in ("c", "two/valid/a", "valid/b")]
    path.write_text("\n".join(["image_id,class_name,x_min,y_min,x_max,y_max", *lines]) + "\n")
    boxes = read_boxes(manifest, path)
    assert boxes["path"].tolist() == ["two/valid/c.png", "two/valid/a.png", "one/valid/b.png"]
    assert boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist() == [[0, 0, 0.5, 1]] * 3


def test_padded_pictures_of_several_collections_teach_by_their_size(tmp_path: Path) -> None:
    manifest, path = two_collections(tmp_path), tmp_path / "b.csv"
    path.write_text("Path,label,xmin,ymin,xmax,ymax\ntwo/valid/c.png,Edema,0,0,1,1\n")
    given = {"data": {"fit": "pad"}, "pointing": {"boxes": str(path)}}
    found = find_boxes(manifest, parse_config(given), np.arange(4), ("Edema",))
    assert found is not None
    ((_, _, height, width),) = found.of_row[3]
    assert (height, width) == image_size(tmp_path / "two" / "valid" / "c.png")


def test_boxes_have_the_label_of_the_dataset_however_it_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "train.csv", "Path,patient,Small Scar\na.png,1,1\nb.png,2,0\n")
    write_picture(tmp_path / "a.png")
    lines = [f"a.png,{name},0.1,0.1,0.5,0.5" for name in ("small_scar", "effusion", "Other")]
    write_text(tmp_path / "boxes.csv", "\n".join(["Path,label,xmin,ymin,xmax,ymax", *lines]) + "\n")
    boxes = read_boxes(read_manifest(tmp_path))
    assert boxes["label"].tolist() == ["Small Scar", "Pleural Effusion", "Other"]
