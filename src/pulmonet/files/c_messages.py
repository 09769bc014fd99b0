"""What C libraries print, as lines that can be given a file's name."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _CookieFunctions(ctypes.Structure):
    """`cookie_io_functions_t` of fopencookie(3): read, write, seek, close."""

    _fields_ = (("r", ctypes.c_void_p), ("w", _Write), ("s", ctypes.c_void_p), ("c", _Write))


_lock = threading.Lock()
_listeners: dict[int, list[bytes]] = {}  # by thread


@_Write  # type: ignore[untyped-decorator]
def _hear(_cookie: int, text: int, n_bytes: int) -> int:
    said = ctypes.string_at(text, n_bytes)
    if (lines := _listeners.get(threading.get_ident())) is not None:
        lines.append(said)
    else:
        os.write(2, said)
    return n_bytes


@cache
def _streams() -> tuple[Any, int | None, int | None]:
    """The variable `stderr` of glibc, which may be set, its value, a stream that `_hear` writes.

    musl has it in memory that is read-only, macOS and Windows have nothing of this name: there a
    variable of no meaning.
    """
    try:
        library = ctypes.CDLL(None)
        variable = ctypes.c_void_p.in_dll(library, "stderr")
        open_stream, _ = library.fopencookie, library.gnu_get_libc_version
        open_stream.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _CookieFunctions)
        open_stream.restype = ctypes.c_void_p
        stream = open_stream(None, b"w", _CookieFunctions(w=_hear))
        # unbuffered (2): `_hear` is called at once, in the thread that prints
        library.setvbuf(ctypes.c_void_p(stream), None, 2, ctypes.c_size_t(0))
    except (OSError, TypeError, AttributeError, ValueError):
        stream = None
    return (variable, variable.value, stream) if stream else (ctypes.c_void_p(), None, None)


@contextlib.contextmanager
def listen_to_c() -> Iterator[list[bytes]]:
    """What C libraries print in this thread meanwhile, instead of on the screen; not to be nested.

    The handle 2 stays as it is. Nothing is heard on macOS and Windows: there these lines are
    printed, without a file's name.
    """
    variable, screen, stream = _streams()
    me, lines = threading.get_ident(), list[bytes]()
    with _lock:
        _listeners[me] = lines
        variable.value = stream
    try:
        yield lines
    finally:
        with _lock:
            del _listeners[me]
            variable.value = stream if _listeners else screen
