"""Streams that are closed, full or unread, and the limits of the system."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pulmonet.cli.main import main
from pulmonet.flows import report

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


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), 5, "raise the limit with `ulimit -n 1024`"),
        (MemoryError(), 5, "memory: there is not enough; lower --batch-size"),
        (OSError(errno.EIO, "Input/output error"), 1, "This is a bug in pulmonet"),
    ],
)
def test_limits_of_the_system_are_no_bugs(
    error: Exception,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_options: object) -> int:
        raise error

    monkeypatch.setattr(report, "run", fail)
    assert main(["report"]) == code
    said = capsys.readouterr().err
    assert message in said
    assert ("Traceback" in said) == (code == 1)
