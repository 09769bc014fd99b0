"""Label names, the one way they are matched, and what an uncertain or a blank label becomes.

The names are CheXpert's 14 observations and, for what these do not cover, NIH ChestX-ray14's; what
has no counterpart keeps its own name (the table is in ``docs/labels.md``).

Raw labels are float arrays (N, L) with 1 = positive, 0 = negative, -1 = uncertain and NaN = blank
(not mentioned). Only `training_targets` depend on the uncertainty policy.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pulmonet.choices import BlankPolicy
from pulmonet.errors import ConfigError
from pulmonet.words import count, unknown

if TYPE_CHECKING:
    from pulmonet.arrays import Flags, Floats, Floats32

UncertainPolicy = Literal[
    "ones", "zeros", "ignore", "ones-lsr", "zeros-lsr", "multiclass", "self-trained"
]
UNCERTAIN_POLICIES: tuple[str, ...] = get_args(UncertainPolicy)

#: The five CheXpert competition labels (Irvin et al. 2019), in the original scripts' order.
DEFAULT_LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

#: Vocabulary name -> what sources call it, letter case and ``_`` for a space aside; CheXpert's 14
#: observations come first, in the order of its CSV files.
VOCABULARY: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("vocabulary.json").read_text("utf-8")
)
CHEXPERT_LABELS = tuple(VOCABULARY)[:14]

#: Labels that are no disease: CheXpert's labeller says No Finding beside Support Devices, too.
NO_DISEASE = ("No Finding", "Support Devices")

MAX_LABEL_LENGTH = 200
#: A file name has at most 255 bytes on most disks, and words stand around the label in it.
MAX_NAME_BYTES = 120

#: Class index of an uncertain label in a three-way target (multiclass): p(0), p(1), p(u).
UNCERTAIN_CLASS = 2.0


def policy_per_label(policy: str | Mapping[str, str], labels: Sequence[str]) -> tuple[str, ...]:
    """The uncertainty policy of each of `labels`, in order.

    `policy` is one for all, or label (named as in `match_label`) -> policy, in which ``default``
    (``ones`` when absent) serves the labels that are not named.

    Raises:
        ConfigError: an unknown policy, or a mapping that names a label not in `labels`.
    """
    mapping = {"default": policy} if isinstance(policy, str) else {"default": "ones"} | dict(policy)
    named: dict[str, str] = {}
    field = "targets.uncertain_policy"
    for label, value in mapping.items():
        if value not in UNCERTAIN_POLICIES:
            what = f"unknown policy '{value}'"
            raise ConfigError(unknown(field, value, UNCERTAIN_POLICIES, what))
        found = label if label == "default" else match_label(label, labels)
        if found is None:
            what = f"'{label}' is not among the labels trained on"
            raise ConfigError(unknown(field, label, labels, what))
        if named.get(found, value) != value:
            what = f"'{label}' is '{found}', which has {named[found]} already"
            raise ConfigError(f"{field}: {what}; name one policy for it")
        named[found] = value
    return tuple(named.get(label, named["default"]) for label in labels)


def evaluation_targets(
    raw: Floats, blank: BlankPolicy = "zeros", *, annotated: Flags | None = None
) -> Floats32:
    """Policy-independent targets (N, L): 1 or 0, NaN = unknown; uncertain is NaN.

    Args:
        raw: (N, L) labels 1, 0, -1 or NaN.
        blank: a blank label counts as 0, or with ``ignore`` as NaN; a column that is blank
            throughout is *not annotated* and stays NaN whatever `blank` says.
        annotated: (L,) labels that are annotated, or (N, L) where that depends on the row;
            judged from `raw` when None, right for a whole split but not for a few of its rows.
    """
    import numpy as np

    targets = np.array(raw, dtype=np.float32)
    if annotated is None:
        annotated = np.asarray((~np.isnan(targets)).any(axis=0))
    if blank == "zeros":
        targets[np.isnan(targets) & annotated] = 0.0
    targets[targets == -1] = np.nan
    return targets


def training_targets(
    raw: Floats,
    policies: Sequence[str],
    *,
    blank: BlankPolicy = "zeros",
    row_keys: Sequence[str] = (),
    seed: int = 0,
    ones_lsr: tuple[float, float] = (0.55, 0.85),
    zeros_lsr: tuple[float, float] = (0.0, 0.3),
    annotated: Flags | None = None,
) -> Floats32:
    """Training targets (N, L) under one uncertainty policy per label; NaN = unknown, to be masked.

    ``ones``/``zeros`` map -1 to 1/0 and ``ignore`` to NaN (Irvin et al. 2019); ``ones-lsr`` and
    ``zeros-lsr`` draw it from a uniform range (Pham et al. 2021); ``multiclass`` keeps it as the
    third class, `UNCERTAIN_CLASS`; ``self-trained`` starts as ``ignore``: its second stage
    fills the NaN with a first model's scores (`fill_uncertain`).

    `raw` (N, L), `blank` and `annotated` are as in `evaluation_targets`, the L `policies` those of
    `policy_per_label`. N `row_keys` name the rows; a smoothed value depends on (seed, key, label
    position) alone, so row order and subsets do not change it.
    """
    import numpy as np

    targets = evaluation_targets(raw, blank, annotated=annotated)
    constants = {"ones": 1.0, "zeros": 0.0, "multiclass": UNCERTAIN_CLASS}
    ranges = {"ones-lsr": ones_lsr, "zeros-lsr": zeros_lsr}
    for column, policy in enumerate(policies):
        rows = np.flatnonzero(np.asarray(raw)[:, column] == -1)
        if policy in ranges:
            low, high = ranges[policy]
            draws = [_uniform(seed, row_keys[row], column) for row in rows.tolist()]
            targets[rows, column] = low + (high - low) * np.asarray(draws, dtype=np.float64)
        else:
            targets[rows, column] = constants.get(policy, np.nan)
    return targets


def fill_uncertain(
    targets: Floats32, raw: Floats, scores: Floats, policies: Sequence[str]
) -> Floats32:
    """Second stage of ``self-trained``: uncertain labels become a first model's scores.

    From (N, L) first-stage targets, raw labels, and scores in [0, 1] to a changed copy of the
    targets; of the L policies only ``self-trained`` columns change.
    """
    import numpy as np

    self_trained = np.asarray([policy == "self-trained" for policy in policies])
    filled: Floats32 = np.where((np.asarray(raw) == -1) & self_trained, scores, targets)
    return filled.astype(np.float32)


def one_class_labels(targets: Floats, labels: Sequence[str]) -> dict[str, str]:
    """Labels without a positive, a negative or any known value: nothing is learned of these.

    What is missing, by label: ``no positive among 65 known values``. A soft target, (N, L), counts
    as the class that it is nearer to.
    """
    import numpy as np

    targets = np.asarray(targets)
    n_positive = ((targets > 0.5) & (targets <= 1)).sum(axis=0).tolist()
    n_negative = (targets <= 0.5).sum(axis=0).tolist()
    found = {}
    for label, positive, negative in zip(labels, n_positive, n_negative, strict=True):
        if not positive or not negative:
            missing = "negative" if positive else "positive"
            known = f"no {missing} among {count(positive + negative, 'known value')}"
            found[label] = known if positive or negative else "no known value"
    return found


def describe_policy_changes(
    raw: Floats, targets: Floats, labels: Sequence[str]
) -> dict[str, dict[str, int]]:
    """What became of how many uncertain and blank labels, to be printed and recorded.

    From (N, L) raw labels and the training targets made of them: by label the counts over 0, such
    as ``{"uncertain->1": 123, "blank->0": 456}``. An outcome is ``0``, ``1``, ``soft`` (between the
    two), ``third class`` or ``masked``.

    Raises:
        ValueError: the arguments differ in shape.
    """
    import numpy as np

    raw, targets = np.asarray(raw), np.asarray(targets)
    if raw.shape != targets.shape or raw.shape[1] != len(labels):
        raise ValueError(f"raw {raw.shape}, targets {targets.shape}, {len(labels)} labels differ")
    origins = {"uncertain": raw == -1, "blank": np.isnan(raw)}
    outcomes = {
        "0": targets == 0.0,
        "1": targets == 1.0,
        "soft": (targets > 0.0) & (targets < 1.0),
        "third class": targets == UNCERTAIN_CLASS,
        "masked": np.isnan(targets),
    }
    counts = {
        f"{origin}->{outcome}": (was & became).sum(axis=0)
        for origin, was in origins.items()
        for outcome, became in outcomes.items()
    }
    return {
        label: {change: int(found[column]) for change, found in counts.items() if found[column]}
        for column, label in enumerate(labels)
    }


def _uniform(seed: int, row_key: str, column: int) -> float:
    digest = hashlib.blake2b(f"{seed}\0{column}\0{row_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def check_label_name(name: str) -> str:
    """A label as it may be shown, written into a table and made part of a file name.

    Raises:
        ValueError: empty, longer than `MAX_LABEL_LENGTH`, or with line breaks or control
            characters, of which a terminal makes what it likes.
    """
    controls = any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in name)
    if not name.strip() or len(name) > MAX_LABEL_LENGTH or controls:
        shown = repr(name[:40]) + ("..." if len(name) > 40 else "")
        text = f"label {shown}: not a name; 1 to {MAX_LABEL_LENGTH} characters on one line"
        raise ValueError(text)
    return name


def fold(name: str) -> str:
    """A label's name as it is compared."""
    return "".join(name.replace("_", " ").replace("-", " ").split()).lower()


