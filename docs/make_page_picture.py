"""Draw docs/pictures/page.png: a page on a desktop, light, and on a phone, dark.

::

    python docs/make_page_picture.py

It needs chromium and chromedriver. The scan is a phantom, the tissues are the network's.
"""

from __future__ import annotations

import base64
import io
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from drawing import FOLDER
from PIL import Image
from selenium import webdriver

import tomochrome as tc
from tomochrome.color import Lighting
from tomochrome.colorization.case_coloring import case_page
from tomochrome.phantom import make_patient

SEED, REGION, SPACING = 2_000_002, "abdomen", (5.0, 1.2, 1.2)
DESKTOP, PHONE = (1280, 800), (390, 800)
HOVER = 0.62, 0.42  # share of the picture from left and top
COLORS = 256


def main() -> None:
    """Draw."""
    volume = make_patient(SEED, REGION, SPACING, phase="portal").ct
    with TemporaryDirectory() as folder:
        path = Path(folder) / "case.html"
        case_page(volume, tc.colorize(volume), Lighting(window="soft-tissue")).write(path)
        shots = [
            photograph(path, size, dark=dark) for size, dark in ((DESKTOP, False), (PHONE, True))
        ]
    sheet = Image.new("RGB", (sum(shot.width for shot in shots) + 20, DESKTOP[1]), "white")
    sheet.paste(shots[0], (0, 0))
    sheet.paste(shots[1], (DESKTOP[0] + 20, 0))
    sheet.quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(
        FOLDER / "page.png", optimize=True
    )


def photograph(path: Path, size: tuple[int, int], *, dark: bool) -> Image.Image:
    """Return what a browser shows, with the pointer on the picture."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        driver.get(path.as_uri())
        wait_for(driver, "return document.documentElement.dataset.drawn")
        box = driver.execute_script(
            "return document.querySelector('.frame').getBoundingClientRect().toJSON()"
        )
        x, y = (
            box[k] + s * box[n] for k, n, s in zip("xy", ("width", "height"), HOVER, strict=True)
        )
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
        wait_for(driver, "return document.querySelector('#readout').textContent.includes('HU')")
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    finally:
        driver.quit()


def wait_for(driver: Any, code: str) -> None:
    """Wait until a script returns something true."""
    for _ in range(500):
        if driver.execute_script(code):
            return
        time.sleep(0.02)
    raise TimeoutError(code)


if __name__ == "__main__":
    main()
