"""The path of a volume from a file to the screen, as docs/architecture.md tells it."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tomochrome.io.dicom import write_series
from tomochrome.phantom import make_patient

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
STEP = re.compile(r"^\d+\. `tomochrome/([\w/]+)\.py`, `([\w.]+)`", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """Module and qualified name of each step, in the order of the page."""
    text = PAGE.read_text(encoding="utf-8").split("## From file to screen")[1].split("\n## ")[0]
    return [(f"tomochrome.{path.replace('/', '.')}", name) for path, name in STEP.findall(text)]


def test_the_path_has_at_most_nine_modules() -> None:
    modules = [module for module, _ in steps()]
    assert 5 <= len(modules) <= 9
    assert len(set(modules)) == len(modules)


@pytest.mark.usefixtures("settings_of_their_own")
def test_a_volume_takes_the_path_of_the_page(tmp_path: Path) -> None:
    """All steps are called, in this order, from an opened folder to a slice on the screen."""
    from napari.layers import Layer

    from tomochrome._napari.colorize.coloring import color_in_worker
    from tomochrome._napari.series.reader import get_reader

    scan = make_patient(0, "abdomen", (8.0, 5.0, 5.0), shape=(6, 64, 80)).ct
    write_series(scan, tmp_path / "series")
    wanted = steps()
    called: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_qualname in names:
            called.append((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))

    names = {name for _, name in wanted}

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        reader = get_reader(str(tmp_path / "series"))
        assert reader is not None
        (opened,) = reader(str(tmp_path / "series"))
        layer = Layer.create(*opened)
        colored = color_in_worker(layer, "tissue", "cpu", {})
        shown = np.asarray(colored.data[len(colored.data) // 2])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert np.ptp(shown[..., :3].astype(int), axis=-1).max() > 20  # in color
    missing = [step for step in wanted if step not in called]
    assert not missing
    first_calls = [called.index(step) for step in wanted]
    assert first_calls == sorted(first_calls)
