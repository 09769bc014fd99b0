"""Files of strangers: plain, bounded, without pickles."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import itertools
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pulmonet.files.read import check_plain, read_array, read_bytes, read_text, written_by_newer
from pulmonet.files.read_csv import read_cells


def test_text_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ödem\n", "utf-8")
    assert read_text(tmp_path / "a.txt", 6) == "Ödem\n"
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_text(tmp_path / "a.txt", 5)
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_text(tmp_path / "b.txt")


def test_the_version_is_known_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONPATH=src on a machine that is lent for minutes."""

    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", unknown)
    assert written_by_newer({"provenance": {"pulmonet": "999.0"}}).startswith("written by a newer")
    assert written_by_newer({"provenance": {"pulmonet": "0.0.1"}}) == ""


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a plain file"):
            read_text(path)
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a plain file"):
        check_plain(tmp_path / "link")
    with pytest.raises(FileNotFoundError):
        check_plain(tmp_path / "missing")


def test_tables_of_a_bearable_size_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = b"Path,Edema\n" + b"patient1/a.png,1\n" * 100
    wide = b",".join(b"L%d" % number for number in range(10_001)) + b"\n1\n"
    for name, content in (("a.csv", right), ("b.csv", wide), ("c.csv", b"x" * 1_000_000)):
        (tmp_path / name).write_bytes(content)
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write(content)
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", right)
    names = ("a.csv", "a.csv.gz", "a.csv.zip")
    readers = (read_bytes, read_cells)
    for name, read in itertools.product(names, readers):
        read(tmp_path / name)
    for name, read in itertools.product(("b.csv", "b.csv.gz", "c.csv", "c.csv.gz"), readers):
        with pytest.raises(ValueError, match="a header of at least"):
            read(tmp_path / name)
    monkeypatch.setattr("pulmonet.files.read.MAX_TABLE_BYTES", 1000)
    for name, read in itertools.product(names, readers):
        with pytest.raises(ValueError, match="a table of more than 1,000 bytes"):
            read(tmp_path / name)


def test_arrays_equal_numpys_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    arrays = {"x": rng.random((3, 4)).astype(np.float32), "y": np.asarray(["a", "bc"])}
    np.savez_compressed(path, **arrays)
    for name, array in arrays.items():
        read = read_array(path, name)
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype
    with pytest.raises(KeyError, match="z"):
        read_array(path, "z")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """100 MB of zeros in 100 kB; and as many zeros as are there, but a header that claims more."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, maps=np.zeros(100_000_000, np.uint8))
    with pytest.raises(ValueError, match="would unpack to 100,000,000 bytes"):
        read_array(path, "maps")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("maps.npy", header.getvalue() + b"\0" * 1000)
    with pytest.raises(ValueError, match="claims an array of 1,000,000,000,000,000 bytes"):
        read_array(path, "maps")


def test_zeros_of_a_moderate_size_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "empty_maps.npz"
    np.savez_compressed(path, maps=np.zeros((14, 512, 512), np.float32))
    assert read_array(path, "maps").shape == (14, 512, 512)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    path, loaded = tmp_path / "a.npz", tmp_path / "loaded"
    np.savez(path, x=np.asarray([Bomb(loaded)], dtype=object))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x.npy")
    pickle.loads(content[128:])  # it would go off
    assert loaded.exists()
    loaded.unlink()
    with pytest.raises(ValueError, match="allow_pickle"):
        read_array(path, "x")
    assert not loaded.exists()


@pytest.mark.parametrize("kind", ["deflated data", "encrypted", "unknown compression", "cut"])
def test_damage_is_a_value_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random(5000))
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    if kind == "deflated data":
        content[300:340] = b"\xff" * 40
    elif kind == "encrypted":
        content[6] |= 1
        content[central + 8] |= 1
    elif kind == "unknown compression":
        content[8] = content[central + 10] = 77
    else:
        del content[3000:]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_array(path, "x")
