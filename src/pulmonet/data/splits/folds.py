"""Patients dealt into folds, validation splits and shares, by their own names and the seed."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Floats32, Ints, Strings
from pulmonet.config.fields import DataConfig
from pulmonet.data.splits.files import read_splits, splits_path, write_splits
from pulmonet.errors import ArtifactError, DataError
from pulmonet.files.paths import expand, portable_path
from pulmonet.words import count, list_first


def assign(
    table: pd.DataFrame,
    labels: Sequence[str],
    root: Path,
    data: DataConfig,
    seed: int,
    *,
    keep: bool = True,
    all_read: bool = True,
) -> tuple[Strings, list[str]]:
    """The split of every row, from the first of these that applies.

    1. ``folds``: patient folds over all rows but those of test, by the source or the list of 2.;
       fold ``fold`` is valid;
    2. ``splits``, else a ``splits.csv`` in the dataset root: listed patients go where it says,
       others keep the source's split;
    3. the source's own split where it has validation or no training rows;
    4. a share ``valid_fraction`` of the training patients, stratified over the labels, drawn
       once with `seed` and kept (`splits_path`), so that later runs, whatever their seed, have
       the same validation patients; the file may be edited. Without `keep` it is not written.

    Without `all_read`, a table that lies beside may hold the source's own validation split.

    Returns:
        (N,) split names, and notes that say what was done.

    Raises:
        DataError: a splits file that does not fit.
    """
    split = table["split"].to_numpy(object)
    split = np.where(split == "", "train", split)
    patients = table["patient"].to_numpy(object)
    raw = table[list(labels)].to_numpy(np.float32)
    named, listed = expand(data.splits) if data.splits else root / "splits.csv", None
    text = f"from {portable_path(named)}"
    if data.splits or named.is_file():
        needed = (table["split"] == "").to_numpy() & (data.folds is None)
        listed, gone = _listed(named, patients, needed)
        text += gone
    if data.folds is not None:
        is_spared = np.zeros(len(split), bool) if listed is None else listed == "test"
        split, notes = _dealt(np.where(is_spared, "test", split), patients, raw, data, seed)
        return split, notes + [f"split: test {text}"] * bool(is_spared.any())
    if listed is not None:
        return np.where(listed == "", split, listed), [f"split: {text}"]
    if (split == "valid").any() or not (split == "train").any():
        return split, []
    kept = splits_path(root, data.valid_fraction)
    if kept.is_file():
        listed, _ = _listed(kept, patients, needed=split == "train")
        split = np.where(split == "train", listed, split)
        return split, [f"split: validation patients from {portable_path(kept)}"]
    lack = "the source has no" if all_read else "no table that was read has a"
    drawn, notes = _drawn(split, patients, raw, data.valid_fraction, seed, kept if keep else None)
    return drawn, [f"split: {lack} validation split; {text}" for text in notes]


def _dealt(
    split: Strings, patients: Strings, labels: Floats32, data: DataConfig, seed: int
) -> tuple[Strings, list[str]]:
    """All rows but those of test become folds, of which one is valid."""
    rows = np.flatnonzero(split != "test")
    places = deal_patients(patients[rows], labels[rows], f"folds {seed}")
    n_folds, n_patients = data.folds or 1, int(places.max()) + 1 if len(places) else 0
    if max(n_patients, 1) < n_folds:  # one fold: a part of several collections
        text = f"the dataset has only {n_patients} patients; choose fewer folds"
        raise DataError(f"--folds {n_folds}: {text}")
    split[rows] = np.where(places % n_folds == data.fold, "valid", "train")
    note = f"split: fold {data.fold} of {n_folds} patient folds (seed {seed}) is valid"
    return split, [note]


def _listed(path: Path, patients: Strings, needed: Flags) -> tuple[Strings, str]:
    """What `read_splits` gives; the `needed` rows must be listed."""
    listed, gone = read_splits(path, patients)
    missing = np.unique(patients[needed & (listed == "")].astype(str))
    if len(missing):
        raise DataError(
            f"{path}: {count(len(missing), 'patient')} of the dataset not listed "
            f"({list_first(missing)}); add their lines, or delete the file to draw a new split"
        )
    return listed, gone


def _drawn(
    split: Strings,
    patients: Strings,
    labels: Floats32,
    fraction: float,
    seed: int,
    kept: Path | None,
) -> tuple[Strings, list[str]]:
    """A share of the training patients becomes valid, and is written to `kept`."""
    training = np.flatnonzero(split == "train")
    if len(set(patients[training])) < 2:
        return split, ["one training patient only, so none was drawn"]
    places = deal_patients(patients[training], labels[training], f"valid {seed}")
    split[training[take_share(places, fraction)]] = "valid"
    note = f"{fraction:.0%} of the training patients were drawn (seed {seed})"
    if kept is None:
        return split, [note]
    try:
        write_splits(kept, patients, split)
    except ArtifactError:
        return split, [f"{note}; not kept, {portable_path(kept)} cannot be written"]
    return split, [f"{note} and kept in {portable_path(kept)}, which may be edited"]


def draws(keys: Iterable[object], salt: str) -> NDArray[np.uint64]:
    """One 64-bit draw a key, a function of (salt, key) alone."""
    prefix = hashlib.blake2b(f"{salt}\0".encode(), digest_size=8)
    digests = bytearray()
    for key in keys:
        hasher = prefix.copy()
        hasher.update(str(key).encode("utf-8", "surrogatepass"))
        digests += hasher.digest()
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def deal_patients(patients: Strings, labels: Floats32, salt: str) -> Ints:
    """(N,) place of each row's patient in an order in which neighbours have the same labels.

    Patients are sorted by their positive `labels`, (N, L), the rarest first, and within equal ones
    by a draw that `salt` seeds. Every k-th patient of this order is a share of 1/k of each label's
    positives, up to rounding: systematic sampling from a sorted list, stratified over many
    labels at once where a table of strata would be mostly empty.
    """
    codes, ids = pd.factorize(patients)
    positive = np.zeros((len(ids), labels.shape[1]), dtype=bool)
    for column in range(labels.shape[1]):
        positive[codes[labels[:, column] == 1], column] = True
    rarest_first = np.argsort(positive.sum(axis=0), kind="stable")
    keys = [draws(ids, salt), *(~positive[:, column] for column in rarest_first[::-1])]
    return np.asarray(np.argsort(np.lexsort(keys))[codes], np.int64)


def take_share(places: Ints, fraction: float) -> Flags:
    """(N,) whether a row's patient is in a share of `fraction`, evenly spread over the order.

    Raises:
        DataError: a single patient cannot be split.
    """
    n_patients = int(places.max()) + 1 if len(places) else 0
    if n_patients < 2:
        raise DataError("one patient only: no validation split can be drawn; add patients")
    n_taken = min(max(1, round(fraction * n_patients)), n_patients - 1)
    # patient i is taken where the running count of n_taken * (i + 1/2) / n_patients steps up
    count_here = (2 * places + 1) * n_taken + n_patients
    return count_here // (2 * n_patients) > (count_here - 2 * n_taken) // (2 * n_patients)
