"""Files of `report`: no number is lost, LaTeX compiles, the first page is short."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation_factory import evaluate, write_predictions
from pulmonet.cli.main import main
from report_factory import make_comparison, make_run
from report_reader import parts_of

MODELS = ("m1", "m2", "m3", "m4")
#: What a report shows as a picture, or not at all, and how a number was made.
NOT_IN_TABLES = {
    *("roc", "precision_recall", "curve", "histogram", "decision_curve", "score_range"),
    *("bins", "bins_by_n", "confusion", "f1", "worst_cases", "schema"),
    *("ece_equal_mass", "ece_equal_mass_if_perfect"),
    *("brier", "negatives", "n_redrawn", "confidence", "n_features", "summary"),
    *("n_resamples", "shift", "edges", "n_rows", "seed", "p", "rows"),
}
#: Of a gap the interval that holds with all others is shown, not the one of this gap alone.
NOT_SHOWN = re.compile(r"subgroups.*\.(sensitivity|specificity)\.|_gap\.(low|high)$")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and four files of scores that `evaluate` has compared; with their report."""
    folder = tmp_path_factory.mktemp("numbers")
    make_run(folder, "trained")
    files = []
    for seed, name in enumerate(MODELS):
        path = write_predictions(folder / f"{name}.csv", strength=0.2 + seed / 10, seed=seed)
        files += ["--predictions", f"{name}={path}"]
    assert evaluate(folder, *files, "--margin", "0.3", "--prevalence", "0.05") == 0
    assert main(["report", "--artifacts-dir", str(folder)]) == 0
    return folder


