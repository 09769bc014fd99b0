"""Rows of the table that several runs make together: ensembles and pooled folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pulmonet.errors import ConfigError
from pulmonet.flows.evaluate.ensemble import average
from pulmonet.flows.evaluate.folders import check_folder, tta_name
from pulmonet.flows.evaluate.material import Material, Source
from pulmonet.flows.evaluate.pool import check_folds, pool
from pulmonet.run.folder import RunDir, check_run_name


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
    *, ensemble: bool, ensemble_name: str | None, pool_folds: str | None, tta: str
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
    return replace(found, name=tta_name(found.name, tta))


def check_combination(
    combination: Combination,
    sources: Sequence[Source],
    artifacts_dir: Path,
    data: Mapping[str, Any],
) -> RunDir:
    """What can be known before the long work; gives the folder of the results.

    Raises:
        ConfigError: too few runs, a name that one of them has, runs that are no folds.
        ArtifactError: the folder is taken.
    """
    name, members = combination.name, [source.name for source in sources]
    if name in members:
        raise ConfigError(
            f"{combination.flag} {name}: a run evaluated here is called so; choose another name"
        )
    if combination.kind == "out-of-fold":
        check_folds(name, [source.run_dir for source in sources], data)
    elif len(sources) < 2:
        raise ConfigError(
            f"--ensemble: averages two or more runs, and there is only {members[0]}; name more"
        )
    run_dir = RunDir(artifacts_dir / name)
    check_folder(run_dir, combination.kind, members, tta=data["tta"], flag=combination.flag)
    return run_dir


def combine(combination: Combination, materials: Sequence[Material], run_dir: RunDir) -> Material:
    """The row that all of `materials` make together.

    Raises:
        ConfigError: they do not fit together; the message says in what.
        ArtifactError: folds of data that have changed since.
    """
    make = average if combination.kind == "ensemble" else pool
    return make(combination.name, materials, run_dir)
