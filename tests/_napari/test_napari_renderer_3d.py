"""3D images of colored layers: by a worker, coarse first, correctly placed, freed in 2D."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from endings import wait_until_freed
from napari.layers import Layer
from quick_colorize import simple_colorize

from tomochrome._napari.colorize.colored_picture import ColoredPicture
from tomochrome._napari.colorize.coloring import Coloring
from tomochrome._napari.layers.volume_layers import (
    color_layer,
    layer_transform,
    source_of,
    volume_layer,
)
from tomochrome._napari.viewer import renderer_3d
from tomochrome._napari.viewer.renderer_3d import levels, renderer_of
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.color import Lighting, LitVolume
from tomochrome.geometry.block_grids import block_affine
from tomochrome.runtime import check

pytestmark = pytest.mark.gui

FULL = (1, 1, 1)


@pytest.fixture
def viewer(window, monkeypatch):
    """The module's viewer, where the small CT is drawn coarse first and then in full."""
    monkeypatch.setattr(renderer_3d, "FIRST_VOXELS", 1000)
    renderer_of(window)
    yield window
    window.dims.ndisplay = 2
    window.layers.clear()


@pytest.fixture
def colored(viewer, small_ct):
    """A colored layer over a small CT."""
    return add_colored(viewer, small_ct)


def add_colored(viewer, volume):
    ct = viewer.add_layer(Layer.create(*volume_layer(volume)))
    known = source_of(ct.metadata)
    chroma = simple_colorize(known.shown)
    lit = ColoredPicture(known.shown, chroma, Lighting(alpha="skin"))
    ct.visible = False
    return viewer.add_layer(
        Layer.create(
            *color_layer(
                lit, replace(known, role="color", chroma=chroma), layer_transform(ct), "colored"
            )
        )
    )


def drawn(qtbot, layer, steps=FULL):
    """Wait until 3D shows a layer at the given resolution."""
    data = layer.data
    qtbot.waitUntil(lambda: data.is_rendered and data.drawn.steps == steps, timeout=20_000)


def on_screen(layer):
    return np.asarray(layer._slice.image.view)


def test_a_worker_computes_it_coarse_first_and_says_so(viewer, colored, qtbot, monkeypatch):
    threads, sizes, said = set(), [], []
    render = ColoredPicture.render

    def noted(picture, steps, **keywords):
        threads.add(threading.current_thread())
        result = render(picture, steps, **keywords)
        sizes.append(result.rgba.shape)
        return result

    monkeypatch.setattr(ColoredPicture, "render", noted)
    renderer = renderer_of(viewer)
    renderer.text_changed.connect(said.append)
    viewer.dims.ndisplay = 3
    assert on_screen(colored).shape == (1, 1, 1, 4)  # nothing was computed in this thread
    drawn(qtbot, colored)
    qtbot.waitUntil(lambda: "full resolution" in renderer.text, timeout=5000)
    assert threading.main_thread() not in threads
    assert np.prod(sizes[0][:3]) <= 1000
    assert sizes[-1] == colored.data.shape
    assert colored.thumbnail[..., :3].any()
    assert said[0] == "Computing the 3D image"
    assert said[1].startswith("3D preview at ")
    assert said[-1] == "3D at 4 × 4 × 5 mm, full resolution"
    bar = viewer.window._qt_window.statusBar()
    (label,) = [child for child in bar.children() if child.objectName() == "tomochrome-3d"]
    assert label.text() == said[-1]
    viewer.dims.ndisplay = 2
    assert said[-1] == ""
    assert not label.isVisible()
    renderer.text_changed.disconnect(said.append)


@pytest.mark.parametrize(
    ("spacing", "steps", "words"),
    [
        ((3.0, 1.5, 1.5), (1, 1, 1), "1.5 × 1.5 × 3 mm"),
        ((3.0, 1.5, 1.5), (1, 2, 2), "3 mm"),
        ((3.27, 1.953, 1.953), (1, 2, 2), "3.9 × 3.9 × 3.3 mm"),
        ((1.0, 1.0, 1.0), (2, 2, 2), "2 mm"),
        ((0.4, 0.977, 0.488), (1, 1, 1), "0.49 × 0.98 × 0.4 mm"),
        ((100.0, 12.0, 12.0), (1, 1, 1), "12 × 12 × 100 mm"),
    ],
)
def test_the_size_in_words_is_that_of_each_axis(spacing, steps, words):
    """ "Slices: 1.9 mm" was said of slices 3 mm apart: the cube root of a voxel's volume."""
    layer = Layer.create(np.zeros((2, 3, 4)), {"scale": spacing}, "image")
    assert renderer_3d._mm(layer, steps) == words


