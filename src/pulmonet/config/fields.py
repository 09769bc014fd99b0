"""RunConfig: everything that decides a training run, in one frozen object.

A field, its type, default and meaning stand in one place, here; the configuration page of the
documentation is generated from it. Flags, ``--config`` and ``--set`` all end in `load_config`.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pulmonet import choices
from pulmonet.config.section import (
    Bounds,
    Fraction,
    NotNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
    in_order,
)
from pulmonet.labels import DEFAULT_LABELS, UncertainPolicy, check_label_name
from pulmonet.words import did_you_mean


class ModelConfig(Section):
    """The network and what its weights start from."""

    name: Annotated[str, Field(examples=[*choices.TORCHVISION_MODELS, "timm:NAME"])] = "densenet121"
    """Architecture; those of timm take the extra `timm`."""
    weights: Annotated[str, Field(examples=["imagenet", "none", "RUN", "PATH"])] = "imagenet"
    """Where the weights start, RUN by its name, PATH of a .pth or .safetensors file."""
    dropout: Fraction | None = None
    """Dropout before the classifier; by default the network's own (0.2 for EfficientNet-B0)."""
    output_stride: Literal[32, 16] = 32
    """Pixels a cell of the last feature map is apart: 16 gives maps of twice the cells a side."""
    freeze: Annotated[str | None, Field(examples=["encoder", "STAGE"])] = None
    """What is not trained: encoder (all but the classifier), or all up to a STAGE (blocks.4)."""
    members: Annotated[int, Field(ge=1, le=100)] = 1
    """Deep ensemble (Lakshminarayanan et al. 2017): so many networks, trained one after the other,
    each from first weights and an order of the data of its own; a score is the mean of theirs."""
    alternate: tuple[str, ...] = ()
    """Further architectures for the members of an ensemble, which take turns: the first is `name`,
    the next the first of these, and so on in a circle."""

    @field_validator("name", "alternate")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if not name.startswith("timm:") and name not in choices.TORCHVISION_MODELS:
                known = choices.TORCHVISION_MODELS
                meant = f"{', '.join(known)} or timm:NAME{did_you_mean(name, known)}"
                raise ValueError(f"{name}: unknown model; choose from {meant}")
        return value

    @model_validator(mode="after")
    def _a_turn_for_each(self) -> Self:
        turns = len(self.alternate) + 1
        if self.members < turns:
            raise ValueError(
                f"alternate: with `name` these are {turns} turns, and members = {self.members} are "
                f"too few for them; set model.members to {turns} or more, or model.alternate=[]"
            )
        return self

    def member(self, number: int) -> Self:
        """The 0-based member of an ensemble as a network of its own."""
        names = (self.name, *self.alternate)
        turn = {"name": names[number % len(names)], "members": 1, "alternate": ()}
        return self.model_copy(update=turn)

    def architectures(self) -> dict[str, int]:
        """Name of an architecture -> members that have it, in the order of their first turns."""
        return dict(Counter(self.member(number).name for number in range(self.members)))

    def summary(self, named: Callable[[str], str] = str) -> str:
        """``densenet121``, of an ensemble ``densenet121 × 2 + resnet50 × 1``.

        `named` gives an architecture's name as it is to be read.
        """
        if self.members == 1:
            return named(self.name)
        return " + ".join(f"{named(name)} × {n}" for name, n in self.architectures().items())


