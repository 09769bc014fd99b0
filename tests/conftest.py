"""Fixtures for all tests: the real X-rays where they exist, and folders nobody else uses."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]

# machines are shared and noisy, so no test is timed; CI draws the same examples every time
settings.register_profile("pulmonet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("pulmonet")

# collecting thousands of tests leaves no garbage, and what it makes stays
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: none of them begins when all but one process have ended."""
    items.sort(key=lambda item: "slow" not in item.keywords)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real X-rays (`PULMONET_SHARED_DATA`, else `../shared/data`), or a skip."""
    folder = Path(os.environ.get("PULMONET_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "nih-cxr" / "train.csv").exists():
        pytest.skip(f"no real X-rays at {folder}; set PULMONET_SHARED_DATA to run this test")
    return folder.resolve()


def set_private_folders(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.delenv("PULMONET_DATA_DIR", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _private_folders_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what modules and the session set up, before any test has folders of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_private_folders(monkeypatch, tmp_path_factory.mktemp("private"))
        yield


@pytest.fixture(autouse=True)
def _private_folders(
    _private_folders_of_all: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cache and user data folders of this test alone."""
    set_private_folders(monkeypatch, tmp_path_factory.mktemp("private"))


DRAW = Figure.draw


@pytest.fixture(scope="session", autouse=True)
def _blank_figures() -> Iterator[None]:
    """Drawing is half of the time of most commands; processes of their own draw all the same."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Figure, "draw", lambda *_: None)
        yield


@pytest.fixture
def drawn_figures(_blank_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what a figure shows, or of words that drawing might not bear."""
    monkeypatch.setattr(Figure, "draw", DRAW)


@pytest.fixture(autouse=True)
def _plain_console() -> None:
    """Console settings do not leak from one test into the next."""
    from pulmonet.flows import console

    console.configure()
