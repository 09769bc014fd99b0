"""How predictions are evaluated: flags of `evaluate` take default, choices and help from here."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pulmonet import choices
from pulmonet.config.section import Section
from pulmonet.errors import ConfigError
from pulmonet.labels import match_label
from pulmonet.words import did_you_mean

DEFAULT_CRITERIA = ("youden", "f1", "sensitivity=0.9", "specificity=0.9")


def check_criterion(criterion: str) -> str:
    """Normalise ``Sensitivity=0.90`` to ``sensitivity=0.9``.

    Raises:
        ConfigError: unknown, or a wanted value outside (0, 1).
    """
    name, separator, text = criterion.strip().lower().partition("=")
    if name in choices.CRITERIA and not separator:
        return name
    if name in choices.CRITERIA_WITH_VALUE and separator:
        wanted = _fraction(text)
        if wanted is not None:
            return f"{name}={wanted:g}"
        raise ConfigError(f"--threshold {criterion}: '{text}' is not a fraction between 0 and 1")
    every = [*choices.CRITERIA, *(f"{known}=0.9" for known in choices.CRITERIA_WITH_VALUE)]
    what = f"--threshold {criterion}: unknown criterion{did_you_mean(name, every)}"
    raise ConfigError(f"{what}; choose from {', '.join(every)}")


def _fraction(text: str) -> float | None:
    """A number between 0 and 1, both left out; None for all else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1 else None


def _read_prevalence(given: Any) -> Any:
    """``["0.05", "Edema=0.1"]`` as a mapping."""
    if not isinstance(given, list | tuple):
        return given
    found = {}
    for text in given:
        label, _, fraction = text.rpartition("=")
        value = _fraction(fraction)
        if value is None:
            words = f"--prevalence {text}: not a fraction between 0 and 1; write 0.05 or Edema=0.05"
            raise ConfigError(words)
        found[label.strip()] = value
    return found


def _check_resamples(n_resamples: int) -> int:
    if not 100 <= n_resamples <= 100_000:
        raise ConfigError(
            f"--bootstrap {n_resamples}: an interval needs 100 to 100,000 resamples; 1000 is usual"
        )
    return n_resamples


class EvaluationOptions(Section):
    """How predictions are evaluated."""

    n_resamples: Annotated[int, BeforeValidator(_check_resamples)] = 1000
    """Resamples of the patients."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the resamples and folds."""
    interval: choices.IntervalKind = "logit"
    """Bootstrap interval of AUROC and average precision."""
    level: choices.Level = "image"
    """What is scored."""
    study_rule: choices.StudyRule = "max"
    """Score of a study, of its images' scores."""
    criteria: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda given: tuple(map(check_criterion, given)) or DEFAULT_CRITERIA),
    ] = DEFAULT_CRITERIA
    """Operating points, youden, f1, sensitivity=S, specificity=S or ppv=P; the first is that of the
    subgroups."""
    calibrator: choices.CalibratorKind = "platt"
    """Map from score to probability."""
    prevalence: Annotated[dict[str, float], BeforeValidator(_read_prevalence)] = {}  # noqa: RUF012
    """Where it is to be used: 0.05, or per label Edema=0.05."""
    primary: str = "macro"
    """Primary endpoint of the comparison: the AUROC of a label, or macro."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Non-inferiority margin of the primary endpoint, such as 0.02."""
    subgroup_columns: tuple[str, ...] = ()
    """Further columns to split by, beside sex, age and view."""

    def prevalence_of(self, label: str) -> float | None:
        """Deployment prevalence of a label, where stated; the key "" serves all others."""
        return self.prevalence.get(match_label(label, self.prevalence) or "")
