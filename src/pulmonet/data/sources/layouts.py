"""Collections that are one table each: which file tells one, and what its columns mean.

A row of `LAYOUTS` is all that such a collection needs: `mapped` reads it as a table of one's own.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pulmonet.arrays import Strings
from pulmonet.data.sources import mapped, rows
from pulmonet.data.tables import (
    find_tables,
    has_columns,
    map_column,
    parse_number,
    read_csv,
    text_column,
)
from pulmonet.errors import DataError
from pulmonet.files.cells import to_utf8
from pulmonet.files.read import MAX_JSON_BYTES, read_bytes, read_text
from pulmonet.labels import CHEXPERT_LABELS
from pulmonet.words import count

#: The 14 findings; a file in which one never occurs still annotates it (as absent).
NIH_FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema"),
    *("Fibrosis", "Hernia", "Infiltration", "Mass", "No Finding", "Nodule"),
    *("Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)

#: Lists by a part of their name; editions and other people's code add to NIH's two names.
_LISTS = {"train_val_list": "train", "test_list": "test"}
_LISTS |= {"val_list": "valid", "train_list": "train"}

#: PadChest's label -> findings that are kinds of it (the tree of the paper's appendix): a
#: plate-like atelectasis must not count as a negative. They stay labels of their own, too.
KINDS = {
    "Atelectasis": (
        *("laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "round atelectasis"),
        *("total atelectasis", "atelectasis basal"),
    ),
    "Pleural Effusion": (
        *("loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax"),
    ),
    "Pneumothorax": ("hydropneumothorax",),
    "Pneumonia": ("atypical pneumonia",),
    "Fracture": (
        *("rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture"),
        *("vertebral fracture",),
    ),
    "Nodule": ("multiple nodules",),
    "Pleural Thickening": ("apical pleural thickening", "calcified pleural thickening"),
    "Support Devices": (
        *("pacemaker", "electrical device", "single chamber device", "dual chamber device"),
        *("catheter", "central venous catheter", "central venous catheter via jugular vein"),
        *("central venous catheter via subclavian vein",),
        *("central venous catheter via umbilical vein", "reservoir central venous catheter"),
        *("endotracheal tube", "tracheostomy tube", "NSG tube", "chest drain tube"),
        *("gastrostomy tube", "ventriculoperitoneal drain tube", "artificial heart valve"),
        *("artificial aortic heart valve", "artificial mitral heart valve"),
    ),
}

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")

#: Labels of the whole report come first, then of its parts.
_CHEXBERT_FILES = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")


@dataclass(frozen=True)
class Layout:
    """One collection."""

    tables: tuple[str, ...]  # its table's name without the ending, or patterns, the best one first
    columns: tuple[str, ...]  # what the table's header has, and others of that name have not
    mapping: Mapping[str, str]  # as `--map`; of columns separated by | the first that is there
    tidy: Callable[[pd.DataFrame, Path], pd.DataFrame] = lambda raw, _root: raw  # into that form
    is_telling: bool = False  # whether the name alone tells the table; the newest is taken
    kept: tuple[str, ...] | None = None  # further columns; None: all
    findings: tuple[str, ...] = ()  # annotated even where no row has them

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
            there = [name for name in names.split("|") if name in raw]
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
        said = read_csv(classes, ("patientId", "class")).drop_duplicates("patientId")
        of_image = table["patientId"].map(said.set_index("patientId")["class"])
        for label, name in (("Lung Opacity", "Lung Opacity"), ("No Finding", "Normal")):
            table[label] = np.where(of_image.isna(), "", (of_image == name).astype(int).astype(str))
    return table.drop_duplicates("patientId", ignore_index=True)


def _siim(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """A row a mask -> a row an image; ``-1`` is no mask."""
    drawn = pd.Series(text_column(raw["EncodedPixels"]), index=raw.index) != "-1"
    found = drawn.groupby(raw["ImageId"]).transform("max").astype(int).astype(str)
    table = raw[["ImageId"]].assign(Pneumothorax=found)
    return table.drop_duplicates("ImageId", ignore_index=True)


def _openi(raw: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The findings of a study stand in a file beside."""
    reports = read_csv(root / "indiana_reports.csv", ("uid", "Problems")).drop_duplicates("uid")
    return raw.assign(Problems=raw["uid"].map(reports.set_index("uid")["Problems"]).fillna(""))


