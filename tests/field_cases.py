"""The cases of ../shared/cases: inputs that people reported, each with its `case.md`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def case_folder(name: str) -> Path:
    """A case where it lies (below `PULMONET_CASES`, else `../shared/cases`), or a skip."""
    cases = Path(os.environ.get("PULMONET_CASES", ROOT.parent / "shared" / "cases"))
    if not (cases / name / "case.md").exists():
        pytest.skip(f"no case {name} in {cases}; set PULMONET_CASES")
    return cases / name
