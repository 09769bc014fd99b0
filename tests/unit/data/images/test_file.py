"""Files inside the dataset root, read while at rest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pulmonet.data.images.file import inside_root
from pulmonet.data.images.read import read_file, read_source_image
from pulmonet.data.pack.open import open_pack
from pulmonet.errors import DataError
from small_dataset import manifest_of, smooth_image

IMAGE = smooth_image(3, 60, 72)


@pytest.mark.parametrize(
    "path", ["../x.png", "/etc/passwd", "a/../../x.png", "link.png", "out/x.png"]
)
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    (root / "link.png").symlink_to(tmp_path / "x.png")
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leaves the dataset root"):
        inside_root(root, path)
    with pytest.raises(DataError, match="leaves the dataset root"):
        read_source_image(manifest_of(root, [path]), 0)


@pytest.mark.parametrize("path", ["link.png", "out/x.png"])
def test_links_out_of_the_root_are_followed_where_that_is_allowed(
    tmp_path: Path, path: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    np.savez(tmp_path / "set.npz", train_images=IMAGE[None])
    (root / "link.png").symlink_to(tmp_path / "x.png")
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(DataError, match="--follow-links allows that"):
        inside_root(root, path)
    manifest = replace(manifest_of(root, [path, "out/set.npz#train/0"]), follow_links=True)
    assert inside_root(root, path, follow_links=True) == root / path
    for row in (0, 1):
        np.testing.assert_array_equal(read_source_image(manifest, row), IMAGE)
    assert len(open_pack(manifest, [0, 1], image_size=64).read([0, 1])) == 2
    for outside in ("../x.png", "/etc/passwd", "a/../../x.png"):
        with pytest.raises(DataError, match=r"root .*; paths must stay below it"):
            inside_root(root, outside, follow_links=True)


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    np.testing.assert_array_equal(read_source_image(manifest_of(tmp_path, ["link.png"]), 0), IMAGE)


def test_a_pipe_or_a_folder_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"pipe\.png: cannot be read \(not a plain file\)"):
        read_source_image(manifest_of(tmp_path, ["pipe.png"]), 0)
    with pytest.raises(DataError, match=r"folder\.png: cannot be read \(Is a directory\)"):
        read_source_image(manifest_of(tmp_path, ["folder.png"]), 0)


def test_a_network_folder_that_gives_a_file_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE)
    genuine = os.read
    monkeypatch.setattr(os, "read", lambda handle, n_bytes: genuine(handle, min(n_bytes, 100)))
    np.testing.assert_array_equal(read_source_image(manifest_of(tmp_path, ["x.png"]), 0), IMAGE)


def test_a_hash_in_a_file_name_is_no_npz(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "film#2.png"), IMAGE)
    np.testing.assert_array_equal(
        read_source_image(manifest_of(tmp_path, ["film#2.png"]), 0), IMAGE
    )


def test_a_file_larger_than_any_image_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes would take the memory of all others: 40 GB that are no file's size on the disk."""
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(40 * 2**30)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(DataError, match=r"x\.png: cannot be read \(larger than 2 GB\)"):
        read_source_image(manifest_of(tmp_path, ["x.png"]), 0)
    with pytest.raises(DataError, match=r"x\.png: cannot be read \(larger than 2 GB\)"):
        read_file(tmp_path / "x.png")
