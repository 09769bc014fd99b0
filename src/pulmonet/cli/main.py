"""The command line: a group that imports a command when it is asked for, and `main`.

Nothing heavy is imported here, and no signature: `pulmonet --help` shows the summaries below, and
every command imports its flow when it is called.
"""

import codecs
import errno
import gc
import importlib
import inspect
import io
import logging
import os
import signal
import sys
import tomllib
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from pulmonet import __version__
from pulmonet.choices import OWN_BOXES
from pulmonet.errors import ConfigError, PulmoNetError, TrainingError, is_out_of_memory
from pulmonet.files import system
from pulmonet.files.paths import expand

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class _InWords:
    """Help without Python's words for types: a flag takes no value, a list one at a time."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the help option too."""
        parameters: Any = super().get_params(ctx)  # type: ignore[misc]
        for option in parameters:
            if isinstance(option, TyperOption) and option.metavar is None:
                if option.is_flag:
                    option.metavar = ""
                elif option.multiple:
                    option.metavar = "<str>"
        return parameters

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """What typer imports beside for Markdown and tracebacks, not ours, takes 40 ms."""
        unused = {"rich.markdown", "rich.traceback"} - sys.modules.keys()
        nothing: Any = SimpleNamespace(Markdown=type, Traceback=type)
        sys.modules.update(dict.fromkeys(unused, nothing))
        try:
            super().format_help(ctx, formatter)  # type: ignore[misc]
        finally:
            for name in unused:
                del sys.modules[name]


class Command(_InWords, TyperCommand):
    """One of `COMMANDS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; of words too many, which flag takes them."""
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            if self.name in FLAGS and "unexpected extra" in error.message:
                error.message += f"; {FLAGS[self.name]}"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run it, ``--out-dir=~/x`` meaning the home folder; typer has no word for Ctrl-C."""
        for name, value in ctx.params.items():
            if isinstance(value, Path):
                ctx.params[name] = expand(value)
        gc.enable()
        from pulmonet.flows.console import timed

        typed = {x for x in ctx.params if ctx.get_parameter_source(x).name == "COMMANDLINE"}
        given = {x: v if isinstance(v := ctx.params[x], int | float) else "" for x in typed}
        try:
            with timed(str(self.name), given):
                code = super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None
        logging.getLogger("pulmonet").info("%s is done", self.name)
        return code


_TEXTS = tomllib.loads(Path(__file__).with_name("commands.toml").read_text("utf-8"))
#: What each command does, the first line of its help; commands that one may look for instead.
COMMANDS: dict[str, str] = _TEXTS["commands"]
ELSEWHERE: dict[str, str] = _TEXTS["elsewhere"]
#: By command, the flags for what may be written without one.
FLAGS: dict[str, str] = _TEXTS["flags"]


def load_command(name: str) -> TyperCommand:
    """One of `COMMANDS`, from its signature in the file of that name."""
    function = getattr(importlib.import_module(f"pulmonet.cli.{name}"), name)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    help_text = f"{COMMANDS[name]}\n\n{inspect.getdoc(function)}"
    alone.command(name, cls=Command, help=help_text, context_settings=HELP_NAMES)(function)
    return cast(TyperCommand, typer.main.get_command(alone))


class Group(_InWords, TyperGroup):
    """`pulmonet` itself: only the command that is called has more than a summary."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; for some that do not exist, where their work is done."""
        if args[0] in ELSEWHERE:
            raise ConfigError(f"pulmonet {args[0]}: no such command; {ELSEWHERE[args[0]]}")
        if args[0] in COMMANDS:
            self.add_command(load_command(args[0]))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="pulmonet",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=HELP_NAMES,
    help="Train, evaluate, explain and report multi-label chest X-ray classifiers.\n\n"
    "Research and education only; not a medical device.\n\n"
    "Without any data: [bold]pulmonet prepare --demo[/bold]. Help on one command: "
    "[bold]pulmonet train --help[/bold].",
)


