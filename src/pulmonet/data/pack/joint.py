"""The packs of several collections, read as one: each is the pack that its collection has alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pulmonet.arrays import Ints, Pixels
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import Pack, open_pack


class JointPack(Pack):
    """Squared images of the rows of several collections; `packs` say what was decoded of each."""

    def __init__(self, manifest: Manifest, packs: Sequence[Pack]) -> None:
        """From the open packs of a manifest's parts, in their order."""
        self._manifest, self.packs = manifest, tuple(packs)
        self.side, self.folder = packs[0].side, packs[0].folder.parent
        self.n_rows, self.bad_rows = len(manifest), {}
        parts = manifest.by_collection(np.arange(self.n_rows))
        for pack, (*_, places) in zip(packs, parts, strict=True):
            self.bad_rows |= {int(places[row]): why for row, why in pack.bad_rows.items()}

    def remarks(self, rows: Ints) -> Ints:
        """As `Pack.remarks`."""
        return np.asarray(self._gather(rows, Pack.remarks, np.empty(len(rows), np.int64)))

    def checksums(self, rows: Ints) -> Ints:
        """As `Pack.checksums`."""
        return np.asarray(self._gather(rows, Pack.checksums, np.empty(len(rows), np.int64)))

    def read(self, rows: ArrayLike) -> Pixels:
        """As `Pack.read`."""
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.n_rows:
            raise ValueError("rows that this pack was not opened for")
        images = np.empty((len(wanted), self.side, self.side), np.uint8)
        return np.asarray(self._gather(wanted, Pack.read, images))

    def _gather(self, rows: Ints, what: Callable[[Pack, Any], Any], found: Any) -> Any:
        """`found`, (n, ...), filled with `what` each pack gives for its rows."""
        parts = self._manifest.by_collection(rows)
        for pack, (_, own, places) in zip(self.packs, parts, strict=True):
            found[places] = what(pack, own)
        return found


def open_packs(manifest: Manifest, rows: Ints, **how: Any) -> Pack:
    """As `open_pack`, with the pack of each collection where a manifest is of several."""
    if not manifest.parts:
        return open_pack(manifest, rows, **how)
    opened = (open_pack(part, own, **how) for part, own, _ in manifest.by_collection(rows))
    return JointPack(manifest, list(opened))
