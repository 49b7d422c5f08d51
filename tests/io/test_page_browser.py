"""The page in a real Chromium: colors, windows, wipe, wheel, keys, touch, hover, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import CONFIDENCE, Opened, chromium, drawn, written

from marker_cases import marked
from tomochrome.color import Lighting
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.lighting import light_slice
from tomochrome.color.photograph_look import photograph_look
from tomochrome.colorization.case_coloring import photograph_page
from tomochrome.io import write
from tomochrome.io.dicom.dicom_write import over_black
from tomochrome.tissue import Tissue
from tomochrome.windowing import PRESETS

VOLUME, CHROMA = drawn()
COUNT, ROWS, COLUMNS = VOLUME.shape
MIDDLE = COUNT - 1 - COUNT // 2  # the slice shown first, from the head


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page") / "case.html", VOLUME, CHROMA)


@pytest.fixture
def page(driver: Any, path: Path) -> Iterator[Opened]:
    opened = Opened(driver, path)
    yield opened
    assert opened.errors() == []


def lit(k: int, window: str = "soft-tissue", color: bool = True) -> np.ndarray:
    """Return a slice, counted from the head, as this package colors it."""
    settings = Lighting(window=window, alpha="opaque", saturation=1.0 if color else 0.0)
    return light_slice(VOLUME, CHROMA, COUNT - 1 - k, settings)[..., :3]


def test_pixels_are_those_of_the_package(page: Opened) -> None:
    page.js("document.querySelector('#wipe').value = 0")
    page.js("document.querySelector('#wipe').dispatchEvent(new Event('input'))")
    page.shows(3, "0.00")
    for number, window in enumerate([PRESETS["soft-tissue"], *PRESETS.values()]):
        if number > 1 and window.name not in ("lung", "bone", "brain"):
            continue
        others = [each for each in PRESETS if each != "soft-tissue"]
        index = 0 if number == 0 else others.index(window.name) + 1
        page.js(f"document.querySelector('input[name=window][value=\"{index}\"]').click()")
        page.shows(1, index)
        pixels, expected = page.pixels(), lit(MIDDLE, window.name)
        assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 3  # a*, b* are integers
        L = [srgb_to_lab(each)[..., 0] for each in (pixels, lit(MIDDLE, window.name, False))]
        assert np.abs(L[0] - L[1]).max() <= 0.7


def test_the_wipe_shows_grey_on_the_left_and_color_on_the_right(page: Opened) -> None:
    assert page.drawn == [str(MIDDLE), "0", "wipe", "0.50", "-1"]
    half = COLUMNS // 2
    np.testing.assert_array_equal(page.pixels()[:, :half], lit(MIDDLE, color=False)[:, :half])
    assert np.ptp(page.pixels()[:, half:].astype(int), axis=-1).max() > 30
    page.event("mousePressed", (0.5, 0.5), button="left", clickCount=1)
    page.event("mouseMoved", (0.4, 0.5), button="left", buttons=1)
    page.event("mouseMoved", (0.25, 0.5), button="left", buttons=1)
    page.event("mouseReleased", (0.25, 0.5), button="left", clickCount=1)
    page.shows(3, "0.25")
    assert np.ptp(page.pixels()[:, half - 10 : half].astype(int), axis=-1).max() > 30


def test_the_wheel_and_keys_scroll_from_head_to_feet(page: Opened) -> None:
    page.event("mouseWheel", (0.5, 0.5), deltaX=0, deltaY=100)
    page.shows(0, MIDDLE + 1)
    page.event("mouseWheel", (0.5, 0.5), deltaX=0, deltaY=-100)
    page.shows(0, MIDDLE)
    last = COUNT - 1
    for key, k in (
        ("ArrowDown", MIDDLE + 1), ("ArrowUp", MIDDLE), ("End", last), ("PageUp", 0),
        ("PageDown", last), ("Home", 0), ("ArrowUp", 0),
    ):  # fmt: skip
        page.key(key)
        page.shows(0, k)
    np.testing.assert_array_equal(page.pixels()[:, :20], lit(0, color=False)[:, :20])
    page.key("ArrowRight")
    page.shows(3, "0.52")
    page.key("3")
    page.shows(1, 2)
    page.key("v")
    page.shows(2, "sides")
    assert page.js("document.querySelectorAll('canvas').length") == 2
    assert page.js("document.querySelector('#slice').getAttribute('aria-valuetext')") == (
        "Slice 1 of 6, z 125.0 mm"
    )


def test_hovering_tells_tissue_value_and_confidence(page: Opened) -> None:
    for x, y, name in ((55, 18, "Liver"), (22, 44, "Cortical bone"), (40, 30, "Muscle")):
        page.event("mouseMoved", ((x + 0.5) / COLUMNS, (y + 0.5) / ROWS))
        page.until(f"document.querySelector('#readout').textContent.includes('{name}')")
        text = page.js("document.querySelector('#readout').textContent")
        value = VOLUME.voxels[COUNT - 1 - MIDDLE, y, x]
        told = int(text.split(" HU")[0].replace("−", "-"))
        assert told == value if -200 <= value < 300 else abs(told - value) <= 2
        assert text.endswith(f"{name}, confidence {round(100 * CONFIDENCE / 255)} %")
    page.key("ArrowRight", modifiers=8)
    page.until("document.querySelector('#readout').textContent.includes('Muscle')")
    page.event("mouseMoved", (0.01, 0.02))
    page.until("/^−\\d+ HU · Air$/.test(document.querySelector('#readout').textContent)")


def test_the_legend_shows_one_tissue_in_color(page: Opened) -> None:
    titles = page.js("[...document.querySelectorAll('#legend button')].map(b => b.textContent)")
    assert titles == ["Fat", "Muscle", "Cortical bone", "Liver"]
    page.js("document.querySelectorAll('#legend button')[3].click()")
    page.shows(4, int(Tissue.LIVER))
    assert page.js("document.querySelectorAll('#legend [aria-pressed=true]').length") == 1
    colored = np.ptp(page.pixels().astype(int), axis=-1) > 12
    tissue = CHROMA.code[COUNT - 1 - MIDDLE]
    assert (
        not colored[tissue != Tissue.LIVER].any() and colored[tissue == Tissue.LIVER].mean() > 0.9
    )


def test_touch_scrolls_and_wipes(page: Opened) -> None:
    page.touch("touchStart", (0.5, 0.3))
    for y in (0.4, 0.5, 0.7, 0.9):
        page.touch("touchMove", (0.5, y))
    page.touch("touchEnd")
    page.shows(0, COUNT - 1)
    assert page.drawn[3] == "0.50"
    page.touch("touchStart", (0.5, 0.5))
    for x in (0.6, 0.7, 0.75):
        page.touch("touchMove", (x, 0.5))
    page.touch("touchEnd")
    page.shows(3, "0.75")
    assert "HU" in page.js("document.querySelector('#readout').textContent")


def test_nothing_is_requested_but_the_file(page: Opened, path: Path) -> None:
    page.requests()
    page.driver.refresh()
    page.until("!!document.documentElement.dataset.drawn")
    assert page.requests() == {path.as_uri()}


def test_restored_voxels_are_hatched_on_both_sides_of_the_wipe(
    driver: Any, path: Path, tmp_path: Path
) -> None:
    mask = np.zeros(VOLUME.shape, bool)
    mask[:, 24:40, 20:60] = True
    outside = np.zeros_like(mask)
    outside[:, :4] = True
    marked_volume = replace(VOLUME, restored=mask, outside=outside)
    plain = Opened(driver, path).pixels()
    page = Opened(driver, written(tmp_path / "restored.html", marked_volume, CHROMA))
    differs = (page.pixels() != plain).any(axis=-1)
    area = mask[0]
    assert not differs[~area].any()
    for half in (area[:, :40], area[:, 40:]):
        assert half.any()
    assert differs[:, :40].sum() > 30 and differs[:, 40:].sum() > 30
    page.event("mouseMoved", (30.5 / COLUMNS, 30.5 / ROWS))
    page.until("document.querySelector('#readout').textContent.includes('restored, not measured')")
    page.event("mouseMoved", (30.5 / COLUMNS, 1.5 / ROWS))
    page.until("document.querySelector('#readout').textContent === 'outside the scan'")
    assert "hatched: restored, not measured" in page.js("document.body.innerText").lower()
    assert page.errors() == []


def test_two_models_are_shown_side_by_side(driver: Any, tmp_path: Path) -> None:
    code = np.where(CHROMA.code == Tissue.LIVER, Tissue.SPLEEN, CHROMA.code).astype(np.uint16)
    other = replace(CHROMA, code=code)
    page = Opened(driver, written(tmp_path / "two.html", VOLUME, CHROMA, other))
    assert page.drawn[2] == "sides"
    captions = page.js("[...document.querySelectorAll('figcaption')].map(c => c.textContent)")
    assert captions == ["Grey", "Model 1", "Model 2"]
    np.testing.assert_array_equal(page.pixels(0), lit(MIDDLE, color=False))
    assert np.abs(page.pixels(1).astype(int) - lit(MIDDLE).astype(int)).max() <= 3
    liver = CHROMA.code[COUNT - 1 - MIDDLE] == Tissue.LIVER
    assert ((page.pixels(1) != page.pixels(2)).any(axis=-1) <= liver).all()
    page.event("mouseMoved", (55.5 / COLUMNS, 18.5 / ROWS))
    page.until("document.querySelector('#readout').textContent.includes('Model 2: Spleen')")
    page.touch("touchStart", (0.1, 0.5))
    for x in (0.3, 0.6, 0.9):  # where pages scroll up and down, slices scroll sideways
        page.touch("touchMove", (x, 0.5))
    page.touch("touchEnd")
    page.shows(0, COUNT - 1)
    assert page.errors() == []


def test_markers_are_at_their_letters(driver: Any, tmp_path: Path) -> None:
    """Every way of storing them gives the same page, see test_page."""
    write(marked(), tmp_path / "markers.html")
    page = Opened(driver, tmp_path / "markers.html")
    letters = {
        edge: page.js(f"document.querySelector('.letter.{edge}').textContent")
        for edge in ("left", "right", "top", "bottom")
    }
    assert letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    page.js("document.querySelector('#wipe').value = 0")
    page.js("document.querySelector('#wipe').dispatchEvent(new Event('input'))")
    page.shows(3, "0.00")
    red, green = (np.argwhere(page.pixels()[..., c] > 128).mean(axis=0) for c in (0, 1))
    assert red[1] > green[1] + 8 and green[0] < red[0] - 8  # at the left, and in front
    page.key("Home")
    page.shows(0, 0)
    blue = [(page.pixels()[..., 2] > 128).sum()]
    for k in range(1, 19):
        page.key("ArrowDown")
        page.shows(0, k)
        blue.append((page.pixels()[..., 2] > 128).sum())
    assert 0 < np.average(np.arange(19), weights=blue) < 9  # nearer to the head
    assert page.errors() == []


def test_colors_have_their_own_lightness_and_grey_that_of_the_scanner(
    driver: Any, tmp_path: Path
) -> None:
    photograph_page(VOLUME, CHROMA, Lighting(window="soft-tissue")).write(tmp_path / "look.html")
    page, half = Opened(driver, tmp_path / "look.html"), COLUMNS // 2
    pixels = page.pixels().astype(int)
    np.testing.assert_array_equal(pixels[:, :half], lit(MIDDLE, color=False)[:, :half])
    image = photograph_look(VOLUME, CHROMA)
    look = over_black(np.asarray(image.voxels[COUNT - 1 - MIDDLE])).astype(int)
    assert np.abs(pixels - look)[:, half:].max() <= 6  # a*, b* are integers
    text = page.js("document.querySelector('.window').textContent")
    assert text.endswith("; color: lightness not from the scanner")
    assert page.errors() == []
