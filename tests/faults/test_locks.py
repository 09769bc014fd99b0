"""Locks between real processes: run folders, what several commands write, and without any."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import forked
from chexpert_factory import write_dataset
from pulmonet.run.folder import RunDir
from run_factory import make_named_runs

TRY = (
    "import sys; from pathlib import Path; from pulmonet.run.folder import RunDir\n"
    "with RunDir(Path(sys.argv[1])).lock(): print('got it')"
)


def try_to_lock(folder: Path) -> subprocess.CompletedProcess[str]:
    return forked.run(str(folder), code=TRY)


def test_who_comes_too_late_does_not_take_the_lock_file_away(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    with run_dir.lock():
        for _ in range(2):  # the second would succeed if the first had removed the file
            late = try_to_lock(run_dir.path)
            assert late.returncode == 1
            assert "in use by another process" in late.stderr
            assert (run_dir.path / ".lock").exists()
    assert not run_dir.path.exists()
    assert try_to_lock(run_dir.path).stdout == "got it\n"


#: A file system without locks, as Lustre without flock and NFS without its daemon are.
WITHOUT_LOCKS = """
import fcntl, sys

def refuse(*_):
    raise OSError(int(sys.argv[1]), "no locks")

fcntl.flock = fcntl.lockf = refuse
from pulmonet.cli.main import main
for command in sys.argv[2:]:
    code = main(command.split())
    if code:
        sys.exit(code)
"""


@pytest.mark.slow
def test_a_file_system_without_locks_costs_a_warning(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny")
    network = "--model timm:test_resnet --weights none --epochs 1 --image-size 32 --no-amp"
    lines = [
        f"train --data-dir {data} {network} --name run",
        "evaluate run --bootstrap 100 --no-figures",
        "report",
    ]
    done = forked.run(str(errno.ENOLCK), *lines, folder=tmp_path, code=WITHOUT_LOCKS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("its file system has no locks") == 1
    assert "warning: " in done.stderr
    assert not list(tmp_path.glob("artifacts/**/.*lock*"))


QUICK = ("--bootstrap", "100", "--no-figures")


@pytest.mark.slow
def test_two_evaluations_at_once_keep_both_rows(tmp_path: Path) -> None:
    """Of real processes: each read the table before the other wrote it, and one row was lost."""
    data = write_dataset(tmp_path / "tiny")
    make_named_runs(tmp_path / "artifacts", data, ["a", "b"])
    table = tmp_path / "artifacts" / "final_evaluation_results.csv"
    for _ in range(3):
        table.unlink(missing_ok=True)
        processes = [forked.start("evaluate", name, *QUICK, folder=tmp_path) for name in "ab"]
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0, 0]
        assert {"a", "b"} <= set(pd.read_csv(table)["Model"])
    assert not list(tmp_path.glob("artifacts/**/.*lock*"))
