"""What commands can be asked for, each flag a field; and the check of what was typed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pulmonet.choices import Split, Views
from pulmonet.config.section import Section
from pulmonet.errors import ConfigError
from pulmonet.words import unknown

Model = TypeVar("Model", bound=BaseModel)


class RowOptions(Section):
    """Rows of a dataset, where they are not those that a run was trained with."""

    data_dir: str | tuple[str, ...] | None = None
    """Dataset folder or folders; null takes the run's own."""
    columns: dict[str, Any] = {}  # noqa: RUF012  (pydantic copies a default for every object)
    """``map``, ``join`` and ``splits`` where they are not the run's own."""
    split: Split | None = None
    """Which rows"""
    views: Views | None = None
    """Of the rows; null takes the run's."""


class PrepareOptions(Section):
    """How a dataset is prepared, beside what its configuration says."""

    demo: bool = False
    """Draw synthetic chest phantoms (SOURCE: where)"""
    n_patients: int | None = None
    """Patients of the demo set"""
    check_only: bool = False
    """Only check: exit code 0 or 3, no pack"""
    export_split: Path | None = None
    """Write the split with salted patient hashes (.json)"""
    out_dir: Path | None = None
    """Report folder"""


class TrainOptions(Section):
    """Into which folder a run goes, and whether it goes on."""

    out_dir: Path = Path("artifacts")
    """Artifacts folder"""
    name: str | None = None
    """Name of the run"""
    resume: bool = False
    """Resume an unfinished run, with its own settings where none is given"""
    overwrite: bool = False
    """Replace a run that exists"""
    dry_run: bool = False
    """Say what it takes, after a few steps; write nothing"""


class ReportOptions(Section):
    """What is reported, and how."""

    artifacts_dir: Path = Path("artifacts")
    """Folder that holds the runs"""
    output: Path | None = None
    """Folder for the report, or a file: .md, or .html"""
    html: bool = False
    """Also write report.html, one file to send around"""
    show: bool = False
    """Write the page and open it in the browser"""
    author_notes: Path | None = None
    """TOML file with what only the authors know"""
    show_identifiers: bool = False
    """Write patient ids and paths as they are"""
    list_runs: bool = False
    """Only list the runs: data, state, AUROC, date"""
    verify: bool = False
    """Compute every number again, and compare"""


def check_options(
    model: type[Model], given: Mapping[str, Any], flags: Mapping[str, str] | None = None
) -> Model:
    """The options that the flags give: field -> value `given`, and `flags` of other names.

    Raises:
        ConfigError: names the flag and the value.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        field, value = str(problem["loc"][0]), problem["input"]
        flag = (flags or {}).get(field, f"--{field.replace('_', '-')}")
        limits = problem.get("ctx", {})
        if problem["type"] == "literal_error":
            choices = re.findall(r"'([^']+)'", str(limits["expected"]))
            raise ConfigError(unknown(f"{flag} {value}", str(value), choices)) from None
        if problem["type"] == "greater_than_equal":
            raise ConfigError(f"{flag} {value}: at least {limits['ge']} is needed") from None
        message = str(problem["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{flag} {value}: {message[:1].lower()}{message[1:]}") from None
