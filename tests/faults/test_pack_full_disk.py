"""A disk that is really full: a file system of 2 MB, where the machine lets us mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pulmonet.data.pack import open as packing
from pulmonet.data.pack.open import open_pack
from pulmonet.errors import DataError
from small_dataset import write_dataset


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this machine does not let tests mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # the pack is still open


def test_what_fits_is_kept_and_the_message_says_the_way_out(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULMONET_CACHE_DIR", str(small_disk))
    monkeypatch.setattr("pulmonet.data.pack.files.BLOCK_BYTES", 4 * 256**2)
    manifest = write_dataset(tmp_path / "tiny", 60)
    with pytest.raises(DataError, match=r"4 MB needed to pack 60 images.*PULMONET_CACHE_DIR"):
        open_pack(manifest, range(60))
    monkeypatch.setattr(packing, "_check_space", lambda *_: None)
    with pytest.raises(DataError, match=r"disk is full; what was packed is kept"):
        open_pack(manifest, range(60), num_workers=1)  # of several, any could be the last
    pack = open_pack(manifest, range(16))
    assert pack.n_decoded == 0
    assert pack.read(range(16)).shape == (16, 256, 256)
    checksums = np.load(pack.folder / "checksums.npy")
    assert 16 <= np.count_nonzero(checksums) <= 32
