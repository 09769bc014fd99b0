"""Splits that are not the source's own: drawn ones, folds, splits.csv, and shareable hashes."""

from __future__ import annotations

import hmac
import io
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.choices import SPLITS
from pulmonet.config.schema import DataConfig
from pulmonet.data.manifest import Manifest
from pulmonet.data.places import dataset_dir
from pulmonet.data.splits.deal import deal_patients, take_share
from pulmonet.data.tables import read_csv, text_column
from pulmonet.errors import ArtifactError, DataError
from pulmonet.files.paths import portable_path
from pulmonet.files.read import read_text
from pulmonet.files.write import write_atomic, write_json
from pulmonet.words import count, list_first

#: A shareable split has 16 to 64 bytes a patient.
MAX_SPLIT_BYTES = 1024 * 1024 * 1024

_SPELLINGS = {
    **{split: split for split in SPLITS},
    "training": "train",
    "val": "valid",
    "validate": "valid",
    "validation": "valid",
    "testing": "test",
}


def parse_split(name: str) -> str:
    """train, valid or test, however a source writes it; "" for anything else."""
    return _SPELLINGS.get(name.strip().lower(), "")


def splits_path(root: Path, valid_fraction: float) -> Path:
    """Where a drawn split is kept: in the user's data folder, one file a dataset and fraction."""
    return dataset_dir(root) / f"valid-{valid_fraction:g}" / "splits.csv"


def assign(
    table: pd.DataFrame,
    labels: Sequence[str],
    root: Path,
    data: DataConfig,
    seed: int,
    *,
    keep: bool = True,
) -> tuple[NDArray[np.object_], list[str]]:
    """The split of every row, from the first of these that applies.

    1. ``folds``: patient folds over all rows but the source's test rows; fold ``fold`` is valid;
    2. ``splits``, else a ``splits.csv`` in the dataset root: listed patients go where it says,
       others keep the source's split;
    3. the source's own split where it has validation or no training rows;
    4. a share ``valid_fraction`` of the training patients, stratified over the labels, drawn
       once with `seed` and kept (`splits_path`), so that later runs, whatever their seed, have
       the same validation patients; the file may be edited. Without `keep` it is not written.

    Returns:
        (N,) split names, and notes that say what was done.

    Raises:
        DataError: a splits file that does not fit.
    """
    split = table["split"].to_numpy(object)
    split = np.where(split == "", "train", split)
    patients = table["patient"].to_numpy(object)
    if data.folds is not None:
        return _fold(table, labels, split, data, seed), [
            f"split: fold {data.fold} of {data.folds} patient folds (seed {seed}) is valid"
        ]
    named = Path(data.splits).expanduser() if data.splits else root / "splits.csv"
    if data.splits or named.is_file():
        listed = read_splits(named, patients)
        chosen = listed[patients_codes(patients)[0]]
        unlisted = (chosen == "") & (table["split"] == "").to_numpy()
        if unlisted.any():
            raise DataError(_not_listed(named, np.unique(patients[unlisted].astype(str))))
        return np.where(chosen == "", split, chosen), [f"split: from {portable_path(named)}"]
    if (split == "valid").any() or not (split == "train").any():
        return split, []
    return _drawn(table, labels, root, split, data.valid_fraction, seed, keep=keep)


def patients_codes(patients: NDArray[np.object_]) -> tuple[NDArray[np.int64], list[str]]:
    """(N,) positions into the distinct patients, and these, in order of appearance."""
    codes, ids = pd.factorize(patients)
    return np.asarray(codes, np.int64), [str(patient) for patient in ids]


def _not_listed(path: Path, patients: NDArray[Any]) -> str:
    return (
        f"{path}: {count(len(patients), 'patient')} of the dataset not listed "
        f"({list_first(patients)}); add their lines, or delete the file to draw a new split"
    )


def _fold(
    table: pd.DataFrame,
    labels: Sequence[str],
    split: NDArray[np.object_],
    data: DataConfig,
    seed: int,
) -> NDArray[np.object_]:
    assert data.folds is not None
    rows = np.flatnonzero(split != "test")
    raw = table[list(labels)].to_numpy(np.float32)[rows]
    places = deal_patients(table["patient"].to_numpy(object)[rows], raw, f"folds {seed}")
    n_patients = int(places.max()) + 1 if len(places) else 0
    if n_patients < data.folds:
        raise DataError(
            f"--folds {data.folds}: the dataset has only {n_patients} patients; choose fewer folds"
        )
    result = split.copy()
    result[rows] = np.where(places % data.folds == data.fold, "valid", "train")
    return result


