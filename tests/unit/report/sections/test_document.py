"""The report as a whole."""

from __future__ import annotations

from pathlib import Path

from report_factory import make_run
from report_reader import tables_of


def test_every_table_has_a_cell_for_every_column(tmp_path: Path) -> None:
    make_run(tmp_path, "a", n_explained=1)
    make_run(tmp_path, "b", seed=2, config={"optim": {"lr": 3e-4}})
    for caption, table in tables_of(tmp_path).items():
        assert table.rows, caption
        assert {len(row) for row in table.rows} == {len(table.columns)}, caption
