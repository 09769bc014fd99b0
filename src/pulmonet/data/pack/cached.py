"""Which packs lie in the cache: nothing deletes them, so `prepare` says what could be."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pulmonet.data.pack.open import Pack, cache_dir
from pulmonet.files.system import bytes_on_disk


@dataclass(frozen=True)
class CachedPack:
    """A pack folder, complete or not."""

    folder: Path
    side: int  # R, pixels
    fit: str  # stretch, pad or crop
    n_bytes: int  # that it takes on the disk


def other_packs(root: Path, pack: Pack) -> list[CachedPack]:
    """Packs of the dataset at `root` beside `pack`: other sizes and fits, earlier lists of images.

    A folder that says nothing readable of itself is passed over.
    """
    found = []
    here = os.path.realpath(root)
    for path in sorted((cache_dir() / "packs").glob("*/pack.json")):
        try:
            identity = json.loads(path.read_text("utf-8"))
            if path.parent == pack.folder or identity["root"] != here:
                continue
            n_bytes = sum(bytes_on_disk(file) for file in path.parent.iterdir())
            side, fit = int(identity["side"]), str(identity["fit"])
            found.append(CachedPack(path.parent, side, fit, n_bytes))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
    return found
