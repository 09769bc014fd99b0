"""Random numbers that are functions of (seed, epoch, row, stream) and of nothing else.

A generator hands out numbers in the order in which it is asked, so its draws depend on batch
size, worker count and where a run was resumed. A hash of the coordinates does not. The hash is
written out here, in 64-bit integers, so that a new NumPy draws what an old one drew.
"""

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(seed: int, epoch: int, rows: Ints, stream: int) -> NDArray[np.uint64]:
    """64 random bits a row, from a chain of SplitMix64 steps over the coordinates.

    (n,) manifest row numbers to (n,) uint64; `stream` is which of a row's independent numbers.
    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
    (the finaliser is Stafford's variant 13).
    """
    state = np.zeros(np.shape(rows), np.uint64)
    with np.errstate(over="ignore"):
        for coordinate in (seed, epoch, stream):
            state = _mix(state + _GOLDEN + np.uint64(coordinate))
        return _mix(state + _GOLDEN + np.asarray(rows).astype(np.uint64) * _GOLDEN)


def uniform(seed: int, epoch: int, rows: Ints, stream: int) -> Array:
    """(n,) uniform numbers in [0, 1), with all 53 bits of a double."""
    bits = hash_rows(seed, epoch, rows, stream) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, rows: Ints, stream: int) -> Ints:
    """(n,) positions of `rows` in a random order, equal rows staying in their order."""
    return np.argsort(hash_rows(seed, epoch, rows, stream), kind="stable").astype(np.int64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
