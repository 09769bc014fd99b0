"""Real processes of the command line, forked off one that has imported everything already.

Importing torch anew costs seconds, a fork costs milliseconds. Signals, locks, files and the exit
code are the process's own; its figures stay blank.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

#: Loaded before the first fork; the children then import nothing heavy.
HEAVY = (
    "pulmonet.cli.main",
    "pulmonet.flows.console",
    "pulmonet.flows.prepare.flow",
    "pulmonet.flows.train.flow",
    "pulmonet.flows.train.record",
    "pulmonet.flows.train.screen",
    "pulmonet.training.loop",
    "pulmonet.flows.evaluate.score",
    "pulmonet.flows.evaluate.flow",
    "pulmonet.flows.explain.options",
    "pulmonet.flows.explain.flow",
    "pulmonet.flows.explain.boxes",
    "pulmonet.flows.explain.pictures",
    "pulmonet.flows.explain.sanity",
    "pulmonet.flows.report",
    "pulmonet.figures.evaluation",
    "matplotlib.backends.backend_agg",
    "timm",
    "pydicom",
    "scipy.stats",
    "sklearn.metrics",
)

_METHODS = multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in _METHODS else "spawn")
_CONTEXT.set_forkserver_preload(list(HEAVY))


def start(
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    said: Path | None = None,
) -> BaseProcess:
    """Start ``pulmonet ARGUMENTS`` in `folder`, what it writes to stderr going to the file `said`.

    Its `exitcode` after `join` is the command's, or negative the signal that killed it.
    """
    where = str(folder or Path.cwd())
    variables = dict(os.environ) | dict(environment or {})
    given = (list(arguments), where, variables, str(said or os.devnull))
    process = _CONTEXT.Process(target=_run, args=given)
    process.start()
    return process


def _run(arguments: list[str], folder: str, environment: dict[str, str], said: str) -> None:
    gc.freeze()  # or collecting garbage would copy all of the parent's memory
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    from pulmonet.cli.main import main

    leave_figures_blank()
    sys.exit(main(arguments))


def leave_figures_blank() -> None:
    """Drawing is half of the time of most commands."""
    from matplotlib.figure import Figure

    Figure.draw = lambda *_: None  # type: ignore[method-assign]
