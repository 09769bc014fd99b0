"""What `evaluate` computes is seen: on the screen, in its pictures, in report and page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest

from chexpert_factory import write_dataset
from evaluation_factory import LABELS, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.flows.evaluate.screen import show_comparison
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.results import RunResult, read_evaluation
from pulmonet.run.folder import RunDir
from report_factory import make_run
from report_reader import tables_of, whole_report
from run_factory import make_run as make_network


def result_of(artifacts: Path, run: str = "mine") -> RunResult:
    path = RunDir(artifacts / run).evaluation_path("predictions", "all")
    return read_evaluation(path).runs[0]


def report(artifacts: Path) -> tuple[str, str]:
    """report.md and report.html of the artifacts, with a run beside what was evaluated."""
    make_run(artifacts, "trained", labels=LABELS)
    assert main(["report", "--html", "--artifacts-dir", str(artifacts)]) == 0
    return whole_report(artifacts), (artifacts / "report.html").read_text("utf-8")


def test_one_row_is_counted_in_the_singular(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("Path,patient,Edema,Edema_score\np/a.png,p,1,0.3\n")
    assert evaluate(tmp_path, "--predictions", str(path), "--no-figures") == 0
    assert "1 image, 1 patient\n" in capsys.readouterr().out


def test_decision_curve_prevalence_and_delong_are_in_the_report(tmp_path: Path) -> None:
    path, artifacts = write_predictions(tmp_path / "mine.csv"), tmp_path / "artifacts"
    options = ("--predictions", str(path), "--prevalence", "0.05", "--figures", "png")
    assert evaluate(artifacts, *options) == 0
    text, page = report(artifacts)
    for shown in (text, page):
        assert "net benefit of the model, of treating all and of treating none" in shown
    assert (artifacts / "report_files" / "mine_decision_predictions_all.png").exists()
    tables = tables_of(artifacts)
    points = tables["Operating points: choosing a threshold"]
    row = dict(zip(points.columns, points.rows[0], strict=True))
    rates = [float(row[name].text.split(" ")[0]) for name in ("Sensitivity", "Specificity")]
    hits, alarms = rates[0] * 0.05, (1 - rates[1]) * 0.95
    assert row["Stated prevalence"].text == "5.0 %"
    assert row["PPV there"].sort == pytest.approx(hits / (hits + alarms), abs=0.002)
    both = tables["AUROC with its interval, by two methods"]
    entry = result_of(artifacts).labels["Edema"]
    assert entry.auroc_delong.low is not None
    assert f"{entry.auroc_delong.low:.3f}–{entry.auroc_delong.high:.3f}" in both.rows[0][2].text
    calibration = tables["Calibration errors"]
    shown = dict(zip(calibration.columns, calibration.rows[0], strict=True))
    smooth = entry.calibration.smooth  # type: ignore[union-attr]
    assert shown["ICI"].text == smooth.ici_estimate.text() and shown["ICI"].interval
    assert shown["E90"].text == smooth.e90_estimate.text() and shown["E90"].interval
    assert shown["ECE"].text == entry.calibration.ece_estimate.text() and shown["ECE"].interval  # type: ignore[union-attr]
    chosen = tables["Thresholds chosen on these rows"]
    assert chosen.columns[2] == "Threshold" and all(row[2].interval for row in chosen.rows)


def test_a_slope_that_cannot_be_estimated_is_a_dash_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, artifacts = write_predictions(tmp_path / "mine.csv"), tmp_path / "artifacts"
    table = pd.read_csv(path)
    table["Edema_score"] = 0.31 + 1e-5 * table["Edema_score"]
    table.to_csv(path, index=False)
    assert evaluate(artifacts, "--predictions", str(path)) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("Edema"))
    assert line.split()[-1] == "–"
    page = report(artifacts)[1]
    calibration = tables_of(artifacts)["Calibration"]
    row = dict(zip(calibration.columns, calibration.rows[0], strict=True))
    assert (row["Label"].text, row["Scores"].text, row["Slope"].text) == ("Edema", "raw", "–")
    assert "mine: slope –" in page
    made = (artifacts / "report_files" / "tables").glob("curves-predictions*-calibration.*")
    lines = {one.suffix: one.read_text("utf-8") for one in made}
    (in_csv,) = (one for one in lines[".csv"].splitlines() if one.startswith("Edema,raw"))
    assert in_csv.startswith("Edema,raw,,,,")
    assert re.search(r"Edema *& *raw *& *-- *&", lines[".tex"])


def test_probability_at_a_threshold_is_moved_to_the_prevalence(tmp_path: Path) -> None:
    path, artifacts = write_predictions(tmp_path / "mine.csv"), tmp_path / "artifacts"
    assert evaluate(artifacts, "--predictions", str(path), "--prevalence", "0.05") == 0
    stored = read_calibration(RunDir(artifacts / "mine").calibration_path)
    assert stored is not None
    calibrator = stored.labels["Edema"].calibrator
    assert calibrator is not None
    share = pd.read_csv(path)["Edema"].mean()
    for point in result_of(artifacts).labels["Edema"].operating_points:
        assert point.threshold is not None
        (here,) = calibrator.apply(np.asarray([point.threshold]))
        assert point.probability == pytest.approx(here)
        there = expit(logit(here) + logit(0.05) - logit(share))
        assert point.probability_at_deployment == pytest.approx(there, abs=1e-6)


def test_an_interval_without_width_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = np.tile([0, 1], 30)
    table = pd.DataFrame({"Path": [f"{n}.png" for n in range(60)], "Edema": targets})
    table["Edema_score"] = 0.2 + 0.5 * targets + 0.004 * np.arange(60)
    table.to_csv(tmp_path / "mine.csv", index=False)
    artifacts = tmp_path / "artifacts"
    mine = str(tmp_path / "mine.csv")
    assert evaluate(artifacts, "--predictions", mine) == 0
    exact = binomtest(30, 30).proportion_ci(method="exact").low
    assert result_of(artifacts).labels["Edema"].auroc.low == pytest.approx(exact)
    assert evaluate(artifacts, "--predictions", mine, "--interval", "percentile") == 0
    words = "an interval without width, other patients may differ"
    assert f"Edema: all resamples give this value: {words}." in capsys.readouterr().err
    assert words in report(artifacts)[0]
    assert any(words in note for note in tables_of(artifacts)["AUROC per label"].notes)


def test_calibration_and_gaps_of_sites_are_in_report_and_page(tmp_path: Path) -> None:
    path, artifacts = write_predictions(tmp_path / "mine.csv", n=400), tmp_path / "artifacts"
    table = pd.read_csv(path)
    table["site"] = np.where(table["patient"].str[-1].isin(list("0123")), "north", "south")
    table.to_csv(path, index=False)
    options = ("--predictions", str(path), "--subgroup", "site", "--figures", "png")
    assert evaluate(artifacts, *options) == 0
    text, page = report(artifacts)
    for shown in (text, page):
        assert "smooth calibration curves per subgroup" in shown
        assert "hold together in 95 % of datasets" in shown
    tables = tables_of(artifacts)
    of_sites = [row for row in tables["Subgroups"].rows if row[0].text.startswith("site: ")]
    assert len(of_sites) == 4
    north = next(group for group in result_of(artifacts).subgroups if group.group == "north")
    gap = north.labels["Edema"].specificity_gap
    assert gap is not None and gap.all_low < gap.low < gap.high < gap.all_high  # type: ignore[operator]
    assert of_sites[0][-1].interval == (gap.all_low, gap.all_high)
    calibration = tables["Calibration in subgroups (calibrated scores)"]
    row = next(row for row in calibration.rows if row[0].text == "site: north")
    assert row[2].sort == north.labels["Edema"].slope.value  # type: ignore[union-attr]
    missed = tables["Images with a disease of which none was called"]
    assert {row[0].text for row in missed.rows} >= {"site: north", "site: south"}


def test_flow_and_missing_labels_are_counted_from_the_source_to_the_table(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny", n_valid=20)
    table = pd.read_csv(data / "valid.csv", dtype=str, keep_default_na=False)
    table.loc[[3, 4, 5], "Edema"] = "-1.0"
    table.loc[[6, 7], "Edema"] = ""
    table.loc[[18, 19], ["Frontal/Lateral", "AP/PA"]] = ["Lateral", ""]
    table.to_csv(data / "valid.csv", index=False)
    (data / table["Path"][17].removeprefix("tiny/")).write_bytes(b"no image")
    artifacts = tmp_path / "artifacts"
    settings = {"data": {"skip_bad": True, "views": "frontal"}}
    labels = ("Edema", "Cardiomegaly", "Fracture")
    make_network(
        artifacts,
        model="timm:test_resnet",
        image_size=32,
        data_dir=data,
        settings=settings,
        name="net",
        labels=labels,
    )
    assert evaluate(artifacts, "net", "--blank", "ignore", "--figures", "png") == 0
    result = read_evaluation(RunDir(artifacts / "net").evaluation_path("tiny", "valid")).runs[0]
    assert [(step.n_rows, step.n_patients) for step in result.flow] == [
        *((44, 44), (20, 20), (18, 18), (17, 17))
    ]
    assert result.missing == {
        "Edema": {"uncertain": 3, "blank": 2},
        "Cardiomegaly": {"uncertain": 0, "blank": 0},
        "Fracture": {"uncertain": 0, "not annotated": 17},
    }
    assert result.labels["Edema"].n == 17 - 3 - 2
    assert main(["report", "--html", "--artifacts-dir", str(artifacts)]) == 0
    for text in (whole_report(artifacts), (artifacts / "report.html").read_text("utf-8")):
        assert "flow of rows and patients" in text
    tables = tables_of(artifacts)
    steps = tables["From the source to the rows scored"].rows
    assert [row[1].text for row in steps] == ["44", "20", "18", "17"]
    missing = tables["Missing labels in these rows"]
    assert missing.columns == ("Label", "Known", "Positive", "Uncertain", "Blank", "Not annotated")
    assert [cell.sort for cell in missing.rows[0][3:]] == [3, 2, 0]


def test_missing_labels_of_a_file_of_scores(tmp_path: Path) -> None:
    path, artifacts = write_predictions(tmp_path / "mine.csv"), tmp_path / "artifacts"
    table = pd.read_csv(path, dtype=str)
    table.loc[:9, "Edema"] = ""
    table.to_csv(path, index=False)
    assert evaluate(artifacts, "--predictions", str(path)) == 0
    missing = {"Edema": {"blank": 10}, "Pleural Effusion": {"blank": 0}}
    assert result_of(artifacts).missing == missing


def test_arms_primary_endpoint_and_margin_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for run in ("a0", "a1", "b0", "b1"):
        strength = 0.4 if run < "b" else 0.42
        path = write_predictions(tmp_path / f"{run}.csv", strength=strength, seed=len(files), n=400)
        files += ["--predictions", str(path)]
    artifacts = tmp_path / "artifacts"
    arms = ("--arm", "first=a0,a1", "--arm", "second=b0,b1")
    primary = ("--primary", "edema", "--margin", "0.9")
    assert evaluate(artifacts, *files, *arms, *primary) == 0
    err = capsys.readouterr().err
    assert "not significantly different in AUROC of Edema" in err
    assert "first is the mean of a0, a1; intervals hold for other seeds." in err
    assert "non-inferiority, margin 0.9: first is not inferior to second, second is not" in err
    document = read_evaluation(RunDir(artifacts / "a1").evaluation_path("predictions", "all"))
    first = document.comparisons[0]
    assert (first.a, first.b, first.label, first.margin) == ("first", "second", "Edema", 0.9)
    assert first.a_members == ["a0", "a1"] and document.runs[0].primary == "AUROC of Edema"
    assert document.runs[0].group_letters == result_of(artifacts, "a0").group_letters != ""
    text, page = report(artifacts)
    for shown in (text, page):
        assert "Non-inferiority in AUROC of Edema, margin 0.9: first is not inferior to" in shown
        assert "first is one arm, the mean of a0 and a1" in shown
        assert "not significantly different in AUROC of Edema" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arm", "x=mine"), "write NAME=RUN,RUN with two or more runs"),
        (("--arm", "x=mine,othr"), "othr is not evaluated here (did you mean 'other'?)"),
        (("--arm", "x=mine,other"), "is of all runs: there is nothing else"),
        (("--arm", "mine=mine,third"), "is a run's name"),
        (("--arm", "ensemble=mine,third", "--ensemble"), "--arm ensemble: is a run's name"),
        (("--arm", "x=mine,third", "--arm", "x=other,a"), "another arm has this name"),
        (("--arm", "x=mine,third", "--arm", "y=third,other"), "third is in another arm, too"),
        (("--primary", "Edma"), "--primary Edma: not among the labels evaluated (did you mean"),
        (("--margin", "1.5"), "--margin 1.5"),
        (("--views", "PA"), "--views: every row of saved scores is evaluated"),
        (("--data-dir", "x"), "--data-dir: every row of saved scores is evaluated"),
        (("--splits", "x.csv"), "--splits: every row of saved scores is evaluated"),
    ],
)
def test_wrong_arms_and_endpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    files = []
    for name in ("mine", "other", "third")[: 2 if arguments == ("--arm", "x=mine,other") else 3]:
        files += ["--predictions", str(write_predictions(tmp_path / f"{name}.csv"))]
    assert evaluate(tmp_path / "artifacts", *files, *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_margin_without_a_comparison_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_predictions(tmp_path / "mine.csv"))
    for flags in (("--margin", "0.02"), ("--primary", "Edema"), ()):
        assert evaluate(tmp_path / "artifacts", "--predictions", file, *flags) == 0
        err = " ".join(capsys.readouterr().err.split())
        assert ("--margin and --primary: nothing is compared" in err) == bool(flags)


def test_a_plan_from_a_file_is_of_its_own_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_predictions(tmp_path / "mine.csv")
    file = ("--predictions", str(path), "--plan")
    for assumed in ("auroc=0.9", "prevalence=0.05"):
        assert evaluate(tmp_path, *file, f"width=0.1,{assumed}") == 2
        assert "auroc and prevalence are those of --predictions" in capsys.readouterr().err
    table = pd.read_csv(path)
    table.assign(study=table["patient"] + "s").to_csv(path, index=False)
    images = []
    for level in ("image", "study"):
        assert evaluate(tmp_path, *file, "width=0.1", "--level", level, "--json") == 0
        images.append(json.loads(capsys.readouterr().out)[0]["images_a_patient"])
    assert images[0] > images[1] == 1


def test_plan_says_how_many_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts = tmp_path / "artifacts"
    assumed = "auroc=0.8,prevalence=0.1,images=2,width=0.1,difference=0.03"
    assert evaluate(artifacts, "--plan", assumed, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["patients_for_width_0.1"] == 668  # as in benchmarks/simulations/planning.py
    one, two = (write_predictions(tmp_path / f"{n}.csv", seed=n, n=400) for n in (1, 2))
    files = ("--predictions", f"a={one}", "--predictions", f"b={two}", "--labels", "Edema")
    table = pd.read_csv(one)
    scores = np.stack([pd.read_csv(path)["Edema_score"] for path in (one, two)], axis=1)
    test = delong(table["Edema"], scores, table["patient"])
    (low, high), gap = test.interval(), test.covariance @ [1, -1] @ [1, -1]
    width, difference = high - low, 2.801585 * gap**0.5  # 1.96 + 0.84 standard errors
    plan = f"width={width:.12f},difference={difference:.12f}"
    assert evaluate(artifacts, *files, "--plan", plan, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    n_patients = table["patient"].nunique()
    found = [value for name, value in row.items() if name.startswith("patients_for")]
    assert found == pytest.approx([n_patients, n_patients], abs=1)
    assert not artifacts.exists()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("wdth=0.1", "--plan wdth: unknown (did you mean 'width'?)"),
        ("auroc=0.8", "name what is wanted, width=0.1 or difference=0.03"),
        ("width=0.1", "needs auroc and prevalence, or --predictions FILE"),
        ("width=2,auroc=0.8", "--plan width 2: input should be less than 1"),
    ],
)
def test_wrong_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, words: str
) -> None:
    assert evaluate(tmp_path, "--plan", plan) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_long_names_of_several_collections_leave_no_column_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = write_predictions(tmp_path / "mine.csv")
    assert evaluate(tmp_path / "artifacts", "--predictions", str(path)) == 0
    one = result_of(tmp_path / "artifacts")
    names = ("nih-cxr", "kermany-224+nih-cxr-more+pneumoniamnist")
    capsys.readouterr()
    show_comparison([one.model_copy(update={"dataset": name}) for name in names], [])
    said = capsys.readouterr()
    assert "Macro AUROC (95 %)" in said.out and "Testing" in said.out
    assert said.out.count(one.macro.auroc.text()) == 2
    assert "left out" not in said.err
