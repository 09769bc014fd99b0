"""What happens to words that nobody can read."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from pulmonet.errors import ArtifactError
from pulmonet.flows import console


def test_work_goes_on_when_the_reader_of_results_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console.say("nobody reads this")
        console.say("nor this")
        console.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_results_on_a_full_disk_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(ArtifactError, match=r"standard output: cannot be written \(No space"):
            console.say("does not fit")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_errors_that_cannot_be_shown_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        console.show_error("does not fit")
        console.warn("nor this")


def test_a_process_that_is_not_the_first_warns_of_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.configure(quiet=True, silent=True)
    console.warn("said by the first")
    console.configure()
    assert capsys.readouterr() == ("", "")


def test_lines_go_above_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.steps("Explaining", 3) as bar:
        bar.advance()
        console.warn("broken.png: truncated")
    before = terminal.getvalue().partition("warning: broken.png")[0]
    assert "Explaining" in before
    bar_line = before.rpartition("Explaining")[2]
    assert "\r\x1b[2K" in bar_line, "the bar is wiped before the line"


def test_the_first_run_of_a_slow_command_says_that_its_time_is_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(command: str, **given: float) -> str:
        with console.timed(command, given):
            assert capsys.readouterr().err == "", "not before it is sure that work begins"
            console.begin()
        return capsys.readouterr().err

    first = "first pulmonet evaluate here: how long it takes is not known yet\n"
    assert said("evaluate") == first
    assert said("evaluate") == "", "a short one with the same flags is nothing to wait for"
    assert said("evaluate", bootstrap=9) == "", "nor is one with other flags"
    assert said("doctor") == said("doctor") == ""
    monkeypatch.setattr(console, "LONG", 0.0)
    assert "the last pulmonet evaluate took 0.0 s" in said("evaluate", bootstrap=9)
