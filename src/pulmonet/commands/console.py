"""What all commands print through: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

#: Set once by the command line before a flow starts.
_settings = {"quiet": False, "json": False, "verbose": False}


def configure(*, quiet: bool = False, json_output: bool = False, verbose: bool = False) -> None:
    """Settings of this process: ``--quiet``, ``--json``, ``--verbose``."""
    _settings.update(quiet=quiet, json=json_output, verbose=verbose)


def wants_json() -> bool:
    """Whether stdout is reserved for one JSON document."""
    return _settings["json"]


def stdout() -> Console:
    """The console of results; plain when piped, 80 columns unless the terminal says otherwise."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console of progress and notes."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 80
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def say(message: str, *, style: str | None = None) -> None:
    """A line of result; silent with ``--quiet``, on stderr with ``--json``.

    The text is printed as it is: markup in file names or labels stays text.
    """
    if _settings["quiet"]:
        return
    console = stderr() if _settings["json"] else stdout()
    console.print(message, style=style, markup=False, soft_wrap=True)


def note(message: str) -> None:
    """A remark on stderr; silent with ``--quiet``."""
    if not _settings["quiet"]:
        stderr().print(message, style="dim", markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """A warning on stderr, also with ``--quiet``."""
    stderr().print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


def show_error(message: str) -> None:
    """The one message that a command ends with."""
    stderr().print(f"error: {message}", style="bold red", markup=False, soft_wrap=True)


def show_table(table: Table) -> None:
    """A rich table of results; silent with ``--quiet``, on stderr with ``--json``."""
    if not _settings["quiet"]:
        (stderr() if _settings["json"] else stdout()).print(table)


def show_json(document: Any) -> None:
    """The one JSON document of ``--json``, on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class Steps:
    """Progress of one task: a bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, description: str, total: int, progress: Progress | None) -> None:
        self._description = description
        self._total = total
        self._progress = progress
        self._done = 0
        self._next_line = 0.25
        self._task = progress.add_task(description, total=total, note="") if progress else None

    def advance(self, n: int = 1, note: str = "") -> None:
        """Say that `n` more of the total are done; `note` stands at the end of the line."""
        self._done += n
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=n, note=note)
        elif not _settings["quiet"] and self._total:
            share = self._done / self._total
            if share >= self._next_line and self._total > n:
                self._next_line = min(share + 0.25, 1.0) if share < 1 else 2.0
                text = f"{self._description}: {self._done:,} of {self._total:,} {note}"
                stderr().print(text.rstrip(), markup=False, soft_wrap=True)


@contextmanager
def steps(description: str, total: int) -> Iterator[Steps]:
    """A progress bar on stderr for anything that may take over a second."""
    if _settings["quiet"] or not sys.stderr.isatty():
        yield Steps(description, total, None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=stderr(), transient=True) as progress:
        yield Steps(description, total, progress)
