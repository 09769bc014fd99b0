"""Images found by name where the paths of a table lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.data.sources.index import (
    ImageIndex,
    absent_folders,
    image_files,
    is_image_name,
    place_images,
    rewrite_paths,
)
from pulmonet.files.paths import stem_of


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_what_is_there_needs_no_search(tmp_path: Path) -> None:
    make(tmp_path, "a/x.png", "b/x.png", "set.npz")
    places = place_images(tmp_path, ["a/x.png", "b/x.png", "", "set.npz#train/0", "gone.npz#t/1"])
    assert places.index is None and not places.moved and not places.several
    assert places.paths == ["a/x.png", "b/x.png", "", "set.npz#train/0", "gone.npz#t/1"]


def test_one_first_folder_that_the_disk_lacks_needs_no_search(tmp_path: Path) -> None:
    make(tmp_path, "train/p1/x.png", "train/p2/x.png")
    places = place_images(tmp_path, [f"C:\\set\\train\\p{n}\\x.png" for n in (1, 2)])
    assert places.index is None and places.paths == ["train/p1/x.png", "train/p2/x.png"]
    # not where the folder is there, where two rows would mean one file, or for a name too long
    make(tmp_path, "other/train/p1/y.png")
    gone, there = "other/train/p1/x.png", "train/p1/x.png"
    assert place_images(tmp_path, [gone]).paths == [gone]
    assert place_images(tmp_path, [f"set/{there}", there]).paths == [f"set/{there}", there]
    assert place_images(tmp_path, [f"a/{'b' * 300}/x.png"]).index is not None


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("train/p1/x.png", "train/p1/x.jpg"),  # another ending
        ("train/p1/x", "train/p1/x.jpg"),  # none
        ("x.dcm", "deep/below/x.png"),  # another folder
        ("x.dcm", "x.dcm.png"),  # converted, the old ending kept
        ("1.2.840.113.77", "dicom/1.2.840.113.77.dcm"),  # a UID is no ending
        ("1.2.840.113.77.dcm", "dicom/1.2.840.113.77"),
        ("images/x.png", "images_001/images/x.png"),
        ("train/p1/s1/v.jpg", "PNG/train/p1/s1/v.png"),
        ("X.PNG", "x.png"),
        ("C:\\data\\train\\p1\\x.png", "train/p1/x.png"),  # another machine
        ("/home/me/data/train/p1/x.png", "train/p1/x.png"),
        ("/home/me/Desktop/pictures/1.png", "images/1.png"),
        ("CheXpert-v1.0/train/patient7/study1/v1.jpg", "batch 2 (train 1)/patient7/study1/v1.jpg"),
        ("0/2168401113669640135_02-065.png", "images-224/2168401113669640135_02-065.png"),
        ("M\u00fcller/x.png", "Mu\u0308ller/x.png"),  # Unicode's two forms of one name
        ("valid/patient7/study1/v1.jpg", "val/patient7/study1/v1.jpg"),
    ],
)  # fmt: skip
def test_found_by_name(tmp_path: Path, path: str, file: str) -> None:
    make(tmp_path, file, "other/y.png")
    places = place_images(tmp_path, [path, "other/y.png"])
    assert places.paths == [file, "other/y.png"] and places.moved == {path: file}


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("patient2/study1/v1.jpg", ["patient1/study1/v1.jpg"]),  # another patient
        ("train/0001.png", ["test/0001.png"]),  # another split
        ("NORMAL/1.png", ["NORMAL/2.png", "PNEUMONIA/1.png"]),  # its own folder is there
        ("x.png", ["x.txt", "x.csv", "x.jpg_.gstmp", "._x.png", "__MACOSX/x.png"]),  # no images
        ("../images/x.png", ["x.png"]),  # out of the root
    ],
)
def test_another_image_is_not_taken(tmp_path: Path, path: str, files: list[str]) -> None:
    make(tmp_path, *files)
    places = place_images(tmp_path, [path])
    assert places.paths == [path] and not places.moved and not places.several


def test_two_rows_do_not_mean_one_file(tmp_path: Path) -> None:
    make(tmp_path, "here/0001.png")
    paths = ["gone/0001.png", "here/0001.png"]
    assert place_images(tmp_path, paths).paths == paths
    paths = ["gone/0001.png", "lost/0001.png"]
    assert place_images(tmp_path, paths).paths == paths
    assert place_images(tmp_path, ["gone/0001.png"]).paths == ["here/0001.png"]


def test_the_longest_tail_wins_else_both_are_named(tmp_path: Path) -> None:
    make(tmp_path, "small/a/x.jpg", "small/b/x.jpg", "large/b/x.jpg", "one/y.png", "two/y.jpg")
    places = place_images(tmp_path, ["a/x.png", "b/x.png", "y.jpg", "y"])
    assert places.paths == ["small/a/x.jpg", "b/x.png", "two/y.jpg", "y"]
    assert places.several == {
        "b/x.png": ["large/b/x.jpg", "small/b/x.jpg"],
        "y": ["one/y.png", "two/y.jpg"],
    }
    only = place_images(tmp_path, ["b/x.png"], "large")
    assert only.paths == ["large/b/x.jpg"] and not only.several


def test_thousands_of_one_stem_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [f"new/patient{p}/study{s}/view1.png" for p in range(40) for s in (1, 2)]
    index = ImageIndex(files)
    for file in files:
        assert index.find(file.removeprefix("new/").replace("png", "jpg")).files == [file]
        assert index.find("old/train/" + file.removeprefix("new/")).files == [file]
    assert not index.find("patient77/study1/view1.jpg").files
    assert not index.find("view9.jpg").files and index.n_files == 80


def test_links_are_searched_only_where_they_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "store", "x.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "store").symlink_to(tmp_path / "store")
    (root / "again").symlink_to(tmp_path / "store")
    (root / "up").symlink_to(tmp_path)  # would come back to itself
    (root / "link.png").symlink_to(tmp_path / "store" / "x.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    assert sorted(image_files(root)) == ["link.png", "loop.png"]
    assert len(list(image_files(root, follow_links=True))) == 3


def test_near_misses() -> None:
    index = ImageIndex(["images/00000001_000.png", "images/00000001_001.png", "b/x.png"])
    assert index.near("images/0000001_001.png") == "images/00000001_001.png"
    assert index.near("a/x.png") == "b/x.png"
    assert index.near("nothing like it.png") == ""


def test_names() -> None:
    assert [stem_of(path) for path in ("a/X.dcm.png", "a\\x.nii.gz", "1.2.3", ".png")] == [
        *("x", "x", "1.2.3", ".png")
    ]
    names = ["x.JPG", "IM0001", "1.2.840.5", "x.txt", "x.csv", "x.gstmp", ".hidden"]
    assert [is_image_name(name) for name in names] == [*[True] * 3, *[False] * 4]


def test_paths_rewritten_by_a_mapping() -> None:
    paths = ["/home/me/data/a/x.png", "a\\y.dcm", "z", ""]
    mapping = {"strip": "/home/me/data/", "folder": "images", "extension": ".jpg"}
    assert rewrite_paths(paths, mapping).tolist() == [
        *("images/a/x.jpg", "images/a\\y.jpg", "images/z.jpg", "")
    ]
    assert rewrite_paths(paths, {}).tolist() == paths


def test_absent_folders(tmp_path: Path) -> None:
    make(tmp_path, "files/p10/x.jpg")
    paths = ["files/p10/y.jpg", "files/p11/s1/x.jpg", "files/p11/s2/x.jpg", "other/x.jpg"]
    assert absent_folders(tmp_path, paths) == {"": 1, "files/p11": 2, "other": 1}


@pytest.mark.parametrize("path", ["", "/", ".", "\\", "..\\x.png", "../x.png", "a/../../x.png"])
def test_odd_paths_are_left_alone(tmp_path: Path, path: str) -> None:
    make(tmp_path, "x.png", "root/a/y.png", "root/a/._x.png", "root/a/x/z.png")
    root = tmp_path / "root"
    assert place_images(root, [path, "a/x.jpg"]).paths == [path, "a/x.jpg"]
    found = ImageIndex(["x.png"]).find(path).files
    assert found == (["x.png"] if path.endswith("x.png") else [])
