"""The files of one pack on disk: layout, locks, and the order in which they are written.

``images.npy`` uint8 (N, R, R) and ``checksums.npy`` uint32 (N,) are sparse files of their final
size from the start; ``sources.npy`` int64 (N, 3) holds size and mtime_ns of the image that a row
was decoded from, and its remarks. Rows are written and synced before their checksum is: whatever
moment a kill comes at, a row without a matching checksum is simply not packed. Nothing is ever
written, or read, through a memory map: that dies with SIGBUS on a full disk or a cut file.
"""

import contextlib
import io
import json
import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Ints, Pixels
from pulmonet.data.manifest import Manifest
from pulmonet.files import system
from pulmonet.files.write import write_atomic

#: 2: colours and windows of DICOM, ranges of 16 bits and EXIF orientation as of version 0.2.
FORMAT_VERSION = 2

#: A block is what one lock and one sync cover: what a kill can cost, and how often disks wait.
BLOCK_BYTES = 16 * 2**20


def checksum_of(image: Pixels) -> int:
    """CRC-32 of the pixels; 0 means "not packed" and is therefore stored as 1."""
    return zlib.crc32(image.data) or 1


class PackFiles:
    """One pack folder, opened."""

    def __init__(self, folder: Path, manifest: Manifest, side: int, fit: str) -> None:
        """Open the pack of a manifest's N images, making or mending its files where needed.

        Raises:
            OSError: neither there nor to be made.
        """
        self.folder, self.root, self.side, self.fit = folder, manifest.root, side, fit
        self.paths: list[str] = manifest.table["path"].tolist()
        self.follow_links = manifest.follow_links
        self.row_bytes = side * side
        #: Rows that are locked, written and synced together.
        self.rows_per_block = max(1, min(256, BLOCK_BYTES // self.row_bytes))
        n_rows = len(self.paths)
        self._images = NpyFile(folder / "images.npy", "|u1", (n_rows, side, side))
        self.checksums = NpyFile(folder / "checksums.npy", "<u4", (n_rows,))
        #: (N, 3): size and mtime_ns of what a row was decoded from, and remarks.
        self.sources = NpyFile(folder / "sources.npy", "<i8", (n_rows, 3))
        self._arrays = (self._images, self.checksums, self.sources)
        self.writable = self._make()  # False on a read-only cache
        for array in self._arrays:
            array.open(writable=self.writable)

    def _make(self) -> bool:
        """Give every file its header and size, pack.json last. Whether the pack is writable."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with system.locked(self.folder / ".lock"):
                if not self._is_whole():
                    n_rows_left = self._images.mend()
                    # a disk full of pixels still takes their sources and checksums
                    self.sources.mend(reserve=True)
                    self.checksums.mend(keep_rows=n_rows_left, reserve=True)
                    self._describe()
                for left in self.folder.glob(".lock-*"):  # by a process that was killed
                    if lock := system.take_lock(left, wait=False):
                        system.release_lock(lock)
            return os.access(self._images.path, os.W_OK)
        except OSError:
            if self._is_whole():  # a read-only cache serves readers
                return False
            raise

    def _is_whole(self) -> bool:
        has_texts = all((self.folder / name).exists() for name in ("pack.json", "index.csv"))
        return has_texts and all(array.is_whole() for array in self._arrays)

    def _describe(self) -> None:
        index = pd.DataFrame({"Path": self.paths}).to_csv(index=False, lineterminator="\n")
        write_atomic(self.folder / "index.csv", index.encode("utf-8", "surrogateescape"))
        identity = {"version": FORMAT_VERSION, "key": self.folder.name}
        identity |= {"root": os.path.realpath(self.root), "side": self.side, "fit": self.fit}
        identity["n_rows"] = len(self.paths)
        write_atomic(self.folder / "pack.json", json.dumps(identity, indent=2) + "\n")

    def lock_of(self, row: int) -> Path:
        """The lock file of the block that `row` is in.

        A file each: the 873 blocks of CheXpert at 224 px are then packed by any number of
        processes at once, which one lock for the whole pack would let wait for each other.
        """
        return self.folder / f".lock-{row // self.rows_per_block}"

    def read_row(self, row: int, image: Pixels) -> int:
        """Read a row's pixels into `image` (R, R); their checksum, 0 if they cannot be read."""
        try:
            n_read = self._images.read_into(row, image)
        except OSError:  # a bad sector is damage like any other
            return 0
        return checksum_of(image) if n_read == self.row_bytes else 0

    def write_pixels(self, rows: Sequence[int], images: Pixels) -> NDArray[np.uint32]:
        """Write (n, R, R) pixels of ascending rows whose block is locked.

        Returns:
            (n,) checksums, for `commit`: the rows do not count before.

        Raises:
            OSError: the disk is full, and the like.
        """
        self._images.write(rows, images)
        return np.array([checksum_of(image) for image in images], "<u4")

    def commit(self, rows: Sequence[int], sources: Ints, checksums: NDArray[np.uint32]) -> None:
        """Sync the pixels, then write what makes them count: (n, 3) sources and (n,) checksums.

        These two need no sync of their own: a power cut that loses either leaves a row that
        does not count.

        Raises:
            OSError: the disk is full, and the like; the rows then count as not packed.
        """
        self._images.sync()
        self.sources.write(rows, np.ascontiguousarray(sources, "<i8"))
        self.checksums.write(rows, checksums)

    def flush(self) -> None:
        """Make all that was committed outlast a power cut."""
        self.sources.sync()
        self.checksums.sync()


class NpyFile:
    """An array of N rows in a .npy file of its final size."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self.path = path
        self._dtype, self._n_rows, self._row_shape = dtype, shape[0], shape[1:]
        header, facts = io.BytesIO(), {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, facts)
        self._header = header.getvalue()
        self._row_bytes = int(np.prod(self._row_shape)) * np.dtype(dtype).itemsize
        self._size = self._offset(shape[0])
        self._handle = -1

    def _offset(self, row: int) -> int:
        return len(self._header) + row * self._row_bytes

    def is_whole(self) -> bool:
        """Whether header and size are right."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            start = file.read(len(self._header))
            return start == self._header and os.fstat(file.fileno()).st_size == self._size
        return False

    def mend(self, *, keep_rows: int | None = None, reserve: bool = False) -> int:
        """Right header and size; how many whole rows the file held before.

        Rows after `keep_rows` become zeros; `reserve` takes the disk blocks now.
        """
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | system.BINARY, 0o666)
        try:
            n_rows = max(os.fstat(handle).st_size - len(self._header), 0) // self._row_bytes
            start = bytearray(len(self._header))
            system.read_at(handle, memoryview(start), 0)
            if start != self._header:
                system.write_at(handle, memoryview(self._header), 0)
            if keep_rows is not None and keep_rows < n_rows:
                os.ftruncate(handle, self._offset(keep_rows))
            os.ftruncate(handle, self._size)
            if reserve:
                system.reserve(handle, self._size)
            os.fsync(handle)
            return n_rows
        finally:
            os.close(handle)

    def open(self, *, writable: bool) -> None:
        """Open it until nobody has this object any more."""
        mode = os.O_RDWR if writable else os.O_RDONLY
        self._handle = os.open(self.path, mode | system.BINARY)
        weakref.finalize(self, os.close, self._handle)

    def sync(self) -> None:
        system.sync(self._handle)

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start..stop; zeros for what cannot be read because the file was cut."""
        n_rows = (self._n_rows if stop is None else stop) - start
        values = np.zeros((n_rows, *self._row_shape), self._dtype)
        self.read_into(start, values)
        return values

    def read_into(self, row: int, values: NDArray[Any]) -> int:
        """Fill `values` (C order) from `row` on; the number of bytes that there were."""
        view = values.data.cast("B") if values.size else memoryview(b"")
        return system.read_into(self._handle, view, self._offset(row))

    def write(self, rows: Sequence[int], values: NDArray[Any]) -> None:
        """Write the values of ascending rows: one write for every run of neighbours."""
        content = values.data.cast("B")
        start = 0
        for stop in range(1, len(rows) + 1):
            if stop == len(rows) or rows[stop] != rows[stop - 1] + 1:
                part = content[start * self._row_bytes : stop * self._row_bytes]
                done = 0
                while done < len(part):
                    at = self._offset(rows[start]) + done
                    done += system.write_at(self._handle, part[done:], at)
                start = stop
