"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pulmonet.errors import ArtifactError

if TYPE_CHECKING:
    pass
from pulmonet.files.paths import portable_path
from pulmonet.files.system import sync_folder, umask

# --- writing ------------------------------------------------------------------------------


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: temporary name, flush, fsync, rename.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, and the like.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise ArtifactError(explain_write(path, error)) from None
    except BaseException:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN becomes null."""
    write_atomic(path, json.dumps(_without_nan(value), indent=2, ensure_ascii=False) + "\n")


def _without_nan(value: Any) -> Any:
    import numpy as np

    if isinstance(value, BaseModel):
        return _without_nan(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.ndarray):
        return _without_nan(value.tolist())
    if isinstance(value, np.generic):
        return _without_nan(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return portable_path(value)
    return value


def explain_write(path: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        way_out = "free some space and run it again; what was there before is untouched"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        way_out = "choose another folder or mend its permissions"
    else:
        way_out = "check the folder"
    return f"{path}: cannot be written ({error.strerror}); {way_out}"
