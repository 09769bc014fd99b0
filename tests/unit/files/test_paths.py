"""Paths as they are typed and as artifacts hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.files.paths import portable_path, without_home


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the number of a container's user that /etc/passwd does not know."""

    def nobody(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    assert portable_path("/data/x") == "/data/x"
    assert without_home(["/data/x"]) == ["/data/x"]
