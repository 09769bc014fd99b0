"""From a dataset root to its Manifest: recognise, read, check, split, join."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pulmonet.config.fields import DataConfig
from pulmonet.data.images.file import file_of, inside_root
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import index, mapped
from pulmonet.data.sources.find import SOURCES, is_synthetic, recognise, remembered_map
from pulmonet.data.sources.rows import ROW_COLUMNS, SourceRows, label_columns
from pulmonet.data.sources.unknown import describe
from pulmonet.data.splits.folds import assign
from pulmonet.data.tables import Column, find_tables, join_columns, table_stem
from pulmonet.errors import ConfigError, DataError
from pulmonet.files.paths import expand, folder_name, names_in
from pulmonet.files.read import noting_tables
from pulmonet.labels import NO_DISEASE, VOCABULARY, match_label
from pulmonet.words import closest, count, list_first

#: Tables that are read for boxes or splits, or that MIMIC brings and nobody needs.
_BESIDE = re.compile(
    r"(?:boxes|splits|truth|(?:train|test)_meta|(?:.*_)?sample_submission|train_annotations)$"
    r"|bbox_list|annotations_|cxr-(?:record|study)-|mimic-cxr-2"
)
#: Lists of images, and spreadsheets that no reader takes.
_LISTS = re.compile(r"(?:.*[_\W])?(?:lists?|splits?|train|val|valid|test)(?![a-z]).*\.txt|.*\.xls")


def read_manifest(
    root: Path, data: DataConfig | None = None, seed: int = 42, **how: bool
) -> Manifest:
    """The checked rows of the dataset at `root` (`locate_dataset`): the one way in.

    The root is a folder, or the npz file of a MedMNIST set; folds, splits, valid_fraction, join and
    map of `data` decide the rows and their splits. A split drawn here, with `seed`, is kept for
    later runs but for keep_split=False; with check_files=True every image file is looked for,
    inside the root.

    Raises:
        DataError: anything wrong with the rows; all problems in one message.
        ConfigError: a mapping or a join that names what is not there.
    """
    manifest, problems, _ = inspect_manifest(root, data, seed, **how)
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
    mapping = data.map or remembered_map(root)
    with noting_tables() as seen:
        kind, rows = _read_source(root, mapping, data)
    rows = _with_asked_labels(rows, data, root)
    folder = root if root.is_dir() else root.parent
    named = {Path(name).name for name in (data.join, data.splits) if name}  # read later
    is_chosen = not root.is_dir() or "csv" in mapping  # one file of several, by the user
    unread = () if is_chosen else _unread(root, {path.name for path in seen} | named)
    first = [*ROW_COLUMNS, *rows.labels]
    types: dict[str, Any] = dict.fromkeys(ROW_COLUMNS, "str")
    types |= {"age_years": np.float64, **dict.fromkeys(rows.labels, np.float32)}
    further = [name for name in rows.table.columns if name not in first]
    table = rows.table[[*first, *further]].astype(types)
    paths, below, links = table["path"].tolist(), mapping.get("folder", ""), data.follow_links
    places = index.place_images(folder, paths, below, follow_links=links)
    table["path"] = pd.Series(places.paths, dtype="str")
    problems = [*rows.problems, *row_problems(table, patients_known=rows.patients_known)]
    problems += [f"{root}: {text}" for text in several_problems(places)]
    if check_files:
        problems += file_problems(folder, inside_paths(table["path"]), places, follow_links=links)
    notes = [*row_notes(table, rows.labels, patients_known=rows.patients_known)]
    table["split"], dealt = assign(
        table, rows.labels, root, data, seed, keep=keep_split, all_read=not unread
    )
    problems += [f"{root}: {text}" for text in split_problems(table)]
    if places.moved:
        path, file = next(iter(places.moved.items()))
        n_moved = count(len(places.moved), "image")
        notes.insert(0, f"{n_moved} found by name, not at the table's path ({path} is {file})")
    notes = [*rows.notes, *notes, *dealt]
    if not rows.patients_known:
        notes.insert(0, "this source has no patient ids: each image counts as its own patient")
    if data.join and "join" not in mapping:
        table, note = join_columns(table, expand(data.join))
        notes.append(note)
    manifest = Manifest(
        name=folder_name(root) if root.is_dir() else root.stem,
        root=folder,
        source=kind,
        labels=rows.labels,
        table=table,
        joined=tuple(map(str, table.columns[len(first) :])),
        synthetic=is_synthetic(folder),
        follow_links=links,
        patients_known=rows.patients_known,
        unread=unread,
    )
    return manifest, problems, notes


def _with_asked_labels(rows: SourceRows, data: DataConfig, root: Path) -> SourceRows:
    """A column that no reader takes for a label becomes one where the user names it."""
    free = [name for name in rows.table.columns if name not in (*ROW_COLUMNS, *rows.labels)]
    asked = [name for name in (*data.labels, *data.auxiliary_labels) if name not in VOCABULARY]
    found = (match_label(name, free) for name in asked if not match_label(name, rows.labels))
    names = dict.fromkeys(filter(None, found))
    labels = label_columns(rows.table, names, root, rows.problems)
    table = rows.table.drop(columns=[*names]).assign(**labels) if names else rows.table
    return replace(rows, table=table, labels=(*rows.labels, *labels))


def _unread(root: Path, read: set[str]) -> tuple[str, ...]:
    """Tables and lists in the root that no reader took; what lies there for others is known."""
    tables = [path.name for path in find_tables(root)]
    tables = [name for name in tables if not _BESIDE.match(table_stem(name))]
    names = {path.name for ending in ("txt", "xls") for path in root.glob(f"[!.~]*.{ending}")}
    others = {name for name in names if _LISTS.fullmatch(name.lower())}
    return tuple(sorted({*tables, *others} - read))


def _read_source(root: Path, mapping: dict[str, str], data: DataConfig) -> tuple[str, SourceRows]:
    """Kind of source, and its rows as it has them."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; name a dataset with --data-dir")
    if not mapping.keys() <= {*index.REWRITES}:
        try:
            return "mapped", mapped.read(root, mapping, data.join)
        except ConfigError as error:
            text = f"{error}; prepare remembered this --map for the folder: give another"
            raise ConfigError(str(error) if data.map else text) from None
    kind = recognise(root)
    if kind is None:
        raise DataError(f"{root}: not a dataset that a reader knows: {describe(root)}")
    try:
        rows = SOURCES[kind].read(root)
        rows.table["path"] = index.rewrite_paths(rows.table["path"], mapping)
        return kind, rows
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error}); check the folder") from None


