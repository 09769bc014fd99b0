"""`benchmarks/policies_on_phantoms.py`: all policies run, and the table has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.labels import DEFAULT_LABELS, UNCERTAIN_POLICIES
from pulmonet.run.folder import RunDir

pytest.importorskip("timm", reason="its test networks are the smallest at hand")

SMALL = [
    *("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--epochs", "1"),
    *("--lr", "1e-3", "--set", "runtime.threads=1"),
]


@pytest.mark.slow
def test_all_policies_are_in_the_table_beside_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import policies_on_phantoms as benchmark

    result = benchmark.run(15, 1, SMALL, tmp_path)
    cases = [*UNCERTAIN_POLICIES, "per label (Irvin et al.)", "truth"]
    assert list(result["macro_auroc"]) == cases
    assert all(0 < value < 1 for values in result["macro_auroc"].values() for value in values)
    assert set(result["uncertain"]) == set(DEFAULT_LABELS)
    table = benchmark.as_markdown(result)
    assert all(f"| {name} |" in table for name in (*cases, *DEFAULT_LABELS))

    changes = [
        RunDir(tmp_path / f"case{number}-seed0").read_record().provenance.dataset.policy_changes
        for number in range(len(cases))
    ]
    n_uncertain = sum(n for n, _ in result["uncertain"].values())
    assert n_uncertain > 0
    for name, of_labels in zip(cases, changes, strict=True):
        found = sum(
            n
            for counts in of_labels.values()
            for change, n in counts.items()
            if change.startswith("uncertain")
        )
        assert found == (0 if name == "truth" else n_uncertain)