class DataConfig(Section):
    """Which rows of which dataset are trained on, at which size."""

    data_dir: str | tuple[str, ...] | None = None
    """Dataset folder, or one that holds exactly one; several, or a TOML file that lists them."""
    same_patients: tuple[str, ...] = ()
    """Collections whose patient numbers mean the same people, by name, A,B."""
    labels: tuple[str, ...] = DEFAULT_LABELS
    """Labels to train on, in this order; `all` takes every annotated label of the source."""
    auxiliary_labels: tuple[str, ...] = ()
    """Further labels that are only trained on (they shape the features), neither scored nor
    part of best_model.pth; `all` takes every other annotated label."""
    views: choices.Views = "all"
    """Rows by view."""
    subset: Share = 1.0
    """Fraction of the training patients (or images) that is used."""
    subset_mode: choices.SubsetMode = "patient"
    """What `subset` draws, patients with all their images or single images."""
    balance: choices.Balance = "rows"
    """What an epoch goes over, each row once or as many rows from each collection."""
    image_size: Annotated[int, Field(ge=32, le=2048)] = 224
    """Side of the square that the network sees, pixels."""
    fit: choices.Fit = "stretch"
    """How images become square."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Patient folds over all rows, in place of the source's own splits."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the folds validates, from 0."""
    valid_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Fraction of the patients split off for validation where the source has no such split."""
    splits: str | None = None
    """A splits.csv (patient, split), or a shareable split (.json), instead of the source's own."""
    skip_bad: bool = False
    """Leave unreadable images out (named and counted) instead of stopping."""
    follow_links: bool = False
    """Read images behind symbolic links that lead out of the dataset folder, too."""
    join: str | None = None
    """CSV with further columns (race, site, ...), by patient or image path."""
    map: dict[str, str] = {}  # noqa: RUF012  (pydantic copies a default for every object)
    """Columns of your own CSV, path=FileName."""
    shuffle_labels: bool = False
    """Permute the training labels over the rows: a network for sanity checks, nothing else."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.labels:
            raise ValueError("labels: at least one label is needed")
        for label in (*self.labels, *self.auxiliary_labels):
            check_label_name(label)
        for field in ("labels", "auxiliary_labels"):
            if len(set(getattr(self, field))) != len(getattr(self, field)):
                raise ValueError(f"{field}: the same label twice")
        for label in sorted(set(self.labels) & set(self.auxiliary_labels) - {"all"}):
            raise ValueError(f"auxiliary_labels: {label} is among labels already")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: {self.fold} is not below folds = {self.folds} (--fold)")
        return self


class TargetConfig(Section):
    """What uncertain and blank labels become in training."""

    uncertain_policy: UncertainPolicy | dict[str, UncertainPolicy] = "ones"
    """One policy for all labels, or one per label, `default` for the rest."""
    blank: choices.BlankPolicy = "zeros"
    """What a blank (not mentioned) label becomes."""
    ones_lsr: Bounds = (0.55, 0.85)
    """Range of the smoothed positive that `ones-lsr` draws (Pham et al. 2021)."""
    zeros_lsr: Bounds = (0.0, 0.3)
    """Range of the smoothed negative that `zeros-lsr` draws (Pham et al. 2021)."""
    self_trained_epochs: PositiveInt | None = None
    """Epochs of the first stage of `self-trained`; null takes `optim.epochs`."""


class OptimConfig(Section):
    """Optimiser, schedule, and how long."""

    name: choices.Optimiser = "adam"
    """adam, adamw, sgd, or pesg (the min-max optimiser that `loss.name = "aucm"` needs)."""
    lr: Positive = 1e-4
    """Learning rate; the peak of a schedule."""
    weight_decay: NotNegative = 0.0
    """Weight decay (decoupled for adamw)."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of sgd; in pesg the weight of the new gradient, as in LibAUC."""
    schedule: choices.Schedule = "constant"
    """Learning rate over the run, per step."""
    warmup_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of the steps over which the rate rises (cosine, one-cycle: 0.3 when 0)."""
    min_lr_fraction: Fraction = 0.01
    """Final learning rate of cosine and one-cycle, as a fraction of `lr`."""
    epochs: PositiveInt = 5
    """Passes over the training rows, for each member of an ensemble."""
    batch_size: PositiveInt = 32
    """Images per optimiser step, over all processes."""
    micro_batch_size: PositiveInt | None = None
    """Images per forward pass; smaller than batch_size accumulates gradients."""
    clip_norm: Positive | None = None
    """Global gradient norm to clip at; null does not clip."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Decay of an exponential moving average of the weights; null keeps none."""
    patience: PositiveInt | None = None
    """Early stopping: epochs without a better validation AUROC; null never stops early."""
    growth: tuple[tuple[PositiveInt, PositiveInt], ...] = ()
    """Growing sizes: (pixels, epochs) stages that come first; the rest at data.image_size."""
    prolonged: tuple[tuple[PositiveInt, PositiveInt], ...] = ()
    """Earlier plans of a run that got more epochs: (epochs planned, epochs trained by then)."""

    @model_validator(mode="after")
    def _plans_fit(self) -> Self:
        if (n_epochs := sum(each for _, each in self.growth)) > self.epochs:
            raise ValueError(f"growth: its {n_epochs} epochs exceed epochs = {self.epochs}")
        plans = [*self.prolonged, (self.epochs, self.epochs)]
        rising = all(a < c and b < d for (a, b), (c, d) in pairwise(plans))
        if not rising or any(trained > planned for planned, trained in plans):
            raise ValueError("prolonged: does not lead to epochs; set optim.prolonged=[]")
        return self

    def planned(self, epoch: int) -> int:
        """Over how many epochs the learning rate is spread in a 0-based epoch."""
        plans = (planned for planned, trained in self.prolonged if epoch < trained)
        return next(plans, self.epochs)


