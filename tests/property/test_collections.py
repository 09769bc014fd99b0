"""Several collections as one dataset: what holds whatever their patients, splits and labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pulmonet.config.fields import LossConfig
from pulmonet.data.manifest import Manifest, fingerprint
from pulmonet.data.sources.collections import join_manifests
from pulmonet.data.splits.choose import annotated_in_split, select_rows
from pulmonet.labels import evaluation_targets, training_targets
from pulmonet.training.losses import label_loss

NAMES = ("a", "b", "c")
LABELS = ("Edema", "Hernia", "Mass")
POLICIES = st.sampled_from(["ones", "zeros", "ignore", "ones-lsr", "self-trained"])


@st.composite
def collections(draw: st.DrawFn) -> list[Manifest]:
    """One to three; patient numbers overlap, and each has some of the labels."""
    found = []
    for name in NAMES[: draw(st.integers(1, 3))]:
        patients = draw(st.lists(st.integers(0, 9), min_size=1, max_size=12))
        split_of = [draw(st.sampled_from(["train", "valid", "test"])) for _ in range(10)]
        labels = tuple(draw(st.lists(st.sampled_from(LABELS), unique=True, max_size=3)))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        numbers = [str(patient) for patient in patients]
        table = pd.DataFrame(
            {
                "path": [f"{row}.png" for row in range(len(patients))],
                "split": [split_of[patient] for patient in patients],
                "patient": numbers,
                "study": [f"{number}/{row}" for row, number in enumerate(numbers)],
                "view": "AP",
                "sex": "",
                "age_years": np.nan,
            }
        )
        for label in labels:
            table[label] = rng.choice([1, 0, -1, np.nan], len(table)).astype(np.float32)
        found.append(Manifest(name, Path(name), "chexpert", labels, table))
    return found


@settings(deadline=None, max_examples=60)
@given(parts=collections(), together=st.booleans(), data=st.data())
def test_no_patient_is_in_two_splits_and_the_order_changes_nothing(
    parts: list[Manifest], together: bool, data: st.DataObject
) -> None:
    groups = [frozenset(part.name for part in parts)] if together else []
    joined = join_manifests(parts, groups)
    table = joined.table
    assert table.groupby("patient")["split"].nunique().max() == 1
    others = join_manifests(data.draw(st.permutations(parts)), groups)
    assert fingerprint(others) == fingerprint(joined)
    named = [(part.name * (not together), one) for part in parts for one in part.table["patient"]]
    numbers = set(named)
    assert table["patient"].nunique() == len(numbers)
    # nobody who was held out is trained on
    held = np.concatenate([part.table["split"] != "train" for part in parts])  # in name order
    assert (table["split"][held] != "train").all()
    if not together:
        assert held.sum() == (table["split"] != "train").sum()


@settings(deadline=None, max_examples=60)
@given(parts=collections(), policy=POLICIES, blank=st.sampled_from(["zeros", "ignore"]))
def test_a_label_that_a_collection_lacks_is_unknown_and_has_no_gradient(
    parts: list[Manifest], policy: str, blank: str
) -> None:
    joined = join_manifests(parts, ())
    rows = np.arange(len(joined))
    lacks = np.stack(
        [[label not in joined.own_row(row)[0].labels for label in LABELS] for row in rows]
    )
    joined_labels = [label for label in LABELS if label in joined.labels]
    lacks = lacks[:, [LABELS.index(label) for label in joined_labels]]
    for split in joined.table["split"].unique():
        here = select_rows(joined, split)
        raw, known = joined.raw_labels(tuple(joined_labels))[here], None
        known = annotated_in_split(joined, split, joined_labels, here)
        keys = joined.table["path"].iloc[here].tolist()
        targets = training_targets(
            raw, [policy] * len(joined_labels), blank=blank, row_keys=keys, annotated=known
        )
        assert np.isnan(targets[lacks[here]]).all()
        assert np.isnan(evaluation_targets(raw, blank, annotated=known)[lacks[here]]).all()
        logits = torch.zeros(targets.shape, requires_grad=True)
        loss = label_loss(
            logits, torch.from_numpy(targets), LossConfig(), policies=[policy] * targets.shape[1]
        )
        loss.backward()
        assert logits.grad is not None
        gradient = logits.grad.numpy()
        assert (gradient[lacks[here]] == 0).all()
        assert (gradient[~np.isnan(targets) & (targets != 0.5)] != 0).all()
