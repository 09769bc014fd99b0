"""What `explain` can be asked for and what that means; no torch: a wrong name answers at once."""

import shlex
from functools import cached_property
from glob import has_magic
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pulmonet.choices import COLOUR_MAPS, DEVICES, METHODS, OWN_BOXES
from pulmonet.errors import ArtifactError, ConfigError, DataError
from pulmonet.explain.maps.variants import MapVariant, check_colour_map, choose_variants
from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import expand
from pulmonet.flows.console import say
from pulmonet.flows.options import RowOptions
from pulmonet.labels import choose_labels
from pulmonet.models.published import OFFERED, named_run
from pulmonet.run.folder import RunDir, best_run, list_runs
from pulmonet.run.record import RunRecord, read_model
from pulmonet.words import list_first

_OF_TABLES = ("map", "join", "splits", "follow_links", "same_patients")
_OF_DATASET = ("split", "views", "n_rows", "data_dir", *_OF_TABLES)
_OF_PICTURES = ("dicom", "anonymous", "show_absent", "parquet", "boxes_out", "colour_map")
_OF_MAPS = (*_OF_PICTURES[:3], "boxes_out", "colour_map", "method", "layer")

#: What leaves which others without effect, and why.
_APART = (
    (("images",), _OF_DATASET, "takes rows of the dataset"),
    (("images",), ("boxes",), "scores rows of the dataset that the boxes belong to"),
    (("no_maps",), ("boxes", "sanity", "against", *_OF_MAPS), "needs the maps"),
    (("boxes", "sanity", "against"), _OF_PICTURES, "is for explained images"),
)

#: What has no effect without which other.
_WITH = {"anonymous": "dicom", "n_resamples": "boxes"}


class ExplainOptions(RowOptions):
    """What to explain, as typed; the flags of `explain` are made from these fields."""

    images: tuple[str, ...] = ()
    """X-rays: JPEG, PNG or DICOM files, folders, globs. Without any: the first validation row."""
    run: str | None = None
    """Run, by name or folder; with --boxes also several, folds or compared: a,b"""
    labels: tuple[str, ...] = ()
    """Label to explain"""
    class_indices: tuple[int, ...] = ()
    """Label by its position, from 0"""
    method: Annotated[str, Field(examples=list(METHODS))] = "gradcam"
    """How heat maps are made, with --boxes also several (a,b)"""
    layer: str | None = None
    """Module to read maps from, e.g. layer3; with --boxes also several: a,b"""
    n_rows: Annotated[int | None, Field(ge=1)] = None
    """How many of the split's rows"""
    boxes: Path | None = None
    """boxes.csv, the collection's table or CheXlocalize JSON: how well maps localise findings"""
    n_resamples: Annotated[int, Field(ge=100)] = 1000
    """With --boxes: resamples of the patients"""
    sanity: bool = False
    """Check that maps depend on the weights"""
    against: str | None = None
    """With --sanity: a run to compare maps with"""
    artifacts_dir: Path = Path("artifacts")
    """Folder that holds the runs"""
    out_dir: Path | None = None
    """Where to write"""
    colour_map: Annotated[str, Field(examples=list(COLOUR_MAPS))] = "plasma"
    """Colours of the heat maps"""
    no_maps: bool = False
    """Only the scores, of any number of images: scores.csv"""
    parquet: bool = False
    """Also write scores.parquet"""
    show_absent: bool = False
    """Draw maps of findings below threshold too"""
    boxes_out: bool = False
    """Write boxes around the map's parts above the threshold that --boxes tuned"""
    dicom: bool = False
    """Also write DICOM Secondary Captures"""
    anonymous: bool = False
    """With --dicom: without patient and study of the X-ray"""
    device: Annotated[str, Field(examples=list(DEVICES))] = "auto"
    """Where it is computed"""


class Settled(ExplainOptions):
    """The same with the run, its labels and the methods looked up."""

    run_dir: RunDir
    further_runs: tuple[RunDir, ...]
    """Patient folds whose localisation scores are pooled with it"""
    record: RunRecord
    """Its run_config.json"""
    variants: tuple[MapVariant, ...]
    """Methods and layers; several only with `boxes`"""

    @property
    def way(self) -> str:
        """Method and, where one was named, layer: what stands over pictures."""
        first = self.variants[0]
        return first.method if first.layer is None else f"{first.method} at {first.layer}"

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.out_dir or (self.run_dir.path if self.no_maps else self.run_dir.explain_dir)

    @cached_property
    def ledger(self) -> Ledger:
        """What is PulmoNet's of the files there."""
        place = self.run_dir.path if self.out_dir is None else self.out_dir
        return Ledger(place, "choose another folder with --out-dir")

    @cached_property
    def tuned_shares(self) -> dict[str, float]:
        """Label -> share of a map's maximum that ``--boxes`` tuned; ArtifactError: it did not."""
        from pulmonet.explain.results import Localization

        path, way = self.run_dir.explain_dir / "localization.json", self.variants[0]
        remedy = f"run `pulmonet explain --run {self.run_dir.name} --boxes` first"
        found = read_model(path, Localization, "what `explain --boxes` writes", remedy)
        rows = {label: one.rows.get(way.name) for label, one in found.labels.items()}
        layers = {one.name: one.layer for one in found.variants}
        is_ours = found.checkpoint_sha256 == self.record.provenance.checkpoint_sha256
        if not is_ours or layers.get(way.name, "") != way.layer:
            raise ArtifactError(f"--boxes-out: {path} is of other weights or another map; {remedy}")
        return {
            label: row.iou_threshold for label, row in rows.items() if row and row.iou_threshold
        }

    @property
    def first_row_only(self) -> bool:
        """Whether nothing was named: the first validation row is explained, as ever."""
        named = self.images or self.n_rows is not None or self.split is not None
        return not named and not self.boxes and not self.sanity and not self.no_maps


