"""Terminals that are narrow or lack letters: numbers stay whole, and nothing ends for it."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

import forked
from chexpert_factory import write_dataset
from evaluation_factory import write_predictions
from pulmonet.cli.main import main
from pulmonet.flows import console
from pulmonet.labels import DEFAULT_LABELS
from run_factory import make_run

#: A number is whole where it stands between blanks: 0.812, 1,204, (0.774–0.846).
NUMBER = re.compile(r"(?<!\S)\(?[-+−]?\d[\d.,]*(?:–[-+−]?\d[\d.,]*)?\)?(?!\S)")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with boxes, two runs, and a file of scores."""
    work = tmp_path_factory.mktemp("work")
    root = write_dataset(work / "tiny", n_train=8, n_valid=12)
    lines = ["Path,label,xmin,ymin,xmax,ymax"]
    for row in csv.DictReader((root / "valid.csv").read_text().splitlines()):
        lines += [f"{row['Path']},{label},0.1,0.2,0.5,0.6" for label in DEFAULT_LABELS]
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    for seed, name in enumerate(("first", "another_run_of_a_longer_name")):
        where = {"model": "timm:test_resnet", "image_size": 32, "data_dir": root}
        make_run(work / "artifacts", name=name, seed=seed, **where)
    write_predictions(work / "scores.csv")
    return work


COMMANDS = {
    "prepare": ("prepare", "{work}/tiny", "--check-only", "--out-dir", "{tmp}"),
    "evaluate": ("evaluate", "--artifacts-dir", "{work}/artifacts", "--bootstrap", "100"),
    "scores": ("evaluate", "--artifacts-dir", "{tmp}", "--predictions", "{work}/scores.csv"),
    "explain": (
        *("explain", "--split", "valid", "--rows", "3", "--label", "Edema"),
        *("--artifacts-dir", "{work}/artifacts"),
    ),
    "one": ("explain", "--artifacts-dir", "{work}/artifacts", "--run", "first"),
    "boxes": (
        *("explain", "--artifacts-dir", "{work}/artifacts", "--run", "first"),
        *("--boxes", "boxes.csv", "--bootstrap", "100", "--label", "Edema"),
    ),
    "sanity": (
        *("explain", "--sanity", "--rows", "1", "--label", "Edema"),
        *("--artifacts-dir", "{work}/artifacts", "--run", "first"),
    ),
}


def arguments_of(name: str, work: Path, tmp_path: Path) -> list[str]:
    found = [part.format(work=work, tmp=tmp_path / "out") for part in COMMANDS[name]]
    return [*found, "--no-figures"] if found[0] == "evaluate" else found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_number_is_whole_or_not_there(
    name: str,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, heads, show, tables = Counter[str](), list[list[str]](), console._print, list[Table]()

    def noting(content: Any, **how: Any) -> None:
        tables.extend([content] if isinstance(content, Table) else [])
        show(content, **how)

    monkeypatch.setattr(console, "_print", noting)
    for columns in (200, 77, 60, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        tables.clear()
        assert main(arguments_of(name, work, tmp_path)) == 0
        shown = capsys.readouterr()
        numbers = Counter(NUMBER.findall(shown.out))
        whole = whole or numbers
        assert len(whole) > 3 and set(numbers) <= set(whole), columns
        kept = [[" ".join(str(one.header).split()) for one in table.columns] for table in tables]
        heads = heads or kept
        for table, wide, narrow in zip(tables, heads, kept, strict=True):
            # all numbers of a column are there, or its name is
            left_out = ", ".join(wide[len(narrow) :])
            assert wide[: len(narrow)] == narrow
            assert f"left out, as the terminal is narrow: {left_out}\n" in shown.err or not left_out
            cells = [Text.from_markup(str(c)).plain for one in table.columns for c in one.cells]
            in_cells = Counter(NUMBER.findall("\n".join(cells)))
            assert all(numbers[text] >= n for text, n in in_cells.items()), columns


def test_columns_that_do_not_fit_are_left_out_and_named(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    assert main(arguments_of("scores", work, tmp_path)) == 0
    shown = capsys.readouterr()
    assert re.search(r"\nPleural Effusion +\d+ +0\.\d{3} \(0\.\d{3}–0\.\d{3}\)", shown.out)
    assert "left out, as the terminal is narrow: Avg. prec. (95 %), Slope\n" in shown.err


#: The streams are what counts.
ALL_IN_ONE_PROCESS = """
import json, sys
from pathlib import Path
from pulmonet.cli.main import main
Path("codes").write_text(str([main(line) for line in json.loads(sys.argv[1])]))
"""
STREAMS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_a_terminal_that_lacks_letters_ends_nothing(stream: str, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "Röntgen–Bilder", n_train=8, n_valid=6, side=24)
    small = ("--model", "timm:test_resnet", "--weights", "none", "--epochs", "1")
    small += ("--image-size", "32", "--batch-size", "4", "--name", "run")
    small += ("--labels", "Edema")
    where = ("--data-dir", str(root))
    lines = (
        ("prepare", str(root)),
        ("train", *where, *small),
        ("evaluate", "run", *where, "--bootstrap", "100"),
        ("evaluate", "run", "--bootstrap", "100", "--json"),
        ("explain", *where, "--split", "valid", "--rows", "1"),
        ("report", "--html"),
        ("train", *where, *small),  # an error
        ("explain", "--help"),
    )
    folders = {"HOME": str(tmp_path), "PULMONET_CACHE_DIR": str(tmp_path / "cache")}
    variables = folders | STREAMS[stream]
    if stream == "C":  # what Python looks at when it starts
        place = str(Path(forked.__file__).parent)
        blank = (
            f"import sys; sys.path.append({place!r})\nimport blank; blank.leave_figures_blank()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", blank + ALL_IN_ONE_PROCESS, json.dumps(lines)],
            cwd=tmp_path,
            env=os.environ | variables,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    else:
        words = json.dumps(lines)
        done = forked.run(words, folder=tmp_path, environment=variables, code=ALL_IN_ONE_PROCESS)
    assert "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "codes").read_text() == "[0, 0, 0, 0, 0, 0, 4, 0]"
    assert stream != "ascii" or done.stdout.isascii()
    printed = done.stdout
    found = json.JSONDecoder().raw_decode(printed[printed.index("\n{\n") :].lstrip())[0]
    assert found["runs"][0]["dataset"].startswith("R")
    assert "Röntgen–Bilder" in (tmp_path / "artifacts" / "report.md").read_text("utf-8")
