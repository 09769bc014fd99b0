"""Files of strangers: only plain ones are opened, only so much is read, no pickle is executed.

What cannot be read is an `OSError` or a `ValueError` here; each reader makes its own error of it.
"""

import bz2
import codecs
import errno
import gzip
import hashlib
import logging
import lzma
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulmonet.errors import ArtifactError
from pulmonet.version import __version__
from pulmonet.words import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Configurations, records and notes: the largest that PulmoNet writes have a few megabytes.
MAX_TEXT_BYTES = 64 * 1024 * 1024

#: Tables: a million rows of the largest public set are 0.2 GB, its header has 2 kB.
MAX_TABLE_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 1_000_000
MAX_COLUMNS = 10_000
SEPARATORS = (",", ";", "\t", "|")
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_SEEN: ContextVar[set[Path] | None] = ContextVar("tables read", default=None)

#: A JSON file that is read whole into memory is not larger than this.
MAX_JSON_BYTES = 512 * 1024 * 1024

#: An archive may say that so much comes out of it whatever its size.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
#: More must not come out than so many times the archive: noise and X-rays stay below 4, a bomb
#: needs about 1,000.
MAX_RATIO = 100


def check_plain(path: Path) -> None:
    """Refuse a pipe, which nobody may ever write to, and a device such as /dev/zero.

    Raises:
        OSError: no such file, or not a plain one.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a plain file")


def check_archive(path: Path) -> None:
    """Refuse a file of `torch.save` with a wrong byte: torch itself does not look at the CRC-32.

    OSError: missing, or not a plain file. ValueError: no such archive, or damaged.
    """
    check_plain(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("compressed, which torch.save never does")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("claims more bytes than it has")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"damaged or cut short ({first_line(error)})") from None
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged (CRC-32)")


def mistaken_for(start: bytes) -> str:
    """What a file is that often lies in the place of another, by its first bytes; else "".

    An empty one, one of Git LFS that was never fetched, a page that a download ended in.
    """
    text = start.lstrip().lower()
    if not start.strip(b"\0\t\n\r "):
        return "empty; copy or download it again"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS instead of the file; fetch it with `git lfs pull`"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page instead of the file; download it again, signed in if need be"
    return ""


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """The text of a plain UTF-8 file, less the byte order mark that Windows editors begin it with.

    OSError: missing, not a plain file, or of more than `limit` bytes. ValueError: not UTF-8.
    """
    check_plain(path)
    with path.open("rb") as file:
        n_bytes = path.stat().st_size  # to read up to a number takes that much memory
        content = file.read(min(n_bytes, limit) + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")


@contextmanager
def noting_tables() -> Iterator[set[Path]]:
    """A set that fills with the files that `read_bytes` reads within."""
    seen: set[Path] = set()
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def read_bytes(path: Path) -> bytes:
    """All bytes of a table, unpacked where it is compressed; a text's header is looked at first.

    OSError: missing, or not a plain file. ValueError: too large, too many columns, or damaged.
    """
    logging.getLogger(__name__).info("reading the table %s", path)
    seen = _SEEN.get()
    if seen is not None:
        seen.add(path)
    check_plain(path)
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for mark, opener in _PACKED.items() if start.startswith(mark)), open)
    try:
        if start.startswith(b"PK\x03\x04"):
            return _read_zip(path)
        with opener(path, "rb") as file:
            return _bounded(file)
    except EOFError:
        raise ValueError("it ends within its compressed data: cut short") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise ValueError(first_line(error)) from None


def _read_zip(path: Path) -> bytes:
    """The one file in an archive; a spreadsheet, which is one itself, as it is."""
    with zipfile.ZipFile(path) as archive:
        inside = [each for each in archive.namelist() if not each.startswith("__MACOSX/")]
        if "xl/workbook.xml" not in inside:
            if len(inside) != 1:
                raise ValueError(f"a zip archive of {len(inside)} files; unpack it")
            with archive.open(inside[0]) as entry:
                return _bounded(entry)
        if sum(entry.file_size for entry in archive.infolist()) > MAX_TABLE_BYTES:
            raise ValueError(f"a table of more than {MAX_TABLE_BYTES:,} bytes")
    return path.read_bytes()


def _bounded(file: Any) -> bytes:
    content: bytes = file.read(MAX_HEADER_BYTES)
    header = content.partition(b"\n")[0].partition(b"\r")[0]
    n_columns = 1 + max(header.count(separator.encode()) for separator in SEPARATORS)
    is_text = not content.startswith(b"PAR1")
    if is_text and (len(header) == MAX_HEADER_BYTES or n_columns > MAX_COLUMNS):
        what = f"a header of at least {len(header):,} bytes and {n_columns:,} columns,"
        raise ValueError(f"{what} more than {MAX_COLUMNS:,}")
    parts, n_bytes = [content], len(content)
    while n_bytes <= MAX_TABLE_BYTES and (part := file.read(2**20)):  # 2 GB at once take 2 GB
        parts.append(part)
        n_bytes += len(part)
    if n_bytes > MAX_TABLE_BYTES:
        raise ValueError(f"a table of more than {MAX_TABLE_BYTES:,} bytes")
    return b"".join(parts)


def read_array(path: Path, name: str) -> "NDArray[Any]":
    """One array of an ``.npz`` archive, after a look at what it claims to become.

    OSError: missing, or not a plain file. KeyError: no such array. ValueError: damaged, in need
    of a pickle, or a bomb.
    """
    import numpy as np
    from numpy.lib import format as npy

    check_plain(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with archive.open(entry) as file:
                is_first = npy.read_magic(file) == (1, 0)
                read_header = npy.read_array_header_1_0 if is_first else npy.read_array_header_2_0
                shape, _, dtype = read_header(file)
            n_bytes, unpacked = math.prod(shape) * dtype.itemsize, entry.file_size
            if n_bytes > unpacked:
                raise ValueError(f"claims an array of {n_bytes:,} bytes and holds {unpacked:,}")
            if n_bytes > max(MAX_UNPACKED_BYTES, MAX_RATIO * path.stat().st_size):
                text = f"would unpack to {n_bytes:,} bytes, more than {MAX_RATIO} times its size"
                raise ValueError(text)
            with archive.open(entry) as file:
                return np.asarray(npy.read_array(file, allow_pickle=False))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(first_line(error)) from None


def written_by_newer(raw: object) -> str:
    """What to say of a JSON value that a newer version of PulmoNet wrote; empty of others."""
    values = raw if isinstance(raw, dict) else {}
    facts = values.get("provenance", values)
    writer = str(facts.get("pulmonet") or "") if isinstance(facts, dict) else ""
    own = __version__
    ours, theirs = ([int(n) for n in re.findall(r"\d{1,9}", name)[:3]] for name in (own, writer))
    schema = values.get("schema")
    if theirs <= ours and not (isinstance(schema, int) and schema > 1):
        return ""
    what = f"written by a newer pulmonet {writer or f'(schema {schema})'}, and this is {own}"
    return f"{what}; use that version (pip install --upgrade pulmonet)"


def sha256_of(path: Path) -> str:
    """Hex digest of a file. ArtifactError: it cannot be read."""
    try:
        check_plain(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); restore it") from None
