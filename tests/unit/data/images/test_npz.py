"""Rows of an npz against `numpy.load` of the whole file."""

from __future__ import annotations

import os
import shutil
import tempfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pulmonet.data.images import npz as npz_images
from pulmonet.data.images.npz import read_npz_row
from pulmonet.errors import DataError


def images_of(n_rows: int, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Smooth in part, so that it is compressed here and stored as it is there."""
    rng = np.random.default_rng(n_rows)
    images = rng.integers(0, 250, (n_rows, *shape)).astype(dtype)
    images[::3] = (np.arange(images[0].size) // 20 % 256).reshape(shape)
    return images


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((28, 28), np.uint8), ((13, 7), np.uint16), ((8, 8, 3), np.uint8), ((80, 90), np.uint8)],
)
def test_rows_in_any_order(tmp_path: Path, save, shape: tuple[int, ...], dtype: type) -> None:  # type: ignore[no-untyped-def]
    images = images_of(101, shape, dtype)
    save(tmp_path / "x.npz", train_images=images, train_labels=np.zeros(101), val_images=images[:3])
    order = [*range(101), *np.random.default_rng(1).permutation(101).tolist()]
    for row in order:
        got, _ = read_npz_row(tmp_path, f"x.npz#train/{row}")
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, images[row])
    np.testing.assert_array_equal(read_npz_row(tmp_path, "x.npz#val/2")[0], images[2])


def test_several_threads(tmp_path: Path) -> None:
    images = images_of(300, (28, 28))
    np.savez_compressed(tmp_path / "x.npz", train_images=images)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda row: read_npz_row(tmp_path, f"x.npz#train/{row}"), range(300)))
    np.testing.assert_array_equal(np.stack([row for row, _ in rows]), images)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    images = images_of(400, (224, 224))  # 20 MB
    np.savez_compressed(tmp_path / "x.npz", train_images=images)
    del images
    tracemalloc.start()
    for row in range(0, 400, 7):
        read_npz_row(tmp_path, f"x.npz#train/{row}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    for seed in (5, 6):
        images = images_of(seed, (28, 28))
        np.savez(tmp_path / "x.npz", train_images=images)
        got, state = read_npz_row(tmp_path, "x.npz#train/1")
        np.testing.assert_array_equal(got, images[1])
        found = (tmp_path / "x.npz").stat()
        assert state == (found.st_size, found.st_mtime_ns)


def test_an_array_is_unpacked_once_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz_images._unpacked.cache_clear()
    temporary, handles = tmp_path / "temporary", Path("/proc/self/fd")
    n_handles = len([*handles.iterdir()])
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    copies: list[object] = []
    copy = shutil.copyfileobj
    monkeypatch.setattr(
        shutil, "copyfileobj", lambda *given: (copies.append(given[0]), copy(*given))
    )
    images = images_of(50, (28, 28))
    np.savez_compressed(tmp_path / "x.npz", train_images=images)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: read_npz_row(tmp_path, f"x.npz#train/{row}"), range(50)))
    children = [os.fork() for _ in range(2)]
    if 0 in children:  # a worker: it reads what its parent unpacked
        rows = [read_npz_row(tmp_path, f"x.npz#train/{row}")[0] for row in range(50)]
        os._exit(len(copies) - 1 if np.array_equal(np.stack(rows), images) else 9)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(copies) == 1
    assert not any(temporary.iterdir())
    npz_images._unpacked.cache_clear()
    assert len([*handles.iterdir()]) == n_handles


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", train_images=images_of(60, (28, 28)))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b", 0))  # noqa: SIM115
    with pytest.raises(DataError, match=r"x.npz#train/0: .*No space left .*TMPDIR to a larger"):
        read_npz_row(tmp_path, "x.npz#train/0")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", train_images=np.zeros((1400, 224, 224), np.uint8))
    with pytest.raises(DataError, match="more than 100 times"):
        read_npz_row(tmp_path, "x.npz#train/0")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_anywhere_is_found(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path / "x.npz", train_images=images_of(60, (28, 28)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    n_read = 0
    for place in range(60, len(content), len(content) // 40):
        damaged = bytearray(content)
        damaged[place] ^= 16
        (tmp_path / f"y{place}.npz").write_bytes(damaged)
        try:
            row, _ = read_npz_row(tmp_path, f"y{place}.npz#train/7")
        except DataError as error:
            assert "cannot be read" in str(error)
        else:  # a byte that means nothing, such as a date in the zip's directory
            n_read += 1
            np.testing.assert_array_equal(row, images_of(60, (28, 28))[7])
    assert n_read < 5


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ("train/60", "row 60 of 60"),
        ("train/-1", "row -1 of 60"),
        ("train/x", "invalid literal"),
        ("test/0", "test_images"),
        ("flat/0", "instead of images"),
        ("objects/0", "instead of images"),
        ("empty/0", "instead of images"),
    ],
)
def test_what_is_not_there(tmp_path: Path, inner: str, reason: str) -> None:
    np.savez(
        tmp_path / "x.npz",
        train_images=images_of(60, (28, 28)),
        flat_images=np.zeros(60, np.uint8),
        objects_images=np.full((3, 2, 2), None),
        empty_images=np.zeros((3, 0, 2), np.uint8),
    )
    with pytest.raises(DataError, match=reason):
        read_npz_row(tmp_path, f"x.npz#{inner}")


def test_no_zip_cut_short_or_of_another_compression(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=images_of(60, (28, 28)))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(tmp_path / "x.npz") as source:
        member = source.read("train_images.npy")
    with zipfile.ZipFile(tmp_path / "bz2.npz", "w", zipfile.ZIP_BZIP2) as target:
        target.writestr("train_images.npy", member)
    for name, reason in (("cut", "not a zip"), ("bz2", "compressed as"), ("none", "No such file")):
        with pytest.raises(DataError, match=reason):
            read_npz_row(tmp_path, f"{name}.npz#train/0")


def test_a_header_that_claims_too_much(tmp_path: Path) -> None:
    header = bytearray(b"\x93NUMPY\x01\x00v\x00")
    header += b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 90000, 90000), }".ljust(117)
    header += b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as target:
        target.writestr("train_images.npy", bytes(header))
    with pytest.raises(DataError, match="90,000 x 90,000 pixels"):
        read_npz_row(tmp_path, "x.npz#train/0")


def test_a_pipe_is_no_npz(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"x.npz#train/0: cannot be read \(.*not a plain file\)"):
        read_npz_row(tmp_path, "x.npz#train/0")
