"""A folder a class: ``train/NORMAL/x.jpeg`` or ``NORMAL/x.jpeg``, and no table."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.data.sources import rows
from pulmonet.data.sources.index import image_files, is_image_name
from pulmonet.data.splits.files import parse_split
from pulmonet.files.paths import names_in
from pulmonet.labels import VOCABULARY, align
from pulmonet.words import count, list_first

#: Who was X-rayed, in the names of Kermany's images: ``person7_virus_15``, ``IM-0115-0001``,
#: ``NORMAL2-IM-0003-0001`` (Kaggle's edition: persons with bacteria and with viruses are counted
#: apart), ``BACTERIA-1008087-0001`` (the authors' own), in NIH's (``00000013_005``), and in names
#: that say ``patient``.
_PATIENT = re.compile(
    r"(?i)(?:person|patient|subject)[-_ ]?\d+(?:_bacteria|_virus)?|(?:NORMAL2?-)?IM-\d+"
    r"|(?:BACTERIA|VIRUS|NORMAL)-\d+(?=-\d)|\d{8}(?=_\d{3}\.)"
)


def recognises(root: Path, _names: Collection[str]) -> bool:
    """By at least two folders of images, one of them called as a finding.

    Folders that are the same below train and test (or valid) may have any names.
    """
    found: dict[str, set[str]] = {}
    for split, folder in _class_folders(root):
        if next(_images(folder), None) is not None:
            found.setdefault(split, set()).add(folder.name)
    classes = [*found.values()]
    everywhere = len(classes) > 1 and all(one == classes[0] for one in classes)
    known = any(align(name) in VOCABULARY for one in classes for name in one)
    return len(set().union(*classes)) > 1 and (known or everywhere)


def read(root: Path) -> rows.SourceRows:
    """An image has the label of its folder, and none of the others'.

    Its patient is in its name, or it counts as one of its own; the split is the folder above.
    """
    found = [
        (split, folder.name, path.relative_to(root).as_posix())
        for split, folder in _class_folders(root)
        for path in _images(folder)
    ]
    splits, classes, paths = (np.asarray(column, object) for column in zip(*found, strict=True))
    named = [_PATIENT.match(path.rpartition("/")[2]) for path in paths.tolist()]
    patients = np.asarray([match[0].lower() if match else "" for match in named], object)
    others = {path for path in image_files(root) if "." in path and "mask" not in path.lower()}
    others -= {*paths}
    whole = rows.source_rows(
        paths,
        rows.finding_columns(pd.Series(classes, name="folder"), lambda name: [name]),
        split=splits,
        patient=np.where(patients == "", paths, patients) if any(named) else None,
    )
    if others:
        n_others = count(len(others), "image")
        whole.notes.append(f"{n_others} in other folders not read ({list_first(sorted(others))})")
    return whole


def _class_folders(root: Path) -> list[tuple[str, Path]]:
    """Folders that may be classes, with their split: those below train, valid and test, if any."""
    tops = _subfolders(root)
    splits = [(parse_split(top.name), top) for top in tops if parse_split(top.name)]
    if not splits:
        return [("", top) for top in tops]
    return [(split, folder) for split, top in splits for folder in _subfolders(top)]


def _subfolders(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder) if (folder / name).is_dir()]


def _images(folder: Path) -> Iterator[Path]:
    """The images of a class, which may lie in a folder ``images`` below, in order."""
    for place in (folder, folder / "images"):
        yield from (place / one for one in _names(place) if "." in one and is_image_name(one))


def _names(folder: Path) -> list[str]:
    """What lies in a folder, without litter and masks."""
    names = (one for one in names_in(folder) if not one.startswith((".", "__MACOSX")))
    return [one for one in names if "mask" not in one.lower()]
