"""Opening the dataset, the same way in every command: find it, name it, check it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pulmonet.arrays import Ints
from pulmonet.choices import SPLITS
from pulmonet.config.fields import DataConfig
from pulmonet.data.manifest import Manifest, fingerprint, patients_by_split
from pulmonet.data.pack.open import Pack, open_pack
from pulmonet.data.sources import inspect_manifest, locate_dataset, read_manifest
from pulmonet.data.sources.read import join_problems
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError, PulmoNetError
from pulmonet.files.paths import expand, folder_name
from pulmonet.flows.console import note, say, steps, warn
from pulmonet.flows.options import RowOptions
from pulmonet.labels import VOCABULARY
from pulmonet.run.record import RunRecord
from pulmonet.words import count, list_first


def open_dataset(data: DataConfig, seed: int, *, keep_split: bool = True) -> Manifest:
    """The manifest that `data` describes; its name is the first line of output, notes follow.

    Raises:
        DataError: no dataset, or one that cannot be used.
    """
    root = locate_dataset(data.data_dir)
    manifest, problems, notes = inspect_manifest(root, data, seed, keep_split=keep_split)
    if problems:
        raise DataError(join_problems(root, problems))
    say(dataset_line(manifest))
    for text in [*notes, *unread_text(manifest)]:
        note(text)
    return manifest


def unread_text(manifest: Manifest) -> list[str]:
    """What lies in the dataset's folder and was not read, in a sentence; nothing where all was."""
    if not manifest.unread:
        return []
    return [
        f"not read: {list_first(manifest.unread)}; if it belongs to the dataset, call it "
        "train.csv, valid.csv or test.csv, or name it with --map csv=FILE"
    ]


@dataclass(frozen=True)
class RunRows:
    """Rows that a run is to score or explain: row numbers of the split and views of a dataset."""

    manifest: Manifest
    rows: Ints
    split: str
    external: bool = False  # another dataset than the one trained on
    other_splits: bool = False  # the splits need not be those trained with


class Datasets:
    """The datasets of runs: one that several runs use is read, and named, once."""

    def __init__(self) -> None:
        self._opened: dict[str, Manifest] = {}
        self._named: set[Path] = set()

    def rows_of(self, record: RunRecord, options: RowOptions) -> RunRows:
        """The rows as the run saw them: its folds decide the splits of its own dataset.

        Without a split it is valid, else the only one; without views, the run's.

        Raises:
            DataError: no dataset, one that cannot be used, no such row, or not the run's split.
        """
        data = _run_data(record, options.data_dir)
        external = not _is_own(record, data)
        if external:  # folds, splits and columns of the run belong to the data it was trained on
            kept = {"data_dir", "skip_bad", "views", "labels", "auxiliary_labels"}
            data = DataConfig(**data.model_dump(include=kept))
        data = data.model_copy(update=dict(options.columns))
        manifest = self._open(data, record.config.seed, keep_split=external)
        if facts := record.provenance.dataset:
            manifest = _renamed(manifest, facts.name, external=external)
        there = [name for name in SPLITS if (manifest.table["split"] == name).any()]
        split = options.split or ("valid" if "valid" in there or len(there) != 1 else there[0])
        other_splits = "splits" in options.columns
        if not external and not other_splits:
            _check_split(record, manifest, split)
        rows = select_rows(manifest, split, options.views or data.views)
        return RunRows(manifest, rows, split, external, other_splits)

    def training_rows_of(self, record: RunRecord, seen: RunRows) -> RunRows:
        """The training split of a run, without its subset; in the dataset of `seen`, its own rows.

        Raises:
            DataError, ConfigError: it is not at hand.
        """
        if record.provenance.is_published:
            raise DataError(f"{record.config.model.weights}: its training data is nowhere here")
        config, manifest = record.config, seen.manifest
        if seen.external:
            manifest = self._open(_run_data(record, None), config.seed, keep_split=False)
        return RunRows(manifest, select_rows(manifest, "train", config.data.views), "train")

    def _open(self, data: DataConfig, seed: int, *, keep_split: bool) -> Manifest:
        """The manifest that `data` describes; `keep_split` keeps a split that is drawn here."""
        fields = {"data_dir", "folds", "fold", "valid_fraction", "join", "map", "splits"}
        fields |= {"follow_links"}
        asked = [name for name in (*data.labels, *data.auxiliary_labels) if name not in VOCABULARY]
        key = repr((data.model_dump(mode="json", include=fields), asked, seed))
        if key not in self._opened:
            root = locate_dataset(data.data_dir)
            if root in self._named:  # other folds or seed: its line has been said
                self._opened[key] = read_manifest(root, data, seed, keep_split=keep_split)
            else:
                self._opened[key] = open_dataset(data, seed, keep_split=keep_split)
                self._named.add(root)
        return self._opened[key]


