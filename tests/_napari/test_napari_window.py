"""The display window, set on opening, by panel, mouse and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Layer, Points
from skimage.color import rgb2lab

from tomochrome._napari.colorize.window_panel import WindowPanel
from tomochrome._napari.kit.choice_boxes import LayerChoice
from tomochrome._napari.layers.grey_window import limits, show_window, window_of
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome._napari.viewer.window_labels import KEYS, window_label
from tomochrome._napari.viewer.window_mouse import dragged
from tomochrome.volume import ScannerWindow, Volume
from tomochrome.windowing import PRESETS, Window, auto_window, luminance, parse_window

pytestmark = pytest.mark.gui

RIGHT = 2


@pytest.fixture
def viewer(window, qtbot):
    """The module's viewer, prepared for scans."""
    prepare_viewer(window)
    yield window
    window.dims.ndisplay = 2
    window.layers.clear()
    qtbot.wait(10)


def with_windows(volume, *windows):
    return replace(volume, provenance=replace(volume.provenance, windows=windows))


def bare(volume):
    return with_windows(volume)


def add(viewer, volume, name="scan"):
    return viewer.add_layer(Layer.create(*volume_layer(volume, name)))


def magnetic_resonance():
    """Values without a unit, mostly 0, with a few very high ones."""
    rng = np.random.default_rng(4)
    voxels = np.where(rng.random((8, 30, 30)) < 0.5, 0, rng.normal(0.35, 0.05, (8, 30, 30)))
    voxels[0, 0, :3] = 12.0
    return Volume(voxels.astype(np.float32), unit="unknown")


# As opened


def test_the_contrast_slider_covers_all_values(viewer, small_ct):
    layer = add(viewer, small_ct)
    assert tuple(layer.contrast_limits) == (-120.0, 180.0)
    assert tuple(layer.contrast_limits_range) == (-1000.0, 700.0)
    wide = add(viewer, with_windows(small_ct, ScannerWindow("", 0, 5000)))
    assert tuple(wide.contrast_limits_range) == (-2500.0, 2500.0)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_grey_and_colored_layers_have_equal_lightness(viewer, small_ct, function):
    """napari's own "gray" is up to 3.4 L* lighter, and knows no sigmoid."""
    layer = add(viewer, small_ct)
    chosen = Window(40, 400, function)
    show_window(layer, chosen)
    hu = np.arange(-700, 800, 7)
    low, high = layer.contrast_limits
    shown = layer.colormap.map(np.clip((hu - low) / (high - low), 0, 1))
    lightness = rgb2lab(shown[:, :3])[:, 0]
    # napari's limits leave out the standard's half of a unit in LINEAR.
    tolerance = 0.5 if function == "LINEAR" else 0.15
    np.testing.assert_allclose(lightness, luminance(hu, chosen), atol=tolerance)
    assert window_of(layer).function == ("LINEAR" if "LINEAR" in function else "SIGMOID")
    assert (window_of(layer).center, window_of(layer).width) == pytest.approx((40, 400))
    show_window(layer, PRESETS["lung"])
    assert tuple(layer.contrast_limits) == (-1350, 150)
    assert window_of(layer) == replace(PRESETS["lung"], name="")


def test_a_users_colormap_is_kept(viewer, small_ct):
    layer = add(viewer, small_ct)
    layer.colormap = "magma"
    show_window(layer, PRESETS["bone"], "bone")
    assert layer.colormap.name == "magma"
    assert tuple(layer.contrast_limits) == limits(PRESETS["bone"])


def test_other_images_open_in_a_suitable_window_without_hu(viewer, qtbot):
    layer = add(viewer, magnetic_resonance())
    low, high = layer.contrast_limits
    assert 0.1 < low < 0.3
    assert 0.4 < high < 0.6
    assert layer.contrast_limits_range[1] == 12.0
    panel = WindowPanel()
    qtbot.addWidget(panel)
    panel.set_layer(layer)
    names = [panel.preset.itemText(index) for index in range(panel.preset.count())]
    assert names == ["Automatic", "Custom"]
    assert panel.center.box.suffix() == panel.width.box.suffix() == ""
    assert panel.window == auto_window(magnetic_resonance())
    assert panel.center.value() == pytest.approx((low + high) / 2, abs=0.001)
    panel.width.box.setValue(0.25)
    assert panel.window.width == 0.25  # below 1: a LINEAR window could not be that narrow