def row_problems(table: pd.DataFrame, *, patients_known: bool = True) -> Iterator[str]:
    """Empty or escaping paths, duplicated rows, rows without a patient."""
    paths = table["path"]
    empty = (paths == "").to_numpy()
    if empty.any():
        n_empty = count(int(empty.sum()), "row")
        yield f"{n_empty} without an image path; fill them in or remove"
    if outside := paths[index.leaving(paths.tolist())].tolist():
        what = f"{count(len(outside), 'path leaves', 'paths leave')} the dataset root"
        yield f"{what} ({list_first(outside)}); paths must be relative and stay below it"
    duplicated = paths[paths.duplicated() & ~empty]
    if len(duplicated):
        what = f"{count(len(duplicated), 'duplicated row')}: the same image path more than once"
        yield f"{what} ({list_first(duplicated.unique())}); keep one row an image"
    unknown = paths[(table["patient"] == "").to_numpy() & ~empty]
    if patients_known and len(unknown):
        yield (
            f"{count(len(unknown), 'row')} without a patient id ({list_first(unknown)}); paths "
            "need a 'patient…' part, or the CSV a column 'patient' (name yours with --map "
            "patient=COLUMN)"
        )


def row_notes(table: pd.DataFrame, labels: Sequence[str], *, patients_known: bool) -> Iterator[str]:
    """What may be wrong with rows that can be used: ids of one patient, splits, labels."""
    yield from alike_patients(table["patient"]) if patients_known else ()
    blank = (table["split"] == "").to_numpy()
    if blank.any() and not blank.all():
        n_blank = count(int(blank.sum()), "row")
        yield f"{n_blank} without a split: train, where no list says otherwise"
    silent = (table[[*labels]].isna().all(axis=1) & (table["split"] != "test")).to_numpy()
    if labels and silent.any():
        n_silent = f"{count(int(silent.sum()), 'row')} without any label"
        text = "negative in training unless targets.blank=ignore"
        yield f"{n_silent} ({list_first(table['path'][silent])}): {text}"
    found = [name for name in VOCABULARY if name in labels and name not in NO_DISEASE]
    if "No Finding" in labels and found:
        both = (table["No Finding"] == 1) & (table[found] == 1).any(axis=1)
        if both.any():
            paths = list_first(table["path"][both])
            yield f"{count(int(both.sum()), 'image')} with No Finding and a finding ({paths})"


