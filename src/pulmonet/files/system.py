"""What Linux, macOS and Windows do differently: locks, positioned reading, syncing, limits.

No other module imports `fcntl`, `resource` or the like, or uses what `os` has on POSIX alone.
``tests/end_to_end/test_platforms.py`` hides all of that and runs every command.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Windows turns line ends into others unless told so.
BINARY = getattr(os, "O_BINARY", 0)

#: A pipe in the place of a file answers at once instead of waiting for a writer.
READ_PLAIN = os.O_RDONLY | BINARY | getattr(os, "O_NONBLOCK", 0)

#: Refuses a link in the place of a file; 0 where the system cannot.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)

#: What asks a process to end; Windows sends the last one for Ctrl-Break and never SIGTERM.
STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *([signal.Signals["SIGBREAK"]] if hasattr(signal, "SIGBREAK") else []),
)

#: Where a handle has one position for all threads, they take turns.
_position_lock = threading.Lock()


def take_lock(path: Path, *, wait: bool) -> BaseFileLock | None:
    """Lock a file, making it, against all other takers in this and other processes.

    The system lets go when the process ends, however it ends. None if another has it and `wait`
    is False; OSError if the file cannot be made.
    """
    from filelock import FileLock, Timeout  # 30 ms

    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    return lock


def release_lock(lock: BaseFileLock) -> None:
    """Remove the lock file and let go: a waiting taker finds it gone, and makes a new one."""
    with contextlib.suppress(OSError):  # Windows removes it when it is let go
        Path(lock.lock_file).unlink()
    lock.release()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for it."""
    lock = take_lock(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            release_lock(lock)


def read_at(handle: int, view: memoryview, offset: int) -> int:
    """Read into `view` from a place in a file; how many bytes came. For any thread."""
    if hasattr(os, "preadv"):
        return os.preadv(handle, [view], offset)
    with _position_lock:
        os.lseek(handle, offset, os.SEEK_SET)
        content = os.read(handle, len(view))
    view[: len(content)] = content
    return len(content)


def write_at(handle: int, view: memoryview, offset: int) -> int:
    """Write to a place in a file; how many bytes went. For any thread."""
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, view, offset)
    with _position_lock:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.write(handle, view)


def reserve(handle: int, size: int) -> None:
    """Give a file its disk blocks now, where the system and its disk can.

    Raises:
        OSError: the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise


def sync(handle: int) -> None:
    """Make a file's content outlast a power cut."""
    getattr(os, "fdatasync", os.fsync)(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; NTFS keeps a journal of names
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def bytes_on_disk(path: Path) -> int:
    """What a file takes; its size where the system does not tell a sparse file's blocks."""
    found = path.stat()
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


def umask() -> int:
    """Permissions that new files do not get."""
    current = os.umask(0)
    os.umask(current)
    return current


def usable_cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def peak_memory_bytes() -> float:
    """The most memory that was resident so far; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return _windows_peak_memory()
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _windows_peak_memory() -> float:
    """`PeakWorkingSetSize` of PROCESS_MEMORY_COUNTERS, which has the second 8 of its 72 bytes."""
    import ctypes

    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    counters = (ctypes.c_size_t * 9)()
    this_process = ctypes.c_void_p(-1)
    if kernel is None or not kernel.K32GetProcessMemoryInfo(
        this_process, counters, ctypes.sizeof(counters)
    ):
        return float("nan")
    return float(counters[1])


@contextlib.contextmanager
def on_signals(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals for a while; in another thread than the main one none arrives."""
    previous: dict[signal.Signals, Any] = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in numbers:
                previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handled in previous.items():
            signal.signal(number, handled)
