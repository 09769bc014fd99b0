"""The model card: front matter that YAML reads, and words that fit the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pulmonet.report.collect import Context, collect
from pulmonet.report.model_card import render_model_card, yaml_of
from pulmonet.report.pseudonyms import Identities
from report_factory import make_run


def _card(artifacts_dir: Path, **notes: str) -> tuple[dict[str, Any], str]:
    text = render_model_card(Context(collect(artifacts_dir), Identities(b"k" * 32), notes))
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=6))
def test_any_text_comes_back_from_yaml(value: Any) -> None:
    assert yaml.safe_load(yaml_of(value)) == value


def test_front_matter_is_what_hugging_face_reads(tmp_path: Path) -> None:
    make_run(tmp_path)
    front, _ = _card(tmp_path, license='CC BY-NC 4.0: see "LICENCE" # 1')
    assert front["license"] == "other"
    assert front["license_name"] == 'CC BY-NC 4.0: see "LICENCE" # 1'
    assert front["datasets"] == ["CheXpert-v1.0-small"]
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert result["dataset"] == {
        "name": "CheXpert-v1.0-small", "type": "CheXpert-v1.0-small", "split": "valid",
    }  # fmt: skip
    assert [metric["type"] for metric in result["metrics"]] == ["roc_auc", "average_precision"]


def test_a_run_without_results_has_no_index(tmp_path: Path) -> None:
    make_run(tmp_path, evaluated=False)
    front, body = _card(tmp_path)
    assert "model-index" not in front
    assert "Not evaluated." in body


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"data": {"views": "frontal"}}, "to score frontal chest X-rays for"),
        ({"data": {"fit": "crop"}}, "cut to the central square and resized to 224 × 224 pixels"),
        ({"model": {"name": "timm:resnet10t"}}, "timm's own resnet10t with 5 outputs"),
        ({}, "torchvision's own densenet121 with 5 outputs"),
        (
            {"model": {"members": 3}, "select": {"checkpoint": "last"}},
            "with 5 outputs, 3 times, behind `members.0.` and so on; the score is the mean",
        ),
        ({}, "to score frontal and lateral chest X-rays for"),
    ],
)
def test_words_fit_the_run(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    make_run(tmp_path, config=config)
    assert expected in _card(tmp_path)[1].replace("\\_", "_")
