"""Images inside an ``.npz`` (MedMNIST), one at a time: memory does not grow with the file.

An array of an npz is a file in a zip, mostly a compressed one, and NumPy reads it whole:
``chestmnist_224.npz`` takes 4 GB. Here each process unpacks an array once, checked against the
zip's CRC-32, into a temporary file without a name, which the system removes when the process ends.
"""

import errno
import math
import os
import shutil
import struct
import tempfile
import threading
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pulmonet.data.images.file import TRIES, FileState, file_of, inside_root, still_changing
from pulmonet.data.images.header import check_size
from pulmonet.errors import DataError
from pulmonet.files.read import MAX_RATIO, MAX_UNPACKED_BYTES, check_plain
from pulmonet.files.system import read_into, sync

_DAMAGE = (
    *(OSError, ValueError, LookupError, EOFError, OverflowError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
_opening = threading.Lock()


def read_npz_row(
    root: Path, path: str, *, follow_links: bool = False
) -> tuple[NDArray[Any], FileState]:
    """Image ``x.npz#train/17``: row 17 of the array ``train_images``, as it is stored.

    Returns:
        (H, W) or (H, W, 3), and (size, mtime_ns) of the npz file.

    Raises:
        DataError: outside of `root`, no such array or row, a damaged or changing file, a full
            temporary folder.
    """
    file_path = file_of(path)
    inner = path[len(file_path) + 1 :]
    source = inside_root(root, file_path, follow_links=follow_links)
    split, _, number = inner.partition("/")
    try:
        check_plain(source)
        for _ in range(TRIES):
            state = _state_of(source)
            with _opening:  # two threads would both unpack it
                images = _unpacked(source, f"{split}_images", state)
            row = images.row(int(number))
            if _state_of(source) == state:
                return row, state
    except _DAMAGE as error:
        way_out = "copy the file again"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            way_out = f"make room in {tempfile.gettempdir()}, or set TMPDIR to a larger disk"
        raise DataError(f"{source}#{inner}: cannot be read ({error}); {way_out}") from None
    raise still_changing(path)


def _state_of(path: Path) -> FileState:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class _Unpacked:
    """An npy file of images, open for reading from any thread; closed with this."""

    handle: int
    n_header: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def row(self, number: int) -> NDArray[Any]:
        """Row `number`; raises one of `_DAMAGE`."""
        if not 0 <= number < self.shape[0]:
            raise IndexError(f"row {number} of {self.shape[0]}")
        row = np.empty(self.shape[1:], self.dtype)
        content = row.reshape(-1).view(np.uint8)
        if read_into(self.handle, content.data, self.n_header + number * row.nbytes) < row.nbytes:
            raise EOFError("it ends early")
        return row


@lru_cache(maxsize=3)
def _unpacked(path: Path, name: str, state: FileState) -> _Unpacked:
    """An array in a temporary file; raises one of `_DAMAGE` or a DataError."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as file:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("compressed as npz files are not")
        with archive.open(info) as member:
            shape, dtype = _read_header(member)
            n_header = member.tell()
        check_size(shape[1], math.prod(shape[2:]), f"{path}#{name}")
        if info.file_size != n_header + math.prod(shape) * dtype.itemsize:
            raise ValueError("not as long as its header says")
        if info.file_size > max(MAX_UNPACKED_BYTES, MAX_RATIO * state[0]):
            raise ValueError(f"{info.file_size:,} bytes, more than {MAX_RATIO} times its size")
        with archive.open(info) as member:  # anew: after a seek, zipfile may check no more
            shutil.copyfileobj(member, file, 2**20)
        file.flush()
        sync(file.fileno())  # a network folder that is full says so only now
        unpacked = _Unpacked(os.dup(file.fileno()), n_header, shape, dtype)
        weakref.finalize(unpacked, os.close, unpacked.handle)
        return unpacked


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an npy file of images, which is then read up to its first value."""
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if dtype.kind not in "buif" or is_fortran or len(shape) not in (3, 4) or min(shape[1:]) < 1:
        raise ValueError(f"an array of {dtype} and shape {shape} instead of images")
    return shape, dtype
