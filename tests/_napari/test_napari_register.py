"""The panel "Register & checkerboard", used as a radiologist would, in a real window."""

from __future__ import annotations

import gc
import time
import weakref
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer, Points
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QMessageBox
from register_cases import REPORT, SHIFT, QuickRegister, body

from tomochrome._napari.layers import behind, volume_layer
from tomochrome._napari.register_warm_up import RegisterOffer
from tomochrome.color import LitVolume
from tomochrome.color.space import LINEAR_OF_8BIT, TO_XYZ
from tomochrome.compare.region import split
from tomochrome.registration.transform import Transform
from tomochrome.volume import default_affine

pytestmark = pytest.mark.gui


@pytest.fixture
def engine(monkeypatch):
    """A quick stand-in for the engine, which is run from the window in one test below."""
    quick = QuickRegister()
    monkeypatch.setattr(import_module("tomochrome.registration.register"), "register", quick)
    return quick


@pytest.fixture(scope="module")
def docked(window, qapp):
    """The panel in the module's viewer: docking one for every test takes seconds."""
    from tomochrome._napari.register_widget import RegisterWidget

    offer = RegisterOffer(("symnet", "none"), ("auto", "cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomochrome._napari.register_widget.warm_up", lambda *_: offer)
        widget = RegisterWidget(window)
    window.window.add_dock_widget(widget, name="Register & checkerboard")
    while widget._warm.running:
        qapp.processEvents()
    yield widget
    widget.release()
    window.window.remove_dock_widget("all")


@pytest.fixture
def panel(docked, window, qtbot):
    """The docked panel over two bodies, as when it was opened."""
    for name, volume in (("prior", body()), ("follow-up", body(SHIFT))):
        window.add_layer(Layer.create(*volume_layer(volume, name)))
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
    panel.alignment = None
    view.landmarks.set_alignment(None)
    view.result.setVisible(False)
    view.result.warnings.say("")
    view.message.say("")
    view.compare.message.say("")
    view.compare.levels.setText("")
    view.compare.reach.setValue(0)
    view.compare.tile._box.setValue(20)
    view.compare._offsets[2].setValue(0)
    view.refine.setValue(-1)
    for box in (view.compare.mode, view.init, view.model, view.similarity, view.use.direction):
        box.setCurrentIndex(0)


def names(panel):
    return [layer.name for layer in panel.viewer.layers]


def settle(panel, qtbot):
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    qtbot.waitUntil(lambda: not panel.comparing.busy, timeout=60_000)


def register(panel, qtbot):
    panel.run()
    assert panel.running
    settle(panel, qtbot)
    assert panel.alignment is not None, panel.view.message.text()
    return panel.alignment


def compare(panel, qtbot, mode=None):
    if mode is not None:
        panel.view.compare.mode.setCurrentText(mode)
    panel.comparing.start()
    settle(panel, qtbot)
    comparison = panel.comparing.comparison
    assert comparison is not None, panel.view.compare.message.text()
    return comparison


def on_screen(layer):
    return np.asarray(layer._slice.image.view)


# Running


def test_two_different_layers_are_chosen_and_the_older_one_is_fixed(panel):
    fixed, moving = panel.view.two
    assert (fixed.name, moving.name) == ("prior", "follow-up")
    assert panel.view.compare.two == (fixed, moving)


def test_a_run_gives_the_moved_volume_numbers_and_a_checkerboard(panel, qtbot, engine):
    panel.view.refine.setValue(7)
    panel.view.similarity.setCurrentIndex(2)
    alignment = register(panel, qtbot)
    fixed, _, options = engine.calls[0]
    assert (options["init"], options["model"], options["refine"]) == ("affine", "symnet", 7)
    assert options["similarity"] == "mind"
    assert names(panel) == ["prior", "follow-up", "follow-up · moved", "Comparison"]
    moved, prior = panel.viewer.layers[2], panel.viewer.layers[0]
    expected = alignment.forward.apply(body(SHIFT), body())
    np.testing.assert_array_equal(moved.data, expected.voxels)
    for name in ("scale", "translate", "units", "axis_labels", "contrast_limits"):
        assert tuple(getattr(moved, name)) == tuple(getattr(prior, name))
    assert panel.view.message.text().startswith("Registered in")
    assert "fits better" in panel.view.result.verdict.text()
    assert ("Correlation", "0.610", "0.930") in panel.view.result.rows()
    assert panel.view.curve.count == 6
    assert [stage for stage, _ in panel.view.curve.stages] == ["coarse", "fine"]
    assert panel.comparing.comparison.layers == (prior, moved)
    assert panel.view.sections["use"].isVisible()
    np.testing.assert_array_equal(fixed.affine, body().affine)


def test_before_and_after_change_what_is_compared(panel, qtbot, engine):
    register(panel, qtbot)
    moved = panel.alignment.layer
    assert panel.view.compare.after.isChecked()
    panel.view.compare.before.click()
    settle(panel, qtbot)
    assert panel.comparing.comparison.layers[1].name == "follow-up"
    assert panel.view.compare.before.isChecked()
    assert not panel.view.compare.after.isChecked()
    panel.view.compare.after.click()
    settle(panel, qtbot)
    assert panel.comparing.comparison.layers[1] is moved
    assert names(panel).count("Comparison") == 1


def test_the_curve_falls_while_the_run_goes_on(panel, qtbot, engine):
    engine.hold.clear()
    panel.run()
    qtbot.waitUntil(lambda: panel.view.curve.count == 6, timeout=5000)
    assert panel.running
    assert not panel.view.run.isEnabled()
    assert not panel.view.fixed.isEnabled()
    assert panel.view.progress.isVisible()
    panel.view.curve.grab()  # it draws
    engine.hold.set()
    settle(panel, qtbot)
    assert panel.view.run.isEnabled()
    assert not panel.view.progress.isVisible()


def test_cancel_leaves_nothing_behind(panel, qtbot, engine):
    engine.hold.clear()
    before = names(panel)
    panel.run()
    qtbot.waitUntil(lambda: panel.view.curve.count > 0, timeout=5000)
    start = time.perf_counter()
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert time.perf_counter() - start < 1.0
    assert names(panel) == before
    assert panel.alignment is None
    assert "Cancelled" in panel.view.message.text()
    assert not panel.view.result.isVisible()


def test_a_layer_that_is_closed_ends_its_run(panel, qtbot, engine):
    engine.hold.clear()
    panel.run()
    panel.viewer.layers.remove("follow-up")
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.alignment is None
    assert names(panel) == ["prior"]


def test_the_same_layer_twice_is_refused_at_once(panel, engine):
    panel.view.moving.choose(panel.view.fixed.layer())
    panel.run()
    assert not panel.running
    assert "chosen twice" in panel.view.message.text()


def test_a_colored_layer_is_refused_for_registration_with_one_sentence(panel, engine):
    color = panel.viewer.add_image(np.zeros((5, 6, 7, 4), np.uint8), rgb=True, name="twin")
    panel.view.moving.choose(color)
    panel.run()
    assert not panel.running
    assert "'twin' is in color" in panel.view.message.text()


def test_a_result_that_is_worse_is_said_in_red(panel, qtbot, engine):
    engine.report["after"] = {"ncc": 0.2}
    engine.report["warnings"] = [
        "the registration made it worse: the correlation fell from 0.610 to 0.200"
    ]
    register(panel, qtbot)
    text = panel.view.result.verdict.text()
    assert "<b" in text
    assert "It made things worse" in text
    assert "fell from 0.610 to 0.200" in text
    assert "8c4a42" in panel.view.result.verdict.styleSheet()
    assert not panel.view.result.warnings.isVisible()


def test_masks_and_landmarks_go_with_the_run(panel, qtbot, engine):
    viewer = panel.viewer
    marked = np.zeros(body().shape, np.uint8)
    marked[3:9, 5:30, 5:30] = 1
    ct = viewer.layers["prior"]
    mask = Labels(marked, scale=ct.scale, translate=ct.translate, units=ct.units)
    viewer.add_layer(mask)
    panel.view.fixed_mask.choose(mask)
    panel.view.landmarks.create.click()
    fixed, moving = panel.view.landmarks.two
    fixed.data = np.array([[140.0, 0, 0], [120, 10, 20]])
    moving.data = fixed.data + SHIFT[::-1]
    register(panel, qtbot)
    options = engine.calls[0][2]
    np.testing.assert_array_equal(options["fixed_mask"].voxels, marked)
    assert "moving_mask" not in options
    np.testing.assert_allclose(options["fixed_points"], np.asarray(fixed.data)[:, ::-1])
    np.testing.assert_allclose(
        options["moving_points"] - options["fixed_points"], np.tile(SHIFT, (2, 1))
    )


def test_an_unexpected_failure_is_shown_and_the_panel_goes_on(panel, qtbot, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    module = import_module("tomochrome.registration.register")
    monkeypatch.setattr(module, "register", broken)
    panel.run()
    settle(panel, qtbot)
    assert "out of luck" in panel.view.message.text()
    assert panel.view.run.isEnabled()


# After a run


def test_maps_come_and_go_with_their_boxes(panel, qtbot, engine):
    register(panel, qtbot)
    use = panel.view.use
    use.jacobian.setChecked(True)
    use.grid.setChecked(True)
    jacobian, grid = panel.viewer.layers["Jacobian map"], panel.viewer.layers["Deformation grid"]
    assert behind(jacobian.metadata).role == behind(grid.metadata).role == "derived"
    assert grid.data.shape == (*body().shape, 4)
    assert tuple(grid.scale) == tuple(jacobian.scale) == (6, 4, 4)
    # What is made to look at is no input of anything.
    assert jacobian not in panel.view.fixed.layers()
    assert grid not in panel.view.compare.first.layers()
    use.grid.setChecked(False)
    panel.viewer.layers.remove(jacobian)
    assert not use.jacobian.isChecked()
    assert "Deformation grid" not in names(panel)


def test_the_transform_is_applied_to_any_layer(panel, qtbot, engine):
    viewer = panel.viewer
    register(panel, qtbot)
    points = viewer.add_points([[130.0, 4, 8]], ndim=3, units=("mm",) * 3, name="dots")
    flat = viewer.add_shapes(
        [np.array([[130.0, 0, 0], [130, 0, 9], [130, 9, 9]])], shape_type="polygon", name="area"
    )
    labels = viewer.add_labels(
        (body(SHIFT).voxels > 300).astype(np.uint8), scale=(6, 4, 4), translate=(100, -80, -72),
        units=("mm",) * 3, name="bone",
    )  # fmt: skip
    color = np.zeros((*body().shape, 4), np.uint8)
    color[..., 3] = 255
    twin = viewer.add_image(
        color, rgb=True, scale=(6, 4, 4), translate=(100, -80, -72), units=("mm",) * 3, name="twin"
    )
    for layer in (points, flat, labels, twin):
        panel.view.use.layer.choose(layer)
        panel.view.use.apply.click()
        settle(panel, qtbot)
        assert f"{layer.name} · moved" in names(panel), panel.view.message.text()
    np.testing.assert_allclose(viewer.layers["dots · moved"].data, points.data - SHIFT[::-1])
    assert isinstance(viewer.layers["bone · moved"], Labels)
    assert viewer.layers["twin · moved"].rgb
    panel.view.use.direction.setCurrentIndex(1)
    panel.view.use.layer.choose(points)
    panel.view.use.apply.click()
    settle(panel, qtbot)
    np.testing.assert_allclose(viewer.layers[-1].data if viewer.layers[-1].name.startswith("dots")
                               else viewer.layers["dots · moved [1]"].data,
                               points.data + SHIFT[::-1])  # fmt: skip


@pytest.mark.parametrize("name", ["forward.h5", "forward.nii.gz"])
def test_a_transform_is_saved_and_loaded_as_if_just_registered(
    panel, qtbot, engine, tmp_path, name
):
    register(panel, qtbot)
    path = tmp_path / name
    panel.save(str(path))
    settle(panel, qtbot)
    assert panel.view.message.text() == f"Saved {name}."
    before = panel.alignment
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is not before, panel.view.message.text()
    assert panel.view.message.text().startswith("Transform loaded")
    point = np.array([[3.0, 5, 140]])
    np.testing.assert_allclose(panel.alignment.forward.points(point), point + SHIFT, atol=1e-3)
    rows = {row[0]: row for row in panel.view.result.rows()}
    assert float(rows["Correlation"][2]) > float(rows["Correlation"][1])
    assert len(engine.calls) == 1


def test_a_name_that_was_completed_is_not_overwritten_unasked(
    panel, qtbot, engine, tmp_path, monkeypatch
):
    """The file dialog asked about 'mine', not about 'mine.h5'."""
    register(panel, qtbot)
    path = tmp_path / "mine.h5"
    path.write_bytes(b"precious")
    asked = []
    chosen = (str(tmp_path / "mine"), "Transform for ITK, ANTs, 3D Slicer (*.h5)")
    buttons = QMessageBox.StandardButton
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    for answer in (buttons.No, buttons.Yes):
        monkeypatch.setattr(
            QMessageBox, "question", lambda *words, give=answer: asked.append(words[-1]) or give
        )
        panel.view.use.save.click()
        settle(panel, qtbot)
        assert (path.read_bytes() == b"precious") == (answer == buttons.No)
    assert asked == ["mine.h5 exists already. Replace it?"] * 2


def test_files_that_are_no_transform_are_a_sentence(panel, qtbot, tmp_path):
    path = tmp_path / "broken.h5"
    path.write_bytes(b"no transform")
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is None
    assert panel.view.message.text()
    assert "unexpectedly" not in panel.view.message.text()


def test_a_transform_that_fits_no_layer_is_a_sentence(panel, qtbot, tmp_path):
    matrix = np.eye(4)
    matrix[0, 3] = 9000.0
    path = tmp_path / "elsewhere.h5"
    Transform.from_affine(matrix).save(path)
    panel.load(str(path))
    settle(panel, qtbot)
    assert panel.alignment is None
    assert "leads nowhere into the layer 'follow-up'" in panel.view.message.text()
    assert names(panel) == ["prior", "follow-up"]


# Comparing, also without any registration


def test_it_compares_without_a_registration_and_hides_the_two(panel, qtbot):
    comparison = compare(panel, qtbot)
    fixed, moving = panel.view.two
    assert comparison.layer.visible
    assert not fixed.visible
    assert not moving.visible
    expected = np.asarray(comparison.view[7])
    panel.viewer.dims.set_point(0, 100 + 7 * 6)
    np.testing.assert_array_equal(on_screen(comparison.layer), expected)
    panel.view.compare.show_button.click()
    assert names(panel) == ["prior", "follow-up"]
    assert fixed.visible
    assert moving.visible


def test_every_field_changes_what_is_on_screen(panel, qtbot):
    comparison = compare(panel, qtbot)
    view, layer = panel.view.compare, comparison.layer
    panel.viewer.dims.set_point(0, 142)
    seen = [on_screen(layer).tobytes()]

    def changes():
        qtbot.waitUntil(lambda: on_screen(layer).tobytes() != seen[-1], timeout=5000)
        seen.append(on_screen(layer).tobytes())

    view.tile._box.setValue(33)
    changes()
    view._offsets[2].setValue(9)
    changes()
    for mode in ("wipe left | right", "wipe above / below", "blend"):
        view.mode.setCurrentText(mode)
        changes()
    view.share._box.setValue(90)
    changes()
    view.mode.setCurrentText("red-cyan")
    changes()
    view.mode.setCurrentText("difference")
    changes()
    view.reach.setValue(900)
    changes()
    view.mode.setCurrentText("contours")
    changes()
    view.levels.setText("0")
    view.levels.editingFinished.emit()
    changes()
    view.levels.setText("nonsense")
    view.levels.editingFinished.emit()
    qtbot.waitUntil(lambda: "must be numbers" in view.message.text(), timeout=5000)


def test_the_window_of_the_layers_is_followed(panel, qtbot):
    comparison = compare(panel, qtbot, "blend")
    panel.viewer.dims.set_point(0, 142)
    before = on_screen(comparison.layer).copy()
    panel.viewer.layers["prior"].contrast_limits = (-1000, 900)
    qtbot.waitUntil(lambda: (on_screen(comparison.layer) != before).any(), timeout=5000)
    assert comparison.pair.windows[0].width == 1900


def test_flicker_takes_turns_and_rests_when_it_is_not_seen(panel, qtbot):
    comparison = compare(panel, qtbot, "flicker")
    panel.view.compare.rate._box.setValue(10)
    turns = set()

    def seen():
        turns.add(comparison.view.settings.which)
        return turns == {"a", "b"}

    qtbot.waitUntil(seen, timeout=5000)
    comparison.layer.visible = False
    assert not panel.comparing._flicker.isActive()
    comparison.layer.visible = True
    assert panel.comparing._flicker.isActive()
    panel.viewer.dims.ndisplay = 3
    assert not panel.comparing._flicker.isActive()


def test_the_curtain_is_dragged_by_its_edge(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    viewer, layer = panel.viewer, comparison.layer
    camera = viewer.scene.camera

    def at(column):
        return layer.data_to_world((7, 20, column))

    event = SimpleNamespace(type="mouse_press", button=1, position=at(17.5), handled=False)
    drag = panel.comparing._handle._drag
    assert drag in viewer.mouse_drag_callbacks
    steps = drag(viewer, event)
    next(steps)
    assert not camera.mouse_pan
    event.type, event.position = "mouse_move", at(8.5)
    next(steps)
    assert comparison.view.settings.positions[0] == pytest.approx(0.25)
    assert comparison.view.settings.positions[1] == 0.5
    event.type = "mouse_release"
    assert next(steps, "done") == "done"
    assert camera.mouse_pan
    # Elsewhere the mouse is napari's.
    event = SimpleNamespace(type="mouse_press", button=1, position=at(30), handled=False)
    assert next(drag(viewer, event), "done") == "done"


def test_real_mouse_events_drag_the_curtain(panel, qtbot):
    from vispy.app.canvas import MouseEvent

    comparison = compare(panel, qtbot, "wipe left | right")
    viewer = panel.viewer
    canvas = viewer.window._qt_viewer.canvas
    viewer.fit_to_view()
    qtbot.wait(50)
    width, height = canvas._scene_canvas.size
    center = tuple(viewer.scene.camera.center)
    middle = np.array([width / 2, height / 2])

    def mouse(kind, pos, press=None):
        options = {"press_event": press} if press is not None else {}
        event = MouseEvent(type=kind, pos=pos, button=1, buttons=[1], **options)
        getattr(canvas._scene_canvas.events, kind)(event)
        return event

    # The curtain hangs in the middle of the picture, and so of the canvas.
    press = mouse("mouse_press", middle)
    beside = middle + np.array([40, 0])
    mouse("mouse_move", beside, press)
    mouse("mouse_release", beside, press)
    assert comparison.view.settings.positions[0] > 0.51
    assert tuple(viewer.scene.camera.center) == center  # the picture itself stayed


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_left_is_left_on_the_screen_however_the_axes_are_rolled(panel, qtbot, turns):
    comparison = compare(panel, qtbot, "wipe left | right")
    for _ in range(turns):
        panel.viewer.dims.roll()
    shown = on_screen(comparison.layer)
    amber = (shown == (255, 196, 0, 255)).all(axis=-1)
    assert amber.all(axis=0).any()  # a whole column of the picture
    assert not amber.all(axis=1).any()


def test_left_is_left_on_a_screen_that_is_turned(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    panel.comparing._dragged(comparison.view.settings.moved(0, 0.25))
    first = comparison.view.second(split(7, comparison.view.shape)[0])[0, 0]
    assert list(np.flatnonzero(~first)) == list(range(9))
    panel.viewer.scene.camera.orientation2d = ("down", "left")
    first = comparison.view.second(split(7, comparison.view.shape)[0])[0, 0]
    assert list(np.flatnonzero(~first)) == list(range(27, 36))
    panel.viewer.scene.camera.orientation2d = ("down", "right")


def test_the_curtain_is_moved_by_the_keys_too(panel, qtbot):
    comparison = compare(panel, qtbot, "wipe left | right")
    curtain = panel.view.compare.curtain
    assert curtain.value() == 50
    curtain._box.setFocus()
    for _ in range(10):
        qtbot.keyClick(curtain._box, Qt.Key.Key_Up)
    assert comparison.view.settings.positions == pytest.approx((0.6, 0.5, 0.5))
    panel.viewer.dims.roll()
    assert curtain.value() == 50  # every plane has its own
    panel.comparing._dragged(comparison.view.settings.moved(2, 0.25))
    assert curtain.value() == 25


def test_the_curtain_stays_where_it_is_before_and_after(panel, qtbot, engine):
    panel.view.compare.mode.setCurrentText("wipe left | right")
    register(panel, qtbot)
    panel.comparing._dragged(panel.comparing.comparison.view.settings.moved(0, 0.25))
    panel.view.compare.before.click()
    settle(panel, qtbot)
    comparison = panel.comparing.comparison
    assert comparison.layers[1].name == "follow-up"
    assert comparison.view.settings.positions[0] == 0.25


def test_a_curtain_is_caught_where_an_affine_holds_the_spacing(panel, qtbot):
    viewer = panel.viewer
    viewer.layers.clear()
    for name in ("one", "two"):
        viewer.add_image(
            body().voxels, affine=np.diag([6000.0, 4000, 4000, 1]), units=("um",) * 3, name=name
        )
    comparison = compare(panel, qtbot, "wipe left | right")
    viewer.fit_to_view()
    edge = comparison.view.edge(0)

    def caught(column):
        position = comparison.layer.data_to_world((7, 20, column))
        event = SimpleNamespace(type="mouse_press", button=1, position=position, handled=False)
        return panel.comparing._handle._near(comparison, event)

    assert caught(edge)
    assert not caught(edge + 15)


def test_a_layer_that_is_moved_is_compared_where_it_lies_now(panel, qtbot):
    viewer = panel.viewer
    viewer.layers.clear()
    for name in ("one", "two"):
        viewer.add_image(body().voxels, scale=(6, 4, 4), name=name)
    comparison = compare(panel, qtbot, "difference")
    assert not on_screen(comparison.layer)[..., :3].any()
    viewer.layers["two"].translate = (0, 0, 16)
    qtbot.waitUntil(lambda: panel.comparing.comparison is not comparison, timeout=5000)
    settle(panel, qtbot)
    assert on_screen(panel.comparing.comparison.layer)[..., :3].any()


def test_it_does_not_crash_in_3d_and_shows_the_whole(panel, qtbot):
    comparison = compare(panel, qtbot)
    panel.viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: comparison.picture.has_whole, timeout=20_000)
    assert on_screen(comparison.layer).any()
    panel.view.compare.mode.setCurrentText("blend")
    qtbot.waitUntil(
        lambda: comparison.picture.has_whole and comparison.view.mode == "blend", timeout=20_000
    )
    panel.viewer.dims.ndisplay = 2
    assert on_screen(comparison.layer).shape == (40, 36, 4)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_all_planes_show_square_tiles(panel, qtbot, order):
    comparison = compare(panel, qtbot)
    panel.viewer.dims.order = order
    shown = on_screen(comparison.layer)
    expected = np.asarray(comparison.view[...])
    step = panel.viewer.dims.current_step[order[0]]
    np.testing.assert_array_equal(shown, np.take(expected, step, axis=order[0]))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")  # napari's own, of turned layers
def test_layers_of_other_readers_are_compared_and_registered(panel, qtbot, engine):
    viewer = panel.viewer
    viewer.layers.clear()
    # One in micrometres, one without units, one of them turned.
    first = viewer.add_image(
        body().voxels, scale=(6000, 4000, 4000), translate=(1e5, -8e4, -7.2e4),
        units=("um",) * 3, name="micro", contrast_limits=(-200, 200),
    )  # fmt: skip
    second = viewer.add_image(
        body(SHIFT).voxels.astype(np.float32), scale=(6, 4, 4), translate=(100, -80, -72),
        rotate=(5, 0, 0), name="plain",
    )  # fmt: skip
    assert panel.view.two == (first, second)
    comparison = compare(panel, qtbot)
    np.testing.assert_allclose(comparison.pair.volume.affine, body().affine, atol=1e-6)
    assert comparison.pair.coverage > 0.9
    assert tuple(comparison.layer.scale) == (6000, 4000, 4000)
    alignment = register(panel, qtbot)
    np.testing.assert_allclose(engine.calls[0][0].affine, body().affine, atol=1e-6)
    assert tuple(alignment.layer.scale) == (6000, 4000, 4000)
    np.testing.assert_allclose(alignment.layer.extent.world, first.extent.world)


def test_a_colored_twin_is_compared_and_followed(panel, qtbot, monkeypatch):
    from conftest import simple_colorize
    from tomochrome._napari.coloring import color_in_worker
    from tomochrome.color import Lighting

    monkeypatch.setattr(import_module("tomochrome.colorize"), "colorize", simple_colorize)
    viewer = panel.viewer
    fields = {"window": Lighting().window}
    colored = color_in_worker(
        viewer.layers["prior"], "tissue", "cpu", fields, progress=None, cancel=None
    )
    twin = viewer.add_layer(colored.layer)
    assert isinstance(twin.data, LitVolume)
    panel.view.compare.choose(viewer.layers["prior"], twin)
    comparison = compare(panel, qtbot, "blend")
    viewer.dims.set_point(0, 142)
    before = on_screen(comparison.layer).copy()
    assert np.ptp(before[..., :3].astype(int), axis=-1).max() > 5
    twin.data.settings = twin.data.settings.but(saturation=0.0)
    qtbot.waitUntil(lambda: (on_screen(comparison.layer) != before).any(), timeout=5000)


def test_what_cannot_be_compared_is_a_sentence(panel, qtbot):
    far = panel.viewer.add_image(
        body().voxels, scale=(6, 4, 4), translate=(9000, 0, 0), units=("mm",) * 3, name="far"
    )
    panel.view.compare.choose(panel.view.fixed.layer(), far)
    panel.comparing.start()
    settle(panel, qtbot)
    assert panel.comparing.comparison is None
    assert "do not overlap" in panel.view.compare.message.text()
    assert not panel.view.compare.show_button.isChecked()


def test_closing_a_layer_ends_its_comparison(panel, qtbot):
    comparison = compare(panel, qtbot)
    panel.viewer.layers.remove(comparison.layers[1])
    assert panel.comparing.comparison is None
    assert names(panel) == ["prior"]
    assert panel.viewer.layers[0].visible


@pytest.mark.parametrize("why", ["no overlap", "twice"])
def test_what_cannot_be_compared_does_not_leave_the_last_picture(panel, qtbot, why):
    """The fields would say of a picture what it is not."""
    compare(panel, qtbot)
    far = body(affine=default_affine((6.0, 4.0, 4.0), (9000.0, 0.0, 0.0)))
    layer = panel.viewer.add_layer(Layer.create(*volume_layer(far, "elsewhere")))
    second = layer if why == "no overlap" else panel.viewer.layers["prior"]
    panel.view.compare.second.choose(second)
    settle(panel, qtbot)
    assert panel.comparing.comparison is None
    assert names(panel) == ["prior", "follow-up", "elsewhere"]
    assert panel.viewer.layers["prior"].visible
    assert {"no overlap": "overlap", "twice": "twice"}[why] in panel.view.compare.message.text()
    assert not panel.view.compare.show_button.isChecked()


def test_every_layer_that_was_hidden_is_shown_again(panel, qtbot):
    """Also those of a comparison before the last."""
    third = panel.viewer.add_layer(Layer.create(*volume_layer(body(), "third")))
    compare(panel, qtbot)
    panel.view.compare.second.choose(third)
    settle(panel, qtbot)
    assert not any(layer.visible for layer in panel.viewer.layers if layer.name != "Comparison")
    panel.view.compare.show_button.click()
    assert names(panel) == ["prior", "follow-up", "third"]
    assert all(layer.visible for layer in panel.viewer.layers)


def test_of_two_runs_the_last_result_is_seen(panel, qtbot, engine):
    first = register(panel, qtbot)
    second = register(panel, qtbot)
    panel.view.compare.show_button.click()
    seen = [layer for layer in panel.viewer.layers if layer.visible]
    assert seen == [panel.viewer.layers["prior"], second.layer]
    assert first.layer in panel.viewer.layers


def test_a_scan_moved_by_hand_is_said_to_lie_where_its_file_says(panel, qtbot, engine):
    panel.viewer.layers["follow-up"].translate += (0, 0, 20)
    compare(panel, qtbot)
    assert "'follow-up' was moved by hand" in panel.view.compare.message.text()
    register(panel, qtbot)
    assert "'follow-up' was moved by hand" in panel.view.result.warnings.text()
    assert "moved by hand" not in panel.view.compare.message.text()  # fixed and result: neither


def test_nothing_solid_hides_a_comparison(panel, qtbot):
    viewer = panel.viewer
    third = viewer.add_layer(Layer.create(*volume_layer(body(), "third")))
    heat = viewer.add_image(body().voxels, scale=(6, 4, 4), blending="additive", name="heat")
    dots = viewer.add_points([[130.0, 0, 0]], name="dots")
    panel.view.compare.choose(viewer.layers["prior"], viewer.layers["follow-up"])
    comparison = compare(panel, qtbot)
    assert viewer.layers.index(comparison.layer) > viewer.layers.index(third)
    assert viewer.layers.index(comparison.layer) < viewer.layers.index(heat)
    assert viewer.layers.index(comparison.layer) < viewer.layers.index(dots)


def test_a_scan_that_was_there_before_the_panel_is_freed_when_it_is_closed(panel, qtbot):
    """The warm-up takes all there is out of the garbage collector's sight."""
    layer = panel.viewer.add_layer(Layer.create(*volume_layer(body(), "large")))
    gone = weakref.ref(layer)
    gc.freeze()
    panel.viewer.layers.remove(layer)
    del layer
    qtbot.wait(50)
    gc.collect()
    assert gone() is None


# Landmarks


def test_the_error_of_landmarks_is_told_while_they_are_moved(panel, qtbot, engine):
    landmarks = panel.view.landmarks
    landmarks.create.click()
    fixed, moving = landmarks.two
    assert fixed.name == "Landmarks fixed"
    fixed.data = np.array([[130.0, 0, 0], [140, 10, -10]])
    moving.data = fixed.data + np.array([0, 3, 4])
    qtbot.waitUntil(lambda: landmarks.before.text().startswith("5.00 mm"), timeout=2000)
    assert landmarks.after.text() == "–"
    register(panel, qtbot)
    moving.data = fixed.data + SHIFT[::-1]
    qtbot.waitUntil(lambda: landmarks.after.text().startswith("0.00 mm"), timeout=2000)
    assert landmarks.before.text().startswith(f"{np.linalg.norm(SHIFT):.2f} mm")
    moving.add([150.0, 0, 0])
    qtbot.waitUntil(lambda: "2 landmarks in the fixed" in landmarks.message.text(), timeout=2000)
    assert "(2 landmarks)" in landmarks.after.text()
    landmarks.moving.choose(fixed)
    assert "two different" in landmarks.message.text()


def test_landmarks_are_seen_over_a_volume_in_micrometres(panel, qtbot):
    panel.viewer.layers.clear()
    for name in ("one", "two"):
        panel.viewer.add_image(
            body().voxels, scale=(6000, 4000, 4000), units=("um",) * 3, name=name
        )
    panel.view.landmarks.create.click()
    fixed, _ = panel.view.landmarks.two
    assert fixed.current_size == 6000
    fixed.add([42000.0, 80000, 72000])
    assert fixed.size[0] == 6000


# In the window


def test_no_name_says_more_than_the_layers_own(panel, qtbot, engine):
    register(panel, qtbot)
    panel.view.use.jacobian.setChecked(True)
    panel.view.use.grid.setChecked(True)
    own = {"Comparison", "Jacobian map", "Deformation grid"}
    for name in set(names(panel)) - own:
        assert name.removesuffix(" · moved") in ("prior", "follow-up")


def test_what_is_shown_can_be_saved(panel, qtbot, engine, tmp_path):
    from tomochrome import io
    from tomochrome._napari.writer import layer_volume

    register(panel, qtbot)
    for name in ("Comparison", "follow-up · moved"):
        layer = panel.viewer.layers[name]
        data, meta, _ = layer.as_layer_data_tuple()
        volume = layer_volume(data, meta)
        assert volume.shape == body().shape
        path = tmp_path / "saved.nii.gz"
        io.write(volume, path, force=True)
        np.testing.assert_allclose(io.read(path).affine, body().affine, atol=1e-3)


def test_it_fits_a_narrow_dock(panel, qtbot, engine):
    register(panel, qtbot)
    for section in panel.view.sections.values():
        section.open(True)
    panel.view.more.open(True)
    for number in range(panel.view.compare.mode.count()):
        panel.view.compare.mode.setCurrentIndex(number)
        qtbot.wait(20)
        assert panel.view.minimumSizeHint().width() <= 360, panel.view.compare.mode.currentText()


def test_the_numbers_can_be_read_in_a_light_theme(panel, qtbot, engine):
    register(panel, qtbot)

    def contrast():
        """Of the correlation's number with its ground, as WCAG 2 defines it."""
        cell = panel.view.result._cells[4]
        assert cell.text() == panel.view.result.rows()[0][2]
        ground = panel.grab().toImage().pixelColor(2, panel.height() - 2)
        light, dark = sorted(map(luminance, (QColor(cell.styleSheet()[7:14]), ground)))[::-1]
        return (light + 0.05) / (dark + 0.05)

    try:
        for theme in ("light", "dark"):
            panel.viewer.theme = theme
            qtbot.wait(50)
            assert contrast() > 4.5, theme
    finally:
        panel.viewer.theme = "dark"


def luminance(color):
    linear = LINEAR_OF_8BIT[[color.red(), color.green(), color.blue()]]
    return float(linear @ TO_XYZ[1])


def names_of(viewer):
    return [layer.name for layer in viewer.layers]


def test_a_small_run_of_the_engine_itself(panel, qtbot):
    """Without a network: center and a few iterations, measured and told like any other."""
    panel.view.init.setCurrentIndex(panel.view.init.findData("center"))
    panel.view.model.setCurrentText("none")
    panel.view.refine.setValue(6)
    alignment = register(panel, qtbot)
    assert isinstance(alignment.forward, Transform)
    assert panel.view.curve.count >= 6
    assert {"Correlation", "Folded voxels"} <= {row[0] for row in panel.view.result.rows()}
    assert isinstance(panel.viewer.layers["follow-up · moved"], Image)
    assert set(REPORT) <= set(alignment.report)


def test_points_of_two_dimensions_are_no_landmarks(panel):
    flat = panel.viewer.add_layer(Points(np.zeros((2, 2)), name="flat"))
    other = panel.viewer.add_layer(Points(np.zeros((2, 3)), name="deep"))
    panel.view.landmarks.fixed.choose(flat)
    panel.view.landmarks.moving.choose(other)
    assert "3 dimensions" in panel.view.landmarks.message.text()


def test_closing_the_panel_cancels_and_lets_go(panel, qtbot, engine):
    """The last test of this module: the panel is gone afterwards."""
    window = panel.viewer
    gone = weakref.ref(register(panel, qtbot))
    window.layers.remove("follow-up · moved")
    engine.hold.clear()
    compare(panel, qtbot)
    panel.run()
    job = panel._job
    panel.release()
    assert job.wait(2)
    qtbot.wait(50)
    assert names_of(window) == ["prior", "follow-up"]
    assert panel.comparing._handle._drag not in window.mouse_drag_callbacks
    window.add_image(np.zeros((3, 4, 5)))  # nobody is told who is gone
    window.layers.clear()
    gc.collect()
    assert gone() is None  # nor does the panel keep a result that nobody sees
