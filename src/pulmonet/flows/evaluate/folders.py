"""Whose results lie in a folder: those of an ensemble must not replace those of another."""

from __future__ import annotations

from collections.abc import Sequence

from pulmonet.errors import ArtifactError
from pulmonet.metrics.results import RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from pulmonet.words import list_first


def check_folder(
    run_dir: RunDir,
    combines: str | None,
    members: Sequence[str],
    *,
    tta: str = "none",
    flag: str,
) -> None:
    """Refuse a folder that holds a run, or results of something else; earlier ones of it may be.

    Args:
        run_dir: where results are to go that are no run's own.
        combines: ``ensemble``, ``out-of-fold``, or None for a file of scores, or for a run with
            test-time augmentation.
        members: the runs combined.
        tta: none, jitter or flip.
        flag: that chooses another folder.

    Raises:
        ArtifactError: the folder is taken, or its results cannot be read.
    """
    path = run_dir.path
    if run_dir.exists():
        raise ArtifactError(f"{path}: holds a run, which stays; choose another name ({flag})")
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: a file; choose another name ({flag})")
    files = sorted(path.glob("[!.]*")) if path.is_dir() else []
    found = [
        result
        for file in files
        if file.match("evaluation_*.json")
        for result in read_evaluation(file).runs
    ]
    wanted = (combines, sorted(members), tta)
    other = next(
        (one for one in found if (one.combines, sorted(one.members), one.tta) != wanted), None
    )
    if other is not None:
        raise ArtifactError(
            f"{path}: holds results of {_what(other)}, which stay; choose another name "
            f"({flag}), or move the folder away"
        )
    if files and not found and wanted != (None, [], "none"):
        raise ArtifactError(
            f"{path}: holds other files ({list_first(file.name for file in files)}); choose "
            f"another name ({flag})"
        )


def tta_name(name: str, tta: str) -> str:
    """What the results of a run are called: ``quick+jitter`` with test-time augmentation."""
    return name if tta == "none" else f"{name}+{tta}"


def _what(result: RunResult) -> str:
    if result.combines is None:
        return "a file of scores" if result.tta == "none" else f"a run with --tta {result.tta}"
    kind = "the ensemble of" if result.combines == "ensemble" else "the folds"
    return f"{kind} {', '.join(result.members)}"
