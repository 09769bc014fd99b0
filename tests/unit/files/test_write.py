"""Files are written whole or not at all, whenever a signal comes."""

from pathlib import Path
from typing import Any

import pytest

from pulmonet.files.write import write_atomic


def test_a_signal_as_soon_as_the_file_is_there_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.open

    def interrupted(path: Path, *words: Any) -> None:
        plain(path, *words).close()
        assert len([*tmp_path.iterdir()]) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.json", "{}")
    assert not [*tmp_path.iterdir()]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    write_atomic(tmp_path / "own", "x")
    assert (tmp_path / "own").stat().st_mode == (tmp_path / "other").stat().st_mode
