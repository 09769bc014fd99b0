"""Splits in files: splits.csv, and the shareable form with hashes in place of patients."""

import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.arrays import Strings
from pulmonet.choices import SPLITS
from pulmonet.data.manifest import Manifest
from pulmonet.data.spellings import SPELLINGS
from pulmonet.data.tables import find_tables, id_column, map_column, read_csv, table_stem
from pulmonet.errors import DataError
from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import dataset_dir
from pulmonet.files.read import read_text
from pulmonet.files.spreadsheet import table_text, unescaped
from pulmonet.files.write import to_json, write_atomic
from pulmonet.words import count, list_first

#: A shareable split has 16 to 64 bytes a patient.
MAX_SPLIT_BYTES = 1024 * 1024 * 1024

#: Tables that lie beside that of the images.
BESIDE = {"boxes.csv", "splits.csv"}


def parse_split(name: str) -> str:
    """train, valid or test, however a source writes it; "" for anything else."""
    return str(SPELLINGS["splits"].get(name.strip().lower(), ""))


def split_tables(root: Path) -> dict[str, Path]:
    """train, valid and test -> the table of that name: also ``val.csv`` and ``test_labels.csv``.

    Of several the plainest name is taken. ``groundtruth.csv`` is CheXpert's test set.
    """
    found: dict[str, tuple[tuple[bool, int], Path]] = {}
    for path in find_tables(root):
        stem = table_stem(path.name)
        split = parse_split(re.sub(r"^labels?[_-]|[_-]labels?$", "", stem))
        split = "test" if stem == "groundtruth" else split
        rank = (stem != split, len(stem))
        if split and (split not in found or rank < found[split][0]):
            found[split] = (rank, path)
    return {split: found[split][1] for split in SPLITS if split in found}


def splits_path(root: Path, valid_fraction: float) -> Path:
    """Where a drawn split is kept: in the user's data folder, one file a dataset and fraction."""
    return dataset_dir(root) / f"valid-{valid_fraction:g}" / "splits.csv"


def write_splits(path: Path, patients: Strings, split: Strings) -> None:
    """Write ``splits.csv``: patient, split; one line a patient, sorted."""
    lines = pd.DataFrame({"patient": patients, "split": split}).drop_duplicates()
    lines = lines.sort_values(["patient", "split"])
    write_atomic(path, table_text(lines))


def read_splits(path: Path, patients: Strings) -> tuple[Strings, str]:
    """(N,) split of every row's patient, "" where not listed; and who is listed and not there.

    `path` is a ``splits.csv`` (patient, split) or a shareable split (``.json``).

    Raises:
        DataError: damaged, a patient listed with two splits, an unknown split, none of the
            patients, or a shareable split that does not match these patients.
    """
    if path.suffix == ".json":
        return _match_shareable(path, patients), ""
    raw = read_csv(path, ("patient", "split"))
    parsed = map_column(raw["split"], parse_split)
    wrong = np.flatnonzero(parsed == "")
    if len(wrong):
        raise DataError(
            f"{path}: {count(len(wrong), 'wrong split')}, the first in line {wrong[0] + 2}: "
            f"{raw['split'].iloc[wrong[0]].strip()!r}; choose from {', '.join(SPLITS)}"
        )
    ids = [unescaped(str(one)) for one in id_column(raw["patient"], path)]
    pairs = pd.DataFrame({"patient": ids, "split": parsed}).drop_duplicates()
    twice = pairs["patient"][pairs["patient"].duplicated()]
    if len(twice):
        what = f"{path}: {count(len(twice), 'patient')} with more than one split"
        raise DataError(f"{what} ({list_first(twice)}); keep one line a patient")
    if len(patients) and pd.Index(patients).intersection(pd.Index(pairs["patient"])).empty:
        raise DataError(
            f"{path}: lists none of the dataset's patients (there {pairs['patient'].iloc[0]!r}, in "
            f"the dataset {patients[0]!r}); use its ids, or delete the file to draw a new split"
        )
    gone = pairs["patient"][~pairs["patient"].isin(patients)]
    many = f"{len(gone):,} of its {count(len(pairs), 'patient')} not in the dataset"
    split = _split_of(patients, dict(zip(pairs["patient"], pairs["split"], strict=True)))
    return split, f" ({many}, e.g. {gone.iloc[0]!r})" if len(gone) else ""


def _split_of(patients: Strings, listed: Mapping[str, str]) -> Strings:
    return np.asarray([listed.get(str(patient), "") for patient in patients], dtype=object)


def _hashed(patients: Iterable[str], salt: str) -> list[str]:
    key, ids = salt.encode(), (patient.encode("utf-8", "surrogatepass") for patient in patients)
    return [hmac.digest(key, one, "sha256").hex()[:32] for one in ids]


def write_shareable_split(manifest: Manifest, path: Path, salt: str | None = None) -> None:
    """Write the split with salted patient hashes (HMAC-SHA-256, 128 bits) instead of ids.

    It can be published under a data-use agreement: whoever has the dataset can check the split
    with the salt that stands in it (a phrase; drawn where None); whoever has not learns counts
    alone, unless the ids can be guessed (CheXpert's are numbered through).
    """
    salt = salt or secrets.token_hex(16)
    pairs = manifest.table[["patient", "split"]].drop_duplicates()
    hashes = {split: _hashed(pairs["patient"][pairs["split"] == split], salt) for split in SPLITS}
    document = {
        "schema": 1,
        "dataset": manifest.name,
        "salt": salt,
        "hash": "HMAC-SHA-256(salt, patient id), first 32 hex digits",
        "splits": {split: sorted(codes) for split, codes in hashes.items() if codes},
    }
    Ledger(path.parent, "name another file").write(path, to_json(document))


def _match_shareable(path: Path, patients: Strings) -> Strings:
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
    ids = [str(patient) for patient in pd.unique(patients)]
    code_of = dict(zip(ids, _hashed(ids, salt), strict=True))
    n_foreign = len(listed.keys() - code_of.values())
    n_missing = len(set(code_of.values()) - listed.keys())
    if n_missing or n_foreign:
        raise DataError(
            f"{path}: does not match this dataset: {n_missing:,} of its {len(ids):,} patients are "
            f"not in the file, {n_foreign:,} of the file's are not in the dataset; use the "
            "dataset version that the split was made for"
        )
    return _split_of(patients, {patient: listed[code] for patient, code in code_of.items()})