class LossConfig(Section):
    """The loss, from logits; unknown targets are masked."""

    name: choices.Loss = "bce"
    """bce, balanced-bce (class-balanced), focal, asymmetric (ASL) or aucm (AUC margin)."""
    pos_weight: choices.PositiveWeight = "none"
    """balanced weighs positives by negatives / positives of the training rows, per label."""
    pos_weight_max: Positive = 20.0
    """Cap on a balanced pos_weight, so that a label with a handful of positives stays stable."""
    focal_gamma: NotNegative = 2.0
    """Focusing parameter of focal (Lin et al. 2017)."""
    focal_alpha: Fraction | None = None
    """Weight of positives in focal; null weighs both alike."""
    class_balanced_beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Beta of the effective number of samples (Cui et al. 2019)."""
    asl_gamma_negative: NotNegative = 4.0
    """Focusing of negatives in asymmetric (Ridnik et al. 2021)."""
    asl_gamma_positive: NotNegative = 1.0
    """Focusing of positives in asymmetric."""
    asl_clip: Fraction = 0.05
    """Probability margin of asymmetric."""
    aucm_margin: Positive = 1.0
    """Margin of aucm (Yuan et al. 2021)."""
    aucm_epoch_decay: NotNegative = 0.002
    """Epoch regularisation of pesg."""
    aucm_positive_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Fraction of positives of the batch's label in class-aware batches (aucm)."""


class PointingConfig(Section):
    """A loss beside `loss` that teaches the class maps where findings lie, from boxes."""

    boxes: Annotated[str | None, Field(examples=[choices.OWN_BOXES, "FILE"])] = None
    """Boxes to teach the maps, the dataset's own or a file; null teaches none."""
    weight: Positive = 0.05
    """Weight of the mean over a step's boxed labels, beside the mean of `loss`."""
    form: choices.PointingForm = "mass"
    """mass (of the map's softmax inside the boxes), cells (cross-entropy of each cell), lse or pcam
    (log-sum-exp or probabilistic-CAM pooling inside the boxes against outside)."""
    temperature: Positive = 1.0
    """Divides the map."""


class AugmentConfig(Section):
    """What training does to an image on its way from the pack; drawn from (seed, epoch, row)."""

    geometry: choices.Geometry = "jitter"
    """jitter: small affine over the whole image; original: centre crop, RandomResizedCrop."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 7.0
    """Largest rotation either way (jitter)."""
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Largest translation either way, as a fraction of the side (jitter)."""
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Largest zoom either way: 0.1 draws from 0.9 to 1.1 (jitter)."""
    crop_scale: Annotated[tuple[Share, Fraction], AfterValidator(in_order)] = (0.8, 1.0)
    """Area range of RandomResizedCrop (original)."""
    flip: Fraction = 0.0
    """Probability of a horizontal flip; hearts are on the left, so 0 by default."""
    brightness: Fraction = 0.0
    """Largest change of brightness, as a fraction of 255."""
    contrast: Fraction = 0.0
    """Largest change of contrast, as a fraction."""
    mixup_alpha: NotNegative = 0.0
    """Alpha of MixUp (Zhang et al. 2018); 0 does none."""


class SelectConfig(Section):
    """Which rows choose the best epoch."""

    on: choices.SelectOn = "valid"
    """Rows that choose the best epoch; dev is a fraction of the training patients."""
    dev_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Fraction of the training patients that `dev` takes."""
    checkpoint: choices.KeptCheckpoint = "best"
    """best keeps the epoch with the highest macro AUROC; last keeps the final epoch."""


