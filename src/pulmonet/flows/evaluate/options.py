"""How `evaluate` scores runs, and what is made of them: flags take default and help from here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from pulmonet.choices import DEVICES, BlankPolicy, Tta
from pulmonet.config.schema import PositiveInt
from pulmonet.errors import ConfigError
from pulmonet.flows.options import RowOptions
from pulmonet.run.folder import check_run_name


class ScoringOptions(RowOptions):
    """Which rows the runs score, and how."""

    blank: BlankPolicy = "zeros"
    """What a blank label counts as, negative or unknown."""
    batch_size: PositiveInt = 32
    """Images a forward pass."""
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Loader threads."""
    device: Annotated[str, Field(examples=list(DEVICES))] = "auto"
    """Where it is computed."""
    tta: Tta = "none"
    """Test-time augmentation, the mean over 5 views (jitter: small zooms and rotations) or 2."""

    def name_of(self, name: str) -> str:
        """What the results of `name` are called: ``quick+jitter`` with test-time augmentation."""
        return name if self.tta == "none" else f"{name}+{self.tta}"


@dataclass(frozen=True)
class Combination:
    """What is to be made of all runs that are evaluated, beside their own rows.

    Attributes:
        kind: as `RunResult.combines`.
        name: of the row and its folder.
    """

    kind: Literal["ensemble", "out-of-fold"]
    name: str

    @property
    def flag(self) -> str:
        """The flag that names it."""
        return "--ensemble-name" if self.kind == "ensemble" else "--pool-folds"


def choose_combination(
    scoring: ScoringOptions, *, ensemble: bool, ensemble_name: str | None, pool_folds: str | None
) -> Combination | None:
    """What the flags ask for.

    Raises:
        ConfigError: both at once, or a name that is no folder's.
    """
    found = None
    if ensemble or ensemble_name is not None:
        found = Combination("ensemble", "ensemble" if ensemble_name is None else ensemble_name)
    if pool_folds is not None:
        if found is not None:
            raise ConfigError(
                "--pool-folds: folds share no rows that --ensemble could average; choose one"
            )
        found = Combination("out-of-fold", pool_folds)
    if found is None:
        return None
    check_run_name(found.name, found.flag)
    return replace(found, name=scoring.name_of(found.name))
