"""Opening the dataset, the same way in every command: find it, name it, check it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pulmonet.arrays import Ints
from pulmonet.choices import SPLITS
from pulmonet.config.fields import DataConfig
from pulmonet.data.manifest import Manifest, fingerprint, patients_by_split
from pulmonet.data.pack.open import Pack, open_packs
from pulmonet.data.sources.collections import (
    Collections,
    find_collections,
    inspect_collections,
    join_manifests,
)
from pulmonet.data.sources.find import locate_dataset
from pulmonet.data.sources.read import join_problems
from pulmonet.data.splits.choose import select_rows
from pulmonet.errors import DataError, PulmoNetError
from pulmonet.files.paths import expand, folder_name, places_of
from pulmonet.flows.console import note, say, steps, warn
from pulmonet.flows.options import RowOptions
from pulmonet.labels import VOCABULARY
from pulmonet.run.record import DatasetFacts, RunRecord
from pulmonet.words import count, list_first


def open_dataset(
    data: DataConfig, seed: int, *, keep_split: bool = True, is_said: bool = False
) -> Manifest:
    """The manifest that `data` describes; its name is the first line of output, notes follow.

    Raises:
        DataError: no dataset, or one that cannot be used.
    """
    manifest, problems, notes = inspect_collections(
        find_collections(data), data, seed, check_files=False, keep_split=keep_split
    )
    if problems:
        raise DataError(join_problems(manifest.root, problems))
    if not is_said:
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
    whole: Manifest | None = None  # all collections of the dataset, where the rows are of some

    def by_collection(
        self, pack: Pack, facts: DatasetFacts | None
    ) -> Iterator[tuple["RunRows", Pack, Ints]]:
        """The rows of each of several collections, its pack, and their places among these rows.

        One that was trained on, by `facts`, is the run's own; of other splits, of another name.
        """
        known = facts.digests() if facts else {}
        packs, every = getattr(pack, "packs", ()), self.manifest.by_collection(self.rows)
        for one, (part, own, places) in zip(packs, every, strict=False):
            rows = replace(self, manifest=part, rows=own, whole=self.whole or self.manifest)
            here = fingerprint(part)
            if here in known:
                is_all = facts is not None and facts.fingerprint == here
                rows = replace(rows, external=False, whole=None if is_all else rows.whole)
            elif self.external and part.name in known.values():
                rows = replace(rows, manifest=replace(part, name=f"{part.name}-{here[:8]}"))
            if len(own):
                yield rows, one, places


class Datasets:
    """The datasets of runs: one that several runs use is read, and named, once."""

    def __init__(self) -> None:
        self._opened: dict[str, Manifest] = {}
        self._named: set[tuple[Path, ...]] = set()

    def rows_of(self, record: RunRecord, options: RowOptions) -> RunRows:
        """The rows as the run saw them: its folds decide the splits of its own dataset.

        Without a split it is valid, else the only one; without views, the run's. Some of the
        collections that the run was trained on are its own as well.

        Raises:
            DataError: no dataset, one that cannot be used, no such row, or not the run's split.
        """
        data, facts = _run_data(record, options.data_dir), record.provenance.dataset
        named = find_collections(data)
        some = _some_of(facts, named) if facts else ()
        external = not some and not _is_own(record, data, named)
        if external:  # folds, splits and columns of the run belong to the data it was trained on
            kept = {"data_dir", "skip_bad", "views", "labels", "auxiliary_labels"}
            data = DataConfig(**data.model_dump(include=kept))
        elif some:
            data = _run_data(record, None)
        other_splits = "splits" in options.columns
        folds = None if other_splits else data.folds
        data = data.model_copy(update={**options.columns, "folds": folds})
        whole = self._open(data, record.config.seed, keep_split=external)
        names = known_names(whole, facts)
        if facts:
            groups = find_collections(data).same_patients
            whole = _renamed(whole, names, facts.name, groups, external=external)
        there = [name for name in SPLITS if (whole.table["split"] == name).any()]
        split = options.split or ("valid" if "valid" in there or len(there) != 1 else there[0])
        if not external and not other_splits and not all(names):
            _check_split(record, whole, split)
        manifest, parts = whole, [part for part in whole.parts if part.name in some]
        if 0 < len(parts) < len(whole.parts):
            groups = find_collections(data).same_patients
            manifest = parts[0] if len(parts) == 1 else join_manifests(parts, groups)
        rows = select_rows(manifest, split, options.views or data.views)
        for part, own, _ in manifest.by_collection(rows):
            if not len(own):
                note(f"{part.name}: has no rows of split {split}")
        is_part = facts is not None and not external and not _has_all(manifest, facts)
        return RunRows(manifest, rows, split, external, other_splits, whole if is_part else None)

    def training_rows_of(self, record: RunRecord, seen: RunRows) -> RunRows:
        """The training split of a run, without its subset; in the dataset of `seen`, its own rows.

        Raises:
            DataError, ConfigError: it is not at hand.
        """
        if record.provenance.is_published:
            raise DataError(f"{record.config.model.weights}: its training data is nowhere here")
        config, manifest = record.config, seen.whole or seen.manifest
        facts = record.provenance.dataset
        if seen.external or (facts and not _has_all(manifest, facts)):
            manifest = self._open(_run_data(record, None), config.seed, keep_split=False)
        return RunRows(manifest, select_rows(manifest, "train", config.data.views), "train")

    def _open(self, data: DataConfig, seed: int, *, keep_split: bool) -> Manifest:
        """The manifest that `data` describes; `keep_split` keeps a split that is drawn here."""
        fields = {"data_dir", "folds", "fold", "valid_fraction", "join", "map", "splits"}
        fields |= {"follow_links", "same_patients"}
        asked = [name for name in (*data.labels, *data.auxiliary_labels) if name not in VOCABULARY]
        key = repr((data.model_dump(mode="json", include=fields), asked, seed))
        if key not in self._opened:
            roots = find_collections(data).roots  # of other folds or seed: its line has been said
            is_said = roots in self._named
            self._opened[key] = open_dataset(data, seed, keep_split=keep_split, is_said=is_said)
            self._named.add(roots)
        return self._opened[key]


def _run_data(record: RunRecord, data_dir: str | tuple[str, ...] | None) -> DataConfig:
    """The run's data section, with the dataset named, else the run's own where it still is."""
    facts, data = record.provenance.dataset, record.config.data
    if data_dir is None:
        named = [tuple(facts.places or [facts.root]) if facts else (), places_of(data.data_dir)]
        there = [some for some in named if some and all(expand(place).exists() for place in some)]
        # a file first: one .npz, beside which there may be others in the root
        there.sort(key=lambda some: not expand(some[0]).is_file())
        data_dir = there[0] if there else None
        if places := [place for some in named for place in some if not there]:
            gone = next(place for place in places if not expand(place).exists())
            data_dir = _moved(expand(gone), is_all=len(places_of(named[0] or named[1])) == 1)
    else:
        named_places = places_of(data_dir)
        if len(named_places) > 1 or named_places[0].endswith(".toml"):
            data = data.model_copy(update={"map": {}, "join": None, "splits": None})
        names = {folder_name(expand(place)) for place in named_places}
        groups = (one for one in data.same_patients if {*map(str.strip, one.split(","))} <= names)
        data = data.model_copy(update={"same_patients": tuple(groups)})
    return data.model_copy(update={"data_dir": data_dir})


def _moved(recorded: Path, *, is_all: bool) -> str:
    """The dataset of ./data and so on, where that of a run is not there any more.

    One of several (not `is_all`) is not replaced.
    """
    why = "it is one of several"
    if is_all:
        try:
            found = locate_dataset()
        except DataError as error:
            why = str(error).partition(";")[0]
        else:
            note(f"{recorded} is not there any more: {found} is taken")
            return str(found)
    raise DataError(
        f"{recorded}: the dataset that the run was trained on is not there any more; say where it "
        f"is now with --data-dir ({why})"
    )


def _roots(facts: DatasetFacts) -> dict[str, Path]:
    """Where the collections lay that a run was trained on, by name."""
    known = facts.collections or {facts.name: (facts.root, "")}
    return {name: expand(root).resolve() for name, (root, _) in known.items()}


def _some_of(facts: DatasetFacts, named: Collections) -> tuple[str, ...]:
    """Which of a run's several collections were named, where they lay, and none else."""
    here, roots = {root.resolve() for root in named.roots}, _roots(facts)
    if not facts.collections or not here <= {*roots.values()}:
        return ()
    if not all(root.exists() for root in roots.values()):  # the others decide its folds
        return ()
    return tuple(name for name, root in roots.items() if root in here)


