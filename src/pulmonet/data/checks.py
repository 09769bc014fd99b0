"""Checks of a table of rows that hold for every source: paths, patients, splits, files."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.data.images.file import file_of, inside_root
from pulmonet.errors import DataError
from pulmonet.words import count, list_first

_LEAVES = re.compile(r"^(?:/|~|[A-Za-z]:)|(?:^|/)\.\.(?:/|$)|\x00", re.MULTILINE)


def row_problems(table: pd.DataFrame, *, patients_known: bool = True) -> list[str]:
    """Empty or escaping paths, duplicated rows, rows without a patient."""
    paths = table["path"]
    problems = []
    empty = (paths == "").to_numpy()
    if empty.any():
        problems.append(
            f"{count(int(empty.sum()), 'row')} without an image path; fill them in or remove"
        )
    leaving = paths[_leaving(paths)].tolist()
    if leaving:
        problems.append(
            f"{count(len(leaving), 'path leaves', 'paths leave')} the dataset root "
            f"({list_first(leaving)}); paths must be relative and stay below it"
        )
    duplicated = paths[paths.duplicated() & ~empty]
    if len(duplicated):
        problems.append(
            f"{count(len(duplicated), 'duplicated row')}: the same image path more than once "
            f"({list_first(duplicated.unique())}); keep one row an image"
        )
    unknown = paths[(table["patient"] == "").to_numpy() & ~empty]
    if patients_known and len(unknown):
        problems.append(
            f"{count(len(unknown), 'row')} without a patient id ({list_first(unknown)}); paths "
            "need a 'patient…' part, or the CSV a column 'patient' (name yours with --map "
            "patient=COLUMN)"
        )
    return problems


def inside_paths(paths: pd.Series[Any]) -> pd.Series[Any]:
    """The distinct paths that can be looked at: neither empty nor leaving the root."""
    paths = paths[paths != ""].drop_duplicates()
    return paths[~_leaving(paths)]


def _leaving(paths: pd.Series[Any]) -> NDArray[np.bool_]:
    if _LEAVES.search("\n".join(paths.tolist())) is None:  # one search is faster than one a row
        return np.zeros(len(paths), bool)
    return np.asarray([_LEAVES.search(path) is not None for path in paths.tolist()])


def split_problems(table: pd.DataFrame) -> list[str]:
    """Patients in more than one split: what they leak makes every number too good."""
    pairs = table.loc[table["patient"] != "", ["patient", "split"]].drop_duplicates()
    shared = pairs["patient"][pairs["patient"].duplicated()].unique()
    if not len(shared):
        return []
    return [
        f"{count(len(shared), 'patient')} in more than one split "
        f"({list_first(sorted(shared))}); move all images of a patient into one split"
    ]


def file_problems(root: Path, paths: pd.Series[Any]) -> list[str]:
    """Missing images, and images that a symbolic link moves out of the root."""
    missing: list[str] = []
    leaving: list[str] = []
    absolute = root.absolute()
    inside = {""}
    for path in dict.fromkeys(map(file_of, paths.tolist())):
        name, folder = f"{absolute}/{path}", path.rpartition("/")[0]
        try:
            mode = os.lstat(name).st_mode
            if folder not in inside:
                inside_root(absolute, folder)
                inside.add(folder)
            if stat.S_ISLNK(mode):
                inside_root(absolute, path)
        except (OSError, ValueError):
            missing.append(path)
        except DataError:
            leaving.append(path)
        else:
            if not stat.S_ISREG(mode) and not Path(name).is_file():
                missing.append(path)
    problems = []
    if missing:
        problems.append(
            f"{root}: {len(missing):,} of {count(len(paths), 'image')} "
            f"{'is' if len(missing) == 1 else 'are'} missing "
            f"({list_first(missing)}); put them there, remove their rows, or leave them out "
            "with --skip-bad"
        )
    if leaving:
        problems.append(
            f"{root}: {count(len(leaving), 'image')} behind a symbolic link that leaves the "
            f"dataset root ({list_first(leaving)}); name the folder that really holds them"
        )
    return problems
