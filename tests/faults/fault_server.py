"""A process that has imported everything once and forks a `pulmonet` per request.

Importing torch anew costs seconds; a fork costs milliseconds, and the child is a real process
with real signals, limits, mounts and file descriptors. Requests and answers, through a connection:
``{"argv": [...], "cwd": ..., "env": {...}, "plan": {...}}`` -> ``{"pid": n}``, ``{"wait": n}`` ->
``{"code": n}`` (negative: killed by that signal), None -> the end.

What a plan can hold stands in `inject`.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import datetime
import errno
import gc
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import blank

_CLONE_NEWNS, _MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    0x20000,
    1,
    32,
    4096,
    16384,
    1 << 18,
)

#: Calls of `os` that a write to disk ends in.
WRITE_CALLS = ("fsync", "fdatasync", "pwrite", "replace", "posix_fallocate")


def inject(plan: dict[str, Any]) -> None:
    """Break this process as the plan says.

    Keys: ``limits`` {name of RLIMIT_*: value}; ``fail_write`` [n, errno name, stays] (the n-th
    call that writes fails, with ``stays`` all later ones too); ``kill_write`` n (SIGKILL there, or
    the ``kill_signal`` by name); ``blank`` (figures that are not drawn, which takes long);
    ``count_writes`` path (their number is written there at the end); ``read_only`` [folders];
    ``no_shm``; ``close`` [file descriptors]; ``broken_stdout``; ``full_stdout``; ``clock``
    "back" or "future"; ``break_call`` [function, what it raises: an exception or "panic"].
    """
    if plan.get("blank"):
        blank.leave_figures_blank()
        blank.leave_disks_alone()
    for name, value in plan.get("limits", {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    if "fail_write" in plan or "kill_write" in plan or "count_writes" in plan:
        _patch_writes(plan)
    if plan.get("read_only") or plan.get("no_shm"):
        _own_mounts(plan.get("read_only", []), no_shm=bool(plan.get("no_shm")))
    if plan.get("clock"):
        _jump(plan["clock"])
    if "break_call" in plan:
        _break_call(*plan["break_call"])
    if plan.get("broken_stdout"):
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
    if plan.get("full_stdout"):
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    for number in plan.get("close", []):
        os.close(number)


def _patch_writes(plan: dict[str, Any]) -> None:
    fails_at, code, stays = plan.get("fail_write", (0, "ENOSPC", False))
    kills_at = plan.get("kill_write", 0)
    kills_with = signal.Signals[plan.get("kill_signal", "SIGKILL")]
    count = [0]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any) -> Any:
            count[0] += 1
            if kills_at and count[0] == kills_at:
                os.kill(os.getpid(), kills_with)
            if fails_at and (count[0] == fails_at or (stays and count[0] > fails_at)):
                number = getattr(errno, code)
                raise OSError(number, os.strerror(number))
            if "count_writes" in plan:
                Path(plan["count_writes"]).write_text(str(count[0]))
            return call(*arguments)

        return checked

    for name in WRITE_CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def _own_mounts(read_only: list[str], *, no_shm: bool) -> None:
    """A mount namespace of this process alone, so that even root cannot write (Linux, root)."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> None:
        encoded = [None if part is None else part.encode() for part in (kind, data)]
        check(libc.mount(source.encode(), target.encode(), encoded[0], flags, encoded[1]))

    check(libc.unshare(_CLONE_NEWNS))
    mount("none", "/", None, _MS_REC | _MS_PRIVATE, None)
    for folder in read_only:
        mount(folder, folder, None, _MS_BIND, None)
        mount(folder, folder, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)
    if no_shm:
        here, kept = os.getcwd(), os.open(".", os.O_RDONLY)  # noqa: PTH109
        mount("none", "/dev/shm", "tmpfs", 0, "size=4096")
        if here.startswith("/dev/shm/"):  # the world itself stays
            Path(here).mkdir(parents=True)
            mount(f"/proc/self/fd/{kept}", here, None, _MS_BIND, None)
        os.close(kept)
        Path("/dev/shm/full").write_bytes(bytes(4096))


class PanicException(BaseException):
    """What pyo3 makes of a panic of a library in Rust."""


def _break_call(name: str, kind: str) -> None:
    """A function of another library that only raises."""
    error = PanicException if kind == "panic" else getattr(builtins, kind)

    def broken(*_: Any, **__: Any) -> Any:
        raise error("index out of bounds: the len is 4 but the index is 7")

    module, _, function = name.rpartition(".")
    setattr(importlib.import_module(module), function, broken)


def _jump(kind: str) -> None:
    """Clocks that go back by an hour at every third look, or stand in the year 2100."""
    real_time, real_monotonic = time.time, time.perf_counter
    looks = [0]

    def jumping() -> float:
        looks[0] += 1
        if kind == "future":
            return real_time() + 75 * 365 * 86_400
        return real_time() - 3600 * (looks[0] // 3)

    time.time = jumping
    real = datetime.datetime

    class Jumping(real):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.fromtimestamp(jumping(), tz)

    datetime.datetime = Jumping  # type: ignore[misc]
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("pulmonet") and hasattr(module, "datetime"):
            module.datetime = Jumping  # type: ignore[attr-defined]
    time.perf_counter = real_monotonic


def run_child(request: dict[str, Any]) -> int:
    """What the forked process does; its exit code."""
    os.setsid()  # a process group of its own: the server's signals are not its signals
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        path = request[name]
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    sys.argv = ["pulmonet", *request["argv"]]
    from pulmonet.cli.main import main

    inject(request.get("plan", {}))
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    code = main(request["argv"])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def _stream(number: int) -> Any:
    """As Python opens it when it starts: None where the descriptor is closed."""
    try:
        return os.fdopen(number, "w", encoding="utf-8", closefd=False)
    except OSError:
        return None


def serve(requests: Connection, log: str) -> None:
    """Answer requests until there is none; what is said beside goes to the file `log`."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    gc.freeze()  # a child that collects garbage would copy all of it
    while request := requests.recv():
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            child = os.fork()
            if child == 0:
                code = 99
                try:
                    code = run_child(request)
                finally:
                    os._exit(code)
            answer = {"pid": child}
        requests.send(answer)
