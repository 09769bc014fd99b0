"""Whatever order rows are asked for in, whatever byte is damaged: the pixels are right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulmonet.data.manifest import Manifest
from pulmonet.data.pack.open import open_pack
from small_dataset import write_dataset

N_ROWS = 12
Expected = tuple[Manifest, np.ndarray]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Expected]:
    """A manifest and its undamaged squares, in a cache of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULMONET_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        manifest = write_dataset(tmp_path_factory.mktemp("data"), N_ROWS)
        yield manifest, open_pack(manifest, range(N_ROWS)).read(range(N_ROWS))


ROWS = st.lists(st.integers(0, N_ROWS - 1), max_size=20)
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["images.npy", "checksums.npy", "sources.npy"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9),
    ),
    max_size=4,
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, before=DAMAGE, during=DAMAGE)
def test_damage_never_reaches_the_reader(
    dataset: Expected,
    rows: list[int],
    before: list[tuple[str, float, bytes]],
    during: list[tuple[str, float, bytes]],
) -> None:
    manifest, expected = dataset
    folder = open_pack(manifest, rows).folder
    _damage(folder, before)
    pack = open_pack(manifest, rows)
    _damage(folder, during)
    np.testing.assert_array_equal(pack.read(rows), expected[np.array(rows, dtype=np.int64)])
    np.testing.assert_array_equal(pack.read(rows), expected[np.array(rows, dtype=np.int64)])


def _damage(folder: Path, changes: list[tuple[str, float, bytes]]) -> None:
    for name, place, content in changes:
        path = folder / name
        with path.open("r+b") as file:
            file.seek(int(place * path.stat().st_size))
            file.write(content)
