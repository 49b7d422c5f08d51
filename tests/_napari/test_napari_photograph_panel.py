"""The panel "Color a photograph": a 2D layer in, its colors over it."""

from __future__ import annotations

import numpy as np
import pytest

import tomochrome as tc
from tomochrome._napari.colorize.photograph_panel import PhotographPanel, photograph_of
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.errors import InputError
from tomochrome.volume import Volume

pytestmark = pytest.mark.gui

GREY = np.random.default_rng(0).integers(20, 230, (40, 50)).astype(np.uint8)


@pytest.fixture
def panel(window, qtbot):
    """The panel, over a grey photograph and a CT."""
    window.layers.clear()
    window.add_image(GREY, name="section", scale=(0.3, 0.3), translate=(5, 6))
    panel = PhotographPanel(window)
    window.window.add_dock_widget(panel, name="Color a photograph")
    panel.reset_choices()
    yield panel
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def run(panel, qtbot):
    panel.view.run.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    return panel.view.message


def test_a_photograph_gets_its_colors_in_a_layer_over_it(panel, window, qtbot, monkeypatch):
    seen = []

    def color(image, model):
        seen.append((image, model))
        return np.stack([image, image, 255 - image], axis=-1)

    monkeypatch.setattr(tc, "colorize_photograph", color)
    panel.form.model.choices = ["unet"]
    assert run(panel, qtbot).text() == ""
    colored = window.layers["section · U-Net in Lab"]
    assert colored.rgb
    np.testing.assert_array_equal(colored.data[..., 2], 255 - GREY)
    np.testing.assert_array_equal(seen[0][0], GREY)
    for same in ("scale", "translate"):
        np.testing.assert_array_equal(
            getattr(colored, same), getattr(window.layers["section"], same)
        )
    assert "not for diagnosis" in colored.metadata["not measured"]


def test_a_ct_is_refused_in_one_sentence(panel, window, qtbot):
    ct = Volume(np.zeros((3, 8, 9), np.int16))
    data, keywords, _ = volume_layer(ct, "scan")
    window.add_image(data, **keywords)
    panel.reset_choices()
    panel.form.photograph.value = window.layers["scan"]
    panel.form.model.choices = ["unet"]
    message = run(panel, qtbot)
    assert message.tone == "error"
    assert message.text() == (
        "The layer 'scan' is not a photograph: choose a 2D layer in grey or color, and color a CT "
        "with 'Colorize volume'."
    )
    assert len(window.layers) == 2


def test_without_a_model_it_says_so(panel, qtbot):
    panel.form.model.choices = []
    assert run(panel, qtbot).text() == "No model that colors photographs is installed."


def test_layers_are_read_as_they_are_displayed(window):
    window.layers.clear()
    dark = window.add_image(GREY.astype(np.uint16) * 100, contrast_limits=(0, 25500), name="16 bit")
    np.testing.assert_array_equal(photograph_of(dark), GREY)
    color = np.random.default_rng(1).integers(0, 255, (10, 12, 4)).astype(np.uint8)
    np.testing.assert_array_equal(photograph_of(window.add_image(color, rgb=True)), color[..., :3])
    floats = window.add_image(color[..., :3] / 255.0, rgb=True)
    np.testing.assert_array_equal(photograph_of(floats), color[..., :3])
    with pytest.raises(InputError, match="choose a 2D layer"):
        photograph_of(window.add_image(np.zeros((3, 4, 5)), name="stack"))
    window.layers.clear()
