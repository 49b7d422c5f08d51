"""A small CT with a known coloring, and a headless Chromium that opens its page."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tomochrome.color import Lighting
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Mixtures
from tomochrome.io.page import CasePage
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SPACING = (5.0, 2.0, 2.0)
CONFIDENCE = 204  # of 255: 80 %


def drawn(slices: int = 6) -> tuple[Volume, Chroma]:
    """A body that fills the slices: fat and muscle, a bone at the right, a liver at the left."""
    shape = (slices, 60, 80)
    z, y, x = np.indices(shape)
    tissue = np.full(shape, Tissue.AIR, np.uint16)
    tissue[((y - 30) / 29.5) ** 2 + ((x - 40) / 39.5) ** 2 < 1] = Tissue.FAT
    tissue[((y - 30) / 20) ** 2 + ((x - 40) / 30) ** 2 < 1] = Tissue.MUSCLE
    tissue[((y - 44) / 5) ** 2 + ((x - 22) / 5) ** 2 < 1] = Tissue.CORTICAL_BONE
    tissue[(abs(y - 18) < 4) & (x > 50) & (x < 66 - 2 * z)] = Tissue.LIVER
    levels = np.full(N_TISSUES, -1000)
    for each, hu in ((Tissue.FAT, -100), (Tissue.MUSCLE, 50), (Tissue.CORTICAL_BONE, 700)):
        levels[each] = hu
    levels[Tissue.LIVER] = 63
    noise = np.random.default_rng(3).integers(-9, 10, shape)
    hu = (levels[tissue] + noise).astype(np.int16)
    affine = default_affine(SPACING, (-80.0, -60.0, 100.0))
    confidence = np.full(shape, CONFIDENCE, np.uint8)
    table = Mixtures(np.eye(N_TISSUES, dtype=np.float32))
    return Volume(hu, affine), Chroma(tissue, confidence, table, affine, "drawn")


def written(path: Path, volume: Volume, *colorings: Chroma, **settings: Any) -> Path:
    """Write a page and return its path."""
    page = CasePage(volume, Lighting(**settings))
    for number, chroma in enumerate(colorings, start=1):
        page.add(chroma, f"Model {number}")
    page.write(path)
    return path


@contextmanager
def chromium(profile: Path, width: int = 1200, height: int = 900) -> Iterator[Any]:
    """Yield a driver of a headless Chromium; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={profile}", f"window-size={width},{height}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield driver
    finally:
        driver.quit()


class Opened:
    """A page in the browser."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        driver.get(path.as_uri())
        self.until("!!document.documentElement.dataset.drawn")

    def js(self, code: str, *arguments: Any) -> Any:
        """Return the value of an expression."""
        return self.driver.execute_script(f"return {code}", *arguments)

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        for _ in range(30_000):
            if self.js(condition):
                return
            time.sleep(0.02)
        pytest.fail(f"never true: {condition}; now drawn: {self.drawn}; {self.errors()}")

    @property
    def drawn(self) -> list[str]:
        """Slice, window, view, wipe and highlighted tissue of the pictures that are shown."""
        return str(self.js("document.documentElement.dataset.drawn")).split("/")

    def shows(self, field: int, value: object) -> None:
        """Wait until a field of `drawn` has a value."""
        self.until(f"document.documentElement.dataset.drawn.split('/')[{field}] === '{value}'")

    def pixels(self, number: int = 0) -> np.ndarray:
        """Return the pixels of a canvas, uint8 (y, x, 3)."""
        data = self.js(
            "(() => { const c = document.querySelectorAll('canvas')[arguments[0]];"
            "return [c.height, c.width, [...c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data]]; })()".replace(
                "arguments[0]", str(number)
            )
        )
        return np.array(data[2], np.uint8).reshape(data[0], data[1], 4)[..., :3]

    def event(self, kind: str, at: tuple[float, float], **more: Any) -> None:
        """Send a mouse event at a place of the first frame, 0 to 1 from left and top."""
        x, y = self.place(at)
        event = {"type": kind, "x": x, "y": y, **more}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def touch(self, kind: str, at: tuple[float, float] | None = None) -> None:
        """Send a touch event at a place of the first frame."""
        points = [] if at is None else [dict(zip("xy", self.place(at), strict=True))]
        event = {"type": kind, "touchPoints": points}
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def place(self, at: tuple[float, float]) -> tuple[float, float]:
        """Return a place of the first frame in pixels of the window."""
        box = self.js("document.querySelector('.frame').getBoundingClientRect().toJSON()")
        return box["left"] + at[0] * box["width"], box["top"] + at[1] * box["height"]

    def key(self, key: str, **more: Any) -> None:
        """Press a key."""
        code = f"Key{key.upper()}" if key.isalpha() and len(key) == 1 else key
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": code, **more}
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)

    def errors(self) -> list[str]:
        """Return the messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Return the addresses that were requested since the last call, without data in pages."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        urls = {each["request"]["url"] for each in sent}
        return {url for url in urls if not url.startswith(("data:", "blob:"))}
