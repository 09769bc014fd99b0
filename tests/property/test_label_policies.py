"""Label policies for any table: what must hold whatever the labels are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pulmonet.labels import (
    UNCERTAIN_POLICIES,
    describe_policy_changes,
    evaluation_targets,
    fill_uncertain,
    training_targets,
)

RAW = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([1.0, 0.0, -1.0, np.nan]),
)


@settings(deadline=None, max_examples=60)
@given(raw=RAW, data=st.data(), blank=st.sampled_from(["zeros", "ignore"]))
def test_targets_are_what_losses_take(
    raw: NDArray[np.float32], data: st.DataObject, blank: str
) -> None:
    n_rows, n_labels = raw.shape
    policies = data.draw(
        st.lists(st.sampled_from(UNCERTAIN_POLICIES), min_size=n_labels, max_size=n_labels)
    )
    keys = [str(row) for row in range(n_rows)]
    targets = training_targets(raw, policies, blank=blank, row_keys=keys)

    known = targets[~np.isnan(targets)]
    assert ((known >= 0) & ((known <= 1) | (known == 2))).all()
    assert not (targets == 2)[:, [policy != "multiclass" for policy in policies]].any()
    filled = fill_uncertain(targets, raw, np.full(raw.shape, 0.25), policies)
    assert np.isnan(filled).sum() <= np.isnan(targets).sum()

    names = [f"L{column}" for column in range(n_labels)]
    changes = describe_policy_changes(raw, targets, names)
    for column, name in enumerate(names):
        counts = changes[name]
        for origin, was in (("uncertain", raw == -1), ("blank", np.isnan(raw))):
            counted = sum(count for key, count in counts.items() if key.startswith(origin))
            assert counted == was[:, column].sum()


@settings(deadline=None, max_examples=60)
@given(raw=RAW, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_row_order_changes_nothing(
    raw: NDArray[np.float32], seed: int, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(len(raw)))))
    keys = [f"row {row}" for row in range(len(raw))]
    policies = [UNCERTAIN_POLICIES[c % len(UNCERTAIN_POLICIES)] for c in range(raw.shape[1])]
    plain = training_targets(raw, policies, row_keys=keys, seed=seed)
    moved = training_targets(raw[order], policies, row_keys=[keys[row] for row in order], seed=seed)
    np.testing.assert_array_equal(moved, plain[order])
    np.testing.assert_array_equal(evaluation_targets(raw[order]), evaluation_targets(raw)[order])


@settings(deadline=None, max_examples=60)
@given(raw=RAW)
def test_evaluation_knows_exactly_the_certain_and_the_blank(raw: NDArray[np.float32]) -> None:
    targets = evaluation_targets(raw)
    annotated = ~np.isnan(raw).all(axis=0)
    assert (np.isnan(targets) == ((raw == -1) | ~annotated)).all()
    assert (np.isnan(evaluation_targets(raw, "ignore")) == ((raw == -1) | np.isnan(raw))).all()
