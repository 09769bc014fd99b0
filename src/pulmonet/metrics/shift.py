"""How evaluated rows differ from the rows trained on: prevalence, age, view, sex."""

from collections.abc import Sequence

import numpy as np

from pulmonet.arrays import Floats, Strings
from pulmonet.metrics.baseline import KnownRows
from pulmonet.metrics.results import Shift


def describe_shift(labels: Sequence[str], training: KnownRows, here: KnownRows) -> Shift:
    """Compare the rows trained on with the rows here, label by label and in view, age and sex."""
    prevalence = {
        label: (_mean(training.targets[:, i]), _mean(here.targets[:, i]))
        for i, label in enumerate(labels)
    }
    ages = (_mean(training.covariates.age_years), _mean(here.covariates.age_years))
    views = _shares(training.covariates.view, here.covariates.view)
    sex = _shares(training.covariates.sex, here.covariates.sex)
    notes: list[tuple[float, str]] = []
    for label, (before, now) in prevalence.items():
        if before is None or now is None:
            continue
        ratio = (now + 1e-9) / (before + 1e-9)
        if max(ratio, 1 / ratio) >= 1.5:
            text = f"{label}: {now:.1%} positive here, {before:.1%} in training"
            notes.append((abs(np.log(ratio)), text))
    if ages[0] is not None and ages[1] is not None and abs(ages[1] - ages[0]) >= 3:
        text = f"age: mean {ages[1]:.0f} years here, {ages[0]:.0f} in training"
        notes.append((abs(ages[1] - ages[0]) / 10, text))
    for kind, shares in (("view", views), ("sex", sex)):
        for name, (before, now) in shares.items():
            if (gap := abs((now or 0) - (before or 0))) >= 0.1:
                text = f"{now:.0%} of rows here, {before:.0%} in training"
                notes.append((2 * gap, f"{kind} {name or 'unknown'}: {text}"))
    notes.sort(key=lambda entry: -entry[0])
    return Shift(
        notes=[text for _, text in notes],
        prevalence=prevalence,
        mean_age_years=ages,
        views=views,
        sex=sex,
    )


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.mean(known, dtype=np.float64)) if len(known) else None


def _shares(before: Strings, now: Strings) -> dict[str, tuple[float | None, float | None]]:
    names = sorted({str(value) for value in before} | {str(value) for value in now})
    return {name: (float(np.mean(before == name)), float(np.mean(now == name))) for name in names}
