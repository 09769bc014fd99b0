"""Pseudonyms: stable, keyed, and nothing of the original left."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.report.pseudonyms import KEY_NAME, Identities, load_identities


def test_pseudonyms_are_stable_and_depend_on_the_key(tmp_path: Path) -> None:
    first, again = load_identities(tmp_path), load_identities(tmp_path)
    other = Identities(b"x" * 32)
    assert first.patient("patient00001") == again.patient("patient00001")
    assert first.patient("patient00001") != other.patient("patient00001")
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o077 == 0


def test_a_damaged_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).write_text("not hexadecimal")
    assert load_identities(tmp_path).key == load_identities(tmp_path).key


@given(st.text(min_size=4))
def test_a_pseudonym_holds_nothing_of_the_id(patient: str) -> None:
    word = Identities(b"k" * 32).patient(patient)
    assert len(word) == 8 and word.startswith("P-") and patient not in word


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("bad row valid/patient00012/study1/view1_frontal.jpg, skipped", "patient00012"),
        ("see /home/jane/data/CheXpert", "/home/jane"),
        ("see ~/data/secret/set", "~/data"),
        ("patient00012 twice", "patient00012"),
        ("images/00000013_005.png: truncated", "00000013"),
        ("x.npz#train/17 is bad", "train/17"),
        ("see /home/Jane van Doe/data, please", "Doe"),
        ("slow: /home/Jane Doe/x/view1.png.", "Jane"),
        (r"see C:\Users\jane\nih", "jane"),
        (r"'C:\\Users\\jane\\nih' is empty", "jane"),
        ("see C:/Users/jane/nih", "jane"),
        ("see //server/share/jane/nih", "share"),
        (r"see \\server\share\jane\nih", "jane"),
        (r"C:\Users\jane\x.png is bad", "jane"),
        ("from file:///home/jane/x.csv, see", "jane"),
        ("from file:/home/jane/x.csv", "jane"),
        ("from file://server/share/jane/x.csv", "share"),
        ("from file:///C:/Users/jane/x.csv", "jane"),
    ],
)
def test_free_text_is_scrubbed(text: str, hidden: str) -> None:
    assert hidden not in Identities(b"k" * 32).scrub(text)
    assert Identities(b"k" * 32, shown=True).scrub(text) == text


def test_a_path_in_a_text_keeps_its_last_part() -> None:
    scrub = Identities(b"k" * 32).scrub
    for path in ("/home/Jane Doe/nih/", r"C:\Users\Jane Doe\nih", "//server/share/nih", "~/nih"):
        assert scrub(f"in {path} are 3/4 of them") == "in …/nih are 3/4 of them"


@pytest.mark.parametrize(
    "text",
    [
        *("AP/PA views", "3/4 of the rows", "images/s", "p < 0.05; ratio 1/2", "https://x.org/a"),
        *("a: b/c", r"weights\best", "1:2 and/or 3"),
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Identities(b"k" * 32).scrub(text) == text


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("/srv/secret/CheXpert-v1.0-small", "CheXpert-v1.0-small"),
        ("--data-dir=~/my data/set", "--data-dir=set"),
        ("--lr=1e-4", "--lr=1e-4"),
        (r"C:\Users\jane\nih", "nih"),
        ("--data-dir=//server/share/my data", "--data-dir=my data"),
    ],
)
def test_command_arguments_keep_the_last_part_of_a_path(argument: str, expected: str) -> None:
    assert Identities(b"k" * 32).argument(argument) == expected
