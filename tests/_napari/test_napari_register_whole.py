"""Registering and comparing with the engine itself, and what the GUI thread does meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from gui_work import Imports
from loop_cases import rest, wait_until
from napari.layers import Layer
from npe2 import PluginManager

from tomochrome._napari.compare.compare_layer import ComparePicture
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.phantom import make_patient

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(1800)]

PLUGIN = "napari-tomochrome"


@pytest.fixture(scope="module")
def whole(window, qapp):
    """Two phantom patients and the panel, opened through the manifest and warmed up."""
    PluginManager.instance().discover()
    for seed in (1, 5):
        ct = make_patient(seed=seed, region="head", spacing=(8.0, 5.0, 5.0)).ct
        window.add_layer(Layer.create(*volume_layer(ct, f"patient {seed}")))
    rest(qapp, 1.0)  # napari draws its first picture
    with Imports() as imports:
        _, panel = window.window.add_plugin_dock_widget(PLUGIN, "Register & checkerboard")
        wait_until(qapp, lambda: not panel.loading.running)
        rest(qapp, 0.2)
    panel.imported_by_gui = imports.large
    yield panel
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def test_everything_is_imported_by_a_worker(whole):
    assert whole.imported_by_gui == []


def test_a_cancelled_run_ends_and_leaves_nothing(whole, qapp):
    before = list(whole.viewer.layers)
    for wait in (0.0, 0.5, 2.0):
        whole.run()
        thread = whole.jobs.job._thread
        rest(qapp, wait)
        whole.view.cancel.click()
        wait_until(qapp, lambda: not whole.running)
        thread.join(600)
        assert not thread.is_alive()
        assert list(whole.viewer.layers) == before
        assert whole.alignment is None


def test_the_gui_thread_is_idle_during_a_run(whole, qapp, gui_work):
    whole.view.refine.setValue(6)
    whole.run()
    wait_until(qapp, lambda: not whole.running)
    wait_until(qapp, lambda: not whole.comparing.busy)
    rest(qapp, 0.5)
    assert whole.alignment is not None, whole.view.message.text()
    assert gui_work.idle, (gui_work.long, gui_work.imported)
    assert "register" in gui_work.elsewhere
    assert whole.view.curve.count > 3
    after, before = (whole.alignment.report[k]["ncc"] for k in ("after", "before"))
    assert after > before
    whole.comparing.stop()
    whole.viewer.layers.remove(whole.alignment.layer)


def test_scrolling_and_sliding_a_comparison_computes_a_plane(whole, qapp, gui_work, monkeypatch):
    whole.view.compare.choose(*whole.view.two)
    whole.comparing.start()
    wait_until(qapp, lambda: not whole.comparing.busy)
    rest(qapp, 0.5)
    comparison = whole.comparing.comparison
    computed = []
    compute = ComparePicture.compute

    def noted(picture, region):
        computed.append(np.prod(region.shape))
        return compute(picture, region)

    monkeypatch.setattr(ComparePicture, "compute", noted)
    for step in range(2, 18):
        whole.viewer.dims.set_current_step(0, step)
        whole.view.compare.tile.box.setValue(20 + step)
        rest(qapp, 0.02)
    rest(qapp, 0.1)
    assert gui_work.idle
    assert 0 < max(computed) <= np.prod(comparison.picture.shape[1:3])
    assert len(computed) <= 3 * 16
    shown = np.asarray(comparison.layer._slice.image.view)
    np.testing.assert_array_equal(shown, comparison.view[17])
