"""How to reproduce: the exact commands, versions, digests."""

from __future__ import annotations

import shlex

from pulmonet.report.blocks import Block, Cell, Code, Section, Table, Text, cells
from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.wording import NOTHING


def reproduce_section(context: Context) -> Section:
    """Commands as they were typed (paths cut to their last part), and commands to repeat them."""
    runs = context.collection.runs
    blocks: list[Block] = [
        Text(
            "The same config, data, versions, CPU and number of threads give the same weights to "
            "the bit. Compare fingerprint and digest below with those of your own run."
        ),
        Code("\n".join(_lines(context, run) for run in runs)),
    ]
    blocks.append(_digests(runs))
    blocks.append(_versions(runs))
    return Section("reproduce", "How to reproduce", tuple(blocks))


def _lines(context: Context, run: RunArtifacts) -> str:
    typed = run.record.provenance.command
    words = [context.identities.argument(word) for word in typed]
    command = (
        " ".join(shlex.quote(word) for word in words) if words else "# the command was not recorded"
    )
    again = shlex.join(
        ["pulmonet", "train", "--config", f"{run.name}/run_config.json", "--name", "again"]
    )
    return (
        f"# {run.name}: as it was typed\n{command}\n# the same run again, from this folder\n{again}"
    )


def _digests(runs: tuple[RunArtifacts, ...]) -> Table:
    rows = tuple(
        cells(
            run.name,
            run.record.provenance.checkpoint_sha256 or NOTHING,
            run.record.provenance.dataset.fingerprint if run.record.provenance.dataset else NOTHING,
            Cell(run.record.provenance.start[:19].replace("T", " ")),
        )
        for run in runs
    )
    return Table(
        "Digests",
        ("Run", "best_model.pth (SHA-256)", "Data fingerprint", "Started (UTC)"),
        rows,
    )


def _versions(runs: tuple[RunArtifacts, ...]) -> Table:
    names = list(dict.fromkeys(name for run in runs for name in run.record.provenance.versions))
    rows = [cells("pulmonet", ", ".join(sorted({run.record.provenance.pulmonet for run in runs})))]
    for name in names:
        found = {run.record.provenance.versions.get(name, "") for run in runs} - {""}
        rows.append(cells(name, ", ".join(sorted(found))))
    return Table("Versions", ("Software", "Version"), tuple(rows))
