"""Names and sizes of the pictures that a report carries."""

from __future__ import annotations

from pulmonet.labels import file_name_of

#: Folder beside report.md that holds its pictures; beside mine.md it is mine_files.
FILES_DIR = "report_files"


def safe_name(name: str) -> str:
    """A run's or label's name as part of a file name or an anchor, ASCII only."""
    ascii_only = file_name_of(name).encode("ascii", "replace").decode().replace("?", "_")
    return ascii_only.replace("+", "-plus").replace(".", "-")
