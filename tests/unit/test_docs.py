"""The documentation: generated pages are current, commands can be typed, links lead somewhere."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import documented as told
import pulmonet
from pulmonet.cli.main import main
from pulmonet.report.checklist.items import NOTES
from report_factory import make_run

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
#: Words that stand for something the reader fills in, or shell that is more than one command.
PLACEHOLDER = re.compile(r"[<>…|;&$]|\.\.\.|\b(COMMAND|FILE|RUN|NAME|LABEL)\b")


@functools.cache
def _generate() -> Any:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_generated_pages_are_current() -> None:
    stale = [
        path.name
        for path, content in _generate().pages()
        if not path.exists() or path.read_text("utf-8") != content
    ]
    assert not stale, "run python docs/generate.py"


def test_no_page_needs_the_network_for_its_pictures() -> None:
    """No diagram is drawn by a script from elsewhere, and no picture lies elsewhere."""
    for page in PAGES:
        text = page.read_text("utf-8")
        assert not [language for language, _ in FENCE.findall(text) if language == "mermaid"], page
        assert not re.findall(r"!\[[^]]*\]\(https?:", text), page
    assert "mermaid" not in (ROOT / "mkdocs.yml").read_text("utf-8")


def _commands() -> list[tuple[str, str]]:
    """Every `pulmonet …` that a reader may copy, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        lines: list[str] = []
        for language, block in FENCE.findall(text):
            if language in {"", "sh", "console", "bash"}:
                lines += block.replace("\\\n", "").splitlines()
        lines += re.findall(r"`(pulmonet [^`\n]+)`", FENCE.sub("", text))
        for line in lines:
            typed = re.sub(r"\s#.*", "", line).strip().removeprefix("$ ")
            if typed.startswith("pulmonet ") and not PLACEHOLDER.search(typed):
                found.append((page.relative_to(ROOT).as_posix(), typed))
    return sorted(set(found))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that take their arguments and do nothing."""
    from pulmonet.flows import report, verify
    from pulmonet.flows.evaluate import flow as evaluate
    from pulmonet.flows.evaluate import plan
    from pulmonet.flows.explain import flow as explain
    from pulmonet.flows.prepare import flow as prepare
    from pulmonet.flows.train import flow as train

    for module in (evaluate, explain, plan, prepare, report, train, verify):
        monkeypatch.setattr(module, "run", lambda *_, **__: 0)


@pytest.mark.parametrize(("page", "typed"), _commands())
def test_commands_in_the_docs_can_be_typed(
    page: str,
    typed: str,
    parsed: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = shlex.split(typed)[1:]
    if arguments == ["--install-completion"]:  # writes into the start-up file of the shell
        arguments = ["--show-completion"]
        # under CI no ancestor of this process need be a shell
        monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert main(arguments) == 0, (page, typed, capsys.readouterr().err)


def test_the_originals_table_can_be_typed(
    parsed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell loop itself, run by sh with an `echo` for the command; then its lines parsed."""
    text = (DOCS / "chexpert.md").read_text("utf-8")
    (loop,) = [block for _, block in FENCE.findall(text) if block.startswith("for share in")]
    stand_in = tmp_path / "pulmonet"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", loop],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    typed = done.stdout.splitlines()
    assert len(typed) == 3 * 2 + 1
    assert sum("--subset 0.1" in line for line in typed) == 3
    assert typed[-1].startswith("evaluate")
    for line in typed:
        assert main(line.split()) == 0, (line, capsys.readouterr().err)


def _flags(text: str) -> set[str]:
    """``--batch-size`` of ``--batch_size=8``."""
    return {flag.replace("_", "-") for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}


