"""Fixtures of the GUI tests: a small CT, a panel on it, and a monitor of the GUI thread."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from unittest.mock import patch

import numpy as np
import pytest
from gui_work import GuiWork
from named_series import write_named_series
from napari.utils._testsupport import use_leak_safe_log_records  # noqa: F401 - a fixture for all
from quick_colorize import simple_colorize

from tomochrome._napari.kit.choice_boxes import Offer
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.volume import Provenance, ScannerWindow, Volume, default_affine

HANG_MS = 300_000
"""Who waits for longer, waits for something that hangs."""


SLOWEST_FILES = ("test_napari_stress.py", "test_napari_whole.py", "test_napari_theme.py")


def pytest_collection_modifyitems(items):
    """Run the longest files first, so that all processes end at about the same time."""
    items.sort(key=lambda item: item.path.name not in SLOWEST_FILES)


@pytest.fixture
def qtbot(qtbot):
    """pytest-qt's ``qtbot`` with longer timeouts for busy machines."""

    def patient(wait):
        @wraps(wait)
        def waiting(*args, timeout=HANG_MS, **options):
            return wait(*args, timeout=max(timeout, HANG_MS), **options)

        return waiting

    for name in ("waitUntil", "waitSignal", "waitSignals"):
        setattr(qtbot, name, patient(getattr(qtbot, name)))
    return qtbot


@pytest.fixture(autouse=True)
def loading_at_once(monkeypatch):
    """Let panels import the engine at once, without waiting for the canvas."""
    monkeypatch.setattr("tomochrome._napari.kit.panel_bases._MAX_WAIT_S", 0.0)


@pytest.fixture(autouse=True)
def no_settings_of_the_user(settings_of_their_own):
    """Let each test of the panels have settings of its own."""


@pytest.fixture
def small_ct():
    """A body of water and fat with a bone, in air: 12 slices of 48 x 40."""
    z, y, x = np.ogrid[:12, :48, :40]
    radius = np.hypot((y - 24) / 20, (x - 20) / 16) + 0 * z
    voxels = np.full(radius.shape, -1000, np.int16)
    voxels[radius < 1] = -90
    voxels[radius < 0.8] = 55
    voxels[radius < 0.2] = 700
    window = ScannerWindow("scanner", 30.0, 300.0)
    provenance = Provenance(source="small", kind="phantom", modality="CT", windows=(window,))
    affine = default_affine((5.0, 4.0, 4.0), (-80.0, -90.0, 100.0))
    return Volume(voxels, affine, "HU", provenance)


@contextmanager
def _open_viewer():
    """Open a real window, and close it without writing the user's settings."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    try:
        yield viewer
    finally:
        if hasattr(viewer.window, "_qt_window"):
            with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
                viewer.close()


@pytest.fixture(scope="session")
def open_viewer():
    """A context manager that opens a window."""
    return _open_viewer


@pytest.fixture(scope="module")
def short_collections(qapp):
    """Freeze the objects imported so far, about a million, for the garbage collector.

    napari collects all garbage whenever a layer is removed.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def window(qapp, short_collections):
    """One viewer for all tests of a module, because opening one takes seconds.

    It paints nothing by itself: drawing the canvas and the panels takes most of the time of a test
    that looks at layers and at what widgets hold. Screenshots are drawn all the same. Between tests
    layers are removed, which needs the work-around that every viewer with a scan has.
    """
    from tomochrome._napari.viewer.gl_workaround import CanvasContext

    with _open_viewer() as viewer:
        follower_of(viewer, CanvasContext)
        viewer.window._qt_window.setUpdatesEnabled(False)
        yield viewer
    del viewer
    gc.collect()


@pytest.fixture
def painted(window):
    """The viewer paints whatever changes, as it does for a user."""
    window.window._qt_window.setUpdatesEnabled(True)
    yield
    window.window._qt_window.setUpdatesEnabled(False)


@pytest.fixture
def make_panel(small_ct, monkeypatch):
    """A function that docks the panel in a viewer with the small CT.

    A quick stand-in takes the engine's place; the engine itself is run from the window in
    ``test_napari_whole.py``.
    """
    offer = Offer(
        models=("tissue", "other"), palettes=("natural", "vivid"),
        alphas=("body", "opaque", "bone"), devices=("auto", "cpu"),
    )  # fmt: skip
    monkeypatch.setattr(
        "tomochrome._napari.colorize.colorize_widget.colorize_offer", lambda *_: offer
    )
    monkeypatch.setattr(import_module("tomochrome.colorization"), "colorize", simple_colorize)

    def make(viewer):
        from napari.layers import Layer

        from tomochrome._napari.colorize.colorize_widget import ColorizeWidget

        viewer.add_layer(Layer.create(*volume_layer(small_ct)))
        widget = ColorizeWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Colorize volume")
        return widget

    return make


@pytest.fixture
def panel(window, make_panel, qtbot):
    """The docked panel over the small CT, in the module's viewer."""
    widget = make_panel(window)
    qtbot.waitUntil(lambda: not widget.loading.running, timeout=20_000)
    qtbot.wait(10)
    yield widget
    widget.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.fixture
def linked(window, qtbot):
    """Linked planes, opened over what the fixtures before have added to the viewer."""
    from tomochrome._napari.viewer.linked_planes import OFF, PLANES_MODE, LinkedPlanes

    link = follower_of(window, LinkedPlanes)
    link.open(PLANES_MODE)
    qtbot.waitUntil(lambda: link.settled)
    yield link
    link.open(OFF)


@pytest.fixture
def gui_work():
    """Records the work done in the GUI thread during a test."""
    with GuiWork() as work:
        yield work


@pytest.fixture
def cd(tmp_path, small_ct):
    """A folder as on a CD: two good series, one that cannot be placed, a scout, and a text.

    The folder and its files are called by the patient's name, and so is the patient.
    """
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    for name, description in (("one", "Thorax 5 mm"), ("two", "Thorax lung")):
        write_named_series(small_ct, folder / f"DOE_{name}", description)
    write_named_series(small_ct, folder / "lost", "Lost", ImagePositionPatient=None)
    scout = Volume(small_ct.voxels[6:7], small_ct.affine, "HU", small_ct.provenance)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_named_series(scout, folder / "scout", "Scout", ImageType=kind)
    (folder / "README.TXT").write_text("for Jane Doe")
    return folder


IDENTITY = ("DOE", "Doe", "MRN0815", "19500101", "ACC4711")


@pytest.fixture(scope="session")
def identity():
    """Identifying texts of the CD's patient, which must never be shown."""
    return IDENTITY
