"""How to reproduce: the exact commands, versions, digests."""

from __future__ import annotations

import shlex

from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import Block, Cell, Code, Section, Table, Text, cells
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
    config = ["--config", f"{run.name}/run_config.json"]
    again = ["pulmonet", "train", *config, "--out-dir", ".", "--name", f"{run.name}-again"]
    lines = [
        f"# {run.name}: as it was typed",
        command,
        "# the same run again, from the folder that holds the runs",
        shlex.join(again),
    ]
    for result in run.results:
        lines.append(f"# its evaluation on {result.dataset}, {result.split}")
        lines.append(shlex.join(_evaluate(run, result)))
    return "\n".join(lines)


def _evaluate(run: RunArtifacts, result: RunResult) -> list[str]:
    """The command with everything that decides the numbers."""
    words = ["pulmonet", "evaluate", run.name, "--artifacts-dir", ".", "--split", result.split]
    facts = result.bootstrap
    for flag, value, usual in (
        ("--level", result.level, "image"),
        ("--views", result.views, run.record.config.data.views),
        ("--blank", result.blank, "zeros"),
        ("--bootstrap", f"{facts.n_resamples}", "1000"),
        ("--interval", facts.method, "percentile"),
        ("--seed", f"{facts.seed}", "42"),
    ):
        if value != usual:
            words += [flag, value]
    return words


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
