"""Data: source, fingerprint, flow of rows and patients, label policies, who is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulmonet.report.collect import RunArtifacts
from pulmonet.report.context import Context
from pulmonet.report.render.blocks import Block, Bullets, Cell, Section, Table, Text, bullets, cells
from pulmonet.report.render.pictures import safe_name
from pulmonet.report.wording import COUNTED, NOTHING, count_cell, listing, percent, share_of
from pulmonet.run.record import DatasetFacts
from pulmonet.words import count

_ROLES = {
    "train": "training",
    "valid": "validation split",
    "dev": "development (chose the checkpoint)",
    "test": "test",
}


def data_section(context: Context) -> Section:
    """One subsection per dataset as it was used; runs that used it alike share one."""
    groups: dict[tuple[str, str], list[RunArtifacts]] = {}
    without = []
    for run in context.collection.runs:
        facts = run.record.provenance.dataset
        if facts is None:
            without.append(run.name)
        else:
            groups.setdefault((facts.fingerprint, str(facts.n_rows)), []).append(run)
    blocks: list[Block] = []
    if without:
        blocks.append(
            Text(f"run_config.json does not say which data was used: {listing(without)}.", "note")
        )
    children = tuple(
        _dataset(context, runs, position, alone=len(groups) == 1)
        for position, runs in enumerate(groups.values())
    )
    return Section("data", "Data", tuple(blocks), children)


def _dataset(context: Context, runs: list[RunArtifacts], position: int, *, alone: bool) -> Section:
    facts = runs[0].record.provenance.dataset
    assert facts is not None
    names = listing([run.name for run in runs])
    items = [
        ("Source:", f"{facts.source} layout, folder {context.identities.argument(facts.root)}"),
        ("Used by:", names),
        ("Fingerprint:", f"{facts.fingerprint} (paths, splits, patients and labels of all rows)"),
    ]
    if facts.synthetic:
        items.insert(0, ("SYNTHETIC:", "computer-drawn phantoms, no patients"))
    if not facts.patients_known:
        items.append(
            ("Patients:", "the source names none; every image counts as a patient of its own")
        )
    blocks: list[Block] = [Bullets(tuple(items)), _flow(facts)]
    if facts.excluded:
        blocks.append(
            bullets(
                f"left out: {count(n, 'row')}, {context.identities.scrub(reason)}"
                for reason, n in facts.excluded.items()
            )
        )
    if facts.positives:
        blocks.append(_prevalence(facts))
    blocks += _policies(runs)
    blocks += _people(facts.summary)
    title = facts.name if alone else f"{facts.name}, as {names} used it"
    return Section(f"data-{position}-{safe_name(facts.name)}", title, tuple(blocks))


def _place(role: str) -> int:
    """Training first, then what was tested on."""
    return list(_ROLES).index(role) if role in _ROLES else len(_ROLES)


def _flow(facts: DatasetFacts) -> Table:
    rows = tuple(
        cells(
            _ROLES.get(role, role),
            count_cell(n),
            count_cell(facts.n_patients.get(role)),
        )
        for role, n in sorted(facts.n_rows.items(), key=lambda item: _place(item[0]))
    )
    return Table("Rows and patients in each role", ("Role", "Images", "Patients"), rows)


def _prevalence(facts: DatasetFacts) -> Table:
    roles = sorted((role for role in facts.positives if facts.positives[role]), key=_place)
    labels = list(dict.fromkeys(label for role in roles for label in facts.positives[role]))
    rows = []
    for label in labels:
        row = [Cell(label)]
        for role in roles:
            n = facts.positives[role].get(label)
            text = NOTHING if n is None else share_of(n, facts.n_rows.get(role, 0))
            row.append(Cell(text, n))
        rows.append(tuple(row))
    return Table(
        "Positive images per label",
        ("Label", *(_ROLES.get(role, role) for role in roles)),
        tuple(rows),
    )


def _policies(runs: list[RunArtifacts]) -> list[Block]:
    """What the label policies did, once per policy."""
    blocks: list[Block] = []
    seen: set[str] = set()
    for run in runs:
        facts = run.record.provenance.dataset
        changes = {} if facts is None else facts.policy_changes
        targets = run.record.config.targets
        if str((targets, changes)) in seen:
            continue
        seen.add(str((targets, changes)))
        policy = targets.uncertain_policy
        words = COUNTED.get(policy, policy) if isinstance(policy, str) else "have one policy each"
        lead = f"{run.name}: uncertain labels {words}, blank labels {COUNTED[targets.blank]}"
        if not any(changes.values()):
            why = "no training label was either" if changes else "what that changed is not recorded"
            blocks.append(Text(f"{lead}; {why}."))
            continue
        kinds = list(dict.fromkeys(kind for counts in changes.values() for kind in counts))
        rows = tuple(
            cells(label, *(count_cell(counts.get(kind, 0)) for kind in kinds))
            for label, counts in changes.items()
        )
        blocks.append(Table(f"Training labels changed ({lead})", ("Label", *kinds), rows))
    return blocks


def _people(summary: Mapping[str, Any]) -> list[Block]:
    """Age, sex and view per split, as `prepare` summarised the whole dataset."""
    splits = summary.get("splits")
    rows = []
    for split, facts in splits.items() if isinstance(splits, Mapping) else ():
        if not isinstance(facts, Mapping):
            continue
        n, age = _whole(facts.get("images")), facts.get("age")
        median = age.get("median") if isinstance(age, Mapping) else None
        if not isinstance(median, int | float) or not 0 <= median < 200:
            median = None
        rows.append(
            cells(
                str(split),
                count_cell(n),
                count_cell(_whole(facts.get("patients"))),
                Cell(NOTHING if median is None else f"{median:g} years", median),
                _shares(facts.get("sex"), n),
                _shares(facts.get("views"), n),
            )
        )
    if not rows:
        return [Text("Age, sex and view per split are not in the artifacts.", "note")]
    return [
        Table(
            "Who is in each split of the source",
            ("Split", "Images", "Patients", "Median age", "Sex", "View"),
            tuple(rows),
            ("Counted over all rows of the source, before views and subsets were chosen.",),
        )
    ]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and abs(value) < 10**15 else None


def _shares(counts: object, n: int | None) -> str:
    """``Female 48 %, Male 52 %`` from counts; run_config.json may hold anything here."""
    if not isinstance(counts, Mapping) or not n:
        return NOTHING
    known = {str(name): part for name, part in counts.items() if _whole(part) is not None}
    return ", ".join(f"{name} {percent(part / n, 0)}" for name, part in known.items()) or NOTHING
