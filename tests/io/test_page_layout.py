"""The page in a real Chromium: on paper, in light and dark, on a phone, and its legend."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import CONFIDENCE, Opened, chromium, drawn, written

from tomochrome.color import Lighting
from tomochrome.io.page import CasePage
from tomochrome.notices import Notice
from tomochrome.tissue import Tissue

VOLUME, CHROMA = drawn()
COUNT = VOLUME.shape[0]
MIDDLE = COUNT - 1 - COUNT // 2  # the slice shown first, from the head
WHO = {
    "Patient": "Mustermann-Oberwalder, Erika Anna Maria",
    "ID": "A-4711-0815",
    "Study date": "2019-03-14",
}
LONG = "A model with a rather long title, and aVeryLongWordWithoutAnyPlaceToBreakItIntoTwoLines"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page") / "case.html", VOLUME, CHROMA)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that can be on it: three models, notices, a name, marks."""
    notice = Notice(
        "damaged", "warning", "1 of 7 slices is missing; it was filled by interpolation"
    )
    restored = np.zeros(VOLUME.shape, bool)
    restored[:, 24:40, 20:60] = True
    origin = replace(VOLUME.provenance, verdict="incomplete", warnings=(notice,) * 3)
    page = CasePage(replace(VOLUME, restored=restored, provenance=origin), Lighting())
    for title in ("Model 1", "Model 2", LONG):
        page.add(CHROMA, title)
    page.name_patient(WHO)
    page.write(path := tmp_path_factory.mktemp("page") / "full.html")
    return path


@pytest.fixture(autouse=True)
def afterwards(driver: Any) -> Iterator[None]:
    """Leave the browser as it was: on a desktop, light, on the screen."""
    yield
    on_screen(driver, 1200, 900)
    medium(driver)


def on_screen(driver: Any, width: int, height: int, mobile: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "mobile": mobile})


