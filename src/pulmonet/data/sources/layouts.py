"""Collections that are one table each: which file tells one, and what its columns mean.

A table of ``collections.toml`` is all that such a collection needs, and for some a function here
that tidies what it has: `mapped` then reads it as a table of one's own.
"""

import json
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.arrays import Strings
from pulmonet.data.sources import mapped, rows
from pulmonet.data.tables import (
    Column,
    find_tables,
    has_columns,
    id_column,
    map_column,
    parse_number,
    read_csv,
    text_column,
)
from pulmonet.errors import DataError
from pulmonet.files.read import MAX_JSON_BYTES, read_bytes, read_text
from pulmonet.files.read_csv import to_utf8
from pulmonet.labels import CHEXPERT_LABELS
from pulmonet.words import count

#: Lists by a part of their name; editions and other people's code add to NIH's two names.
_LISTS = {"train_val_list": "train", "test_list": "test"}
_LISTS |= {"val_list": "valid", "train_list": "train"}

#: Labels of the whole report come first, then of its parts.
_CHEXBERT_FILES = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")


@dataclass(frozen=True)
class Layout:
    """One collection; ``collections.toml`` says what each of these is."""

    tables: Sequence[str]
    columns: Sequence[str]
    mapping: Mapping[str, str]
    tidy: Callable[[pd.DataFrame, Path], pd.DataFrame]
    is_telling: bool = False
    kept: Sequence[str] | None = None
    findings: Sequence[str] = ()
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def recognises(self, root: Path, names: Collection[str]) -> bool:
        """By its table's name and header."""
        return self.table_in(root, names) is not None

    def table_in(self, root: Path, names: Collection[str] | None = None) -> Path | None:
        """Its table in `root`, of these `names` if known."""
        step = -1 if self.is_telling else 1
        named = (path for stem in self.tables for path in find_tables(root, stem, names)[::step])
        own = (path for path in named if self.is_telling or has_columns(path, self.columns))
        return next(own, None)

    def read(self, root: Path) -> rows.SourceRows:
        """One row an image. DataError: the table, or one that belongs to it, cannot be read."""
        where = self.table_in(root) or root / self.tables[0]  # gone since: the reader says so
        raw = self.tidy(read_csv(where, self.columns), root)
        note = raw.attrs.get("note")
        mapping = {}
        for key, names in self.mapping.items():
            wanted = CHEXPERT_LABELS if names == "*" else names.split("|")
            there = [name for name in wanted if name in raw]
            if key in ("folder", "separator", "extension"):
                mapping[key] = names
            elif there:
                mapping[key] = "|".join(there) if key == "labels" else there[0]
        if self.kept is not None:
            raw = raw.filter(items="|".join([*mapping.values(), *self.kept]).split("|"))
        known = "patient" in self.mapping
        found = mapped.read_table(
            raw, root, where, mapping, patients_known=known, findings=self.findings
        )
        found.notes += [f"{where.name}: {note}"] if note else []
        return found