#: Signs of ours that some terminals lack.
_IN_ASCII = str.maketrans({"–": "-", "−": "-", "…": "...", "×": "x", "→": "->", "≥": ">="})


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived outside a place that handles it itself; its argument is which."""


#: Signals that end the command: extensions in C and Rust make other errors of their exceptions.
_arrived: list[int] = []


def _raise_stop(number: int, _frame: FrameType | None) -> None:
    _arrived.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    system.leave_closed_terminal()
    raise Terminated(number)


@system.on_signals(system.STOP_SIGNALS, _raise_stop)
def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where errors become codes.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 done; 2 flag, config, model or label name; 3 data; 4 artifacts; 5 training;
        129 terminal closed; 130 interrupted; 143 terminated; 1 is a bug, with its traceback.
    """
    arguments = _as_typer_reads(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    gc.disable()  # until a command starts: the imports of a help page leave no garbage
    _arrived.clear()
    try:
        result: Any = app(args=arguments, prog_name="pulmonet", standalone_mode=False)
        _flush_output()
        return int(result or 0)
    except TyperException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # it has shown the help already
            cast(Any, error).show()
        return error.exit_code
    except PulmoNetError as error:
        if _arrived:
            return _end_by(_arrived[-1])
        from pulmonet.flows.console import show_error

        show_error(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _end_by(signal.SIGINT)
    except Terminated as stop:
        return _end_by(int(stop.args[0]))
    except BrokenPipeError:
        system.lead_nowhere(sys.stdout.fileno())
        return 0
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich, in the middle of a help page
            return 0
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return _show_unforeseen(error)
    finally:
        gc.enable()


def _end_by(number: int) -> int:
    """Say which kind of signal ended the command; its exit code."""
    sys.stderr.write("interrupted\n" if number == signal.SIGINT else "terminated\n")
    return 128 + number


def _show_unforeseen(error: Exception) -> int:
    """A bug, or the system's limits, met anywhere: nothing that could need more is called here."""
    if _arrived:
        return _end_by(_arrived[-1])
    code = TrainingError.exit_code
    if is_out_of_memory(error):
        text = "memory: there is not enough; lower --batch-size, --image-size or --num-workers"
    elif isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        text = "open files: this process may have no more; raise the limit with `ulimit -n 1024`"
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        text = f"{str(error.filename)[:60]!r}...: longer than a name may be; choose a shorter one"
        code = ConfigError.exit_code
    else:
        traceback.print_exc()
        sys.stderr.write("This is a bug in pulmonet; please report it with the lines above.\n")
        return 1
    sys.stderr.write(f"error: {text}\n")
    return code


def _open_standard_streams() -> None:
    """Closed ones lead nowhere, or the first files opened would get their numbers and words."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    if sys.stdout is None:  # Python was started without
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    codecs.register_error("pulmonet", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pulmonet")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What a stream's encoding lacks, in ASCII: a terminal of another kind is no reason to end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_IN_ASCII)
    return plain.encode("ascii", "replace").decode(), error.end


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # seldom: the way out is not imported for a mere --help
        from pulmonet.flows.console import flush

        flush()


def _as_typer_reads(arguments: Sequence[str]) -> list[str]:
    """``--batch_size=8`` as ``--batch-size=8``, and ``train --quiet`` as ``--quiet train``.

    ``--boxes`` without a file is ``--boxes=own``.
    """
    found = []
    for argument in arguments:
        name, separator, value = argument.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        found.append(name + separator + value)
    found.sort(key=lambda argument: argument not in {"--quiet", "-q", "--verbose"})
    return [
        f"{each}={OWN_BOXES}" if each == "--boxes" and following.startswith("-") else each
        for each, following in zip(found, [*found[1:], "--"], strict=False)
    ]


def _describe_installation() -> str:
    """Versions of what decides results, and the device that ``auto`` would take."""
    import torch

    from pulmonet.models.device import choose_device, device_name

    device = choose_device("auto")
    names = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "opencv-python-headless")
    lines = [f"pulmonet {__version__}", f"python {sys.version.split()[0]}"]
    lines += [f"{name} {metadata.version(name)}" for name in names]
    lines.append(f"device {device} ({device_name(device)}, {torch.get_num_threads()} CPU threads)")
    return "\n".join(lines)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pulmonet.flows import console

        plain = f"pulmonet {__version__}"
        console.say(_describe_installation() if "--verbose" in sys.argv else plain)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version (with --verbose also torch and the device) and exit.",
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say what is read from where, and when.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    from pulmonet.flows import console

    console.configure(quiet=quiet, verbose=verbose)