# The panel


@pytest.mark.parametrize(
    ("window", "of_scanner", "label"),
    [
        (Window(35, 85, name="35/85"), True, ("Scanner:", "35 / 85")),
        (Window(40, 300, name="WINDOW1"), True, ("Scanner:", "40 / 300")),
        (Window(40, 300, name="scanner"), True, ("Scanner:", "40 / 300")),
        (Window(40, 350, name="MEDIASTINUM"), True, ("Scanner: Mediastinum", "40 / 350")),
        (Window(40, 350, name="Abdomen W2"), False, ("Abdomen W2", "40 / 350")),
        (Window(-600, 1500, name=r"-600\1500"), False, ("", "-600 / 1500")),
        (PRESETS["soft-tissue"], False, ("Soft tissue", "50 / 400")),
        (Window(40, 80, "SIGMOID"), False, ("", "40 / 80, sigmoid")),
        (
            Window(50, 400, name="a very long name of a window it is"),
            False,
            ("A very long name of a…", "50 / 400"),
        ),
        (Window(0.2235294, 0.4156863, "LINEAR_EXACT"), False, ("", "0.2235 / 0.4157")),
    ],
)
def test_a_label_says_each_thing_once_and_fits(window, of_scanner, label):
    assert window_label(window, of_scanner=of_scanner) == label


def test_the_panel_shows_the_choice_of_each_scan(qtbot, viewer, small_ct):
    stored = (ScannerWindow("WINDOW1", 30, 300), ScannerWindow("LUNG", -500, 1400, "SIGMOID"))
    panel = WindowPanel()
    qtbot.addWidget(panel)
    assert panel.choice == "auto"
    layer = add(viewer, with_windows(small_ct, *stored))
    panel.set_layer(layer)
    assert panel.choice == "scanner:1"
    scan = layer.metadata["tomochrome"].shown
    for choice in ("brain", "scanner:2", "scanner:1", "-100/700", "50/400/sigmoid", "auto/sigmoid"):
        show_window(layer, parse_window(choice, scan), choice)
        panel.follow()
        assert panel.choice == choice
        assert panel.window == parse_window(choice, scan)
    panel.set_layer(add(viewer, bare(small_ct)))
    assert panel.choice == "auto"  # a window chosen for one scan is not taken over to the next
    panel.set_layer(layer)
    assert panel.choice == "auto/sigmoid"