def alike_patients(patients: Column) -> Iterator[str]:
    """Ids that differ in leading zeros, a ``.0``, letter case and the like alone."""
    spellings: dict[str, set[str]] = {}
    for one in patients.unique().tolist():
        same = re.sub(r"(?<![\d.])0+(?=\d)|\.0$|(?:^|(?<=/))patient", "", one.casefold())
        spellings.setdefault(re.sub(r"[\s_-]+", "-", same), set()).add(one)
    alike = [" = ".join(sorted(ids)) for ids in spellings.values() if len(ids) > 1]
    if alike:
        text = f"may be listed under several ids ({list_first(alike)}) and so lie in two splits"
        yield f"{count(len(alike), 'patient')} {text}; write these ids alike"


def inside_paths(paths: Column) -> Column:
    """The distinct paths that can be looked at: neither empty nor leaving the root."""
    paths = paths[paths != ""].drop_duplicates()
    return paths[~index.leaving(paths.tolist())]


def split_problems(table: pd.DataFrame) -> Iterator[str]:
    """Patients in more than one split: what they leak makes every number too good."""
    pairs = table.loc[table["patient"] != "", ["patient", "split"]].drop_duplicates()
    shared = pairs["patient"][pairs["patient"].duplicated()].unique()
    if len(shared):
        what = f"{count(len(shared), 'patient')} in more than one split"
        yield f"{what} ({list_first(sorted(shared))}); move all images of a patient into one split"


def several_problems(places: index.Places) -> Iterator[str]:
    """Paths whose images may be any of several files."""
    if not places.several:
        return
    path, files = next(iter(places.several.items()))
    n_paths = count(len(places.several), "path fits", "paths fit")
    parts, others = (file.split("/")[:-1] for file in files[:2])
    n_same = len(os.path.commonprefix([parts, others]))  # noqa: RUF071 - of lists
    folder = "/".join(parts[: n_same + 1]) or "."
    yield (
        f"{n_paths} several files each ({path}: {list_first(files)}); write the folder into the "
        f"table, or name the one to take, e.g. --map folder={folder}"
    )


def unusable_files(root: Path, paths: Column, *, follow_links: bool) -> tuple[list[str], list[str]]:
    """Of paths that stay inside the root: missing ones, and those behind a link that leaves it."""
    missing: list[str] = []
    leaving: list[str] = []
    absolute = root.absolute()
    inside = {""}
    for path in dict.fromkeys(map(file_of, paths.tolist())):
        name = f"{absolute}/{path}"
        try:
            mode = os.lstat(name).st_mode
            place = path if stat.S_ISLNK(mode) else path.rpartition("/")[0]
            if place not in inside:
                inside_root(absolute, place, follow_links=follow_links)
                inside.add(place)
        except (OSError, ValueError):
            missing.append(path)
        except DataError:
            leaving.append(path)
        else:
            if not stat.S_ISREG(mode) and not Path(name).is_file():
                missing.append(path)
    return missing, leaving


def file_problems(
    root: Path, paths: Column, places: index.Places, *, follow_links: bool = False
) -> Iterator[str]:
    """Missing images, and images that a symbolic link moves out of the root."""
    missing, leaving = unusable_files(root, paths, follow_links=follow_links)
    missing = [path for path in missing if path not in places.several]
    if missing:
        yield f"{root}: {_about_missing(root, missing, len(paths), places)}"
    if leaving:
        yield (
            f"{root}: {count(len(leaving), 'image')} behind a symbolic link that leaves the "
            f"dataset root ({list_first(leaving)}); allow that with --follow-links"
        )


def _about_missing(root: Path, missing: list[str], n_images: int, places: index.Places) -> str:
    """How many images are missing, what was tried, what lies near, and what to do."""
    n_files = places.index.n_files if places.index else 0
    absent = index.absent_folders(root, missing)
    if "" not in absent and len(missing) > len(absent) < 100:
        what = f"folders that are not there: {list_first(absent)}"
    else:
        what = list_first(missing)
    folder, _, name = missing[0].rpartition("/")
    beside = names_in(root / folder) if folder else []
    near = closest(name, [one for one in beside if one[:3] == name[:3]][:2_000])
    near = f"{folder}/{near}" if near else (places.index.near(missing[0]) if places.index else "")
    text = (
        f"{len(missing):,} of {count(n_images, 'image')} {'is' if len(missing) == 1 else 'are'} "
        f"missing ({what}), also by name among the {count(n_files, 'image file')} there"
        + (f"; nearest to {missing[0]} is {near}" if near else "")
    )
    if len(missing) == n_images:
        return f"{text}; put them there, or name their folder with --map folder=FOLDER"
    return f"{text}; put them there, remove their rows, or leave them out with --skip-bad"
