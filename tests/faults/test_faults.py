"""The short form of the fault suite: a few of every kind, in real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_lab import Lab
from fault_list import QUICK, all_faults, count_by_kind, judge, short_faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One small world for all faults; each gets it as it was built."""
    built = Lab(tmp_path_factory.mktemp("faults"))
    try:
        built.build(QUICK)
        yield built
    finally:
        built.close()


def test_every_fault_ends_as_promised(lab: Lab) -> None:
    results = [judge(lab, fault) for fault in short_faults(lab)]
    assert len(results) >= 20
    assert [result for result in results if result["problems"]] == []


def test_the_long_form_has_at_least_300_faults_with_names_of_their_own(lab: Lab) -> None:
    names = [fault.name for fault in all_faults(lab)]
    assert len(names) == len(set(names)) >= 300
    assert len(count_by_kind(names)) >= 10
