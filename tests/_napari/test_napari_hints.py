"""The panel "Color hints": strokes painted on a CT correct its colors, or color it alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from colorize_panel_cases import colorize
from napari.layers import Layer
from qtpy.QtGui import QColor
from skimage.color import rgb2lab

from tomochrome._napari.colorize.coloring import Coloring
from tomochrome._napari.hints.hints_panel import BEFORE_KEY, HintsPanel
from tomochrome._napari.hints.stroke_labels import COLORS_KEY
from tomochrome._napari.layers.volume_layers import source_of, volume_layer, world_affine
from tomochrome.color.palettes import palette
from tomochrome.colorization.meanings import KEEP_LABEL
from tomochrome.tissue import N_TISSUES, Tissue

pytestmark = pytest.mark.gui

ORGAN = (6, 24, 26)  # a voxel of the small CT's water


@pytest.fixture
def hints(window, small_ct):
    """The panel over the small CT, without any colors."""
    window.add_layer(Layer.create(*volume_layer(small_ct, "scan")))
    panel = HintsPanel(window)
    window.window.add_dock_widget(panel, name="Color hints")
    yield panel
    panel.release()
    window.window.remove_dock_widget("all")
    window.layers.clear()


def run(panel, qtbot):
    panel.view.run.click()
    qtbot.waitUntil(lambda: not panel.running)
    return panel.view.message.text()


def paint(panel, tissue, place=(6, slice(22, 26), slice(25, 29))):
    """A stroke as painted with napari's brush."""
    if panel.view.strokes.layer() is None:
        panel.view.new.click()
    panel.view.tissue.choose(tissue)
    strokes = panel.view.strokes.layer()
    strokes.data[place] = strokes.selected_label
    return strokes


def tissue_at(layer, voxel=ORGAN):
    return Tissue(int(source_of(layer.metadata).chroma.tissue[voxel]))


def test_a_new_layer_is_on_the_ct_grid_and_ready_to_paint(hints, window):
    hints.view.new.click()
    strokes, ct = window.layers["Strokes on scan"], window.layers["scan"]
    assert strokes.data.shape == ct.data.shape
    np.testing.assert_allclose(world_affine(strokes), world_affine(ct))
    assert strokes.units == ct.units
    assert strokes.mode == "paint"
    assert window.layers.selection.active is strokes
    assert strokes.selected_label == Tissue.LIVER
    colors = strokes.colormap.color_dict
    assert len({tuple(colors[label]) for label in range(1, N_TISSUES + 1)}) > 20
    assert list(strokes.features["tissue"])[Tissue.LIVER] == "Liver"


def test_box_and_label_follow_each_other(hints):
    hints.view.new.click()
    strokes = hints.view.strokes.layer()
    hints.view.tissue.choose("spleen")
    assert strokes.selected_label == Tissue.SPLEEN
    strokes.selected_label = int(Tissue.KIDNEY)
    assert hints.view.tissue.name == "kidney"
    hints.view.tissue.choose("keep")
    assert strokes.selected_label == KEEP_LABEL
    strokes.selected_label = 200  # means nothing; the box stays
    assert hints.view.tissue.name == "keep"


@pytest.fixture
def ask(monkeypatch):
    """Set the color that the color dialog returns."""
    dialog = "tomochrome._napari.hints.hints_panel.QColorDialog.getColor"
    return lambda text: monkeypatch.setattr(dialog, lambda **_: QColor(text))


def test_a_custom_color_gets_a_label_and_is_selected(hints, window, ask):
    ask("")  # closed without a choice
    hints.view.color.click()
    assert hints.view.strokes.layer() is None
    ask("#2040c0")
    hints.view.color.click()
    strokes = hints.view.strokes.layer()
    first = strokes.selected_label
    assert first == KEEP_LABEL + 1
    assert hints.view.tissue.name == "#2040c0"
    np.testing.assert_allclose(
        strokes.colormap.map(first)[:3], [0x20 / 255, 0x40 / 255, 0xC0 / 255]
    )
    assert list(strokes.features["tissue"])[-1] == "color #2040c0"
    hints.view.tissue.choose("spleen")
    ask("#b0413e")
    hints.view.color.click()
    assert strokes.selected_label == first + 1
    ask("#2040c0")  # known: no label more
    hints.view.color.click()
    assert strokes.selected_label == first
    hints.view.tissue.choose("#b0413e")
    assert strokes.selected_label == first + 1
    # another layer has colors of its own
    hints.view.new.click()
    assert hints.view.strokes.layer() is not strokes
    assert hints.view.tissue.findData("#b0413e") < 0
    assert hints.view.tissue.name == "liver"
    hints.view.strokes.choose(strokes)
    assert hints.view.tissue.name == "#b0413e"


