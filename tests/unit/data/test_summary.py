"""What a dataset holds, against a plain count."""

from __future__ import annotations

from typing import Any

import numpy as np

from pulmonet.data.summary import most_frequent_labels, summarise
from small_dataset import random_manifest


def test_summary_equals_a_plain_count() -> None:
    manifest = random_manifest(30, seed=5)
    manifest.table.loc[40:, "split"] = "valid"
    summary = summarise(manifest)
    assert summary["labels"] == ["Edema", "Hernia"]
    for split, part in manifest.table.groupby("split"):
        got = summary["splits"][split]
        assert got["images"] == len(part)
        assert got["patients"] == len(set(part["patient"]))
        values = part["Edema"].tolist()
        assert got["labels"]["Edema"] == {
            "positive": values.count(1),
            "negative": values.count(0),
            "uncertain": values.count(-1),
            "blank": sum(np.isnan(value) for value in values),
        }
        ages = [age for age in part["age_years"] if not np.isnan(age)]
        assert got["age"]["unknown"] == len(part) - len(ages)
        assert got["age"]["histogram"]["50-59"] == ages.count(55)
        assert got["age"]["histogram"]["90+"] == ages.count(99)
        assert got["sex"].get("unknown", 0) == part["sex"].tolist().count("")
        assert sum(got["views"].values()) == len(part)


def test_the_most_frequent_labels_in_their_order() -> None:
    def split(**positives: int) -> dict[str, Any]:
        return {"labels": {label: {"positive": n} for label, n in positives.items()}}

    splits = {"train": split(a=5, b=9, c=0, d=7), "valid": split(a=5, b=0, c=1, d=1)}
    summary = {"labels": ["a", "b", "c", "d"], "splits": splits}
    assert most_frequent_labels(summary, 2) == ["a", "b"]
    assert most_frequent_labels(summary, 3) == ["a", "b", "d"]
    assert most_frequent_labels(summary, 9) == ["a", "b", "c", "d"]
