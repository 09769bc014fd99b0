"""Checklists: complete, and honest about what nobody has filled in."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pulmonet.errors import ConfigError
from pulmonet.report.author_notes import NOTES, read_author_notes
from pulmonet.report.checklist import CLAIM_2024, TRIPOD_AI, Item, answer
from pulmonet.report.collect import collect
from pulmonet.report.context import Context
from pulmonet.report.facts import Facts, find_facts
from pulmonet.report.pseudonyms import Identities
from report_factory import make_run


def test_all_items_are_there_once() -> None:
    tripod = [item.number for item in TRIPOD_AI]
    assert len(tripod) == len(set(tripod))
    assert {int(number.rstrip("abcdefg")) for number in tripod} == set(range(1, 28))
    assert [item.number for item in CLAIM_2024] == [str(number) for number in range(1, 45)]


@pytest.mark.parametrize("item", [*TRIPOD_AI, *CLAIM_2024], ids=lambda item: item.number)
def test_every_item_can_be_answered(item: Item) -> None:
    assert item.fact or item.notes
    assert not item.fact or item.fact in {field.name for field in fields(Facts)}
    assert set(item.notes) <= set(NOTES)


def test_what_only_authors_know_is_a_todo_until_they_say_it(tmp_path: Path) -> None:
    make_run(tmp_path)
    collection = collect(tmp_path)
    facts = find_facts(collection)
    ethics = next(item for item in TRIPOD_AI if item.notes == ("ethics",))
    silent = Context(collection, Identities(b"k" * 32))
    assert answer(ethics, facts, silent)[1].kind == "todo"
    told = Context(collection, Identities(b"k" * 32), {"ethics": "Approved, no. 7."})
    found = answer(ethics, facts, told)[1]
    assert (found.text, found.kind) == ("Approved, no. 7.", "")


def test_nothing_is_claimed_of_a_run_without_results(tmp_path: Path) -> None:
    make_run(tmp_path, evaluated=False)
    facts = find_facts(collect(tmp_path))
    assert facts.objectives == "Development, not yet evaluated"
    for name in ("performance", "accuracy", "measures", "subgroups", "failures", "internal"):
        assert getattr(facts, name) == ""


def test_notes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.toml"
    path.write_text('funding = "None."\nethics = """\nApproved.\n"""\ncontact = ""\n')
    assert read_author_notes(path) == {"funding": "None.", "ethics": "Approved."}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('fundng = "x"', "unknown key 'fundng'; did you mean 'funding'"),
        ("funding = 3", "funding = 3: not text; put it in quotes"),
        ("funding", "not valid TOML"),
    ],
)
def test_wrong_notes_end_in_one_message(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "notes.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_author_notes(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_author_notes(tmp_path / "absent.toml")
