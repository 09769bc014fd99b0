"""Every command without what POSIX alone has, as on Windows: a name used is an error at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import blank

#: Hidden from PulmoNet alone: its libraries have a Windows build of their own.
AS_ON_WINDOWS = """
import builtins, os, signal, sys, types

MODULES = set("fcntl grp posix pty pwd readline resource syslog termios tty".split())
FUNCTIONS = '''chown chroot fchdir fchmod fchown fdatasync fork forkpty fstatvfs getegid geteuid
getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid killpg lchown lockf
mkfifo mknod nice openpty pathconf posix_fadvise posix_fallocate posix_spawn pread preadv pwrite
pwritev readv sched_getaffinity sched_setaffinity sched_yield sendfile setgid setpgid setpriority
setsid setuid statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 writev'''.split()
FLAGS = "CLOEXEC DIRECTORY DSYNC NOATIME NOCTTY NOFOLLOW NONBLOCK PATH SYNC TMPFILE".split()
SIGNALS = "ALRM CHLD CONT HUP KILL PIPE QUIT STOP TSTP TTIN TTOU USR1 USR2".split()
NAMES = {*FUNCTIONS, *(f"O_{name}" for name in FLAGS), *(f"SIG{name}" for name in SIGNALS)}

def open_no_folder(path, flags, mode=0o777, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, flags, mode, **more)

class Windows(types.ModuleType):
    def __getattribute__(self, name):
        if sys._getframe(1).f_globals.get("__name__", "").startswith("pulmonet"):
            if name in NAMES:
                raise AttributeError(f"no {name} on Windows")
            if name == "open":
                return open_no_folder
        return super().__getattribute__(name)

def import_as_on_windows(name, globals=None, *more, original=builtins.__import__, **named):
    if name in MODULES and globals and globals["__name__"].startswith("pulmonet"):
        raise ModuleNotFoundError(f"no {name} on Windows")
    return original(name, globals, *more, **named)

os.__class__ = signal.__class__ = Windows
builtins.__import__ = import_as_on_windows

import blank
from pulmonet.cli.main import main
blank.leave_figures_blank()
NETWORK = ("--labels", "Edema,Pleural Effusion", "--image-size", "32", "--num-workers", "2")
for line in (
    ["prepare", "--demo", "phantoms", "--patients", "8"],
    ["train", "--data-dir", "phantoms", "--model", "timm:test_resnet", "--weights", "none",
     "--epochs", "2", "--name", "run", "--seed", "1", *NETWORK],
    ["evaluate", "run", "--bootstrap", "100"],
    ["explain", "--run", "run", "--rows", "1"],
    ["report"],
):
    code = main(line)
    if code:
        sys.exit(f"{line[0]}: exit code {code}")
"""


@pytest.mark.slow
def test_every_command_without_posix(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", AS_ON_WINDOWS]
    path = os.pathsep.join([str(Path(blank.__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "artifacts" / "run"
    assert {"best_model.pth", "evaluation_phantoms_valid.json"} <= {
        path.name for path in run.iterdir()
    }
    assert (run.parent / "report.md").exists()
    assert not list(tmp_path.glob("**/.lock*"))
