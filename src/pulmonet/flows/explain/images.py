"""Which images `explain` takes: files, folders, globs, rows of a dataset."""

import contextlib
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from pulmonet.arrays import Pixels
from pulmonet.data.batches.load import in_order
from pulmonet.data.images.decoding import Remark
from pulmonet.data.images.dicom import NotARadiographError
from pulmonet.data.images.file import file_of, inside_root
from pulmonet.data.images.header import read_header
from pulmonet.data.images.read import read_file, read_row
from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import decoding_threads
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError
from pulmonet.explain.results import BadImage
from pulmonet.files.paths import ENDINGS, expand, portable_path
from pulmonet.flows import console
from pulmonet.flows.dataset import RunRows
from pulmonet.flows.explain.options import Settled
from pulmonet.labels import file_name_of
from pulmonet.words import count, list_first

#: SOP class of a DICOMDIR, a CD's table of contents (DICOM PS3.4, annex F), in its first kilobyte.
_DIRECTORY = b"1.2.840.10008.1.3.10"
_START_BYTES = 1024


@dataclass(frozen=True)
class Source:
    """One image to explain; its output folder's name is unique among the images of one call.

    `read` gives (H, W) uint8 and what there is to remark, or raises DataError; `path` is None
    inside an archive; `reference` has the labels whose reference standard is known.
    """

    name: str
    folder: str
    read: Callable[[], tuple[Pixels, Remark]]
    path: Path | None = None
    was_found: bool = False  # in a folder or by a pattern, not named
    reference: Mapping[str, bool] = field(default_factory=dict)
    file: Path | None = None  # that holds it, an archive too

    def state(self) -> tuple[str, str]:
        """Its file's size in bytes and time of change, UTC; blank where there is none."""
        try:
            found = (self.file or Path()).stat()
        except OSError:
            return "", ""
        changed = datetime.fromtimestamp(found.st_mtime, UTC)
        return str(found.st_size), changed.isoformat(timespec="microseconds")


def read_sources(
    sources: Sequence[Source],
    bad: list[BadImage],
    progress: Callable[[], None],
    *,
    prepare: Callable[[Pixels, Remark], Any] = lambda *pair: pair,
    n_more: int = 0,
) -> Iterator[tuple[Source, Any]]:
    """The images in order, with what there is to remark or `prepare`d, read ahead by threads.

    Those that cannot be read are named and added to `bad`; other modalities of a folder are passed
    over. DataError: none can be read, and there were not `n_more` before.
    """

    def attempt(source: Source) -> Any:
        try:
            return prepare(*source.read())
        except DataError as error:
            return error

    others = Counter[str]()
    work = (partial(attempt, source) for source in sources)
    read = in_order(work, decoding_threads(), torch.device("cpu"))
    for source, found in zip(sources, read, strict=True):
        if not isinstance(found, DataError):
            yield source, found
        elif len(sources) + n_more == 1:
            raise found
        elif isinstance(found, NotARadiographError) and source.was_found:
            others[found.modality] += 1
        else:
            console.warn(str(found))
            bad.append(BadImage(image=source.name, reason=str(found)))
        progress()
    for modality, n in others.items():
        console.note(f"{count(n, 'DICOM file')} of modality {modality} passed over")
    if not n_more and len(bad) + others.total() == len(sources):
        first = f"; the first: {bad[0].reason}" if bad else ""
        raise DataError(f"none of {len(sources)} images could be read{first}")


def choose_sources(task: Settled, chosen: RunRows | None) -> list[Source]:
    """The images that were named, else rows of the dataset; none where boxes decide which rows."""
    if chosen is None:
        return _sources_from_arguments(task.images)
    if task.boxes is not None and not task.sanity:
        return []
    default = 1 if task.first_row_only else (8 if task.sanity else len(chosen.rows))
    is_all = task.no_maps and task.split is None
    rows = select_rows(chosen.manifest, None, task.views or "all") if is_all else chosen.rows
    rows = rows[: task.n_rows or max(default, len(rows) * task.no_maps)].tolist()
    return _sources_from_rows(chosen.manifest, rows)


