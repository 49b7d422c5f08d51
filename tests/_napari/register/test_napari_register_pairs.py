"""Results belong to a pair of layers and are hidden, shown, replaced and removed with it."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from endings import wait_until_freed
from napari.layers import Layer
from panel_cases import choose, names, register, settle
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from register_cases import SHIFT, body
from screen import scroll_to

from tomochrome._napari.kit.controls import Section
from tomochrome._napari.layers.volume_layers import (
    color_layer,
    layer_transform,
    source_of,
    volume_layer,
)
from tomochrome.registration.verdict import verdict_of

pytestmark = pytest.mark.gui


def add(panel, name, moved=(0.0, 0.0, 0.0)):
    return panel.viewer.add_layer(Layer.create(*volume_layer(body(moved), name)))


def shown(panel):
    """The parts of a result shown in the panel."""
    view = panel.view
    parts = {
        "verdict": view.result.isVisible() and bool(view.result.verdict.text()),
        "table": bool(view.result.rows()) if view.result.cells else False,
        "curve": view.curve.isVisible() and view.curve.count > 0,
        "transform": view.sections["use"].isVisible(),
        "before": view.compare.before.isEnabled(),
        "after": view.compare.after.isEnabled(),
        "message": bool(view.message.text()),
        "comparison": "Comparison" in names(panel),
        "jacobian": "Jacobian map" in names(panel),
        "grid": "Deformation grid" in names(panel),
    }
    return {name for name, there in parts.items() if there}


def with_maps(panel, qtbot):
    alignment = register(panel, qtbot)
    panel.view.use.jacobian.setChecked(True)
    panel.view.use.grid.setChecked(True)
    assert len(shown(panel)) == 10
    return alignment


def test_a_result_is_hidden_and_shown_with_its_pair(panel, qtbot, engine):
    other = add(panel, "another patient")
    prior, follow_up = panel.viewer.layers["prior"], panel.viewer.layers["follow-up"]
    panel.view.fixed.choose(prior)
    panel.view.moving.choose(follow_up)
    landmarks = panel.view.landmarks
    landmarks.create.click()
    for layer, points in zip(landmarks.two, ([130.0, 0, 0], [133.0, 4, 0]), strict=True):
        layer.data = np.array([points])
    alignment = with_maps(panel, qtbot)
    verdict, rows = panel.view.result.verdict.text(), panel.view.result.rows()
    qtbot.waitUntil(lambda: "mm" in landmarks.after.text(), timeout=2000)
    panel.view.moving.choose(other)
    assert shown(panel) == set()
    assert panel.alignment is None
    assert landmarks.after.text() == "–"
    assert panel.view.compare.two == (prior, other)
    panel.view.moving.choose(follow_up)
    settle(panel, qtbot)
    assert len(shown(panel)) == 10
    assert panel.alignment is alignment
    assert (panel.view.result.verdict.text(), panel.view.result.rows()) == (verdict, rows)
    assert panel.comparing.comparison.layers == (prior, alignment.layer)
    assert "mm" in landmarks.after.text()


def test_each_pair_has_a_result_of_its_own(panel, qtbot, engine):
    other = add(panel, "another patient")
    follow_up = panel.viewer.layers["follow-up"]
    panel.view.fixed.choose(panel.viewer.layers["prior"])
    panel.view.moving.choose(follow_up)
    first = register(panel, qtbot)
    panel.view.moving.choose(other)
    engine.report["after"] = {**engine.report["after"], "ncc": 0.75}
    second = register(panel, qtbot)
    assert ("Correlation", "0.610", "✓ 0.750") in panel.view.result.rows()
    panel.view.moving.choose(follow_up)
    assert panel.alignment is first
    assert ("Correlation", "0.610", "✓ 0.930") in panel.view.result.rows()
    panel.viewer.layers.remove(follow_up)
    panel.view.moving.choose(other)
    assert panel.alignment is second


def test_nothing_is_left_after_the_layers_are_cleared_and_others_opened(panel, qtbot, engine):
    alignment = with_maps(panel, qtbot)
    gone = [
        weakref.ref(x)
        for x in (alignment, alignment.layer, alignment.jacobian, alignment.fixed.volume)
    ]
    gone += [weakref.ref(source_of(layer.metadata).shown) for layer in panel.viewer.layers[:2]]
    del alignment
    engine.calls.clear()
    panel.viewer.layers.clear()
    assert shown(panel) == set()
    add(panel, "unrelated one")
    add(panel, "unrelated two")
    qtbot.wait(50)
    assert shown(panel) == set()
    wait_until_freed(qtbot, *gone)


def test_the_moved_image_can_be_closed_and_the_transform_stays(panel, qtbot, engine):
    alignment = register(panel, qtbot)
    panel.viewer.layers.remove(alignment.layer)
    gone = weakref.ref(alignment.layer)
    del alignment
    assert panel.view.sections["use"].isVisible()
    assert panel.view.compare.before.isEnabled()
    assert not panel.view.compare.after.isEnabled()
    wait_until_freed(qtbot, gone)


def test_running_again_replaces_the_result_and_memory_returns(panel, qtbot, engine):
    choose(panel.view.compare.mode, "wipe left | right")
    first = with_maps(panel, qtbot)
    panel.comparing.wipe_to(0.25)
    gone = weakref.ref(first.layer), weakref.ref(source_of(first.layer.metadata).shown)
    jacobian = weakref.ref(first.jacobian)
    del first
    before = len(panel.viewer.layers)
    second = register(panel, qtbot)
    assert names(panel).count("follow-up · moved") == 1
    assert not [name for name in names(panel) if "[" in name]
    assert len(panel.viewer.layers) == before
    assert panel.comparing.comparison.layers[1] is second.layer
    assert panel.comparing.comparison.view.settings.positions[0] == 0.25
    engine.calls.clear()
    wait_until_freed(qtbot, *gone, jacobian)


def test_earlier_results_can_be_kept_and_distinguished(panel, qtbot, engine):
    first = register(panel, qtbot)
    panel.view.keep.setChecked(True)
    choose(panel.view.init, "rigid")
    second = register(panel, qtbot)
    assert {"follow-up · moved", "follow-up · moved 2"} <= set(names(panel))
    kept = panel.view.kept
    assert kept.isVisible()
    assert [kept.itemText(i)[:8] for i in range(kept.count())] == ["1: Affin", "2: Rigid"]
    assert kept.currentIndex() == 1
    kept.activated.emit(0)
    settle(panel, qtbot)
    assert panel.alignment is first
    assert panel.comparing.comparison.layers[1] is first.layer
    # Without the option the result on screen is the one that is replaced.
    panel.view.keep.setChecked(False)
    third = register(panel, qtbot)
    assert third.layer.name == "follow-up · moved"
    assert second.layer in panel.viewer.layers
    assert first.layer not in panel.viewer.layers


def test_a_cancelled_run_leaves_the_earlier_result_with_its_curve(panel, qtbot, engine):
    alignment = register(panel, qtbot)
    engine.hold.clear()
    panel.run()
    qtbot.waitUntil(lambda: panel.view.curve.count == 6, timeout=5000)
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.alignment is alignment
    assert panel.view.curve.count == 6
    assert alignment.layer in panel.viewer.layers


def test_apply_starts_with_what_belongs_to_the_moving_image(panel, qtbot, engine):
    viewer = panel.viewer
    fixed, moving = viewer.layers["prior"], viewer.layers["follow-up"]
    moving.translate = np.add(moving.translate, (0, 0, 2))
    grid = {"scale": moving.scale, "translate": moving.translate, "units": moving.units}
    labels = viewer.add_labels(np.ones(body().shape, np.uint8), name="bone", **grid)
    color = np.full((*body().shape, 4), 255, np.uint8)
    twin = viewer.add_image(color, rgb=True, name="twin", **grid)
    points = viewer.add_points(np.zeros((1, 3)), units=("mm",) * 3, name="dots")
    panel.view.fixed.choose(fixed)
    panel.view.moving.choose(moving)
    alignment = register(panel, qtbot)
    use = panel.view.use
    assert use.layer.layers() == [twin, labels, points]
    assert use.layer.layer() is twin
    use.direction.setCurrentIndex(1)
    assert moving not in use.layer.layers()
    assert fixed in use.layer.layers()
    use.direction.setCurrentIndex(0)
    # Applied twice there is one copy.
    for _ in range(2):
        panel.apply_to(labels)
        settle(panel, qtbot)
    assert names(panel).count("bone · moved") == 1
    assert not [name for name in names(panel) if "[" in name]
    assert panel.alignment is alignment
    panel.viewer.layers.remove(alignment.layer)
    assert moving in use.layer.layers()  # it can be moved again, never the fixed one
    assert fixed not in use.layer.layers()


def test_nothing_is_offered_that_belongs_to_the_image_it_would_be_moved_onto(panel, qtbot, engine):
    viewer, use, landmarks = panel.viewer, panel.view.use, panel.view.landmarks
    fixed, moving = panel.view.two
    moving.translate = np.add(moving.translate, (0, 0, 2))
    landmarks.create.click()
    of_fixed, of_moving = landmarks.two
    landmarks.done.click()
    other = add(panel, "another patient")
    outlines = {}
    for image in (fixed, moving):
        grid = {"scale": image.scale, "translate": image.translate, "units": image.units}
        outlines[image] = viewer.add_labels(np.ones(image.data.shape, np.uint8), **grid)
    dots = viewer.add_points(np.zeros((1, 3)), units=("mm",) * 3, name="dots")
    alignment = register(panel, qtbot)
    assert set(use.layer.layers()) == {outlines[moving], of_moving, dots, other}
    panel.apply_to(dots)  # from now on, the copy is known to belong to the fixed image
    settle(panel, qtbot)
    copy = viewer.layers["dots · moved"]
    assert copy not in use.layer.layers()
    use.direction.setCurrentIndex(1)
    expected = {fixed, outlines[fixed], of_fixed, dots, other, copy, alignment.layer}
    assert set(use.layer.layers()) == expected
    use.direction.setCurrentIndex(0)
    # The results of other pairs belong to the fixed image too.
    panel.view.moving.choose(other)
    register(panel, qtbot)
    for layer in (copy, alignment.layer, of_fixed):
        assert layer not in use.layer.layers()
    # Landmarks that are selected later belong to their image at once.
    landmarks.fixed.choose(dots)
    assert dots not in use.layer.layers()
    landmarks.fixed.choose(None)
    assert dots in use.layer.layers()


def test_the_colors_of_the_moved_image_are_not_moved_again(panel, qtbot, engine):
    alignment = register(panel, qtbot)
    source = source_of(alignment.layer.metadata)
    rgba = np.full((*source.shown.shape, 4), 255, np.uint8)
    twin = color_layer(
        rgba, replace(source, role="color"), layer_transform(alignment.layer), "colors"
    )
    twin = panel.viewer.add_layer(Layer.create(*twin))
    assert twin not in panel.view.use.layer.layers()
    panel.view.use.direction.setCurrentIndex(1)
    assert twin in panel.view.use.layer.layers()


@pytest.mark.parametrize("kind", ["points", "labels", "rgb"])
def test_a_copy_lies_above_the_comparison(panel, qtbot, engine, kind):
    viewer = panel.viewer
    scan = viewer.layers["follow-up"]
    grid = {"scale": scan.scale, "translate": scan.translate, "units": scan.units, "name": "own"}
    if kind == "points":
        layer = viewer.add_points(np.zeros((1, 3)), units=scan.units, name="own")
    elif kind == "labels":
        layer = viewer.add_labels(np.ones(scan.data.shape, np.uint8), **grid)
    else:
        layer = viewer.add_image(np.full((*scan.data.shape, 4), 99, np.uint8), rgb=True, **grid)
    viewer.layers.move(viewer.layers.index(layer), 0)
    register(panel, qtbot)
    panel.apply_to(layer)
    settle(panel, qtbot)
    copy = viewer.layers["own · moved"]
    assert copy.visible
    assert names(panel).index("own · moved") > names(panel).index("Comparison")
    if kind != "rgb":  # an image is compared or hidden by a new comparison
        panel.comparing.start()
        settle(panel, qtbot)
        assert copy.visible
        assert names(panel).index("own · moved") > names(panel).index("Comparison")


def test_what_apply_makes_is_seen_over_the_comparison(panel, qtbot, engine, painted):
    viewer, use = panel.viewer, panel.view.use
    scan = viewer.layers["follow-up"]
    labels = np.zeros(scan.data.shape, np.uint8)
    labels[:, 12:28, 10:26] = 1
    layer = viewer.add_labels(
        labels, scale=scan.scale, translate=scan.translate, units=scan.units, name="own", opacity=1,
        colormap={1: (1, 0, 1), None: (0, 0, 0, 0)},
    )  # fmt: skip
    viewer.layers.move(viewer.layers.index(layer), 0)
    register(panel, qtbot)

    def share():
        picture = viewer.screenshot(flash=False, canvas_only=True)[..., :3].astype(int)
        return (np.abs(picture - (255, 0, 255)).max(axis=-1) < 12).mean()

    assert share() < 0.001  # the layer itself is below
    use.layer.choose(layer)
    section = use.apply.parentWidget()
    while not isinstance(section, Section):
        section = section.parentWidget()
    for button in (section.heading, use.apply):
        if button is use.apply or not section.heading.isChecked():
            scroll_to(button)
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    settle(panel, qtbot)
    assert share() > 0.02
    first = share()
    panel.comparing.start()
    settle(panel, qtbot)
    assert share() == pytest.approx(first, rel=0.1)


def test_apply_never_starts_with_an_unrelated_image(panel, qtbot, engine):
    other = add(panel, "another patient")
    panel.view.fixed.choose(panel.viewer.layers["prior"])
    panel.view.moving.choose(panel.viewer.layers["follow-up"])
    register(panel, qtbot)
    use = panel.view.use
    assert use.layer.layers() == [other]
    assert use.layer.layer() is None
    assert not use.apply.isEnabled()
    points = panel.viewer.add_points(np.zeros((1, 3)), units=("mm",) * 3, name="dots")
    assert use.layer.layer() is points
    assert use.apply.isEnabled()


def test_advice_for_a_loaded_transform_speaks_of_the_file(panel, qtbot, engine, tmp_path):
    from tomochrome.transform import Transform

    matrix = np.eye(4)
    matrix[:3, 3] = -4 * SHIFT  # the wrong way
    path = tmp_path / "forward.h5"
    Transform.from_affine(matrix).save(path)
    panel.load(str(path))
    settle(panel, qtbot)
    said = panel.view.result.verdict.text() + panel.view.result.warnings.text()
    assert "match worse" in said
    assert "belongs to these two images" in said
    assert "registration" not in said
    assert "initial alignment" not in said
    assert panel.alignment.report["loaded"]
    assert not panel.view.curve.isVisible()
    assert "forward.h5" in panel.view.message.text()
    # A registration that is as bad is given other advice.
    assert "initial alignment" in verdict_of({**panel.alignment.report, "loaded": False}).text