def _run_data(record: RunRecord, data_dir: str | None) -> DataConfig:
    """The run's data section, with the dataset named, else the run's own where it still is."""
    facts, data = record.provenance.dataset, record.config.data
    if data_dir is None:
        named = [facts.root if facts else None, data.data_dir]
        places = [expand(place) for place in named if place]
        # a file first: one .npz, beside which there may be others in the root
        there = [*filter(Path.is_file, reversed(places)), *filter(Path.exists, places)]
        data_dir = str(there[0]) if there else None
        if places and not there:
            data_dir = _moved(places[0])
    return data.model_copy(update={"data_dir": data_dir})


def _moved(recorded: Path) -> str:
    """The dataset of ./data and so on, where that of a run is not there any more."""
    try:
        found = locate_dataset()
    except DataError as error:
        raise DataError(
            f"{recorded}: the dataset that the run was trained on is not there any more; say where "
            f"it is now with --data-dir ({str(error).partition(';')[0]})"
        ) from None
    note(f"{recorded} is not there any more: {found} is taken")
    return str(found)


def _is_own(record: RunRecord, data: DataConfig) -> bool:
    """Whether `data` is what a run was trained on: its place, else its rows, or its patients."""
    if record.provenance.is_published:
        return False
    facts, written = record.provenance.dataset, record.config.data.data_dir
    name = facts.name if facts else (folder_name(Path(written)) if written else None)
    root = locate_dataset(data.data_dir)
    same_name = name in {None, folder_name(root) if root.is_dir() else root.stem}
    if facts is None or (same_name and not facts.split_patients):  # of an earlier version
        return same_name
    if expand(facts.root).resolve() == root.resolve():
        return True
    try:
        manifest = read_manifest(root, data, record.config.seed, keep_split=False)
    except PulmoNetError:  # without the columns or patients that the run's own has
        return False
    alike = patients_by_split(manifest).items() & facts.split_patients.items()
    return fingerprint(manifest) == facts.fingerprint or (same_name and bool(alike))


def _renamed(manifest: Manifest, own: str, *, external: bool) -> Manifest:
    """The run's `own` dataset by that name wherever it lies now, and no other one by it."""
    if external is (manifest.name != own):
        return manifest
    name = f"{own}-{fingerprint(manifest)[:8]}" if external else own
    what = "is another dataset than the one trained on" if external else "is the one trained on"
    note(f"{manifest.root} {what}: called {name} in the results")
    return replace(manifest, name=name)


def pack_rows(manifest: Manifest, rows: Ints, data: DataConfig) -> Pack:
    """The pack with `rows` decoded, behind a progress bar. DataError: as `open_pack`."""
    with steps("packing", 0) as bar:
        return open_pack(
            manifest,
            rows,
            image_size=data.image_size,
            fit=data.fit,
            skip_bad=data.skip_bad,
            progress=bar.reach,
        )


def left_out(bad_rows: Mapping[int, str], rows: Ints, split: str) -> Ints:
    """`rows` less the `bad_rows`, of which the reason is known, said. DataError: none is left."""
    bad = [row for row in rows.tolist() if row in bad_rows]
    if not bad:
        return rows
    if len(bad) == len(rows):
        first = f"the first: {bad_rows[bad[0]]}"
        raise DataError(f"split '{split}': none of {len(rows):,} images can be read; {first}")
    reasons = list_first(bad_rows[row].partition(";")[0] for row in bad)
    left = f"{len(rows) - len(bad):,} of {len(rows):,} left"
    warn(f"left out {count(len(bad), 'unreadable image')} of {split} ({left}): {reasons}")
    return rows[~np.isin(rows, bad)]


def _check_split(record: RunRecord, manifest: Manifest, split: str) -> None:
    """Refuse a split of the run's own dataset that may hold patients it was trained on.

    A table that is gone or cut makes another split: without valid.csv, one is drawn from train.
    """
    facts = record.provenance.dataset
    if facts is None or not facts.split_patients or split == "train":
        return
    here, trained = patients_by_split(manifest), facts.split_patients
    if here.get(split) == trained.get(split) or here.get("train") == trained.get("train"):
        return
    raise DataError(
        f"{manifest.root}: its {split} and train splits have other patients than when the run was "
        f"trained, so {split} may hold patients that it was trained on; restore the dataset's "
        "tables (or splits.csv), or say with --splits who is held out"
    )


def dataset_line(manifest: Manifest) -> str:
    """``Dataset: NAME (source, n images) at PATH``, SYNTHETIC shouted."""
    kind = "SYNTHETIC phantoms" if manifest.synthetic else f"{manifest.source} layout"
    return f"Dataset: {manifest.name} ({kind}, {len(manifest):,} images) at {manifest.root}"
