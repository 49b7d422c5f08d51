"""All panels are legible in napari's dark and light themes, and follow a switch.

Contrast is that of WCAG 2.2 (1.4.3), of the colors that are really on the screen.
"""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor, QImage, QPalette
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel

from tomochrome._napari.kit.controls import MessageLabel
from tomochrome._napari.kit.theme import ON_DARK, ON_LIGHT, is_dark
from tomochrome._napari.registration.result_panel import ResultPanel
from tomochrome._napari.series.scan_panel import ScanPanel
from tomochrome._napari.series.series_list import background_of, text_colors
from tomochrome._napari.series.series_picker import show_picker
from tomochrome.io import Item, Listing
from tomochrome.notices import Notice, refused

pytestmark = pytest.mark.gui

MIN_CONTRAST = 4.5
THEMES = ("dark", "light")
PANELS = ("Colorize volume", "Register & checkerboard", "Scan", "Open a scan", "Color hints")
ITEMS = (
    Item("/a", "dicom-series", title="Chest", modality="CT", shape=(9, 8, 7)),
    Item("/b", "dicom-series", title="Tilted", modality="CT", verdict="tilted",
         warnings=(Notice("geometry", "warning", "the slices are tilted"),)),
    Item("/c", "dicom-series", title="Scout", modality="CT", verdict="not-ct",
         warnings=(Notice("content", "warning", "a localizer (scout view)"),)),
    Item("/d", "dicom-series", title="Lost", modality="CT", verdict="unreadable",
         refusal=refused("the slices have no position")),
)  # fmt: skip


def luminance(rgb):
    """Relative luminance of sRGB 0 to 255, WCAG 2.2."""
    c = np.asarray(rgb, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    low, high = np.sort(np.stack(np.broadcast_arrays(luminance(a), luminance(b))), axis=0)
    return (high + 0.05) / (low + 0.05)


def rgb(color):
    return QColor(color).getRgb()[:3]


def pixels(widget):
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits().asarray(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), -1)
    pixels = rows[:, : 3 * image.width()].reshape(image.height(), -1, 3)
    return pixels.copy()  # the image and its memory end here


def seen_contrast(panel, widget, picture=None):
    """The contrast of a text to its background, which is the most frequent color around it.

    ``picture`` is that of the panel, where many widgets of it are looked at.
    """
    picture = pixels(panel) if picture is None else picture
    place = widget.mapTo(panel, widget.rect().topLeft())
    part = picture[
        place.y() + 2 : place.y() + widget.height() - 2,
        place.x() + 2 : place.x() + widget.width() - 2,
    ].astype(np.uint32)
    packed, counts = np.unique(part @ np.uint32([65536, 256, 1]), return_counts=True)
    colors = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1)
    return float(contrast(colors, colors[counts.argmax()]).max())


@pytest.fixture
def themed(window, painted, qtbot):
    """A function that switches napari's theme in the open window."""

    def switch(theme):
        window.theme = theme
        qtbot.wait(20)

    yield switch
    window.theme = "dark"
    for widget in list(window.window.dock_widgets.values()):
        if hasattr(widget, "release"):
            widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.mark.parametrize("colors", [ON_DARK, ON_LIGHT])
def test_every_tone_is_legible(colors):
    for tone in colors.values():
        assert contrast(rgb(tone.text), rgb(tone.background)) >= MIN_CONTRAST


@pytest.mark.parametrize("theme", THEMES)
def test_all_texts_on_the_panels_are_legible(window, themed, qtbot, small_ct, theme):
    from napari.layers import Layer

    from tomochrome._napari.layers.volume_layers import volume_layer

    window.add_layer(Layer.create(*volume_layer(small_ct)))
    themed("light" if theme == "dark" else "dark")
    panels = [window.window.add_plugin_dock_widget("napari-tomochrome", name)[1] for name in PANELS]
    for panel in panels:
        warm = getattr(panel, "loading", None)
        qtbot.waitUntil(lambda warm=warm: warm is None or not warm.running, timeout=20_000)
    themed(theme)  # live: the panels are open already
    poor, looked_at = [], 0
    for panel in panels:
        assert is_dark(panel) == (theme == "dark")
        view = panel.view
        view.resize(max(view.width(), 360), max(view.height(), view.sizeHint().height()))
        picture = pixels(view)
        for widget in view.findChildren((QLabel, QAbstractButton, QComboBox)):
            text = widget.currentText() if isinstance(widget, QComboBox) else widget.text()
            if not (text.strip() and widget.isVisibleTo(view) and widget.isEnabled()):
                continue
            looked_at += 1
            measured = seen_contrast(view, widget, picture)
            if measured < MIN_CONTRAST:
                poor.append((type(panel).__name__, text, round(measured, 2)))
    assert looked_at > 40
    assert poor == []


@pytest.mark.parametrize("tone", ["good", "neutral", "caution", "warning", "error"])
def test_a_notice_follows_the_theme(window, themed, tone):
    panel = ScanPanel(window)
    window.window.add_dock_widget(panel, name="Scan")
    notice = MessageLabel(tone)  # its panel comes later
    panel.view.layout().addWidget(notice)
    notice.say("Look closely.")
    for theme in (*THEMES, "system", "dark"):
        themed(theme)
        palette = notice.palette()
        letters, background = (
            palette.color(r) for r in (notice.foregroundRole(), QPalette.ColorRole.Window)
        )
        assert (background.lightness() < 127) == (get_theme(theme).type == "dark")
        assert contrast(rgb(letters), rgb(background)) >= MIN_CONTRAST
        assert seen_contrast(panel.view, notice) >= MIN_CONTRAST
    notice.say("As it should be.", "plain")
    assert notice.styleSheet() == ""


@pytest.mark.parametrize("theme", THEMES)
def test_the_series_list_is_legible(window, themed, qtbot, theme):
    picker = show_picker(window, Listing(ITEMS))
    themed(theme)
    view = picker.view
    assert is_dark(view) == (theme == "dark")
    for chosen in (False, True):
        background = background_of(view, chosen=chosen)
        for dim in (False, True):
            for color in text_colors(view, dim):
                assert contrast(rgb(color), rgb(background)) >= MIN_CONTRAST, (chosen, dim)
    assert seen_contrast(view, view.search) >= MIN_CONTRAST  # the hint in the empty line


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("grade", ["good", "caution", "bad"])
def test_the_registration_verdict_is_legible(window, themed, qtbot, theme, grade):
    report = {
        "before": {"ncc": 0.5, "mutual_information": 0.5},
        "after": {"ncc": 0.9 if grade == "good" else 0.55, "mutual_information": 0.9},
        "jacobian": {"folded_percent": 5.0 if grade == "bad" else 0.0, "sd_log": 0.1},
    }
    panel = ResultPanel()
    window.window.add_dock_widget(panel, name="Result")
    panel.show_report(report, ())
    themed(theme)
    for label in panel.findChildren(QLabel):
        if label.text() and label.isVisible():
            assert seen_contrast(panel, label) >= MIN_CONTRAST, label.text()
