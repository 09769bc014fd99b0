"""Folders of what PulmoNet remembers about datasets, outside the datasets themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import platformdirs


def user_data_dir() -> Path:
    """PulmoNet's folder in the user's data folder; `XDG_DATA_HOME` moves it."""
    return Path(platformdirs.user_data_dir("pulmonet", appauthor=False))


def dataset_dir(root: Path) -> Path:
    """Folder of what is remembered about one dataset: its split and its column mapping.

    Named after the root and its absolute path, so that two datasets of one name differ.
    """
    digest = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return user_data_dir() / "datasets" / f"{root.name}-{digest[:8]}"
