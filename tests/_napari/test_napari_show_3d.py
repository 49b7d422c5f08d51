"""What 3D shows first, and the choice "Show": presets for 3D apart from the opacity of slices."""

from __future__ import annotations

import pytest
from colorize_panel_cases import colorize

from tomochrome._napari.colorize import colorize_view as settings
from tomochrome._napari.colorize.colorize_widget import ColorizeWidget
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome.color import ALPHA_PRESETS
from tomochrome.rendering import RENDER_PRESETS

pytestmark = pytest.mark.gui

ALL = Offer(("tissue",), ("auto",), ("natural",), tuple(ALPHA_PRESETS))


@pytest.fixture
def colored(panel, qtbot):
    """The panel with every preset over a colored scan, a body with a liver."""
    panel.view.offer(ALL)
    colorize(panel, qtbot)
    yield panel
    panel.viewer.dims.ndisplay = 2


def test_3d_begins_with_the_preset_of_the_region_and_slices_keep_theirs(colored, qtbot):
    box, data = colored.view.color.alpha_box, colored.coloring.layer.data
    colored.viewer.dims.ndisplay = 3
    assert box.name == "organs"
    assert box.currentText() == "Organs"
    assert data.preset_in_3d is RENDER_PRESETS["organs"]
    qtbot.waitUntil(lambda: data.is_rendered)
    assert data.drawn.rgba[..., 3].any()
    assert data.settings.alpha.name == "body"
    colored.viewer.dims.ndisplay = 2
    assert box.name == "body"


@pytest.mark.parametrize("name", ["skin", "opaque", "glass", "bone", "lungs-vessels"])
def test_a_preset_chosen_in_3d_is_for_3d_and_comes_back(colored, qtbot, name):
    box, data = colored.view.color.alpha_box, colored.coloring.layer.data
    colored.viewer.dims.ndisplay = 3
    box.choose(name)
    assert data.preset_in_3d.name == name
    qtbot.waitUntil(lambda: data.is_rendered)
    colored.viewer.dims.ndisplay = 2
    assert box.name == data.settings.alpha.name == "body"
    colorize(colored, qtbot)  # another run of the same scan
    colored.viewer.dims.ndisplay = 3
    assert box.name == colored.coloring.layer.data.preset_in_3d.name == name


def test_opaque_in_slices_is_not_opaque_in_3d(colored):
    colored.view.color.alpha_box.choose("opaque")
    colored.viewer.dims.ndisplay = 3
    assert colored.view.color.alpha_box.name == "organs"
    colored.viewer.dims.ndisplay = 2
    assert colored.view.color.alpha_box.name == "opaque"


def test_skin_is_not_shown_unasked_in_the_next_session(panel, qtbot):
    settings.remember("alpha", "skin")
    again = ColorizeWidget(panel.viewer)
    qtbot.addWidget(again)
    qtbot.waitUntil(lambda: not again.loading.running, timeout=20_000)
    again.view.offer(ALL)
    assert again.view.color.alpha == "body"
    again.release()


def test_a_choice_in_3d_is_not_stored(colored):
    box = colored.view.color.alpha_box
    colored.viewer.dims.ndisplay = 3
    box.choose("skin")
    box.activated.emit(box.currentIndex())
    assert settings.remembered("alpha") == "body"


def test_show_stands_before_tissues_window_and_color(colored, qtbot):
    colored.viewer.dims.ndisplay = 3
    view = colored.view

    def top(widget):
        return widget.mapTo(colored, widget.rect().topLeft()).y()

    for later in (view.tissues, view.window, view.color):
        assert top(view.color.alpha_box) < top(later)
