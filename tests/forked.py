"""Real processes of the command line, forked off one that has imported everything already.

Importing torch anew costs seconds, a fork costs milliseconds. Signals, locks, files and the exit
code are the process's own; its figures stay blank. What depends on how Python starts, or on which
modules are there, needs a process of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

#: Loaded before the first fork; the children then import nothing heavy.
HEAVY = (
    "blank",
    "pulmonet.cli.evaluate",
    "pulmonet.cli.explain",
    "pulmonet.cli.main",
    "pulmonet.cli.prepare",
    "pulmonet.cli.report",
    "pulmonet.cli.train",
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
    "pulmonet.figures.comparison",
    "pulmonet.figures.curves",
    "pulmonet.figures.evaluation",
    "matplotlib.backends.backend_agg",
    "timm",
    "pandas.io.formats.csvs",
    "pydicom",
    "scipy.stats",
    "sklearn.metrics",
    "warm",
)

_HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()


@cache
def context() -> BaseContext:
    """Starts its processes by forking the one that has imported everything."""
    found = multiprocessing.get_context("forkserver" if _HAS_SERVER else "spawn")
    found.set_forkserver_preload(list(HEAVY))
    if _HAS_SERVER:
        from multiprocessing import forkserver

        # it imports where Python does that starts, and passes over what it does not find
        places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
            # Arrow's own reserves a gigabyte, which counts where memory is limited
            patch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
            forkserver.ensure_running()
    return found


#: What `start` runs where it is not told: ``pulmonet ARGUMENTS``.
PULMONET = "import sys; from pulmonet.cli.main import main; sys.exit(main())"


def start(
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    printed: Path | None = None,
    said: Path | None = None,
    code: str = PULMONET,
) -> BaseProcess:
    """Start ``pulmonet ARGUMENTS``, or ``python -c CODE ARGUMENTS``.

    Args:
        arguments: the words of the command.
        folder: where it runs.
        environment: variables beside those of this process.
        printed: file for what it writes to stdout.
        said: file for what it writes to stderr.
        code: Python.

    Returns:
        The process; `exitcode` after `join` is the command's, or -N where signal N killed it.
    """
    where = str(folder or Path.cwd())
    variables = dict(os.environ) | dict(environment or {})
    streams = [str(path or os.devnull) for path in (printed, said)]
    process = context().Process(
        target=_run, args=(code, list(arguments), where, variables, streams)
    )
    process.start()
    return process


def run(
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    code: str = PULMONET,
) -> subprocess.CompletedProcess[str]:
    """`start`, and wait for the end: what `subprocess.run` gives, as bytes read in UTF-8."""
    with tempfile.TemporaryDirectory() as place:
        printed, said = Path(place, "printed"), Path(place, "said")
        process = start(
            *arguments,
            folder=folder,
            environment=environment,
            printed=printed,
            said=said,
            code=code,
        )
        process.join()
        assert process.exitcode is not None
        texts = [path.read_text("utf-8", "replace") for path in (printed, said)]
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _run(
    code: str, arguments: list[str], folder: str, environment: dict[str, str], streams: list[str]
) -> None:
    gc.freeze()  # or collecting garbage would copy all of the parent's memory
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    if encoding := environment.get("PYTHONIOENCODING"):
        sys.stdout.reconfigure(encoding=encoding)  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding=encoding)  # type: ignore[union-attr]

    import blank

    blank.leave_figures_blank()
    blank.leave_disks_alone()
    sys.argv = ["pulmonet", *arguments]
    exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
