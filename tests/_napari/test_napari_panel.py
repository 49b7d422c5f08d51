"""A new panel is one short file; the base class has fields, run, cancel, progress and errors."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from npe2 import DynamicPlugin
from qtpy.QtWidgets import QLabel
from scipy.ndimage import gaussian_filter
from toy_panel import SmoothPanel, smooth

from tomochrome._napari.kit.narrow_widgets import MAX_MINIMUM_PX
from tomochrome.runtime import check, report

pytestmark = pytest.mark.gui

NAME = "toy-plugin"


@pytest.fixture
def toy(window, qtbot):
    """The toy panel, opened as napari's menu opens it, over two images."""
    window.add_image(np.random.default_rng(0).normal(size=(3, 8, 9)), name="grey", scale=(2, 1, 1))
    window.add_image(np.zeros((4, 5, 3), np.uint8), name="photo", rgb=True)
    with DynamicPlugin(NAME) as plugin:
        plugin.contribute.widget(display_name="Smooth")(SmoothPanel)
        _, panel = window.window.add_plugin_dock_widget(NAME, "Smooth")
        yield panel
        panel.release()
        window.window.remove_dock_widget("all")
    window.layers.clear()


def run(toy, qtbot):
    toy.view.run.click()
    qtbot.waitUntil(lambda: not toy.running)
    return toy.view.message


def test_a_panel_is_one_file_of_at_most_40_lines():
    assert len((Path(__file__).parent / "toy_panel.py").read_text().splitlines()) <= 40


def test_the_fields_are_the_functions_parameters_and_its_layers_are_added(toy, window, qtbot):
    assert [field.name for field in toy.form] == ["image", "sigma"]
    toy.form.image.value, toy.form.sigma.value = window.layers["grey"], 2.0
    assert run(toy, qtbot).text() == ""
    grey, smoothed = window.layers["grey"], window.layers["grey, smoothed"]
    expected = [gaussian_filter(plane, 2.0) for plane in grey.data]
    np.testing.assert_allclose(smoothed.data, expected)
    assert tuple(smoothed.scale) == (2, 1, 1)
    assert toy.form.image.choices == tuple(window.layers)


def test_the_fields_look_like_those_of_other_panels(toy, window, qtbot):
    """magicgui's own form is cut off in a narrow panel, and its fields are not aligned."""
    image, sigma = toy.form.image.native, toy.form.sigma.native
    window.layers["grey"].name = "a grey image with a name that no panel has space for, part 2"
    toy.reset_choices()
    qtbot.waitUntil(lambda: image.x() == sigma.x() > 0)
    labels = {label.text(): label for label in toy.findChildren(QLabel)}
    assert {"Image", "Sigma"} <= labels.keys()
    assert toy.minimumSizeHint().width() < MAX_MINIMUM_PX
    drawn = image.grab().toImage()
    image.setCurrentText("photo")
    assert drawn != image.grab().toImage()


def test_an_input_error_is_one_sentence(toy, window, qtbot):
    toy.form.image.value = window.layers["photo"]
    message = run(toy, qtbot)
    assert message.text() == "The layer 'photo' is in color; choose a grey one."
    assert message.tone == "error"


def test_an_unexpected_error_gives_a_message_and_a_log_entry(toy, monkeypatch, qtbot, caplog):
    monkeypatch.setattr(SmoothPanel, "work", staticmethod(lambda **_: 1 / 0))
    assert "Smoothing failed unexpectedly (ZeroDivisionError" in run(toy, qtbot).text()
    assert caplog.records[-1].exc_info is not None


def test_progress_and_cancel_work(toy, monkeypatch, qtbot):
    begun = threading.Event()

    def slow(**_):
        report(1, 4, "smoothing")
        begun.set()
        while True:
            check()

    monkeypatch.setattr(SmoothPanel, "work", staticmethod(slow))
    toy.view.run.click()
    assert begun.wait(600)
    qtbot.waitUntil(lambda: toy.view.progress.text() == "Smoothing  25%")
    assert not toy.view.run.isEnabled()
    assert not toy.form.image.native.isEnabled()
    toy.view.cancel.click()
    qtbot.waitUntil(lambda: not toy.running)
    assert toy.view.message.text() == "Cancelled; nothing was changed."
    assert toy.view.run.isEnabled()


def test_the_function_is_an_ordinary_one(window):
    layer = window.add_image(np.ones((2, 3, 3)), name="flat")
    ((data, _, kind),) = smooth(layer)
    assert kind == "image"
    np.testing.assert_allclose(data, 1)
    window.layers.clear()


@pytest.mark.parametrize("modules", [0, 2000])
def test_garbage_is_collected_after_many_imports_and_only_then(toy, qtbot, monkeypatch, modules):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    collections = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append(threading.current_thread()))
    toy.view.offer = lambda offer: None

    def find():
        sys.modules.update({f"imported_{k}": None for k in range(modules)})

    toy.load_engine(find)
    qtbot.waitUntil(lambda: not toy.loading.running, timeout=20_000)
    assert len(collections) == (1 if modules else 0)
    assert threading.main_thread() not in collections
