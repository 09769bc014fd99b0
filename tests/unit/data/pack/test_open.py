"""The pack: decoded once, on demand, checked at every read, never trusted blindly."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pulmonet.data.images import file as image_file
from pulmonet.data.images.file import stat_sources
from pulmonet.data.images.square import pack_side
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack import files as pack_files
from pulmonet.data.pack import write as pack_writing
from pulmonet.data.pack.open import cache_dir, decoding_threads, open_pack
from pulmonet.errors import DataError
from small_dataset import manifest_of, smooth_image, write_dataset

SIDE = 256


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_dataset(tmp_path / "tiny")


def reference(manifest: Manifest, row: int) -> np.ndarray:
    image = cv2.imread(str(manifest.root / manifest.table["path"][row]), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def references(manifest: Manifest) -> np.ndarray:
    return np.stack([reference(manifest, row) for row in range(len(manifest))])


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(root: Path, path: str) -> np.ndarray:
        raise AssertionError(f"{path} decoded again")

    monkeypatch.setattr(pack_writing, "read_image", refuse)


def flip_byte(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


@pytest.mark.parametrize(
    ("image_size", "side"),
    [(32, 256), (224, 256), (225, 258), (320, 366), (448, 512), (1024, 1171)],
)
def test_side(image_size: int, side: int) -> None:
    assert pack_side(image_size) == side


def test_rows_are_the_images_squared(manifest: Manifest) -> None:
    rows = np.random.default_rng(0).permutation(len(manifest))
    pack = open_pack(manifest, rows)
    np.testing.assert_array_equal(pack.read(rows), references(manifest)[rows])
    np.testing.assert_array_equal(pack.read([3, 3, 1]), references(manifest)[[3, 3, 1]])
    assert pack.side == SIDE
    assert pack.n_decoded == len(manifest)
    assert pack.n_repaired == 0
    assert pack.bad_rows == {}


def test_files_are_what_the_design_says(manifest: Manifest) -> None:
    pack = open_pack(manifest, range(len(manifest)))
    assert pack.folder == cache_dir() / "packs" / pack.key
    images = np.load(pack.folder / "images.npy", mmap_mode="r")
    assert (images.dtype, images.shape) == (np.uint8, (40, SIDE, SIDE))
    np.testing.assert_array_equal(images, references(manifest))
    checksums = np.load(pack.folder / "checksums.npy")
    assert checksums.dtype == np.uint32
    assert checksums.tolist() == [zlib.crc32(image.tobytes()) for image in images]
    index = pd.read_csv(pack.folder / "index.csv")
    assert index["Path"].tolist() == manifest.table["path"].tolist()
    sources = np.load(pack.folder / "sources.npy")
    for (size, mtime_ns, remark), path in zip(sources, index["Path"], strict=True):
        found = (manifest.root / path).stat()
        assert (size, mtime_ns, remark) == (found.st_size, found.st_mtime_ns, 0)
    facts = json.loads((pack.folder / "pack.json").read_text("utf-8"))
    geometry = {"side": 256, "fit": "stretch", "n_rows": 40}
    assert facts == {"version": 2, "key": pack.key, "root": str(manifest.root), **geometry}


def test_only_rows_asked_for_are_decoded(manifest: Manifest) -> None:
    pack = open_pack(manifest, [7, 2, 30])
    checksums = np.load(pack.folder / "checksums.npy")
    assert np.flatnonzero(checksums).tolist() == [2, 7, 30]
    with pytest.raises(ValueError, match="not opened for"):
        pack.read([3])
    with pytest.raises(ValueError, match="not opened for"):
        pack.read([-1])
    more = open_pack(manifest, [2, 3])
    assert more.n_decoded == 1
    assert more.key == pack.key
    np.testing.assert_array_equal(more.read([3]), references(manifest)[[3]])


def test_a_second_opening_decodes_nothing(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_pack(manifest, range(40))
    forbid_decoding(monkeypatch)
    calls: list[tuple[int, int]] = []
    pack = open_pack(manifest, range(40), progress=lambda *args: calls.append(args))
    assert pack.n_decoded == 0
    assert calls == []
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))


def test_progress_reaches_the_total(manifest: Manifest) -> None:
    calls: list[tuple[int, int]] = []
    open_pack(manifest, range(40), progress=lambda *args: calls.append(args))
    assert calls[-1] == (40, 40)
    assert calls == sorted(calls)


def test_an_edited_label_repacks_nothing(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = open_pack(manifest, range(40)).key
    forbid_decoding(monkeypatch)
    edited = manifest_of(manifest.root, manifest.table["path"].tolist())
    edited.table["Edema"] = 1.0
    assert open_pack(edited, range(40)).key == key


def test_a_changed_image_is_decoded_again_and_only_it(manifest: Manifest) -> None:
    open_pack(manifest, range(40))
    cv2.imwrite(str(manifest.root / manifest.table["path"][5]), smooth_image(999))
    pack = open_pack(manifest, range(40))
    assert pack.n_decoded == 1
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))


def test_other_geometry_and_other_root_are_other_packs(manifest: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "tiny"
    shutil.copytree(manifest.root, copy)
    elsewhere = manifest_of(copy, manifest.table["path"].tolist())
    keys = {
        open_pack(manifest, [0]).key,
        open_pack(manifest, [0], image_size=320).key,
        open_pack(manifest, [0], fit="crop").key,
        open_pack(manifest, [0], fit="pad").key,
        open_pack(elsewhere, [0]).key,
    }
    assert len(keys) == 5
    assert open_pack(manifest, [0], image_size=96).key in keys


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_fit(manifest: Manifest, fit: str) -> None:
    image = open_pack(manifest, [4], fit=fit).read([4])[0]
    np.testing.assert_array_equal(image, pack_writing.fit_square(smooth_image(4), SIDE, fit))


def test_a_flipped_byte_is_noticed_and_repaired(manifest: Manifest) -> None:
    pack = open_pack(manifest, range(40))
    offset = (pack.folder / "images.npy").stat().st_size - 40 * SIDE**2
    flip_byte(pack.folder / "images.npy", offset + 12 * SIDE**2 + 777)
    assert not np.array_equal(np.load(pack.folder / "images.npy")[12], reference(manifest, 12))
    np.testing.assert_array_equal(pack.read([11, 12, 13]), references(manifest)[11:14])
    assert pack.n_repaired == 1
    np.testing.assert_array_equal(np.load(pack.folder / "images.npy"), references(manifest))
    pack.read(range(40))
    assert pack.n_repaired == 1


@pytest.mark.parametrize("name", ["images.npy", "checksums.npy", "sources.npy"])
@pytest.mark.parametrize("damage", ["byte", "header", "cut", "empty", "gone", "longer"])
def test_any_damage_ends_in_the_right_pixels(manifest: Manifest, name: str, damage: str) -> None:
    folder = open_pack(manifest, range(40)).folder
    path = folder / name
    whole = path.read_bytes()
    if damage == "byte":
        flip_byte(path, len(whole) - (13 if name == "sources.npy" else 5))  # of the last time
    elif damage == "header":
        flip_byte(path, 20)
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) * 2 // 3])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole + b"more")
    pack = open_pack(manifest, range(40))
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))
    np.testing.assert_array_equal(np.load(folder / "images.npy"), references(manifest))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["index.csv", "pack.json"])
def test_a_lost_text_file_comes_back(
    manifest: Manifest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_pack(manifest, range(40)).folder
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    forbid_decoding(monkeypatch)
    open_pack(manifest, range(40))
    assert (folder / name).read_bytes() == content


def test_a_cut_file_is_packed_again_at_once_not_row_by_row(manifest: Manifest) -> None:
    folder = open_pack(manifest, range(40)).folder
    size = (folder / "images.npy").stat().st_size
    os.truncate(folder / "images.npy", size - 10 * SIDE**2 - 5)
    pack = open_pack(manifest, range(40))
    assert pack.n_decoded == 11
    pack.read(range(40))
    assert pack.n_repaired == 0


def test_damage_while_the_source_is_gone_names_the_image(manifest: Manifest) -> None:
    pack = open_pack(manifest, range(40))
    flip_byte(pack.folder / "images.npy", (pack.folder / "images.npy").stat().st_size - 9)
    (manifest.root / manifest.table["path"][39]).unlink()
    with pytest.raises(DataError, match=r"view9\.png"):
        pack.read([39])
    np.testing.assert_array_equal(pack.read([38]), references_of(manifest, [38]))


def references_of(manifest: Manifest, rows: list[int]) -> np.ndarray:
    return np.stack([reference(manifest, row) for row in rows])


def test_bad_images_are_all_counted_and_the_rest_is_packed(manifest: Manifest) -> None:
    paths = [manifest.root / path for path in manifest.table["path"]]
    paths[3].write_bytes(b"")
    paths[9].write_bytes(b"not an image")
    paths[20].unlink()
    with pytest.raises(DataError, match=r"3 images cannot be used: .*view3.*--skip-bad"):
        open_pack(manifest, range(40))
    pack = open_pack(manifest, range(40), skip_bad=True)
    assert sorted(pack.bad_rows) == [3, 9, 20]
    assert "view9.png" in pack.bad_rows[9]
    assert pack.n_decoded == 0
    with pytest.raises(ValueError, match="bad ones"):
        pack.read([9])
    good = [row for row in range(40) if row not in pack.bad_rows]
    np.testing.assert_array_equal(pack.read(good), references_of(manifest, good))
    for row in (3, 9, 20):
        cv2.imwrite(str(paths[row]), smooth_image(row))
    assert open_pack(manifest, range(40)).n_decoded == 3


def test_one_bad_image_says_its_own_reason(manifest: Manifest) -> None:
    (manifest.root / manifest.table["path"][0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"view0\.png.*--skip-bad"):
        open_pack(manifest, [0, 1])


def test_an_image_that_changes_while_it_is_read(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest.root / manifest.table["path"][0]
    genuine = os.read
    n_changes = 0

    def read_and_change(handle: int, n_bytes: int) -> bytes:
        nonlocal n_changes
        content = genuine(handle, n_bytes)
        if n_changes:
            n_changes -= 1
            cv2.imwrite(str(path), smooth_image(500 + n_changes))
            os.utime(path, ns=(n_changes, n_changes))
        return content

    monkeypatch.setattr(os, "read", read_and_change)
    n_changes = 2
    pack = open_pack(manifest, [0])
    np.testing.assert_array_equal(pack.read([0]), references_of(manifest, [0]))
    n_changes = 100
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="changes while it is read"):
        open_pack(manifest, [0])


def test_an_image_that_is_replaced_once_it_is_read(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row remembers the file that it came from, not the one that lies there now."""
    path = manifest.root / manifest.table["path"][0]
    genuine = pack_writing.fit_square

    def replace_and_fit(image: np.ndarray, side: int, fit: str, out: np.ndarray) -> np.ndarray:
        cv2.imwrite(str(path.with_name("new.png")), smooth_image(77))
        path.with_name("new.png").replace(path)
        return genuine(image, side, fit, out)

    before = references_of(manifest, [0])
    with monkeypatch.context() as patch:
        patch.setattr(pack_writing, "fit_square", replace_and_fit)
        pack = open_pack(manifest, [0])
    np.testing.assert_array_equal(pack.read([0]), before)
    pack = open_pack(manifest, [0])
    assert pack.n_decoded == 1
    np.testing.assert_array_equal(pack.read([0]), references_of(manifest, [0]))


