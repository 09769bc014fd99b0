"""The page: complete in itself, nothing in it is markup that should be words."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pulmonet.report.collect import Context, collect
from pulmonet.report.pseudonyms import load_identities
from pulmonet.report.render.blocks import Chart, Series
from pulmonet.report.render.charts import draw_chart, ticks
from pulmonet.report.render.html import render_html
from pulmonet.report.sections import build_document
from report_factory import HOSTILE_LABELS, make_run

VOID = {"meta", "link", "img", "input", "br"}


class _Reader(html.parser.HTMLParser):
    """Tags, ids, links and inline handlers of a page; unbalanced tags are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.ids: list[str] = []
        self.urls: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href"}:
                self.urls.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def _page(artifacts_dir: Path) -> str:
    context = Context(collect(artifacts_dir), load_identities(artifacts_dir), written="now")
    return render_html(build_document(context))


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader


def _data(page: str, kind: str) -> Any:
    """What a part of the page, such as its slider, reads as JSON."""
    found = re.search(rf'<script type="application/json" class="{kind}">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found.group(1))


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=2)
    reader = _read(_page(tmp_path))
    assert not reader.unbalanced and not reader.open and not reader.handlers
    assert len(reader.ids) == len(set(reader.ids))
    for url in reader.urls:
        assert url.startswith(("data:", "#")), url
        assert not url.startswith("#") or url[1:] in reader.ids


def test_the_policy_names_exactly_the_inline_blocks(tmp_path: Path) -> None:
    make_run(tmp_path)
    page = _page(tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src &#39;none&#39;" in policy.group(1)
    for pattern in (r"<style>(.*?)</style>", r"<script>(.*?)</script>"):
        found = re.search(pattern, page, re.S)
        assert found
        digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
        assert digest.replace("+", "&#43;") in policy.group(1) or digest in policy.group(1)


def test_hostile_labels_add_no_tags(tmp_path: Path) -> None:
    make_run(tmp_path / "tame", labels=list("abcde"), n_explained=1)
    make_run(tmp_path / "hostile", labels=HOSTILE_LABELS, n_explained=1)
    page = _page(tmp_path / "hostile")
    tame, hostile = _read(_page(tmp_path / "tame")), _read(page)
    # a label in backticks is set as code in prose; nothing else may differ
    assert [tag for tag in hostile.tags if tag != "code"] == [
        tag for tag in tame.tags if tag != "code"
    ]
    assert {item["label"] for item in _data(page, "steps")} == set(HOSTILE_LABELS)
    (exhibit,) = _data(page, "exhibits")["exhibits"]
    assert [heat["label"] for heat in exhibit["maps"]] == list(HOSTILE_LABELS)


def test_three_runs_stay_below_five_megabytes(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path, f"run{seed}", seed=seed, n_rows=234, n_explained=1)
    assert len(_page(tmp_path).encode()) < 5_000_000


def test_rows_and_identifiers_stay_out_of_the_page(tmp_path: Path) -> None:
    make_run(tmp_path, n_explained=1)
    page = _page(tmp_path)
    for secret in ("patient000", "/srv/secret", "view1_frontal", "study1"):
        assert secret not in page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.71, 0.93, ["0.75", "0.80", "0.85", "0.90"]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[str]) -> None:
    assert [text for _, text in ticks(low, high)] == expected


def test_epochs_have_whole_ticks() -> None:
    assert [text for _, text in ticks(1, 5, whole=True)] == ["1", "2", "3", "4", "5"]


def test_long_numbers_at_the_axis_have_room() -> None:
    def room(*losses: float) -> float:
        series = Series("loss", tuple(range(len(losses))), losses)
        return float(draw_chart(Chart("k", "Loss", "epoch", "loss", (series,)))["left"])

    assert room(0.2, 0.8) == 46.0
    assert room(0.6896, 0.6919) == 10.0 + 8.0 * len("0.6900")
