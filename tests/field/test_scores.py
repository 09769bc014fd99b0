"""Files of scores as other tools write them: ``evaluate --predictions``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pulmonet.cli.main import main
from report_factory import make_run
from report_reader import whole_report


def scores(n: int = 60) -> pd.DataFrame:
    """Two labels, three images a patient."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"Path": [f"set/p{row // 3:02}/{row}.png" for row in range(n)]})
    table["patient"] = [f"p{row // 3:02}" for row in range(n)]
    table["sex"], table["age_years"] = rng.choice(["M", "F"], n), rng.integers(20, 90, n)
    for label in ("Edema", "Pneumonia"):
        table[label] = (rng.random(n) < 0.4).astype(int)
        table[f"{label}_score"] = (0.3 * table[label] + rng.uniform(0, 0.7, n)).round(4)
    return table


def evaluate(folder: Path, *tables: pd.DataFrame, **form: object) -> int:
    """`evaluate` of files a.csv, b.csv, ... ; they are written in some `form`."""
    flags = []
    for name, table in zip("ab", tables, strict=False):
        table.to_csv(folder / f"{name}.csv", index=False, **form)  # type: ignore[call-overload]
        flags += ["--predictions", str(folder / f"{name}.csv")]
    flags += ["--bootstrap", "100", "--no-figures", "--artifacts-dir", str(folder / "out")]
    return main(["evaluate", *flags])


def result(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "out").rglob("evaluation_*.json")
    found: dict[str, Any] = json.loads(path.read_text())["runs"][0]
    return found


@pytest.mark.parametrize(
    "form", [{"sep": ";", "decimal": ","}, {"sep": "\t", "encoding": "utf-16"}, {"quoting": 1}]
)
def test_every_form_gives_the_same_numbers(tmp_path: Path, form: dict[str, object]) -> None:
    assert evaluate(tmp_path, scores()) == 0
    expected = result(tmp_path)
    assert evaluate(tmp_path, scores(), **form) == 0
    assert result(tmp_path)["labels"] == expected["labels"]
    assert evaluate(tmp_path, scores().rename(columns=lambda name: f" {name}")) == 0
    assert result(tmp_path)["labels"] == expected["labels"]


def test_the_baseline_does_not_know_the_order_of_the_rows(tmp_path: Path) -> None:
    assert evaluate(tmp_path, scores()) == 0
    first = result(tmp_path)["baseline"]
    assert evaluate(tmp_path, scores().sample(frac=1, random_state=1)) == 0
    second = result(tmp_path)["baseline"]
    assert first["macro"]["auroc"]["value"] == second["macro"]["auroc"]["value"]


Change = Callable[[pd.DataFrame], pd.DataFrame]


def one_twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[[4]]])


