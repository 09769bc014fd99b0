"""Fixtures for all tests: the real X-rays where they exist, and folders nobody else uses."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import blank

ROOT = Path(__file__).resolve().parents[1]

# machines are shared and noisy, so no test is timed; CI draws the same examples every time
settings.register_profile("pulmonet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("pulmonet")


def use_memory(place: Path, n_bytes: int) -> None:
    """Folders of tests in memory, where there is room: thousands of files come and go."""
    if "TMPDIR" not in os.environ and place.is_dir() and shutil.disk_usage(place).free > n_bytes:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))
        tempfile.tempdir = str(place)


use_memory(Path("/dev/shm"), 4 << 30)

# collecting thousands of tests leaves no garbage, and what it makes stays
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: none of them begins when all but one process have ended.

    Then those that fork processes: if one process of the suite has them, one server is enough.
    """

    def place(item: pytest.Item) -> tuple[bool, bool]:
        forks = isinstance(item, pytest.Function) and hasattr(item.module, "forked")
        return "slow" not in item.keywords, not forks

    items.sort(key=place)


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
def _private_folders_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For what modules and the session set up, before any test has folders of its own."""
    home = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_private_folders(monkeypatch, home)
        yield home


@pytest.fixture(autouse=True)
def _private_folders(
    _private_folders_of_all: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Cache and user data folders of this test alone, where it makes any."""
    home = _private_folders_of_all / "of-one-test"
    set_private_folders(monkeypatch, home)
    yield
    shutil.rmtree(home, ignore_errors=True)


#: Folders that the fixtures being set up have made, those of the innermost one last.
_made: list[list[Path]] = [[]]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """A folder that a fixture makes goes with it: datasets and networks would fill the disk."""
    made: list[Path] = []
    n_failed = request.session.testsfailed

    def remove() -> None:
        if request.session.testsfailed == n_failed:  # no test that had them
            for path in made:
                shutil.rmtree(path, ignore_errors=True)

    fixturedef.addfinalizer(remove)  # the first to be added is the last to be called
    _made.append(made)
    try:
        return (yield)
    finally:
        _made.pop()


_mktemp = pytest.TempPathFactory.mktemp


def _mktemp_noted(factory: pytest.TempPathFactory, *arguments: Any, **named: Any) -> Path:
    path = _mktemp(factory, *arguments, **named)
    _made[-1].append(path)
    return path


pytest.TempPathFactory.mktemp = _mktemp_noted  # type: ignore[method-assign]


blank.leave_figures_blank()
blank.leave_disks_alone()


@pytest.fixture
def drawn_figures() -> Iterator[None]:
    """For tests of what a figure shows, or of words that drawing might not bear."""
    blank.draw_figures()
    yield
    blank.leave_figures_blank()


@pytest.fixture(autouse=True)
def _plain_console() -> None:
    """Console settings do not leak from one test into the next."""
    from pulmonet.flows import console

    console.configure()
