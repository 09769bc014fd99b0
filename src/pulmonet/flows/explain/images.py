"""Which images `explain` takes: files, folders, globs, rows of a dataset."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulmonet.data.images.file import file_of, inside_root
from pulmonet.data.images.read import read_grey, read_source_image
from pulmonet.data.manifest import Manifest
from pulmonet.data.sources import locate_dataset, read_manifest
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError
from pulmonet.files.paths import portable_path
from pulmonet.flows.dataset import check_split, is_own_dataset, open_dataset, run_data
from pulmonet.flows.explain.options import Settled
from pulmonet.labels import file_name_of
from pulmonet.run.record import RunRecord

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".dicom")


@dataclass(frozen=True)
class Source:
    """One image to explain.

    Attributes:
        name: as shown and recorded.
        folder: name of its output folder, unique among the images of one call.
        read: gives (H, W) uint8, or raises DataError.
        path: its file; None where it lies inside an archive.
        row: of the manifest; None for a file outside a dataset.
    """

    name: str
    folder: str
    read: Callable[[], NDArray[np.uint8]]
    path: Path | None = None
    row: int | None = None


def choose_sources(task: Settled, manifest: Manifest | None) -> list[Source]:
    """The images that were named, else rows of the dataset; none where boxes decide which rows."""
    if manifest is None:
        return _sources_from_arguments(task.images)
    if task.boxes is not None and not task.sanity:
        return []
    rows = select_rows(manifest, task.split or "valid", task.views or "all")
    default = 1 if task.first_row_only else (8 if task.sanity else len(rows))
    return _sources_from_rows(manifest, [int(row) for row in rows[: task.n_rows or default]])


def _sources_from_arguments(arguments: Sequence[str]) -> list[Source]:
    """Files as named, the images of folders (below them too) and of globs, each once.

    A file that does not exist stays in the list and fails when it is read, so that the others
    go on.

    Raises:
        DataError: a folder or a glob without a single image.
    """
    paths: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not found:
                raise DataError(f"{path}: no image in this folder; name JPEG, PNG or DICOM files")
        elif not path.exists() and glob.has_magic(argument):
            names = glob.glob(str(path), recursive=True)  # noqa: PTH207 (absolute patterns too)
            found = sorted(p for p in map(Path, names) if p.is_file())
            if not found:
                raise DataError(f"{argument}: matches no file; check the pattern")
        else:
            found = [path]
        paths.update(dict.fromkeys(found))
    folders = folder_names([path.parts for path in paths])
    return [
        Source(
            name=portable_path(path) if path.is_absolute() else str(path),
            folder=folder,
            read=partial(read_grey, path),
            path=path,
        )
        for path, folder in zip(paths, folders, strict=True)
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
        plain = path.replace("#", "/")
        parts = plain.split("/")
        folder = _folder_name([*parts[-3:-1], Path(parts[-1]).stem])
        if folder in taken:  # a.jpg beside a.png, or patients of the same name in two folders
            folder = f"{folder}_{row}"
        taken.add(folder)
        file = inside_root(manifest.root, path) if file_of(path) == path else None
        found.append(
            Source(path, folder, partial(read_source_image, manifest, row), file, row=int(row))
        )
    return found


# --- the dataset of a run ---------------------------------------------------------------------


def read_run_dataset(record: RunRecord, task: Settled, *, announce: bool = False) -> Manifest:
    """The rows as the run saw them: its folds decide the splits.

    Args:
        record: of the run; with several runs not always the task's first.
        task: has the dataset, where it is not the run's own or lies elsewhere now, and the split.
        announce: name the dataset, and what was done to its rows.

    Raises:
        DataError: no dataset, one that cannot be used, or another split than the run's.
    """
    data, seed = run_data(record, task.data_dir, task.columns), record.config.seed
    is_own = is_own_dataset(record, data)
    if announce:
        manifest = open_dataset(data, seed, keep_split=not is_own)
    else:
        manifest = read_manifest(locate_dataset(data.data_dir), data, seed, keep_split=not is_own)
    if is_own and "splits" not in task.columns:
        check_split(record, manifest, task.split or "valid")
    return manifest