def test_strokes_of_a_color_color_their_organ(hints, window, qtbot, ask):
    ask("#2040c0")
    hints.view.color.click()
    paint(hints, "#2040c0")
    assert run(hints, qtbot) == "Strokes applied."
    (coloring,) = Coloring.find(window)
    ab = coloring.chroma.ab()
    expected = rgb2lab(np.array([0x20, 0x40, 0xC0]) / 255)[1:]
    np.testing.assert_allclose(ab[6, 24, 26], expected, atol=1.0)
    np.testing.assert_allclose(ab[ORGAN], expected, atol=6.0)
    assert not coloring.chroma.has_tissues
    # beside a tissue
    paint(hints, "spleen", (8, slice(22, 26), slice(25, 29)))
    assert run(hints, qtbot) == "Strokes applied."
    spleen = palette("natural").ab[Tissue.SPLEEN]
    np.testing.assert_allclose(Coloring.find(window)[0].chroma.ab()[8, 24, 26], spleen, atol=1.0)


def test_labels_are_limited(hints, ask):
    ask("#000001")
    hints.view.color.click()
    strokes = hints.view.strokes.layer()
    strokes.metadata[COLORS_KEY] = {255: "#000001"}
    ask("#000002")
    hints.view.color.click()
    assert "has no label left for another color" in hints.view.message.text()


def test_strokes_alone_applied_twice(hints, window, qtbot):
    strokes = paint(hints, "spleen")
    assert run(hints, qtbot) == "Strokes applied."
    (coloring,) = Coloring.find(window)
    assert coloring.layer.name == "scan · hints"
    assert tissue_at(coloring.layer) == Tissue.SPLEEN
    assert window.layers.selection.active is strokes
    assert hints.view.colored.layer() is coloring.layer
    strokes.data[strokes.data > 0] = Tissue.KIDNEY
    assert run(hints, qtbot) == "Strokes applied."
    assert [each.layer for each in Coloring.find(window)] == [coloring.layer]
    assert tissue_at(coloring.layer) == Tissue.KIDNEY
    assert coloring.chroma.model == "hints"


def test_strokes_over_a_model_in_the_same_layer_light_and_legend(panel, window, qtbot):
    panel.run()
    qtbot.waitUntil(lambda: panel.coloring is not None and not panel.running)
    coloring = panel.coloring
    first = coloring.chroma
    assert tissue_at(coloring.layer) == Tissue.LIVER
    panel.view.color.saturation_row.set_value(50)
    panel.view.color.changed.emit()
    qtbot.waitUntil(lambda: coloring.layer.data.settings.saturation == 0.5)
    hints = HintsPanel(window)
    window.window.add_dock_widget(hints, name="Color hints")
    assert hints.view.colored.layer() is coloring.layer
    paint(hints, "spleen")
    assert run(hints, qtbot) == "Strokes applied."
    assert panel.coloring.layer is coloring.layer
    assert coloring.chroma.model == "tissue + hints"
    assert tissue_at(coloring.layer) == Tissue.SPLEEN
    assert coloring.layer.data.settings.saturation == 0.5
    assert coloring.layer.metadata[BEFORE_KEY] is first
    assert Tissue.SPLEEN in [row.tissue for row in panel.view.legend.list.rows()]
    # applied again, the strokes correct the model, not their own earlier result
    strokes = hints.view.strokes.layer()
    strokes.data[strokes.data > 0] = KEEP_LABEL
    run(hints, qtbot)
    assert tissue_at(coloring.layer) == Tissue.LIVER
    hints.release()


def test_an_open_colorize_panel_follows_strokes_alone(panel, window, qtbot):
    hints = HintsPanel(window)
    window.window.add_dock_widget(hints, name="Color hints")
    paint(hints, "spleen")
    assert run(hints, qtbot) == "Strokes applied."
    assert panel.coloring is not None
    assert [row.tissue for row in panel.view.legend.list.rows()] == [Tissue.SPLEEN]
    hints.release()


