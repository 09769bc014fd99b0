"""What all sources share: the first columns of their rows, the labels, and where images lie."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pulmonet.arrays import Floats32, Strings
from pulmonet.data.spellings import SPELLINGS
from pulmonet.data.tables import Column, factorise, is_blank, map_column, parse_number, text_column
from pulmonet.errors import DataError
from pulmonet.files.paths import folder_name, names_in
from pulmonet.labels import CHEXPERT_LABELS, VOCABULARY, align, check_label_name, fold, match_label
from pulmonet.words import count, list_first

#: Columns that every reader gives, in this order; the labels follow.
ROW_COLUMNS = ("path", "split", "patient", "study", "view", "sex", "age_years")

_LABEL_VALUES = (1.0, 0.0, -1.0)
_PATIENT_FOLDER = re.compile(r"(?i)(?:.*/)?(patient(?!s)[^/]*\d[^/]*)/(?:(study[^/]*)/)?")
_AGE = re.compile(
    r"[><≥=]*\s*([\d.,]+)\s*\+?\s*((?:y|years?|yrs?|y/?o|m|months?|w|weeks?|d|days?)?)\.?\s*\+?"
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass
class SourceRows:
    """What a source reader gives: one row an image, with all that was wrong on the way."""

    table: pd.DataFrame  # as `Manifest.table`; split is "" where the source has none
    labels: tuple[str, ...]  # in the vocabulary's spelling
    problems: list[str]  # ``where: what; what to do`` about rows that cannot be used
    patients_known: bool  # False where the source has no patient ids by nature
    notes: list[str] = field(default_factory=list)  # what was done to rows that can be used


def source_rows(
    paths: Any,
    labels: Mapping[str, Floats32],
    problems: Sequence[str] = (),
    *,
    split: Any = "",
    patient: Any = None,
    study: Any = None,
    view: Any = "",
    sex: Any = "",
    age_years: Any = np.nan,
    further: Mapping[str, NDArray[Any]] | None = None,
) -> SourceRows:
    """Rows from the (N,) values of each column, or one value for all.

    Where `patient` is None the source has none: each image is its own. `study` holds ids within
    the patient; each image is its own study where None or "". Rows without any label are to be
    scored alone: they need no patient, and are a test set where nothing else is said.
    """
    if not labels:
        patient = None if patient is None or not any(patient) else patient
        split = "test" if isinstance(split, str) and not split else split
    known = patient is not None
    within = paths if study is None else np.where(study == "", paths, study)
    study = patient + "/" + within if known else paths
    values = (paths, split, patient if known else paths, study, view, sex, age_years)
    columns = {**dict(zip(ROW_COLUMNS, values, strict=True)), **labels, **(further or {})}
    return SourceRows(pd.DataFrame(columns), tuple(labels), list(problems), known)


def stack(parts: Iterable[SourceRows]) -> SourceRows:
    """The rows of several files of one source, one below the other."""
    parts = list(parts)
    spelled: dict[str, str] = {}
    for part in parts:  # TB of train.csv is tb of valid.csv
        own = {label: spelled.setdefault(fold(label), label) for label in part.labels}
        part.table, part.labels = part.table.rename(columns=own), tuple(own.values())
    return SourceRows(
        pd.concat([part.table for part in parts], ignore_index=True),
        tuple(dict.fromkeys(label for part in parts for label in part.labels)),
        [text for part in parts for text in part.problems],
        any(part.patients_known for part in parts),  # a test set without labels may have none
        [text for part in parts for text in part.notes],
    )


def column_or(
    raw: pd.DataFrame, name: str | None, convert: Callable[[str], Any], blank: Any = ""
) -> NDArray[Any]:
    """(N,) converted cells of the column `name`; all `blank` where the table has none."""
    dtype = float if isinstance(blank, float) else object
    if name not in raw:
        return np.full(len(raw), blank, dtype)
    return map_column(raw[name], convert, dtype)


def named_as(raw: pd.DataFrame, key: str) -> str:
    """The column that is called as a key of ``--map``: ``PatientSex`` as sex; "" if none."""
    folded = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(raw.columns)}
    pattern = SPELLINGS["columns"][key]
    return next((folded[name] for name in reversed(folded) if re.fullmatch(pattern, name)), "")


def parse_view(value: str) -> str:
    """AP (``AP Supine``, too), PA, LATERAL, FRONTAL (unspecified), or "" where unknown."""
    words = value.lower().split()
    return str(SPELLINGS["views"].get(words[0], "")) if words else ""


def view_of(raw: pd.DataFrame, side: str, projection: str) -> NDArray[Any]:
    """(N,) views from two columns, as CheXpert has them: AP or PA says more than frontal."""
    sides, projections = (column_or(raw, name, parse_view) for name in (side, projection))
    known = np.isin(projections.astype(str), ("AP", "PA")) & (sides != "LATERAL")
    return np.where(known, projections, sides)


def parse_sex(value: str) -> str:
    """Male, Female, or "" where unknown."""
    return str(SPELLINGS["sexes"].get(value.lower(), ""))


def parse_age(value: str) -> float:
    """Years; ``058Y`` and ``011M`` (DICOM, NIH), ``60 years``, ``>89`` and ``90+`` too.

    NaN where unknown or beyond 120.
    """
    found = _AGE.fullmatch(value.strip().lower())
    number, unit = found.groups() if found else (value, "")
    years = parse_number(number) / {"m": 12.0, "w": 52.18, "d": 365.25}.get(unit[:1], 1.0)
    return years if 0 <= years <= 120 else np.nan


def _parse_label(value: str) -> float:
    """1, 0, -1; NaN for blank; infinity for anything else, which is no label value."""
    if is_blank(value):
        return np.nan
    number = parse_number(value)
    return number if number in _LABEL_VALUES else np.inf


def label_columns(
    raw: pd.DataFrame, names: Iterable[str], where: Path, problems: list[str]
) -> dict[str, Floats32]:
    """Label -> (N,) values of the columns `names`; yes, negative and the like are read, too.

    Wrong values, which become NaN, and a second column for a label go to `problems`.

    Raises:
        DataError: a label that `check_source_label` refuses.
    """
    words = SPELLINGS["labels"]
    labels: dict[str, Floats32] = {}
    for name in names:
        if found := match_label(name, labels):
            text = f"column '{name}' is one of two for the label '{found}'; keep one"
            problems.append(f"{where}: {text}")
            continue
        check_source_label(name, where)
        values: Floats32 = map_column(
            raw[name], lambda cell: words.get(cell.lower(), _parse_label(cell)), np.float32
        )
        wrong = np.flatnonzero(np.isinf(values))
        if len(wrong):
            cells = (f"line {row + 2}: {raw[name].iloc[row]!r}" for row in wrong.tolist())
            problems.append(
                f"{where}: {count(len(wrong), 'wrong value')} in column "
                f"'{name}' ({list_first(cells)}); a label is 1, 0, -1 (uncertain) or blank"
            )
            values[wrong] = np.nan
        labels[align(name)] = values
    return labels


def label_names(raws: Iterable[pd.DataFrame], taken: Collection[str | None] = ()) -> list[str]:
    """The columns of a source's tables, but the `taken` ones, that are labels.

    These are the ones in the vocabulary. Unless CheXpert's 14 are all there, also those that hold
    label values alone, and not one alone, and are not called as what tables say of their rows.
    """
    raws = list(raws)
    names = dict.fromkeys(name for raw in raws for name in raw.columns if name not in taken)
    known = [name for name in names if align(name) in VOCABULARY]
    if {*map(align, known)} >= {*CHEXPERT_LABELS}:
        return known

    def is_label(name: str) -> bool:
        if name in known or _is_about_rows(name):
            return name in known
        cells = {cell for raw in raws if name in raw for cell in factorise(raw[name])[1]}
        values = {_parse_label(cell) for cell in cells} if len(cells) <= 64 else ()
        return len(values) > 1 and np.inf not in values

    return list(filter(is_label, names))


def _is_about_rows(name: str) -> bool:
    """Whether a column is called as what tables say of their rows."""
    letters = re.sub(r"[^a-z]", "", name.lower()).removeprefix("is")
    return letters in SPELLINGS["about_rows"]


def nearly_labels(raw: pd.DataFrame, taken: Collection[str | None]) -> Iterator[str]:
    """What keeps columns of 0 and 1, but `taken` ones, from being labels: 2 % of their cells."""
    for name in raw.columns:
        codes, cells = factorise(raw[name])
        if name in taken or _is_about_rows(name) or len(cells) > 64:
            continue
        values = np.asarray([_parse_label(cell) for cell in cells])
        wrong = np.isinf(values)
        n_wrong = int(wrong[codes].sum())
        if {0.0, 1.0} <= {*values} and 0 < n_wrong * 50 <= len(raw):
            words = list_first(map(repr, compress(cells, wrong)))
            yield (
                f"column '{name}' is no label: {count(n_wrong, 'cell')} beside 1, 0, -1 and blank "
                f"({words})"
            )


def other_columns(
    raw: pd.DataFrame, taken: Collection[str | None], labels: Collection[str]
) -> dict[str, NDArray[Any]]:
    """All columns as text, but `taken` ones, `labels` and those named as one of `ROW_COLUMNS`."""
    free = [name for name in raw.columns if name and name not in {*taken, *ROW_COLUMNS}]
    return {name: text_column(raw[name]) for name in free if align(name) not in labels}


def listed_names(cell: str, separator: str = ",") -> list[str]:
    """The names that a cell lists, also as Python or JSON writes it: ``['mass', 'edema']``."""
    cell = cell.strip()
    if cell[:1] + cell[-1:] != "[]":
        return cell.split(separator)
    return [single or double for single, double in _QUOTED.findall(cell)] or cell[1:-1].split(",")


def finding_columns(
    column: Column, split: Callable[[str], list[str]], always: Iterable[str] = ()
) -> dict[str, Floats32]:
    """Label columns from one whose cells `split` into findings, as NIH and PadChest have it.

    Label -> (N,) of 1 (listed), 0 (not listed) and NaN (nothing listed), sorted by name; `always`
    are labels even where no cell lists them.

    Raises:
        DataError: a label that `check_source_label` refuses.
    """
    codes, distinct = factorise(column)
    nothing, spelled = SPELLINGS["no_findings"], {fold(name): align(name) for name in always}
    listed = [
        {
            spelled.setdefault(fold(align(name)), align(name))
            for name in split(cell)
            if name.strip().lower() not in nothing
        }
        for cell in ("" if is_blank(cell) else cell for cell in distinct)
    ]
    labels = sorted({*map(align, always)}.union(*listed))
    for label in labels:
        check_source_label(label, f"column '{column.name}'")
    return {
        label: np.asarray([label in names if names else np.nan for names in listed], "f4")[codes]
        for label in labels
    }


def check_source_label(name: str, where: object) -> None:
    """Refuse a label that a Manifest or a file name cannot hold.

    Raises:
        DataError: called as one of `ROW_COLUMNS`, or against `labels.check_label_name`.
    """
    if name in ROW_COLUMNS:
        raise DataError(f"{where}: a label cannot be called '{name}'; rename it")
    try:
        check_label_name(name)
    except ValueError as error:
        raise DataError(f"{where}: {error}; rename it") from None


def strip_root(paths: Strings, root: Path) -> Strings:
    """Paths relative to the root, POSIX: without ``./``, ``//``, the root and its own name.

    A first part that nothing below the root is called by is the root's name, maybe an older one:
    ``chexpert/`` is understood for ``CheXpert-v1.0-small/`` where all paths share it and what
    follows it is there.
    """
    text = [str(path).strip().replace("\\", "/").replace("/./", "/") for path in paths.tolist()]
    text = [path.replace("//", "/").removeprefix("./") for path in text]
    for own in {str(root.absolute()), os.path.realpath(root)}:
        text = [path.removeprefix(own.replace("\\", "/").rstrip("/") + "/") for path in text]
    there = {*names_in(root)}
    name = folder_name(root)
    if name and name not in there:
        text = [path.removeprefix(f"{name}/") for path in text]
    first, _, rest = next((path for path in text if path), "").partition("/")
    is_other = first not in {"", ".", "..", *there} and rest.partition("/")[0] in there
    if is_other and all(path.startswith(f"{first}/") for path in text if path):
        text = [path.removeprefix(f"{first}/") for path in text]
    return np.asarray(text, dtype=object)


def patients_of(paths: Strings, own: Strings | None = None) -> tuple[Strings, Strings]:
    """(N,) patients, from a column `own`, else the last ``patient123/`` of a path; their studies.

    Where there is neither, the patient is "". The study is a ``study…/`` below the patient's
    folder, else ``study1``, or with a column and no such folder the image.
    """
    found = [_PATIENT_FOLDER.match(path) for path in paths.tolist()]
    folder = np.asarray([one[1] if one else "" for one in found], object)
    study = np.asarray([(one[2] if one else "") or "study1" for one in found], object)
    if own is None:
        return folder, study
    below = np.where(folder == "", paths, folder + "/" + study)
    return np.where(own == "", folder, own), np.where((own == "") | (own == folder), study, below)
