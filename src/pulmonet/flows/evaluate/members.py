"""What ensembles and pooled folds take from their members: labels that all have, provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pulmonet.errors import ConfigError
from pulmonet.flows import console
from pulmonet.flows.evaluate.material import Material, with_labels


def sharing_labels(name: str, materials: Sequence[Material]) -> list[Material]:
    """The members cut to the labels that all have, in the first one's order; others are named.

    Raises:
        ConfigError: they share none.
    """
    all_labels = [material.predictions.labels for material in materials]
    shared = [label for label in all_labels[0] if all(label in labels for labels in all_labels)]
    if not shared:
        raise ConfigError(f"{name}: its members share no label; choose runs of the same labels")
    others = dict.fromkeys(label for labels in all_labels for label in labels)
    left_out = [label for label in others if label not in shared]
    if left_out:
        console.note(f"{name}: without {', '.join(left_out)}, which not all of its members have")
    return [with_labels(material, shared) for material in materials]


def joined_facts(materials: Sequence[Material]) -> dict[str, Any]:
    """Provenance of what several runs make together: what they share, and all that was used."""
    facts = [material.facts for material in materials]
    same_data = {one.get("same_data_as_training") for one in facts}
    digests = [one.get("checkpoint_sha256") for one in facts]
    joined: dict[str, Any] = {
        "synthetic": any(one.get("synthetic", False) for one in facts),
        "rows_used_for": list(dict.fromkeys(x for one in facts for x in one["rows_used_for"])),
        "checkpoint_sha256": _joined_digest(digests),
        "same_data_as_training": False if False in same_data else same_data == {True} or None,
        "notes": list(dict.fromkeys(x for one in facts for x in one.get("notes", []))),
    }
    for key in ("blank", "views", "tta", "dataset_fingerprint"):
        values = {one.get(key) for one in facts}
        if len(values) == 1 and None not in values:
            joined[key] = values.pop()
    return joined


def _joined_digest(digests: Sequence[str | None]) -> str | None:
    known = sorted(digest for digest in digests if digest)
    if len(known) < len(digests):
        return None
    return hashlib.sha256("\n".join(known).encode()).hexdigest()
