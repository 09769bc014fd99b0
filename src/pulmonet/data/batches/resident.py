"""The pixels of a run in a GPU's memory (``runtime.resident``)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pulmonet.arrays import Ints, Pixels
from pulmonet.data.batches.augment import place_tensor
from pulmonet.data.pack.open import Pack, decoding_threads

BLOCK_ROWS = 256


class ResidentPack(Pack):
    """Squared images of some rows of a pack, on a device: read, and checked, once."""

    def __init__(self, pack: Pack, rows: Ints, device: torch.device) -> None:
        """Copy ascending `rows` (n,) there. DataError: from `Pack.read`."""
        self.side, self._places = pack.side, np.full(pack.n_rows, -1)
        self._places[rows] = np.arange(len(rows))
        shape = len(rows), 1, self.side, self.side
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=device)

        def fill(start: int) -> None:
            block = torch.from_numpy(pack.read(rows[start:][:BLOCK_ROWS]))
            self._pixels[start:][:BLOCK_ROWS, 0].copy_(block)

        with ThreadPoolExecutor(decoding_threads()) as pool:
            list(pool.map(fill, range(0, len(rows), BLOCK_ROWS)))
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # loader threads read on a stream of their own

    def select(self, rows: Ints) -> Tensor:
        """(B, 1, R, R) uint8 of `rows` in their order, on the device. ValueError: not of them."""
        places = self._places[rows]
        if (places < 0).any():
            raise ValueError("rows that are not on the device")
        there = place_tensor(torch.from_numpy(places), self._pixels.device)
        return self._pixels.index_select(0, there)

    def read(self, rows: ArrayLike) -> Pixels:
        """As `Pack.read`, from the device."""
        return np.asarray(self.select(np.asarray(rows))[:, 0].cpu().numpy())
