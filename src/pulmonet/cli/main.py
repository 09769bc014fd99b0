"""The command line: five Typer signatures, and `main`, where an error becomes an exit code.

Nothing heavy is imported here; every command imports its flow when it is called.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from pulmonet import __version__
from pulmonet.choices import UNCERTAIN_POLICIES
from pulmonet.errors import ConfigError, PulmoNetError, TrainingError


class Command(TyperCommand):
    """A command whose help does without Python's words for types."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the help option too."""
        return _name_values(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run it; typer would end without a word where Ctrl-C comes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


#: Commands that one may look for, and what does their work.
ELSEWHERE = {
    "predict": "pulmonet explain IMAGE gives an image's scores",
    "export": "pulmonet evaluate RUN --export onnx",
    "test": "pulmonet evaluate RUN --split test",
}


class Group(TyperGroup):
    """The same for `pulmonet` itself."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the help option too."""
        return _name_values(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; for some that do not exist, where their work is done."""
        if args[0] in ELSEWHERE:
            raise ConfigError(f"pulmonet {args[0]}: no such command; {ELSEWHERE[args[0]]}")
        return super().resolve_command(ctx, args)


def _name_values(parameters: Sequence[Any]) -> Sequence[Any]:
    """A flag takes no value; a list is given by repeating, a value at a time."""
    for option in parameters:
        if isinstance(option, TyperOption) and option.metavar is None:
            if option.is_flag:
                option.metavar = ""
            elif option.multiple:
                option.metavar = "<str>"
    return parameters


app = typer.Typer(
    name="pulmonet",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate, explain and report multi-label chest X-ray classifiers.\n\n"
    "Research and education only; not a medical device.\n\n"
    "Without any data: [bold]pulmonet prepare --demo[/bold]. Help on one command: "
    "[bold]pulmonet train --help[/bold].",
)


MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", help="Columns of your own CSV: path=FileName; repeatable."),
]
JoinOption = Annotated[
    str | None, typer.Option("--join", help="CSV with further columns, by patient or image.")
]
SplitsOption = Annotated[
    str | None,
    typer.Option("--splits", help="splits.csv (patient, split) or a shareable split."),
]


class Terminated(BaseException):
    """SIGTERM arrived outside a place that handles it itself."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where errors become codes.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        0 done; 2 flag, config, model or label name; 3 data; 4 artifacts; 5 training;
        130 interrupted; 143 terminated; 1 is a bug, with its traceback.
    """
    arguments = [_with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    arguments = _with_common_flags_first(arguments)
    _open_standard_streams()
    previous = _catch_sigterm()
    try:
        result: Any = app(args=arguments, prog_name="pulmonet", standalone_mode=False)
        _flush_output()
        return int(result or 0)
    except TyperException as error:
        _show_usage_error(error)
        return error.exit_code
    except PulmoNetError as error:
        from pulmonet.flows.console import show_error

        show_error(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except Terminated:
        sys.stderr.write("terminated\n")
        return 143
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich, in the middle of a help page
            return 0
        return error.code if isinstance(error.code, int) else 1
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.EMFILE, errno.ENFILE}:
            return _show_bug()
        return _show_too_little(error)
    except Exception:
        return _show_bug()
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _show_bug() -> int:
    traceback.print_exc()
    sys.stderr.write("This is a bug in pulmonet; please report it with the lines above.\n")
    return 1


def _show_too_little(error: OSError | MemoryError) -> int:
    """The system's limits, met anywhere: nothing that could need more of it is called here."""
    if isinstance(error, MemoryError):
        text = "memory: there is not enough; lower --batch-size, --image-size or --num-workers"
    else:
        text = "open files: this process may have no more; raise the limit with `ulimit -n 1024`"
    sys.stderr.write(f"error: {text}\n")
    return TrainingError.exit_code


def _open_standard_streams() -> None:
    """Closed ones lead nowhere, or the first files opened would get their numbers and words."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    if sys.stdout is None:  # Python was started without
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # seldom: the way out is not imported for a mere --help
        from pulmonet.flows.console import flush

        flush()


def _show_usage_error(error: Any) -> None:
    """Typer's own message; an empty command line has shown the help already."""
    if type(error).__name__ != "NoArgsIsHelpError":
        error.show()


def _with_common_flags_first(arguments: list[str]) -> list[str]:
    """``pulmonet train --quiet`` is ``pulmonet --quiet train``."""
    common = [argument for argument in arguments if argument in {"--quiet", "-q", "--verbose"}]
    return common + [argument for argument in arguments if argument not in common]


def _with_dashes(argument: str) -> str:
    """``--batch_size=8`` -> ``--batch-size=8``: the original scripts' spelling."""
    if not argument.startswith("--"):
        return argument
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value


def _catch_sigterm() -> Any:
    def raise_terminated(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    try:
        return signal.signal(signal.SIGTERM, raise_terminated)
    except ValueError:  # not in the main thread: whoever runs us handles signals
        return None


def _print_version(wanted: bool) -> None:
    if wanted:
        from pulmonet.flows import console

        if "--verbose" in sys.argv:
            from pulmonet.flows.version import describe_installation

            console.say(describe_installation())
        else:
            console.say(f"pulmonet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version (with --verbose also torch and the device) and exit.",
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    from pulmonet.flows import console

    console.configure(quiet=quiet, verbose=verbose)


@app.command(cls=Command)
def prepare(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Dataset folder, or one that holds exactly one. Default: ./data, else the one "
            "prepared last."
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="The same as SOURCE.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Draw synthetic chest phantoms (SOURCE: where).")
    ] = False,
    patients: Annotated[
        int | None, typer.Option(help="Patients of the demo set. Default 200.")
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Only check: exit code 0 or 3, no pack.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(help="Largest size to train at, pixels. Default 224.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="How images become square: stretch (default), pad, crop.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Labels that must be there, or all; repeatable, takes commas."),
    ] = None,
    map_: MapOption = None,
    join: JoinOption = None,
    splits: SplitsOption = None,
    export_split: Annotated[
        Path | None, typer.Option(help="Write the split with salted patient hashes (.json).")
    ] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave unusable images out.")
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out-dir", "-o", help="Report folder. Default: artifacts/prepare/NAME."),
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(help="Decoding threads. Default: all cores.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the demo set and splits.")] = None,
    config: Annotated[
        str | None, typer.Option(help="run_config.json, a TOML file, or a recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field: data.field=value.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> int:
    """Check a dataset, sum it up, and pack its images once for all later runs.

    Example: [bold]pulmonet prepare data/CheXpert-v1.0-small[/bold]
    """
    from pulmonet.config.load import load_config
    from pulmonet.flows import console
    from pulmonet.flows.prepare.flow import run

    if json:
        console.reserve_stdout_for_json()
    flags = {
        "seed": seed,
        "data.image_size": image_size,
        "data.fit": fit,
        "data.labels": split_commas(labels),
        "data.map": parse_map(map_),
        "data.join": join,
        "data.splits": splits,
        "data.skip_bad": skip_bad,
        "runtime.num_workers": num_workers,
    }
    run_config = load_config(config, flags, set_ or [])
    return run(
        run_config,
        source=source or data_dir or run_config.data.data_dir,
        demo=demo,
        n_patients=patients,
        check_only=check_only,
        num_workers=num_workers,
        out_dir=out_dir,
        export_split=export_split,
    )


@app.command(cls=Command)
def train(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="densenet121 (default), resnet50, efficientnet_b0, timm:NAME; in place of all "
            "of a recipe.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data. Default 5.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step. Default 32.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. Default 1e-4.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side. Default 224.")] = None,
    num_workers: Annotated[int | None, typer.Option(help="Loader threads. Default 2.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw. Default 42.")] = None,
    amp: Annotated[
        bool | None,
        typer.Option("--amp/--no-amp", help="Mixed precision, or fp32. Default: what pays."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Labels to train on, or all; repeatable, takes commas."),
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="all (default), frontal, AP, PA or lateral.")
    ] = None,
    subset: Annotated[
        float | None, typer.Option(help="Share of the training patients. Default 1.")
    ] = None,
    subset_mode: Annotated[
        str | None, typer.Option(help="patient (default) or image: what --subset draws.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Patient folds over all rows.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which fold validates, from 0.")] = None,
    map_: MapOption = None,
    join: JoinOption = None,
    splits: SplitsOption = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Dataset folder, or one that holds exactly one.")
    ] = None,
    out_dir: Annotated[Path, typer.Option(help="Artifacts folder.")] = Path("artifacts"),
    uncertain_policy: Annotated[
        list[str] | None,
        typer.Option(
            help="ones (default), zeros, ignore, ones-lsr, zeros-lsr, multiclass, self-trained; "
            "or per label: Edema=ones,Consolidation=zeros."
        ),
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Before the classifier.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="imagenet (default), none, or a weights file.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (default), cpu, cuda, cuda:N or mps.")
    ] = None,
    select_on: Annotated[
        str | None,
        typer.Option(help="Rows that choose the best epoch: valid (default) or dev."),
    ] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave unreadable images out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the model's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that exists.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(help="run_config.json, a TOML file, or a recipe (original, quick, strong)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field: section.field=value; repeatable."),
    ] = None,
) -> int:
    """Train a network; gives artifacts/<run>/ with weights, log, curves and configuration.

    Example: [bold]pulmonet train --model densenet121 --subset 0.01[/bold]
    """
    from pulmonet.flows.train import resume as command

    flags = {
        "model.name": model,
        "model.alternate": None if model is None else [],  # a recipe's go with its own model
        "model.weights": weights,
        "model.dropout": dropout,
        "optim.epochs": epochs,
        "optim.batch_size": batch_size,
        "optim.lr": lr,
        "seed": seed,
        "data.data_dir": data_dir,
        "data.labels": split_commas(labels),
        "data.views": views,
        "data.subset": subset,
        "data.subset_mode": subset_mode,
        "data.image_size": image_size,
        "data.folds": folds,
        "data.fold": fold,
        "data.map": parse_map(map_),
        "data.join": join,
        "data.splits": splits,
        "data.skip_bad": skip_bad,
        "targets.uncertain_policy": parse_policy(uncertain_policy),
        "select.on": select_on,
        "runtime.num_workers": num_workers,
        "runtime.device": device,
        "runtime.amp": None if amp is None else ("on" if amp else "off"),
    }
    return command.run(
        source=config,
        flags=flags,
        assignments=set_ or [],
        out_dir=out_dir,
        name=name,
        resume=resume,
        overwrite=overwrite,
    )


