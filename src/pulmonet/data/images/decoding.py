"""One guard around every decoder, and what there is to remark about an image that was decoded."""

import contextlib
import ctypes
import logging
import os
import re
import threading
from collections.abc import Iterator
from enum import IntFlag
from functools import cache
from typing import Any

import numpy as np

from pulmonet.errors import DataError, is_failure

#: What libjpeg and libpng say of a picture that is not whole. The rest is harmless: a few bytes
#: too many between the parts, colour profiles, versions.
_DAMAGE = re.compile(
    r"Corrupt JPEG data: (?!\d extraneous|bad ICC)|Premature end|libpng error|IDAT|image data|CRC"
)

COPY_AGAIN = "copy it again or remove its row"


class Remark(IntFlag):
    """What an image needed beyond decoding, or what is odd about it."""

    NONE = 0
    TURNED = 1  # it lay or stood on its head, as its EXIF orientation says
    ASSUMED = 2  # DICOM that does not say how its pixels are stored
    WINDOW = 4  # DICOM whose window or lookup table lies beside its values
    WARNED = 8  # its decoder had something to say, and the picture is whole
    COLOUR = 32  # it has colours, and X-rays have none
    FEW_GREYS = 16  # mostly black or white, or of few greys; seen on its square, so in no pack
    PHANTOM = 64  # drawn by `prepare --demo`, as its comment says
    RAW = 128  # DICOM of a detector's own values, which nobody looks at


#: The comment in every phantom's JPEG file, by which it is known wherever it is copied.
PHANTOM_COMMENT = b"PulmoNet phantom: synthetic, no patient"


@contextlib.contextmanager
def decoding(where: str, kind: str) -> Iterator[list[str]]:
    """Whatever a decoder raises, or its C library prints, as a DataError that names the file.

    Gives a list that holds at the end what was said of a picture that is whole. What stops the
    whole process goes through: Ctrl-C, SIGTERM, and memory that has run out.
    """
    remarks: list[str] = []
    reason = ""
    with listen_to_c() as heard, np.errstate(all="ignore"):
        try:
            yield remarks
        except (DataError, MemoryError):
            raise
        except BaseException as error:
            if not is_failure(error):
                raise
            said = re.sub(r" ?<\S+ object at 0x\w+>", "", " ".join(str(error).split()))
            said = said.rpartition("available plugins: ")[2]
            reason = said.partition(" - ")[0] or type(error).__name__
    told = b"".join(heard).decode("utf-8", "replace").strip().replace("\n", "; ")
    reason = told if _DAMAGE.search(told) else reason
    if reason:
        raise DataError(f"{where}: damaged {kind} ({reason[:160]}); {COPY_AGAIN}")
    if told:
        logging.getLogger(__name__).info("%s: %s", where, told)
        remarks.append(told)


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