def _rsna(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """A row a box -> a row an image. What is opaque and what normal stands in a file beside."""
    table = raw[["patientId"]].assign(Pneumonia=raw.groupby("patientId")["Target"].transform("max"))
    classes = root / "stage_2_detailed_class_info.csv"
    if classes.is_file():
        of_image = _looked_up(table["patientId"], classes, "class")
        for label, name in (("Lung Opacity", "lung opacity"), ("No Finding", "normal")):
            is_it = (np.char.lower(of_image.astype(str)) == name).astype(int).astype(str)
            table[label] = np.where(of_image == "", "", is_it)
    return table.drop_duplicates("patientId", ignore_index=True)


def _siim(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """A row a mask -> a row an image; ``-1`` is no mask, and a blank cell says nothing."""
    drawn = map_column(raw["EncodedPixels"], lambda cell: cell and str(int(cell != "-1")))
    table = raw[["ImageId"]].assign(Pneumothorax=drawn)
    table["Pneumothorax"] = table.groupby("ImageId")["Pneumothorax"].transform("max")
    return table.drop_duplicates("ImageId", ignore_index=True)


def _openi(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The findings of a study stand in a file beside."""
    return raw.assign(Problems=_looked_up(raw["uid"], root / "indiana_reports.csv", "Problems"))


def _looked_up(ids: Column, where: Path, name: str) -> Strings:
    """(N,) cells of the column `name` of another table, by ids that both have; "" where none."""
    other = read_csv(where, (str(ids.name), name))
    keys = pd.Index(id_column(other[ids.name], where))
    found = pd.Series(text_column(other[name]), index=keys)[~keys.duplicated()]
    if (found := found.reindex(id_column(ids, where))).isna().all():
        what = f"{where}: none of the {len(ids):,} ids of column '{ids.name}'"
        raise DataError(f"{what}; take all tables of one edition")
    return found.fillna("").to_numpy(object)


def _covid(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """X-rays alone: CT volumes stand in the same table. ``COVID-19, ARDS`` are two findings."""
    raw = raw.assign(finding=raw["finding"].str.replace(", ", "/"))
    if "modality" not in raw:
        return raw
    other = raw["modality"].str.strip().str.lower().isin(("ct", "mri"))
    kept = raw[~other].reset_index(drop=True)
    kept.attrs["note"] = f"{count(int(other.sum()), 'row')} of CT left out" if other.any() else ""
    return kept


def _nih(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """With the lists and images beside; Kaggle's sample has these in ``sample/images/``."""
    names = text_column(raw["Image Index"])
    folder = "sample/images/" if (root / "sample" / "images").is_dir() else "images/"
    return raw.assign(path=folder + names, split=_nih_splits(root, names))


def _nih_splits(root: Path, names: Strings) -> Strings:
    """train, valid, test, or "" where no list names an image; valid may be a part of train."""
    split = np.full(len(names), "", dtype=object)
    stems = np.asarray([name.partition(".")[0] for name in names.tolist()], object)
    for path in sorted(root.glob("[!.]*.txt")):
        part = next((part for part in _LISTS if part in path.name.lower()), None)
        if part is None:
            continue
        try:
            words = to_utf8(read_bytes(path)).decode().split()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); copy it again") from None
        listed = {word.rpartition("/")[2].partition(".")[0] for word in words}
        here = np.asarray([stem in listed for stem in stems])
        if not here.any():
            what = f"{path}: names none of the {len(names):,} images, e.g. {names[0]}"
            raise DataError(f"{what}; take the list of this dataset, or move it away")
        own = _LISTS[part]
        both = here & (split != "") & ((split == "test") != (own == "test"))
        if both.any():
            n_both = count(int(both.sum()), "image")
            what = f"{path}: {n_both} in a list of test and another one (e.g. {names[both][0]})"
            raise DataError(f"{what}; keep each in one")
        split[here & (split != "valid")] = own
    return split


def _padchest(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """Images in ``<ImageDir>/``, or anywhere; ages from years."""
    study, birth = (
        rows.column_or(raw, name, lambda cell: parse_number(cell[:4]), np.nan)
        for name in ("StudyDate_DICOM", "PatientBirth")
    )
    age = np.asarray(study - birth, np.float64)
    folder = rows.column_or(raw, "ImageDir", lambda name: name and f"{name}/")
    return raw.assign(
        path=folder + text_column(raw["ImageID"]),
        findings=map_column(raw["Labels"], _padchest_findings),
        age=np.where((age >= 0) & (age <= 120), age, np.nan),
    )


def _padchest_findings(cell: str) -> str:
    """``['pleural effusion', ' cardiomegaly']`` -> its names, stripped, and what they are."""
    names = [name.strip() for name in rows.listed_names(cell)]
    names = [] if "exclude" in names else names
    kinds = LAYOUTS["padchest"].kinds.items()
    return "|".join([*names, *(label for label, ones in kinds if not {*ones}.isdisjoint(names))])


def _chexpert_plus(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """CheXbert's labels stand beside; the table names JPEGs, which are PNGs in ``PNG/``, or DICOMs.

    Of several label files that of the whole report is taken.
    """
    folders = (root / "chexbert_labels", root)
    found = (folder / name for name in _CHEXBERT_FILES for folder in folders)
    label_path = next((path for path in found if path.is_file()), None)
    if label_path is None:
        raise DataError(
            f"{root}: no chexbert_labels/report_fixed.json, which has the labels of CheXpert Plus; "
            "unpack chexbert_labels.zip there"
        )
    labels = _chexbert_labels(label_path).reindex(text_column(raw["path_to_image"]), fill_value="")
    raw = raw.assign(view=rows.view_of(raw, "frontal_lateral", "ap_pa"))
    if (root / "PNG").is_dir():
        png = raw["path_to_image"].str.replace(r"\.\w+$", "", regex=True)
        raw["path_to_image"] = "PNG/" + png + ".png"
    own = [name for name in raw if name not in labels]
    return pd.concat([raw[own], labels.reset_index(drop=True)], axis=1)


def _chexbert_labels(path: Path) -> pd.DataFrame:
    """Cells of the 14 labels as text, one JSON object a line, indexed by ``path_to_image``."""
    try:
        lines = filter(str.strip, read_text(path, MAX_JSON_BYTES).splitlines())
        table = {one["path_to_image"]: one for one in map(json.loads, lines)}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); check the file") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        text = f"{path}: not a JSON object with path_to_image in each line; copy the file again"
        raise DataError(text) from None
    cells = {
        label: ["" if one.get(label) is None else str(one[label]) for one in table.values()]
        for label in CHEXPERT_LABELS
    }
    return pd.DataFrame(cells, index=pd.Index(list(table), dtype=object), dtype=object)


_TIDY = {"nih": _nih, "padchest": _padchest, "chexpert-plus": _chexpert_plus, "rsna": _rsna}
_TIDY |= {"siim": _siim, "openi": _openi, "covid-chestxray": _covid}
_FACTS = Path(__file__).with_name("collections.toml")

#: Name of the collection -> how it is read. Boxes, where it has some, are in `data/boxes.py`.
LAYOUTS = {
    name: Layout(tidy=_TIDY.get(name, lambda raw, _root: raw), **facts)
    for name, facts in tomllib.loads(_FACTS.read_text("utf-8")).items()
}
