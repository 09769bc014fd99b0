"""Paths as artifacts hold them: without the user's name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def portable_path(path: Path | str) -> str:
    """An absolute path with the home folder written as ``~``: no user name in artifacts."""
    text = str(Path(path).expanduser().absolute())
    home = str(Path.home())
    if home not in {"/", ""} and (text == home or text.startswith(home + os.sep)):
        return "~" + text[len(home) :]
    return text


def without_home(value: Any) -> Any:
    """A JSON value with the home folder written as ``~`` in every string."""
    home = str(Path.home())
    if home in {"/", ""}:
        return value
    if isinstance(value, str):
        return value.replace(home + os.sep, "~" + os.sep)
    if isinstance(value, list):
        return [without_home(item) for item in value]
    if isinstance(value, dict):
        return {key: without_home(item) for key, item in value.items()}
    return value
