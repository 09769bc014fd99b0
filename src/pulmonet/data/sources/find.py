"""Which data (the flag, the environment, ./data, or the last prepared), and of which source."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pulmonet.data.sources import chexpert, folders, medmnist, mimic, vindr
from pulmonet.data.sources.index import is_image_name
from pulmonet.data.sources.layouts import LAYOUTS
from pulmonet.data.sources.unknown import describe
from pulmonet.data.tables import find_tables
from pulmonet.errors import DataError
from pulmonet.files.paths import dataset_dir, expand, names_in, portable_path, user_data_dir
from pulmonet.files.read import read_text
from pulmonet.files.write import write_json
from pulmonet.words import list_first

#: Kind of source -> its reader (with ``recognises`` and ``read``), in the order in which a folder
#: is tried: telling file names come before CheXpert's, which are plain, and folders last.
SOURCES: dict[str, Any] = {
    "mimic": mimic,
    "vindr": vindr,
    **LAYOUTS,
    "chexpert": chexpert,
    "medmnist": medmnist,
    "folders": folders,
}

WAYS_OUT = (
    "name the folder with --data-dir or PULMONET_DATA_DIR; get CheXpert-v1.0-small from "
    "https://aimi.stanford.edu/datasets/chexpert-chest-x-rays (registration) and unpack it to "
    "./data; or try it on synthetic images: pulmonet prepare --demo"
)


def locate_dataset(data_dir: str | None = None) -> Path:
    """The dataset root: `data_dir`, else PULMONET_DATA_DIR, ./data, what was last prepared.

    Each may be a dataset root or hold exactly one. A place that the user named must hold a
    dataset; ``./data`` and the remembered one are passed over when they hold none.

    Raises:
        DataError: nowhere a dataset, or several in one place.
    """
    named = data_dir or os.environ.get("PULMONET_DATA_DIR") or None
    if named is not None:
        flag = "--data-dir" if data_dir else "PULMONET_DATA_DIR"
        place = expand(named)
        if place.name in {"", ".."}:  # its own name is the dataset's
            place = Path(os.path.abspath(place))  # noqa: PTH100 (keeps links)
        return _named_root(place, f"{flag} {named}")
    last = _json_object(user_data_dir() / "last_dataset.json").get("root")
    looked = [Path("data"), *([Path(last)] if isinstance(last, str) and last else [])]
    found = next(filter(None, map(_roots, looked)), [])
    if found:
        return _only(found, "./data")
    places = " and ".join(f"{portable_path(place)} (no dataset there)" for place in looked)
    raise DataError(f"no dataset: looked in {places}; {WAYS_OUT}")


def _named_root(place: Path, where: str) -> Path:
    if not os.access(place, os.R_OK):
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            place.stat()  # a name that is too long raises: the call is wrong, not the data
        is_there = os.path.lexists(place)
        state = "its permissions forbid to read it" if is_there else "no such folder"
        raise DataError(f"{where}: {state}; {WAYS_OUT}")
    if place.is_file() and place.suffix != ".npz":
        csv = f" (and, of several CSV files, this one with --map csv={place.name})"
        text = f"{where}: a file; name its folder{csv if place.suffix.lower() == '.csv' else ''}"
        raise DataError(text)
    found = _roots(place)
    if not found and any(map(find_tables, [place, *place.glob("*/")])):
        return place  # a CSV of one's own: its reader asks for --map
    if not found:
        what = f"{where}: no dataset there, nor in a folder directly below: {describe(place)}"
        raise DataError(f"{what}; or {WAYS_OUT}")
    return _only(found, where)


def _only(found: list[Path], where: str) -> Path:
    if len(found) > 1:
        several = f"{len(found)} datasets ({list_first(root.name for root in found)})"
        raise DataError(f"{where}: holds {several}; name one of them, e.g. {found[0]}")
    return found[0]


def _roots(place: Path) -> list[Path]:
    """`place` itself, else the roots directly below it; of these a single real one, if any."""
    if _is_root(place):
        return [place]
    below = (place / name for name in names_in(place))
    found = [entry for entry in below if entry.is_dir() and _is_root(entry)]
    # the demo set that `prepare --demo` drew often lies beside real data, which then is meant
    real = [entry for entry in found if not is_synthetic(entry)]
    return real if len(real) == 1 else found


def _is_root(place: Path) -> bool:
    """Whether a reader knows the folder, or it was prepared with a mapping before."""
    return recognise(place) is not None or (place.is_dir() and bool(remembered_map(place)))


def remember_dataset(root: Path, mapping: dict[str, str] | None = None) -> None:
    """Remember `root` as the dataset that commands take when none is named, and its ``--map``."""
    place = os.path.abspath(root)  # noqa: PTH100 (keeps links)
    write_json(user_data_dir() / "last_dataset.json", {"root": place})
    if mapping:
        write_json(dataset_dir(root) / "map.json", mapping)


def remembered_map(root: Path) -> dict[str, str]:
    """The column mapping that `prepare --map` was last given for `root`; empty if none."""
    raw = _json_object(dataset_dir(root) / "map.json")
    return {key: value for key, value in raw.items() if isinstance(value, str)}


def recognise(root: Path) -> str | None:
    """Kind of source of a folder (or of an ``.npz`` file); None where it is none."""
    if root.is_file():
        return "medmnist" if root.suffix == ".npz" else None
    everything = names_in(root)
    # 100,000 images are not looked through by each reader
    names = {name for name in everything if not is_image_name(name)}
    known = (kind for kind, one in SOURCES.items() if one.recognises(root, names))
    return next(known, None) if everything else None


def is_synthetic(root: Path) -> bool:
    """Whether the images are phantoms: ``phantoms.json`` in the root says so."""
    return bool(_json_object(root / "phantoms.json").get("synthetic"))


def _json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none or it is damaged."""
    try:
        raw = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}
