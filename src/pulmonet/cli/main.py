"""The command line: a group that imports a command when it is asked for, and `main`.

Nothing heavy is imported here, and no signature: `pulmonet --help` shows the summaries below, and
every command imports its flow when it is called.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from pulmonet import __version__
from pulmonet.errors import ConfigError, PulmoNetError, TrainingError
from pulmonet.files.system import STOP_SIGNALS, on_signals

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help does without Python's words for types."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the help option too."""
        return _name_values(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run it; typer would end without a word where Ctrl-C comes."""
        try:
            code = super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None
        logging.getLogger("pulmonet").info("%s is done", self.name)
        return code


#: What each command does: the first line of its help.
COMMANDS = {
    "prepare": "Check a dataset, sum it up, and pack its images once for all later runs.",
    "train": "Train a network; gives artifacts/<run>/ with weights, log, curves and configuration.",
    "evaluate": "Evaluate runs, or saved predictions: tables with intervals, comparison, figures.",
    "explain": "Heat maps and scores of X-rays; with --boxes or --sanity, whether the maps are any "
    "good.",
    "report": "Write a report from the artifacts alone; needs neither torch nor the data.",
}

#: Commands that one may look for, and what does their work.
ELSEWHERE = {
    "predict": "pulmonet explain IMAGE gives an image's scores",
    "export": "pulmonet evaluate RUN --export onnx",
    "test": "pulmonet evaluate RUN --split test",
}


def load_command(name: str) -> TyperCommand:
    """One of `COMMANDS`, from its signature in the file of that name."""
    function = getattr(importlib.import_module(f"pulmonet.cli.{name}"), name)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    help_text = f"{COMMANDS[name]}\n\n{inspect.getdoc(function)}"
    alone.command(name, cls=Command, help=help_text, context_settings=HELP_NAMES)(function)
    found: Any = typer.main.get_command(alone)
    return cast(TyperCommand, found)


class Group(TyperGroup):
    """`pulmonet` itself: only the command that is called has more than a summary."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the help option too."""
        return _name_values(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; for some that do not exist, where their work is done."""
        if args[0] in ELSEWHERE:
            raise ConfigError(f"pulmonet {args[0]}: no such command; {ELSEWHERE[args[0]]}")
        if args[0] in COMMANDS:
            self.add_command(load_command(args[0]))
        return super().resolve_command(ctx, args)


def _name_values(parameters: Sequence[Any]) -> Sequence[Any]:
    """A flag takes no value; a list is given by repeating, a value at a time."""
    for option in parameters:
        if isinstance(option, TyperOption) and option.metavar is None:
            if option.is_flag:
                option.metavar = ""
            elif option.multiple:
                option.metavar = "<str>"
    return parameters


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


class Terminated(BaseException):
    """SIGTERM arrived outside a place that handles it itself."""


def _raise_terminated(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


@on_signals(STOP_SIGNALS[1:], _raise_terminated)  # Ctrl-C has its exception already
def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where errors become codes.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 done; 2 flag, config, model or label name; 3 data; 4 artifacts; 5 training;
        130 interrupted; 143 terminated; 1 is a bug, with its traceback.
    """
    arguments = [_with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    arguments = _with_common_flags_first(arguments)
    _open_standard_streams()
    try:
        result: Any = app(args=arguments, prog_name="pulmonet", standalone_mode=False)
        _flush_output()
        return int(result or 0)
    except TyperException as error:
        _show_usage_error(error)
        return error.exit_code
    except PulmoNetError as error:
        from pulmonet.flows.console import show_error

        show_error(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except Terminated:
        sys.stderr.write("terminated\n")
        return 143
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich, in the middle of a help page
            return 0
        return error.code if isinstance(error.code, int) else 1
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.EMFILE, errno.ENFILE}:
            return _show_bug()
        return _show_too_little(error)
    except Exception:
        return _show_bug()


def _show_bug() -> int:
    traceback.print_exc()
    sys.stderr.write("This is a bug in pulmonet; please report it with the lines above.\n")
    return 1


def _show_too_little(error: OSError | MemoryError) -> int:
    """The system's limits, met anywhere: nothing that could need more of it is called here."""
    if isinstance(error, MemoryError):
        text = "memory: there is not enough; lower --batch-size, --image-size or --num-workers"
    else:
        text = "open files: this process may have no more; raise the limit with `ulimit -n 1024`"
    sys.stderr.write(f"error: {text}\n")
    return TrainingError.exit_code


def _open_standard_streams() -> None:
    """Closed ones lead nowhere, or the first files opened would get their numbers and words."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    if sys.stdout is None:  # Python was started without
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # seldom: the way out is not imported for a mere --help
        from pulmonet.flows.console import flush

        flush()


def _show_usage_error(error: Any) -> None:
    """Typer's own message; an empty command line has shown the help already."""
    if type(error).__name__ != "NoArgsIsHelpError":
        error.show()


def _with_common_flags_first(arguments: list[str]) -> list[str]:
    """``pulmonet train --quiet`` is ``pulmonet --quiet train``."""
    common = [argument for argument in arguments if argument in {"--quiet", "-q", "--verbose"}]
    return common + [argument for argument in arguments if argument not in common]


def _with_dashes(argument: str) -> str:
    """``--batch_size=8`` -> ``--batch-size=8``: the original scripts' spelling."""
    if not argument.startswith("--"):
        return argument
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value


def _print_version(wanted: bool) -> None:
    if wanted:
        from pulmonet.flows import console

        if "--verbose" in sys.argv:
            from pulmonet.flows.version import describe_installation

            console.say(describe_installation())
        else:
            console.say(f"pulmonet {__version__}")
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


def command_tree() -> Group:
    """All commands with their options, as the documentation lists them."""
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        group.add_command(load_command(name))
    return cast(Group, group)
