"""The command line: five Typer signatures, and `main`, where an error becomes an exit code.

Nothing heavy is imported here; every command imports its flow when it is called.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from pulmonet import __version__
from pulmonet.errors import PulmoNetError

app = typer.Typer(
    name="pulmonet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate, explain and report multi-label chest X-ray classifiers.\n\n"
    "Research and education only; not a medical device.",
)


class Terminated(BaseException):
    """SIGTERM arrived outside a place that handles it itself."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where errors become codes.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 done; 2 flag, config, model or label name; 3 data; 4 artifacts; 5 training;
        130 interrupted; 143 terminated; 1 is a bug, with its traceback.
    """
    arguments = [_with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    previous = _catch_sigterm()
    try:
        result: Any = app(args=arguments, prog_name="pulmonet", standalone_mode=False)
        sys.stdout.flush()
        return int(result or 0)
    except TyperException as error:
        error.show()
        return int(getattr(error, "exit_code", 2))
    except PulmoNetError as error:
        from pulmonet.commands.console import show_error

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
        return error.code if isinstance(error.code, int) else 1
    except Exception:
        traceback.print_exc()
        sys.stderr.write("This is a bug in pulmonet; please report it with the lines above.\n")
        return 1
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _with_dashes(argument: str) -> str:
    """``--batch_size=8`` -> ``--batch-size=8``: the original scripts' spelling."""
    if not argument.startswith("--"):
        return argument
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value


def _catch_sigterm() -> Any:
    def raise_terminated(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        return signal.signal(signal.SIGTERM, raise_terminated)
    except ValueError:  # not in the main thread: whoever runs us handles signals
        return None


def _print_version(wanted: bool) -> None:
    if wanted:
        if "--verbose" in sys.argv:
            from pulmonet.commands.version import describe_installation

            typer.echo(describe_installation())
        else:
            typer.echo(f"pulmonet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version (with --verbose also torch and the device) and exit.",
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    from pulmonet.commands import console

    console.configure(quiet=quiet, verbose=verbose)


@app.command()
def report(
    artifacts_dir: Annotated[
        Path, typer.Option("--artifacts-dir", help="Folder that holds the runs.")
    ] = Path("artifacts"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the report, or a file ending in .md."),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also write report.html, one file to send around.")
    ] = False,
    author_notes: Annotated[
        Path | None,
        typer.Option("--author-notes", help="TOML file with what only the authors know."),
    ] = None,
    show_identifiers: Annotated[
        bool,
        typer.Option("--show-identifiers", help="Write patient ids and paths as they are."),
    ] = False,
) -> int:
    """Write a report from the artifacts alone; needs neither torch nor the data.

    Example: pulmonet report --html
    """
    from pulmonet.commands.report import run

    return run(
        artifacts_dir=artifacts_dir,
        output=output,
        html=html,
        author_notes=author_notes,
        show_identifiers=show_identifiers,
    )
