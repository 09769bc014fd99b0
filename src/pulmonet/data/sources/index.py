"""Where the images of a table lie: at their paths, else where a file of that name does."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pulmonet.arrays import Flags, Strings
from pulmonet.data.images.file import file_of, stat_sources
from pulmonet.data.splits.files import parse_split
from pulmonet.files.paths import is_litter
from pulmonet.words import did_you_mean

#: Endings of the files that are looked at.
ENDINGS = frozenset(["jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "dcm", "dicom", "dic"])

#: What else follows a stem in a table: ``x.npy``, ``x.dcm.png``.
_OTHER_ENDINGS = frozenset(["bmp", "gif", "webp", "jp2", "npy", "nii", "gz", "mha", "ima"])

#: Keys of ``--map`` that change paths; they go with a collection that is recognised, too.
REWRITES = ("strip", "folder", "extension")

_LEAVES = re.compile(r"^(?:/|~|[A-Za-z]:)|(?:^|/)\.\.(?:/|$)|\x00", re.MULTILINE)

#: Files of one stem that are compared one by one; of more, those of a folder are taken together.
_FEW = 8

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
        if files[row] == paths[row] != "" and not (leave[row] and ".." in paths[row])
    ]
    places = Places(list(paths))
    if not lost:
        return places
    places.index = index = ImageIndex(image_files(root, folder, follow_links=follow_links))
    n_rows_of = Counter(map(stem_of, paths))
    guesses: dict[int, str] = {}
    for row in lost:
        path = paths[row]
        found = index.find(path)
        if found.is_sure and len(found.files) > 1:
            places.several[path] = sorted(found.files)
        elif found.is_sure and found.files:
            places.paths[row] = found.files[0]
        elif len(found.files) == 1 and (found.n_common or n_rows_of[stem_of(path)] == 1):
            guesses[row] = found.files[0]
    n_rows_at = Counter([*places.paths, *guesses.values()])
    for row, file in guesses.items():
        if n_rows_at[file] == 1:  # two rows do not mean one file
            places.paths[row] = file
    moved = [(paths[row], places.paths[row]) for row in lost]
    places.moved = {path: file for path, file in moved if path != file}
    return places


def leaving(paths: Sequence[str]) -> Flags:
    """(N,) whether a path points out of the dataset root, or is absolute."""
    if _LEAVES.search("\n".join(paths)) is None:  # one search is faster than one a row
        return np.zeros(len(paths), bool)
    return np.asarray([_LEAVES.search(path) is not None for path in paths], bool)


def rewrite_paths(paths: Iterable[str], mapping: Mapping[str, str]) -> Strings:
    """(N,) paths after ``strip``, ``extension`` and ``folder`` of a ``--map`` (`REWRITES`).

    ``strip`` is what they begin with and the disk does not have, ``extension`` is put in the place
    of an image's ending or behind a name without one, and ``folder`` comes before what is left.
    """
    strip, folder = (mapping.get(key, "").replace("\\", "/").strip("/") for key in REWRITES[:2])
    ending = mapping.get("extension", "").lstrip(".")

    def rewrite(path: str) -> str:
        posix = path.replace("\\", "/").lstrip("/")
        rest = posix.removeprefix(f"{strip}/") if strip and posix.startswith(f"{strip}/") else path
        head, _, own_ending = rest.rpartition(".")
        if ending:
            is_ending = head and own_ending.lower() in ENDINGS | _OTHER_ENDINGS
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


def plain(text: str) -> str:
    """A name as it is compared: without case, and in one of Unicode's two forms."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).casefold()


def stem_of(path: str) -> str:
    """The plain name of a file without its folders and endings: ``a`` of ``x/A.dcm.png``."""
    name = plain(path.replace("\\", "/").rpartition("/")[2])
    while True:
        head, _, ending = name.rpartition(".")
        if not head or (ending not in ENDINGS and ending not in _OTHER_ENDINGS):
            return name
        name = head


def _folders_of(path: str) -> list[str]:
    parts = plain(path.replace("\\", "/")).split("/")[:-1]
    return [part for part in parts if part not in {"", "."}]


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
        folders, name = _folders_of(path), plain(path.replace("\\", "/").rpartition("/")[2])
        n_common, files = self._nearest(stem_of(path), folders)
        is_sure = n_common == len(folders)
        if is_sure:
            files = [file for file in files if len(_folders_of(file)) == n_common] or files
        elif files and "/".join(folders) in self._all_folders():
            files = []
        else:
            files = [file for file in files if not _are_others(folders, file, n_common)]
        if len(files) > 1:
            files = [f for f in files if plain(f.rpartition("/")[2]) == name] or files
        return Found(files, n_common, is_sure)

    def near(self, path: str) -> str:
        """A file that may have been meant, "" where none is like it."""
        stem = stem_of(path)
        if stem in self._by_tail:
            return self._nearest(stem, _folders_of(path))[1][0]
        like = [name for name in self._stems if name[:3] == stem[:3]][:_MAX_NEAR]
        meant = did_you_mean(stem, like).partition("'")[2].rpartition("'")[0]
        return self._by_tail[meant][0] if meant else ""

    def _nearest(self, tail: str, folders: list[str]) -> tuple[int, list[str]]:
        """How many folders the best files of a stem have in common with a path, and these files."""
        files, n_common = self._by_tail.get(tail, []), 0
        while len(files) > _FEW and n_common < len(folders):
            below = f"{folders[-1 - n_common]}/{tail}"
            if below not in self._by_tail and f"/{tail}" not in self._by_tail:
                self._split(tail, files, n_common)
            if below not in self._by_tail:
                return n_common, files
            tail, files, n_common = below, self._by_tail[below], n_common + 1
        in_common = [_n_common(folders, _folders_of(file)) for file in files]
        n_common = max(in_common, default=0)
        return n_common, [f for f, n in zip(files, in_common, strict=True) if n == n_common]

    def _split(self, tail: str, files: list[str], n_common: int) -> None:
        """Put the files of a tail below the tails with one folder more."""
        self._by_tail[f"/{tail}"] = []  # done
        for file in files:
            theirs = _folders_of(file)
            if n_common < len(theirs):
                self._by_tail.setdefault(f"{theirs[-1 - n_common]}/{tail}", []).append(file)

    def _all_folders(self) -> set[str]:
        if not self._folders:
            self._folders = {
                "/".join(_folders_of(file)) for stem in self._stems for file in self._by_tail[stem]
            }
        return self._folders


def _n_common(folders: list[str], others: list[str]) -> int:
    n_same = 0
    for one, other in zip(reversed(folders), reversed(others), strict=False):
        if one != other:
            break
        n_same += 1
    return n_same


def _are_others(folders: list[str], file: str, n_common: int) -> bool:
    """Whether the first folders that differ are two of a kind: two patients, or two splits."""
    theirs = _folders_of(file)
    if n_common == len(theirs):
        return False
    names = folders[-1 - n_common], theirs[-1 - n_common]
    shapes = {re.sub(r"\d+", "#", name) for name in names}
    splits = {parse_split(name) for name in names} - {""}
    return (len(shapes) == 1 and "#" in shapes.pop()) or len(splits) == 2
