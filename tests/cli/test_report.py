"""`pulmonet report`: exit codes, files, output, and what must never be in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import unquote

import pytest

from pulmonet.cli.main import main
from pulmonet.files.ledger import Ledger
from pulmonet.files.paths import user_data_dir
from pulmonet.files.write import write_json
from pulmonet.flows import console
from report_factory import HOSTILE_LABELS, make_comparison, make_run
from report_reader import parts_of, whole_report

SECRETS = ("patient000", "/srv/secret", "view1_frontal", "study1")


def _report(artifacts_dir: Path, *arguments: str) -> int:
    return main(["report", "--artifacts-dir", str(artifacts_dir), *arguments])


def _links(markdown_path: Path) -> list[Path]:
    """What is linked from all parts; everything that a part links to is there."""
    found = []
    for path in parts_of(markdown_path):
        text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
        links = re.findall(r"(?<!\\)\]\(([^)]*)\)", text)
        found += [(path.parent / unquote(link)).resolve() for link in links]
    for link in found:
        assert link.is_file(), link
    return found


def test_one_run_gives_a_report_whose_pictures_are_all_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, n_explained=2)
    assert _report(tmp_path, "--html") == 0
    output = capsys.readouterr()
    assert output.out == (
        f"report: {tmp_path}/report.md\nmodel card: {tmp_path}/MODEL_CARD.md\n"
        f"page: {tmp_path}/report.html\n"
    )
    assert output.err == ""
    links = _links(tmp_path / "report.md")
    pictures = [link for link in links if link.read_bytes().startswith(b"\x89PNG")]
    assert len(pictures) == 4  # the first page's, curves, two images with heat maps
    rest = {link for link in links if link not in pictures} - {tmp_path / "report.md"}
    assert rest == {*(tmp_path / "report_files").glob("*.md")}, "no file that nothing leads to"


@pytest.mark.parametrize("code", [0, 1])
def test_open_shows_the_page(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the user's browser, here a script; where that fails the page is named."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\nexit {code}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, unread in (("_tryorder", None), ("_browsers", {}), ("_os_preferred_browser", None)):
        monkeypatch.setattr(webbrowser, name, unread)  # it reads the environment once
    make_run(tmp_path / "my runs")
    assert _report(tmp_path / "my runs", "--open") == 0
    page = tmp_path / "my runs" / "report.html"
    assert (tmp_path / "asked").read_text().strip() == page.as_uri()
    told = f"warning: no browser was found: open {page} yourself\n"
    assert capsys.readouterr().err == told * code


def test_a_command_says_how_long_the_last_such_one_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, n_explained=0)

    def said(*arguments: str) -> str:
        assert _report(tmp_path, *arguments) == 0
        return capsys.readouterr().err

    assert said() == said() == "", "short commands say nothing"
    with monkeypatch.context() as patched:
        patched.setattr(console, "LONG", 0.0)
        assert said() == ""
        took = r"the last pulmonet report took \d+(\.\d)? s\n"
        assert re.fullmatch(took, said())
        others = r"the last pulmonet report, with other flags, took \d+(\.\d)? s\n"
        assert re.fullmatch(others, said("--html"))
    (tmp_path / "report.html").unlink()  # whose removal would be said
    kept = user_data_dir() / "durations.json"
    assert str(tmp_path) not in kept.read_text(), "flags and numbers, no paths"
    assert said() == "", "nor do those that were short the last time"
    for text in ("[damaged", '{"report": NaN}', '{"report": 1e999}', '{"report": null}'):
        kept.write_text(text)
        assert said() == ""


def test_a_long_report_says_what_it_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, n_explained=2)
    assert _report(tmp_path) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pulmonet.flows.report.SECONDS_PER_IMAGE", 6.0)
    assert _report(tmp_path) == 0
    assert capsys.readouterr().err == "drawing 2 explained images takes about 12 s\n"


def test_how_long_a_command_took_is_kept_beside_what_ended_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "LONG", 0.0)
    with console.timed("train", {"seed": 1}), console.timed("evaluate", {}):
        pass
    kept = json.loads((user_data_dir() / "durations.json").read_text())
    assert {*kept} == {"train", "train seed=1", "evaluate"}


def test_ten_runs_with_a_comparison(tmp_path: Path) -> None:
    for number in range(10):
        make_run(tmp_path, f"run{number}", seed=number, n_explained=2 if number < 2 else 0)
    path = tmp_path / "run0" / "evaluation_CheXpert-v1.0-small_valid.json"
    document = json.loads(path.read_text())
    document["comparisons"] = [make_comparison("run0", "run1").model_dump(mode="json")]
    write_json(path, document)
    assert _report(tmp_path, "--html") == 0
    text = (tmp_path / "report.md").read_text()
    assert "10 trained models" in text and "not significantly different" in text
    assert _links(tmp_path / "report.md")


def test_hostile_labels_stay_words(tmp_path: Path) -> None:
    make_run(tmp_path, labels=HOSTILE_LABELS, n_explained=1)
    assert _report(tmp_path, "--html") == 0
    for name in ("report.md", "MODEL_CARD.md", "report.html"):
        text = (tmp_path / name).read_text("utf-8")
        assert not re.search(r"(?<!\\)<script>alert", text), name
        assert not re.search(r"(?<!\\)<img src=x", text), name


def test_no_identifier_and_no_absolute_path_is_written(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    assert _report(tmp_path, "--html") == 0
    beside = [path for path in (tmp_path / "report_files").rglob("*") if path.is_file()]
    written = [*tmp_path.glob("report.*"), tmp_path / "MODEL_CARD.md", *beside]
    assert {".md", ".html", ".csv", ".tex", ".png"} == {path.suffix for path in written}
    ledger = Ledger(tmp_path, "")
    for path in written:
        content = path.read_bytes()
        hidden = [*SECRETS, str(tmp_path)]
        assert not [secret for secret in hidden if secret.encode() in content], path
        assert not [secret for secret in SECRETS if secret in path.name]
        assert ledger.owns(path), path


def test_identifiers_are_shown_when_asked_for(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    assert _report(tmp_path, "--show-identifiers") == 0
    text = whole_report(tmp_path)
    assert "patient00" in text and "pseudonyms" not in text.lower().replace("have pseudonyms", "")


def test_pictures_that_name_patients_do_not_stay_for_the_next_report(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    assert _report(tmp_path, "--show-identifiers") == 0
    assert [path for path in (tmp_path / "report_files").iterdir() if "patient000" in path.name]
    assert _report(tmp_path) == 0
    names = {path.name for path in (tmp_path / "report_files").glob("*.*")}
    assert names == {link.name for link in _links(tmp_path / "report.md")} - {"report.md"}
    assert not [name for name in names if "patient000" in name]


def test_reports_of_the_same_artifacts_use_the_same_pseudonyms(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    seen = []
    for _ in range(2):
        assert _report(tmp_path) == 0
        text = whole_report(tmp_path)
        seen.append(re.findall(r"[PI]-[0-9a-f]{6}", text))
    assert seen[0] == seen[1] and len(set(seen[0])) > 5


def test_a_damaged_run_is_named_and_the_rest_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "good")
    (make_run(tmp_path, "bad").config_path).write_text("{")
    assert _report(tmp_path) == 4
    assert "warning: left out bad/run_config.json: not a run config" in capsys.readouterr().err
    text = (tmp_path / "report.md").read_text()
    assert "Left out because it could not be read: bad/run\\_config.json" in text
    assert "good" in text


def test_missing_parts_are_said_to_be_missing(tmp_path: Path) -> None:
    make_run(tmp_path, evaluated=False, logged=False)
    assert _report(tmp_path, "--html") == 0
    text = whole_report(tmp_path)
    assert "Not evaluated: densenet121" in text
    assert "training\\_log.csv is missing or empty" in text
    assert "No heat maps of densenet121; `pulmonet explain` makes them" in text


def test_no_artifacts_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _report(tmp_path / "nowhere") == 4
    assert "no such folder; train one with `pulmonet train`" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/mine.md"])
def test_output_takes_a_folder_or_a_file(tmp_path: Path, target: str) -> None:
    make_run(tmp_path / "artifacts")
    assert _report(tmp_path / "artifacts", "--output", str(tmp_path / target), "--html") == 0
    name = "mine" if target.endswith(".md") else "report"
    assert (tmp_path / "elsewhere" / f"{name}.html").exists()
    assert _links(tmp_path / "elsewhere" / f"{name}.md")
    assert not (tmp_path / "artifacts" / "report.md").exists()


@pytest.mark.parametrize("flags", [(), ("--html",)])
def test_output_of_a_page_is_that_file(tmp_path: Path, flags: tuple[str, ...]) -> None:
    make_run(tmp_path / "artifacts")
    page = tmp_path / "sent" / "r.html"
    assert _report(tmp_path / "artifacts", "--output", str(page), *flags) == 0
    assert page.read_text("utf-8").lstrip().startswith("<!doctype html>")
    assert sorted(path.name for path in page.parent.glob("r.*")) == ["r.html", "r.md"]


def test_author_notes_fill_the_todos(tmp_path: Path) -> None:
    make_run(tmp_path)
    notes = tmp_path / "notes.toml"
    notes.write_text('title = "A <b>bold</b> study"\nethics = "Approved by <script>"\n')
    assert _report(tmp_path, "--html", "--author-notes", str(notes)) == 0
    text = whole_report(tmp_path)
    assert text.startswith("# A \\<b\\>bold\\</b\\> study") and "Approved by \\<script\\>" in text
    assert "<b>bold" not in (tmp_path / "report.html").read_text()
    notes.write_text('titel = "x"')
    assert _report(tmp_path, "--author-notes", str(notes)) == 2


def test_synthetic_runs_are_called_so(tmp_path: Path) -> None:
    make_run(tmp_path, synthetic=True)
    assert _report(tmp_path, "--html") == 0
    for name in ("report.md", "report.html", "MODEL_CARD.md"):
        assert "SYNTHETIC" in (tmp_path / name).read_text()


def test_report_needs_neither_torch_nor_the_data(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    script = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'sklearn'): sys.modules[name] = None\n"
        "from pulmonet.cli.main import main\n"
        f"sys.exit(main(['report', '--html', '--artifacts-dir', {str(tmp_path)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_read_only_artifacts_folder_can_be_reported_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulmonet.report import pseudonyms

    def refuse(path: Path, content: bytes | str) -> None:
        raise pseudonyms.ArtifactError(f"{path}: cannot be written")

    make_run(tmp_path / "artifacts")
    monkeypatch.setattr(pseudonyms, "write_atomic", refuse)
    assert _report(tmp_path / "artifacts", "--output", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "report.md").exists()
    assert not (tmp_path / "artifacts" / pseudonyms.KEY_NAME).exists()


def test_an_old_page_does_not_survive_half_written(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert _report(tmp_path, "--html") == 0
    assert _report(tmp_path, "--html") == 0
    assert not list(tmp_path.glob("**/*.tmp"))
    shutil.rmtree(tmp_path / "report_files")
    assert _report(tmp_path) == 0
    assert _links(tmp_path / "report.md")
