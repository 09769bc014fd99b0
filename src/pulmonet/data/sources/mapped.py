"""Any CSV, with a mapping that says what its columns mean: ``--map path=FileName …``."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import compress, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.arrays import Floats32
from pulmonet.choices import MAP_KEYS
from pulmonet.data.sources import rows
from pulmonet.data.sources.index import rewrite_paths
from pulmonet.data.spellings import SPELLINGS
from pulmonet.data.splits.files import BESIDE, parse_split, split_tables
from pulmonet.data.tables import factorise, find_tables, id_column, join_table, map_column, read_csv
from pulmonet.errors import ConfigError, DataError
from pulmonet.files.paths import expand
from pulmonet.labels import VOCABULARY, align
from pulmonet.words import count, did_you_mean, list_first, unknown

_COLUMNS = ("path", "patient", "study", "split", "view", "sex", "age", "findings")

#: What cells of such columns are read by, and how to write them.
_PARSED: dict[str, tuple[Callable[[str], Any], str]] = {
    "view": (rows.parse_view, "AP, PA or lateral"),
    "sex": (rows.parse_sex, "M or F"),
    "age": (rows.parse_age, "years up to 120"),
}


def read(root: Path, mapping: Mapping[str, str], join: str | None = None) -> rows.SourceRows:
    """Read the CSV of `root` (or train.csv, valid.csv and test.csv) under `mapping`.

    Where it has a key ``join``, the columns of the table `join` count as its own.

    Raises:
        ConfigError: an unknown key, or a column that is not there.
        DataError: no CSV or several, and what is wrong inside.
    """
    for key in mapping:
        if key not in MAP_KEYS:
            raise ConfigError(unknown(f"--map {key}", key, MAP_KEYS))
    if "path" not in mapping:
        raise ConfigError("--map: says nothing of the images; add --map path=COLUMN")
    if "join" in mapping and not join:
        raise ConfigError(f"--map join={mapping['join']}: of which table? add --join FILE")
    files = [(where, split, read_csv(where)) for where, split in _files(root, mapping)]
    if "join" in mapping and join:
        at, key = expand(join), mapping["join"]
        files = [(where, split, join_table(raw, key, at)) for where, split, raw in files]
    used = [mapping[key] for key in _COLUMNS if key in mapping]
    names = rows.label_names([raw for *_, raw in files], used)
    return rows.stack(
        read_table(raw, root, where, mapping, names, split) for where, split, raw in files
    )


def _files(root: Path, mapping: Mapping[str, str]) -> list[tuple[Path, str]]:
    if "csv" in mapping:
        path = root / mapping["csv"]
        if not path.is_file() or root.resolve() not in path.resolve().parents:
            raise ConfigError(f"--map csv={mapping['csv']}: no such file in {root}")
        return [(path, "")]
    if there := [(path, split) for split, path in split_tables(root).items()]:
        return there
    found = [path for path in find_tables(root) if path.name not in BESIDE]
    if len(found) != 1:
        names = list_first(path.name for path in found)
        text = f"{root}: {len(found)} CSV files ({names or 'none'}); name one with --map csv=FILE"
        raise DataError(text)
    return [(found[0], "")]


def read_table(
    raw: pd.DataFrame,
    root: Path,
    where: Path,
    mapping: Mapping[str, str],
    names: Sequence[str] | None = None,
    split: Any = "",
    *,
    patients_known: bool = True,
    findings: Sequence[str] = (),
) -> rows.SourceRows:
    """The rows of the table `raw`, which `where` holds.

    `names` are its labels, where `mapping` does not say them; `split` is used where no column
    says it; `findings` are annotated even where no row has them.

    Raises:
        ConfigError: a column that is not there.
    """
    used = {key: mapping[key] for key in _COLUMNS if key in mapping}
    for key, column in used.items():
        if column not in raw.columns:
            raise ConfigError(
                f"--map {key}={column}: no such column in {where.name}"
                f"{did_you_mean(column, raw.columns)}; columns there: {list_first(raw.columns, 20)}"
            )
    paths = rewrite_paths(rows.strip_root(id_column(raw[used["path"]], where), root), mapping)
    own = id_column(raw[used["patient"]], where) if "patient" in used else None
    patient, study = rows.patients_of(paths, own)
    if "study" in used:
        study = id_column(raw[used["study"]], where)
    labels, problems, notes = _read_labels(raw, mapping, names, where, findings)
    if "split" in used:
        split = map_column(raw[used["split"]], parse_split)
        wrong = raw[used["split"]][((split == "") & (raw[used["split"]] != "")).to_numpy()]
        if len(wrong):
            what = f"{where}: {len(wrong):,} unknown splits ({list_first(wrong.unique())})"
            problems.append(f"{what}; write train, valid or test")
    notes += [*_unused_splits(raw, split), *_unread_cells(raw, used)]
    found = rows.source_rows(
        paths,
        labels,
        problems,
        split=split,
        patient=patient if patients_known else None,
        study=study,
        view=rows.column_or(raw, used.get("view"), rows.parse_view),
        sex=rows.column_or(raw, used.get("sex"), rows.parse_sex),
        age_years=rows.column_or(raw, used.get("age"), rows.parse_age, np.nan),
        further=rows.other_columns(raw, used.values(), labels),
    )
    found.notes += [f"{where.name}: {text}" for text in notes]
    return found


def _read_labels(
    raw: pd.DataFrame,
    mapping: Mapping[str, str],
    names: Sequence[str] | None,
    where: Path,
    findings: Sequence[str],
) -> tuple[dict[str, Floats32], list[str], list[str]]:
    """The labels of `read_table`, their problems, and notes."""
    if column := mapping.get("findings"):
        parts = mapping.get("separator")
        labels = rows.finding_columns(
            raw[column], lambda cell: rows.listed_names(cell, parts or "|"), findings
        )
        return labels, [] if parts else [*_unparted(labels, f"{where}: column '{column}'")], []
    taken = {mapping[key] for key in _COLUMNS if key in mapping}
    near: Iterator[str] = iter(())
    if "labels" in mapping:
        wanted = [name.strip() for name in mapping["labels"].split("|")]
        if missing := [name for name in wanted if name not in raw.columns]:
            meant = did_you_mean(missing[0], raw.columns)
            raise ConfigError(f"--map labels: no column '{missing[0]}' in {where.name}{meant}")
    elif names is None:
        wanted = rows.label_names([raw], taken)
    else:
        wanted = [name for name in names if name in raw]
        near = rows.nearly_labels(raw, {*names, *taken})
    problems: list[str] = []
    return rows.label_columns(raw, wanted, where, problems), problems, [*near]


def _unparted(labels: Collection[str], where: str) -> Iterator[str]:
    """Names that are lists of others: the separator was not said."""
    known = {*labels, *VOCABULARY}
    for label, sign in product(labels, ";,/"):
        names = {align(name) for name in label.split(sign)} - {""}
        if sign in label and label not in VOCABULARY and names <= known:
            yield (
                f"{where}: '{label}' looks like a list; part it with --map separator='{sign}', or "
                "keep such names with --map separator='|'"
            )
            return


def _unused_splits(raw: pd.DataFrame, split: Any) -> Iterator[str]:
    """Columns of train, valid and test that say otherwise than the table's own split."""
    for name in raw.columns if isinstance(split, str) else ():
        if any(parse_split(str(cell)) for cell in raw[name].head(50)):
            words = {parse_split(word) for word in factorise(raw[name])[1] if word.strip()}
            if "" not in words and words != {split}:
                yield (
                    f"column '{name}' looks like a split and was not asked for; "
                    f"--map split={name} takes it"
                )


def _unread_cells(raw: pd.DataFrame, used: Mapping[str, str]) -> Iterator[str]:
    """Cells of view, sex and age that say something, and nothing that is understood."""
    silent = {*SPELLINGS["blank"], *SPELLINGS["unknown"]}
    for key, (parse, wanted) in _PARSED.items():
        codes, cells = factorise(raw[used[key]]) if key in used else (np.zeros(0, np.int64), [])
        words = [cell.strip() for cell in cells]
        wrong = [word.lower() not in silent and str(parse(word)) in ("", "nan") for word in words]
        if n_wrong := int(np.asarray(wrong, bool)[codes].sum()):
            yield (
                f"{count(n_wrong, 'cell')} of column '{used[key]}' not understood as {key}, so "
                f"unknown ({list_first(map(repr, compress(words, wrong)))}); write {wanted}"
            )