def test_a_run_of_colorize_says_that_the_strokes_are_gone(panel, window, qtbot):
    colorize(panel, qtbot)
    hints = HintsPanel(window)
    window.window.add_dock_widget(hints, name="Color hints")
    paint(hints, "spleen")
    assert run(hints, qtbot) == "Strokes applied."
    colorize(panel, qtbot)
    assert BEFORE_KEY not in panel.coloring.layer.metadata
    assert hints.view.message.text().endswith("without the strokes; apply them again.")
    assert run(hints, qtbot) == "Strokes applied."
    assert tissue_at(panel.coloring.layer) == Tissue.SPLEEN
    hints.release()


def test_a_run_of_colorize_still_adds_one_coloring(panel, qtbot):
    panel.run()
    qtbot.waitUntil(lambda: panel.coloring is not None and not panel.running)
    assert len(panel.colorings) == 1


def test_errors_are_single_sentences(hints, window, qtbot):
    hints.view.run.click()
    assert hints.view.message.text().startswith("There are no strokes: press 'New strokes layer'")
    hints.view.new.click()
    assert run(hints, qtbot).startswith("There are no strokes: paint some first")
    other = window.add_labels(np.zeros((12, 48, 40), np.uint8), name="elsewhere")
    hints.view.strokes.choose(other)
    hints.view.run.click()
    assert "is not on the same voxel grid as 'scan'" in hints.view.message.text()
    paint(hints, "liver", (0, 0, 0))
    hints.view.strokes.choose(window.layers["Strokes on scan"])
    paint(hints, "liver")
    paint(hints, "liver", (0, 0, 0))
    assert "1 of 17 voxels of the strokes are outside the body" in run(hints, qtbot)
    paint(hints, "liver").data[7, 24, 26] = 200
    assert "the stroke label 200 means no tissue" in run(hints, qtbot).lower()
    flat = window.add_labels(np.zeros((48, 40), np.uint8), name="flat")
    hints.view.strokes.choose(flat)
    hints.view.run.click()
    assert "'flat' is not on the same voxel grid as 'scan'" in hints.view.message.text()
    hints.view.new.click()
    assert hints.view.message.text().startswith("Paint a few strokes")
    window.layers.clear()
    hints.view.run.click()
    assert hints.view.message.text().startswith("Open a CT first")


def test_erasing_all_strokes_brings_the_model_s_colors_back(panel, window, qtbot):
    panel.run()
    qtbot.waitUntil(lambda: panel.coloring is not None and not panel.running)
    first = panel.coloring.chroma
    hints = HintsPanel(window)
    window.window.add_dock_widget(hints, name="Color hints")
    strokes = paint(hints, "spleen")
    run(hints, qtbot)
    strokes.data[...] = 0
    assert run(hints, qtbot).startswith("There are no strokes any more")
    assert panel.coloring.chroma is first
    assert BEFORE_KEY not in panel.coloring.layer.metadata
    assert run(hints, qtbot).startswith("There are no strokes: paint some first")
    hints.release()


def test_values_taken_as_hu_can_be_painted_on(panel, window, qtbot, small_ct):
    window.layers.clear()
    window.add_layer(Layer.create(*volume_layer(replace(small_ct, unit="unknown"), "claimed")))
    panel.run()
    panel.view.override.claim.setChecked(True)
    panel.run()
    qtbot.waitUntil(lambda: panel.coloring is not None and not panel.running)
    hints = HintsPanel(window)
    window.window.add_dock_widget(hints, name="Color hints")
    paint(hints, "spleen")
    assert run(hints, qtbot) == "Strokes applied."
    hints.release()


def test_a_cancel_changes_nothing(hints, window, qtbot, monkeypatch):
    from tomochrome.runtime import check

    def slow(*_, **__):
        while True:
            check()

    monkeypatch.setattr("tomochrome.colorization.hints.apply_hints", slow)
    paint(hints, "liver")
    hints.view.run.click()
    hints.view.cancel.click()
    qtbot.waitUntil(lambda: not hints.running)
    assert hints.view.message.text() == "Cancelled; nothing was changed."
    assert not Coloring.find(window)
