"""The panel "Register & checkerboard", docked in a real window over two bodies."""

from __future__ import annotations

from importlib import import_module

import pytest
from napari.layers import Layer
from napari.utils._proxies import PublicOnlyProxy
from register_cases import SHIFT, QuickRegister, body

from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.layers.volume_layers import volume_layer


@pytest.fixture
def engine(monkeypatch):
    """A fast replacement for the engine; ``test_napari_register_window.py`` runs the real one."""
    quick = QuickRegister()
    monkeypatch.setattr(import_module("tomochrome.registration.pairwise"), "register", quick)
    return quick


@pytest.fixture(scope="module")
def docked(window, qapp):
    """The panel in the module's viewer: docking one for every test takes seconds."""
    from tomochrome._napari.registration.register_widget import RegisterWidget

    offer = Offer(("symnet", "none"), ("auto", "cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tomochrome._napari.registration.register_widget.register_offer", lambda *_: offer
        )
        widget = RegisterWidget(PublicOnlyProxy(window))  # as napari passes it
    window.window.add_dock_widget(widget, name="Register & checkerboard")
    while widget.loading.running:
        qapp.processEvents()
    yield widget
    widget.release()
    window.window.remove_dock_widget("all")


@pytest.fixture
def panel(docked, window, qtbot):
    """The docked panel over two bodies, as when it was opened."""
    window.add_layer(Layer.create(*volume_layer(body(), "prior")))
    window.add_layer(Layer.create(*volume_layer(body(SHIFT), "follow-up")))
    qtbot.wait(10)
    yield docked
    if docked.running:
        docked.cancel()
        qtbot.waitUntil(lambda: not docked.running, timeout=5000)
    docked.comparing.stop()
    window.layers.clear()
    window.dims.ndisplay = 2
    window.dims.order = (0, 1, 2)
    forget(docked)


def forget(panel):
    """Put the fields back to where they were at first."""
    view = panel.view
    view.message.say("")
    view.compare.message.say("")
    view.compare.levels.setText("")
    view.compare.reach.setValue(0)
    view.compare.tile.box.setValue(20)
    view.compare.offsets[2].setValue(0)
    view.refine.setValue(-1)
    for box in (view.keep, view.use_points, view.use_labels):
        box.setChecked(False)
    panel.comparing.positions = None
    for box in (view.compare.mode, view.init, view.model, view.similarity, view.use.direction):
        box.setCurrentIndex(0)
