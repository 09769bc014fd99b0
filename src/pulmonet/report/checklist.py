"""TRIPOD+AI and CLAIM 2024, filled from the artifacts or left as a visible TODO."""

from __future__ import annotations

from pulmonet.report.blocks import Section
from pulmonet.report.context import Context


def checklist_section(context: Context) -> Section:
    del context
    return Section("checklists", "Reporting checklists", ())
