"""Standard streams that are closed, full, or that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PULMONET = [sys.executable, "-m", "pulmonet"]


def run_in_shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("pulmonet", " ".join(PULMONET))],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_closed_streams_are_as_good_as_none(tmp_path: Path) -> None:
    result = run_in_shell("pulmonet --version <&- >&- 2>&-", tmp_path)
    assert result.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")  # noqa: PTH110
def test_full_output_is_said_and_is_no_bug(tmp_path: Path) -> None:
    result = run_in_shell("pulmonet --version > /dev/full", tmp_path)
    assert result.returncode == 4
    assert "standard output: cannot be written (No space left on device)" in result.stderr


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    result = run_in_shell("(pulmonet --help; echo $? > code) | true", tmp_path)
    assert result.stderr == ""
    assert (tmp_path / "code").read_text() == "0\n"
