"""Paths as artifacts hold them, without the user's name; folders of what is remembered."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pulmonet.errors import ConfigError

#: Endings of image files.
ENDINGS = frozenset(["jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "dcm", "dicom", "dic"])

#: What else follows a stem in a table: ``x.npy``, ``x.dcm.png``.
OTHER_ENDINGS = frozenset(["bmp", "gif", "webp", "jp2", "npy", "nii", "gz", "mha", "ima"])


def expand(path: Path | str) -> Path:
    """A path as it was typed, ``~`` and ``~name`` replaced by that home folder.

    Raises:
        ConfigError: nobody of that name has one.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        text = f"{path}: no home folder {name} on this machine; write the whole path"
        raise ConfigError(text) from None


def places_of(typed: str | Iterable[str] | None) -> tuple[str, ...]:
    """Folders as they are named: one, several, or with commas, which may be in one's own name."""
    every = [typed] if isinstance(typed, str) else typed or ()
    parts = ([one] if "," not in one or expand(one).exists() else one.split(",") for one in every)
    return tuple(part.strip() for some in parts for part in some if part.strip())


def portable_path(path: Path | str) -> str:
    """An absolute path with the home folder written as ``~``: no user name in artifacts."""
    text = os.path.abspath(expand(path))  # noqa: PTH100 (keeps links)
    home = _home()
    if home and (text == home or text.startswith(home + os.sep)):
        return "~" + text[len(home) :]
    return text


def without_home(value: Any, home: str | None = None) -> Any:
    """A JSON value with the `home` folder, the user's, written as ``~`` in every string."""
    home = _home() if home is None else home
    if isinstance(value, str):
        return value.replace(home + os.sep, "~" + os.sep) if home else value
    if isinstance(value, list):
        return [without_home(item, home) for item in value]
    if isinstance(value, dict):
        return {key: without_home(item, home) for key, item in value.items()}
    return value


def folder_name(path: Path) -> str:
    """A folder's own name, also of ``.`` and ``..``."""
    return os.path.basename(os.path.abspath(path)) or "root"  # noqa: PTH100, PTH119 (keeps links)


def _home() -> str:
    """The home folder; empty for a user without one, as a container may have it."""
    try:
        return str(Path.home()).rstrip("/")
    except RuntimeError:
        return ""


def user_data_dir() -> Path:
    """PulmoNet's folder in the user's data folder; `XDG_DATA_HOME` moves it."""
    import platformdirs  # not at the start of every command

    return Path(platformdirs.user_data_dir("pulmonet", appauthor=False))


def dataset_dir(root: Path) -> Path:
    """Folder of what is remembered about one dataset: its split and its column mapping.

    Named after the root and its absolute path, so that two datasets of one name differ.
    """
    digest = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return user_data_dir() / "datasets" / f"{folder_name(root)}-{digest[:8]}"


def is_litter(name: str) -> bool:
    """Whether a file or folder is what macOS leaves beside others: ``._x.png``, ``__MACOSX``."""
    return name.startswith("._") or name in {"__MACOSX", ".DS_Store"}


def names_in(folder: Path | str) -> list[str]:
    """What a folder holds, sorted, less `is_litter`; nothing of one that cannot be read."""
    try:
        is_open = os.access(folder, os.R_OK | os.X_OK)  # lost+found is not
        names = os.listdir(folder) if is_open else ()  # noqa: PTH208 (no 100,000 Paths)
    except (OSError, ValueError):
        return []
    return sorted(name for name in names if not is_litter(name))


def plain(text: str) -> str:
    """A name as it is compared: without case, and in one of Unicode's two forms."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).casefold()


def stem_of(path: str) -> str:
    """The plain name of a file without its folders and endings: ``a`` of ``x/A.dcm.png``."""
    name = plain(path.replace("\\", "/").rpartition("/")[2])
    while True:
        head, _, ending = name.rpartition(".")
        if not head or (ending not in ENDINGS and ending not in OTHER_ENDINGS):
            return name
        name = head
