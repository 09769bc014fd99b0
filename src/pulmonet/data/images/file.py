"""The bytes of an image that a manifest row names: inside the dataset root, read while at rest.

The inner loop of packing: few calls, plain strings. A `Path` here costs as much as a twentieth of
the decoding.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import numpy as np

from pulmonet.arrays import Ints
from pulmonet.errors import DataError
from pulmonet.files.system import NO_LINK, READ_PLAIN

#: 200 megapixels of 32 bits have 0.8 GB; a larger file would take the memory of all others.
MAX_FILE_BYTES = 2**31

#: How often a file that is being written is read again.
TRIES = 3

#: Deeper paths are resolved by the system instead of folder by folder.
_MAX_DEPTH = 50

#: A stat that takes longer than this comes from slow storage: many are then made at once.
_SLOW_STAT_SECONDS = 50e-6
_STATS_PER_TASK = 256

#: (size, mtime_ns) of the file that an image came from.
FileState = tuple[int, int]


def file_of(path: str) -> str:
    """The file that holds the image at `path`: ``x.npz`` of ``x.npz#train/17``."""
    inside = path.find(".npz#")
    return path if inside < 0 else path[: inside + 4]


def read_inside(root: Path, path: str, *, follow_links: bool = False) -> tuple[bytes, FileState]:
    """The bytes of the file at `path` below `root`, and the state that they belong to.

    Symbolic links may lead out of the root where `follow_links` says so.

    Raises:
        DataError: it leaves the root, is no readable file, or changes while it is read.
    """
    where = f"{root}/{path}"
    with reading(where, path):
        is_plain = NO_LINK and not follow_links and _is_plain(root, path)
        if is_plain and _within(_real_folder(where.rpartition("/")[0]), root):
            try:
                return read_at_rest(where, path, READ_PLAIN | NO_LINK)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):  # BSD says the latter
                    raise
        inside_root(root, path, follow_links=follow_links)
        return read_at_rest(where, path, READ_PLAIN)


@contextlib.contextmanager
def reading(where: str, name: str) -> Iterator[None]:
    """A DataError for a file that cannot be read, or whose name, in a CSV, can be none."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}); check the file") from None
    except ValueError:
        raise DataError(f"{name!r}: not a file name; check the CSV") from None


def still_changing(path: str) -> DataError:
    """The error for a file that is written to at every try."""
    return DataError(f"{path}: changes while it is read; run again when nothing writes to it")


def read_at_rest(name: str, path: str, flags: int) -> tuple[bytes, FileState]:
    """The bytes of the plain file `name`, opened with `flags`, and their state.

    Raises:
        OSError: it cannot be read, or has more than `MAX_FILE_BYTES`.
        DataError: it changes while it is read.
    """
    for _ in range(TRIES):
        handle = os.open(name, flags)
        try:
            before = os.fstat(handle)
            if stat.S_ISDIR(before.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            if before.st_size > MAX_FILE_BYTES:
                raise OSError(errno.EFBIG, "larger than 2 GB")
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


def inside_root(root: Path, path: str, *, follow_links: bool = False) -> Path:
    """The file at `path` below `root`, links followed; these may lead elsewhere if `follow_links`.

    Raises:
        DataError: it lies elsewhere.
    """
    leaves = Path(path).is_absolute() or ".." in Path(path).parts
    if follow_links and not leaves:
        return root / path
    with reading(path, path):
        plain = _is_plain(root, path)
        real = _real_path(f"{root}/{path}") if plain else os.path.realpath(root / path)
    if _within(real, root):
        return root / path
    if leaves:
        raise DataError(f"{path}: leaves the dataset root {root}; paths must stay below it")
    text = f"{path}: a symbolic link leaves the dataset root {root} (--follow-links allows that)"
    raise DataError(text)


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


_real_folder = lru_cache(maxsize=4096)(_real_path)


def stat_sources(root: Path, paths: Sequence[str], rows: Ints) -> Ints:
    """(n, 2) size and mtime_ns of the images of `rows`; -1 where there is no such file.

    Many at once where the storage is slow: a network folder answers a thread in milliseconds.
    """
    names = [file_of(paths[row]) for row in rows.tolist()]
    first, rest = names[:_STATS_PER_TASK], names[_STATS_PER_TASK:]
    started = time.perf_counter()
    stats = _stat_each(root, first)
    if time.perf_counter() - started > _SLOW_STAT_SECONDS * len(stats):
        starts = range(0, len(rest), _STATS_PER_TASK)
        with ThreadPoolExecutor(16) as pool:
            parts = [rest[start : start + _STATS_PER_TASK] for start in starts]
            stats += chain.from_iterable(pool.map(partial(_stat_each, root), parts))
    else:
        stats += _stat_each(root, rest)
    return np.array(stats, np.int64).reshape(-1, 2)


def _stat_each(root: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    base = os.path.join(root, "")  # noqa: PTH118 - a Path a file would double the time
    states: dict[str, tuple[int, int]] = {}
    for name in dict.fromkeys(names):  # rows of one npz share its stat
        try:
            found = os.stat(base + name)  # noqa: PTH116
            states[name] = found.st_size, found.st_mtime_ns
        except (OSError, ValueError):
            states[name] = -1, -1
    return [states[name] for name in names]
