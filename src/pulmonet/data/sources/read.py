"""From a dataset root to its Manifest: recognise, read, check, split, join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pulmonet.config.schema import DataConfig
from pulmonet.data import checks
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import mapped
from pulmonet.data.sources.find import SOURCES, is_synthetic, recognise, remembered_map
from pulmonet.data.sources.rows import ROW_COLUMNS, SourceRows
from pulmonet.data.splits.deal import assign
from pulmonet.data.tables import join_columns
from pulmonet.errors import DataError


def read_manifest(
    root: Path,
    data: DataConfig | None = None,
    seed: int = 42,
    *,
    check_files: bool = False,
    keep_split: bool = True,
) -> Manifest:
    """The checked rows of the dataset at `root` (`locate_dataset`): the one way in.

    Args:
        root: folder, or the npz file of a MedMNIST set.
        data: folds, splits, valid_fraction, join and map decide the rows and their splits.
        seed: of a validation split where the source has none, and of the folds.
        check_files: also that every image file is there, inside the root.
        keep_split: whether a validation split drawn here is kept for later runs.

    Raises:
        DataError: anything wrong with the rows; all problems in one message.
        ConfigError: a mapping or a join that names what is not there.
    """
    manifest, problems, _ = inspect_manifest(
        root, data, seed, check_files=check_files, keep_split=keep_split
    )
    if problems:
        raise DataError(join_problems(root, problems))
    return manifest


def join_problems(root: Path, problems: list[str]) -> str:
    """One message for all problems."""
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{root}: {len(problems)} problems", *(f"- {text}" for text in problems)])


def inspect_manifest(
    root: Path,
    data: DataConfig | None = None,
    seed: int = 42,
    *,
    check_files: bool = False,
    keep_split: bool = True,
) -> tuple[Manifest, list[str], list[str]]:
    """As `read_manifest`, but gives (manifest, problems, notes) instead of raising for rows.

    Raises:
        DataError: the dataset cannot be read at all.
    """
    data = data or DataConfig()
    kind, rows = _read_source(root, data)
    folder = root if root.is_dir() else root.parent
    first = [*ROW_COLUMNS, *rows.labels]
    types: dict[str, Any] = dict.fromkeys(ROW_COLUMNS, "str")
    types |= {"age_years": np.float64, **dict.fromkeys(rows.labels, np.float32)}
    further = [name for name in rows.table.columns if name not in first]
    table = rows.table[[*first, *further]].astype(types)
    problems = rows.problems + checks.row_problems(table, patients_known=rows.patients_known)
    if check_files:
        problems += checks.file_problems(folder, checks.inside_paths(table["path"]))
    table["split"], notes = assign(table, rows.labels, root, data, seed, keep=keep_split)
    problems += [f"{root}: {text}" for text in checks.split_problems(table)]
    if not rows.patients_known:
        notes.insert(0, "this source has no patient ids: each image counts as its own patient")
    if data.join:
        table, note = join_columns(table, Path(data.join).expanduser())
        notes.append(note)
    manifest = Manifest(
        name=root.name if root.is_dir() else root.stem,
        root=folder,
        source=kind,
        labels=rows.labels,
        table=table,
        joined=tuple(map(str, table.columns[len(first) :])),
        synthetic=is_synthetic(folder),
        patients_known=rows.patients_known,
    )
    return manifest, problems, notes


def _read_source(root: Path, data: DataConfig) -> tuple[str, SourceRows]:
    """Kind of source, and its rows as it has them."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; name a dataset with --data-dir")
    mapping = data.map or remembered_map(root)
    if mapping:
        return "mapped", mapped.read(root, mapping)
    kind = recognise(root)
    if kind is None:
        raise DataError(
            f"{root}: not a dataset that a reader knows; for a CSV of your own, say what its "
            "columns mean: --map path=COLUMN --map patient=COLUMN"
        )
    try:
        return kind, SOURCES[kind].read(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error}); check the folder") from None
