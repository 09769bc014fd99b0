"""How to reproduce: the exact commands, versions, digests."""

import shlex

from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.report.collect import Context
from pulmonet.report.render.blocks import Block, Code, Section, Text
from pulmonet.report.texts import entries, table_of


def reproduce_section(context: Context) -> Section:
    """Commands as they were typed (paths cut to their last part), and commands to repeat them."""
    runs = context.collection.runs
    words = Text(
        "The same config, data, versions, CPU and number of threads give bit-identical "
        "weights. Compare fingerprint and digest with those of your own run."
    )
    argument = context.identities.argument
    typed = {run.name: shlex.join(map(argument, run.provenance.command)) for run in runs}
    facts = {"runs": runs, "typed": typed, "quote": shlex.quote, "usual": EvaluationOptions()}
    facts["usual_blank"] = RunResult.model_fields["blank"].default
    code = Code("\n".join(entries("commands", **facts)))
    digests = table_of("digests", runs)
    used = [{"pulmonet": run.provenance.pulmonet} | run.provenance.versions for run in runs]
    names = dict.fromkeys(name for versions in used for name in versions)
    found = {name: sorted({one[name] for one in used if one.get(name)}) for name in names}
    versions = table_of("versions", found.items())
    parts: tuple[Block, ...] = (code, *digests, *versions)
    commands = Section("commands", "Commands, digests, versions", parts, beside=True)
    return Section("reproduce", "How to reproduce", (words,), (commands,))
