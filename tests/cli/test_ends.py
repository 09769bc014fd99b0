"""Ends that nobody asked for, and paths with a tilde: a closed terminal, no such user."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import SchemaValidator

import forked
from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.errors import DataError
from pulmonet.run.folder import RunDir

NETWORK = (
    *("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--no-amp"),
    *("--batch-size", "8"),
)

#: A process that leads a session takes the terminal that it opens first.
IN_A_TERMINAL = """
import os, sys
os.setsid()
terminal = os.open(os.environ["TERMINAL"], os.O_RDWR)
for number in range(3):
    os.dup2(terminal, number)
sys.stdin, sys.stdout, sys.stderr = (open(n, "rww"[n], closefd=False) for n in range(3))
"""
#: As `nohup` starts a command.
NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "tiny")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_a_closed_terminal_saves_the_run(data: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    command = ["train", "--data-dir", str(data), *NETWORK]
    command += ["--epochs", "4000", "--out-dir", str(tmp_path), "--name", "run"]
    terminal, theirs = pty.openpty()
    where = {"TERMINAL": os.ttyname(theirs)}
    process = forked.start(*command, environment=where, code=IN_A_TERMINAL + forked.PULMONET)
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 120
    while not run.log_path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 100_000)
    os.close(theirs)
    os.close(terminal)
    process.join(120)
    assert process.exitcode == 129
    assert run.read_record().provenance.status == "interrupted"
    assert run.last_checkpoint_path.exists()


@pytest.mark.slow
def test_nohup_stays_nohup(data: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    command = ["train", "--data-dir", str(data), *NETWORK]
    command += ["--epochs", "10", "--out-dir", str(tmp_path), "--name", "run"]
    process = forked.start(*command, code=NOHUP + forked.PULMONET)
    wait_for(run.log_path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGHUP)
    process.join(300)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "command",
    [
        "train --data-dir=~nosuchuser/x",
        "train --data-dir={data} --weights=~nosuchuser/x.pth",
        "train --data-dir={data} --out-dir=~nosuchuser/x",
        "train --data-dir={data} --join=~nosuchuser/x.csv",
        "train --data-dir={data} --splits=~nosuchuser/x.csv",
        "train --config=~nosuchuser/x.toml",
        "prepare ~nosuchuser/x",
        "prepare {data} --out-dir=~nosuchuser/x",
        "prepare {data} --export-split=~nosuchuser/x.json",
        "prepare --demo ~nosuchuser/x",
        "evaluate ~nosuchuser/x",
        "evaluate --artifacts-dir=~nosuchuser/x",
        "evaluate --predictions=~nosuchuser/x.csv",
        "evaluate --predictions=a=~nosuchuser/x.csv",
        "explain --boxes=~nosuchuser/x.csv",
        "explain --out-dir=~nosuchuser/x",
        "report --artifacts-dir=~nosuchuser/x",
        "report --output=~nosuchuser/x",
        "report --author-notes=~nosuchuser/x",
    ],
)
def test_nobodys_home_folder_is_a_wrong_flag(
    data: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(data=data).split()) == 2
    assert "no home folder ~nosuchuser on this machine" in capsys.readouterr().err


def test_a_tilde_behind_an_equals_sign_is_the_home_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    arguments = ["--data-dir", str(data), *NETWORK, "--epochs", "1", "--name", "run"]
    assert main(["train", *arguments, "--out-dir=~/artifacts"]) == 0
    evaluate = ["evaluate", "--bootstrap", "100", "--no-figures"]
    assert main([*evaluate, "--artifacts-dir=~/artifacts"]) == 0
    assert (tmp_path / "home" / "artifacts" / "final_evaluation_results.csv").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize("where", ["pydantic", "an extension", "a decoder"])
def test_a_signal_whose_exception_becomes_another_is_no_bug(
    where: str,
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """pydantic's Rust makes words of it, matplotlib's C++ "Invalid bounding box"."""

    class Stops:
        def __repr__(self) -> str:
            os.kill(os.getpid(), number)
            time.sleep(5)
            return "no signal arrived"

    def build(**_: Any) -> None:
        if where == "pydantic":
            SchemaValidator({"type": "literal", "expected": [Stops()]})
        try:
            repr(Stops())
        except BaseException:
            kind = ValueError if where == "an extension" else DataError
            raise kind("Invalid bounding box") from None

    monkeypatch.setattr("pulmonet.cli.main.app", build)
    assert main([]) == code
    assert capsys.readouterr().err == {130: "interrupted\n", 143: "terminated\n"}[code]
