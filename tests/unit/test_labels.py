"""Label policies, row by row, against a plain Python reference."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from chexpert_factory import write_dataset
from pulmonet import labels
from pulmonet.errors import ConfigError
from pulmonet.labels import DEFAULT_LABELS, UNCERTAIN_POLICIES, align, match_label

ROOT = Path(__file__).resolve().parents[2]
NAN = math.nan
KEYS = [f"patient{number:05d}/study1/view1.jpg" for number in range(60)]


def _raw(seed: int = 0, n_rows: int = 60, n_labels: int = 7) -> NDArray[np.float32]:
    rng = random.Random(seed)
    table = [[rng.choice([1, 0, -1, NAN]) for _ in range(n_labels)] for _ in range(n_rows)]
    return np.array(table, dtype=np.float32)


def _plain_target(value: float, policy: str, blank: str) -> float | tuple[float, float]:
    """One label by the definitions of Irvin et al. 2019 and Pham et al. 2021; a range if drawn."""
    if math.isnan(value):
        return 0.0 if blank == "zeros" else NAN
    if value in (0, 1):
        return value
    return {
        "ones": 1.0,
        "zeros": 0.0,
        "ignore": NAN,
        "ones-lsr": (0.55, 0.85),
        "zeros-lsr": (0.0, 0.3),
        "multiclass": 2.0,
        "self-trained": NAN,
    }[policy]


@pytest.mark.parametrize("blank", ["zeros", "ignore"])
@pytest.mark.parametrize("policy", UNCERTAIN_POLICIES)
def test_each_policy_row_by_row(policy: str, blank: str) -> None:
    raw = _raw()
    targets = labels.training_targets(raw, [policy] * 7, blank=blank, row_keys=KEYS, seed=3)
    assert targets.dtype == np.float32
    for row in range(60):
        for column in range(7):
            expected = _plain_target(float(raw[row, column]), policy, blank)
            actual = float(targets[row, column])
            if isinstance(expected, tuple):
                assert expected[0] <= actual <= expected[1]
            else:
                assert actual == expected or (math.isnan(actual) and math.isnan(expected))


def test_all_policies_side_by_side() -> None:
    raw = _raw(1)
    mixed = labels.training_targets(raw, UNCERTAIN_POLICIES, row_keys=KEYS, seed=5)
    for column, policy in enumerate(UNCERTAIN_POLICIES):
        alone = labels.training_targets(raw, [policy] * 7, row_keys=KEYS, seed=5)
        np.testing.assert_array_equal(mixed[:, column], alone[:, column])


def test_certain_labels_are_the_same_under_every_policy() -> None:
    raw = _raw(2)
    certain = (raw == 0) | (raw == 1)
    for policy in UNCERTAIN_POLICIES:
        targets = labels.training_targets(raw, [policy] * 7, row_keys=KEYS)
        np.testing.assert_array_equal(targets[certain], raw[certain])


def test_smoothed_values_do_not_depend_on_row_order_or_subset() -> None:
    raw = _raw(3)
    policies = ["ones-lsr", "zeros-lsr"] * 3 + ["ones-lsr"]
    everything = labels.training_targets(raw, policies, row_keys=KEYS, seed=11)
    chosen = np.random.default_rng(0).permutation(60)[:23]
    some = labels.training_targets(
        raw[chosen], policies, row_keys=[KEYS[row] for row in chosen], seed=11
    )
    np.testing.assert_array_equal(some, everything[chosen])


def test_smoothed_values_depend_on_seed_row_and_label() -> None:
    raw = np.full((60, 7), -1.0)
    first = labels.training_targets(raw, ["ones-lsr"] * 7, row_keys=KEYS, seed=1)
    second = labels.training_targets(raw, ["ones-lsr"] * 7, row_keys=KEYS, seed=2)
    assert len(np.unique(first)) > 400
    assert (first != second).mean() > 0.99


@pytest.mark.parametrize(("policy", "low", "high"), [("ones-lsr", 0.6, 0.9), ("zeros-lsr", 0, 0.2)])
def test_smoothed_values_are_uniform_in_the_configured_range(
    policy: str, low: float, high: float
) -> None:
    from scipy.stats import kstest

    keys = [str(number) for number in range(2000)]
    targets = labels.training_targets(
        np.full((2000, 1), -1.0), [policy], row_keys=keys, ones_lsr=(0.6, 0.9), zeros_lsr=(0.0, 0.2)
    )
    assert targets.min() >= np.float32(low)
    assert targets.max() <= np.float32(high)
    assert kstest(targets[:, 0].astype(float), "uniform", args=(low, high - low)).pvalue > 1e-3


def test_a_column_that_is_blank_throughout_stays_unknown() -> None:
    raw = _raw(4)
    raw[:, 2] = NAN
    for policy in UNCERTAIN_POLICIES:
        targets = labels.training_targets(raw, [policy] * 7, blank="zeros", row_keys=KEYS)
        assert np.isnan(targets[:, 2]).all()
        assert not np.isnan(targets[:, [0, 1]][np.isnan(raw[:, [0, 1]])]).any()
    assert np.isnan(labels.evaluation_targets(raw, "zeros")[:, 2]).all()


def test_the_raw_labels_are_left_alone() -> None:
    raw = _raw(5)
    before = raw.copy()
    targets = labels.training_targets(raw, ["zeros"] * 7)
    labels.evaluation_targets(raw)
    labels.fill_uncertain(targets, raw, np.full(raw.shape, 0.5), ["self-trained"] * 7)
    np.testing.assert_array_equal(raw, before)


# --- evaluation ---------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["zeros", "ignore"])
def test_evaluation_targets_row_by_row(blank: str) -> None:
    raw = _raw(6)
    targets = labels.evaluation_targets(raw, blank)
    for value, actual in zip(raw.flat, targets.flat, strict=True):
        expected = {1.0: 1.0, 0.0: 0.0, -1.0: NAN}.get(
            float(value), 0.0 if blank == "zeros" else NAN
        )
        assert actual == expected or (math.isnan(actual) and math.isnan(expected))


def test_evaluation_targets_take_no_policy() -> None:
    """The signature is the proof: nothing of the policy can get in."""
    import inspect

    assert list(inspect.signature(labels.evaluation_targets).parameters) == [
        "raw",
        "blank",
        "annotated",
    ]


# --- self-training ---------------------------------------------------------------------------


def test_the_second_stage_fills_uncertain_labels_with_scores() -> None:
    raw = _raw(7)
    policies = ["self-trained", "ignore", "ones", "self-trained", "zeros", "multiclass", "ones-lsr"]
    scores = np.random.default_rng(0).random(raw.shape).astype(np.float32)
    first = labels.training_targets(raw, policies, blank="ignore", row_keys=KEYS)
    second = labels.fill_uncertain(first, raw, scores, policies)
    for row in range(60):
        for column in range(7):
            is_filled = policies[column] == "self-trained" and raw[row, column] == -1
            expected = scores[row, column] if is_filled else first[row, column]
            np.testing.assert_equal(second[row, column], expected)
    assert np.isnan(first[raw[:, 0] == -1, 0]).all()


# --- what is printed and recorded -------------------------------------------------------------


def test_policy_changes_are_counted() -> None:
    raw = np.array(
        [
            [-1, -1, -1, -1, -1, -1, NAN],
            [-1, -1, -1, -1, -1, -1, NAN],
            [1, 0, NAN, NAN, 1, 0, NAN],
            [NAN, 1, 0, 1, 0, NAN, NAN],
        ]
    )
    policies = ["ones", "zeros", "ignore", "ones-lsr", "multiclass", "self-trained", "ones"]
    names = list("ABCDEFG")
    targets = labels.training_targets(raw, policies, row_keys=KEYS[:4])
    assert labels.describe_policy_changes(raw, targets, names) == {
        "A": {"uncertain->1": 2, "blank->0": 1},
        "B": {"uncertain->0": 2},
        "C": {"uncertain->masked": 2, "blank->0": 1},
        "D": {"uncertain->soft": 2, "blank->0": 1},
        "E": {"uncertain->third class": 2},
        "F": {"uncertain->masked": 2, "blank->0": 1},
        "G": {"blank->masked": 4},
    }
    filled = labels.fill_uncertain(targets, raw, np.full(raw.shape, 0.4), policies)
    assert labels.describe_policy_changes(raw, filled, names)["F"] == {
        "uncertain->soft": 2,
        "blank->0": 1,
    }
    with pytest.raises(ValueError, match="2 labels differ"):
        labels.describe_policy_changes(raw, targets, ["A", "B"])


# --- names -----------------------------------------------------------------------------------


def test_one_policy_serves_all_labels_and_a_mapping_each() -> None:
    assert labels.policy_per_label("zeros", DEFAULT_LABELS) == ("zeros",) * 5
    published = {"Consolidation": "zeros", "Cardiomegaly": "multiclass", "default": "ones-lsr"}
    assert labels.policy_per_label(published, DEFAULT_LABELS) == (
        "ones-lsr",
        "multiclass",
        "zeros",
        "ones-lsr",
        "ones-lsr",
    )
    assert labels.policy_per_label({"Edema": "ignore"}, DEFAULT_LABELS)[:2] == ("ones", "ones")
    written_otherwise = {"pleural_effusion": "zeros", "edema": "ignore"}
    assert labels.policy_per_label(written_otherwise, DEFAULT_LABELS)[3:] == ("ignore", "zeros")


def test_an_unknown_policy_or_label_names_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"unknown policy 'one' \(did you mean 'ones'\?\)"):
        labels.policy_per_label("one", DEFAULT_LABELS)
    with pytest.raises(ConfigError, match=r"'Edemma' is not among .* \(did you mean 'Edema'\?"):
        labels.policy_per_label({"Edemma": "ones"}, DEFAULT_LABELS)


def test_vocabulary_is_what_the_documentation_shows() -> None:
    page = (ROOT / "docs" / "labels.md").read_text("utf-8")
    for label, aliases in labels.VOCABULARY.items():
        ours = "yes" if label in labels.CHEXPERT_LABELS else "-"
        assert f"| {label} | {', '.join(aliases) or '-'} | {ours} |" in page
    # an alias of one label is no other label, nor another's alias
    names = [each.lower() for label, also in labels.VOCABULARY.items() for each in (label, *also)]
    assert len(set(names)) == len(names)
    assert labels.align(" effusion ") == "Pleural Effusion"
    assert labels.align("Pleural_Thickening") == "Pleural Thickening"
    assert labels.align("kyphosis") == "kyphosis"


@pytest.mark.parametrize("name", ["effusion", "Pleural_Effusion", " pleural  effusion", "EFFUSION"])
def test_every_command_understands_the_same_spellings(name: str, tmp_path: Path) -> None:

    from pulmonet.config.fields import DataConfig
    from pulmonet.data.sources import inspect_manifest
    from pulmonet.data.splits.choose import resolve_labels
    from pulmonet.metrics.options import EvaluationOptions

    manifest, _, _ = inspect_manifest(write_dataset(tmp_path / "tiny"), DataConfig(), 0)
    assert resolve_labels(manifest, [name]) == ("Pleural Effusion",)  # train
    assert labels.policy_per_label({name: "zeros"}, DEFAULT_LABELS)[-1] == "zeros"
    assert labels.resolve_label(name, DEFAULT_LABELS) == "Pleural Effusion"  # evaluate
    assert EvaluationOptions(prevalence={name: 0.1}).prevalence_of("Pleural Effusion") == 0.1
    assert labels.choose_labels([name], [], DEFAULT_LABELS) == ("Pleural Effusion",)  # explain


def test_a_label_spelled_as_it_is_comes_before_other_names() -> None:
    assert labels.match_label("effusion", ["Pleural Effusion", "Effusion"]) == "Effusion"
    assert labels.match_label("Pleural Effusion", ["effusion"]) == "effusion"
    assert labels.match_label("lungs", ["Edema"]) is None


def test_label_names_forgive_spaces_and_hyphens() -> None:
    names = ("PleuralEffusion", "pleural-effusion", "Pleural  Effusion", "EFFUSION")
    assert {align(name) for name in names} == {"Pleural Effusion"}
    assert match_label("a-b", ["a b", "a-b"]) == "a-b" and match_label("A B", ["a-b"]) == "a-b"


def test_label_names_forgive_case_and_underscores() -> None:
    assert labels.resolve_label("pleural_effusion", DEFAULT_LABELS) == "Pleural Effusion"
    assert labels.resolve_label(" EDEMA ", DEFAULT_LABELS) == "Edema"
    with pytest.raises(ConfigError, match=r"label 'Edma': not among .* \(did you mean 'Edema'\?"):
        labels.resolve_label("Edma", DEFAULT_LABELS)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Pleural Effusion", "Pleural_Effusion"),
        ("a/b\\c:d", "a_b_c_d"),
        ("../up", "_up"),
        ("", "_"),
        ("Œdème", "Œdème"),
    ],
)
def test_labels_as_file_names(label: str, name: str) -> None:
    assert labels.file_name_of(label) == name


@pytest.mark.parametrize("name", ["Edema", "a/b", "é" * 200, "Lung\u00a0Opacity", "<b>", "x" * 200])
def test_names_of_labels(name: str) -> None:
    assert labels.check_label_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "\t", "a\nb", "a\0b", "\x1b[2J", "a\u2028b", "a\x9bb", "x" * 201, "\ud800"]
)
def test_what_is_no_name_of_a_label(name: str) -> None:
    with pytest.raises(ValueError, match="not a name; 1 to 200 characters on one line"):
        labels.check_label_name(name)


def test_long_labels_have_file_names_that_fit_and_differ() -> None:
    long = [f"{'é' * 150}{ending}" for ending in ("a", "b")]
    names = [labels.file_name_of(label) for label in long]
    assert names[0] != names[1]
    for name in names:
        assert len(name.encode()) <= labels.MAX_NAME_BYTES and name.startswith("é" * 50)
    assert labels.file_name_of("x" * labels.MAX_NAME_BYTES) == "x" * labels.MAX_NAME_BYTES
    assert len(labels.file_name_of("x" * (labels.MAX_NAME_BYTES + 1))) == labels.MAX_NAME_BYTES


def test_smoothed_values_are_those_of_seed_0_unless_told_otherwise() -> None:
    raw = np.full((4, 1), -1.0, np.float32)
    keys = [f"patient{row}.jpg" for row in range(4)]

    def draw(**seed: int) -> np.ndarray:
        return labels.training_targets(raw, ["ones-lsr"], row_keys=keys, **seed)

    np.testing.assert_array_equal(draw(), draw(seed=0))
    assert not np.array_equal(draw(), draw(seed=1))


def test_a_long_wrong_name_is_cut_in_the_message() -> None:
    for name, shown in (("x" * 201, f"label '{'x' * 40}'...: not"), ("a\n", "label 'a\\n': not")):
        with pytest.raises(ValueError, match="not a name") as caught:
            labels.check_label_name(name)
        assert str(caught.value).startswith(shown)


def test_labels_are_chosen_by_name_or_position_in_the_models_order() -> None:
    available = ("Atelectasis", "Edema", "Pleural Effusion")
    assert labels.choose_labels([], [], available) == available
    assert labels.choose_labels(["pleural_effusion"], [0], available) == (
        "Atelectasis",
        "Pleural Effusion",
    )
    with pytest.raises(ConfigError, match=r"--class-idx 3: .*0 Atelectasis, 1 Edema"):
        labels.choose_labels([], [3], available)
    with pytest.raises(ConfigError, match=r"--class-idx -1"):
        labels.choose_labels([], [-1], available)


def test_a_label_without_a_class_says_which_one_and_of_how_many() -> None:
    nan = math.nan
    targets = np.asarray(
        # both, no negative, no positive (2 is the third class), nothing known, soft
        [[1, 1, 0, nan, 0.9], [0, 1, 0, nan, 0.5], [nan, nan, 2, nan, 0.6], [0, 1, nan, nan, 0.5]]
    )
    assert labels.one_class_labels(targets, ["A", "B", "C", "D", "E"]) == {
        "B": "no negative among 3 known values",
        "C": "no positive among 2 known values",
        "D": "no known value",
    }
    assert list(labels.one_class_labels(np.asarray([[0.5], [0.4]]), ["F"])) == ["F"]
