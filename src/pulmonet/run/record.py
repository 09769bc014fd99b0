"""run_config.json: what a run was told, and where it comes from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pulmonet.config.fields import RunConfig
from pulmonet.config.section import Section
from pulmonet.errors import ArtifactError, ConfigError
from pulmonet.files.read import MAX_JSON_BYTES, read_text, written_by_newer
from pulmonet.labels import check_label_name
from pulmonet.words import count, first_line, macro_auroc


class Record(Section, BaseModel):
    """Base of what is written beside a config."""

    model_config = ConfigDict(allow_inf_nan=True)


class DatasetName(Record):
    """Which dataset it is."""

    name: str
    """Name of the dataset root."""
    source: str
    """Kind of source: chexpert, nih, mimic, …, medmnist, folders or mapped."""
    root: str
    """Dataset root, the home folder written as ~."""
    fingerprint: str
    """Digest of the manifest: SHA-256 of the paths, splits, patients and labels of all rows."""
    synthetic: bool = False
    """Whether the images are phantoms."""
    patients_known: bool = True
    """False where the source has no patient ids and each image counts as a patient."""


class DatasetFacts(DatasetName):
    """Which data a run saw."""

    places: list[str] = []
    """What --data-dir named."""
    collections: dict[str, tuple[str, str]] = {}
    """Root and fingerprint of each of several collections, by name."""
    rows_fingerprint: str | None = None
    """The same without the splits; null in runs of an earlier version."""
    split_patients: dict[str, str] = {}
    """Digest of the patients of each split, by which a split is known again."""
    n_rows: dict[str, int]
    """Rows per role: train, valid, dev."""
    n_patients: dict[str, int]
    """Patients per role."""
    positives: dict[str, dict[str, int]] = {}
    """Positives per role and label."""
    one_class: dict[str, dict[str, str]] = {}
    """Per role the labels without a positive, a negative or any known value -> what is missing."""
    excluded: dict[str, int] = {}
    """Rows left out, by reason (views, subset, unreadable)."""
    unreadable: list[str] = []
    """Paths of the images that --skip-bad left out."""
    policy_changes: dict[str, dict[str, int]] = {}
    """Per label: how many uncertain and blank training labels the policies changed, to what."""
    summary: dict[str, Any] = {}
    """The summary of `prepare`: sex, age, views, labels per split."""

    def digests(self) -> dict[str, str]:
        """Fingerprint -> name, of each of several collections and of all together."""
        found = {digest: name for name, (_, digest) in self.collections.items()}
        return {self.fingerprint: self.name} | found


class BoxFacts(Record):
    """The boxes from which the class maps learned where findings lie (`pointing.boxes`)."""

    file: str
    """Where they are from: a file, or the dataset's root; the home folder written as ~."""
    digest: str
    """SHA-256 of rows, labels and coordinates."""
    boxes: dict[str, int]
    """Boxes per label; a mask or a set of contours counts as one."""
    images: dict[str, int]
    """Training images with such a box, per label."""
    patients: dict[str, int]
    """Their patients, per label."""
    n_images: int
    """Training images with any of them."""
    n_patients: int
    """Their patients."""

    def text(self) -> str:
        """``213 boxes on 190 images of 180 patients (Edema 13, ...)``."""
        each = ", ".join(f"{label} {n:,}" for label, n in self.boxes.items())
        boxes = count(sum(self.boxes.values()), "box", "boxes")
        images, patients = count(self.n_images, "image"), count(self.n_patients, "patient")
        return f"{boxes} on {images} of {patients} ({each})"


