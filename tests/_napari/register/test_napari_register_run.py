"""Registration from the panel: results, endings and errors."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from napari.layers import Labels
from panel_cases import choose, names, register, settle
from register_cases import SHIFT, body

from tomochrome.notices import Notice

pytestmark = pytest.mark.gui


def test_nothing_of_a_result_is_shown_before_the_first_run(panel):
    view = panel.view
    assert not any(part.isVisible() for part in (view.curve, view.kept, view.result))


def test_two_different_layers_are_chosen_and_the_older_one_is_fixed(panel):
    fixed, moving = panel.view.two
    assert (fixed.name, moving.name) == ("prior", "follow-up")
    assert panel.view.compare.two == (fixed, moving)


def test_a_run_gives_the_moved_volume_numbers_and_a_checkerboard(panel, qtbot, engine):
    panel.view.refine.setValue(7)
    choose(panel.view.similarity, "mind")
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
    assert "match better" in panel.view.result.verdict.text()
    assert ("Correlation", "0.610", "✓ 0.930") in panel.view.result.rows()
    assert panel.view.curve.count == 6
    assert [stage for stage, _ in panel.view.curve.stages] == ["coarse", "fine"]
    assert panel.comparing.comparison.layers == (prior, moved)
    assert panel.view.sections["use"].isVisible()
    np.testing.assert_array_equal(fixed.affine, body().affine)


def test_features_and_landmarks_are_chosen_in_the_panel(panel):
    view = panel.view
    assert view.options["use_points"] is False and view.options["similarity"] == "lncc"
    choose(view.similarity, "vgg16")
    view.use_points.setChecked(True)
    options = view.options
    assert (options["similarity"], options["backbone"]) == ("features", "vgg16")
    assert options["use_points"] is True
    choose(view.similarity, "features")
    assert view.options["similarity"] == "features" and "backbone" not in view.options


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


def test_cancel_cleans_up(panel, qtbot, engine):
    engine.hold.clear()
    before = names(panel)
    panel.run()
    qtbot.waitUntil(lambda: panel.view.curve.count > 0, timeout=5000)
    panel.view.cancel.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=20_000)
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


def test_a_colored_layer_is_not_offered_for_registration(panel, engine):
    panel.viewer.add_image(np.zeros((5, 6, 7, 4), np.uint8), rgb=True, name="twin")
    for choice in (panel.view.fixed, panel.view.moving):
        assert [layer.name for layer in choice.layers()] == ["follow-up", "prior"]


def test_a_result_that_is_worse_is_said_in_red(panel, qtbot, engine):
    engine.report["after"] = {"ncc": 0.2}
    fact = "the correlation fell from 0.610 to 0.200"
    engine.warnings = (Notice("worse", "warning", f"it is worse now: {fact}", fact),)
    register(panel, qtbot)
    text = panel.view.result.verdict.text()
    assert "<b" in text
    assert "match worse" in text
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
    panel.view.volumes["fixed_mask"].choose(mask)
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


def test_labels_and_rigid_parts_go_with_the_run(panel, qtbot, engine):
    viewer, ct = panel.viewer, panel.viewer.layers["prior"]
    marked = np.zeros(body().shape, np.uint8)
    marked[3:9, 5:30, 5:15], marked[3:9, 5:30, 15:30] = 2, 7
    for role in ("fixed_labels", "moving_labels", "rigid_mask"):
        layer = Labels(marked, scale=ct.scale, translate=ct.translate, units=ct.units, name=role)
        viewer.add_layer(layer)
        panel.view.volumes[role].choose(layer)
    panel.view.use_labels.setChecked(True)
    change = {"7": {"before_ml": 8.04, "after_ml": 9.25, "percent": 15.05, "hu_change": 3.0}}
    engine.report["change"] = change
    register(panel, qtbot)
    options = engine.calls[0][2]
    assert options["use_labels"] is True
    for role in ("fixed_labels", "moving_labels", "rigid_mask"):
        assert set(np.unique(options[role].voxels)) == {0, 2, 7}
    assert ("Region 7 (mL)", "8.04", "9.25") in panel.view.result.rows()


def test_a_region_painted_in_the_fixed_image_alone_is_measured(panel, qtbot, engine, tmp_path):
    viewer, ct = panel.viewer, panel.viewer.layers["prior"]
    marked = np.zeros(body().shape, np.uint8)
    marked[3:9, 5:30, 5:15] = 2
    layer = Labels(marked, scale=ct.scale, translate=ct.translate, units=ct.units, name="lesion")
    viewer.add_layer(layer)
    panel.view.volumes["fixed_labels"].choose(layer)
    register(panel, qtbot)
    options = engine.calls[0][2]
    np.testing.assert_array_equal(options["fixed_labels"].voxels, marked)
    assert "moving_labels" not in options
    panel.save(str(tmp_path / "forward.h5"))
    settle(panel, qtbot)
    panel.load(str(tmp_path / "forward.h5"))  # measured by the panel's own engine
    settle(panel, qtbot)
    ml = f"{marked.sum() / 2 * 6 * 4 * 4 / 1000:.2f}"
    assert ("Region 2 (mL)", ml, ml) in panel.view.result.rows()


def test_an_unexpected_failure_is_shown_and_the_panel_goes_on(panel, qtbot, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    module = import_module("tomochrome.registration.pairwise")
    monkeypatch.setattr(module, "register", broken)
    panel.run()
    settle(panel, qtbot)
    assert "out of luck" in panel.view.message.text()
    assert panel.view.run.isEnabled()


@pytest.mark.parametrize("at", [0.0, 6.0, 12.0])
def test_the_view_goes_where_both_images_are(panel, qtbot, engine, at):
    """Unless it is there already."""
    slices = [[7, 11], [4, 35], [3, 33]]
    coverage = {"fixed_body": 0.4, "moving_body": 0.4}
    coverage |= {"common_slices": slices, "common_center": [9, 20, 18]}
    engine.report["after"] = {**engine.report["after"], "coverage": coverage}
    prior = panel.viewer.layers["prior"]
    start = prior.data_to_world((at, 20, 18))
    panel.viewer.dims.set_point(range(3), start)
    register(panel, qtbot)
    assert prior.world_to_data(panel.viewer.dims.point)[0] == pytest.approx(9)
    panel.viewer.dims.set_point(0, prior.data_to_world((8, 0, 0))[0])
    register(panel, qtbot)
    assert prior.world_to_data(panel.viewer.dims.point)[0] == pytest.approx(8)
    assert "Only a part can be compared" in panel.view.result.verdict.text()
    assert ("Fixed body covered", "", "40 %") in panel.view.result.rows()
