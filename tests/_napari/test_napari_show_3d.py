"""What 3D shows first, and the choice "Show": presets for 3D apart from the opacity of slices."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize
from overlay_boxes import drawn_box
from qtpy.QtWidgets import QApplication

from tomochrome._napari.colorize import colorize_view as settings
from tomochrome._napari.colorize.colorize_widget import ColorizeWidget
from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.viewer.canvas_overlays import CanvasOverlays
from tomochrome.color import ALPHA_PRESETS
from tomochrome.color.palettes import palette
from tomochrome.color.photograph_look import photograph_palette
from tomochrome.rendering import RENDER_PRESETS
from tomochrome.tissue import Tissue

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


def rendered(data, qtbot):
    qtbot.waitUntil(lambda: data.is_rendered)
    return data.drawn.rgba.copy()


def test_the_look_of_a_photograph_changes_lightness_alone_and_comes_back(colored, qtbot):
    viewer, box = colored.viewer, colored.view.color.photograph_in_3d
    data = colored.coloring.layer.data
    assert not box.isVisibleTo(colored)
    viewer.dims.ndisplay = 3
    colored.view.color.alpha_box.choose("bone")
    assert box.isVisibleTo(colored)
    plain = rendered(data, qtbot)
    box.click()
    photograph = rendered(data, qtbot)
    np.testing.assert_array_equal(photograph[..., 3], plain[..., 3])
    seen, natural = plain[..., 3] > 0, palette("natural")
    bone = Tissue.CORTICAL_BONE
    change = photograph_palette(natural).lab[bone, 0] - natural.lab[bone, 0]
    brighter = photograph[seen][:, :3].mean() - plain[seen][:, :3].mean()
    assert abs(change) > 1
    assert np.sign(brighter) == np.sign(change)
    viewer.dims.ndisplay = 2
    colorize(colored, qtbot)  # another run of the same scan
    viewer.dims.ndisplay = 3
    assert box.isChecked()
    assert colored.coloring.layer.data.look_in_3d == "photograph"


def test_3d_says_that_lightness_is_not_the_scanners(colored, qtbot, painted):
    viewer, box = colored.viewer, colored.view.color.alpha_box
    note = viewer.canvas.overlays["orientation_note"]

    def settled():
        return follower_of(viewer, CanvasOverlays).settled

    qtbot.waitUntil(lambda: not note.visible)  # the previous test's
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(settled)
    assert (note.visible, note.text) == (True, "lightness not from the scanner")
    box.choose("opaque")  # by Hounsfield units
    qtbot.waitUntil(lambda: not note.visible)
    box.choose("organs")
    qtbot.waitUntil(lambda: note.visible)
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(settled)
    assert not note.visible


@pytest.mark.parametrize("width", [850, 1150, 1500])
def test_the_note_does_not_cover_the_letter_below(colored, qtbot, painted, width):
    viewer = colored.viewer
    overlays = viewer.canvas.overlays
    window = colored.window()
    before = window.size()
    window.resize(width, 700)  # or what other panels in the window leave
    QApplication.processEvents()
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: follower_of(viewer, CanvasOverlays).settled)
    letter, note = (drawn_box(viewer, overlays[f"orientation_{n}"]) for n in ("bottom", "note"))
    assert note[0][0] > 0.8  # at the bottom
    assert np.any(letter[1] < note[0]) or np.any(note[1] < letter[0])  # apart
    viewer.dims.ndisplay = 2
    window.resize(before)


def test_the_note_is_right_however_fast_3d_is_switched(colored, qtbot):
    viewer = colored.viewer
    note, overlays = viewer.canvas.overlays["orientation_note"], follower_of(viewer, CanvasOverlays)
    qtbot.waitUntil(lambda: overlays.settled)
    for in_3d in (True, False):
        viewer.dims.ndisplay = 2 if in_3d else 3
        qtbot.waitUntil(lambda: overlays.settled)
        assert note.visible != in_3d
        viewer.dims.ndisplay = 3 if in_3d else 2
        viewer.dims.ndisplay = 2 if in_3d else 3  # before the note is drawn or removed
        qtbot.waitUntil(lambda: overlays.settled)
        assert note.visible != in_3d
