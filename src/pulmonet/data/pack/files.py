"""The files of one pack on disk: layout, locks, and the order in which they are written.

``images.npy`` uint8 (N, R, R) and ``checksums.npy`` uint32 (N,) are sparse files of their final
size from the start; ``sources.npy`` int64 (N, 2) holds size and mtime_ns of the image that a row
was decoded from. Rows are written and synced before their checksum is: whatever
moment a kill comes at, a row without a matching checksum is simply not packed. Nothing is ever
written, or read, through a memory map: that dies with SIGBUS on a full disk or a cut file.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.files.system import (
    BINARY,
    locked,
    read_at,
    release_lock,
    reserve,
    sync,
    take_lock,
    write_at,
)
from pulmonet.files.write import write_atomic

if TYPE_CHECKING:
    from filelock import BaseFileLock

FORMAT_VERSION = 1

#: A block is what one lock and one sync cover: what a kill can cost, and how often disks wait.
BLOCK_BYTES = 16 * 2**20


def checksum_of(image: NDArray[np.uint8]) -> int:
    """CRC-32 of the pixels; 0 means "not packed" and is therefore stored as 1."""
    return zlib.crc32(image.data) or 1


class PackFiles:
    """One pack folder, opened.

    Attributes:
        folder: the pack folder.
        n_rows: N.
        side: R.
        writable: whether rows can be written; False on a read-only cache.
        rows_per_block: rows that are locked, written and synced together.
    """

    def __init__(self, folder: Path, paths: Sequence[str], side: int, identity: object) -> None:
        """Open the pack, making or mending its files where needed.

        Args:
            folder: the pack folder.
            paths: N relative image paths.
            side: R.
            identity: JSON-ready content of pack.json.

        Raises:
            OSError: neither there nor to be made.
        """
        self.folder = folder
        self.n_rows = len(paths)
        self.side = side
        self.row_bytes = side * side
        self.rows_per_block = max(1, min(256, BLOCK_BYTES // self.row_bytes))
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "images.npy": ("|u1", (self.n_rows, side, side)),
            "checksums.npy": ("<u4", (self.n_rows,)),
            "sources.npy": ("<i8", (self.n_rows, 2)),
        }
        self._headers = {name: _npy_header(*shape) for name, shape in shapes.items()}
        self._sizes = {
            name: len(self._headers[name]) + int(np.prod(shape)) * np.dtype(dtype).itemsize
            for name, (dtype, shape) in shapes.items()
        }
        self.writable = self._make(paths, identity)
        mode = (os.O_RDWR if self.writable else os.O_RDONLY) | BINARY
        self._handles = {name: os.open(folder / name, mode) for name in shapes}
        weakref.finalize(self, _close_all, list(self._handles.values()))

    # --- making -----------------------------------------------------------------------------

    def _make(self, paths: Sequence[str], identity: object) -> bool:
        """Give every file its header and size, pack.json last. Whether the pack is writable."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock"):
                if not self._is_whole():
                    n_rows_left = self._mend("images.npy")
                    self._mend("sources.npy")
                    self._mend("checksums.npy", keep_rows=n_rows_left)
                    write_atomic(self.folder / "index.csv", _index_text(paths))
                    write_atomic(self.folder / "pack.json", json.dumps(identity, indent=2) + "\n")
                for left in self.folder.glob(".lock-*"):  # by a process that was killed
                    if lock := take_lock(left, wait=False):
                        release_lock(lock)
            return os.access(self.folder / "images.npy", os.W_OK)
        except OSError:
            if self._is_whole():  # a read-only cache serves readers
                return False
            raise

    def _is_whole(self) -> bool:
        if not (self.folder / "pack.json").exists() or not (self.folder / "index.csv").exists():
            return False
        for name, header in self._headers.items():
            try:
                with open(self.folder / name, "rb") as file:
                    if file.read(len(header)) != header:
                        return False
                    if os.fstat(file.fileno()).st_size != self._sizes[name]:
                        return False
            except OSError:
                return False
        return True

    def _mend(self, name: str, keep_rows: int | None = None) -> int:
        """Right header and size; how many whole rows the file held before.

        With `keep_rows`, the rows after them become zeros: checksums of pixels that are lost.
        """
        handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
        try:
            header = self._headers[name]
            row_bytes = (self._sizes[name] - len(header)) // max(self.n_rows, 1)
            n_rows = max(os.fstat(handle).st_size - len(header), 0) // max(row_bytes, 1)
            found = bytearray(len(header))
            read_at(handle, memoryview(found), 0)
            if found != header:
                write_at(handle, memoryview(header), 0)
            if keep_rows is not None and keep_rows < n_rows:
                os.ftruncate(handle, len(header) + keep_rows * row_bytes)
            os.ftruncate(handle, self._sizes[name])
            if name != "images.npy":  # a disk full of pixels still takes their checksums
                reserve(handle, self._sizes[name])
            os.fsync(handle)
            return n_rows
        finally:
            os.close(handle)

    # --- locks ------------------------------------------------------------------------------

    def take_block(self, row: int, *, wait: bool) -> BaseFileLock | None:
        """The lock of the block that `row` is in; None if another holds it and we do not wait.

        A file each: the 873 blocks of CheXpert at 224 px are then packed by any number of
        processes at once, which one lock for the whole pack would let wait for each other.
        """
        return take_lock(self.folder / f".lock-{row // self.rows_per_block}", wait=wait)

    # --- reading ----------------------------------------------------------------------------

    def read_checksums(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint32]:
        """Checksums of rows start..stop."""
        values = np.zeros((self.n_rows if stop is None else stop) - start, "<u4")
        _read_into(self._handles["checksums.npy"], values, self._offset("checksums.npy", start, 4))
        return values

    def read_sources(self, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
        """(n, 2): size and mtime_ns of what rows start..stop were decoded from."""
        values = np.zeros(((self.n_rows if stop is None else stop) - start, 2), "<i8")
        _read_into(self._handles["sources.npy"], values, self._offset("sources.npy", start, 16))
        return values

    def _offset(self, name: str, row: int, row_bytes: int) -> int:
        return len(self._headers[name]) + row * row_bytes

    def read_row(self, row: int, image: NDArray[np.uint8]) -> int:
        """Read a row's pixels into `image` (R, R); their checksum, 0 if they cannot be read."""
        offset = self._offset("images.npy", row, self.row_bytes)
        try:
            n_read = _read_into(self._handles["images.npy"], image, offset)
        except OSError:  # a bad sector is damage like any other
            return 0
        return checksum_of(image) if n_read == self.row_bytes else 0

    # --- writing ----------------------------------------------------------------------------

    def write_pixels(self, rows: Sequence[int], images: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Write pixels of rows whose block is locked; they count once `commit` has come.

        Args:
            rows: n row numbers, ascending.
            images: (n, R, R).

        Returns:
            (n,) checksums, for `commit`.

        Raises:
            OSError: the disk is full, and the like.
        """
        self._write("images.npy", rows, images.reshape(len(rows), -1))
        return np.array([checksum_of(image) for image in images], "<u4")

    def commit(
        self, rows: NDArray[np.int64], sources: NDArray[np.int64], checksums: NDArray[np.uint32]
    ) -> None:
        """Sync the pixels, then write what makes them count: sources and checksums.

        These two need no sync of their own: a power cut that loses either leaves a row that
        does not count.

        Args:
            rows: (n,) row numbers, ascending, their block locked, their pixels written.
            sources: (n, 2) size and mtime_ns.
            checksums: (n,) from `write_pixels`.

        Raises:
            OSError: the disk is full, and the like; the rows then count as not packed.
        """
        sync(self._handles["images.npy"])
        numbers = rows.tolist()
        self._write("sources.npy", numbers, np.ascontiguousarray(sources, "<i8"))
        self._write("checksums.npy", numbers, checksums[:, None])

    def flush(self) -> None:
        """Make all that was committed outlast a power cut."""
        sync(self._handles["sources.npy"])
        sync(self._handles["checksums.npy"])

    def _write(self, name: str, rows: Sequence[int], values: NDArray[Any]) -> None:
        """Write the values of ascending rows: one write for every run of neighbours."""
        width = values.shape[1] * values.itemsize
        content = values.data.cast("B")
        start = 0
        for stop in range(1, len(rows) + 1):
            if stop == len(rows) or rows[stop] != rows[stop - 1] + 1:
                offset = self._offset(name, rows[start], width)
                part = content[start * width : stop * width]
                _write_all(self._handles[name], part, offset)
                start = stop


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _index_text(paths: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Path"])
    writer.writerows([path] for path in paths)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _read_into(handle: int, values: NDArray[Any], offset: int) -> int:
    """Fill `values` (C order) from the file; the number of bytes that there were."""
    if not values.size:
        return 0
    view = values.data.cast("B")
    done = 0
    while done < len(view):
        n_read = read_at(handle, view[done:], offset + done)
        if n_read == 0:
            break
        done += n_read
    return done


def _write_all(handle: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        done += write_at(handle, view[done:], offset + done)


def _close_all(handles: list[int]) -> None:
    for handle in handles:
        with contextlib.suppress(OSError):
            os.close(handle)
