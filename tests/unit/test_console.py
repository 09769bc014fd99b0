"""What happens to words that nobody can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pulmonet.commands import console
from pulmonet.errors import ArtifactError


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