def test_the_spacing_of_the_scan_is_said_beside_a_coarser_image(
    viewer, colored, qtbot, monkeypatch
):
    monkeypatch.setattr(renderer_3d, "levels", lambda *_: [(1, 2, 2)])
    monkeypatch.setattr(renderer_3d, "software_rendering", lambda: True)
    viewer.dims.ndisplay = 3
    drawn(qtbot, colored, (1, 2, 2))
    expected = "3D at 8 × 8 × 5 mm (scan: 4 × 4 × 5 mm; no graphics card)"
    qtbot.waitUntil(lambda: renderer_of(viewer).text == expected, timeout=5000)


def node_matrix(viewer, layer):
    """The transform of what is drawn: index (x, y, z) of a block to world (x, y, z)."""
    visual = viewer.window._qt_viewer.canvas.layer_to_visual[layer]
    return np.asarray(visual.node.transform.matrix).T


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_coarse_block_is_placed_over_its_voxels(viewer, colored, qtbot, monkeypatch, order):
    monkeypatch.setattr(renderer_3d, "levels", lambda *_: [(2, 3, 4)])
    viewer.dims.ndisplay = 3
    drawn(qtbot, colored, (2, 3, 4))
    viewer.dims.order = order
    for block in ((0, 0, 0), (3, 5, 7)):
        index = block_affine(np.eye(4), (2, 3, 4)) @ [*block, 1]
        world = np.array(colored.data_to_world(index[:3]))[list(order)][::-1]
        shown = node_matrix(viewer, colored) @ [*np.array(block)[list(order)][::-1], 1]
        np.testing.assert_allclose(shown[:3], world, atol=1e-4)
    viewer.dims.order = (0, 1, 2)


def test_the_grey_volume_below_is_never_sliced_for_3d(viewer, small_ct, qtbot):
    """Hundreds of megabytes were converted and uploaded before the grey layer was hidden."""
    prepare_viewer(viewer)
    layer = add_colored(viewer, small_ct)
    grey = viewer.layers[0]
    grey.visible = True
    viewer.dims.ndisplay = 3
    assert not grey.visible
    assert on_screen(grey).size <= small_ct.voxels[0].size
    drawn(qtbot, layer)
    viewer.dims.ndisplay = 2
    assert grey.visible
    assert on_screen(grey).shape == small_ct.shape[1:]


def test_2d_is_restored_and_the_memory_is_freed(viewer, painted, colored, qtbot):
    viewer.dims.ndisplay = 3
    drawn(qtbot, colored)
    rendering = weakref.ref(colored.data.drawn.rgba)
    viewer.dims.ndisplay = 2
    z = viewer.dims.current_step[0]
    np.testing.assert_array_equal(on_screen(colored), np.asarray(colored.data)[z])
    np.testing.assert_array_equal(np.asarray(colored._transforms["tile2data"].scale), (1, 1, 1))
    assert colored.data.drawn is None
    wait_until_freed(qtbot, rendering)


def test_the_newest_light_is_drawn_and_older_work_is_stopped(viewer, colored, qtbot, monkeypatch):
    """An outdated lighting is never shown."""
    started, release = threading.Event(), threading.Event()
    lit_in_3d = LitVolume.lit_in_3d

    def slow(lit, steps):
        started.set()
        while not release.wait(0.01):
            check()
        return lit_in_3d(lit, steps)

    monkeypatch.setattr(LitVolume, "lit_in_3d", slow)
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(started.is_set, timeout=5000)
    old = renderer_of(viewer).drawings[colored].jobs.job
    colored.data.settings = colored.data.settings.replace(alpha="bone")
    qtbot.waitUntil(lambda: not old.running, timeout=5000)
    release.set()
    drawn(qtbot, colored)
    expected = lit_in_3d(colored.data, FULL)
    np.testing.assert_array_equal(colored.data.drawn.rgba, expected)


def test_a_change_of_window_does_not_redraw_3d(viewer, colored, qtbot):
    """Surfaces are shaded independently of the window."""
    viewer.dims.ndisplay = 3
    drawn(qtbot, colored)
    before = colored.data.drawn
    colored.data.settings = colored.data.settings.replace(window="lung")
    assert colored.data.is_rendered
    assert colored.data.drawn is before
    viewer.dims.ndisplay = 2
    z = viewer.dims.current_step[0]
    np.testing.assert_array_equal(on_screen(colored), np.asarray(colored.data)[z])


