"""Fixtures for all tests: the real X-rays where they exist, and folders nobody else uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# machines are shared and noisy, so no test is timed; CI draws the same examples every time
settings.register_profile("pulmonet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("pulmonet")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real X-rays (`PULMONET_SHARED_DATA`, else `../shared/data`), or a skip."""
    folder = Path(os.environ.get("PULMONET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "nih-cxr" / "train.csv").exists():
        pytest.skip(f"no real X-rays at {folder}; set PULMONET_SHARED_DATA to run this test")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _private_folders(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cache and user data folders of this test alone."""
    home = tmp_path_factory.mktemp("private")
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.delenv("PULMONET_DATA_DIR", raising=False)


@pytest.fixture(autouse=True)
def _plain_console() -> None:
    """Console settings do not leak from one test into the next."""
    from pulmonet.commands import console

    console.configure()
