"""The short form of the fault suite: a few of every kind, in real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_lab import Lab
from fault_list import QUICK, all_faults, judge, short_faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One small world for all faults; each gets it as it was built."""
    built = Lab(tmp_path_factory.mktemp("faults"), blank=True)
    try:
        built.build(QUICK)
        yield built
    finally:
        built.close()


def test_every_fault_ends_as_promised(lab: Lab) -> None:
    results = [judge(lab, fault) for fault in short_faults(lab)]
    assert len(results) >= 20
    assert [result for result in results if result["problems"]] == []


def test_every_fault_has_a_name_of_its_own_and_the_short_form_is_part_of_the_long(lab: Lab) -> None:
    names = [fault.name for fault in all_faults(lab)]
    assert sorted(names) == sorted(set(names))
    assert {fault.name for fault in short_faults(lab)} <= set(names)