def _has_all(manifest: Manifest, facts: DatasetFacts) -> bool:
    """Whether these are all collections that a run was trained on."""
    names = {part.name for part in manifest.parts} or {manifest.name}
    return names == {*(facts.collections or [facts.name])}


def _is_own(record: RunRecord, data: DataConfig, named: Collections) -> bool:
    """Whether `data` is what a run was trained on: its place, else its rows, or its patients."""
    if record.provenance.is_published:
        return False
    facts, written = record.provenance.dataset, places_of(record.config.data.data_dir)
    name = facts.name if facts else (folder_name(Path(written[0])) if written else None)
    same_name = name in {None, "+".join(named.names)}
    if facts is None or (same_name and not facts.split_patients):  # of an earlier version
        return same_name
    if {root.resolve() for root in named.roots} <= {*_roots(facts).values()}:
        return True
    try:
        manifest = open_dataset(data, record.config.seed, keep_split=False, is_said=True)
    except PulmoNetError:  # without the columns or patients that the run's own has
        return False
    alike = patients_by_split(manifest).items() & facts.split_patients.items()
    return all(known_names(manifest, facts)) or (same_name and bool(alike))


def known_names(manifest: Manifest, facts: DatasetFacts | None) -> list[str]:
    """What a run that was trained on `facts` called each collection; empty of one it did not have.

    Rows, labels, patients and splits tell, not names and places.
    """
    known = facts.digests() if facts else {}
    return [known.get(fingerprint(part), "") for part in manifest.parts or (manifest,)]


def _renamed(
    manifest: Manifest,
    names: Sequence[str],
    own: str,
    groups: Sequence[frozenset[str]],
    *,
    external: bool,
) -> Manifest:
    """The run's dataset and collections by its `names` wherever they lie, and no other by these."""
    name_of = {
        part.name: new or part.name for part, new in zip(manifest.parts, names, strict=False)
    }
    if [*name_of] != [*name_of.values()] and len({*name_of.values()}) == len(name_of):
        parts = [replace(part, name=name_of[part.name]) for part in manifest.parts]
        same = [frozenset(name_of[one] for one in group) for group in groups]
        manifest = replace(join_manifests(parts, same), name=manifest.name)
    own = "+".join(names) if all(names) else own
    if external is (manifest.name != own):
        return manifest
    name = f"{own}-{fingerprint(manifest)[:8]}" if external else own
    what = "is another dataset than the one trained on" if external else "is the one trained on"
    note(f"{manifest.root} {what}: called {name} in the results")
    return replace(manifest, name=name)


def pack_rows(manifest: Manifest, rows: Ints, data: DataConfig) -> Pack:
    """The pack with `rows` decoded, behind a progress bar. DataError: as `open_pack`."""
    with steps("packing", 0) as bar:
        return open_packs(
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
