"""Settings that the panel stores between sessions, and what it never stores."""

from __future__ import annotations

import pytest
from colorize_panel_cases import colorize
from qtpy.QtCore import QSettings

from tomochrome._napari.colorize import colorize_view as settings
from tomochrome._napari.colorize.colorize_widget import ColorizeWidget

pytestmark = pytest.mark.gui


def another_panel(panel, qtbot):
    """A panel as in a new napari session."""
    widget = ColorizeWidget(panel.viewer)
    qtbot.addWidget(widget)
    qtbot.waitUntil(lambda: not widget.loading.running, timeout=20_000)
    qtbot.wait(10)
    return widget


def pick(box, name):
    """Choose an item as a user does, which emits ``activated``."""
    box.choose(name)
    box.activated.emit(box.currentIndex())


def test_choices_are_restored_in_the_next_session(panel, qtbot):
    color = panel.view.color
    pick(panel.view.model, "other")
    pick(panel.view.device, "cpu")
    pick(color.palette_box, "vivid")
    pick(color.alpha_box, "opaque")
    color.opacity_row.slider.setValue(400)
    again = another_panel(panel, qtbot)
    assert again.view.model.name == "other"
    assert again.view.device.name == "cpu"
    assert again.view.color.palette_name == "vivid"
    assert again.view.color.alpha == "opaque"
    assert again.view.color.opacity == pytest.approx(0.4)
    assert colorize(again, qtbot, "other").layer.opacity == pytest.approx(0.4)
    again.release()


def test_a_model_stored_by_its_earlier_name_is_restored(panel, qtbot):
    settings.remember("model", "tissue3d")
    assert settings.remembered("model") == "tissue"
    again = another_panel(panel, qtbot)
    assert again.view.model.name == "tissue"
    again.release()


def test_what_no_longer_exists_is_forgotten(panel, qtbot):
    for key in settings.KEYS:
        settings.remember(key, "gone, or never there")
    again = another_panel(panel, qtbot)
    assert again.view.model.name == "tissue"
    assert again.view.device.name == "auto"
    assert again.view.color.palette_name == "natural"
    assert again.view.color.alpha == "body"
    assert again.view.color.opacity == 1.0
    again.release()


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "7", "", "0.3, 0.4", "@Invalid()"])
def test_invalid_stored_numbers_are_ignored(text):
    settings.remember("opacity", text)
    assert settings.remembered_fraction("opacity", 0.75) == 0.75


def test_a_damaged_settings_file_is_ignored(settings_of_their_own):
    settings.remember("model", "other")
    (file,) = settings_of_their_own.rglob("*.ini")
    file.write_bytes(b"[colorize\x00\xff]\nmodel=@Variant(\x00\x01")
    assert settings.remembered("model") in ("", "@Variant(\x00\x01")
    assert settings.remembered_fraction("opacity", 1.0) == 1.0


def test_nothing_of_the_patient_is_kept(panel, qtbot, settings_of_their_own):
    pick(panel.view.model, "other")
    panel.view.layer.layer().name = "DOE JANE"
    colorize(panel, qtbot)
    QSettings().sync()
    (file,) = settings_of_their_own.rglob("*.ini")
    text = file.read_text()
    assert "DOE" not in text
    keys = {line.split("=")[0] for line in text.splitlines() if "=" in line}
    assert keys <= set(settings.KEYS)
