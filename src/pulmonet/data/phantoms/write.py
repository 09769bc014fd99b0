"""Write a synthetic dataset of chest phantoms in CheXpert layout, for people without data.

The phantoms are schematic drawings with known findings, not X-rays of anybody. A network that does
well on them has learnt to see drawn findings and nothing about patients; they serve to try
the program out and as the ground truth on which heat maps are tested.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import pandas as pd

import pulmonet
from pulmonet.data.images.decoding import PHANTOM_COMMENT
from pulmonet.data.phantoms.anatomy import Film
from pulmonet.data.phantoms.film import take_frontal
from pulmonet.data.phantoms.findings import Box, Finding
from pulmonet.data.phantoms.lateral import take_lateral
from pulmonet.data.phantoms.patients import Patient, Study, imagine_patient, severities
from pulmonet.errors import DataError
from pulmonet.files.paths import folder_name
from pulmonet.files.write import write_atomic, write_json
from pulmonet.labels import CHEXPERT_LABELS, DEFAULT_LABELS
from pulmonet.words import list_first

MARKER = "phantoms.json"  # in a dataset root it says that the images are synthetic

_CHEXPERT_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)
_SEVERITIES = tuple(f"{label} severity" for label in DEFAULT_LABELS)

#: The tables' columns. valid.csv and train.csv make the folder a dataset: they are written last.
TABLES = {
    "truth.csv": ("Path", *CHEXPERT_LABELS, *_SEVERITIES),
    "boxes.csv": ("Path", "label", "xmin", "ymin", "xmax", "ymax"),
    "valid.csv": _CHEXPERT_COLUMNS,
    "train.csv": _CHEXPERT_COLUMNS,
}
JPEG_QUALITY = 92

Rows = dict[str, list[list[object]]]


def write_phantoms(
    root: Path,
    n_patients: int = 120,
    seed: int = 42,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a set of chest phantoms under `root`.

    Patient k's images and labels depend on (seed, k) alone, so a larger set contains a smaller
    one. Every fifth patient is a validation patient, whose labels are the truth; training labels
    are hedged, missed and left blank as CheXpert's are. An earlier set in `root` is replaced.

    ``train.csv`` and ``valid.csv`` have CheXpert's columns, with the root's name first in paths;
    ``boxes.csv`` what was drawn where; ``truth.csv`` true labels and severities (0 = absent). The
    tables come last, so that an interrupted set is not a dataset. `progress` is called with
    (patients done, all patients).

    Raises:
        DataError: `root` holds something else.
    """
    root = root.absolute()
    _check_ours(root)
    for name in TABLES:
        (root / name).unlink(missing_ok=True)
    mark = {"synthetic": True, "seed": seed, "n_patients": n_patients}
    write_json(root / MARKER, mark | {"pulmonet": pulmonet.__version__})

    rows: Rows = {name: [] for name in TABLES}
    written: set[Path] = set()
    for number in range(1, n_patients + 1):
        patient = imagine_patient(seed, number)
        for study in patient.studies:
            for view, film in enumerate(study.films, start=1):
                kind = "lateral" if film.pose.projection == "LATERAL" else "frontal"
                folder = f"{patient.split}/patient{patient.number:05d}/study{study.number}"
                path = f"{folder}/view{view}_{kind}.jpg"
                boxes = _write_image(root / path, film, study.findings)
                written.add(root / path)
                _add_rows(rows, f"{folder_name(root)}/{path}", patient, study, film, boxes)
        if progress is not None:
            progress(number, n_patients)
    _remove_others(root, written)
    for name, columns in TABLES.items():
        table = pd.DataFrame(rows[name], columns=columns)
        write_atomic(root / name, table.to_csv(index=False, lineterminator="\n"))


def _check_ours(root: Path) -> None:
    """Refuse a folder that holds anything but an earlier phantom set."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: is a file; name a folder for the demo set")
    names = sorted(path.name for path in root.iterdir()) if root.exists() else []
    try:
        mark = json.loads((root / MARKER).read_text(encoding="utf-8"))
        ours = mark["synthetic"] is True and "pulmonet" in mark
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if names and not ours:
        what = f"{root}: is not empty and not an earlier demo set ({list_first(names)})"
        raise DataError(f"{what}; nothing was changed; choose a new folder")


def _write_image(path: Path, film: Film, findings: Sequence[Finding]) -> list[Box]:
    """Draw one film and write it as JPEG; a file that is right already is left alone."""
    lateral = film.pose.projection == "LATERAL"
    image, boxes = (take_lateral if lateral else take_frontal)(film, findings)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DataError(f"{path}: OpenCV could not encode the image; reinstall OpenCV")
    # a JPEG comment behind the JFIF segment, which is of 20 bytes with the start
    mark = b"\xff\xfe" + (len(PHANTOM_COMMENT) + 2).to_bytes(2, "big") + PHANTOM_COMMENT
    content = encoded[:20].tobytes() + mark + encoded[20:].tobytes()
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)
    return boxes


def _add_rows(
    rows: Rows, path: str, patient: Patient, study: Study, film: Film, boxes: list[Box]
) -> None:
    projection = film.pose.projection
    view = ("Lateral", None) if projection == "LATERAL" else ("Frontal", projection)
    labels = [study.labels[label] for label in CHEXPERT_LABELS]
    floats = [None if value is None else float(value) for value in labels]
    rows[f"{patient.split}.csv"].append([path, patient.sex, study.age_years, *view, *floats])
    for label, *edges in boxes:
        rows["boxes.csv"].append([path, label, *(f"{fraction:.5f}" for fraction in edges)])
    truth = [study.truth[label] for label in CHEXPERT_LABELS]
    rows["truth.csv"].append([path, *truth, *severities(study.findings).values()])


def _remove_others(root: Path, written: set[Path]) -> None:
    """Remove the images of an earlier, larger set and the folders that this leaves empty."""
    for path in sorted(root.glob("*/patient*/study*/view*_*.jpg")):
        if path not in written:
            path.unlink()
    for folder in (*root.glob("*/patient*/study*"), *root.glob("*/patient*")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
