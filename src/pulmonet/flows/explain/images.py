"""Which images `explain` takes: files, folders, globs, rows of a dataset."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pulmonet.arrays import Pixels
from pulmonet.data.images.file import file_of, inside_root
from pulmonet.data.images.read import read_grey, read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.errors import DataError
from pulmonet.explain.results import BadImage
from pulmonet.files.paths import expand, portable_path
from pulmonet.flows import console
from pulmonet.flows.dataset import RunRows
from pulmonet.flows.explain.options import Settled
from pulmonet.labels import file_name_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".dicom")


@dataclass(frozen=True)
class Source:
    """One image to explain; its output folder's name is unique among the images of one call.

    `read` gives (H, W) uint8, or raises DataError; `path` is None inside an archive.
    """

    name: str
    folder: str
    read: Callable[[], Pixels]
    path: Path | None = None


def read_sources(
    sources: Sequence[Source], bad: list[BadImage], progress: Callable[[], None]
) -> Iterator[tuple[Source, Pixels]]:
    """The images one after the other; those that cannot be read are named and added to `bad`.

    Raises:
        DataError: none of them can be read.
    """
    for source in sources:
        try:
            image = source.read()
        except DataError as error:
            if len(sources) == 1:
                raise
            console.warn(str(error))
            bad.append(BadImage(image=source.name, reason=str(error)))
        else:
            yield source, image
        progress()
    if len(bad) == len(sources):
        raise DataError(f"none of {len(sources)} images could be read; the first: {bad[0].reason}")


def choose_sources(task: Settled, chosen: RunRows | None) -> list[Source]:
    """The images that were named, else rows of the dataset; none where boxes decide which rows."""
    if chosen is None:
        return _sources_from_arguments(task.images)
    if task.boxes is not None and not task.sanity:
        return []
    default = 1 if task.first_row_only else (8 if task.sanity else len(chosen.rows))
    rows = [int(row) for row in chosen.rows[: task.n_rows or default]]
    return _sources_from_rows(chosen.manifest, rows)


def _sources_from_arguments(arguments: Sequence[str]) -> list[Source]:
    """Files, and images of folders and globs, each once; a missing file fails when it is read."""
    paths: dict[Path, None] = {}
    for argument in arguments:
        path = expand(argument)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not found:
                raise DataError(f"{path}: no image in this folder; name JPEG, PNG or DICOM files")
        elif not path.exists() and glob.has_magic(argument):
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 (absolute patterns too)
            found = sorted(p for p in map(Path, matches) if p.is_file())
            if not found:
                raise DataError(f"{argument}: matches no file; check the pattern")
        else:
            found = [path]
        paths.update(dict.fromkeys(found))
    folders = folder_names([path.parts for path in paths])
    names = [portable_path(path) if path.is_absolute() else str(path) for path in paths]
    return [
        Source(name, folder, partial(read_grey, path), path)
        for name, folder, path in zip(names, folders, paths, strict=True)
    ]


def folder_names(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """The stem of each path, with as many of its folders before it as make all names differ."""
    stems = [(*path[:-1], Path(path[-1]).stem) for path in parts]
    depth = 1
    while True:
        names = [_folder_name(path[-depth:]) for path in stems]
        if len(set(names)) == len(names):
            return names
        if depth >= max(len(path) for path in stems):  # a.jpg beside a.png
            return [f"{name}_{number}" for number, name in enumerate(names)]
        depth += 1


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
        is_file, links = file_of(path) == path, manifest.follow_links
        file = inside_root(manifest.root, path, follow_links=links) if is_file else None
        found.append(Source(path, folder, partial(read_source_image, manifest, row), file))
    return found
