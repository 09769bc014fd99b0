"""What `evaluate` writes and where: JSON and figures of a run, the table and figure of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pulmonet.errors import ArtifactError
from pulmonet.files.write import write_atomic, write_json
from pulmonet.flows.evaluate.material import Material
from pulmonet.metrics import final_table
from pulmonet.metrics.results import Comparison, Evaluation, RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from pulmonet.words import list_first

if TYPE_CHECKING:
    import pandas as pd


def check_folder(
    run_dir: RunDir, combines: str | None, members: Sequence[str], tta: str, flag: str
) -> None:
    """Refuse a folder that holds a run, or results of something else; earlier ones of it may be.

    Args:
        run_dir: where results are to go that are no run's own.
        combines: ``ensemble``, ``out-of-fold``, or None for a file of scores, or for a run with
            test-time augmentation.
        members: the runs combined.
        tta: none, jitter or flip.
        flag: that chooses another folder.

    Raises:
        ArtifactError: the folder is taken, or its results cannot be read.
    """
    path = run_dir.path
    if run_dir.exists():
        raise ArtifactError(f"{path}: holds a run, which stays; choose another name ({flag})")
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: a file; choose another name ({flag})")
    files = sorted(path.glob("[!.]*")) if path.is_dir() else []
    results = [file for file in files if file.match("evaluation_*.json")]
    found = [result for file in results for result in read_evaluation(file).runs]
    wanted = (combines, sorted(members), tta)
    for one in found:
        if (one.combines, sorted(one.members), one.tta) != wanted:
            raise ArtifactError(
                f"{path}: holds results of {_what(one)}, which stay; choose another name "
                f"({flag}), or move the folder away"
            )
    if files and not found and wanted != (None, [], "none"):
        raise ArtifactError(
            f"{path}: holds other files ({list_first(file.name for file in files)}); choose "
            f"another name ({flag})"
        )


def _what(result: RunResult) -> str:
    if result.combines is None:
        return "a file of scores" if result.tta == "none" else f"a run with --tta {result.tta}"
    kind = "the ensemble of" if result.combines == "ensemble" else "the folds"
    return f"{kind} {', '.join(result.members)}"


def write_run(material: Material, result: RunResult, comparisons: Sequence[Comparison]) -> None:
    """A run's evaluation_*.json, and its predictions where they are in no file yet."""
    own = [record for record in comparisons if result.run in (record.a, record.b)]
    document = Evaluation(runs=[result], comparisons=own)
    write_json(
        material.run_dir.evaluation_path(result.dataset, result.split),
        document.model_dump(mode="json", by_alias=True),
    )
    if not material.is_saved:  # after the JSON, which tells whose folder this is
        path = material.run_dir.predictions_path(result.dataset, result.split)
        material.predictions.write(path)


def write_figures(material: Material, result: RunResult) -> None:
    """A run's figures, beside its evaluation_*.json."""
    from pulmonet.figures.evaluation import evaluation_figures

    path = material.run_dir.evaluation_path(result.dataset, result.split)
    for name, png in evaluation_figures(result, material.read_image).items():
        write_atomic(path.with_name(f"{name}{path.stem.removeprefix('evaluation')}.png"), png)


def write_table(path: Path, earlier: pd.DataFrame, results: Sequence[RunResult]) -> None:
    """The final table as CSV and Markdown: earlier rows, and those of `results`."""
    table = final_table.merge(earlier, final_table.table_of(results))
    labels = list(dict.fromkeys(label for result in results for label in result.labels))
    labels = final_table.labels_in(table, labels)
    write_atomic(path, final_table.to_csv(table, labels))
    write_atomic(path.with_suffix(".md"), final_table.to_markdown(table, labels))


def write_comparison_figure(
    artifacts_dir: Path, results: Sequence[RunResult], comparisons: Sequence[Comparison]
) -> None:
    """model_comparison.png, where there is something to compare."""
    from pulmonet.figures.comparison import draw_model_comparison

    if any(result.macro.auroc.value is not None for result in results):
        write_atomic(
            artifacts_dir / "model_comparison.png", draw_model_comparison(results, comparisons)
        )
