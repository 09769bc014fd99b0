"""What `evaluate` can be asked for: its flags take default and help from here."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from pulmonet.choices import DEVICES, BlankPolicy, ExportFormat, FigureFormat, Tta
from pulmonet.config.section import PositiveInt, Section
from pulmonet.errors import ConfigError
from pulmonet.flows.options import RowOptions, check_options
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.run.folder import check_run_name
from pulmonet.words import list_first, unknown

_BESIDE_VERIFY = {"verify", "runs", "predictions", "artifacts_dir", "data_dir", "columns", "device"}
_BESIDE_VERIFY |= {"batch_size", "num_workers"}


class Combination(NamedTuple):
    """One more row of results, made of all runs that are evaluated."""

    kind: Literal["ensemble", "out-of-fold"]
    name: str
    flag: str
    """That names it"""


Fraction = Annotated[float, Field(gt=0, lt=1)]


class Plan(Section):
    """What a study is to reach, and what its size is computed from."""

    width: Fraction | None = None
    """Of the 95 % interval of an AUROC, end to end."""
    difference: Fraction | None = None
    """Of the AUROCs of two models."""
    power: Fraction = 0.8
    auroc: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    prevalence: Fraction | None = None
    images: Annotated[float, Field(ge=1)] = 1
    """A patient."""
    alike: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Correlation of the scores of two images of a patient, given the class."""
    models: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """Correlation of the scores of two models, given the class."""


def _read_plan(given: Any) -> Any:
    """``["auroc=0.8", "width=0.1"]`` as the fields of a `Plan`."""
    if not isinstance(given, list | tuple):
        return given
    values = {key.strip(): value for key, _, value in (text.partition("=") for text in given)}
    for key in values:
        if key not in Plan.model_fields:
            raise ConfigError(unknown(f"--plan {key}", key, list(Plan.model_fields)))
    if not {"width", "difference"} & {*values}:
        raise ConfigError("--plan: name what is wanted, width=0.1 or difference=0.03, or both")
    return check_options(Plan, values, {key: f"--plan {key}" for key in values}).model_dump()


def _read_arms(given: Any) -> Any:
    """``["quick=quick-0,quick-1"]`` as a mapping."""
    if not isinstance(given, list | tuple):
        return given
    arms: dict[str, tuple[str, ...]] = {}
    for text in given:
        name, _, runs = text.partition("=")
        members = tuple(dict.fromkeys(run.strip() for run in runs.split(",") if run.strip()))
        if not name.strip() or len(members) < 2:
            raise ConfigError(f"--arm {text}: write NAME=RUN,RUN with two or more runs")
        if name.strip() in arms:
            raise ConfigError(f"--arm {text}: another arm has this name; choose another")
        if twice := {run for one in arms.values() for run in one} & {*members}:
            raise ConfigError(f"--arm {text}: {list_first(sorted(twice))} is in another arm, too")
        arms[name.strip()] = members
    return arms


class EvaluateOptions(RowOptions, EvaluationOptions):
    """What is evaluated, which rows the runs score and how, and what is made of the scores."""

    runs: tuple[str, ...] = ()
    """Runs, too"""
    artifacts_dir: Path = Path("artifacts")
    """Folder that holds the runs"""
    predictions: tuple[Path, ...] = ()
    """Evaluate saved scores instead: CSV with LABEL and LABEL_score, as FILE or NAME=FILE"""
    ensemble: bool = False
    """One more row: the mean of the runs' scores"""
    ensemble_name: str | None = None
    """Its name, and --ensemble. Default: ensemble"""
    arms: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_read_arms)] = {}  # noqa: RUF012
    """Compare seeds of one recipe as one arm, with their variance: NAME=RUN,RUN"""
    pool_folds: str | None = None
    """One more row of this name: runs of all patient folds, each scored on its own fold"""
    tta: Tta = "none"
    """Test-time augmentation, the mean over 5 views (jitter: small zooms and rotations) or 2."""
    blank: BlankPolicy = "zeros"
    """What a blank label counts as, negative or unknown."""
    batch_size: PositiveInt = 32
    """Images a forward pass."""
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Loader threads."""
    device: Annotated[str, Field(examples=list(DEVICES))] = "auto"
    """Where it is computed."""
    labels: tuple[str, ...] = ()
    """Only these labels"""
    plan: Annotated[dict[str, Any], BeforeValidator(_read_plan)] = {}  # noqa: RUF012
    """How many patients a study needs, nothing else: width=0.1 or difference=0.03 (with power=0.8),
    from --predictions or from auroc=0.8, prevalence=0.1, images=2"""
    figures: tuple[FigureFormat, ...] = ("png",)
    """Files of ROC, reliability and the other figures"""
    no_figures: bool = False
    """Draw none."""
    export: ExportFormat | None = None
    """Also write model.onnx into each run's folder"""
    verify: bool = False
    """Write nothing: score again, compute every number again, and compare with what is there."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse what saved scores or the installation cannot give, and two rows of all."""
        if self.verify and self.model_dump(exclude_defaults=True).keys() - _BESIDE_VERIFY:
            raise ConfigError(
                "--verify: checks evaluations as they were made; beside it only runs, "
                "--predictions, --artifacts-dir, where the data are, --device, --batch-size and "
                "--num-workers"
            )
        if self.predictions:
            if self.export is not None:
                raise ConfigError("--export: saved predictions hold no network; name runs instead")
            if self.tta != "none":
                text = f"--tta {self.tta}: saved scores have no images; name runs instead"
                raise ConfigError(text)
            if self.runs:
                text = "--predictions: takes no runs beside it; name runs or predictions files"
                raise ConfigError(text)
            choosing = [name for name in ("data_dir", "views") if getattr(self, name) is not None]
            if not self.verify and (choosing := [*choosing, *self.columns]):
                flag = f"--{choosing[0].replace('_', '-')}"
                text = f"{flag}: every row of saved scores is evaluated; leave out rows of the file"
                raise ConfigError(text)
        if self.export is not None:
            from pulmonet.models.onnx import check_onnx_installed

            check_onnx_installed()
        self.combination()
        return self

    def name_of(self, name: str) -> str:
        """What the results of `name` are called: ``quick+jitter`` with test-time augmentation."""
        return name if self.tta == "none" else f"{name}+{self.tta}"

    def combination(self) -> Combination | None:
        """What is to be made of all runs beside their own rows.

        Raises:
            ConfigError: two at once, or a name that is no folder's.
        """
        name = self.ensemble_name
        if name is None and self.ensemble:
            name = "ensemble"
        found = Combination("ensemble", name or "", "--ensemble-name")
        if self.pool_folds is not None:
            if name is not None:
                text = "--pool-folds: folds share no rows that --ensemble could average; choose one"
                raise ConfigError(text)
            found = Combination("out-of-fold", self.pool_folds, "--pool-folds")
        elif name is None:
            return None
        check_run_name(found.name, found.flag)
        return found._replace(name=self.name_of(found.name))
