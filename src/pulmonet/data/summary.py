"""What a dataset holds, in numbers: the summary of `prepare`, of run_config.json and reports."""

from typing import Any

import numpy as np
import pandas as pd

from pulmonet.arrays import Array
from pulmonet.choices import SPLITS
from pulmonet.data.manifest import Manifest
from pulmonet.data.tables import Column

#: Lower edges of the age histogram's bins, in years.
AGE_BINS = tuple(range(0, 100, 10))


def summarise(manifest: Manifest) -> dict[str, Any]:
    """JSON-ready numbers of every split.

    Returns:
        ``{"name", "source", "synthetic", "patients_known", "labels": [annotated ones],
        "splits": {split: {"images", "patients", "studies", "views": {view: n}, "sex": {...},
        "age": {"median", "unknown", "histogram": {"0-9": n, ...}}, "labels": {label:
        {"positive", "negative", "uncertain", "blank"}}}}}``. An unknown view or sex is counted
        as ``unknown``; `patients` is null where the source has no patient ids.
    """
    table = manifest.table
    parts = {split: table[(table["split"] == split).to_numpy()] for split in SPLITS}
    return manifest.facts() | {
        "labels": [label for label in manifest.labels if table[label].notna().any()],
        "splits": {split: _one_split(manifest, part) for split, part in parts.items() if len(part)},
    }


def most_frequent_labels(summary: dict[str, Any], n_labels: int) -> list[str]:
    """The labels with most positives over all splits, in the summary's order."""
    totals = {
        label: sum(split["labels"][label]["positive"] for split in summary["splits"].values())
        for label in summary["labels"]
    }
    chosen = set(sorted(totals, key=lambda label: -totals[label])[:n_labels])
    return [label for label in summary["labels"] if label in chosen]


def _one_split(manifest: Manifest, table: pd.DataFrame) -> dict[str, Any]:
    raw = table[list(manifest.labels)].to_numpy(np.float32)
    counts = {
        "positive": (raw == 1).sum(axis=0),
        "negative": (raw == 0).sum(axis=0),
        "uncertain": (raw == -1).sum(axis=0),
        "blank": np.isnan(raw).sum(axis=0),
    }
    return {
        "images": len(table),
        "patients": int(table["patient"].nunique()) if manifest.patients_known else None,
        "studies": int(table["study"].nunique()) if manifest.patients_known else None,
        "views": _counts(table["view"]),
        "sex": _counts(table["sex"]),
        "age": _ages(table["age_years"].to_numpy(np.float64)),
        "labels": {
            label: {name: int(values[column]) for name, values in counts.items()}
            for column, label in enumerate(manifest.labels)
        },
    }


def _counts(column: Column) -> dict[str, int]:
    counted = sorted(column.value_counts().items(), key=lambda one: (not one[0], one[0]))
    return {str(value) or "unknown": int(number) for value, number in counted}


def _ages(years: Array) -> dict[str, Any]:
    known = years[~np.isnan(years)]
    binned = np.clip(known // 10, 0, len(AGE_BINS) - 1).astype(np.int64)
    counts = np.bincount(binned, minlength=len(AGE_BINS))
    names = [*(f"{low}-{low + 9}" for low in AGE_BINS[:-1]), f"{AGE_BINS[-1]}+"]
    return {
        "median": float(np.median(known)) if len(known) else None,
        "unknown": int(len(years) - len(known)),
        "histogram": {name: int(count) for name, count in zip(names, counts, strict=True)},
    }
