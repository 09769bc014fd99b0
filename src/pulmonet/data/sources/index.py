"""Where the images of a table lie: at their paths, else where a file of that name does."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pulmonet.arrays import Flags, Strings
from pulmonet.data.images.file import file_of, stat_sources
from pulmonet.data.splits.files import parse_split
from pulmonet.files.paths import ENDINGS, OTHER_ENDINGS, is_litter, plain, stem_of
from pulmonet.words import closest

#: Keys of ``--map`` that change paths; they go with a collection that is recognised, too.
REWRITES = ("strip", "folder", "extension")

_LEAVES = re.compile(r"^(?:/|~|[A-Za-z]:)|(?:^|/)\.\.(?:/|$)|\x00")

#: Files of one stem that are compared one by one; of more, those of a folder are taken together.
_FEW = 8

#: Changes of paths that are tried on all rows: an ending, or other first folders.
_MAX_CHANGES = 8

#: Names among which a near miss is looked for.
_MAX_NEAR = 2_000


@dataclass
class Places:
    """Where the images of N rows were found."""

    paths: list[str]  # (N,) below the root; as the table has it where nothing was found
    moved: dict[str, str] = field(default_factory=dict)  # path in the table -> where it was found
    several: dict[str, list[str]] = field(default_factory=dict)  # -> files that it may mean
    index: ImageIndex | None = None  # of the root, where it was needed


def place_images(
    root: Path, paths: Sequence[str], folder: str = "", *, follow_links: bool = False
) -> Places:
    """Find the files of N paths, by their names where a path leads nowhere.

    A file has a path's name when its stem is the same: its folders and its ending may differ
    (`ImageIndex.find`). The root is searched, once, only where a path needs it.

    Args:
        root: of the dataset.
        paths: as a table has them; ``x.npz#train/17`` and "" stay as they are.
        folder: below the root, the only one to be searched.
        follow_links: whether linked folders are searched, too.
    """
    files = [file_of(path) for path in paths]
    leave = leaving(files)
    there = (stat_sources(root, files, np.arange(len(files)))[:, 0] >= 0) & ~leave
    lost = [
        row
        for row in np.flatnonzero(~there).tolist()
        if files[row] == paths[row] != "" and ".." not in re.split(r"[\\/]", paths[row])
    ]
    places = Places(list(paths))
    guesses: dict[int, str] = {}
    for row, file in _alike(root, paths, lost).items():
        if len(_parts(file)) == len(_parts(paths[row])):
            places.paths[row] = file
        else:
            guesses[row] = file
    left = [row for row in lost if row not in guesses and places.paths[row] == paths[row]]
    if left:
        places.index = ImageIndex(image_files(root, folder, follow_links=follow_links))
        guesses |= _search(places.index, places, left, leave)
    n_rows_at = Counter([*places.paths, *guesses.values()]) if guesses else Counter()
    for row, file in guesses.items():
        if n_rows_at[file] == 1:  # two rows do not mean one file
            places.paths[row] = file
    moved = [(paths[row], places.paths[row]) for row in lost]
    places.moved = {path: file for path, file in moved if path != file}
    return places


def _search(index: ImageIndex, places: Places, rows: list[int], leave: Flags) -> dict[int, str]:
    """Put what the index is sure of into `places`; gives its guesses, a file for a row."""
    guesses: dict[int, str] = {}
    if not index.n_files:
        return guesses
    n_rows_of = Counter(map(stem_of, places.paths))
    for row in rows:
        path = places.paths[row]
        found = index.find(path)
        is_one = n_rows_of[stem_of(path)] == 1
        if len(found.files) > 1 and (found.is_sure or leave[row] or is_one):
            places.several[path] = sorted(found.files)
        elif found.is_sure and found.files:
            places.paths[row] = found.files[0]
        elif len(found.files) == 1 and (found.n_common or is_one):
            guesses[row] = found.files[0]
    return guesses


def _alike(root: Path, paths: Sequence[str], rows: list[int]) -> dict[int, str]:
    """Files of `rows` that differ from their paths in the same ending or in the same first folders.

    They need no search: an image is looked for in its own folder, and what was found there tried
    on all others.
    """
    found: dict[int, str] = {}
    for _ in range(_MAX_CHANGES):
        left = [row for row in rows if row not in found]
        samples = {paths[row] for row in (*left[:1], *left[len(left) // 2 :][:1], *left[-1:])}
        change = next(filter(None, (_change(root, path) for path in sorted(samples))), None)
        if change is None:
            break
        start, old, new = change
        tried = {
            row: f"{path[len(start) : len(path) - len(old)]}{new}"
            for row in left
            if (path := paths[row].replace("\\", "/")).startswith(start) and path.endswith(old)
        }
        tried = {row: file for row, file in tried.items() if file.strip("/") == file}
        sizes = stat_sources(root, list(tried.values()), np.arange(len(tried)))[:, 0].tolist()
        found |= {row: tried[row] for row, size in zip(tried, sizes, strict=True) if size >= 0}
    return found


def _change(root: Path, path: str) -> tuple[str, str, str] | None:
    """First folders that a path has too many, and its last letters and those of its file."""
    *folders, name = path.replace("\\", "/").split("/")
    for n_dropped in range(max(1, len(folders))):
        below = folders[n_dropped:]
        try:
            with os.scandir("/".join([str(root), *below])) as entries:
                files = [one.name for one in entries if not (is_litter(one.name) or one.is_dir())]
        except (OSError, ValueError):
            continue
        if below[:1] == [""]:  # absolute
            continue
        alike = [one for one in files if is_image_name(one) and stem_of(one) == stem_of(name)]
        shared = os.path.commonprefix([name, *alike])  # noqa: RUF071 - of letters, not folders
        if len(alike) != 1 or len(shared) < len(stem_of(name)):
            return None
        start = "/".join([*folders[:n_dropped], ""])
        return start, name[len(shared) :], alike[0][len(shared) :]
    return None


def leaving(paths: Sequence[str]) -> Flags:
    """(N,) whether a path points out of the dataset root, or is absolute."""
    joined = "\n".join(["", *paths])
    if not any(sign in joined for sign in ("\n/", "\n~", "..", ":", "\0")):  # a tenth of the time
        return np.zeros(len(paths), bool)
    return np.asarray([_LEAVES.search(path) is not None for path in paths], bool)


def as_listed(paths: Strings, listed: Sequence[str]) -> Strings:
    """(N,) paths, each as `listed` has the one image that it means by its name; else as it is."""
    known = {*listed}
    if known.issuperset(paths):
        return paths
    index = ImageIndex(listed)
    found = {path: index.find(path) for path in {*paths} - known - {""}}
    sure = {p: one.files for p, one in found.items() if one.is_sure or one.n_common}
    names = [sure[path][0] if len(sure.get(path, ())) == 1 else path for path in paths]
    return np.asarray(names, dtype=object)


def rewrite_paths(paths: Iterable[str], mapping: Mapping[str, str]) -> Strings:
    """(N,) paths after ``strip``, ``extension`` and ``folder`` of a ``--map`` (`REWRITES`).

    ``strip`` is what they begin with and the disk does not have, ``extension`` is put in the place
    of an image's ending or behind a name without one, and ``folder`` comes before what is left.
    """
    if mapping.keys().isdisjoint(REWRITES):
        return np.asarray(paths, dtype=object)
    strip, folder = (mapping.get(key, "").replace("\\", "/").strip("/") for key in REWRITES[:2])
    ending = mapping.get("extension", "").lstrip(".")

    def rewrite(path: str) -> str:
        posix = path.replace("\\", "/").lstrip("/")
        rest = posix.removeprefix(f"{strip}/") if strip and posix.startswith(f"{strip}/") else path
        head, _, own_ending = rest.rpartition(".")
        if ending:
            is_ending = head and own_ending.lower() in ENDINGS | OTHER_ENDINGS
            rest = f"{head if is_ending else rest}.{ending}"
        is_below = not folder or rest.startswith(f"{folder}/")
        return rest if is_below else f"{folder}/{rest.lstrip('/')}"

    return np.asarray([rewrite(path) if path else "" for path in paths], dtype=object)


def absent_folders(root: Path, paths: Iterable[str]) -> Counter[str]:
    """The first folder of each path that is not there -> paths below it; "" where all are."""
    n_below = Counter(path.rpartition("/")[0] for path in paths)
    is_there = {"": True}
    absent: Counter[str] = Counter()
    for folder, n_paths in n_below.items():
        parts = folder.split("/")
        for below in ("/".join(parts[: n + 1]) for n in range(len(parts))):
            if below not in is_there:
                is_there[below] = (root / below).is_dir()
            if not is_there[below]:
                absent[below] += n_paths
                break
        else:
            absent[""] += n_paths
    return absent


def image_files(root: Path, folder: str = "", *, follow_links: bool = False) -> Iterator[str]:
    """Paths, relative to the root, of all files in `folder` that may be images by their names.

    Those without an ending may be DICOM. Folders behind a symbolic link are passed over unless
    `follow_links`; what macOS puts beside a file always is.
    """
    real_root = os.path.realpath(root)
    linked: set[str] = set()
    below = [f"{folder.strip('/')}/" if folder.strip("/") else ""]
    while below:
        start = below.pop()
        try:
            entries = os.scandir(f"{root}/{start}")
        except OSError:
            continue
        with entries:
            for entry in entries:
                name = entry.name
                if is_litter(name):
                    continue
                if not entry.is_dir():
                    if is_image_name(name):
                        yield start + name
                elif not entry.is_symlink():
                    below.append(f"{start}{name}/")
                elif follow_links:
                    real = os.path.realpath(entry.path)
                    if real not in linked and not f"{real_root}/".startswith(f"{real}/"):
                        linked.add(real)
                        below.append(f"{start}{name}/")


def is_image_name(name: str) -> bool:
    """Whether the ending is that of an image, or there is none (DICOM: ``IM0001``, ``1.2.840``)."""
    head, dot, ending = name.rpartition(".")
    return not dot or (head != "" and (ending.lower() in ENDINGS or ending.isdecimal()))


def _parts(path: str) -> list[str]:
    """The plain folders and the plain name of a path."""
    return [part for part in plain(path.replace("\\", "/")).split("/") if part not in {"", "."}]


class Found(NamedTuple):
    """Files that a path may mean."""

    files: list[str]
    n_common: int  # folders before the stem that they and the path have
    is_sure: bool  # whether these are all of the path's


class ImageIndex:
    """Image files by their stems."""

    def __init__(self, paths: Iterable[str]) -> None:
        """From paths relative to one root."""
        self._by_tail: dict[str, list[str]] = {}
        self.n_files = 0
        for self.n_files, path in enumerate(paths, start=1):
            self._by_tail.setdefault(stem_of(path), []).append(path)
        self._stems = list(self._by_tail)
        self._folders: set[str] = set()

    def find(self, path: str) -> Found:
        """The files that a path may mean: of those with its stem, the nearest by their folders.

        They are sure where all folders of the path agree: ``images_01/x.png`` for ``x.jpg``. Else
        they are guesses, such as ``train/x.png`` for ``/home/me/data/train/x.png``. There are none
        where the path's own folder is there, and none where two ids or two splits differ:
        ``patient2/`` is not ``patient1/``. Of several, those of the same ending win.
        """
        *folders, name = _parts(path) or [""]
        n_common, nearest = self._nearest(stem_of(name), folders)
        is_sure = n_common == len(folders)
        if is_sure:
            nearest = [one for one in nearest if len(one[1]) == n_common + 1] or nearest
        elif len(nearest) > _FEW or (nearest and "/".join(folders) in self._all_folders()):
            nearest = []
        else:
            nearest = [one for one in nearest if not _are_others(folders, one[1][:-1], n_common)]
        if len(nearest) > 1:
            nearest = [one for one in nearest if one[1][-1] == name] or nearest
        return Found([file for file, _ in nearest], n_common, is_sure)

    def near(self, path: str) -> str:
        """A file that may have been meant, "" where none is like it."""
        stem = stem_of(path)
        if stem in self._by_tail:
            return self._nearest(stem, _parts(path)[:-1])[1][0][0]
        meant = closest(stem, [name for name in self._stems if name[:3] == stem[:3]][:_MAX_NEAR])
        return self._by_tail[meant][0] if meant else ""

    def _nearest(self, tail: str, folders: list[str]) -> tuple[int, list[tuple[str, list[str]]]]:
        """How many folders the best files of a stem share with a path; these, with their parts."""
        files, n_common = self._by_tail.get(tail, []), 0
        while len(files) > _FEW and n_common < len(folders):
            below = f"{folders[-1 - n_common]}/{tail}"
            if f"/{tail}" not in self._by_tail:
                self._split(tail, files, n_common)
            if below not in self._by_tail:
                break
            tail, files, n_common = below, self._by_tail[below], n_common + 1
        pairs = [(file, _parts(file)) for file in files[: _FEW + 1]]
        if len(files) <= _FEW:
            shared = [_n_common(folders, parts[:-1]) for _, parts in pairs]
            n_common = max(shared, default=0)
            pairs = [pair for pair, n in zip(pairs, shared, strict=True) if n == n_common]
        return n_common, pairs

    def _split(self, tail: str, files: list[str], n_common: int) -> None:
        """Put the files of a tail below the tails with one folder more."""
        self._by_tail[f"/{tail}"] = []  # done
        for file in files:
            parts = _parts(file)
            if n_common < len(parts) - 1:
                self._by_tail.setdefault(f"{parts[-2 - n_common]}/{tail}", []).append(file)

    def _all_folders(self) -> set[str]:
        if not self._folders:
            files = (file for stem in self._stems for file in self._by_tail[stem])
            self._folders = {"/".join(_parts(file)[:-1]) for file in files}
        return self._folders


def _n_common(folders: list[str], others: list[str]) -> int:
    n_same = 0
    for one, other in zip(reversed(folders), reversed(others), strict=False):
        if one != other:
            break
        n_same += 1
    return n_same


def _are_others(folders: list[str], others: list[str], n_common: int) -> bool:
    """Whether the first folders that differ are two of a kind: two patients, or two splits."""
    if n_common == len(others):
        return False
    names = folders[-1 - n_common], others[-1 - n_common]
    shapes = {re.sub(r"\d+", "#", name) for name in names}
    splits = {parse_split(name) for name in names} - {""}
    return (len(shapes) == 1 and "#" in shapes.pop()) or len(splits) == 2
