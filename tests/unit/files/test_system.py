"""Both ways of what systems do differently: the one of this machine, and Windows'."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pulmonet.files import system


@pytest.fixture(params=["posix", "windows"])
def handle(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A file of ten letters, with and without positioned calls."""
    if request.param == "windows":
        for name in ("preadv", "pwrite", "posix_fallocate", "fdatasync"):
            monkeypatch.delattr(os, name)
    (tmp_path / "file").write_bytes(b"abcdefghij")
    opened = os.open(tmp_path / "file", os.O_RDWR | system.BINARY)
    request.addfinalizer(lambda: os.close(opened))
    return opened


def test_reading_and_writing_in_place(handle: int) -> None:
    content = bytearray(4)
    assert system.write_at(handle, memoryview(b"XY"), 5) == 2
    assert system.read_at(handle, memoryview(content), 4) == 4
    assert content == b"eXYh"
    assert system.read_at(handle, memoryview(content), 8) == 2
    assert content == b"ijYh"
    system.reserve(handle, 100)
    system.sync(handle)


def test_a_lock_keeps_threads_out_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = system.take_lock(path, wait=False)
    assert lock is not None
    assert system.take_lock(path, wait=False) is None
    entered = threading.Event()

    def wait_for_it() -> None:
        with system.locked(path):
            entered.set()

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert not entered.wait(0.2)
    system.release_lock(lock)
    thread.join(timeout=10)
    assert entered.is_set()
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks_keeps_nobody_out(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(system, "_folders_without_locks", set())
    for wait in (True, False):
        lock = system.take_lock(tmp_path / ".lock", wait=wait)
        assert lock is not None
        system.release_lock(lock)
        assert not (tmp_path / ".lock").exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_another_error_of_a_lock_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    with pytest.raises(OSError, match="broken disk"):
        system.take_lock(tmp_path / ".lock", wait=True)


def test_a_folder_that_cannot_be_opened_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    system.sync_folder(tmp_path)


def test_without_what_linux_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**20 < system.peak_memory_bytes() < 2**45
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(system.peak_memory_bytes())  # ctypes has no windll here
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert system.usable_cores() == 7


@pytest.mark.parametrize(("platform", "bytes_a_unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_in_bytes(
    monkeypatch: pytest.MonkeyPatch, platform: str, bytes_a_unit: int
) -> None:
    resource = pytest.importorskip("resource")
    usage = type("Usage", (), {"ru_maxrss": 512 * 2**20 // bytes_a_unit})
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert system.peak_memory_bytes() == 512 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told so")
def test_freed_memory_is_kept_for_the_next_array() -> None:
    """Page faults of 50 arrays of 64 MB, in a process of its own: of one array, not of fifty."""
    program = (
        "import ctypes, resource, sys, numpy as np\n"
        "ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)\n"  # PR_SET_THP_DISABLE: pages of 4 kB alone
        "from pulmonet.files.system import keep_freed_memory\n"
        "keep_freed_memory() if sys.argv[1] == 'kept' else None\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "before = faults()\n"
        "for _ in range(50): np.ones(2**23)\n"
        "print(faults() - before)"
    )
    faults = {
        way: int(subprocess.check_output([sys.executable, "-c", program, way]))
        for way in ("kept", "given back")
    }
    assert faults["kept"] < faults["given back"] / 5