def _sources_from_arguments(arguments: Sequence[str]) -> list[Source]:
    """Files, and images of folders and globs, each once; a missing file fails when it is read."""
    paths: dict[Path, bool] = {}
    others: Counter[str] = Counter()
    for argument in arguments:
        path = expand(argument)
        is_pattern = glob.has_magic(argument) and not path.exists()
        found, was_found = [path], is_pattern or path.is_dir()
        if was_found:
            found, passed_over = _images_among(_matches(path) if is_pattern else path.rglob("*"))
            others += passed_over
            if not found:
                what = f"matches no {'image' if passed_over else 'file'}"
                what = what if is_pattern else "no image in this folder"
                raise DataError(
                    f"{argument}: {what}{_shown(passed_over)}; name JPEG, PNG, TIFF or DICOM files"
                )
        paths |= dict.fromkeys(found, was_found)
    if others:
        console.note(f"{count(len(paths), 'image')}{_shown(others)}")
    folders = folder_names([path.parts for path in paths])
    names = [portable_path(path) if path.is_absolute() else str(path) for path in paths]
    return [
        Source(name, folder, partial(read_file, path), path, was_found, file=path)
        for name, folder, (path, was_found) in zip(names, folders, paths.items(), strict=True)
    ]


def _matches(pattern: Path) -> Iterable[Path]:
    """What a pattern matches; its ``**`` follows no link to a folder, which may lead to itself."""
    parts = pattern.parts
    at = parts.index("**") if "**" in parts else len(parts)  # within a name it is a *
    found = map(Path, glob.glob(str(Path(*parts[:at]))))  # noqa: PTH207 - from the root on, too
    if at == len(parts):
        return found
    end = str(Path(*parts[at + 1 :] or "*"))
    return chain.from_iterable(folder.rglob(end) for folder in found)


def _images_among(paths: Iterable[Path]) -> tuple[list[Path], Counter[str]]:
    """Files that are named or begin like an image, sorted; and how many others of each kind.

    A pipe or a broken link that is named like an image fails when it is read.
    """
    found, others = [], Counter[str]()
    # no hidden ones, such as the ``._`` files that macOS leaves on foreign disks
    for path in sorted(path for path in paths if path.name[:1] != "."):
        start, ending = b"", path.suffix.lower()
        if os.path.isfile(path):  # noqa: PTH113 - a Path raises where a folder may not be read
            with contextlib.suppress(OSError), path.open("rb") as file:
                start = file.read(_START_BYTES)
        elif os.path.isdir(path):  # noqa: PTH112
            if path.is_symlink():
                others["link to a folder"] += 1
            continue
        if _DIRECTORY in start or path.stem.upper() == "DICOMDIR":
            others["DICOMDIR"] += 1
        elif ending[1:] in ENDINGS or read_header(start).kind:
            found.append(path)
        else:
            others[ending or "without an ending"] += 1
    return found, others


def _shown(others: Counter[str]) -> str:
    """``, 3 other files passed over (2 .txt, 1 DICOMDIR)``."""
    kinds = list_first(f"{n:,} {kind}" for kind, n in others.most_common())
    total = count(sum(others.values()), "other file")
    return f", {total} passed over ({kinds})" if others else ""


def folder_names(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """The stem of each path, with as many of its folders before it as make all names differ."""
    # of ``1.2.840.1`` the last number is no ending
    last = [Path(path[-1]) for path in parts]
    stems = [path.stem if path.suffix[1:].lower() in ENDINGS else path.name for path in last]
    for depth in range(max(map(len, parts), default=1)):
        pairs = zip(parts, stems, strict=True)
        names = [_folder_name([*path[-depth - 1 : -1], stem]) for path, stem in pairs]
        if len(set(names)) == len(names):
            return names
    return [f"{name}_{number}" for number, name in enumerate(names)]  # a.jpg beside a.png


def _folder_name(parts: Sequence[str]) -> str:
    """Parts of a path as the name of one folder, which stays below where it is put."""
    return file_name_of("_".join(parts)).strip("_.") or "image"


def _sources_from_rows(manifest: Manifest, rows: Sequence[int]) -> list[Source]:
    """Rows of a dataset; the folder is patient_study_view, which stays the same in every call."""
    found: list[Source] = []
    taken: set[str] = set()
    for row in rows:
        path = str(manifest.table["path"].iloc[row])
        parts = path.replace("#", "/").split("/")
        folder = _folder_name([*parts[-3:-1], Path(parts[-1]).stem])
        if folder in taken:  # a.jpg beside a.png, or patients of the same name in two folders
            folder = f"{folder}_{row}"
        taken.add(folder)
        part, number = manifest.own_row(row)
        held_in = file_of(str(part.table["path"].iloc[number]))
        file = inside_root(part.root, held_in, follow_links=part.follow_links)
        known = manifest.table.iloc[row][list(manifest.labels)].items()
        reference = {str(label): bool(value == 1) for label, value in known if value in (0, 1)}
        read = partial(read_row, manifest, row)
        own = file if file_of(path) == path else None
        found.append(Source(path, folder, read, own, False, reference, file))
    return found