class Provenance(Record):
    """Where a run came from, and what came of it."""

    status: Literal["running", "interrupted", "finished", "failed"]
    """A run that is not `finished` can be resumed."""
    pulmonet: str
    """Version of PulmoNet."""
    versions: dict[str, str]
    """Versions of Python, torch, torchvision, numpy, ..."""
    command: list[str] = []
    """The command line, paths below the home folder written with ~."""
    device: str
    """cpu, cuda:0, ..."""
    device_name: str = ""
    """The processor's or GPU's name."""
    threads: int = 0
    """CPU threads of torch."""
    world_size: int = 1
    """Processes."""
    precision: str = "fp32"
    """fp32 (without TF32 on a GPU), bf16 or fp16, as taken."""
    weights: dict[str, Any] = {}
    """What the weights started from: exact name, file digest, what matched."""
    labels: list[Annotated[str, AfterValidator(check_label_name)]] = []
    """The labels trained on, in the order of the outputs."""
    auxiliary_labels: list[Annotated[str, AfterValidator(check_label_name)]] = []
    """Labels that were trained on beside them; best_model.pth has no outputs for them."""
    dataset: DatasetFacts | None = None
    """The data."""
    boxes: BoxFacts | None = None
    """The boxes that its class maps were taught with; null where they were not."""
    start: str
    """ISO 8601, UTC."""
    end: str | None = None
    """ISO 8601, UTC."""
    duration_seconds: float | None = None
    """Wall time spent training, all sessions of a resumed run together."""
    n_resumed: int = 0
    """How often the run was resumed."""
    best_epoch: int | None = None
    """1-based epoch of best_model.pth."""
    best_valid_macro_auroc: float | None = None
    """Its macro AUROC on the rows that chose it."""
    selected_on: str = "valid"
    """The rows that chose it: valid or dev."""
    checkpoint_sha256: str | None = None
    """Digest of best_model.pth."""
    notes: list[str] = []
    """What happened on the way: micro-batches halved, steps skipped, ..."""

    @property
    def is_published(self) -> bool:
        """Whether others trained and published this network."""
        return "trained_on" in self.weights and self.dataset is None

    @property
    def published(self) -> dict[str, Any]:
        """What is known of the published network that this is, or started from; empty of others."""
        found = self.weights.get("published", self.weights)
        is_known = isinstance(found, dict) and isinstance(found.get("trained_on"), list)
        return found if is_known else {}

    def origin(self) -> str:
        """Where a published network comes from and what that means; empty where none is in it."""
        if not (found := self.published):
            return ""
        made = "published" if self.is_published else f"started from {found.get('name')}, made"
        return (
            f"{made} by {found.get('source')} (licence {found.get('licence')}) and trained on "
            f"{', '.join(map(str, found['trained_on']))}: on these it is no external test"
        )

    def taught(self) -> str:
        """That the maps were taught, and what that means; empty where they were not."""
        if not (found := self.all_boxes()):
            return ""
        whose = "its maps" if self.boxes else "the maps of its first weights"
        means = "they show where readers draw boxes, which is not always what the score depends on"
        return f"{whose} were taught by {', before that by '.join(found)}: {means}"

    def all_boxes(self) -> list[str]:
        """The boxes that taught its maps, in words, then those of the runs it started from."""
        before = self.weights.get("boxes")
        own = [] if self.boxes is None else [self.boxes.text()]
        return [*own, *map(str, before if isinstance(before, list) else [])]

    def one_class(self, role: str) -> dict[str, str]:
        """Labels scored that lack a class among a role's rows -> what is missing."""
        found = self.dataset.one_class.get(role, {}) if self.dataset else {}
        return {label: missing for label, missing in found.items() if label in self.labels}

    def selection_score(self) -> str:
        """What `best_valid_macro_auroc` is: ``macro AUROC of 4 of 5 labels``."""
        n_labels = len(self.labels)
        return macro_auroc(n_labels - len(self.one_class(self.selected_on)), n_labels)


class SeenBefore(Record):
    """What of the evaluated images the run had before, by digests of pixels and patients."""

    n_images: int
    """Images evaluated."""
    trained_on: int
    """Those that the run was trained on."""
    patients: int | None
    """Their patients here; null = the dataset names none."""
    of_their_patients: int
    """Further images of patients trained on."""
    of_the_same_ids: int
    """Images whose patient has an id that was trained on, perhaps another person's."""
    selected_on: int
    """Those that chose the checkpoint."""

    def text(self) -> str:
        """``212 of these 558 images, of 131 patients``; empty where none was trained on."""
        n_more, whole = self.of_their_patients, f"of these {self.n_images:,} images"
        if not self.trained_on:
            return f"patients of {n_more:,} {whole}" if n_more else ""
        whose = "" if self.patients is None else f", of {count(self.patients, 'patient')}"
        more = f", and {n_more:,} more of patients" if n_more else ""
        return f"{self.trained_on:,} {whole}{whose}{more}"


class RunRecord(Record):
    """run_config.json."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = Field(alias="schema")
    config: RunConfig
    provenance: Provenance


def joint_digest(digests: Iterable[str | None]) -> str | None:
    """The digest of one run's weights, or of several together; None where one is not known."""
    known = sorted(digests, key=str)
    if None in known or len(known) == 1:
        return None if None in known else known[0]
    return hashlib.sha256("\n".join(map(str, known)).encode()).hexdigest()


def explain_stale(
    digest: str | None, runs: Iterable[str], weights: Mapping[str, str | None], command: str
) -> str:
    """What to say of something of other weights than its `runs` have now; empty if nothing.

    `digest` is of the weights it was computed from (without one it is believed), `weights` of what
    lies there now, by run (``quick+jitter`` are those of ``quick``); `command` computes it.
    """
    plain = (run.removesuffix("+jitter").removesuffix("+flip") for run in runs)
    ours = joint_digest([weights.get(run) for run in plain])
    if digest is None or ours is None or digest == ours:
        return ""
    now = f"SHA-256 {digest[:12]}, now {ours[:12]}"
    return f"of other weights ({now}); run `pulmonet {command}` again"


_Model = TypeVar("_Model", bound=BaseModel)


def read_model(path: Path, model: type[_Model], what: str, remedy: str) -> _Model:
    """What PulmoNet wrote into a JSON file; `what` it should be and the `remedy` are for the error.

    Raises:
        ArtifactError: it cannot be read, or is something else.
    """
    raw: Any = None
    try:
        raw = json.loads(read_text(path, MAX_JSON_BYTES))
        return model.model_validate(raw)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); {remedy}") from None
    except (ValueError, RecursionError, ConfigError) as error:
        reason = written_by_newer(raw) or f"not {what} ({reason_of(error)}); {remedy}"
        raise ArtifactError(f"{path}: {reason}") from None


def reason_of(error: Exception) -> str:
    """The first thing that is wrong, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return first_line(error)
