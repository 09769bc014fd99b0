"""The bytes of an image that a manifest row names: inside the dataset root, read while at rest.

The inner loop of packing: few calls, plain strings. A `Path` here costs as much as a twentieth of
the decoding.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path

from pulmonet.errors import DataError
from pulmonet.files.system import NO_LINK, READ_PLAIN

#: How often a file that is being written is read again.
TRIES = 3

#: Deeper paths are resolved by the system instead of folder by folder.
_MAX_DEPTH = 50

#: (size, mtime_ns) of the file that an image came from.
FileState = tuple[int, int]


def file_of(path: str) -> str:
    """The file that holds the image at `path`: ``x.npz`` of ``x.npz#train/17``."""
    inside = path.find(".npz#")
    return path if inside < 0 else path[: inside + 4]


def read_inside(root: Path, path: str) -> tuple[bytes, FileState]:
    """The bytes of the file at `path` below `root`, and the state that they belong to.

    Raises:
        DataError: it leaves the root, is no readable file, or changes while it is read.
    """
    where = f"{root}/{path}"
    try:
        is_plain = NO_LINK and _is_plain(root, path)
        if is_plain and _within(_real_folder(where.rpartition("/")[0]), root):
            try:
                return _read_at_rest(where, path, READ_PLAIN | NO_LINK)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):  # BSD says the latter
                    raise
        inside_root(root, path)
        return _read_at_rest(where, path, READ_PLAIN)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); check the file") from None
    except ValueError:
        raise DataError(f"{path!r}: not a file name; check the CSV") from None


def still_changing(path: str) -> DataError:
    """The error for a file that is written to at every try."""
    return DataError(f"{path}: changes while it is read; run again when nothing writes to it")


def _read_at_rest(name: str, path: str, flags: int) -> tuple[bytes, FileState]:
    for _ in range(TRIES):
        handle = os.open(name, flags)
        try:
            before = os.fstat(handle)
            if stat.S_ISDIR(before.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "no regular file")
            more = content = os.read(handle, before.st_size)
            while more and len(content) < before.st_size:  # beyond 2 GB, and on network folders
                more = os.read(handle, before.st_size - len(content))
                content += more
            after = os.fstat(handle)
        finally:
            os.close(handle)
        state = before.st_size, before.st_mtime_ns
        if state == (after.st_size, after.st_mtime_ns):
            return content, state
    raise still_changing(path)


def inside_root(root: Path, path: str) -> Path:
    """The file at `path` below `root`, links followed.

    Raises:
        DataError: it lies elsewhere.
    """
    try:
        plain = _is_plain(root, path)
        real = _real_path(f"{root}/{path}") if plain else os.path.realpath(root / path)
    except ValueError:
        raise DataError(f"{path!r}: not a file name; check the CSV") from None
    if not _within(real, root):
        raise DataError(f"{path}: leaves the dataset root {root}; paths must stay below it")
    return root / path


def _is_plain(root: Path, path: str) -> bool:
    """Whether the path can be resolved folder by folder, and what was found be remembered."""
    is_below = ".." not in path and not path.startswith("/") and path.count("/") < _MAX_DEPTH
    return is_below and str(root).startswith("/")


def _within(real: str, root: Path) -> bool:
    name = str(root)
    real_root = _real_folder(name) if name.startswith("/") else os.path.realpath(name)
    return f"{real}/".startswith(real_root.rstrip(os.sep) + os.sep)


def _real_path(path: str) -> str:
    """`os.path.realpath` of a path without ``..``; images of a folder share the folder's part."""
    if os.path.islink(path):  # noqa: PTH114 - once a folder of images: a Path doubles its time
        return os.path.realpath(path)
    folder, _, name = path.rstrip("/").rpartition("/")
    return f"{_real_folder(folder)}/{name}" if folder else os.path.realpath(path)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return _real_path(folder)
