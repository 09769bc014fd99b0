"""Patients dealt into folds and shares, by their own names and the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.errors import DataError


def draws(keys: Sequence[str] | NDArray[Any] | pd.Index[Any], salt: str) -> NDArray[np.uint64]:
    """One 64-bit draw a key, a function of (salt, key) alone."""
    prefix = hashlib.blake2b(f"{salt}\0".encode(), digest_size=8)
    digests = bytearray()
    for key in keys:
        hasher = prefix.copy()
        hasher.update(str(key).encode("utf-8", "surrogatepass"))
        digests += hasher.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)


def deal_patients(
    patients: NDArray[np.object_], labels: NDArray[np.float32], salt: str
) -> NDArray[np.int64]:
    """(N,) place of each row's patient in an order in which neighbours have the same labels.

    Patients are sorted by their positive labels, the rarest label first, and within equal labels
    by a seeded draw. Every k-th patient of this order is a share of 1/k of each label's
    positives, up to rounding: systematic sampling from a sorted list, stratified over many
    labels at once where a table of strata would be mostly empty.

    Args:
        patients: (N,) ids.
        labels: (N, L) raw labels; 1 counts.
        salt: seeds the draw.
    """
    codes, ids = pd.factorize(patients)
    positive = np.zeros((len(ids), labels.shape[1]), dtype=bool)
    for column in range(labels.shape[1]):
        positive[codes[labels[:, column] == 1], column] = True
    rarest_first = np.argsort(positive.sum(axis=0), kind="stable")
    keys = [draws(ids, salt), *(~positive[:, column] for column in rarest_first[::-1])]
    places = np.empty(len(ids), dtype=np.int64)
    places[np.lexsort(keys)] = np.arange(len(ids))
    return places[codes]


def take_share(places: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """(N,) whether a row's patient is in a share of `fraction`, evenly spread over the order.

    Raises:
        DataError: a single patient cannot be split.
    """
    n_patients = int(places.max()) + 1 if len(places) else 0
    if n_patients < 2:
        raise DataError("one patient only: no validation split can be drawn; add patients")
    n_taken = min(max(1, round(fraction * n_patients)), n_patients - 1)
    # patient i is taken where the running count of n_taken * (i + 1/2) / n_patients steps up
    shifted = 2 * places * n_taken + n_taken
    steps = 2 * n_patients
    half = n_patients
    return (shifted + half) // steps > (shifted - 2 * n_taken + half) // steps
