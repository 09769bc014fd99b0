"""The command line's shell: help without heavy imports, versions, exit codes, spelling."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pulmonet
from chexpert_factory import write_dataset
from pulmonet.cli.flags_from_fields import parse_policy, split_commas
from pulmonet.cli.main import main
from pulmonet.errors import ConfigError

HEAVY = ("torch", "torchvision", "pandas", "sklearn", "cv2", "scipy", "matplotlib")


def modules_after(*arguments: str) -> tuple[int, set[str]]:
    """Exit code of a command in a fresh process, and the modules it had loaded."""
    script = (
        "import json, sys\nfrom pulmonet.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["evaluate", "--help"], 0),
        (["explain", "--help"], 0),
        (["--version"], 0),
        (["train", "--model", "densnet121"], 2),
        (["train", "--set", "optim.lrr=1"], 2),
        (["train", "--epochs", "many"], 2),
        (["evaluate", "--bootstrap", "5"], 2),
        (["evaluate", "--interval", "bc"], 2),
    ],
)
def test_help_and_config_errors_load_nothing_heavy(arguments: list[str], code: int) -> None:
    found, modules = modules_after(*arguments)
    assert found == code
    assert not modules & set(HEAVY)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"pulmonet {pulmonet.__version__}"
    command = [sys.executable, "-m", "pulmonet", "--version"]
    module = subprocess.run(command, capture_output=True, text=True, check=True)
    assert module.stdout.strip() == f"pulmonet {pulmonet.__version__}"


def test_garbage_is_collected_again_after_a_page_of_help_and_in_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("pulmonet.flows.report.run", lambda *_, **__: seen.append(gc.isenabled()))
    for words in (["--help"], ["report", "--artifacts-dir", "x"], ["report", "--nothing"]):
        main(words)
        assert gc.isenabled()
    assert seen == [True]


@pytest.mark.parametrize("order", [["--version", "--verbose"], ["--verbose", "--version"]])
def test_verbose_version_names_torch_and_the_device(
    order: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pulmonet", *order])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "\ntorch " in printed
    assert "\ndevice " in printed


@pytest.mark.parametrize("command", ["", "prepare", "train", "evaluate", "explain", "report"])
def test_help_fits_80_columns_and_teaches_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) == 80
    assert "…" not in page  # nothing was cut
    assert "<bool>" not in page  # a flag takes no value
    assert f"Example: pulmonet {command}" in page or not command


def test_evaluate_takes_the_out_dir_of_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--out-dir", str(tmp_path / "elsewhere")]) == 4
    assert str(tmp_path / "elsewhere") in capsys.readouterr().err


def test_unknown_command_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert main(["train", "--modle", "x"]) == 2
    assert "--model" in capsys.readouterr().err


def test_quiet_may_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "tiny")
    arguments = ["prepare", str(data), "--out-dir", str(tmp_path / "out")]
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(arguments) == 0
    assert "Dataset: tiny" in capsys.readouterr().out


def test_verbose_says_what_is_read_from_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "tiny")
    arguments = ["prepare", str(data), "--out-dir", str(tmp_path / "out"), "--image-size", "64"]
    assert main([*arguments, "--verbose"]) == 0
    said = capsys.readouterr().err
    assert f"reading the table {data}" in said
    assert re.search(r'defaults aside: \{"data":\{.*"image_size":64\}\}', said)
    assert "s  images at" in said
    assert f"wrote {tmp_path / 'out' / 'prepare_report.json'}" in said
    assert said.splitlines()[-1].endswith("s  prepare is done")
    assert main(arguments) == 0
    assert " is done" not in capsys.readouterr().err


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "prepare" in capsys.readouterr().out


def test_options_take_commas_and_repeat() -> None:
    assert split_commas(["a, b", "c"]) == ["a", "b", "c"]
    assert split_commas(None) is None
    assert parse_policy(["ones"]) == "ones"
    assert parse_policy(["Edema=ones,zeros"]) == {"Edema": "ones", "default": "zeros"}
    assert parse_policy(["Edema=ones", "A=B = zeros"]) == {"Edema": "ones", "A=B": "zeros"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["ones,zeros"], "ones and zeros for all labels"),
        (["Edema=ones", "Edema=zeros"], "ones and zeros for Edema"),
        ([""], "names no policy; choose from ones, zeros"),
    ],
)
def test_policies_that_contradict_or_say_nothing(values: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_policy(values)


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("predict", "pulmonet explain IMAGE"),
        ("export", "--export onnx"),
        ("help", "pulmonet --help"),
        ("train", "--data-dir"),
        ("report", "--artifacts-dir"),
    ],
)
def test_words_of_other_tools_are_shown_the_way(
    word: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "x.jpg"]) == 2
    assert advice in capsys.readouterr().err


def test_ctrl_c_before_the_work_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pulmonet.flows.train import flow as train

    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stopped)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "arguments", [("evaluate",), ("explain", "--rows", "0"), ("train", "--data-dir", "nowhere")]
)
def test_an_error_that_comes_at_once_stands_alone(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No word before it of how long the work may take."""
    folder = ("--out-dir" if arguments[0] == "train" else "--artifacts-dir", str(tmp_path))
    assert main([*arguments, *folder]) in (2, 3, 4)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_a_bug_ends_with_a_traceback_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pulmonet.flows.train import flow as train

    def broken(*_: object) -> int:
        raise KeyError("unforeseen")

    monkeypatch.setattr(train, "run", broken)
    assert main(["train"]) == 1
    assert "KeyError: 'unforeseen'" in capsys.readouterr().err
