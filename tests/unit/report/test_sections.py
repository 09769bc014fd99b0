"""What the sections say of whole and of partial artifacts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulmonet.explain.checks.localization import THRESHOLDS, MapScores, compare_with_baselines
from pulmonet.explain.results import Localization, MapVariant, Sanity, SanityStage
from pulmonet.files.write import write_json
from pulmonet.report.collect import collect
from pulmonet.report.context import Context
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.render.blocks import Bullets, Code, Section, Table, Text
from pulmonet.report.sections import build_document
from pulmonet.run.folder import RunDir
from report_factory import make_run


def _tables(sections: tuple[Section, ...]) -> list[Table]:
    found = []
    for section in sections:
        found += [block for block in section.blocks if isinstance(block, Table)]
        found += _tables(section.children)
    return found


def _build(artifacts_dir: Path) -> dict[str, Table]:
    document = build_document(Context(collect(artifacts_dir), Identities(b"k" * 32)))
    return {table.caption: table for table in _tables(document.sections)}


def test_every_table_has_a_cell_for_every_column(tmp_path: Path) -> None:
    make_run(tmp_path, "a", n_explained=1)
    make_run(tmp_path, "b", seed=2, config={"optim": {"lr": 3e-4}})
    for caption, table in _build(tmp_path).items():
        assert table.rows, caption
        assert {len(row) for row in table.rows} == {len(table.columns)}, caption


def test_settings_are_split_into_shared_and_different(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", config={"optim": {"lr": 3e-4}, "seed": 7})
    tables = _build(tmp_path)
    assert tables["Settings in which the runs differ"].columns == ("Run", "Learning rate", "Seed")
    shared = [row[0].text for row in tables["What was set"].rows]
    assert "Optimiser" in shared and "Seed" not in shared


def test_the_baseline_without_the_picture_stands_in_the_final_table(tmp_path: Path) -> None:
    make_run(tmp_path)
    last = _build(tmp_path)["Mean over the labels"].rows[-1]
    assert last[0].text == "without the picture" and last[1].text.startswith("0.610 (0.560")


def _sections(artifacts_dir: Path) -> dict[str, Section]:
    found: dict[str, Section] = {}

    def walk(sections: tuple[Section, ...]) -> None:
        for section in sections:
            found[section.title] = section
            walk(section.children)

    walk(build_document(Context(collect(artifacts_dir), Identities(b"k" * 32))).sections)
    return found


def _words(section: Section) -> str:
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    items = [
        f"{a} {b}" for block in section.blocks if isinstance(block, Bullets) for a, b in block.items
    ]
    return "\n".join([*texts, *items])


def _change_result(run_dir: RunDir, **changes: Any) -> None:
    """Rewrite the one evaluation of a run."""
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    document["runs"][0] |= changes
    path.write_text(json.dumps(document))


def test_runs_on_the_same_rows_have_a_best_one(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", skill=3.0)
    summary = _words(_sections(tmp_path)["Summary"])
    assert "The best run, b, reaches a mean AUROC" in summary
    assert "a cannot be told apart from it on these images." in summary
    assert "view, age and sex alone, without the image, 61." in summary
    table = _build(tmp_path)["Mean over the labels, best first"]
    assert [row[0].text for row in table.rows] == ["b", "a", "without the picture"]


def test_runs_on_other_rows_are_never_ranked(tmp_path: Path) -> None:
    """Folds: the same dataset and split by name, other patients in it."""
    make_run(tmp_path, "fold0")
    _change_result(make_run(tmp_path, "fold1", skill=3.0), dataset_fingerprint="e" * 64)
    sections = _sections(tmp_path)
    summary = _words(sections["Summary"])
    assert "fold1 (each run was tested on other images, so that none can be called best)" in summary
    assert "told apart" not in summary
    for name in ("fold0", "fold1"):
        section = sections[f"CheXpert-v1.0-small, valid split: {name}"]
        assert "cannot be compared" in _words(section)
        table = next(block for block in section.blocks if isinstance(block, Table))
        assert [row[0].text for row in table.rows] == [name, "without the picture"]


def test_an_unfinished_run_is_named_and_not_counted(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    unfinished = make_run(tmp_path, "b", evaluated=False, logged=False)
    record = json.loads(unfinished.config_path.read_text())
    record["provenance"] |= {"best_epoch": None, "status": "interrupted"}
    unfinished.config_path.write_text(json.dumps(record))
    summary = _words(_sections(tmp_path)["Summary"])
    assert "A computer program (DenseNet-121, a neural network)" in summary
    assert "It reaches a mean AUROC" in summary
    assert "Not trained to the end of an epoch, and not counted: b." in summary


def test_the_last_epoch_was_chosen_by_nothing(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, config={"select": {"checkpoint": "last"}})
    _change_result(run_dir, rows_used_for=[])
    rows = {row[0].text: row[1].text for row in _build(tmp_path)["What was set"].rows}
    assert rows["Checkpoint"] == "the last epoch"
    words = _words(_sections(tmp_path)["CheXpert-v1.0-small, valid split"])
    assert words.startswith("These rows chose neither a checkpoint nor a calibration.")


def test_groups_too_small_to_score_are_named_once(tmp_path: Path) -> None:
    make_run(tmp_path)
    table = _build(tmp_path)["Subgroups"]
    assert {row[0].text for row in table.rows} == {"sex: Female"}
    assert table.notes[-1] == "Too small to score: sex: <b>Other</b> (all labels)."


def test_thresholds_that_were_cross_fitted_are_told_from_the_stored_one(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    (path,) = run_dir.path.glob("evaluation_*.json")
    document = json.loads(path.read_text())
    for item in document["runs"][0]["labels"].values():
        for point in item["operating_points"]:
            point |= {"estimates": "procedure", "chosen_on": "these rows, cross-fitted"}
    path.write_text(json.dumps(document))
    table = _build(tmp_path)["Operating points"]
    assert "Threshold chosen on" not in table.columns
    assert table.notes[0] == "Chosen on these rows, cross-fitted."
    assert "the numbers are those of this procedure" in table.notes[-1]


def test_how_to_reproduce_repeats_training_and_evaluation(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, "a")
    _change_result(run_dir, blank="ignore")
    section = _sections(tmp_path)["How to reproduce"]
    (code,) = [block.text for block in section.blocks if isinstance(block, Code)]
    lines = code.splitlines()
    again = "pulmonet train --config a/run_config.json --out-dir . --name a-again"
    assert again in lines
    evaluated = "pulmonet evaluate a --artifacts-dir . --split valid --blank ignore"
    assert evaluated in lines


def test_runs_become_rows_when_they_are_many(tmp_path: Path) -> None:
    for number in range(5):
        make_run(tmp_path, f"run{number}", seed=number, logged=False)
    assert _build(tmp_path)["AUROC per label"].columns[0] == "Run"


def test_study_level_and_prevalence_are_told(tmp_path: Path) -> None:
    make_run(tmp_path)
    tables = _build(tmp_path)
    assert tables["Study level"].rows[-1][0].text == "macro"
    assert tables["Positive images per label"].rows[0][1].text == "360 (16.1 %)"
    assert [row[0].text for row in tables["Rows and patients in each role"].rows] == [
        "training",
        "validation split",
    ]


def test_the_final_table_serves_where_evaluations_are_gone(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    next(run_dir.path.glob("evaluation_*.json")).unlink()
    (tmp_path / "final_evaluation_results.csv").write_text("Model,Macro_AUROC\ndensenet121,0.8\n")
    table = _build(tmp_path)["final_evaluation_results.csv, as it is"]
    assert [cell.text for cell in table.rows[0]] == ["densenet121", "0.800"]


def localization_of(ways: dict[str, float], baseline: float) -> Localization:
    """Hit rates of some ways to make maps and of one baseline on 60 images, Edema alone."""

    def scores(rate: float) -> list[MapScores]:
        hits = np.arange(60) < round(60 * rate)
        return [MapScores(float(hit), 0.5, np.full(len(THRESHOLDS), 0.2)) for hit in hits]

    table = {name: scores(rate) for name, rate in ways.items()} | {"mean box": scores(baseline)}
    patients = [f"p{number // 2}" for number in range(60)]
    pairs = [(name, "mean box") for name in ways]
    variants = [
        MapVariant(name=name, method="layercam", layer=None if "last" in name else "layer3")
        for name in ways
    ]
    return Localization(
        runs=["f0", "f1"], variants=variants, dataset="cxr", split="valid", synthetic=False,
        regions="boxes.csv", n_unmatched=0, n_resamples=200, n_random_networks=3,
        labels={"Edema": compare_with_baselines(table, patients, pairs=pairs, n_resamples=200)},
    )  # fmt: skip


def texts_of(artifacts_dir: Path) -> str:
    document = build_document(Context(collect(artifacts_dir), Identities(b"k" * 32)))
    found: list[str] = []

    def walk(sections: tuple[Section, ...]) -> None:
        for section in sections:
            found.extend(block.text for block in section.blocks if isinstance(block, Text))
            walk(section.children)

    walk(document.sections)
    return "\n".join(found)


@pytest.mark.parametrize(("rate", "shown"), [(0.9, True), (0.5, False)])
def test_localisation_says_what_is_shown(tmp_path: Path, rate: float, shown: bool) -> None:
    run_dir = make_run(tmp_path)
    write_json(run_dir.explain_dir / "localization.json", localization_of({"gradcam": rate}, 0.4))
    table = _build(tmp_path)["Localisation on cxr, out of fold over 2 folds"]
    assert [row[1].text for row in table.rows] == ["gradcam", "mean box"]
    assert [cell.text for cell in table.rows[0][2:4]] == ["60", "30"]
    assert "gradcam: maps of layer layer3." in table.notes
    assert table.rows[0][4].text.startswith(f"{rate:.2f} (")
    words = texts_of(tmp_path)
    assert ("beaten beyond the interval for Edema (gradcam)" in words) == shown
    assert ("no label's maps are shown to beat every baseline" in words) != shown


def test_several_ways_are_called_a_choice(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    found = localization_of({"layercam last": 0.4, "layercam layer3": 0.9, "layer3": 0.9}, 0.4)
    write_json(run_dir.explain_dir / "localization.json", found)
    notes = " ".join(_build(tmp_path)["Localisation on cxr, out of fold over 2 folds"].notes)
    assert "maps of layer" not in notes, "the rows say so"
    assert "3 ways were tried on the same rows" in notes
    assert "for Edema (layercam layer3, layer3)." in texts_of(tmp_path)


def test_checks_stay_in_the_report_when_other_images_are_explained(tmp_path: Path) -> None:
    """They have files of their own; explanations.json is only of the newest call's images."""
    run_dir = make_run(tmp_path, n_explained=1)
    stage = SanityStage(stage="conv1", mean=0.1, low=0.0, high=0.2, n=8)
    sanity = Sanity(
        statistic="mean correlation", value=0.1, threshold=0.5, passed=True, n_images=8, n_seeds=3,
        stages=[stage],
    )  # fmt: skip
    write_json(run_dir.explain_dir / "sanity.json", sanity)
    assert "Sanity check passed: mean correlation: 0.100" in texts_of(tmp_path)
    assert collect(tmp_path).runs[0].heat_maps.images[0].image is not None