@app.command(cls=Command)
def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs by name or folder. Default: all."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "--model", "-m", help="Runs, too; repeatable, takes commas."),
    ] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path(
        "artifacts"
    ),
    out_dir: Annotated[
        Path | None, typer.Option(hidden=True, help="The same as --artifacts-dir.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Dataset folder. Default: the run's own.")
    ] = None,
    map_: MapOption = None,
    join: JoinOption = None,
    splits: SplitsOption = None,
    split: Annotated[
        str | None, typer.Option(help="train, valid or test. Default: valid, else the only one.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="Evaluate saved scores instead: CSV with LABEL and LABEL_score, as FILE or "
            "NAME=FILE; repeatable.",
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="One more row: the mean of the runs' scores.")
    ] = False,
    ensemble_name: Annotated[
        str | None, typer.Option(help="Its name, and --ensemble. Default: ensemble.")
    ] = None,
    pool_folds: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One more row, NAME: runs of all patient folds, each scored on its own fold.",
        ),
    ] = None,
    tta: Annotated[
        str,
        typer.Option(
            help="Test-time augmentation: none, jitter (mean over 5 views: small zooms and "
            "rotations) or flip."
        ),
    ] = "none",
    level: Annotated[str, typer.Option(help="image or study.")] = "image",
    study_rule: Annotated[str, typer.Option(help="Images of a study: max or mean.")] = "max",
    labels: Annotated[
        list[str] | None, typer.Option(help="Only these labels; repeatable, takes commas.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="all, frontal, AP, PA, lateral. Default: the run's.")
    ] = None,
    blank: Annotated[
        str, typer.Option(help="What a blank label counts as: zeros (negative) or ignore.")
    ] = "zeros",
    bootstrap: Annotated[int, typer.Option(help="Resamples of the patients.")] = 1000,
    interval: Annotated[str, typer.Option(help="percentile or bca.")] = "percentile",
    seed: Annotated[int, typer.Option(help="Seed of the resamples and folds.")] = 42,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help="Operating points: youden, f1, sensitivity=0.9, specificity=0.9, ppv=0.5; "
            "repeatable, takes commas."
        ),
    ] = None,
    calibrator: Annotated[str, typer.Option(help="platt, temperature or isotonic.")] = "platt",
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="Where it is to be used: 0.05, or per label Edema=0.05; repeatable."),
    ] = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option(help="Further columns to split by, beside sex, age and view; repeatable."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.")] = 32,
    num_workers: Annotated[int | None, typer.Option(help="Loader threads.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw ROC, reliability and the others.")
    ] = True,
    export: Annotated[
        str | None,
        typer.Option(help="onnx: also write model.onnx into each run's folder."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Evaluate runs, or saved predictions: tables with intervals, comparison, figures.

    Example: [bold]pulmonet evaluate densenet121 resnet50 --split valid[/bold]

    Without torch or data: [bold]pulmonet evaluate --predictions scores.csv[/bold]
    """
    from pulmonet.flows import console
    from pulmonet.flows.evaluate import flow as command
    from pulmonet.flows.evaluate.combine import choose_combination

    if json:
        console.reserve_stdout_for_json()
    if export is not None:
        from pulmonet.flows.evaluate.export import check_format

        check_format(export, predictions or [])
    options = command.make_options(
        bootstrap=bootstrap,
        seed=seed,
        interval=interval,
        level=level,
        study_rule=study_rule,
        thresholds=split_commas(threshold) or [],
        calibrator=calibrator,
        prevalence=split_commas(prevalence) or [],
        subgroups=split_commas(subgroup) or [],
    )
    artifacts_dir = out_dir or artifacts_dir
    names = [*(runs or []), *(split_commas(models) or [])]
    combination = choose_combination(
        ensemble=ensemble, ensemble_name=ensemble_name, pool_folds=pool_folds, tta=tta
    )
    code = command.run(
        runs=names,
        artifacts_dir=artifacts_dir,
        predictions=predictions or [],
        options=options,
        labels=split_commas(labels) or [],
        combination=combination,
        figures=figures,
        data={
            "data_dir": data_dir,
            "columns": given({"map": parse_map(map_), "join": join, "splits": splits}),
            "split": split,
            "views": views,
            "blank": blank,
            "batch_size": batch_size,
            "num_workers": num_workers,
            "device": device,
            "tta": tta,
        },
    )
    if export is not None:
        from pulmonet.flows.evaluate.export import run as export_runs

        code = export_runs(names, artifacts_dir) or code
    return code


@app.command(cls=Command)
def explain(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="X-rays: JPEG, PNG or DICOM files, folders, globs. Without any: the first "
            "validation row."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            "--model",
            "-m",
            help="Run. Default: best validation AUROC. With --boxes also folds: a,b,c.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label to explain; repeatable, takes commas. Default: all."),
    ] = None,
    class_idx: Annotated[
        list[int] | None,
        typer.Option(metavar="<int>", help="Label by its position, from 0; repeatable."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="gradcam, gradcam++, hirescam, layercam, scorecam, integrated-gradients or "
            "occlusion. With --boxes also several: a,b."
        ),
    ] = "gradcam",
    layer: Annotated[
        str | None,
        typer.Option(
            help="Module to read maps from, e.g. layer3. Default: last, the last feature map. "
            "With --boxes also several: a,b."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Explain rows of the dataset: train, valid or test.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(help="all, frontal, AP, PA, lateral. Default: the run's.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="How many of the split's rows.")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="boxes.csv or CheXlocalize JSON: how well maps point at findings."),
    ] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Check that maps depend on the weights.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="With --sanity: a run to compare maps with.")
    ] = None,
    artifacts_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path(
        "artifacts"
    ),
    data_dir: Annotated[str | None, typer.Option(help="Dataset. Default: the run's own.")] = None,
    map_: MapOption = None,
    join: JoinOption = None,
    splits: SplitsOption = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Where to write. Default: artifacts/<run>/explain.")
    ] = None,
    colour_map: Annotated[
        str,
        typer.Option(
            "--colour-map",
            "--color-map",
            help="plasma, inferno, magma, viridis, cividis, turbo or jet.",
        ),
    ] = "plasma",
    show_absent: Annotated[
        bool, typer.Option("--show-absent", help="Draw maps of findings below threshold too.")
    ] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write DICOM Secondary Captures.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="With --boxes: resamples of the patients.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout.")
    ] = False,
) -> int:
    """Heat maps and scores of X-rays; with --boxes or --sanity, whether the maps are any good.

    Example: [bold]pulmonet explain image.jpg --label Edema[/bold]
    """
    from pulmonet.flows.explain import options as command

    return command.run(
        images=images or [],
        run_name=run,
        labels=split_commas(label) or [],
        class_indices=class_idx or [],
        method=method,
        layer=layer,
        colour_map=colour_map,
        artifacts_dir=artifacts_dir,
        data_dir=data_dir,
        columns=given({"map": parse_map(map_), "join": join, "splits": splits}),
        split=split,
        views=views,
        n_rows=rows,
        out_dir=out_dir,
        boxes=boxes,
        n_resamples=bootstrap,
        sanity=sanity,
        against=against,
        show_absent=show_absent,
        dicom=dicom,
        device=device,
        json_output=json_output,
    )


@app.command(cls=Command)
def report(
    artifacts_dir: Annotated[
        Path, typer.Option("--artifacts-dir", help="Folder that holds the runs.")
    ] = Path("artifacts"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the report, or a file ending in .md."),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also write report.html, one file to send around.")
    ] = False,
    author_notes: Annotated[
        Path | None,
        typer.Option("--author-notes", help="TOML file with what only the authors know."),
    ] = None,
    show_identifiers: Annotated[
        bool,
        typer.Option("--show-identifiers", help="Write patient ids and paths as they are."),
    ] = False,
) -> int:
    """Write a report from the artifacts alone; needs neither torch nor the data.

    Example: [bold]pulmonet report --html[/bold]
    """
    from pulmonet.flows.report import run

    return run(
        artifacts_dir=artifacts_dir,
        output=output,
        html=html,
        author_notes=author_notes,
        show_identifiers=show_identifiers,
    )


def parse_map(values: list[str] | None) -> dict[str, str] | None:
    """``["path=FileName", "patient=PatientID"]`` as a mapping."""
    if not values:
        return None
    pairs = [value.partition("=") for value in values]
    wrong = [value for value, (_, sign, _) in zip(values, pairs, strict=True) if not sign]
    if wrong:
        raise ConfigError(f"--map {wrong[0]}: no '='; write --map path=COLUMN")
    return {key.strip(): column.strip() for key, _, column in pairs}


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Only the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def split_commas(values: list[str] | None) -> list[str] | None:
    """``["a,b", "c"]`` -> ``["a", "b", "c"]``: options that repeat and take commas."""
    if not values:
        return None
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def parse_policy(values: list[str] | None) -> str | dict[str, str] | None:
    """``--uncertain-policy ones`` or ``Edema=ones,Consolidation=zeros``.

    Raises:
        ConfigError: nothing in it, or two policies for the same labels.
    """
    if values is None:
        return None
    parts = split_commas(values)
    if not parts:
        raise ConfigError(
            f"--uncertain-policy: names no policy; choose from {', '.join(UNCERTAIN_POLICIES)}"
        )
    if len(parts) == 1 and "=" not in parts[0]:
        return parts[0]
    policies: dict[str, str] = {}
    for part in parts:
        label, sign, policy = part.rpartition("=")
        key = label.strip() if sign else "default"
        if key in policies:
            who = key if sign else "all labels"
            raise ConfigError(
                f"--uncertain-policy: {policies[key]} and {policy} for {who}; give one of them"
            )
        policies[key] = policy.strip()
    return policies
