"""The changelog's newest version is the package's."""

from __future__ import annotations

import re
from pathlib import Path

import pulmonet

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def test_newest_version_is_the_packages() -> None:
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG.read_text(), re.M
    )
    assert versions[0] == pulmonet.__version__
