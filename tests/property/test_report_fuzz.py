"""Parts of artifacts that no model checks may hold any JSON: a report survives them all."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulmonet.files.write import write_json
from pulmonet.report.collect import Collection, Context, collect
from pulmonet.report.model_card import render_model_card
from pulmonet.report.pseudonyms import Identities
from pulmonet.report.render.html import render_html
from pulmonet.report.render.markdown import render_markdown
from pulmonet.report.sections import build_document
from report_factory import make_run

KEYS = st.sampled_from(
    [
        *("images", "image", "maps", "labels", "localization", "sanity", "rows", "method"),
        *("pointing", "value", "low", "high", "stages", "stage", "mean", "splits", "age", "sex"),
        *("views", "patients", "median", "Edema", "threshold", "n_images", "train"),
    ]
)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", ".", "..", "/", "<script>", "a/maps.npz"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=14,
)
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def _artifacts() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pulmonet-fuzz-"))
    make_run(folder, evaluated=False)
    return folder


def _render(collection: Collection) -> str:
    context = Context(collection, Identities(b"k" * 32), written="now")
    document = build_document(context)
    markdown = "".join(render_markdown(document).values())
    return render_html(document) + markdown + render_model_card(context)


@given(ANY_JSON)
@SETTINGS
def test_any_explanations_json(found: Any) -> None:
    path = _artifacts() / "densenet121" / "explain" / "explanations.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found))
    assert "<script>alert" not in _render(collect(_artifacts()))
    path.unlink()


@given(st.dictionaries(KEYS, ANY_JSON, max_size=4), st.dictionaries(KEYS, ANY_JSON, max_size=3))
@SETTINGS
def test_any_summary_and_weights(summary: dict[str, Any], weights: dict[str, Any]) -> None:
    path = _artifacts() / "densenet121" / "run_config.json"
    before = path.read_text()
    document = json.loads(before)
    document["provenance"]["dataset"]["summary"] = summary
    document["provenance"]["weights"] = weights
    try:
        write_json(path, document)
        assert _render(collect(_artifacts()))
    finally:
        path.write_text(before)