def _covid(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """X-rays alone: CT volumes stand in the same table."""
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
    """train, valid, test, or "" where no list names an image."""
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
        split[here] = _LISTS[part]
    return split


def _padchest(raw: pd.DataFrame, _root: Path) -> pd.DataFrame:
    """Images in ``<ImageDir>/``, or anywhere; ages from years."""
    study, birth = (
        rows.column_or(raw, [name], lambda cell: parse_number(cell[:4]), np.nan)
        for name in ("StudyDate_DICOM", "PatientBirth")
    )
    age = np.asarray(study - birth, np.float64)
    folder = rows.column_or(raw, ["ImageDir"], lambda name: name and f"{name}/")
    return raw.assign(
        path=folder + text_column(raw["ImageID"]),
        findings=map_column(raw["Labels"], _padchest_findings),
        age=np.where((age >= 0) & (age <= 120), age, np.nan),
    )


def _padchest_findings(cell: str) -> str:
    """``['pleural effusion', ' cardiomegaly']`` -> its names, stripped, and what they are."""
    names = [(single or double).strip() for single, double in _QUOTED.findall(cell)]
    names = [] if "exclude" in names else names
    kinds = [label for label, kinds in KINDS.items() if not {*kinds}.isdisjoint(names)]
    return "|".join([*names, *kinds])


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


#: Name of the collection -> how it is read. Boxes, where it has some, are in `data/boxes.py`.
LAYOUTS: dict[str, Layout] = {
    "nih": Layout(  # Wang et al., CVPR 2017, and its sample on Kaggle
        ("Data_Entry_2017*", "sample_labels"),
        ("Image Index", "Finding Labels", "Patient ID"),
        {
            **{"path": "path", "patient": "Patient ID", "study": "Follow-up #|Image Index"},
            **{"split": "split", "view": "View Position", "sex": "Patient Gender|Patient Sex"},
            **{"age": "Patient Age", "findings": "Finding Labels"},
        },
        _nih,
        is_telling=True,
        kept=(),
        findings=NIH_FINDINGS,
    ),
    "padchest": Layout(  # Bustos et al. 2020, arXiv:1901.07441
        ("*chest_x_ray_images_labels*",),
        ("ImageID", "PatientID", "Labels"),
        {
            **{"path": "path", "patient": "PatientID", "study": "StudyID|ImageID"},
            **{"view": "Projection|ViewPosition_DICOM", "sex": "PatientSex_DICOM", "age": "age"},
            "findings": "findings",
        },
        _padchest,
        is_telling=True,
        kept=(),
    ),
    "chexpert-plus": Layout(  # Chambon et al. 2024, arXiv:2405.19538
        ("df_chexpert_plus*",),
        ("path_to_image", "deid_patient_id"),
        {
            **{"path": "path_to_image", "patient": "deid_patient_id", "split": "split"},
            **{"view": "view", "sex": "sex", "age": "age", "labels": "|".join(CHEXPERT_LABELS)},
        },
        _chexpert_plus,
        is_telling=True,
        kept=("race", "ethnicity"),
    ),
    "brax": Layout(
        ("master_spreadsheet*",),
        ("PatientID", "AccessionNumber", "PngPath"),
        {
            **{"path": "PngPath", "patient": "PatientID", "study": "AccessionNumber"},
            **{"view": "ViewPosition", "sex": "PatientSex", "age": "PatientAge"},
            "labels": "|".join(CHEXPERT_LABELS),
        },
    ),
    "rsna": Layout(
        ("stage_?_train_labels",),
        ("patientId", "Target"),
        {
            **{"path": "patientId", "patient": "patientId", "folder": "stage_2_train_images"},
            **{"extension": "dcm", "labels": "Pneumonia|Lung Opacity|No Finding"},
        },
        _rsna,
    ),
    "siim": Layout(
        ("stage_2_train*", "train-rle*"),
        ("ImageId", "EncodedPixels"),
        {"path": "ImageId", "folder": "dicom-images-train", "labels": "Pneumothorax"},
        _siim,
    ),
    "ranzcr": Layout(
        ("train",),
        ("StudyInstanceUID", "PatientID"),
        {"path": "StudyInstanceUID", "patient": "PatientID", "folder": "train", "extension": "jpg"},
    ),
    "openi": Layout(
        ("indiana_projections",),
        ("uid", "filename"),
        {
            **{"path": "filename", "patient": "uid", "study": "uid", "view": "projection"},
            **{"findings": "Problems", "separator": ";", "folder": "images/images_normalized"},
        },
        _openi,
    ),
    "covid-chestxray": Layout(
        ("metadata",),
        ("patientid", "finding"),
        {
            **{"path": "filename|imagename|patientid", "patient": "patientid", "folder": "images"},
            **{"findings": "finding", "separator": "/", "view": "view", "sex": "sex", "age": "age"},
        },
        _covid,
    ),
}
