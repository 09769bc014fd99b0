"""Where the images of a table lie: at their paths, else where a file of that name does."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pulmonet.arrays import Flags, Strings
from pulmonet.data.images.file import file_of, stat_sources
from pulmonet.data.splits.files import parse_split
from pulmonet.files.paths import ENDINGS, OTHER_ENDINGS, is_litter, names_in, plain, stem_of
from pulmonet.words import closest

#: Keys of ``--map`` that change paths; they go with a collection that is recognised, too.
REWRITES = ("strip", "folder", "extension")

_LEAVES = re.compile(r"^(?:/|~|[A-Za-z]:)|(?:^|/)\.\.(?:/|$)|\x00")

#: Files that are equally near to a path; of more none is meant.
_FEW = 8

#: Names among which a near miss is looked for.
_MAX_NEAR = 2_000


@dataclass
class Places:
    """Where the images of N rows were found."""

    paths: list[str]  # (N,) below the root; as the table has it where nothing was found
    moved: dict[str, str] = field(default_factory=dict)  # path in the table -> where it was found
    several: dict[str, list[str]] = field(default_factory=dict)  # -> files that it may mean
    index: "ImageIndex | None" = None  # of the root, where it was needed


def place_images(
    root: Path, paths: Sequence[str], folder: str = "", *, follow_links: bool = False
) -> Places:
    """Find the files of N paths, by their names where a path leads nowhere.

    Folders and ending may differ (`ImageIndex.find`); ``x.npz#train/17`` and "" stay as they are.
    The root, or its `folder` alone, is searched once, where a path needs it; linked folders if
    `follow_links`.
    """
    files = [file_of(path) for path in paths]
    leave = leaving(files)
    there = _are_there(root, files) & ~leave
    places = Places(list(paths))
    lost = [
        row
        for row in np.flatnonzero(~there).tolist()
        if files[row] == (path := paths[row]) != ""
        and (".." not in path or ".." not in re.split(r"[\\/]", path))
    ]
    found_there = _beside(root, paths, [row for row in lost if not leave[row]])
    found_there |= _below(root, paths, [row for row in lost if row not in found_there])
    for row, file in found_there.items():
        places.paths[row] = file
    left = [row for row in lost if row not in found_there]
    index = ImageIndex(image_files(root, folder, follow_links=follow_links) if left else ())
    places.index = index if left else None
    unsure: dict[int, Found] = {}
    for row in left if index.n_files else ():
        found = index.find(paths[row])
        if found.is_sure and len(found.files) == 1:
            places.paths[row] = found.files[0]
        elif found.files:
            unsure[row] = found
    guesses: dict[int, str] = {}
    n_rows_of = Counter(map(stem_of, paths)) if unsure else Counter()
    for row, (files, n_common, is_sure) in unsure.items():
        is_one = n_rows_of[stem_of(paths[row])] == 1
        if len(files) > 1 and (is_sure or leave[row] or is_one):
            places.several[paths[row]] = sorted(files)
        elif len(files) == 1 and (n_common or is_one):
            guesses[row] = files[0]
    n_rows_at = Counter([*places.paths, *guesses.values()]) if guesses else Counter()
    for row, file in guesses.items():
        if n_rows_at[file] == 1:  # two rows do not mean one file
            places.paths[row] = file
    moved = ((paths[row], places.paths[row]) for row in lost)
    places.moved = {path: file for path, file in moved if path != file}
    return places


def _beside(root: Path, paths: Sequence[str], rows: list[int]) -> dict[int, str]:
    """Files of `rows` that differ from their paths in one and the same ending: no search then."""
    folder, _, name = paths[rows[0]].rpartition("/") if rows else ("", "", "")
    head, dot, old = name.rpartition(".")
    names = names_in(f"{root}/{folder}") if dot else []
    names = [one for one in names if one.startswith(f"{head}.") and is_image_name(one)]
    new = {one[len(head) :] for one in names if stem_of(one) == stem_of(name)}
    if len(new) != 1:
        return {}
    alike = [row for row in rows if paths[row].endswith(f".{old}")]
    files = [paths[row].removesuffix(f".{old}") + next(iter(new)) for row in alike]
    return dict(compress(zip(alike, files, strict=True), _are_there(root, files)))


def _below(root: Path, paths: Sequence[str], rows: list[int]) -> dict[int, str]:
    """Files of `rows` whose paths begin with one and the same that the disk lacks: no search."""
    posix = [paths[row].replace("\\", "/") for row in rows]
    parts = posix[0].split("/") if rows else []
    tails = ("/".join(parts[n:]) for n in range(1, len(parts) - 1))
    # os.path has no errors of its own: a name may be too long
    tail = next((t for t in tails if t and os.path.isfile(f"{root}/{t}")), "")  # noqa: PTH113
    start = posix[0].removesuffix(tail) if tail else ""
    is_there = bool(start) and os.path.isdir(f"{root}/{start}")  # noqa: PTH112
    if not start or is_there or not all(path.startswith(start) for path in posix):
        return {}
    files = [path[len(start) :] for path in posix]
    if not {*paths}.isdisjoint(files):  # two rows do not mean one file
        return {}
    return dict(compress(zip(rows, files, strict=True), _are_there(root, files)))


def _are_there(root: Path, files: Sequence[str]) -> Flags:
    return np.asarray(stat_sources(root, files, np.arange(len(files)))[:, 0] >= 0)


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
    is_there = lru_cache(maxsize=None)(lambda below: (root / below).is_dir())
    absent: Counter[str] = Counter()
    for folder, n_paths in Counter(path.rpartition("/")[0] for path in paths).items():
        below = accumulate(folder.split("/"), "{}/{}".format)
        absent[next((one for one in below if one and not is_there(one)), "")] += n_paths
    return absent


def image_files(root: Path, folder: str = "", *, follow_links: bool = False) -> Iterator[str]:
    """Paths, relative to the root, of all files in `folder` that may be images by their names.

    Folders behind a symbolic link are passed over unless `follow_links`.
    """
    top, real_root = f"{root}/", f"{os.path.realpath(root)}/"
    linked: set[str] = set()

    def is_new(place: str) -> bool:
        """Whether a folder is looked into: of a link once, and not if the root lies in it."""
        if not os.path.islink(place):  # noqa: PTH114
            return True
        real = os.path.realpath(place)
        n_known = len(linked)
        linked.add(real)
        return len(linked) > n_known and not real_root.startswith(f"{real}/")

    for at, folders, names in os.walk(top + folder.strip("/"), followlinks=follow_links):
        below = f"{at[len(top) :].replace(os.sep, '/')}/".lstrip("/")
        yield from (below + name for name in names if is_image_name(name) and not is_litter(name))
        folders[:] = [name for name in folders if not is_litter(name) and is_new(f"{at}/{name}")]


def is_image_name(name: str) -> bool:
    """Whether the ending is that of an image, or there is none (DICOM: ``IM0001``, ``1.2.840``)."""
    head, dot, ending = name.rpartition(".")
    return not dot or (head != "" and (ending.lower() in ENDINGS or ending.isdecimal()))


def _key(path: str) -> str:
    """A path as it is compared: its plain folders and its stem."""
    *folders, name = plain(path.replace("\\", "/")).split("/")
    return "/".join([*[part for part in folders if part not in {"", "."}], stem_of(name)])


class Found(NamedTuple):
    """Files that a path may mean."""

    files: list[str]
    n_common: int  # folders before the stem that they and the path have
    is_sure: bool  # whether these are all of the path's


class ImageIndex:
    """Image files by their stems, and the folders before these."""

    def __init__(self, paths: Iterable[str]) -> None:
        """From paths relative to one root."""
        self._keys = {path: _key(path) for path in paths}
        self.n_files = len(self._keys)
        self._deepest = max((key.count("/") for key in self._keys.values()), default=0)
        self._folders = {key.rpartition("/")[0] for key in self._keys.values()}
        self._by_tail: dict[int, dict[str, list[str]]] = {}

    def find(self, path: str) -> Found:
        """The files that a path may mean: of those with its stem, the nearest by their folders.

        They are sure where all folders of the path agree: ``images_01/x.png`` for ``x.jpg``. Else
        they are guesses, such as ``train/x.png`` for ``/home/me/data/train/x.png``. There are none
        where the path's own folder is there, and none where two ids or two splits differ:
        ``patient2/`` is not ``patient1/``. Of several, those of the same ending win.
        """
        key = _key(path)
        n_common, files = self._nearest(key)
        is_sure = n_common == key.count("/")
        if is_sure and len(files) > 1:
            files = [one for one in files if self._keys[one] == key] or files
        elif not is_sure and (len(files) > _FEW or key.rpartition("/")[0] in self._folders):
            files = []
        elif not is_sure:
            files = [one for one in files if not _are_others(key, self._keys[one], n_common)]
        if len(files) > 1:
            name = _plain_name(path)
            files = [one for one in files if _plain_name(one) == name] or files
        return Found(files, n_common, is_sure)

    def near(self, path: str) -> str:
        """A file that may have been meant, "" where none is like it."""
        key, by_stem = _key(path), self._with(0)
        stem = key.rpartition("/")[2]
        if stem in by_stem:
            return self._nearest(key)[1][0]
        meant = closest(stem, [name for name in by_stem if name[:3] == stem[:3]][:_MAX_NEAR])
        return by_stem[meant][0] if meant else ""

    def _nearest(self, key: str) -> tuple[int, list[str]]:
        """How many folders the best files of a stem share with a path; the first of these."""
        n_folders = key.count("/")
        for n_common in range(min(n_folders, self._deepest), -1, -1):
            files = self._with(n_common).get(key.split("/", n_folders - n_common)[-1])
            if files:
                return n_common, files[: _FEW + 1]
        return 0, []

    def _with(self, n_folders: int) -> dict[str, list[str]]:
        """Files by their stem and so many folders before it."""
        if n_folders not in self._by_tail:
            tails = self._by_tail[n_folders] = {}
            for file, key in self._keys.items():
                n_more = key.count("/") - n_folders
                if n_more >= 0:
                    tails.setdefault(key.split("/", n_more)[-1], []).append(file)
        return self._by_tail[n_folders]


def _plain_name(path: str) -> str:
    return plain(path.replace("\\", "/").rpartition("/")[2])


def _are_others(key: str, other: str, n_common: int) -> bool:
    """Whether the first folders that differ are two of a kind: two patients, or two splits."""
    if n_common == other.count("/"):
        return False
    names = [one.split("/")[-2 - n_common] for one in (key, other)]
    shapes = {re.sub(r"\d+", "#", name) for name in names}
    splits = {parse_split(name) for name in names} - {""}
    return (len(shapes) == 1 and "#" in shapes.pop()) or len(splits) == 2
