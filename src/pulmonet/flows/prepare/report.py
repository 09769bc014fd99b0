"""prepare_report.json: what `prepare` found, as one documented record."""

# ruff: noqa: RUF012  (pydantic copies a default for every object)

from typing import Any

from pydantic import Field

from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import portable_path
from pulmonet.run.record import DatasetName, Record


class PreparedPack(Record):
    """The pack that was written or found complete."""

    folder: str
    """Where, the home folder written as ~."""
    side: int
    """Pixels a side."""
    fit: str
    """stretch, pad or crop."""
    rows: int
    """Images in it, those left out not counted."""
    megabytes: float
    """Size of images.npy."""


class PrepareReport(Record, frozen=False):  # it grows while the dataset is looked at
    """All that `prepare` has to say about a dataset."""

    schema_version: int = Field(default=1, alias="schema")
    """Version of this record."""
    pulmonet: str
    """Version of PulmoNet."""
    ok: bool
    """Whether nothing must be fixed; false goes with exit code 3."""
    dataset: DatasetName
    problems: list[str]
    """What must be fixed: where, what, what to do."""
    warnings: list[str]
    """What deserves a look."""
    notes: list[str]
    """What was done: splits drawn, columns joined."""
    bad_images: dict[str, str] = {}
    """Path of every image that cannot be used -> why."""
    remarks: dict[str, list[str]] = {}
    """Kind -> paths: turned (upright, by EXIF), assumed (DICOM elements), window (another DICOM
    window taken), warned (by a decoder), few_greys (or mostly black or white)."""
    same_pixels: list[list[str]] = []
    """Groups of paths whose images are equal pixel by pixel."""
    near_duplicates: int = 0
    """Pairs of images in different splits that look the same (near_duplicates.csv)."""
    pack: PreparedPack | None = None
    """Null with --check-only, and where rows are wrong."""
    files: list[str] = []
    """What was written beside the pack."""
    summary: dict[str, Any]
    """Per split: patients, studies, images, views, sex, ages, and per label the values."""

    def write(self, ledger: Ledger, name: str, content: bytes | str) -> None:
        """Write a file, and note that."""
        ledger.write(ledger.folder / name, content)
        self.files.append(portable_path(ledger.folder / name))
