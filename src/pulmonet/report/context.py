"""What every section is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pulmonet.report.collect import Collection
from pulmonet.report.pseudonyms import Identities


@dataclass(frozen=True)
class Context:
    """The collected artifacts, how people are named, and what the authors add.

    Attributes:
        collection: all runs.
        identities: pseudonyms, or the identifiers where the user asked for them.
        notes: the authors' words by key (``--author-notes``).
        written: when, ISO 8601 in UTC.
    """

    collection: Collection
    identities: Identities
    notes: Mapping[str, str] = field(default_factory=dict)
    written: str = ""
