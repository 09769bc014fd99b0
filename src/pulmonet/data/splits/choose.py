"""Which rows: labels, splits, views, subsets, folds; always whole patients. Imports no torch.

Every draw is a function of (seed, patient id) alone: the same patients whatever the row order,
and a larger subset holds the smaller one.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pulmonet.arrays import Flags, Ints
from pulmonet.choices import SPLITS
from pulmonet.data.manifest import Manifest
from pulmonet.data.splits.folds import deal_patients, draws, take_share
from pulmonet.errors import ConfigError, DataError
from pulmonet.labels import VOCABULARY, align, file_name_of, match_label
from pulmonet.words import did_you_mean, list_first

#: What ``--views`` takes, by the views of the table.
VIEWS = {"frontal": ("AP", "PA", "FRONTAL"), "AP": ("AP",), "PA": ("PA",), "lateral": ("LATERAL",)}


def annotated_labels(manifest: Manifest) -> tuple[str, ...]:
    """Labels with a value in at least one row; a column blank throughout is not annotated."""
    return tuple(label for label in manifest.labels if manifest.table[label].notna().any())


def annotated_in_split(manifest: Manifest, split: str, labels: Sequence[str], rows: Ints) -> Flags:
    """(n, L) whether the split of a row's collection has any value for each label.

    All of it counts, before views and subsets: a column blank throughout is not annotated.
    """
    found = np.zeros((len(rows), len(labels)), bool)
    for part, _, places in manifest.by_collection(rows):
        values = part.table[part.table["split"] == split].reindex(columns=list(labels))
        found[places] = values.notna().any().to_numpy(bool)
    return found


def resolve_labels(manifest: Manifest, requested: Sequence[str]) -> tuple[str, ...]:
    """The labels that were asked for, in the vocabulary's spelling; ``("all",)`` = annotated.

    Raises:
        ConfigError: a name that no source has; the message has the near miss.
        DataError: a label that this dataset lacks or that nobody annotated in it.
    """
    annotated = annotated_labels(manifest)
    if [name.lower() for name in requested] == ["all"]:
        if not annotated:
            text = "no label has a single value; fill in the CSV"
            if not manifest.labels and manifest.joined:
                columns = list_first(manifest.joined, 20)
                text = f"no column is taken for a label; name yours with --labels ({columns})"
            text += " (or only score it: `evaluate`)"
            raise DataError(f"{manifest.root}: {text}")
        return _with_files_of_their_own(annotated)
    resolved = [match_label(name, manifest.labels) or align(name) for name in requested]
    strange = [name for name in resolved if name not in (*manifest.labels, *VOCABULARY)]
    there = f"this dataset has {', '.join(annotated) or 'none'}"
    if strange:
        options = dict.fromkeys([*annotated, *VOCABULARY])
        text = f"label '{strange[0]}': unknown{did_you_mean(strange[0], options)}; {there}"
        raise ConfigError(text)
    missing = [name for name in resolved if name not in annotated]
    if missing:
        state = "not annotated" if set(missing) <= set(manifest.labels) else "no column for"
        near = did_you_mean(missing[0], [name for name in annotated if name not in resolved])
        what = f"{manifest.root}: {state} {list_first(map(repr, missing))}{near}; {there}"
        raise DataError(f"{what}; choose with --labels NAME or --labels all")
    if len(set(resolved)) < len(resolved):
        raise ConfigError(f"--labels: the same label twice in {', '.join(requested)}")
    return _with_files_of_their_own(tuple(resolved))


def _with_files_of_their_own(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels, unless the pictures of two would overwrite each other."""
    by_name = {file_name_of(label): label for label in labels}
    for label in labels:
        other = by_name[file_name_of(label)]
        if other != label:
            what = f"labels '{label}' and '{other}': their files would have the same names"
            raise ConfigError(f"{what}; rename one, or train without it")
    return labels


def resolve_auxiliary(
    manifest: Manifest, requested: Sequence[str], labels: Sequence[str]
) -> tuple[str, ...]:
    """As `resolve_labels`: what is only trained on, without the run's own (resolved) `labels`."""
    chosen = resolve_labels(manifest, requested) if requested else ()
    return tuple(name for name in chosen if name not in labels)


def select_rows(manifest: Manifest, split: str | None, views: str = "all") -> Ints:
    """Row numbers of a split, None for all, of the views asked for, in the table's order.

    Raises:
        DataError: no such row.
    """
    there = [name for name in SPLITS if (manifest.table["split"] == name).any()]
    if split not in (None, *there):
        text = f"{manifest.root}: no row in split '{split}'; it has {', '.join(there) or 'none'}"
        raise DataError(text)
    chosen = (manifest.table["split"] == (split or manifest.table["split"])).to_numpy()
    if views != "all":
        chosen = chosen & manifest.table["view"].isin(VIEWS[views]).to_numpy()
    if not chosen.any():
        where = f"{manifest.root}: no {views} view" + (f" in split '{split}'" if split else "")
        raise DataError(f"{where}; choose other --views")
    return np.flatnonzero(chosen).astype(np.int64)


def subset_rows(manifest: Manifest, rows: Ints, fraction: float, mode: str, seed: int) -> Ints:
    """A share of the patients with all their rows (``patient``), or of single rows (``image``).

    At least one patient or image is taken. Row numbers keep their order.
    """
    if fraction >= 1.0:
        return rows
    column = "patient" if mode == "patient" else "path"
    codes, units = pd.factorize(manifest.table[column].to_numpy(object)[rows])
    n_taken = max(1, round(fraction * len(units)))
    taken = np.zeros(len(units), dtype=bool)
    taken[np.argsort(draws(units, f"subset {seed}"), kind="stable")[:n_taken]] = True
    return rows[taken[codes]]


def dev_rows(manifest: Manifest, rows: Ints, fraction: float, seed: int) -> tuple[Ints, Ints]:
    """(training rows, dev rows): a share of the patients split off, stratified over the labels.

    Raises:
        DataError: fewer than two patients.
    """
    patients = manifest.table["patient"].to_numpy(object)[rows]
    parts = deal_patients(patients, manifest.raw_labels(manifest.labels)[rows], f"dev {seed}")
    dev = take_share(parts, fraction)
    return rows[~dev], rows[dev]