def _drawn(
    table: pd.DataFrame,
    labels: Sequence[str],
    root: Path,
    split: NDArray[np.object_],
    fraction: float,
    seed: int,
    *,
    keep: bool,
) -> tuple[NDArray[np.object_], list[str]]:
    patients = table["patient"].to_numpy(object)
    kept = splits_path(root, fraction)
    training = np.flatnonzero(split == "train")
    if kept.is_file():
        listed = read_splits(kept, patients)[patients_codes(patients)[0]]
        unlisted = training[listed[training] == ""]
        if len(unlisted):
            raise DataError(_not_listed(kept, np.unique(patients[unlisted].astype(str))))
        return np.where(split == "train", listed, split), [
            f"split: validation patients from {portable_path(kept)}"
        ]
    if len(set(patients[training])) < 2:
        return split, ["split: one training patient only, so no validation split was drawn"]
    raw = table[list(labels)].to_numpy(np.float32)[training]
    places = deal_patients(patients[training], raw, f"valid {seed}")
    result = split.copy()
    result[training[take_share(places, fraction)]] = "valid"
    note = (
        f"split: the source has no validation split; {fraction:.0%} of the training "
        f"patients were drawn (seed {seed})"
    )
    if not keep:
        return result, [note]
    try:
        write_splits(kept, patients, result)
    except ArtifactError:
        return result, [f"{note}; not kept, {portable_path(kept)} cannot be written"]
    return result, [f"{note} and kept in {portable_path(kept)}, which may be edited"]


def write_splits(path: Path, patients: NDArray[np.object_], split: NDArray[np.object_]) -> None:
    """Write ``splits.csv``: patient, split; one line a patient, sorted."""
    lines = pd.DataFrame({"patient": patients, "split": split}).drop_duplicates()
    buffer = io.StringIO()
    lines.sort_values(["patient", "split"]).to_csv(buffer, index=False, lineterminator="\n")
    write_atomic(path, buffer.getvalue())


def read_splits(path: Path, patients: NDArray[np.object_]) -> NDArray[np.object_]:
    """(P,) split of every distinct patient (`patients_codes`), "" where not listed.

    Args:
        path: ``splits.csv`` (patient, split), or a shareable split (``.json``).
        patients: (N,) patient of every row.

    Raises:
        DataError: damaged, a patient listed with two splits, an unknown split, or a shareable
            split that does not match these patients.
    """
    ids = patients_codes(patients)[1]
    if path.suffix == ".json":
        return _match_shareable(path, ids)
    raw = read_csv(path, ("patient", "split"))
    written = text_column(raw["split"])
    parsed = [parse_split(name) for name in written]
    wrong = [row for row, name in enumerate(parsed) if not name]
    if wrong:
        raise DataError(
            f"{path}: {count(len(wrong), 'wrong split')}, the first in line {wrong[0] + 2}: "
            f"{written[wrong[0]]!r}; choose from {', '.join(SPLITS)}"
        )
    pairs = pd.DataFrame({"patient": text_column(raw["patient"]), "split": parsed})
    pairs = pairs.drop_duplicates()
    twice = pairs["patient"][pairs["patient"].duplicated()]
    if len(twice):
        raise DataError(
            f"{path}: {count(len(twice), 'patient')} with more than one split "
            f"({list_first(twice)}); keep one line a patient"
        )
    listed = dict(zip(pairs["patient"], pairs["split"], strict=True))
    return np.asarray([listed.get(patient, "") for patient in ids], dtype=object)


# --- the shareable form -------------------------------------------------------------------


def _hashed(patients: Sequence[str], salt: str) -> list[str]:
    key = salt.encode()
    return [
        hmac.digest(key, patient.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]
        for patient in patients
    ]


def write_shareable_split(manifest: Manifest, path: Path, salt: str | None = None) -> None:
    """Write the split with salted patient hashes (HMAC-SHA-256, 128 bits) instead of ids.

    No id and no label of the dataset is in the file, so it can be published under a data-use
    agreement. The salt stands in it: whoever has the dataset can check the split (`read_splits`);
    whoever has not learns counts alone, unless the ids can be guessed (CheXpert's are numbered
    through), and then only which numbers are in which split.

    Args:
        manifest: whose split.
        path: the file, ``.json``.
        salt: a phrase; drawn where None.
    """
    salt = salt or secrets.token_hex(16)
    pairs = manifest.table[["patient", "split"]].drop_duplicates()
    hashes = pd.Series(_hashed(pairs["patient"].tolist(), salt), index=pairs.index)
    write_json(
        path,
        {
            "schema": 1,
            "dataset": manifest.name,
            "salt": salt,
            "hash": "HMAC-SHA-256(salt, patient id), first 32 hex digits",
            "splits": {
                split: sorted(hashes[pairs["split"] == split])
                for split in SPLITS
                if (pairs["split"] == split).any()
            },
        },
    )


def _match_shareable(path: Path, ids: list[str]) -> NDArray[np.object_]:
    try:
        raw = json.loads(read_text(path, MAX_SPLIT_BYTES))
        salt, splits = str(raw["salt"]), dict(raw["splits"])
        listed = {str(code): parse_split(str(split)) for split in splits for code in splits[split]}
        n_codes = sum(len(codes) for codes in splits.values())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(f"{path}: not a shareable split; write it with --export-split") from None
    if n_codes != len(listed) or "" in listed.values():
        raise DataError(f"{path}: a patient in two splits, or an unknown split; write it again")
    hashes = _hashed(ids, salt)
    matched = np.asarray([listed.get(code, "") for code in hashes], dtype=object)
    n_missing, n_foreign = int((matched == "").sum()), len(set(listed) - set(hashes))
    if n_missing or n_foreign:
        raise DataError(
            f"{path}: does not match this dataset: {n_missing:,} of its {len(ids):,} patients are "
            f"not in the file, {n_foreign:,} of the file's are not in the dataset; use the "
            "dataset version that the split was made for"
        )
    return matched
