"""Images inside an ``.npz`` (MedMNIST), one at a time: memory does not grow with the file.

An array of an npz is a file in a zip, mostly a compressed one, and NumPy reads it whole:
``chestmnist_224.npz`` takes 4 GB. Here an array is read through once and checked against the
zip's CRC-32; on the way the decompressor's state is kept at the start of every few megabytes, so
that a row can be had again by decompressing the part that holds it: 0.04 s at 224 px, where going
back in a `zipfile` starts over (0.5 s in 5,000 images, 8 s in ChestMNIST's 78,468).
"""

import math
import struct
import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pulmonet.data.images.file import TRIES, FileState, file_of, inside_root, still_changing
from pulmonet.data.images.header import check_size
from pulmonet.errors import DataError
from pulmonet.files.read import check_plain

#: Decompressed at once: 160 images of 224 px. A state takes about 50 KB, so 4 GB take 25 MB.
_PART_BYTES = 8 * 2**20

#: Parts that are kept, for threads that are some rows apart.
_N_PARTS_KEPT = 3

#: Compressed bytes read at once; what is left of them is kept with a state.
_CHUNK_BYTES = 16 * 2**10

_DAMAGE = (
    *(OSError, ValueError, LookupError, EOFError, OverflowError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


def read_npz_row(
    root: Path, path: str, *, follow_links: bool = False
) -> tuple[NDArray[Any], FileState]:
    """Image ``x.npz#train/17``: row 17 of the array ``train_images``, as it is stored.

    Returns:
        (H, W) or (H, W, 3), and (size, mtime_ns) of the npz file.

    Raises:
        DataError: outside of `root`, no such array or row, a damaged or changing file.
    """
    file_path = file_of(path)
    inner = path[len(file_path) + 1 :]
    source = inside_root(root, file_path, follow_links=follow_links)
    split, _, number = inner.partition("/")
    try:
        check_plain(source)
        for _ in range(TRIES):
            state = _state_of(source)
            with _opening:  # two threads would both read it through
                images = _open_array(source, f"{split}_images", state)
            row = images.row(int(number))
            if _state_of(source) == state:
                return row, state
    except _DAMAGE as error:
        where = f"{source}#{inner}"
        raise DataError(f"{where}: cannot be read ({error}); copy the file again") from None
    raise still_changing(path)


def _state_of(path: Path) -> FileState:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _NpzArray:
    """The rows of one array of an npz; safe to use from several threads."""

    def __init__(self, path: Path, name: str) -> None:
        """Read it through once; raises one of `_DAMAGE` or a DataError."""
        self._path = path
        self._lock = threading.Lock()  # two threads would both decompress a part
        self._part = lru_cache(maxsize=_N_PARTS_KEPT)(self._decompress)
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as member:
                (self._n_rows, *self._row_shape), self._dtype = _read_header(member)
                n_header = member.tell()
            check_size(self._row_shape[0], math.prod(self._row_shape[1:]), f"{path}#{name}")
            self._row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
            self._rows_per_part = max(1, _PART_BYTES // self._row_bytes)
            if info.file_size != n_header + self._n_rows * self._row_bytes:
                raise ValueError("not as long as its header says")
            self._points = self._read_through(file, info, n_header)

    def row(self, number: int) -> NDArray[Any]:
        """A copy of row `number`; raises one of `_DAMAGE`."""
        if not 0 <= number < self._n_rows:
            raise IndexError(f"row {number} of {self._n_rows}")
        part, place = divmod(number, self._rows_per_part)
        with self._lock:
            content = self._part(part)
        n_values = math.prod(self._row_shape)
        values = np.frombuffer(content, self._dtype, n_values, place * self._row_bytes)
        return values.reshape(self._row_shape).copy()

    def _decompress(self, part: int) -> bytes:
        place, state, n_bytes = self._points[part]
        with self._path.open("rb") as file:
            file.seek(place)
            return _take(file, None if state is None else state.copy(), n_bytes)

    def _read_through(
        self, file: IO[bytes], info: zipfile.ZipInfo, n_header: int
    ) -> list[tuple[int, Any, int]]:
        """(place in the file, decompressor or None, bytes in it) of every part."""
        file.seek(_start_of_data(file, info))
        is_compressed = info.compress_type == zipfile.ZIP_DEFLATED
        state = zlib.decompressobj(-zlib.MAX_WBITS) if is_compressed else None
        checksum = zlib.crc32(_take(file, state, n_header))
        points = []
        for first in range(0, self._n_rows, self._rows_per_part):
            n_bytes = min(self._rows_per_part, self._n_rows - first) * self._row_bytes
            points.append((file.tell(), None if state is None else state.copy(), n_bytes))
            checksum = zlib.crc32(_take(file, state, n_bytes), checksum)
        if checksum != info.CRC:
            raise zipfile.BadZipFile("wrong CRC-32")
        return points


_opening = threading.Lock()


@lru_cache(maxsize=3)
def _open_array(path: Path, name: str, _state: FileState) -> _NpzArray:
    return _NpzArray(path, name)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an npy file of images, which is then read up to its first value."""
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if dtype.kind not in "buif" or is_fortran or len(shape) not in (3, 4) or min(shape[1:]) < 1:
        raise ValueError(f"an array of {dtype} and shape {shape} instead of images")
    return shape, dtype


def _start_of_data(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where a member's bytes start: after its local header (APPNOTE 4.3.7), 30 bytes and more."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("encrypted, or compressed as npz files are not")
    file.seek(info.header_offset)
    signature, n_name, n_extra = struct.unpack("<4s22xHH", file.read(30))
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile("damaged local header")
    return info.header_offset + 30 + int(n_name) + int(n_extra)


def _take(file: IO[bytes], state: Any, n_bytes: int) -> bytes:
    """The next `n_bytes` of a member, which must be there."""
    if state is None:
        content = file.read(n_bytes)
    else:
        pieces, n_missing = [], n_bytes
        while n_missing:
            packed = state.unconsumed_tail or file.read(_CHUNK_BYTES)
            piece = state.decompress(packed, n_missing)
            pieces.append(piece)
            n_missing -= len(piece)
            if state.eof or not (piece or packed):
                break
        content = b"".join(pieces)
    if len(content) < n_bytes:
        raise EOFError("it ends early")
    return content