def test_a_removed_layer_leaves_nothing_behind(viewer, small_ct, qtbot):
    layer = add_colored(viewer, small_ct)
    viewer.dims.ndisplay = 3
    drawn(qtbot, layer)
    gone = [
        weakref.ref(kept) for kept in (layer.data, layer.data.chroma.code, layer.data.drawn.rgba)
    ]
    viewer.layers.clear()
    del layer
    viewer.dims.ndisplay = 2
    wait_until_freed(qtbot, *gone)
    assert not renderer_of(viewer).drawings


@pytest.mark.parametrize("ndisplay", [2, 3])
def test_colors_that_replace_others_are_drawn_and_the_others_are_freed(
    viewer, small_ct, qtbot, ndisplay
):
    layer = add_colored(viewer, small_ct)
    viewer.dims.ndisplay = 3
    drawn(qtbot, layer)
    viewer.dims.ndisplay = ndisplay
    known = source_of(layer.metadata)
    gone = [weakref.ref(layer.data), weakref.ref(layer.data.chroma.code)]
    chroma = simple_colorize(known.shown)
    lit = ColoredPicture(known.shown, chroma, Lighting(alpha="bone"))
    source = replace(known, role="color", chroma=chroma)
    colored = Layer.create(*color_layer(lit, source, {}, "again"))
    Coloring(viewer.layers[0], layer).replace(viewer, colored)
    del known, colored
    viewer.dims.ndisplay = 3
    drawn(qtbot, layer)
    np.testing.assert_array_equal(layer.data.drawn.rgba, lit.lit_in_3d(FULL))
    wait_until_freed(qtbot, *gone)


def test_a_layer_given_plain_data_is_no_longer_rendered(viewer, colored, qtbot):
    viewer.dims.ndisplay = 3
    drawn(qtbot, colored)
    plain = np.asarray(colored.data)
    colored.data = plain
    np.testing.assert_array_equal(on_screen(colored), plain)
    assert not renderer_of(viewer).drawings
    np.testing.assert_array_equal(np.asarray(colored._transforms["tile2data"].scale), (1, 1, 1))


def test_removing_a_layer_stops_its_worker(viewer, colored, qtbot, monkeypatch):
    started = threading.Event()

    def endless(lit, steps):
        started.set()
        while True:
            check()

    monkeypatch.setattr(LitVolume, "lit_in_3d", endless)
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(started.is_set, timeout=5000)
    job = renderer_of(viewer).drawings[colored].jobs.job
    viewer.layers.remove(colored)
    assert job.wait(600)


def test_a_layer_added_in_3d_and_a_duplicate_are_drawn_too(viewer, small_ct, qtbot):
    viewer.add_layer(Layer.create(*volume_layer(small_ct)))
    viewer.dims.ndisplay = 3
    layer = add_colored(viewer, small_ct)
    drawn(qtbot, layer)
    twin = viewer.add_layer(Layer.create(*layer.as_layer_data_tuple()))
    assert twin.data is layer.data or isinstance(twin.data, ColoredPicture)
    drawn(qtbot, twin)


def test_a_failure_gives_a_message(viewer, colored, qtbot, monkeypatch, caplog):
    def broken(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(LitVolume, "lit_in_3d", broken)
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "could not" in renderer_of(viewer).text, timeout=5000)
    assert "no room" in renderer_of(viewer).text
    assert caplog.records[-1].exc_info is not None


def test_the_resolution_depends_on_the_graphics_card(monkeypatch):
    shape, spacing = (300, 512, 512), (1.0, 0.7, 0.7)
    monkeypatch.setattr(renderer_3d, "longest_texture", lambda: 2048)
    limits = (True, renderer_3d.SOFTWARE_VOXELS), (False, renderer_3d.HARDWARE_VOXELS)
    for software, most in limits:
        monkeypatch.setattr(renderer_3d, "software_rendering", lambda s=software: s)
        coarse, fine = levels(shape, spacing)
        counts = [np.prod(-(-np.array(shape) // steps)) for steps in (coarse, fine)]
        assert counts[0] <= renderer_3d.FIRST_VOXELS
        assert counts[0] < counts[1] <= most
    assert fine == (1, 1, 1)  # on a graphics card
    monkeypatch.setattr(renderer_3d, "longest_texture", lambda: 256)
    assert levels((10, 512, 512), spacing)[-1] == (1, 2, 2)