def settle(options: ExplainOptions) -> Settled:
    """Look up what the options name; say which run was chosen.

    Raises:
        ConfigError: an unknown name, or options that do not go together.
        ArtifactError: no such run.
        DataError: none of the images exists.
    """
    sanity = options.sanity or options.against is not None
    variants = choose_variants(options.method, options.layer)
    check_colour_map(options.colour_map)
    if len(variants) > 1 and (options.boxes is None or sanity):
        what = f"{', '.join(variant.name for variant in variants)}: several methods"
        raise ConfigError(f"{what} or layers go with --boxes only, and not with --sanity; name one")
    _check_combination(options)
    names = list(dict.fromkeys(filter(None, map(str.strip, (options.run or "").split(",")))))
    if len(names) > 1 and options.boxes is None:
        text = f"--run {options.run}: several runs (patient folds) go with --boxes only; name one"
        raise ConfigError(text)
    run_dir = _choose_run(names[0] if names else None, options)
    record = run_dir.read_record()
    further_runs = tuple(named_run(name, options.artifacts_dir) for name in names[1:])
    if len({one.name for one in (run_dir, *further_runs)}) <= len(further_runs):
        text = f"--run {options.run}: two are called alike; name each once, or rename a folder"
        raise ConfigError(text)
    available = tuple(record.provenance.labels or record.config.data.labels)
    settled = Settled(
        **dict(options)
        | {
            "labels": choose_labels(options.labels, options.class_indices, available),
            "views": options.views or record.config.data.views,
            "sanity": sanity,
        },
        run_dir=run_dir,
        further_runs=further_runs,
        record=record,
        variants=variants,
    )
    if options.against is not None:
        _check_other(named_run(options.against, options.artifacts_dir), settled)
    images = options.images
    if images and not any(expand(name).exists() or has_magic(name) for name in images):
        raise DataError(f"{images[0]}: no such file; name JPEG, PNG or DICOM files, or a folder")
    return settled


def _choose_run(name: str | None, options: ExplainOptions) -> RunDir:
    """The run that was named, else the one with the best validation AUROC, said aloud."""
    artifacts_dir = options.artifacts_dir
    if name is not None:
        return named_run(name.replace("timm:", "timm-"), artifacts_dir)
    try:
        chosen = best_run(artifacts_dir)
    except ArtifactError as error:
        labels = [word for label in options.labels for word in ("--label", label)]
        typed = ["pulmonet", "explain", *(options.images or ["image.jpg"]), *labels, "--run"]
        text = f"{error}; or take a published network: {shlex.join([*typed, OFFERED])}"
        raise ArtifactError(text) from None
    facts = chosen.read_record().provenance
    auroc = facts.best_valid_macro_auroc
    n_runs = len(list_runs(artifacts_dir))
    why = "the only run" if n_runs == 1 else f"the best of {n_runs} runs"
    score = f"validation {facts.selection_score().removeprefix('macro ')}"
    shown = "" if auroc is None else f" ({score} {auroc:.3f})"
    say(f"Run: {chosen.name}, {why} in {artifacts_dir}{shown}; choose another with --run")
    return chosen


def _check_other(other: RunDir, task: Settled) -> None:
    """Refuse maps that cannot be compared; of other strides, `--sanity` says it."""
    record, what = other.read_record(), f"--against {other.name}:"
    if not {*task.labels} & {*(record.provenance.labels or record.config.data.labels)}:
        raise ConfigError(f"{what} that run has none of the labels {list_first(task.labels)}")
    size, own = (one.config.data.image_size for one in (record, task.record))
    if size != own:
        text = f"{what} its images are of {size} pixels, not {own}"
        raise ConfigError(f"{text}; compare runs of one network and image size")


def _check_combination(options: ExplainOptions) -> None:
    for name in options.images[:1]:
        own = expand(name)  # a folder of images may be called as a run is
        if RunDir(own if own.exists() else options.artifacts_dir / name).exists():
            raise ConfigError(f"images: {name} is a run; name it with --run {name}")
    plain, given = dict(ExplainOptions()), dict(options) | options.columns
    typed = {name for name, value in given.items() if value and value != plain.get(name)}
    flags = {name: f"--{name.replace('_', '-')}" for name in typed}
    flags |= {"images": "images", "n_rows": "--rows", "n_resamples": "--bootstrap"}
    for names, others, why in _APART:
        for one, other in product(names, others):
            if {one, other} <= typed:
                text = f"{flags[one]}: {flags[other]} {why}; leave one of the two out"
                raise ConfigError(text)
    for one, other in _WITH.items():
        if one in typed and other not in typed:
            raise ConfigError(f"{flags[one]}: goes with --{other} only; leave it out, or add that")
    if options.parquet and find_spec("pyarrow") is None:
        raise ConfigError("--parquet: needs pyarrow; pip install 'pulmonet[tables]'")
    if options.dicom and find_spec("pydicom") is None:
        raise ConfigError("--dicom: pydicom is not installed; pip install 'pulmonet[dicom]'")
    boxes = options.boxes
    if boxes not in (None, Path(OWN_BOXES)) and boxes.suffix.lower() not in {".csv", ".json"}:
        text = f"--boxes {boxes}: give a boxes.csv, or a CheXlocalize segmentation .json"
        raise ConfigError(text)
