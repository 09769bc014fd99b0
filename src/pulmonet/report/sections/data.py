"""Data: source, fingerprint, flow of rows and patients, label policies, who is in it."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from pulmonet.config.fields import TargetConfig
from pulmonet.metrics.tables import Cell, Table, grid
from pulmonet.report.collect import Context, RunArtifacts
from pulmonet.report.names import COUNTED, ROLES
from pulmonet.report.render.blocks import Block, Bullets, Section, Text
from pulmonet.report.texts import fields, paragraphs, table_of
from pulmonet.report.wording import listing, percent, safe_name
from pulmonet.run.record import DatasetFacts

_Count = Annotated[int, Field(ge=0, lt=10**15)]


def data_section(context: Context) -> Section:
    """One subsection per dataset as it was used; runs that used it alike share one."""
    groups: dict[tuple[str, str], tuple[list[RunArtifacts], DatasetFacts]] = {}
    for run in context.collection.runs:
        if facts := run.provenance.dataset:
            groups.setdefault((facts.fingerprint, str(facts.n_rows)), ([], facts))[0].append(run)
    without = [run for run in context.collection.runs if run.provenance.dataset is None]
    children = tuple(
        _dataset(context, runs, facts, position, alone=len(groups) == 1)
        for position, (runs, facts) in enumerate(groups.values())
    )
    uses = table_of("data", groups.values())
    notes = paragraphs("data", without=without)
    return Section("data", "Data", (*notes, *uses), children)


def _dataset(
    context: Context, runs: list[RunArtifacts], facts: DatasetFacts, position: int, *, alone: bool
) -> Section:
    names = listing([run.name for run in runs])
    roots = [root for root, _ in facts.collections.values()] or [facts.root]
    folder = " + ".join(map(context.identities.argument, roots))
    scrub = context.identities.scrub
    said = fields("dataset", facts=facts, folder=folder, names=names, scrub=scrub).items()
    of_rows = sorted(facts.n_rows, key=[*ROLES, *facts.n_rows].index)  # training first
    flow = table_of("roles", of_rows, roles=ROLES, facts=facts)
    blocks: list[Block] = [Bullets(tuple((f"{lead}:", text) for lead, text in said)), *flow]
    blocks += _prevalence(facts)
    blocks += _policies(runs)
    blocks += _people(facts.summary)
    title = f"{facts.name} in detail" if alone else f"{facts.name}, as {names} used it"
    key = f"data-{position}-{safe_name(facts.name)}"
    return Section(key, title, tuple(blocks), beside=True)


def _prevalence(facts: DatasetFacts) -> list[Table]:
    found = facts.positives
    roles = sorted(filter(found.get, found), key=[*ROLES, *found].index)
    labels = dict.fromkeys(label for role in roles for label in found[role])
    cells: dict[tuple[str, str], Cell | None] = {}
    for label, role in product(labels, roles):
        n, whole = found[role].get(label), facts.n_rows.get(role, 0)
        share = f" ({percent(n / whole)})" if n is not None and whole else ""
        cells[label, ROLES.get(role, role)] = None if n is None else Cell(f"{n:,}{share}", n)
    return grid("Positive images per label", "Label", cells, key="positives")


def _policies(runs: list[RunArtifacts]) -> list[Block]:
    """What the label policies did, once per policy."""
    blocks: list[Block] = []
    seen: dict[str, tuple[str, TargetConfig, dict[str, dict[str, int]]]] = {}
    for run in runs:
        facts = run.provenance.dataset
        changes = {} if facts is None else facts.policy_changes
        seen.setdefault(str((run.config.targets, changes)), (run.name, run.config.targets, changes))
    for name, targets, changes in seen.values():
        policy = targets.uncertain_policy
        words = COUNTED.get(policy, policy) if isinstance(policy, str) else "have one policy each"
        lead = f"{name}: uncertain labels {words}, blank labels {COUNTED[targets.blank]}"
        if not any(changes.values()):
            why = "no training label was either" if changes else "what that changed is not recorded"
            blocks.append(Text(f"{lead}; {why}."))
            continue
        kinds = dict.fromkeys(kind for counts in changes.values() for kind in counts)
        pairs = product(changes, kinds)
        cells = {(label, kind): changes[label].get(kind, 0) for label, kind in pairs}
        blocks += grid(f"Training labels changed ({lead})", "Label", cells)
    return blocks


class _Ages(BaseModel):
    median: Annotated[float, Field(ge=0, lt=200)] | None = None


class _Split(BaseModel):
    """What `prepare` summarised of one split; run_config.json may hold anything here."""

    images: _Count | None = None
    patients: _Count | None = None
    age: _Ages = _Ages()
    sex: dict[str, _Count] = Field(default_factory=dict)
    views: dict[str, _Count] = Field(default_factory=dict)


def _people(summary: Mapping[str, Any]) -> list[Block]:
    """Age, sex and view per split, over the whole dataset."""
    try:
        splits = TypeAdapter(dict[str, _Split]).validate_python(summary.get("splits", {}))
    except ValidationError:
        splits = {}
    found = table_of("people", splits.items(), shares=_shares)
    return [*found] or [Text("Age, sex and view per split are not in the artifacts.", "note")]


def _shares(counts: Mapping[str, int], n: int | None) -> str | None:
    """``Female 48 %, Male 52 %`` from counts."""
    if not n:
        return None
    return ", ".join(f"{name} {percent(part / n, 0)}" for name, part in counts.items()) or None
