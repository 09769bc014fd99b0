"""The error tree: what a user can mend, with the exit code that it ends in.

Messages read ``where: what; what to do``. Anything that is not a `PulmoNetError` and
reaches the command line is a bug and ends with a traceback and exit code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PulmoNetError(Exception):
    """Anything that a user can mend. Never raised itself, only its children."""

    exit_code = 1


class ConfigError(PulmoNetError):
    """A wrong flag, config key or value, model name or label name."""

    exit_code = 2


class DataError(PulmoNetError):
    """A dataset, an image or a label file that cannot be used as it is."""

    exit_code = 3


class ArtifactError(PulmoNetError):
    """A run, checkpoint or result that is missing, damaged, foreign, finished or in use."""

    exit_code = 4


class TrainingError(PulmoNetError):
    """Training cannot start or go on: device, memory, non-finite loss, weights out of reach."""

    exit_code = 5


def near_miss(word: str, options: Iterable[str]) -> str | None:
    """The option that `word` was probably meant to be, or None if none is close."""
    by_lowercase = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), by_lowercase, n=1, cutoff=0.6)
    return by_lowercase[found[0]] if found else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A sentence part such as `` (did you mean 'resnet50'?)``, empty without a near miss."""
    meant = near_miss(word, options)
    return f" (did you mean '{meant}'?)" if meant else ""


def list_first(items: Iterable[object], n_shown: int = 5) -> str:
    """The first few of many, e.g. ``a, b, c, d, e and 7 more``."""
    all_items = [str(item) for item in items]
    shown = ", ".join(all_items[:n_shown])
    rest = len(all_items) - n_shown
    return f"{shown} and {rest:,} more" if rest > 0 else shown
