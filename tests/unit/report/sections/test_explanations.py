"""Localisation, sanity and the strips of heat maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pulmonet.explain.checks.localization import THRESHOLDS, MapScores, compare_with_baselines
from pulmonet.explain.results import Localization, MapVariant, Sanity, SanityStage
from pulmonet.files.write import write_json
from pulmonet.metrics.estimate import Estimate
from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import Identities
from pulmonet.run.record import BoxFacts
from report_factory import make_run
from report_reader import tables_of, texts_of


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


@pytest.mark.parametrize(("rate", "shown"), [(0.9, True), (0.5, False)])
def test_localisation_says_what_is_shown(tmp_path: Path, rate: float, shown: bool) -> None:
    run_dir = make_run(tmp_path)
    write_json(run_dir.explain_dir / "localization.json", localization_of({"gradcam": rate}, 0.4))
    table = tables_of(tmp_path)["Localisation on cxr, out of fold over 2 folds"]
    assert [row[1].text for row in table.rows] == ["gradcam", "mean box"]
    assert [cell.text for cell in table.rows[0][2:4]] == ["60", "30"]
    assert "gradcam: maps of layer layer3." in table.notes
    assert table.rows[0][4].text.startswith(f"{rate:.2f} (")
    words = texts_of(tmp_path)
    assert ("gradcam significantly better than every baseline: Edema." in words) == shown
    not_shown = "Not significantly better than every baseline: Edema (best baseline: mean box)."
    assert (not_shown in words) != shown


def test_several_ways_are_called_a_choice(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    found = localization_of({"layercam last": 0.4, "layercam layer3": 0.9, "layer3": 0.9}, 0.4)
    write_json(run_dir.explain_dir / "localization.json", found)
    notes = " ".join(tables_of(tmp_path)["Localisation on cxr, out of fold over 2 folds"].notes)
    assert "maps of layer" not in notes, "the rows say so"
    words = texts_of(tmp_path)
    assert "3 ways were tried on the same rows" in words
    for name in ("layercam layer3", "layer3"):
        assert f"Pointing game, {name} significantly better than every baseline: Edema." in words


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
    of_method = sanity.model_copy(update={"method": "occlusion"})
    write_json(run_dir.explain_dir / "sanity.json", of_method)
    assert "Sanity check of occlusion passed: mean correlation: 0.100" in texts_of(tmp_path)
    assert collect(tmp_path).runs[0].heat_maps.images[0].image is not None


def test_the_reference_of_an_image_is_not_another_one_s(tmp_path: Path) -> None:
    """The end of a path is another hospital's, too; with the dataset's folder it is this one."""
    from pulmonet.report.sections.explanations import _identify

    make_run(tmp_path, n_explained=1)
    (run,) = collect(tmp_path).runs
    image, rows = run.heat_maps.images[0], run.predictions[0]
    path = rows.paths[0]
    for name, known in (
        (path, True),
        (f"/home/me/{rows.dataset}/{path}", True),
        (f"{rows.dataset}/{path}", True),
        (f"/home/me/other hospital/{path}", False),
        (f"two/{path}", False),
    ):
        found, targets = _identify(run, replace(image, image=name))
        assert (found, bool(targets)) == (path if known else name, known)


def test_the_strip_paints_no_map_of_what_is_absent_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulmonet.report.sections import explanations

    strips: list[list[tuple[str, np.ndarray]]] = []

    def noting(name: str, _: np.ndarray, overlays: list[tuple[str, np.ndarray]]) -> bytes:
        assert name == "X-ray"
        strips.append(overlays)
        return b""

    monkeypatch.setattr(explanations, "draw_heat_map_strip", noting)
    make_run(tmp_path, n_explained=1)
    collection = collect(tmp_path)
    (run,) = collection.runs
    image = run.heat_maps.images[0]
    maps = np.ones_like(image.maps)
    maps[1] = 0
    judged = {"auroc": Estimate(value=0.8, low=0.7, high=0.9), "present": True, "overlay": "a.png"}
    told = [judged | {"present": False, "overlay": None}, judged | {"empty": True}, judged]
    found = {
        label: image.found[label].model_copy(update=update)
        for label, update in zip(image.labels, told, strict=False)
    }
    changed = replace(image, maps=maps, found={**image.found, **found})
    run = replace(run, heat_maps=replace(run.heat_maps, images=(changed,)))
    explanations.explanations_section(
        Context(replace(collection, runs=(run,)), Identities(b"k" * 32))
    )
    strip = {words.partition(" 0")[0]: (words, drawn) for words, drawn in strips[0]}
    below, above = (f"\n{way} the threshold (Youden's)\nAUROC" for way in ("below", "above"))
    expected = ((0, below, ")", 2), (1, above, ")\nempty map", 2), (2, above, ")", 3))
    for position, verdict, ending, colours in expected:
        words, drawn = strip[image.labels[position]]
        assert verdict in words and words.endswith(ending) and drawn.ndim == colours


def test_maps_that_were_taught_are_called_so(tmp_path: Path) -> None:
    """Among the explanations and among the limitations, which the model card has, too."""
    run_dir = make_run(tmp_path)
    assert "were taught" not in texts_of(tmp_path)
    record = run_dir.read_record()
    facts = BoxFacts(
        file="boxes.csv", digest="", boxes={"Edema": 13, "Mass": 1200}, images={}, patients={},
        n_images=1100, n_patients=1,
    )  # fmt: skip
    run_dir.write_record(record.config, record.provenance.model_copy(update={"boxes": facts}))
    words = (
        "its maps were taught by 1,213 boxes on 1,100 images of 1 patient (Edema 13, Mass 1,200)"
    )
    said = f"{run_dir.name}: {words}: they show where readers draw boxes"
    assert said in texts_of(tmp_path)
    assert said in render_model_card(Context(collect(tmp_path), Identities(b"k" * 32), {}))