def in_per_cent(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(Edema_score=(100 * table["Edema_score"]).round(1))


def with_signs(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(Edema_score=table["Edema_score"].map("{:.0%}".format))


def with_other_names(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: name.replace("_score", "_prob"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_twice, "1 path more than once (set/p01/4.png); keep one row an image"),
        (in_per_cent, "looks like per cent: divide by 100"),
        (with_signs, "looks like per cent: divide by 100"),
        (with_other_names, "no pair of columns LABEL and LABEL_score; columns there: Path"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    assert evaluate(tmp_path, change(scores())) == 4
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_score_a_hair_above_1_is_1(tmp_path: Path) -> None:
    table = scores()
    table.loc[0, "Edema_score"] = 1.0000001
    assert evaluate(tmp_path, table) == 0
    table.loc[0, "Edema_score"] = 1.01
    assert evaluate(tmp_path, table) == 4


@pytest.mark.parametrize("column", ["Pneumonia", "Pneumonia_score"])
def test_a_label_that_is_left_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    assert evaluate(tmp_path, scores().drop(columns=column)) == 0
    left = "Pneumonia" if column == "Pneumonia_score" else "Pneumonia_score"
    said = capsys.readouterr()
    assert f"a label needs both LABEL and LABEL_score: {left}" in " ".join(
        (said.out + said.err).split()
    )


def test_why_two_files_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = scores().iloc[6:]
    assert evaluate(tmp_path, scores(), other) == 0
    said = capsys.readouterr()
    assert "they share 54 of 60 and 54 paths; only a has 'set/p00/0.png'" in " ".join(
        (said.out + said.err).split()
    )
    other = scores()
    other.loc[:3, "Edema"] = 1 - other.loc[:3, "Edema"]
    assert evaluate(tmp_path, scores(), other) == 0
    said = capsys.readouterr()
    assert "Edema: b has other targets in 4 rows than a" in " ".join((said.out + said.err).split())


def test_study_ids_that_repeat_between_patients_are_other_studies(tmp_path: Path) -> None:
    table = scores()
    table["study"] = [f"study{row % 3 % 2}" for row in range(len(table))]  # two a patient
    assert evaluate(tmp_path, table) == 0
    found = result(tmp_path)
    assert (found["n_studies"], found["study"]["n_studies"]) == (40, 40)
    table.loc[:2, "study"] = ""  # an image without an id is a study of its own
    assert evaluate(tmp_path, table) == 0
    assert result(tmp_path)["n_studies"] == 41
    unique = table.assign(study=table["patient"] + table["study"])
    assert evaluate(tmp_path, unique.drop(columns="patient")) == 0
    assert result(tmp_path)["n_studies"] == 39  # unique ids are as they were


def test_rows_without_a_patient_are_no_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = scores()
    table.loc[:9, "patient"] = ""
    assert evaluate(tmp_path, table) == 4
    said = "10 of 60 rows name no patient; fill in the column 'patient', or leave it out"
    assert said in capsys.readouterr().err


def test_files_that_name_other_patients_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = scores()
    assert evaluate(tmp_path, table, table.assign(patient="x" + table["patient"])) == 0
    assert "not compared" not in capsys.readouterr().err  # the same patients by other names
    moved = table.assign(patient=[*table["patient"][3:], "p00", "p00", "p99"])
    assert evaluate(tmp_path, table, moved) == 0
    err = capsys.readouterr().err
    assert "a and b name other patients in " in err
    assert "; not compared, make them the same" in err


def test_scores_that_float32_cannot_tell_apart(tmp_path: Path) -> None:
    """An overconfident network: most scores are nearer to 1 than 6e-8."""
    rng = np.random.default_rng(0)
    targets = (rng.random(400) < 0.3).astype(int)
    sure = 1 / (1 + np.exp(-(6 * rng.normal(size=400) + 18 + 3 * targets)))
    table = pd.DataFrame({"Path": [f"{row}.png" for row in range(400)], "Edema": targets})
    table["Edema_score"] = [repr(float(one)) for one in sure]
    assert evaluate(tmp_path, table) == 0
    expected = roc_auc_score(targets, sure)
    assert abs(expected - roc_auc_score(targets, sure.astype(np.float32))) > 0.02
    assert result(tmp_path)["labels"]["Edema"]["auroc"]["value"] == pytest.approx(expected)


def test_a_blank_label_is_what_blank_says(tmp_path: Path) -> None:
    table = scores()
    table["Edema"] = table["Edema"].astype(object)
    table.loc[::4, "Edema"] = ""
    table["Pneumonia"] = ""  # blank throughout: not annotated, whatever is said
    table.to_csv(tmp_path / "a.csv", index=False)
    common = ["--bootstrap", "100", "--no-figures", "--artifacts-dir", str(tmp_path / "out")]
    for flags, counts_as, n_known in (
        ([], "ignore", 45),
        (["--blank", "ignore"], "ignore", 45),
        (["--blank", "zeros"], "zeros", 60),
    ):
        assert main(["evaluate", "--predictions", str(tmp_path / "a.csv"), *common, *flags]) == 0
        found = result(tmp_path)
        assert (found["blank"], found["labels"]["Edema"]["n"]) == (counts_as, n_known)
        assert found["labels"]["Pneumonia"]["n"] == 0


def test_what_is_not_known_is_not_said_to_flatter(tmp_path: Path) -> None:
    assert evaluate(tmp_path, scores()) == 0
    make_run(tmp_path / "out", "trained")
    assert main(["report", "--artifacts-dir", str(tmp_path / "out")]) == 0
    text = whole_report(tmp_path / "out")
    assert "used for unknown" not in text
    assert "what these rows decided before is not known" in text
