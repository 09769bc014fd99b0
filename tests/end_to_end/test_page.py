"""report.html in a real Chromium: what moves, what sorts, what leaves the page (nothing)."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import blank
from pulmonet.cli.main import main
from report_factory import HOSTILE_LABELS, make_run

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's Chromium; missing is a skip on a desk and a failure in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        message = "chromium and chromium-driver are missing: apt-get install them"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two runs, one of them with hostile labels."""
    folder = tmp_path_factory.mktemp("artifacts")
    blank.draw_figures()  # their size is part of the page
    make_run(folder, "densenet121", n_explained=2)
    make_run(folder, "hostile", labels=HOSTILE_LABELS, seed=2, n_explained=2)
    blank.leave_figures_blank()
    assert main(["report", "--html", "--artifacts-dir", str(folder)]) == 0
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, page_path: Path) -> Iterator[Any]:
    """The page, freshly opened; afterwards: no console message, no request that left it."""
    _set_screen(browser, 1440, "light")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page_path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            assert url == page_path.as_uri() or url.startswith("data:"), url


def _set_screen(browser: Any, width: int, colours: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {
            "features": [
                {"name": "prefers-color-scheme", "value": colours},
                # without smooth scrolling a click lands where the element is
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        },
    )


def _set_slider(page: Any, selector: str, value: int) -> None:
    page.execute_script(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));",
        selector,
        value,
    )


def _text(page: Any, selector: str) -> str:
    return str(page.find_element(By.CSS_SELECTOR, selector).text)


def _choose(page: Any, selector: str, index: int) -> None:
    page.execute_script(
        "const s = document.querySelector(arguments[0]); s.selectedIndex = arguments[1];"
        "s.dispatchEvent(new Event('change', {bubbles: true}));",
        selector,
        index,
    )


def test_the_threshold_slider_moves_sensitivity_specificity_and_ppv(page: Any) -> None:
    _set_slider(page, ".threshold", 0)
    assert _text(page, ".sens").startswith("100.0 %")
    assert _text(page, ".spec").startswith("0.0 %")
    _set_slider(page, ".threshold", 1000)
    assert _text(page, ".sens").startswith("0.0 %")
    assert _text(page, ".ppv").startswith("–")
    data = json.loads(page.find_element(By.ID, "page-data").get_attribute("textContent"))[
        "thresholds"
    ][0]
    _set_slider(page, ".threshold", 300)
    shown = float(_text(page, ".thresholds .value"))
    assert data["thresholds"][0] < shown < data["thresholds"][-1]
    called = [i for i, t in enumerate(data["thresholds"]) if t >= shown - 1e-3]
    near = {f"{100 * data['true_positives'][i] / data['n_positives']:.1f} %" for i in called[:3]}
    assert _text(page, ".sens").split("\n")[0] in near
    page.find_element(By.CSS_SELECTOR, ".stored button").click()
    assert _text(page, ".thresholds .value") == "0.410"


def test_prevalence_moves_ppv_and_leaves_sensitivity(page: Any) -> None:
    _set_slider(page, ".threshold", 400)
    before = _text(page, ".sens"), _text(page, ".ppv")
    field = page.find_element(By.CSS_SELECTOR, ".prevalence")
    page.execute_script(
        "arguments[0].value = 1; arguments[0].dispatchEvent(new Event('input'))", field
    )
    assert _text(page, ".sens") == before[0]
    assert float(_text(page, ".ppv").split(" ")[0]) < float(before[1].split(" ")[0])
    for wrong in ("", "-5", "0", "100"):
        page.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
            field,
            wrong,
        )
        assert _text(page, ".ppv").startswith("–")
        assert "enter a prevalence between 0 and 100 %" in _text(page, ".ppv")


def test_a_click_sorts_a_table_and_a_second_one_turns_it(page: Any) -> None:
    table = page.find_element(By.XPATH, "//table[caption[contains(., 'AUROC per label')]]")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")

    def column(index: int) -> list[str]:
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [row.find_elements(By.XPATH, "./*")[index].text.split(" ")[0] for row in rows]

    heads[1].find_element(By.TAG_NAME, "button").click()
    assert heads[1].get_attribute("aria-sort") == "descending"
    values = [float(value) for value in column(1) if value != "–"]
    assert values == sorted(values, reverse=True) and column(1)[: len(values)] == [
        f"{value:.3f}" for value in values
    ]
    heads[1].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heads[1].get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(1) if value != "–"] == sorted(values)


