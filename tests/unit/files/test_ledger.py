"""What PulmoNet has written itself, and what is somebody else's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pulmonet.errors import ArtifactError
from pulmonet.files.ledger import NAME, Ledger


def test_its_list_names_nobody(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "")
    ledger.write(tmp_path / "patient00001" / "a.md", "one")
    ledger.write(tmp_path / "patient00001" / "a.md", "two")
    ledger.write(tmp_path / "patient00001" / "a.md", "one", by_name=True)
    assert re.fullmatch(r"(\n[0-9a-f]{64}){2}", (tmp_path / NAME).read_text())
    (tmp_path / "patient00002").mkdir()
    (tmp_path / "patient00002" / "a.md").write_text("one")
    assert not ledger.owns(tmp_path / "patient00002" / "a.md")


def test_a_list_cut_short_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    for text in ("one", "two"):
        Ledger(tmp_path, "").write(path, text)
    with (tmp_path / NAME).open("a") as file:
        file.write("\n1234")  # killed, or the disk was full
    Ledger(tmp_path, "").write(path, "three")
    Ledger(tmp_path, "").write(path, "four")
    assert path.read_text() == "four"


def test_what_another_process_writes_meanwhile_is_known(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path, ""), Ledger(tmp_path, "")
    for ledger in (first, second, first):
        ledger.write(tmp_path / "a.md", str(id(ledger)))


def test_only_its_own_is_removed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "")
    for name in ("below/a", "below/b", "beside/c", "linked"):
        ledger.write(tmp_path / name, name)
    (tmp_path / "below" / "b").write_text("changed")
    (tmp_path / "linked").unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "below" / "b")
    ledger.remove(*tmp_path.rglob("*"))
    (tmp_path / NAME).unlink()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"below", "below/b", "linked"}


def test_a_list_that_is_a_link_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(ArtifactError, match="cannot be written"):
        Ledger(tmp_path, "").write(tmp_path / "a", "a")
    assert (tmp_path / "mine").read_text() == "mine"
