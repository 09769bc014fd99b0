"""How to reproduce: the exact commands, versions, digests."""

import shlex
from collections.abc import Iterator
from typing import Any

from pulmonet.choices import SPLITS
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import UNKNOWN_USE, Comparison, RunResult
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.render.blocks import Block, Code, Section, Text
from pulmonet.report.texts import entries, table_of

#: Subgroups that nobody has to ask for.
USUAL_GROUPS = ("sex", "age", "view", "collection")


def reproduce_section(context: Context) -> Section:
    """Commands as they were typed (paths cut to their last part), and commands to repeat them."""
    runs = context.collection.runs
    words = Text(
        "The same config, data, versions, CPU and number of threads give bit-identical "
        "weights. Compare fingerprint and digest with those of your own run."
    )
    argument = context.identities.argument
    typed = {run.name: shlex.join(map(argument, run.provenance.command)) for run in runs}
    evaluations: dict[str, list[str]] = {}
    for run in runs:
        for result in run.results:
            command = shlex.join(_evaluate(context, run, result))
            evaluations.setdefault(command, []).append(f"{run.name} on {result.rows()}")
    facts = {"runs": runs, "typed": typed, "quote": shlex.quote, "evaluations": evaluations}
    code = Code("\n".join(entries("commands", **facts)))
    digests = table_of("digests", runs)
    used = [{"pulmonet": run.provenance.pulmonet} | run.provenance.versions for run in runs]
    names = dict.fromkeys(name for versions in used for name in versions)
    found = {name: sorted({one[name] for one in used if one.get(name)}) for name in names}
    versions = table_of("versions", found.items())
    parts: tuple[Block, ...] = (code, *digests, *versions)
    commands = Section("commands", "Commands, digests, versions", parts, beside=True)
    return Section("reproduce", "How to reproduce", (words,), (commands,))


def _evaluate(context: Context, run: RunArtifacts, result: RunResult) -> list[str]:
    """The command that evaluates a run again, beside those that it was compared with."""
    collection, rows = context.collection, (result.dataset, result.split)
    pairs = [one for of, one in collection.comparisons if of == rows and run.name in one.runs()]
    every = {run.name, *(name for one in pairs for name in one.runs())}
    means = [
        other
        for other in collection.results
        if other.run in every and other.combines == "ensemble" and other.rows() == result.rows()
    ]
    every |= {name for one in means for name in one.members}
    names = [one.name for one in collection.runs if one.name in every]
    is_file = UNKNOWN_USE in result.rows_used_for
    if is_file:
        names = [f"--predictions={name}=the file of its scores" for name in names]
    words = ["pulmonet", "evaluate", *names, "--artifacts-dir", "."]
    if not is_file and (folder := _folder(context, run, result)):
        words += ["--data-dir", folder]
    for flag, value, default in _flags(run, result, pairs):
        words += [flag, str(value)] if value not in (None, default) else []
    return words + [word for one in means for word in ("--ensemble-name", one.run)]


def _folder(context: Context, run: RunArtifacts, result: RunResult) -> str | None:
    """Where other rows than the run's own lie; in words where that is not known."""
    facts = run.provenance.dataset
    if facts and result.dataset == facts.name and not result.external:
        return None
    root, _ = (facts.collections if facts else {}).get(result.dataset, ("", ""))
    return context.identities.argument(root) or f"the folder of {result.dataset}"


def _flags(
    run: RunArtifacts, result: RunResult, pairs: list[Comparison]
) -> Iterator[tuple[str, Any, Any]]:
    """Each flag with its value and the one that goes without saying, where there is one."""
    usual, how, labels = EvaluationOptions(), result.bootstrap, result.labels
    yield "--split", result.split if result.split in SPLITS else None, None
    yield "--labels", ",".join(labels) if {*labels} != {*run.labels} else None, None
    yield "--level", result.level, usual.level
    rule = result.study.rule if result.study else result.study_rule
    yield "--study-rule", rule, usual.study_rule
    yield "--views", result.views, run.config.data.views
    yield "--blank", result.blank, RunResult.model_fields["blank"].default
    yield "--bootstrap", how.n_resamples, usual.n_resamples
    yield "--interval", how.method, usual.interval
    yield "--seed", how.seed, usual.seed
    points = [(label, point) for label in labels for point in labels[label].operating_points]
    criteria = ",".join(dict.fromkeys(point.criterion for _, point in points))
    yield "--threshold", criteria or None, ",".join(usual.criteria)
    kinds = (one.calibrated.calibrator for one in labels.values() if one.calibrated)
    yield "--calibrator", next(filter(None, kinds), None), usual.calibrator
    stated = {label: point.deployment_prevalence for label, point in points}
    each = [f"{label}={value}" for label, value in stated.items() if value]
    is_one = len({*stated.values()}) == 1 and len(each) == len(labels)
    yield "--prevalence", each[0].rpartition("=")[2] if is_one else ",".join(each), ""
    groups = dict.fromkeys(group.column for group in result.subgroups)
    yield "--subgroup", ",".join(name for name in groups if name not in USUAL_GROUPS), ""
    arms = {one.a: one.a_members for one in pairs} | {one.b: one.b_members for one in pairs}
    for arm, members in arms.items():
        yield "--arm", f"{arm}={','.join(members)}" if members else None, None
    primary = next((one for one in pairs if one.is_primary()), None)
    yield "--primary", primary and primary.label, None
    yield "--margin", primary and primary.margin, None