def medium(driver: Any, media: str = "", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def color(page: Opened, selector: str, kind: str = "color") -> np.ndarray:
    """The color of an element, sRGB; a transparent background is that of what lies below."""
    text = page.js(
        f"(() => {{ let e = document.querySelector('{selector}');"
        f"for (; e; e = e.parentElement) {{ const c = getComputedStyle(e)['{kind}'];"
        "if (!/^rgba.*, 0\\)$/.test(c) || !e.parentElement) return c; } })()"
    )
    return np.array([float(v) for v in re.findall(r"[\d.]+", text)[:3]])


def luminance(rgb: np.ndarray) -> float:
    """Relative luminance (WCAG 2.2)."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(page: Opened, selector: str) -> float:
    """Contrast of text with what is behind it (WCAG 2.2, 1.4.3)."""
    pair = (color(page, selector), color(page, selector, "background-color"))
    low, high = sorted(map(luminance, pair))
    return (high + 0.05) / (low + 0.05)


def visible(page: Opened, selector: str) -> bool:
    return bool(page.js(f"document.querySelector('{selector}').getClientRects().length > 0"))


TEXTS = (
    "h1", "header p", ".caution", "#theme", "legend", "fieldset span", "fieldset :checked + span",
    "#legend h2", "#legend button", "details p", "dt", "dd", "summary", "footer p", "#readout",
    "figcaption", ".sliders label", "kbd", ".identity b",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_of_the_system_is_followed_and_all_text_is_readable(driver, full, scheme) -> None:
    medium(driver, scheme=scheme)
    page = Opened(driver, full)
    page.js("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    light = luminance(color(page, "body", "background-color"))
    assert light > 0.8 if scheme == "light" else light < 0.02
    assert page.js("document.querySelector('#theme').getAttribute('aria-pressed')") == (
        "true" if scheme == "dark" else "false"
    )
    for selector in TEXTS:
        assert contrast(page, selector) >= 4.5, selector
    pixels = page.pixels()
    page.js("document.querySelector('#theme').click()")
    assert (luminance(color(page, "body", "background-color")) > 0.5) == (scheme == "dark")
    np.testing.assert_array_equal(page.pixels(), pixels)  # pictures have no theme
    assert page.errors() == []


def test_a_theme_that_the_system_changes_while_the_page_is_open(driver, path) -> None:
    medium(driver, scheme="light")
    page = Opened(driver, path)
    medium(driver, scheme="dark")
    page.until("document.querySelector('#theme').getAttribute('aria-pressed') === 'true'")
    assert luminance(color(page, "body", "background-color")) < 0.02
    page.js("document.querySelector('#theme').click()")  # by hand: light, whatever the system says
    assert luminance(color(page, "body", "background-color")) > 0.8
    medium(driver, scheme="light")
    medium(driver, scheme="dark")
    assert luminance(color(page, "body", "background-color")) > 0.8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_it_is_black_on_white_with_what_was_shown(driver, full, scheme) -> None:
    medium(driver, scheme=scheme)
    page = Opened(driver, full)
    assert not visible(page, "#shown")
    page.key("End")
    page.key("3")
    page.shows(0, COUNT - 1)
    page.shows(1, 2)
    medium(driver, media="print", scheme=scheme)
    for selector in ("#theme", ".sliders", "#views", "#windows", "#models", ".keys"):
        assert not visible(page, selector), selector
    for selector in ("canvas", "figcaption", ".letter.left", ".bar", ".caution", "#legend", "h1"):
        assert visible(page, selector), selector
    shown = page.js("document.querySelector('#shown').innerText")
    place, window, note = shown.split(" · ")
    assert place == f"Slice {COUNT} of {COUNT}, z 100.0 mm"
    assert window.startswith("window ") and window.endswith(" HU)")
    assert note == "not for diagnosis"
    assert visible(page, ".identity")  # on paper, too, if it was asked for
    assert luminance(color(page, "body", "background-color")) == 1
    for selector in ("h1", ".caution", "figcaption", "#shown", "dd"):
        assert luminance(color(page, selector)) < 0.07, selector
    assert not page.js(
        "[...document.querySelectorAll('.absent')].some(b => b.getClientRects().length)"
    )
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
    assert page.errors() == []


def test_an_instruction_is_not_printed_but_a_value_is(driver, path) -> None:
    page = Opened(driver, path)
    medium(driver, media="print")
    assert not visible(page, "#readout")
    medium(driver)
    page.event("mouseMoved", (0.5, 0.5))
    page.until("document.querySelector('#readout').textContent.includes(' HU')")
    medium(driver, media="print")
    assert visible(page, "#readout")


@pytest.mark.parametrize("size", [(320, 640), (360, 740), (412, 915), (740, 360)], ids=str)
@pytest.mark.parametrize("which", ["path", "full"])
def test_on_a_phone_nothing_is_cut_off_and_all_can_be_touched(driver, request, size, which) -> None:
    width, _ = size
    on_screen(driver, *size, mobile=True)
    page = Opened(driver, request.getfixturevalue(which))
    page.js("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    assert page.js("innerWidth") == width  # the page is not zoomed out to fit
    assert page.js("document.scrollingElement.scrollWidth") == width
    wide = page.js(
        "[...document.querySelectorAll('body *')].filter(e => {"
        "const b = e.getBoundingClientRect();"
        "return b.width && (b.right > innerWidth + 1 || b.left < -1)"
        " && !e.closest('.scroll, fieldset input'); }).map(e => e.tagName + '.' + e.className)"
    )
    assert wide == []
    for selector, least in (
        ("fieldset span", 32),
        ("#legend button", 32),
        ("input[type=range]", 24),
    ):
        heights = page.js(
            f"[...document.querySelectorAll('{selector}')]"
            ".map(e => e.getBoundingClientRect().height)"
        )
        assert min(h for h in heights if h) >= least, selector
    canvas = page.js("document.querySelector('canvas').getBoundingClientRect().toJSON()")
    count = page.js("document.querySelectorAll('canvas').length")
    if size[0] < size[1]:
        assert canvas["width"] >= (0.9 if count == 1 else 0.4) * width
    assert canvas["height"] <= size[1]
    assert page.errors() == []


def test_pointing_at_the_legend_tells_the_tissue_its_hu_and_its_confidence(driver, path) -> None:
    page = Opened(driver, path)
    z = COUNT - 1 - MIDDLE
    buttons = page.js("[...document.querySelectorAll('#legend button')].map(b => Number(b.value))")
    readout = "document.querySelector('#readout').textContent"
    instruction = page.js(readout)
    for number, tissue in enumerate(map(Tissue, buttons)):
        box = page.js(
            f"document.querySelectorAll('#legend button')[{number}]"
            ".getBoundingClientRect().toJSON()"
        )
        at = {"x": box["left"] + 8, "y": box["top"] + 8}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **at})
        page.shows(4, int(tissue))  # all others are grey
        page.until(f"{readout}.startsWith('{tissue.title} in this slice')")
        told = re.fullmatch(
            rf"{tissue.title} in this slice: mean (−?\d+) HU, mean confidence (\d+) %",
            page.js(readout),
        )
        assert told is not None, page.js(readout)
        own = np.asarray(VOLUME.voxels[z])[CHROMA.code[z] == tissue].mean()
        assert abs(int(told[1].replace("−", "-")) - own) <= (1 if -200 < own < 300 else 2)
        assert int(told[2]) == round(100 * CONFIDENCE / 255)
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
    page.shows(4, -1)
    page.until(f"{readout} === {instruction!r}")
    page.event("mouseMoved", (0.5, 0.5))  # what is under the cursor comes first again
    page.until(f"{readout}.includes('confidence') && !{readout}.includes('slice')")
    assert page.errors() == []


def test_the_legend_by_keyboard_and_where_a_tissue_is_not(driver, path, tmp_path) -> None:
    code = CHROMA.code.copy()
    code[:3][code[:3] == Tissue.LIVER] = Tissue.MUSCLE  # only in the slices towards the head
    page = Opened(driver, written(tmp_path / "a.html", VOLUME, replace(CHROMA, code=code)))
    readout = "document.querySelector('#readout').textContent"
    page.key("End")
    page.shows(0, COUNT - 1)
    page.js("document.querySelector('#windows input').focus()")
    page.key("Tab", windowsVirtualKeyCode=9)
    page.until("document.activeElement.closest('#legend') !== null")
    page.until(f"{readout}.startsWith('Fat in this slice: mean −')")
    page.js("document.querySelectorAll('#legend button')[3].focus()")
    page.until(f"{readout} === 'Liver: not in this slice'")
    page.js("document.activeElement.blur()")
    page.until(f"{readout}.startsWith('Point at')")
    assert page.errors() == []
