"""Training curves: what is drawn, whatever the log holds."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmonet.figures.training import draw_training_log
from pulmonet.labels import CHEXPERT_LABELS


def _log(n_epochs: int, labels: list[str]) -> pd.DataFrame:
    random = np.random.default_rng(3)
    columns: dict[str, NDArray[np.float64]] = {
        "epoch": np.arange(1, n_epochs + 1, dtype=np.float64),
        "train_loss": 0.6 * np.exp(-np.arange(n_epochs) / 4),
        "val_loss": 0.7 * np.exp(-np.arange(n_epochs) / 5),
        "val_macro_auroc": random.random(n_epochs),
        "val_macro_pr_auc": random.random(n_epochs),
    }
    for label in labels:
        columns[f"val_auc_{label}"] = random.random(n_epochs)
        columns[f"val_pr_{label}"] = random.random(n_epochs)
    return pd.DataFrame(columns)


def _pixels(png: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image)


def _has_colour(png: bytes, hexadecimal: str) -> bool:
    red, green, blue = (int(hexadecimal[start : start + 2], 16) for start in (1, 3, 5))
    return bool((np.abs(_pixels(png).astype(int) - (blue, green, red)).max(axis=2) < 3).any())


@pytest.mark.parametrize("n_epochs", [1, 2, 30])
def test_curves_are_a_picture_with_both_losses(n_epochs: int) -> None:
    png = draw_training_log(_log(n_epochs, ["Edema"]), "densenet121")
    assert _pixels(png).shape[1] == 7.2 * 300
    assert _has_colour(png, "#0072B2") and _has_colour(png, "#D55E00")


def test_equal_logs_give_equal_bytes() -> None:
    assert draw_training_log(_log(3, ["Edema"])) == draw_training_log(_log(3, ["Edema"]))


def test_a_missing_validation_loss_leaves_its_line_out() -> None:
    log = _log(4, [])
    log["val_loss"] = np.nan
    assert not _has_colour(draw_training_log(log), "#D55E00")


@pytest.mark.parametrize("name", ["_hidden", "a $x^2 <b>|'\"", "$\\frac", "$x$", "\u65e5"])
def test_hostile_label_names_stay_text(name: str, drawn: list[Figure]) -> None:
    draw_training_log(_log(2, [name]), name)
    (figure,) = drawn
    title = figure.get_suptitle()
    assert title == name
    (legend,) = figure.legends
    texts = legend.get_texts()
    said = [text.get_text().lstrip("\u200b") for text in texts]
    assert said == [name, "macro"], "a hidden name would be missing"
    assert not any(text.get_parse_math() for text in texts), "a formula would be typeset"
    assert not any(text.get_parse_math() for text in figure.texts)


def test_an_empty_log_says_so_instead_of_failing() -> None:
    assert _pixels(draw_training_log(pd.DataFrame())).size
    assert _pixels(draw_training_log(_log(0, ["Edema"]))).size


@pytest.mark.parametrize("best", [0, 5])
def test_names_of_14_labels_stand_once_and_nothing_leaves_the_picture(
    best: int, drawn: list[Figure]
) -> None:
    log = _log(6, list(CHEXPERT_LABELS))
    log["val_macro_auroc"] = np.where(np.arange(6) == best, 0.9, 0.5)
    draw_training_log(log, "SYNTHETIC. run")
    (figure,) = drawn
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*CHEXPERT_LABELS, "macro"]
    dashes = {line.get_linestyle() for line in legend.get_lines()}
    assert dashes == {"-", "--"} and legend.handlelength > 1.5, "long enough to see the dash"
    canvas = figure.bbox
    for item in (legend, *figure.axes):
        box = item.get_tightbbox()
        assert box.x0 >= 0 and box.x1 <= canvas.x1 and box.y0 >= 0, item
    for axes in figure.axes:
        (word,) = (text for text in axes.texts if text.get_text() == "best")
        box = word.get_window_extent()
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 1