@pytest.mark.parametrize("windows", [(), (ScannerWindow("WINDOW1", 40, 300),)])
def test_the_panel_shows_what_is_on_screen_and_coloring_keeps_it(
    window, make_panel, qtbot, small_ct, windows
):
    panel = make_panel(window)
    qtbot.waitUntil(lambda: not panel.loading.running, timeout=20_000)
    layer = add(window, with_windows(small_ct, *windows))
    view = panel.view.window
    for press_key, name in (None, "Scanner:  40 / 300" if windows else "Automatic"), ("3", "Lung"):
        if press_key:
            press(layer, press_key)
        before = tuple(layer.contrast_limits)
        assert limits(view.window) == pytest.approx(before)
        assert view.preset.currentText().startswith(name)
        panel.run()
        qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
        assert panel.coloring.ct_layer is layer
        assert tuple(layer.contrast_limits) == before
        assert limits(panel.coloring.layer.data.settings.window) == pytest.approx(before)
        assert limits(view.window) == pytest.approx(before)
    layer.contrast_limits = (-33, 211)  # in napari's own controls
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    assert tuple(layer.contrast_limits) == (-33, 211)
    assert limits(panel.coloring.layer.data.settings.window) == pytest.approx((-33, 211))
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def test_the_function_can_be_chosen_and_grey_and_color_follow(window, make_panel, qtbot):
    panel = make_panel(window)
    qtbot.waitUntil(lambda: not panel.loading.running, timeout=20_000)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    ct, colored, view = panel.coloring.ct_layer, panel.coloring.layer, panel.view.window
    index = view.function.findText("Sigmoid")
    view.function.setCurrentIndex(index)
    view.function.activated.emit(index)
    assert view.choice == "scanner:1/sigmoid"
    qtbot.waitUntil(lambda: colored.data.settings.window.function == "SIGMOID", timeout=5000)
    qtbot.waitUntil(lambda: window_of(ct) == view.window, timeout=5000)
    # A key keeps the function; and napari's slider narrows the sigmoid.
    window.layers.selection.active = ct
    press(ct, "4")
    assert (view.choice, view.window.function) == ("bone/sigmoid", "SIGMOID")
    low, high = ct.contrast_limits
    ct.contrast_limits = (low / 2 + high / 4, low / 4 + high / 2)
    assert view.window.function == "SIGMOID"
    assert view.window.width == pytest.approx(450, rel=0.01)
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def test_an_empty_viewer_shows_nothing_of_the_scan_before(window, make_panel, qtbot):
    panel = make_panel(window)
    view = panel.view.window
    press(panel.view.layer.layer(), "4")
    assert view.choice == "bone"
    window.layers.clear()
    assert not view.isEnabled()
    assert view.choice == "auto"
    assert not [i for i in range(view.preset.count()) if "Scanner" in view.preset.itemText(i)]
    panel.release()
    window.window.remove_dock_widget("all")


def test_a_scan_keeps_its_window_while_another_one_is_chosen(viewer, small_ct, qtbot):
    first, second = add(viewer, small_ct), add(viewer, bare(small_ct))
    panel = WindowPanel()
    qtbot.addWidget(panel)
    press(first, "3")
    panel.set_layer(first)
    assert panel.choice == "lung"
    panel.set_layer(second)
    assert panel.choice == "auto"
    first.contrast_limits = (0, 80)
    panel.set_layer(first)
    assert panel.choice == "brain"
    first.contrast_limits = (0, 81)
    panel.follow()
    assert panel.preset.currentText() == "Custom"


# Mouse and keys


def press(layer, key):
    """Press a key as napari's canvas would while the layer is selected."""
    from napari.utils.key_bindings import coerce_keybinding

    layer.keymap[coerce_keybinding(key)](layer)


@pytest.fixture
def right_drag(viewer, qtbot):
    """A function that drags with the right button, sending the events of vispy's backend."""
    backend = viewer.window._qt_viewer.canvas._scene_canvas._backend

    def dragging(start, *ends):
        backend._vispy_mouse_press(pos=start, button=RIGHT, modifiers=())
        for end in ends:
            qtbot.wait(20)  # vispy drops moves that come within 10 ms
            backend._vispy_mouse_move(pos=end, modifiers=())
        backend._vispy_mouse_release(pos=ends[-1], button=RIGHT, modifiers=())

    return dragging


def test_dragging_is_relative_to_the_window():
    start = Window(50, 400)
    assert dragged(start, 0, 0) == start
    assert dragged(start, 100, 0).width > 400 > dragged(start, -100, 0).width
    assert dragged(start, 0, -100).center < 50 < dragged(start, 0, 100).center
    assert dragged(start, -100_000, 0).width == 2
    fine = Window(0.2, 0.4, "LINEAR_EXACT")
    assert dragged(fine, 50, 0).width == pytest.approx(0.4 * np.exp(0.2))
    assert dragged(Window(40, 80, "SIGMOID"), 9, 9).function == "SIGMOID"


def test_the_right_button_changes_the_window_and_does_not_zoom(viewer, small_ct, right_drag, qapp):
    layer = add(viewer, small_ct)
    for _ in range(20):
        qapp.processEvents()  # the scan is fitted to the canvas when the window has its layout
    camera = viewer.scene.camera
    zoom, center = camera.zoom, tuple(camera.center)
    before = window_of(layer)
    right_drag((200, 200), (260, 170), (300, 150))
    after = window_of(layer)
    assert after.width == round(before.width * np.exp(100 / 250))
    assert after.center == round(before.center - 50 / 400 * before.width)
    assert (camera.zoom, tuple(camera.center)) == (zoom, center)
    assert "Window" in viewer.status


