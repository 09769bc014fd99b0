"""Random numbers that are functions of (seed, epoch, row, stream), and orders drawn by them.

A generator hands out numbers in the order in which it is asked, so its draws depend on batch
size, worker count and where a run was resumed. A hash of the coordinates does not. The hash is
written out here, in 64-bit integers, so that a new NumPy draws what an old one drew.
"""

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Floats32, Ints
from pulmonet.errors import ConfigError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

#: Streams of class-aware orders, apart from those of augmentation and loading. Never renumber.
_LABELS, _GROUPS, _POSITIVES, _NEGATIVES, _WITHIN = 200, 300, 1_000, 2_000, 10_000


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


def class_aware_order(
    targets: Floats32, rows: Ints, *, batch_size: int, positive_share: float, seed: int, epoch: int
) -> Ints:
    """An epoch in which each batch is about one label and holds a share of its positives.

    Labels take turns in an order drawn for the epoch. A label's positives (target over 0.5) and
    negatives (the other known ones) are dealt out shuffled, each once before any comes again, so
    rare positives repeat and some negatives are not seen in an epoch. As many batches as a plain
    epoch has. After Yuan et al. 2023, "LibAUC", section 4.1 (arXiv:2306.03065).

    From (n, L) targets, NaN = unknown, and (n,) manifest row numbers, what the draws depend on, to
    (n,) positions into these; in each batch at least one image is positive and one is not.

    Raises:
        ConfigError: no label has both positives and negatives.
    """
    check_both_classes(targets)
    shuffled: dict[int, tuple[Ints, Ints]] = {}
    for label, column in enumerate(targets.T):
        positives, negatives = np.flatnonzero(column > 0.5), np.flatnonzero(column <= 0.5)
        if len(positives) and len(negatives):
            shuffled[label] = (
                positives[permutation(seed, epoch, rows[positives], _POSITIVES + label)],
                negatives[permutation(seed, epoch, rows[negatives], _NEGATIVES + label)],
            )
    labels = np.array(list(shuffled))
    turns = labels[permutation(seed, epoch, labels, _LABELS)].tolist()
    used = dict.fromkeys(turns, (0, 0))
    batches = []
    for step, start in enumerate(range(0, len(rows), batch_size)):
        label = turns[step % len(turns)]
        n_here = min(batch_size, len(rows) - start)
        n_positive = max(1, min(round(positive_share * n_here), n_here - 1))
        n_each = (n_positive, n_here - n_positive)
        batch = np.concatenate(
            [
                pool[np.arange(first, first + n) % len(pool)]
                for pool, first, n in zip(shuffled[label], used[label], n_each, strict=True)
            ]
        )
        # mixed again, so that each process's part of the batch holds positives
        batches.append(batch[permutation(seed, epoch, np.arange(n_here), _WITHIN + step)])
        used[label] = (used[label][0] + n_each[0], used[label][1] + n_each[1])
    return np.concatenate(batches).astype(np.int64)


def even_order(groups: Ints, rows: Ints, *, seed: int, epoch: int) -> Ints:
    """An epoch in which groups take turns, a row each: some rows repeat, some are not seen.

    From (n,) numbers of groups, and of manifest rows, to (n,) positions into these.
    """
    kinds = np.unique(groups).tolist()
    order = np.empty(len(rows), np.int64)
    for turn, group in enumerate(kinds):
        members = np.flatnonzero(groups == group)
        dealt = members[permutation(seed, epoch, rows[members], _GROUPS + group)]
        order[turn :: len(kinds)] = np.resize(dealt, len(order[turn :: len(kinds)]))
    return order


def check_both_classes(targets: Floats32) -> None:
    """That a class-aware order of (n, L) targets exists.

    Raises:
        ConfigError: no label has both positives and negatives.
    """
    if not ((targets > 0.5).any(axis=0) & (targets <= 0.5).any(axis=0)).any():
        what = "loss.name: aucm: no label has both positive and negative training rows"
        raise ConfigError(f"{what}; train on more rows or with loss.name=bce")
