"""Checklists: complete, and honest about what nobody has filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.errors import ConfigError
from pulmonet.report.checklist.items import (
    CLAIM_2024,
    NOTES,
    TRIPOD_AI,
    Item,
    answer,
    find_facts,
    read_author_notes,
)
from pulmonet.report.collect import Context, collect
from pulmonet.report.pseudonyms import Identities
from report_factory import make_run

#: The items of TRIPOD+AI that have parts, as published (version of 11 January 2024).
TRIPOD_PARTS = {
    3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc",
    23: "ab", 27: "abc",
}  # fmt: skip


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one finished run can answer."""
    folder = tmp_path_factory.mktemp("artifacts")
    make_run(folder)
    return find_facts(collect(folder))


def test_every_fact_is_asked_for(facts: dict[str, str]) -> None:
    assert set(facts) == {item.fact for item in (*TRIPOD_AI, *CLAIM_2024)} - {""}


def test_all_items_are_there_in_their_order() -> None:
    published = [
        f"{number}{part}" for number in range(1, 28) for part in TRIPOD_PARTS.get(number, ("",))
    ]
    assert len(published) == 52
    assert [item.number for item in TRIPOD_AI] == published
    assert [item.number for item in CLAIM_2024] == [str(number) for number in range(1, 45)]


def test_claim_is_quoted_in_its_own_words() -> None:
    """CLAIM 2024 asks for "reference standard" and "testing", not "ground truth", "validation"."""
    asked = {item.number: item.asks for item in CLAIM_2024}
    assert all(asked[number].startswith("Reference standard") for number in ("14", "15", "16"))
    assert (asked["32"], asked["33"]) == ("Internal testing", "External testing")
    words = " ".join(asked.values()).lower()
    assert "ground truth" not in words and "validation" not in words


@pytest.mark.parametrize("item", [*TRIPOD_AI, *CLAIM_2024], ids=lambda item: item.number)
def test_every_item_can_be_answered(item: Item, facts: dict[str, str]) -> None:
    assert item.fact or item.notes
    assert not item.fact or item.fact in facts
    assert set(item.notes) <= set(NOTES)


def test_what_only_authors_know_is_a_todo_until_they_say_it(tmp_path: Path) -> None:
    make_run(tmp_path)
    collection = collect(tmp_path)
    facts = find_facts(collection)
    ethics = next(item for item in TRIPOD_AI if item.notes == ["ethics"])
    silent = Context(collection, Identities(b"k" * 32))
    assert answer(ethics, facts, silent)[1].kind == "todo"
    told = Context(collection, Identities(b"k" * 32), {"ethics": "Approved, no. 7."})
    found = answer(ethics, facts, told)[1]
    assert (found.text, found.kind) == ("Approved, no. 7.", "")


def test_nothing_is_claimed_of_a_run_without_results(tmp_path: Path) -> None:
    make_run(tmp_path, evaluated=False)
    facts = find_facts(collect(tmp_path))
    assert facts["objectives"] == "Development, not yet evaluated"
    for name in ("performance", "accuracy", "measures", "subgroups", "failures", "internal"):
        assert facts[name] == ""


def test_what_the_rows_had_decided_stands_beside_a_test(tmp_path: Path) -> None:
    make_run(tmp_path)
    facts = find_facts(collect(tmp_path))
    assert facts["internal"] == "On CheXpert-v1.0-small, valid (rows used for checkpoint selection)"
    assert facts["external"] == "None in the artifacts"
    assert facts["clusters"] == "Not examined: no column of hospitals or other clusters was named"


def test_robustness_needs_seeds_of_one_recipe(tmp_path: Path) -> None:
    make_run(tmp_path, "a", config={"seed": 1})
    make_run(tmp_path, "other", config={"seed": 2, "optim": {"lr": 1e-3}})
    assert find_facts(collect(tmp_path))["robustness"] == ""
    make_run(tmp_path, "b", config={"seed": 2})
    assert find_facts(collect(tmp_path))["robustness"] == "2 seeds of one recipe: a and b"


def test_an_ensemble_within_a_run_is_no_single_network(tmp_path: Path) -> None:
    make_run(tmp_path, "one")
    assert find_facts(collect(tmp_path))["ensembling"] == "None: each run stands alone"
    make_run(tmp_path, "three", config={"model": {"members": 3}, "select": {"checkpoint": "last"}})
    assert find_facts(collect(tmp_path))["ensembling"] == "three: the mean of 3 networks' scores"
    make_run(tmp_path, "two", config={"model": {"members": 2}, "select": {"checkpoint": "last"}})
    said = "three: the mean of 3 networks' scores; two: the mean of 2 networks' scores"
    assert find_facts(collect(tmp_path))["ensembling"] == said


def test_notes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "notes.toml"
    path.write_text('funding = "None."\nethics = """\nApproved.\n"""\ncontact = ""\n')
    assert read_author_notes(path) == {"funding": "None.", "ethics": "Approved."}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('fundng = "x"', r"unknown key 'fundng' \(did you mean 'funding'"),
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