_BY_FOLDED = {fold(name): label for label, names in VOCABULARY.items() for name in (*names, label)}


def align(name: str) -> str:
    """The vocabulary's name for a source's label; the source's own where there is none."""
    return _BY_FOLDED.get(fold(name), name.strip())


def match_label(name: str, labels: Iterable[str]) -> str | None:
    """The one of `labels` that the user named, or None.

    Letter case, ``_`` for a space and the vocabulary's other names are forgiven: ``effusion`` is
    ``Pleural Effusion``.
    """
    labels = list(labels)
    if name in labels:
        return name
    exact = {fold(label): label for label in labels}
    aligned = {fold(align(label)): label for label in labels}
    return exact.get(fold(name)) or aligned.get(fold(align(name)))


def resolve_label(name: str, labels: Sequence[str]) -> str:
    """The label that the user named, as `match_label`.

    Raises:
        ConfigError: no such label; the message has the near miss and the choices.
    """
    found = match_label(name, labels)
    if found is None:
        what = "not among this model's labels"
        raise ConfigError(unknown(f"label '{name}'", name, labels, what))
    return found


def choose_labels(
    names: Sequence[str], indices: Sequence[int], available: Sequence[str]
) -> tuple[str, ...]:
    """Some of a model's labels, `available`, in its order; all where none is named.

    By `names`, as the user wrote them, and `indices`, as the original scripts' ``--class_idx``.

    Raises:
        ConfigError: no such label or position; the message has the near miss.
    """
    wrong = [index for index in indices if not 0 <= index < len(available)]
    if wrong:
        listed = ", ".join(f"{number} {label}" for number, label in enumerate(available))
        raise ConfigError(f"--class-idx {wrong[0]}: no such output; choose from {listed}")
    chosen = {resolve_label(name, available) for name in names}
    chosen |= {available[index] for index in indices}
    return tuple(label for label in available if not chosen or label in chosen)


def file_name_of(label: str) -> str:
    """The label as part of a file name: ``Pleural Effusion`` -> ``Pleural_Effusion``.

    Anything that could leave a folder or break a shell becomes ``_`` too. What is too long for a
    file's name ends in a digest.
    """
    name = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in label).strip(".") or "_"
    content = name.encode()
    if len(content) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{content[: MAX_NAME_BYTES - 9].decode(errors='ignore')}_{digest}"
