"""A number with its 95 % interval, as it stands in every result."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from pulmonet.choices import IntervalKind
from pulmonet.run.record import Record

#: A float whose NaN is written as null.
Number = Annotated[
    float | None,
    BeforeValidator(lambda one: None if isinstance(one, float) and not math.isfinite(one) else one),
]


class Estimate(Record):
    """A number with its 95 % interval."""

    value: Number
    """The estimate on all rows; null where it does not exist."""
    low: Number = None
    high: Number = None
    reason: str | None = None
    """Why the value or its interval is missing."""

    def caveat(self) -> str | None:
        """Why there is no value or interval, or why it says nothing: AUROC 1.000 (1.000–1.000)."""
        if self.low is None or self.low != self.high:
            return self.reason
        return "all resamples give this value: an interval without width, other patients may differ"

    def text(self, digits: int = 3) -> str:
        """``0.812 (0.774–0.846)``, or an en dash where there is no value."""
        words = number(self.value, digits)
        bare = self.value is None or self.low is None or self.high is None
        return words if bare else f"{words} ({self.interval(digits)})"

    def interval(self, digits: int = 3) -> str:
        """``0.774–0.846``; negative ends are joined by a word, which a dash would hide."""
        joint = " to " if self.low is not None and self.low < 0 else "–"
        return f"{number(self.low, digits)}{joint}{number(self.high, digits)}"


def number(value: float | None, digits: int = 3) -> str:
    """``0.812``; an en dash where there is none, no minus before zero."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:z.{digits}f}".replace("-", "−")


def without_intervals(found: Any, reason: str) -> Any:
    """A record, or a list of them, without the interval of any estimate, bin or curve in it."""
    if isinstance(found, list):
        return [without_intervals(part, reason) for part in found]
    if isinstance(found, Estimate):
        return Estimate(value=found.value, reason=found.reason or reason)
    if not isinstance(found, Record):
        return found
    parts = {name: without_intervals(part, reason) for name, part in found}
    for name, part in parts.items():
        if name in {"observed_low", "observed_high"}:
            parts[name] = None
        elif isinstance(part, list) and (name.startswith("band_") or name in {"low", "high"}):
            parts[name] = []
    return found.model_copy(update=parts)


class BootstrapFacts(Record):
    """How the intervals were made."""

    unit: Literal["patient", "image"]
    """What was resampled; images only where the rows name no patients."""
    n_resamples: int
    n_redrawn: int
    """Resamples with one class of a label: of that label alone, another stands in."""
    seed: int
    method: IntervalKind
    confidence: float = 0.95