class RuntimeConfig(Section):
    """Where and how fast; none of it changes what is computed, apart from rounding."""

    device: Annotated[str, Field(examples=list(choices.DEVICES))] = "auto"
    """Where it is computed."""
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Loader threads; null: 2, on a GPU a thread a core, up to 8."""
    amp: choices.Precision = "auto"
    """Mixed precision: auto takes what was measured to pay for this network and device."""
    compile: bool = False
    """torch.compile the network (GPU); a batch of another length is done without."""
    compile_mode: choices.CompileMode = "default"
    """How it is compiled; reduce-overhead records CUDA graphs, of batches without micro-batches."""
    cuda_graph: bool = False
    """Record a training step of each image size as one CUDA graph, and replay it."""
    cudnn_benchmark: bool = False
    """Let cuDNN try its kernels on each shape and take the fastest."""
    resident: bool = False
    """Keep the images of a run in the GPU's memory, where they fit."""
    sync_batch_norm: bool | None = None
    """Batch norm over all GPUs of torchrun; null: below 16 images a GPU."""
    deterministic: bool = False
    """Deterministic kernels alone, slower: the same bits on the same GPU."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of torch; null keeps torch's own choice."""
    checkpoint_minutes: Positive = 10.0
    """Save last_checkpoint.pth at least this often, and at the end of every epoch."""
    nonfinite_limit: Annotated[int, Field(ge=0)] = 20
    """Steps with a non-finite gradient that fp16 may skip in a row before the run ends."""
    keep_checkpoint: bool = True
    """Keep last_checkpoint.pth of a finished run; without it the run takes no more epochs."""
    tensorboard: bool = False
    """Also write TensorBoard events."""
    mlflow: bool = False
    """Also log to MLflow, at MLFLOW_TRACKING_URI or in ./mlruns."""


class RunConfig(Section):
    """One run, from `prepare` to `report`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of every random draw."""
    model: ModelConfig = ModelConfig.model_construct()
    data: DataConfig = DataConfig.model_construct()
    targets: TargetConfig = TargetConfig.model_construct()
    optim: OptimConfig = OptimConfig.model_construct()
    loss: LossConfig = LossConfig.model_construct()
    pointing: PointingConfig = PointingConfig.model_construct()
    augment: AugmentConfig = AugmentConfig.model_construct()
    select: SelectConfig = SelectConfig.model_construct()
    runtime: RuntimeConfig = RuntimeConfig.model_construct()

    def flat(self) -> dict[str, Any]:
        """All values as JSON has them, by dotted name: ``seed``, ``optim.lr``."""
        return {
            f"{section}.{name}".removesuffix("."): value
            for section, values in self.model_dump(mode="json").items()
            for name, value in (values if isinstance(values, dict) else {"": values}).items()
        }

    @property
    def total_epochs(self) -> int:
        """Epochs of all members together."""
        return self.optim.epochs * self.model.members

    @model_validator(mode="after")
    def _rules_across_sections(self) -> Self:
        aucm, several = self.loss.name == "aucm", self.model.members > 1
        policy = self.targets.uncertain_policy
        multiclass = "multiclass" in ([policy] if isinstance(policy, str) else policy.values())
        mixed, taught = self.augment.mixup_alpha > 0, self.pointing.boxes is not None
        broken = {
            "pos_weight": self.loss.pos_weight == "balanced"
            and self.loss.name in ("balanced-bce", "aucm"),
            "optimiser": aucm != (self.optim.name == "pesg"),
            "balance": aucm and self.data.balance != "rows",
            "batch_size": aucm and self.optim.batch_size < 2,
            "mixup_and_aucm": aucm and mixed,
            "best_of_members": several and self.select.checkpoint != "last",
            "patience_of_members": several and self.optim.patience is not None,
            "multiclass": multiclass and self.loss.name != "bce",
            "mixup_and_multiclass": multiclass and mixed,
            "mixup_and_boxes": taught and mixed,
            "shuffled_boxes": taught and self.data.shuffle_labels,
            "frozen": self.model.freeze == "encoder" and (mixed or taught or self.optim.growth),
            "cuda_graph": self.runtime.cuda_graph and (taught or aucm or self.runtime.compile),
            "cudnn_benchmark": self.runtime.cudnn_benchmark and self.runtime.deterministic,
        }
        for rule in filter(broken.get, broken):
            raise ValueError(_rules()[rule].format(loss=self.loss.name))
        return self

    def without_effect(self, given: Iterable[str]) -> dict[str, str]:
        """Which of the fields that were given, dotted, do nothing -> what they need."""
        values, needs = self.flat(), _rules()["needs"]
        found = {}
        for name in needs.keys() & set(given):
            field, _, wanted = needs[name].partition("=")
            value = values[field]
            if not (any(one in str(value) for one in wanted.split("|")) if wanted else value):
                found[name] = needs[name].replace("|", " or ")
        return found


def _rules() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))
