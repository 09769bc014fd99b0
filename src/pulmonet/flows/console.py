"""What all commands print through: results on stdout, progress and notes on stderr.

Deeper parts say what they read, and from where, to Python's `logging`; ``--verbose`` shows it here.
"""

import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from pulmonet.errors import ArtifactError
from pulmonet.files.paths import user_data_dir
from pulmonet.files.system import lead_nowhere
from pulmonet.files.write import write_json
from pulmonet.words import duration

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

#: Seconds between two plain progress lines where stderr is no terminal.
SECONDS_PER_LINE = 10.0

#: Seconds after which a command says how long it took the last time; those expected to take that.
LONG, SLOW = 10.0, {"prepare", "train", "evaluate", "explain"}

#: Longest line that is shown, characters: a name in a file of a stranger can have a million.
MAX_LINE = 4000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # torch writes some into its messages
#: 0.812, 1,204, -0.03, (0.774–0.846), 12%
_NUMBER = re.compile(r"\(?[-+−]?\d[\d.,]*(–[-+−]?\d[\d.,]*)?%?\)?$")
_BETWEEN = re.compile(r"[\s│┃|]+")  # the words of a table
#: C0 and C1 controls but the line break, and DEL, as the replacement character.
_CONTROLS = {code: 0xFFFD for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}

#: Set once by the command line before a flow starts.
_settings = {"quiet": False, "json": False, "silent": False}

#: What `timed` has to say before the first words: an error that comes at once stands alone.
_ahead: list[str] = []

#: Consoles that show a progress bar now, the innermost last.
_with_bars: list[Console] = []


def configure(*, quiet: bool = False, verbose: bool = False, silent: bool = False) -> None:
    """Settings of this process: ``--quiet``, ``--verbose``; where `silent`, no warnings either."""
    _settings.update(quiet=quiet, json=False, silent=silent)
    logger = logging.getLogger("pulmonet")
    logger.handlers = [_Details()]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


class _Details(logging.Handler):
    """Warnings as such; with ``--verbose`` a note with the seconds since the start before it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warn(record.getMessage())
            return
        note(f"{record.relativeCreated / 1000:7.1f} s  {record.getMessage()}")


def reserve_stdout_for_json() -> None:
    """A command's own ``--json``; ``--quiet`` and ``--verbose`` before it stay as they are."""
    _settings["json"] = True


def wants_json() -> bool:
    """Whether stdout is reserved for one JSON document."""
    return _settings["json"]


def stdout() -> Console:
    """The console of results; plain when piped, 80 columns unless the terminal says otherwise."""
    return _console(stderr=False)


class _Console(Console):
    """Leaves a reader that went away to `_outliving`; rich would end the process with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def render_str(self, text: str, **how: Any) -> "Text":
        """All that is shown passes here: names in files of strangers can hold anything."""
        return super().render_str(printable(text), **how)


def printable(text: str) -> str:
    """Text without what moves a terminal's cursor or renames its window, and of bearable length.

    Each line keeps at most `MAX_LINE` characters.
    """
    lines = _COLOURS.sub("", text).translate(_CONTROLS).split("\n")
    return "\n".join(
        line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} ... ({len(line):,} characters)"
        for line in lines
    )


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 80
    return _Console(file=stream, width=width, highlight=False, soft_wrap=False)


@contextmanager
def _outliving(stream: TextIO) -> Iterator[None]:
    """Go on when nobody reads any more (``| head``), or nothing can be said on stderr."""
    try:
        yield
    except OSError as error:
        lead_nowhere(stream.fileno())
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            what = f"standard output: cannot be written ({error.strerror})"
            raise ArtifactError(f"{what}; make room, or send it elsewhere") from None


def _print(content: Any, *, to_stderr: bool, style: str | None = None) -> None:
    """Text as it is, lines unbroken, or a table."""
    begin()
    stream = sys.stderr if to_stderr else sys.stdout
    with _outliving(stream):
        # while a bar is shown, its console puts lines above it
        console = _with_bars[-1] if _with_bars and stream.isatty() else _console(stderr=to_stderr)
        console.print(content, style=style, markup=False, soft_wrap=isinstance(content, str))


def begin() -> None:
    """Work begins, and what was given is in order: say how long it may take."""
    while _ahead:
        note(_ahead.pop())


def flush() -> None:
    """Send what is still buffered to standard output. ArtifactError: it cannot be written."""
    with _outliving(sys.stdout):
        sys.stdout.flush()


def say(message: str, *, style: str | None = None) -> None:
    """A line of result; silent with ``--quiet``, on stderr with ``--json``.

    The text is printed as it is: markup in file names or labels stays text.
    """
    if not _settings["quiet"]:
        _print(message, to_stderr=_settings["json"], style=style)


def note(message: str) -> None:
    """A remark on stderr; silent with ``--quiet``."""
    if not _settings["quiet"]:
        _print(message, to_stderr=True, style="dim")


def warn(message: str) -> None:
    """A warning on stderr, also with ``--quiet``."""
    if not _settings["silent"]:
        _print(f"warning: {message}", to_stderr=True, style="yellow")


def tell(name: str, **facts: Any) -> None:
    """The entries of a text, of which each is ``say: ...``, ``note: ...`` or ``warn: ...``."""
    from pulmonet.report.texts import entries  # not for a mere --help

    for kind, _, text in (entry.partition(": ") for entry in entries(name, **facts)):
        {"say": say, "note": note, "warn": warn}[kind](text)


@contextmanager
def timed(command: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Have `begin` say how long the last such command took, if over `LONG`; remember this one.

    Such: with the same flags, and numbers in them, as `given`; else the last of this name.
    """
    keys = " ".join([command, *(f"{name}={given[name]}" for name in sorted(given))]), command
    path = user_data_dir() / "durations.json"

    def known() -> dict[str, float]:
        with suppress(OSError, ValueError, TypeError, AttributeError):  # of no use where damaged
            return {key: float(took) for key, took in json.loads(path.read_text("utf-8")).items()}
        return {}

    before = known()
    known_of = [key for key in keys if LONG <= before.get(key, -1.0) < float("inf")][:1]
    such = "" if known_of == [keys[0]] else ", with other flags,"
    _ahead[:] = [f"the last pulmonet {command}{such} took {duration(before[x])}" for x in known_of]
    if command in SLOW and command not in before:
        _ahead.append(f"first pulmonet {command} here: how long it takes is not known yet")
    start = time.monotonic()
    yield
    took, now = time.monotonic() - start, known()  # other commands may have ended meanwhile
    if took >= LONG or keys[0] in now or command in SLOW:
        with suppress(ArtifactError):
            write_json(path, now | dict.fromkeys(keys, took))


