"""Signature of `pulmonet report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    artifacts_dir: Annotated[
        Path, typer.Option("--artifacts-dir", help="Folder that holds the runs.")
    ] = Path("artifacts"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the report, or a file: .md, or .html."),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also write report.html, one file to send around.")
    ] = False,
    author_notes: Annotated[
        Path | None,
        typer.Option("--author-notes", help="TOML file with what only the authors know."),
    ] = None,
    show_identifiers: Annotated[
        bool, typer.Option("--show-identifiers", help="Write patient ids and paths as they are.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Only list the runs: data, state, AUROC, date.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compute every number again, and compare.")
    ] = False,
) -> int:
    """Example: [bold]pulmonet report --html[/bold]"""
    from pulmonet.flows.report import run, show_runs

    if list_:
        return show_runs(artifacts_dir)
    return run(
        artifacts_dir=artifacts_dir,
        output=output,
        html=html,
        author_notes=author_notes,
        show_identifiers=show_identifiers,
        verify=verify,
    )
