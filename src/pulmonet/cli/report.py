"""Signature of `pulmonet report`."""

from typing import Any

from pulmonet.cli.flags_from_fields import Flag, flags_of
from pulmonet.flows.options import ReportOptions


@flags_of(
    ReportOptions,
    "given",
    "artifacts_dir output html open author_notes show_identifiers list_ verify",
    output=Flag("output", ("--output", "-o")),
    open=Flag("show", ("--open",)),
    list_=Flag("list_runs", ("--list",)),
)
def report(given: dict[str, Any]) -> int:
    """Example: [bold]pulmonet report --html[/bold]"""
    from pulmonet.flows.report import run

    return run(ReportOptions(**given))
