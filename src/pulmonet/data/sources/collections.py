"""Several collections as one dataset: which they are, and their rows one below the other.

Each keeps the checks, splits and pack that it has alone. A row's path, patient and study get the
collection's name in front, so that nothing of two collections is taken for the same.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from pulmonet.arrays import Strings
from pulmonet.choices import SPLITS
from pulmonet.config.fields import DataConfig
from pulmonet.config.section import Section
from pulmonet.data.manifest import COLLECTION, Manifest
from pulmonet.data.sources.find import locate_dataset, remembered_map
from pulmonet.data.sources.read import alike_patients, inspect_manifest
from pulmonet.data.sources.rows import ROW_COLUMNS
from pulmonet.data.splits.folds import assign
from pulmonet.errors import ConfigError
from pulmonet.files.paths import expand, folder_name, places_of
from pulmonet.files.read import read_text
from pulmonet.labels import fold
from pulmonet.run.record import reason_of
from pulmonet.words import count, unknown

#: What is said of one collection alone: beside several, a TOML file has it for each.
_OWN = ("map", "splits", "join")


class _Listed(Section):
    """One ``[[collection]]`` of a TOML file; paths are relative to the file's folder."""

    data_dir: str
    name: str | None = None
    map: dict[str, str] = {}  # noqa: RUF012  (pydantic copies a default for every object)
    splits: str | None = None
    join: str | None = None