def test_the_strip_paints_no_map_of_what_is_absent_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulmonet.report.sections import explanations

    strips: list[list[tuple[str, np.ndarray]]] = []

    def noting(_: np.ndarray, overlays: list[tuple[str, np.ndarray]]) -> bytes:
        strips.append(overlays)
        return b""

    monkeypatch.setattr(explanations, "draw_heat_map_strip", noting)
    make_run(tmp_path, n_explained=1)
    collection = collect(tmp_path)
    (run,) = collection.runs
    image = run.heat_maps.images[0]
    maps = np.ones_like(image.maps)
    maps[1] = 0
    thresholds = {image.labels[0]: 1.1, image.labels[1]: 0.0, image.labels[2]: 0.0}
    changed = replace(image, maps=maps, thresholds=thresholds)
    run = replace(run, heat_maps=replace(run.heat_maps, images=(changed,)))
    explanations.explanations_section(
        Context(replace(collection, runs=(run,)), Identities(b"k" * 32))
    )
    found = {words.partition(" 0")[0]: (words, drawn) for words, drawn in strips[0]}
    for position, ending, colours in ((0, ", absent", 2), (1, ", empty map", 2), (2, "", 3)):
        words, drawn = found[image.labels[position]]
        assert words.endswith(ending or words) and drawn.ndim == colours
