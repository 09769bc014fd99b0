"""What C libraries print, as lines that can be given a file's name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import cache

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _CookieFunctions(ctypes.Structure):
    """`cookie_io_functions_t` of fopencookie(3)."""

    _fields_ = (
        ("read", ctypes.c_void_p),
        ("write", _Write),
        ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    )


class _Thread(threading.local):
    """The lines of a thread that listens."""

    lines: list[bytes] | None = None


_thread = _Thread()


@_Write  # type: ignore[untyped-decorator]
def _hear(_cookie: int, text: int, n_bytes: int) -> int:
    said = ctypes.string_at(text, n_bytes)
    if _thread.lines is None:
        os.write(2, said)
    else:
        _thread.lines.append(said)
    return n_bytes


class _CStderr:
    """The variable `stderr` of glibc, which says that it may be set; the handle 2 stays as it is.

    Raises:
        OSError, TypeError, AttributeError, ValueError: another C library. That of musl has the
            variable in memory that cannot be written, Windows and macOS have none of this name.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._variable = ctypes.c_void_p.in_dll(library, "stderr")
        if not library.gnu_get_libc_version:
            raise AttributeError("no glibc")
        library.fopencookie.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _CookieFunctions)
        library.fopencookie.restype = ctypes.c_void_p
        functions = _CookieFunctions(write=_hear)
        self._stream = library.fopencookie(None, b"w", functions)
        if not self._stream:
            raise OSError("no stream")
        library.setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        library.setvbuf(self._stream, None, 2, 0)  # unbuffered: `_hear` runs in the same thread
        self._screen = self._variable.value
        self._lock, self._n_listeners = threading.Lock(), 0

    def listen(self, change: int) -> None:
        """One listener more or less; the last one puts the variable back."""
        with self._lock:
            self._n_listeners += change
            self._variable.value = self._stream if self._n_listeners else self._screen


@cache
def _c_stderr() -> _CStderr | None:
    try:
        return _CStderr()
    except (OSError, TypeError, AttributeError, ValueError):
        return None


@contextlib.contextmanager
def listen_to_c() -> Iterator[list[bytes]]:
    """What C libraries print in this thread meanwhile, instead of on the screen.

    Nothing is heard on macOS and Windows, where these lines are printed without a file's name.
    """
    lines: list[bytes] = []
    stderr = _c_stderr()
    if stderr is None:
        yield lines
        return
    _thread.lines = lines
    stderr.listen(1)
    try:
        yield lines
    finally:
        stderr.listen(-1)
        _thread.lines = None