#: Flags of other programs that sentences mention.
FOREIGN_FLAGS = {"--follow", "--max-restarts", "--nnodes", "--storage", "--strict"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_sentences_exist(page: Path) -> None:
    group = _generate().command_tree()
    own = {"--help"} | {
        option
        for command in (group, *group.commands.values())
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    text = FENCE.sub("", page.read_text("utf-8"))
    spans = [span for span in re.findall(r"`([^`]+)`", text) if not _script(span)]
    assert set().union(*map(_flags, spans)) <= own | FOREIGN_FLAGS


def _script(line: str) -> Path | None:
    """The script of this repository that a line starts."""
    words = line.removeprefix("python ").split()
    candidates = (folder / words[0] for folder in (ROOT, ROOT / "benchmarks") if words)
    return next((path for path in candidates if path.is_file()), None)


SCRIPT_LINES = sorted(
    {
        (step.page, step.text)
        for page in told.PAGES
        for step in told.documented(page)
        if re.match(r"python |benchmarks/|scripts/|examples/", step.text)
    }
)


@pytest.mark.parametrize(("page", "line"), SCRIPT_LINES)
def test_scripts_in_the_docs_exist_and_know_their_flags(page: str, line: str) -> None:
    path = _script(line)
    assert path is not None, (page, line)
    own = line.partition(" -- ")[0]  # what comes behind goes to `pulmonet train`
    assert _flags(own) - {"--help"} <= _flags(path.read_text("utf-8")), (page, line)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_and_pictures_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), (page.name, link)
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.M)
            assert anchor in {_anchor(heading) for heading in headings}, (page.name, link)


def test_every_page_is_in_the_sites_contents() -> None:
    listed = set(re.findall(r"- ([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text("utf-8")))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert listed == pages, "mend nav in mkdocs.yml"


def test_schemas_describe_what_is_written(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    for schema, path in (
        ("run_config", run_dir.config_path),
        ("evaluation", run_dir.evaluation_path("CheXpert-v1.0-small", "valid")),
    ):
        document = json.loads((DOCS / "schemas" / f"{schema}.json").read_text("utf-8"))
        jsonschema.Draft202012Validator.check_schema(document)
        jsonschema.validate(json.loads(path.read_text("utf-8")), document)
        with pytest.raises(jsonschema.ValidationError, match="required property"):
            jsonschema.validate({}, document)


def test_the_citation_names_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {pulmonet.__version__}\n" in text


def test_all_author_notes_are_described() -> None:
    text = (DOCS / "reports.md").read_text("utf-8")
    for key, asked in NOTES.items():
        assert f"| `{key}` | {asked} |" in text


def test_the_workflow_runs_what_people_run() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    steps = workflow["jobs"]["check-and-test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("scripts/check\nscripts/test")


def test_the_readme_is_short_and_installs_before_it_develops() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) < 7_000
    assert text.index("pipx install") < text.index("scripts/demo") < text.index("scripts/test")
    assert "Research use only" in text


WRITTEN = [
    page
    for page in PAGES
    if page.name not in {"CHANGELOG.md", "commands.md", "configuration.md"}  # two are generated
]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    """At most 30 words; tables, code and what stands in brackets behind a link aside."""
    text = FENCE.sub("", page.read_text("utf-8"))
    text = re.sub(r"(?m)^(\||    ).*$", "", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*>#]|\d+\.) )", text)
    prose = [re.sub(r"`[^`]*`|\]\([^)]*\)", " ", " ".join(block.split())) for block in blocks]
    sentences = [one for block in prose for one in re.split(r"(?<=[.!?])[*)]*\s+", block)]
    long = [one for one in sentences if len(re.findall(r"[A-Za-z][\w'’-]*", one)) > 30]
    assert not long


def test_the_files_that_the_architecture_names_exist() -> None:
    """Those of ``src/pulmonet``; the table of what was tried has the names of its day."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    text = re.sub(r"(?s)## Tried.*?(?=\n## )", "", text)
    source = ROOT / "src" / "pulmonet"
    named = re.findall(r"`(?:src/pulmonet/)?([a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", text)
    elsewhere = ("src/", "tests/", "docs/", "benchmarks/")
    own = [name for name in named if not name.startswith(elsewhere)]
    folders = [source, *(path for path in source.rglob("*/") if path.is_dir())]
    assert len(own) > 40
    assert not [name for name in own if not any((folder / name).exists() for folder in folders)]


def test_functions_that_the_architecture_names_exist() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    rows = re.findall(r"`([a-z_/]+\.py)`: `(\w+)`(?:, `(\w+)`)?", text)
    assert len(rows) >= 10
    for path, *names in rows:
        code = (ROOT / "src" / "pulmonet" / path).read_text("utf-8")
        for name in filter(None, names):
            assert re.search(rf"^(def|class) {name}\b", code, re.M), (path, name)