def test_in_3d_and_over_other_layers_the_right_button_is_napari_s(viewer, small_ct, right_drag):
    layer = add(viewer, small_ct)
    before = window_of(layer)
    viewer.dims.ndisplay = 3
    right_drag((200, 200), (260, 170))
    assert window_of(layer) == before
    viewer.dims.ndisplay = 2
    viewer.add_layer(Image(np.zeros((12, 48, 40)), contrast_limits=(0, 1)))
    right_drag((200, 200), (260, 100))
    assert window_of(layer) == before


def test_number_keys_choose_windows_of_scans_only(viewer, small_ct):
    layer = add(viewer, bare(small_ct))
    for key, choice in KEYS.items():
        press(layer, key)
        assert tuple(layer.contrast_limits) == limits(parse_window(choice, small_ct_of(layer)))
    press(layer, "1")
    assert "Automatic" in viewer.status
    points = viewer.add_layer(Points(np.zeros((1, 3))))
    image = viewer.add_layer(Image(np.zeros((2, 3, 4))))
    assert not points.keymap
    assert not image.keymap
    assert "keys 1-9" in layer.help
    layer.mode = "transform"
    press(layer, "1")  # as napari's help says there
    assert layer.mode == "pan_zoom"


def small_ct_of(layer):
    return layer.metadata["tomochrome"].shown


def test_ct_presets_do_not_apply_to_other_images(viewer):
    layer = add(viewer, magnetic_resonance())
    before = tuple(layer.contrast_limits)
    press(layer, "5")
    assert tuple(layer.contrast_limits) == before
    assert "not in Hounsfield units" in viewer.status
    layer.contrast_limits = (0, 1)
    press(layer, "1")
    assert tuple(layer.contrast_limits) == pytest.approx(before)


def test_colors_and_thumbnails_follow_without_the_panel(window, make_panel, qtbot):
    panel = make_panel(window)
    qtbot.waitUntil(lambda: not panel.loading.running, timeout=20_000)
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    ct, colored = panel.coloring.ct_layer, panel.coloring.layer
    panel.release()
    window.window.remove_dock_widget("all")
    before = colored.thumbnail.copy()
    press(colored, "4")  # with the colors selected it is their scan's window
    assert tuple(ct.contrast_limits) == limits(PRESETS["bone"])
    assert colored.data.settings.window == PRESETS["bone"]
    qtbot.waitUntil(lambda: not np.array_equal(colored.thumbnail, before), timeout=5000)
    window.layers.clear()


def test_the_ct_box_follows_the_selected_layer(window, make_panel, qtbot, small_ct):
    panel = make_panel(window)
    qtbot.waitUntil(lambda: not panel.loading.running, timeout=20_000)
    first = panel.view.layer.layer()
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    colored = panel.coloring.layer
    second = add(window, bare(small_ct), "second")
    assert panel.view.layer.layer() is second
    window.layers.selection.active = colored
    assert panel.view.layer.layer() is first
    window.layers.selection.active = second
    assert panel.view.layer.layer() is second
    window.layers.selection.active = window.add_layer(Points(np.zeros((1, 3))))
    assert panel.view.layer.layer() is second
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def test_a_locked_box_and_a_box_of_the_register_panel_do_not_follow(viewer, small_ct, qtbot):
    first, second = add(viewer, small_ct), add(viewer, small_ct)
    locked, plain = LayerChoice(viewer, follow=True), LayerChoice(viewer)
    locked.setEnabled(False)
    for box in (locked, plain):
        qtbot.addWidget(box)
        assert box.layer() is second
    viewer.layers.selection.active = first
    assert locked.layer() is plain.layer() is second
    locked.setEnabled(True)
    viewer.layers.selection.active = second
    viewer.layers.selection.active = first
    assert locked.layer() is first
    for box in (locked, plain):
        box.release()
