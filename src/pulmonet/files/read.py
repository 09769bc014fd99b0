"""Files of strangers: only plain ones are opened, only so much is read, no pickle is executed.

What cannot be read is an `OSError` or a `ValueError` here; each reader makes its own error of it.
"""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import hashlib
import importlib.metadata
import logging
import lzma
import math
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulmonet.errors import ArtifactError
from pulmonet.words import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Configurations, records and notes: the largest that PulmoNet writes have a few megabytes.
MAX_TEXT_BYTES = 64 * 1024 * 1024

#: Tables: a million rows of the largest public set are 0.2 GB, its header has 2 kB.
MAX_TABLE_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 1_000_000
MAX_COLUMNS = 10_000

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

    Raises:
        OSError: missing, or not a plain file.
        ValueError: no such archive, or damaged.
    """
    check_plain(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("compressed, which torch.save never does")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(first_line(error)) from None
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged (CRC-32)")


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """The text of a plain UTF-8 file.

    Raises:
        OSError: missing, not a plain file, or of more than `limit` bytes.
        ValueError: not UTF-8.
    """
    check_plain(path)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes")
    return content.decode("utf-8")


def check_table(path: Path) -> None:
    """Refuse a table that would take a reader's memory or minutes; compressed by its ending.

    Raises:
        OSError: missing, not a plain file, or not compressed as its name says.
        ValueError: too many bytes or columns.
    """
    check_plain(path)
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers.get(path.suffix, open)(path, "rb") as file:
        start = file.read(MAX_HEADER_BYTES)
        header, n_bytes = start.partition(b"\n")[0], len(start)
        if path.suffix not in openers:
            n_bytes = path.stat().st_size
        while path.suffix in openers and n_bytes <= MAX_TABLE_BYTES and (more := file.read(2**20)):
            n_bytes += len(more)
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # more than it says itself is never unpacked
            n_bytes = max(n_bytes, sum(entry.file_size for entry in archive.infolist()))
    if n_bytes > MAX_TABLE_BYTES:
        raise ValueError(f"a table of more than {MAX_TABLE_BYTES:,} bytes")
    n_columns = header.count(b",") + 1
    if len(header) == MAX_HEADER_BYTES or n_columns > MAX_COLUMNS:
        raise ValueError(
            f"a header of at least {len(header):,} bytes and {n_columns:,} columns, more than "
            f"{MAX_COLUMNS:,}"
        )
    logging.getLogger(__name__).info("reading the table %s", path)


def check_last_line(path: Path) -> None:
    """Refuse a table that ends within a line, as a copy that was cut short does.

    Readers would fill the cells that are not there with nothing. Compressed tables know their
    own end.

    Raises:
        OSError: missing.
        ValueError: a last line without its end has fewer cells than the header.
    """
    if path.suffix in {".gz", ".bz2", ".xz", ".zip"}:
        return
    with path.open("rb") as file:
        header = file.readline(MAX_HEADER_BYTES)
        start = max(len(header), path.stat().st_size - MAX_HEADER_BYTES)
        file.seek(start)
        _, newline, last = file.read().rpartition(b"\n")
    within_quotes = last.count(b'"') % 2  # or the end of a cell of several lines
    if not last or within_quotes or (not newline and start > len(header)):
        return
    n_cells, n_columns = (
        len(next(csv.reader([line.decode("utf-8", "replace")]), [])) for line in (last, header)
    )
    if n_cells < n_columns:
        raise ValueError(
            f"it ends in a line of {n_cells} of {n_columns} cells without a line break: cut short"
        )


def read_array(path: Path, name: str) -> NDArray[Any]:
    """One array of an ``.npz`` archive, after a look at what it claims to become.

    Raises:
        OSError: missing, or not a plain file.
        KeyError: no such array.
        ValueError: damaged, in need of a pickle, or a bomb.
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
                raise ValueError(
                    f"would unpack to {n_bytes:,} bytes, more than {MAX_RATIO} times its size"
                )
            with archive.open(entry) as file:
                return np.asarray(npy.read_array(file, allow_pickle=False))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(first_line(error)) from None


def written_by_newer(raw: object) -> str:
    """What to say of a JSON value that a newer version of PulmoNet wrote; empty of others."""
    values = raw if isinstance(raw, dict) else {}
    facts = values.get("provenance", values)
    writer = str(facts.get("pulmonet", "")) if isinstance(facts, dict) else ""
    own = importlib.metadata.version("pulmonet")
    ours, theirs = ([int(n) for n in re.findall(r"\d{1,9}", name)[:3]] for name in (own, writer))
    schema = values.get("schema")
    if theirs <= ours and not (isinstance(schema, int) and schema > 1):
        return ""
    return (
        f"written by a newer pulmonet {writer}, and this is {own}; use that version "
        "(pip install --upgrade pulmonet)"
    )


def sha256_of(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        check_plain(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); restore it") from None
