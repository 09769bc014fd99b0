"""Features of packed images, beside the pack: what a frozen network makes of each, once."""

import zlib

import numpy as np
from numpy.typing import ArrayLike

from pulmonet.arrays import Floats32, Ints
from pulmonet.data.pack.files import NpyFile
from pulmonet.data.pack.open import Pack


class Features:
    """F float32 of each row of a pack, behind them the checksums of its pixels and of themselves.

    A row counts while both fit: neither a changed image nor a kill leaves one that is wrong.
    """

    def __init__(self, pack: Pack, key: str, n_features: int) -> None:
        """`key` says which network at which size; OSError: neither there nor to be made."""
        self._pack, shape = pack, (pack.n_rows, n_features + 2)
        self._file = NpyFile(pack.folder / f"features-{key}.npy", "<f4", shape)
        if not self._file.is_whole():
            self._file.mend()
        self._file.open(writable=True)

    def _read(self, row: int) -> Floats32:
        return np.asarray(self._file.read(row, row + 1)[0])

    def missing(self, rows: Ints) -> Ints:
        """Those of `rows` (n,) that have to be computed."""
        found = zip(map(self._read, rows.tolist()), self._pack.checksums(rows), strict=True)
        is_good = [_checks(one[:-2], pixels) == one[-2:].tobytes() for one, pixels in found]
        return np.asarray(rows[~np.array(is_good, bool)])

    def read(self, rows: ArrayLike) -> Floats32:
        """(n, 1, F) of `rows` in their order; safe to call from several threads."""
        return np.stack([self._read(row)[None, :-2] for row in np.asarray(rows).tolist()])

    def write(self, rows: Ints, features: Floats32) -> None:
        """Keep the (n, F) features of ascending rows. OSError: the disk is full, and the like."""
        pairs = zip(features.astype("<f4"), self._pack.checksums(rows), strict=True)
        content = b"".join(one.tobytes() + _checks(one, pixels) for one, pixels in pairs)
        self._file.write(rows.tolist(), np.frombuffer(content, "<f4"))


def _checks(features: Floats32, pixels: int) -> bytes:
    return np.array([pixels, zlib.crc32(features.tobytes())], "<u4").tobytes()
