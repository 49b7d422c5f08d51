"""The "Compare models" window: the current slice colored by each model."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import slow_color
from qtpy.QtWidgets import QApplication
from quick_colorize import simple_colorize

from tomochrome._napari.colorize.colorize_view import remembered
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.kit.controls import MessageLabel
from tomochrome._napari.kit.theme import colors_of, is_dark
from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.color import light
from tomochrome.colorization import find_model
from tomochrome.errors import ModelError

pytestmark = pytest.mark.gui

SIDE = "tomochrome.colorization.side_by_side"
NAMES = ("tissue", "transfer-function")


@pytest.fixture
def galleries(panel, monkeypatch):
    """Fast replacements for the engine, and a function that lists the open windows."""
    from tomochrome._napari.colorize.model_gallery import ModelGallery

    def color(volume, model, *, threads=None, **how):
        if str(model).endswith("damaged"):
            raise ModelError("the model is damaged")
        return simple_colorize(volume, find_model(model).name, **how)

    monkeypatch.setattr(f"{SIDE}.colorize", color)
    monkeypatch.setattr(f"{SIDE}.models", lambda: [find_model(name) for name in NAMES])
    panel.view.offer(Offer(NAMES, ("auto",), ("natural",), ("body",)))
    return lambda: [w for w in QApplication.topLevelWidgets() if isinstance(w, ModelGallery)
                    and w.isVisible()]  # fmt: skip


def test_the_slice_in_view_by_every_model_and_a_click_chooses(panel, qtbot, monkeypatch, galleries):
    shown = []
    from tomochrome.io import slice_pictures

    tiles = slice_pictures.tile_pictures
    monkeypatch.setattr(
        slice_pictures, "tile_pictures", lambda v, side: shown.append(v) or tiles(v, side)
    )
    panel.viewer.dims.set_current_step(0, 7)
    panel.view.compare.click()
    assert not panel.view.compare.isEnabled()
    qtbot.waitUntil(lambda: not panel.running)
    (gallery,) = galleries()
    assert list(gallery.tiles) == ["grey", *NAMES]
    assert [tile.text() for tile in gallery.tiles.values()] == [
        "Grey", *(find_model(name).title for name in NAMES),
    ]  # fmt: skip
    ct = source_of(panel.view.layer.layer().metadata).shown
    expected = light(ct, simple_colorize(ct), panel.view.window.window).voxels[7]
    np.testing.assert_array_equal(shown[0].voxels[1], expected)
    assert panel.coloring is None  # nothing was added
    caution = gallery.findChild(MessageLabel)
    assert colors_of("caution", is_dark(panel)).background in caution.styleSheet()
    gallery.tiles[NAMES[1]].click()
    assert panel.view.model.name == remembered("model") == NAMES[1]
    panel.view.compare.click()  # another one takes its place
    qtbot.waitUntil(lambda: not panel.running)
    assert len(galleries()) == 1
    assert galleries()[0].tiles[NAMES[1]].isChecked()
    galleries()[0].close()  # by the user
    panel.release()
    assert galleries() == []


def test_a_comparison_is_cancelled_and_an_error_is_a_sentence(panel, qtbot, monkeypatch, galleries):
    monkeypatch.setattr(f"{SIDE}.colorize", slow_color)
    panel.view.compare.click()
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running)
    assert panel.view.message.text() == "Cancelled; nothing was changed."
    monkeypatch.setattr(
        f"{SIDE}.colorize", lambda *_, **__: (_ for _ in ()).throw(ModelError("no"))
    )
    panel.view.compare.click()
    qtbot.waitUntil(lambda: not panel.running)
    assert panel.view.message.text() == "No."
    assert galleries() == []
