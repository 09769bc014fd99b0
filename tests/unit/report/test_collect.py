"""Reading artifacts: what is missing is missing, what is damaged is named, the rest goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from pulmonet.errors import ArtifactError
from pulmonet.metrics.results import Comparison, Evaluation
from pulmonet.report.collect import collect
from pulmonet.run.folder import RunDir
from report_factory import make_predictions, make_result, make_run, write_evaluation


def test_a_whole_run_is_read_whole(tmp_path: Path) -> None:
    make_run(tmp_path, "a", n_explained=2)
    collection = collect(tmp_path)
    (run,) = collection.runs
    assert not collection.problems
    assert run.log is not None and len(run.log) == 5
    assert run.curves is not None and run.results[0].n_rows == 90
    assert run.predictions[0].dataset == "CheXpert-v1.0-small"
    assert run.predictions[0].split == "valid"
    assert len(run.heat_maps.images) == 2
    assert run.heat_maps.images[0].image == make_predictions("a", run.labels).paths[0]


def test_an_empty_or_absent_folder_says_how_to_get_a_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no trained run; train one with"):
        collect(tmp_path)
    with pytest.raises(ArtifactError, match="no such folder; train one with"):
        collect(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run_config.json", "{"),
        ("training_log.csv", "\0\n"),
        ("training_log.csv", ""),
        ("training_log.csv", "epoch,val_macro_auroc\n1,0.38=8\n"),
        ("curves.png", "no picture"),
        ("predictions_CheXpert-v1.0-small_valid.csv", "Path,Edema\nx,1\n"),
        ("evaluation_CheXpert-v1.0-small_valid.json", '{"schema": 1, "runs": [{"run": 3}]}'),
        ("evaluation_CheXpert-v1.0-small_valid.json", "[" * 100_000),
        ("calibration.json", "[]"),
        ("explain/explanations.json", "[]"),
        ("explain/localization.json", "[]"),
        ("explain/sanity.json", "{"),
    ],
)
def test_a_damaged_file_is_named_and_the_other_run_goes_on(
    tmp_path: Path, name: str, content: str
) -> None:
    damaged = make_run(tmp_path, "damaged", n_explained=1)
    make_run(tmp_path, "whole", seed=2)
    (damaged.path / name).write_text(content)
    collection = collect(tmp_path)
    assert [problem.where for problem in collection.problems] == [f"damaged/{name}"]
    assert str(tmp_path) not in collection.problems[0].what
    assert collection.runs[-1].name == "whole" and collection.runs[-1].results


def test_damaged_heat_maps_are_named(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, n_explained=2)
    path = next(run_dir.explain_dir.glob("*/maps.npz"))
    path.write_bytes(b"PK no archive")
    collection = collect(tmp_path)
    assert collection.problems[0].where == path.relative_to(tmp_path).as_posix()
    assert len(collection.runs[0].heat_maps.images) == 1


def test_no_readable_run_is_an_error(tmp_path: Path) -> None:
    (make_run(tmp_path).config_path).write_text("{}")
    with pytest.raises(ArtifactError, match="none of its 1 runs can be read"):
        collect(tmp_path)


def test_untouched_rows_speak_for_the_run_before_rows_that_chose_it(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    test_rows = make_predictions("densenet121", ["Edema"], split="test")
    result = make_result(test_rows).model_copy(update={"rows_used_for": []})
    write_evaluation(run_dir, Evaluation(runs=[result]))
    main = collect(tmp_path).runs[0].main_result()
    assert main is not None and main.split == "test"


def test_the_best_run_has_the_highest_evaluated_auroc(tmp_path: Path) -> None:
    make_run(tmp_path, "weak", skill=0.3)
    make_run(tmp_path, "strong", skill=3.0)
    make_run(tmp_path, "unevaluated", evaluated=False)
    assert collect(tmp_path).best_run().name == "strong"


def test_an_export_of_other_weights_is_named_stale(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    ours = run_dir.read_record().provenance.checkpoint_sha256
    for digest, n_stale in (("0" * 64, 1), (ours, 0)):
        end = b'\n\x11checkpoint_sha256\x12\x42"%s"r' % str(digest).encode()
        run_dir.onnx_path.write_bytes(b"graph" * 100_000 + end)
        stale = [one for one in collect(tmp_path).stale if one.where == "a/model.onnx"]
        assert len(stale) == n_stale
        assert all("run `pulmonet evaluate --export onnx` again" in one.what for one in stale)


def test_a_folder_without_a_run_is_left_alone(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    RunDir(tmp_path / "b").path.mkdir()
    assert [run.name for run in collect(tmp_path).runs] == ["a"]


def test_letters_of_a_comparison_that_a_run_has_left_are_dropped(tmp_path: Path) -> None:
    runs = {name: make_run(tmp_path, name, seed=seed) for seed, name in enumerate("ab")}
    results = {name: make_result(make_predictions(name, ["Edema"])) for name in runs}
    pair = Comparison(
        a="a", b="b", metric="auroc", label=None, difference=0.1, low=-0.1, high=0.3,
        p=0.4, distinguished=False,
    )  # fmt: skip
    for name, run_dir in runs.items():
        write_evaluation(run_dir, Evaluation(runs=[results[name]], comparisons=[pair]))
    together = collect(tmp_path)
    assert [run.results[0].group_letters for run in together.runs] == ["a", "a"]
    assert len(together.comparisons) == 1

    alone = results["a"].model_copy(update={"group_letters": ""})
    write_evaluation(runs["a"], Evaluation(runs=[alone]))
    apart = collect(tmp_path)
    assert [run.results[0].group_letters for run in apart.runs] == ["", ""]
    assert apart.comparisons == ()


def test_figures_for_print_are_smaller_on_the_page_and_those_of_many_smaller_still(
    tmp_path: Path,
) -> None:
    large = io.BytesIO()
    Image.new("RGB", (2160, 900), "#0072B2").save(large, "png")
    for number in range(5):
        run_dir = make_run(tmp_path, f"run{number}", logged=False, n_rows=40)
        if number == 0:
            key = ("CheXpert-v1.0-small", "valid", "decision")
            run_dir.figure_path(key[2], *key[:2]).write_bytes(large.getvalue())
        if number in (0, 3, 4):
            (shown, *_) = collect(tmp_path).runs
            with Image.open(io.BytesIO(shown.figures[key])) as image:
                assert image.size == ((720, 300) if number == 4 else (1080, 450))
                assert image.convert("RGB").getpixel((5, 5)) == (0, 0x72, 0xB2)
