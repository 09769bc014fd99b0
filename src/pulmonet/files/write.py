"""Writing a file whole or not at all."""

import contextlib
import errno
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from pulmonet.errors import ArtifactError
from pulmonet.files.system import locked, sync_folder


def bytes_of(save: Callable[[io.BytesIO], object]) -> bytes:
    """What `save` writes into a file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: temporary name, flush, fsync, rename.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, and the like.
    """
    data = to_bytes(content)
    # named before it is there: a signal may come as soon as it is
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
        logging.getLogger(__name__).info("wrote %s", path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise ArtifactError(explain_write(path, error)) from None
        raise


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other commands out while a file is read, changed and written.

    Raises:
        ArtifactError: its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            yield
    except OSError as error:
        raise ArtifactError(explain_write(path, error)) from None


def to_bytes(content: bytes | str) -> bytes:
    """Text as UTF-8; bytes of a file's name that are none stay what they were."""
    if isinstance(content, bytes):
        return content
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return content.encode("utf-8", "replace")


def to_json(value: Any) -> str:
    """JSON of pydantic models, and of numpy's arrays and numbers too; NaN becomes null.

    Bytes of a file's name that are no UTF-8 are escaped as JSON escapes: raw, no reader takes them.
    """
    plain = to_jsonable_python(
        value, by_alias=False, inf_nan_mode="null", fallback=lambda array: array.tolist()
    )
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `to_json` atomically."""
    write_atomic(path, to_json(value))


def explain_write(path: Path, error: OSError) -> str:
    """What is said of a file that could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        way_out = "free some space and run it again; what was there before is untouched"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        way_out = "choose another folder or change its permissions"
    elif error.errno == errno.EEXIST:  # a lock, or a folder, is to be where a file lies
        path, way_out = Path(error.filename or path), "remove or rename it"
    else:
        way_out = "check the folder"
    return f"{path}: cannot be written ({error.strerror}); {way_out}"