def show_error(message: str) -> None:
    """The one message that a command ends with."""
    _ahead.clear()
    _print(f"error: {message}", to_stderr=True, style="bold red")


def show_table(table: "Table") -> None:
    """A rich table of results; silent with ``--quiet``, on stderr with ``--json``.

    What does not fit is left out, from the right, and named: no number or short word is broken.
    """
    console, left_out = _console(stderr=_settings["json"]), list[str]()
    while not _fits(table, console) and len(table.columns) > 2:
        left_out.insert(0, " ".join(str(table.columns.pop().header).split()))
    if not _settings["quiet"]:
        _print(table, to_stderr=_settings["json"])
        if left_out:
            note(f"left out, as the terminal is narrow: {', '.join(left_out)}")


def _fits(table: "Table", console: Console) -> bool:
    with console.capture() as shown:
        console.print(table)
    there = Counter(_BETWEEN.split(_COLOURS.sub("", shown.get())))
    cells = (text for column in table.columns for text in (column.header, *column.cells))
    plain = (console.render_str(str(cell)).plain for cell in cells)
    words = Counter(word for text in plain for word in _BETWEEN.split(text))
    needed = (word for word in words if 0 < len(word) < 18 or _NUMBER.match(word))
    return all(there[word] >= words[word] for word in needed)


def show_json(document: Any, images: Iterable[Any] = ()) -> None:
    """The one JSON document of ``--json``, on stdout; its list of `images` may be of any length."""
    is_utf = (sys.stdout.encoding or "utf").lower().startswith("utf")
    to_text = partial(json.dumps, ensure_ascii=not is_utf, allow_nan=False)
    before, here, after = to_text(document, indent=2).partition('"images": []')
    with _outliving(sys.stdout):
        sys.stdout.write(before + here[:-1])
        for number, image in enumerate(images):
            sys.stdout.write(",\n    " * (number > 0) + to_text(image))
        sys.stdout.write(f"{here[-1:]}{after}\n")
        sys.stdout.flush()


class Steps:
    """Progress of one task: a bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, description: str, total: int, done: int, bar: "Progress | None") -> None:
        self._description, self._total, self._done = description, total, done
        self._start = self._last_line = time.monotonic()
        self._progress, self._n_images = bar, 0
        if bar is not None:
            self._task = bar.add_task(description, total=total or None, completed=done, note="")

    def advance(self, n: int = 1, note: str = "", n_images: int = 0) -> None:
        """Say that `n` more are done; `note` and the rate of images end the line."""
        self._n_images += n_images
        if n_images:
            rate = self._n_images / max(time.monotonic() - self._start, 1e-6)
            note = f"{note}  {rate:.1f} images/s"
        self.reach(self._done + n, self._total, note)

    def reach(self, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` are done, where the total is known late."""
        self._done, self._total = done, total
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)
        elif not _settings["quiet"] and time.monotonic() - self._last_line > SECONDS_PER_LINE:
            self._last_line = time.monotonic()
            text = f"{self._description}: {done:,} of {total:,}  {note}"
            _print(text.rstrip(), to_stderr=True)


@contextmanager
def steps(
    description: str, total: int, *, done: int = 0, shows_time: bool = True
) -> Iterator[Steps]:
    """A progress bar on stderr for anything that may take over a second.

    Without a terminal a plain line every `SECONDS_PER_LINE` says how far it is.
    """
    begin()
    if _settings["quiet"] or not sys.stderr.isatty():
        yield Steps(description, total, done, None)
        return
    from rich import progress as bars  # not for a mere --help

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=20),
        bars.MofNCompleteColumn(),
        *([bars.TimeRemainingColumn(compact=True)] if shows_time else []),
        bars.TextColumn("{task.fields[note]}", markup=False),
    )
    with bars.Progress(*columns, console=_console(stderr=True), transient=True) as progress:
        _with_bars.append(progress.console)
        try:
            yield Steps(description, total, done, progress)
        finally:
            _with_bars.pop()
