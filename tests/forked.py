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
    printed: Path | None = None,
    said: Path | None = None,
) -> BaseProcess:
    """Start ``pulmonet ARGUMENTS``.

    Args:
        arguments: the words of the command.
        folder: where it runs.
        environment: variables beside those of this process.
        printed: file for what it writes to stdout.
        said: file for what it writes to stderr.

    Returns:
        The process; `exitcode` after `join` is the command's, or -N where signal N killed it.
    """
    where = str(folder or Path.cwd())
    variables = dict(os.environ) | dict(environment or {})
    streams = [str(path or os.devnull) for path in (printed, said)]
    process = _CONTEXT.Process(target=_run, args=(list(arguments), where, variables, streams))
    process.start()
    return process


def _run(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[str]
) -> None:
    gc.freeze()  # or collecting garbage would copy all of the parent's memory
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    from pulmonet.cli.main import main

    leave_figures_blank()
    sys.argv = ["pulmonet", *arguments]
    sys.exit(main(arguments))


def leave_figures_blank() -> None:
    """Drawing is half of the time of most commands."""
    from matplotlib.figure import Figure

    Figure.draw = lambda *_: None  # type: ignore[method-assign]