def numbers_in(document: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of an evaluation but those in `NOT_IN_TABLES`."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key not in NOT_IN_TABLES:
                yield from numbers_in(value, f"{where}.{key}")
    elif isinstance(document, list):
        for at, value in enumerate(document):
            yield from numbers_in(value, f"{where}[{at}]")
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield where, float(document)


def test_every_number_of_the_evaluations_is_in_a_table(artifacts: Path) -> None:
    shown = []
    beside = [artifacts / "final_evaluation_results.csv"]  # the baseline's labels, six digits
    for path in [*beside, *(artifacts / "report_files" / "tables").glob("*.csv")]:
        for row in csv.reader(path.read_text("utf-8").splitlines()):
            for cell in row:
                shown += [float(one) for one in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", cell)]
    known, found = np.unique(shown), []
    for name in MODELS:
        (path,) = (artifacts / name).glob("evaluation_*.json")
        found += list(numbers_in(json.loads(path.read_text())))
    assert len(found) > 500
    lost = [
        (where, value)
        for where, value in found
        if not NOT_SHOWN.search(where)
        and not np.isclose(np.abs(known), abs(value), rtol=1e-8, atol=6e-7).any()
    ]
    assert not lost, sorted({re.sub(r"\[\d+\]", "", where) for where, _ in lost})


def test_a_label_has_its_own_interval(artifacts: Path) -> None:
    (path,) = (artifacts / "m2").glob("evaluation_*.json")
    labels = json.loads(path.read_text())["runs"][0]["labels"]
    tables = artifacts / "report_files" / "tables"
    (table,) = (one for one in tables.glob("*AUROC_per_label.csv") if "m2" in one.read_text())
    rows = {row["Label"]: row for row in csv.DictReader(table.read_text("utf-8").splitlines())}
    for label, item in labels.items():
        found = [float(rows[label][f"m2{end}"]) for end in ("", ", low", ", high")]
        np.testing.assert_allclose(found, [item["auroc"][key] for key in ("value", "low", "high")])


def test_four_runs_on_two_datasets_have_a_short_report(tmp_path: Path) -> None:
    labels = [f"Finding {number}" for number in range(14)]
    for number in range(4):
        run_dir = make_run(tmp_path, f"run{number}", seed=number, labels=labels)
        (path,) = run_dir.path.glob("evaluation_*.json")
        document = json.loads(path.read_text())
        others = [make_comparison(f"run{number}", f"run{n}") for n in range(4) if n != number]
        document["comparisons"] = [one.model_dump(mode="json") for one in others]
        path.write_text(json.dumps(document))
        for result in document["runs"]:
            result |= {"dataset": "elsewhere", "dataset_fingerprint": "e" * 64}
        run_dir.evaluation_path("elsewhere", "valid").write_text(json.dumps(document))
    assert main(["report", "--artifacts-dir", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text("utf-8")
    assert len(text.splitlines()) <= 350
    first = text.split("\n## Data")[0]
    assert first.count("\n| :--") == 1, "one table on the first page"
    assert first.count("![") == 1, "and one figure"
    for lead in ("What it is", "Training data", "How good it is", "What to keep in mind"):
        assert f"**{lead}.**" in first
    assert "\n| run0 |" in text.split("Differences in macro AUROC")[1], "a matrix of runs"
    assert len(parts_of(tmp_path / "report.md")) > 10


def test_open_items_name_the_note_that_fills_them(tmp_path: Path) -> None:
    make_run(tmp_path, evaluated=False)
    notes = tmp_path / "notes.toml"
    for _ in range(2):  # bare, then with every note that was asked for
        given = ["--author-notes", str(notes)] if notes.exists() else []
        assert main(["report", "--artifacts-dir", str(tmp_path), *given]) == 0
        asked = set()
        for name in ("tripod-ai", "claim"):
            text = (tmp_path / "report_files" / f"{name}.md").read_text("utf-8").replace("\\", "")
            rows = [line for line in text.splitlines() if "**TODO**" in line]
            named = [re.findall(r"author note (\w+):", line) for line in rows]
            assert all(named), rows
            asked |= {note for some in named for note in some}
        if not given:
            assert len(asked) > 30 and {"ethics", "performance"} <= asked
            notes.write_text("".join(f'{note} = "said"\n' for note in sorted(asked)))
    assert not asked, "every open item was closed"
    assert "author notes would fill" not in (tmp_path / "report.md").read_text("utf-8")


def test_a_page_with_identifiers_does_not_stay_for_the_next_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path)
    command, page = ["report", "--artifacts-dir", str(tmp_path)], tmp_path / "report.html"
    assert main([*command, "--html", "--show-identifiers"]) == 0
    assert "patient000" in page.read_text("utf-8")
    assert main(command) == 0
    assert not page.exists()
    assert "the page of an earlier report is removed" in capsys.readouterr().err
    page.write_text("mine")
    assert main(command) == 0
    assert page.read_text() == "mine"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_tables_compile_in_latex(artifacts: Path, tmp_path: Path) -> None:
    """Two pages as in a paper, with a figure as PDF; then every table of the report."""
    tables = artifacts / "report_files" / "tables"
    every = sorted(tables.glob("*.tex"))
    chosen = [one for one in every if "AUROC_per_label" in one.name or "differences" in one.name]
    (figure,) = _pdf_figures(artifacts, tmp_path)
    graphic = f"\\includegraphics[width=\\linewidth]{{{figure}}}"
    for name, body in (
        ("paper", [*map(_input, chosen), "\\clearpage\\noindent", graphic]),
        ("all", [line for one in every for line in (_input(one), "\\clearpage")]),
    ):
        packages = "\\usepackage{booktabs,graphicx,longtable}\\usepackage[margin=2cm]{geometry}"
        lines = ["\\documentclass{article}", packages, "\\begin{document}", *body]
        (tmp_path / f"{name}.tex").write_text("\n".join([*lines, "\\end{document}"]))
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        said = done.stdout.decode(errors="replace")
        assert "Overfull \\hbox" not in said and "Float too large" not in said
        assert "(2 pages" in said or name == "all"


def _input(path: Path) -> str:
    return f"\\input{{{path}}}"


def _pdf_figures(artifacts: Path, tmp_path: Path) -> list[Path]:
    """The comparison of the models, as `evaluate --figures pdf` draws it."""
    files = [("--predictions", f"{name}={artifacts / f'{name}.csv'}") for name in MODELS]
    out = tmp_path / "figures"
    words = [word for pair in files for word in pair]
    command = ["evaluate", "--artifacts-dir", str(out), "--bootstrap", "100", "--figures", "pdf"]
    assert main([*command, *words]) == 0
    return list(out.glob("model_comparison.pdf"))