def test_the_viewer_fades_and_changes_labels(page: Any) -> None:
    heat = page.find_element(By.CSS_SELECTOR, ".heat")
    assert page.execute_script("return arguments[0].naturalWidth", heat) == 160
    _set_slider(page, ".opacity", 25)
    assert page.execute_script("return getComputedStyle(arguments[0]).opacity", heat) == "0.25"
    before = heat.get_attribute("src")
    page.find_elements(By.CSS_SELECTOR, ".chips label")[2].click()
    assert heat.get_attribute("src") != before
    assert "Consolidation: score 0." in _text(page, ".verdict")
    _choose(page, ".exhibit", 2)
    chips = [chip.text for chip in page.find_elements(By.CSS_SELECTOR, ".chips label")]
    assert [" ".join(chip.split()) for chip in chips] == list(HOSTILE_LABELS)
    assert page.execute_script("return document.querySelectorAll('script').length") == 2


def test_below_its_threshold_a_finding_shows_no_map_of_another(
    browser: Any, tmp_path: Path
) -> None:
    run_dir = make_run(tmp_path, n_explained=1)
    path = run_dir.explain_dir / "explanations.json"
    facts = json.loads(path.read_text())
    first, below = list(facts["images"][0]["labels"].values())[:2]
    judged = {"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}}
    first |= judged | {"present": True}
    below |= judged | {"present": False, "overlay": None}
    path.write_text(json.dumps(facts))
    assert main(["report", "--html", "--artifacts-dir", str(tmp_path)]) == 0
    browser.get((tmp_path / "report.html").as_uri())
    is_shown = []
    for chip in browser.find_elements(By.CSS_SELECTOR, ".chips label")[:2]:
        chip.click()
        is_shown.append(browser.find_element(By.CSS_SELECTOR, ".heat").is_displayed())
    assert is_shown == [True, False]
    assert "no map drawn" in _text(browser, ".viewer .verdict")


def test_arrow_keys_and_pointer_read_a_chart(page: Any) -> None:
    figure = page.find_element(By.CSS_SELECTOR, "[data-chart$='auroc']")
    drawing = figure.find_element(By.CSS_SELECTOR, "svg[role=img]")
    page.execute_script("arguments[0].focus()", drawing)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert figure.find_element(By.CSS_SELECTOR, ".at").text == "epoch: 2"
    first = figure.find_element(By.CSS_SELECTOR, ".legend output").text
    assert 0.5 < float(first) < 1.0
    page.switch_to.active_element.send_keys(Keys.END)
    assert figure.find_element(By.CSS_SELECTOR, ".at").text == "epoch: 5"
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", drawing)
    webdriver.ActionChains(page).move_to_element(drawing).perform()
    assert figure.find_element(By.CSS_SELECTOR, ".at").text == "epoch: 3"


def test_the_theme_button_goes_round(page: Any) -> None:
    button = page.find_element(By.ID, "theme")
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = page.execute_script(colour)
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.text, page.execute_script(colour)))
    assert [name for name, _ in seen] == ["Theme: light", "Theme: dark", "Theme: system"]
    assert seen[0][1] == light == seen[2][1] != seen[1][1]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    page: Any, width: int, colours: str, tmp_path: Path
) -> None:
    _set_screen(page, width, colours)
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {})
    picture = tmp_path / f"{width}_{colours}.png"
    picture.write_bytes(base64.b64decode(shot["data"]))
    assert picture.stat().st_size > 20_000
    folder = os.environ.get("PULMONET_SCREENSHOTS")
    if folder:
        shutil.copy(picture, folder)


def test_controls_have_names_and_headings_do_not_jump(page: Any) -> None:
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('button, select, input, summary, [tabindex]')]"
        ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label')"
        " || (e.labels && e.labels.length && e.labels[0].textContent.trim())))"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert unnamed == []
    assert page.execute_script("return [...document.images].every(i => i.alt)")
    levels = page.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_the_text_stands_out_from_its_ground(page: Any) -> None:
    """WCAG AA contrast of body and muted text in both themes."""
    for colours in ("light", "dark"):
        _set_screen(page, 1440, colours)
        ratios = page.execute_script(CONTRAST)
        assert min(ratios) >= 4.5, (colours, ratios)


CONTRAST = """
const luminance = (c) => {
  const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const pairs = [['body', 'body'], ['.small', 'body'], ['.tiles dt', '.tiles div'],
  ['thead button', '.scroll'], ['.callout', '.callout'], ['.interval', '.scroll']];
return pairs.map(([text, ground]) => {
  const a = luminance(getComputedStyle(document.querySelector(text)).color);
  const b = luminance(getComputedStyle(document.querySelector(ground)).backgroundColor);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
});
"""