def full_disk(monkeypatch: pytest.MonkeyPatch, after_bytes: int) -> None:
    genuine = os.pwrite
    written = 0

    def pwrite(handle: int, data: Any, offset: int) -> int:
        nonlocal written
        if len(data) < SIDE**2:  # checksums and sources have their disk blocks
            return genuine(handle, data, offset)
        written += len(data)
        if written > after_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return genuine(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)


def test_a_full_disk_keeps_what_is_packed(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulmonet.data.pack.files.BLOCK_BYTES", 4 * SIDE**2)
    with monkeypatch.context() as patch:
        full_disk(patch, 14 * SIDE**2)
        with pytest.raises(DataError, match=r"disk is full.*PULMONET_CACHE_DIR"):
            open_pack(manifest, range(40), num_workers=1)  # of several, any could be the last
    pack = open_pack(manifest, range(40))
    assert pack.n_decoded == 28
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))


def test_a_disk_too_small_is_noticed_before_hours_are_spent(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = os.statvfs

    def almost_full(path: Any) -> os.statvfs_result:
        values = list(genuine(path))
        values[4] = 1  # f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", almost_full)
    with pytest.raises(DataError, match=r"needed to pack 40 images.*PULMONET_CACHE_DIR"):
        open_pack(manifest, range(40))


def test_repair_on_a_full_disk_still_serves_the_row(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = open_pack(manifest, range(40))
    flip_byte(pack.folder / "images.npy", (pack.folder / "images.npy").stat().st_size - 9)
    full_disk(monkeypatch, 0)
    np.testing.assert_array_equal(pack.read([39]), references_of(manifest, [39]))


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every opening for writing, as a read-only file system does, to root as well."""
    genuine = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, **kwargs: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return genuine(path, flags, mode, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


def test_a_read_only_cache_serves_a_complete_pack(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_pack(manifest, range(30)).folder
    flip_byte(folder / "images.npy", 5_000)
    read_only(monkeypatch)
    pack = open_pack(manifest, range(30))
    np.testing.assert_array_equal(pack.read(range(30)), references(manifest)[:30])
    assert pack.n_repaired == 1
    with pytest.raises(DataError, match=r"cannot be written.*PULMONET_CACHE_DIR"):
        open_pack(manifest, range(40))


def test_a_cache_folder_that_is_a_file(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written.*PULMONET_CACHE_DIR"):
        open_pack(manifest, [0])


def test_several_threads_read_and_repair(manifest: Manifest) -> None:
    pack = open_pack(manifest, range(40))
    offset = (pack.folder / "images.npy").stat().st_size - 40 * SIDE**2
    for row in range(0, 40, 2):
        flip_byte(pack.folder / "images.npy", offset + row * SIDE**2 + row)
    expected = references(manifest)
    with ThreadPoolExecutor(4) as pool:
        for images in pool.map(lambda _: pack.read(range(40)), range(8)):
            np.testing.assert_array_equal(images, expected)
    assert pack.n_repaired == 20


def test_many_threads_have_work_although_large_squares_make_small_blocks(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_files, "BLOCK_BYTES", 2 * SIDE**2)
    genuine = pack_writing.decode_row
    first_of_a_thread = threading.local()
    together = threading.Barrier(8, timeout=60)

    def decode_together(files: pack_files.PackFiles, row: int, out: np.ndarray) -> tuple[int, int]:
        if not hasattr(first_of_a_thread, "done"):
            together.wait()  # only eight threads at once get beyond it
            first_of_a_thread.done = True
        return genuine(files, row, out)

    monkeypatch.setattr(pack_writing, "decode_row", decode_together)
    pack = open_pack(manifest, range(40), num_workers=8)
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))


@pytest.mark.parametrize(("processes", "expected"), [(None, 6), ("2", 3), ("50", 1), ("x", 6)])
def test_threads_are_shared_by_the_processes_of_a_node(
    processes: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert decoding_threads() == expected


def test_rows_outside_the_manifest(manifest: Manifest) -> None:
    with pytest.raises(ValueError, match=r"rows outside 0\.\.39"):
        open_pack(manifest, [40])


def test_no_rows(manifest: Manifest) -> None:
    pack = open_pack(manifest, [])
    assert pack.read([]).shape == (0, SIDE, SIDE)


@pytest.mark.parametrize("slow_seconds", [0.0, 10.0])
def test_stat_on_fast_and_slow_storage(
    manifest: Manifest, slow_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_file, "_SLOW_STAT_SECONDS", slow_seconds)
    monkeypatch.setattr(image_file, "_STATS_PER_TASK", 7)
    paths = [*manifest.table["path"], "missing.png"]
    found = stat_sources(manifest.root, paths, np.arange(41))
    for row, path in enumerate(paths[:40]):
        status = (manifest.root / path).stat()
        assert found[row].tolist() == [status.st_size, status.st_mtime_ns]
    assert found[40].tolist() == [-1, -1]


def test_rows_of_one_npz_share_its_stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.npz").write_bytes(b"12345")
    paths = [f"x.npz#train/{row}" for row in range(5)]
    assert stat_sources(tmp_path, paths, np.arange(5))[:, 0].tolist() == [5] * 5


def test_default_cache_is_the_platforms_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PULMONET_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().name == "pulmonet"


# --- other processes ----------------------------------------------------------------------

HOLD_A_BLOCK = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold_block(folder: Path, block: int, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that is at a block for a while."""
    command = [sys.executable, "-c", HOLD_A_BLOCK, str(folder / f".lock-{block}")]
    process = subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_block_that_another_process_is_at_comes_last(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulmonet.data.pack.files.BLOCK_BYTES", 10 * SIDE**2)
    folder = open_pack(manifest, []).folder
    calls: list[int] = []
    with hold_block(folder, 0, 0.5):
        pack = open_pack(manifest, range(40), progress=lambda done, _: calls.append(done))
    np.testing.assert_array_equal(pack.read(range(40)), references(manifest))
    assert calls == [10, 20, 30, 40]


def test_a_killed_process_leaves_no_lock(manifest: Manifest) -> None:
    folder = open_pack(manifest, []).folder
    with hold_block(folder, 0, 60) as other:
        other.kill()
    assert (folder / ".lock-0").exists()
    assert open_pack(manifest, range(40)).n_decoded == 40
    assert not list(folder.glob(".lock*"))


def test_an_open_pack_sees_what_another_has_packed_anew(manifest: Manifest) -> None:
    ours = open_pack(manifest, range(40))
    before = ours.read([5])
    cv2.imwrite(str(manifest.root / manifest.table["path"][5]), smooth_image(999))
    theirs = open_pack(manifest, range(40))
    assert theirs.n_decoded == 1
    after = ours.read([5])
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, theirs.read([5]))
    assert ours.n_repaired == 0


def test_a_read_error_is_damage(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = open_pack(manifest, range(40))
    genuine = os.preadv

    def bad_sector(handle: int, buffers: Any, offset: int) -> int:
        if len(buffers[0]) == SIDE**2 and offset > 39 * SIDE**2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return genuine(handle, buffers, offset)

    monkeypatch.setattr(os, "preadv", bad_sector)
    np.testing.assert_array_equal(pack.read([38, 39]), references_of(manifest, [38, 39]))
    assert pack.n_repaired == 1


def test_odd_file_names(tmp_path: Path) -> None:
    paths = ['a "quoted", name.png', "näme é.png", "#1.png", "tab\there.png"]
    root = tmp_path / "odd, root"
    root.mkdir()
    for row, path in enumerate(paths):
        cv2.imwrite(str(root / path), smooth_image(row))
    manifest = manifest_of(root, [path for path in paths if "#" not in path])
    pack = open_pack(manifest, range(3))
    index = pd.read_csv(pack.folder / "index.csv")
    assert index["Path"].tolist() == manifest.table["path"].tolist()
    np.testing.assert_array_equal(pack.read([2]), references_of(manifest, [2]))


def test_the_root_behind_a_link_is_the_same_pack(manifest: Manifest, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(manifest.root)
    linked = manifest_of(link, manifest.table["path"].tolist())
    assert open_pack(linked, [1]).key == open_pack(manifest, [1]).key


def test_real_x_rays(shared_data: Path) -> None:
    root = shared_data / "nih-cxr"
    paths = sorted(str(path.relative_to(root)) for path in root.glob("valid/*/*/*.jpg"))[:12]
    manifest = manifest_of(root, paths)
    images = open_pack(manifest, range(12)).read(range(12))
    for image, path in zip(images, paths, strict=True):
        expected = cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE)
        expected = cv2.resize(expected, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(image, expected)
