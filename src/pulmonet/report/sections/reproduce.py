"""How to reproduce: the exact commands, versions, digests."""

import shlex

from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Code, Section, Text
from pulmonet.report.texts import table_of


def reproduce_section(context: Context) -> Section:
    """Commands as they were typed (paths cut to their last part), and commands to repeat them."""
    runs = context.collection.runs
    words = Text(
        "The same config, data, versions, CPU and number of threads give bit-identical "
        "weights. Compare fingerprint and digest with those of your own run."
    )
    code = Code("\n".join(_lines(context, run) for run in runs))
    digests = table_of("digests", runs)
    used = [{"pulmonet": run.provenance.pulmonet} | run.provenance.versions for run in runs]
    names = dict.fromkeys(name for versions in used for name in versions)
    found = {name: sorted({one[name] for one in used if one.get(name)}) for name in names}
    versions = table_of("versions", found.items())
    parts: tuple[Block, ...] = (code, *digests, *versions)
    commands = Section("commands", "Commands, digests, versions", parts, beside=True)
    return Section("reproduce", "How to reproduce", (words,), (commands,))


def _lines(context: Context, run: RunArtifacts) -> str:
    words = [context.identities.argument(word) for word in run.provenance.command]
    again = ["train", "--config", f"{run.name}/run_config.json", "--out-dir", ".", "--name"]
    again.append(f"{run.name}-again")
    if run.provenance.is_published:
        again = ["evaluate", run.config.model.weights, "--artifacts-dir", "."]
    lines = [
        f"# {run.name}: as it was typed",
        shlex.join(words) if words else "# the command was not recorded",
        "# the same run again, from the folder that holds the runs",
        shlex.join(["pulmonet", *again]),
    ]
    for result in run.results:
        lines.append(f"# its evaluation on {result.dataset}, {result.split}")
        lines.append(shlex.join(_evaluate(run, result)))
    return "\n".join(lines)


def _evaluate(run: RunArtifacts, result: RunResult) -> list[str]:
    """The command with everything that decides the numbers."""
    words = ["pulmonet", "evaluate", run.name, "--artifacts-dir", ".", "--split", result.split]
    facts, usual = result.bootstrap, EvaluationOptions()
    for flag, value, default in (
        ("--level", result.level, usual.level),
        ("--views", result.views, run.config.data.views),
        ("--blank", result.blank, RunResult.model_fields["blank"].default),
        ("--bootstrap", facts.n_resamples, usual.n_resamples),
        ("--interval", facts.method, usual.interval),
        ("--seed", facts.seed, usual.seed),
    ):
        if value != default:
            words += [flag, str(value)]
    return words