class _List(Section):
    same_patients: tuple[str, ...] = ()
    collection: tuple[_Listed, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Collections:
    """Which collections make up a dataset, in the order of their names."""

    names: tuple[str, ...]
    roots: tuple[Path, ...]  # folders, or npz files
    configs: tuple[DataConfig, ...]  # the dataset's, with the map, splits and join of each
    same_patients: tuple[frozenset[str], ...]  # names of those that share patient numbers


def find_collections(data: DataConfig) -> Collections:
    """Find what ``data_dir`` names: one collection, several, or those of a TOML file.

    Raises:
        DataError: nowhere a dataset, or several in one place.
        ConfigError: a list that is none, two of one name or folder, what does not go with these.
    """
    listed: list[tuple[str | None, _Listed]] = []
    groups = [*data.same_patients]
    for place in places_of(data.data_dir) or (None,):
        if place is None or not place.endswith(".toml"):
            listed.append((place, _Listed(data_dir="")))
            continue
        found, folder = _read_list(expand(place)), expand(place).parent
        groups += found.same_patients
        for one in found.collection:
            own = {key: path and str(folder / expand(path)) for key, path in one if key in _OWN[1:]}
            listed.append((str(folder / expand(one.data_dir)), one.model_copy(update=own)))
    given = [f"--{name}" for name in _OWN if getattr(data, name)]
    if len(listed) > 1 and given:
        text = "goes with one collection; write a TOML file with a [[collection]] for each"
        raise ConfigError(f"{given[0]}: {text}, and name it with --data-dir")
    members = []
    for place, one in listed:
        root = locate_dataset(place)
        own = one.model_dump(include={*_OWN}, exclude_defaults=True)
        name = one.name or (folder_name(root) if root.is_dir() else root.stem)
        if name != folder_name(Path(name)):
            raise ConfigError(f"name = '{name}': no folder is called so; take letters and digits")
        members.append((name, root, data.model_copy(update=own)))
    names, roots, configs = zip(*sorted(members, key=itemgetter(0)), strict=True)
    tables = zip(names, map(_table, roots, configs), strict=True)
    for (name, (folder, table)), (other, (its, at)) in combinations(tables, 2):
        if folder == its and len({folder, table, at}) < 3:
            text = f"'{name}' and '{other}' have the same rows of {folder}: patients would be"
            text += " trained on and held out at once; leave one out, or name two of its tables"
            raise ConfigError(f"--data-dir: {text} (map = {{csv = …}} in a TOML file)")
    if twice := next((name for name in names if names.count(name) > 1), None):
        text = f"--data-dir: a second collection is called '{twice}'; leave it out, or give both"
        raise ConfigError(f"{text} names in a TOML file (name = under [[collection]])")
    return Collections(names, roots, configs, _same_patients(groups, names))


def _table(root: Path, config: DataConfig) -> tuple[Path, Path]:
    """The folder of a collection, and which of its files has the rows; the folder for all."""
    place = root.resolve()
    csv = (config.map or remembered_map(root)).get("csv", "")
    return place if place.is_dir() else place.parent, (place / csv).resolve()


def _read_list(path: Path) -> _List:
    try:
        return _List.model_validate(tomllib.loads(read_text(path)))
    except (OSError, ValueError, RecursionError) as error:
        text = "needs [[collection]] tables with data_dir = and, as wanted, name, map, splits, join"
        why = f"no list of collections ({reason_of(error)}); it {text}"
        raise ConfigError(f"{path}: {why}") from None


def _same_patients(groups: Sequence[str], names: Sequence[str]) -> tuple[frozenset[str], ...]:
    """Sets of names; those that have a name in common are one."""
    group_of: dict[str, frozenset[str]] = {}
    for group in groups:
        members = frozenset(name.strip() for name in group.split(","))
        for name in sorted(members - {*names}):
            raise ConfigError(unknown(f"--same-patients {group}", name, names))
        if len(members) < 2:
            raise ConfigError(f"--same-patients {group}: one name alone; write two or more, A,B")
        members = members.union(*(group_of.get(name, ()) for name in members))
        group_of |= dict.fromkeys(members, members)
    return tuple(set(group_of.values()))


def inspect_collections(
    found: Collections, data: DataConfig, seed: int, *, check_files: bool, keep_split: bool
) -> tuple[Manifest, list[str], list[str]]:
    """The rows of all, their problems and notes: as `inspect_manifest`, which reads each."""
    # folds are dealt over all below, so each may have fewer patients than there are
    one_fold = {"folds": 1, "fold": 0} if data.folds and len(found.names) > 1 else {}
    configs = [config.model_copy(update=one_fold) for config in found.configs]
    opened = [
        inspect_manifest(root, config, seed, check_files=check_files, keep_split=keep_split)
        for root, config in zip(found.roots, configs, strict=True)
    ]
    named = list(zip(found.names, opened, strict=True))
    parts = [replace(part, name=name) for name, (part, *_) in named]
    if len(parts) == 1:
        return parts[0], *opened[0][1:]
    problems = [f"{name}: {text}" for name, (_, wrong, _) in named for text in wrong]
    notes = [f"{name}: {text}" for name, (*_, said) in named for text in said]
    notes += _alike_labels(parts)
    manifest = join_manifests(parts, found.same_patients)
    if found.same_patients:
        notes += alike_patients(manifest.table["patient"])
    before = np.concatenate([part.table["split"].to_numpy(object) for part in parts])
    n_moved = int((manifest.table["split"].to_numpy(object) != before).sum())
    if data.folds is not None:
        dealt, dealing = assign(manifest.table, manifest.labels, manifest.root, data, seed)
        manifest = _with_splits(manifest, dealt)
        notes = [*(text for text in notes if ": split: fold" not in text), *dealing]
    elif n_moved:
        text = "a patient held out in one collection is held out in those of the same patients"
        notes.append(f"{text}: {count(n_moved, 'image')} moved out of train or valid")
    return manifest, problems, notes


def _alike_labels(parts: Sequence[Manifest]) -> Iterator[str]:
    """Labels of several collections that differ in letter case, blanks and the like alone."""
    spellings: dict[str, set[str]] = {}
    for label in (label for part in parts for label in part.labels):
        spellings.setdefault(fold(label), set()).add(label)
    for names in (sorted(names) for names in spellings.values() if len(names) > 1):
        text = "are several labels, each unknown where the other is known"
        yield f"{' and '.join(names)} {text}; call the columns alike"


def join_manifests(parts: Sequence[Manifest], same_patients: Sequence[frozenset[str]]) -> Manifest:
    """One manifest of several, in the order of their names, whatever that of `parts`.

    Labels are the union; in the rows of a collection that has it not as a label, whatever its
    columns, it is blank. A patient of several goes to test where one has it there, else to valid.
    """
    parts = sorted(parts, key=lambda part: part.name)
    group_of = {name: group for group in same_patients for name in group}
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    parts = [
        replace(
            part,
            same_patients=group_of.get(part.name, frozenset()),
            table=part.table.drop(columns=[name for name in part.joined if name in labels]),
            joined=tuple(name for name in part.joined if name not in labels),
        )
        for part in parts
    ]
    joined = tuple(dict.fromkeys([COLLECTION, *(name for part in parts for name in part.joined)]))
    tables = [
        part.table.assign(
            path=f"{part.name}/" + part.table["path"],
            patient=f"{'='.join(sorted(part.same_patients)) or part.name}/" + part.table["patient"],
            study=f"{part.name}/" + part.table["study"],
            **{COLLECTION: part.name},
        ).reindex(columns=[*ROW_COLUMNS, *labels, *joined])
        for part in parts
    ]
    types = dict.fromkeys((*ROW_COLUMNS, COLLECTION), "str") | dict.fromkeys(labels, np.float32)
    table = pd.concat(tables, ignore_index=True).astype(types | {"age_years": np.float64})
    furthest = table["split"].map(SPLITS.index).groupby(table["patient"]).transform("max")
    manifest = Manifest(
        name="+".join(part.name for part in parts),
        root=Path(" + ".join(str(part.root) for part in parts)),
        source=", ".join(dict.fromkeys(part.source for part in parts)),
        labels=labels,
        table=table,
        joined=joined,
        synthetic=any(part.synthetic for part in parts),
        follow_links=any(part.follow_links for part in parts),
        unread=tuple(f"{part.name}/{name}" for part in parts for name in part.unread),
        patients_known=any(part.patients_known for part in parts),
        parts=tuple(parts),
    )
    return _with_splits(manifest, np.asarray(SPLITS, object)[furthest.to_numpy(np.int64)])


def _with_splits(manifest: Manifest, split: Strings) -> Manifest:
    every = manifest.by_collection(np.arange(len(manifest)))
    parts = [replace(one, table=one.table.assign(split=split[at])) for one, _, at in every]
    return replace(manifest, table=manifest.table.assign(split=split), parts=tuple(parts))
