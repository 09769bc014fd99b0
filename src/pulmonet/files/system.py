"""What Linux, macOS and Windows do differently: locks, positioned reading, syncing, limits.

No other module imports `fcntl`, `resource` or the like, or uses what `os` has on POSIX alone.
``tests/end_to_end/test_platforms.py`` hides all of that and runs every command.
"""

import contextlib
import ctypes
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Windows turns line ends into others unless told so.
BINARY = getattr(os, "O_BINARY", 0)

#: A pipe in the place of a file answers at once instead of waiting for a writer.
READ_PLAIN = os.O_RDONLY | BINARY | getattr(os, "O_NONBLOCK", 0)

#: Refuses a link in the place of a file; 0 where the system cannot.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)

#: What asks a process to end. A terminal that is closed sends SIGHUP; Windows sends SIGBREAK for
#: Ctrl-Break, and never SIGTERM.
_STOPS = {"SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"}
STOP_SIGNALS = tuple(number for number in signal.Signals if number.name in _STOPS)

#: How file systems say that they have no locks: Lustre without flock, NFS without its daemon, FUSE,
#: and Cray's DVS, whose number is the kernel's own ENOTSUPP.
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524}
_folders_without_locks: set[Path] = set()  # found so far

#: Where a handle has one position for all threads, they take turns.
_position_lock = threading.Lock()


class Lock(NamedTuple):
    """A lock file that this process holds, until `release_lock` or the process's end."""

    path: Path
    handle: int = -1
    other: "BaseFileLock | None" = None


def take_lock(path: Path, *, wait: bool) -> Lock | None:
    """Lock a file, making it, against all other takers in this and other processes.

    The system lets go when the process ends, however it ends. A file system without locks gives
    one that keeps nobody out, and a warning, once. None if another has it and `wait` is False;
    OSError if the file cannot be made, is a link, or holds something.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_size:  # a link has one, too
            raise FileExistsError(errno.EEXIST, "not a lock of PulmoNet", str(path))
    try:
        import fcntl
    except ImportError:  # Windows
        return _take_other_lock(path, wait=wait)
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        try:
            fcntl.flock(handle, how)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.lstat()):
                    return Lock(path, handle)
            os.close(handle)  # its holder has removed it since: another one counts now
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                _warn_of_no_locks(path.parent)
                return Lock(path, handle)
            os.close(handle)
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                return None
            raise
        except BaseException:  # Ctrl-C while it waits
            os.close(handle)
            raise


def _take_other_lock(path: Path, *, wait: bool) -> Lock | None:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with contextlib.suppress(Timeout):
        lock.acquire(blocking=wait)
        return Lock(path, other=lock)
    return None


def _warn_of_no_locks(folder: Path) -> None:
    text = "%s: its file system has no locks, so nothing keeps two commands out of one folder; "
    if not _folders_without_locks:
        logging.getLogger(__name__).warning(f"{text}start no second one there", folder)
    _folders_without_locks.add(folder)


def release_lock(lock: Lock) -> None:
    """Remove the lock file and let go: a waiting taker finds it gone, and makes a new one."""
    with contextlib.suppress(OSError):  # Windows removes it when it is let go
        lock.path.unlink()
    if lock.other is not None:
        lock.other.release()
    else:
        os.close(lock.handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for it."""
    lock = take_lock(path, wait=True)
    assert lock is not None
    try:
        yield
    finally:
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


def read_into(handle: int, view: memoryview, offset: int) -> int:
    """Fill `view` from a place in a file; how many bytes there were. For any thread."""
    done, n_read = 0, 1
    while n_read and done < len(view):
        n_read = read_at(handle, view[done:], offset + done)
        done += n_read
    return done


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


@contextlib.contextmanager
def bounded_memory(n_bytes: int) -> Iterator[None]:
    """Let this process take at most `n_bytes` more for a while: what a decoder of C code obeys.

    More is a MemoryError, or what a library makes of one. Linux alone counts so; elsewhere there is
    no bound.
    """
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_DATA)
    except (ImportError, OSError):
        yield
        return
    bounds = [taken + n_bytes, *(limit for limit in before if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _windows_peak_memory() -> float:
    """`PeakWorkingSetSize` of PROCESS_MEMORY_COUNTERS, which has the second 8 of its 72 bytes."""
    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    counters = (ctypes.c_size_t * 9)()
    given = ctypes.c_void_p(-1), counters, ctypes.sizeof(counters)  # of this process
    done = kernel is not None and kernel.K32GetProcessMemoryInfo(*given)
    return float(counters[1]) if done else float("nan")


def leave_closed_terminal() -> None:
    """Send what is still said to nowhere, where it went to a terminal that is gone.

    Writing there is an error from then on, which would keep a training from saving.
    """
    for handle in (1, 2):
        try:
            os.write(handle, b"")
        except OSError:
            lead_nowhere(handle)


def lead_nowhere(handle: int) -> None:
    """Drop from now on what is written to a handle."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)


@contextlib.contextmanager
def on_signals(
    numbers: Collection[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals for a while; in another thread than the main one none arrives."""
    previous: dict[signal.Signals, Any] = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in numbers:
                if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handled in previous.items():
            signal.signal(number, handled)


def keep_freed_memory() -> None:
    """Have glibc keep what one batch frees for the next; elsewhere nothing happens.

    Else each large array comes from the kernel anew, page by page: a third of the time to score
    (docs/benchmarks.md). The numbers are the same.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: below, from the heap
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: above, back to the kernel
