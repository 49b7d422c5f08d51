"""Texts of the panel and the status bar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from colorize_panel_cases import TITLE, colorize, lit
from napari.layers import Image, Layer
from qtpy.QtWidgets import QLabel
from quick_colorize import simple_colorize

from tomochrome._napari.kit.choice_boxes import NamedChoice, device_choices
from tomochrome._napari.kit.controls import ScrollColumn
from tomochrome._napari.layers.volume_layers import layer_transform, volume_layer
from tomochrome._napari.viewer.readout import IN_3D, Readout, tissue_at, value_at
from tomochrome.color.codes import FreeColors
from tomochrome.tissue import Tissue

pytestmark = pytest.mark.gui


def test_not_for_diagnosis_and_the_model_are_always_in_sight(panel, qtbot):
    assert panel.view.caution.isVisible()
    assert "Not for diagnosis" in panel.view.caution.text()
    colorize(panel, qtbot)
    assert TITLE in panel.view.caution.text()
    bar = panel.viewer.window._qt_window.statusBar()
    mark = bar.findChild(QLabel, "tomochrome-not-for-diagnosis")
    assert mark.isVisible()
    assert mark.text() == f"Colors by {TITLE}: not for diagnosis"
    panel.viewer.layers.remove(panel.view.layer.layer())  # the colored layer is still there
    assert mark.text() == f"Colors by {TITLE}: not for diagnosis"
    panel.viewer.layers.clear()
    assert mark.text() == ""
    assert "Not for diagnosis" in panel.view.caution.text()


def readout(panel):
    return panel.view.readout.finding.text(), panel.view.readout.certainty.text()


def test_the_readout_names_value_tissue_probability_and_confidence(panel, qtbot):
    coloring = colorize(panel, qtbot)
    z, y, x = 6, 24, 20
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, y, x))
    assert readout(panel) == ("700 HU · Cortical bone", "Probability 90 % · Confidence 80 %")
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, 0, 0))
    assert readout(panel) == ("-1000 HU", "")
    panel.viewer.cursor.position = (1e4, 0, 0)
    assert readout(panel) == ("Point at a voxel to see its value", "")


def test_the_readout_says_that_3d_has_no_values(panel, qtbot):
    colorize(panel, qtbot)
    panel.viewer.dims.ndisplay = 3
    assert readout(panel) == (IN_3D, "")
    panel.viewer.dims.ndisplay = 2
    assert readout(panel)[0] != IN_3D


def test_the_readout_follows_the_slice_under_a_cursor_at_rest(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    panel.viewer.cursor.position = layer.data_to_world((6, 24, 20))
    panel.viewer.dims.set_point(0, layer.data_to_world((9, 24, 20))[0])
    layer.data.volume.voxels[9, 24, 20] = 512
    panel.viewer.dims.set_point(0, layer.data_to_world((8, 24, 20))[0])
    assert readout(panel)[0].startswith("700 HU")
    panel.viewer.dims.set_point(0, layer.data_to_world((9, 24, 20))[0])
    assert readout(panel)[0].startswith("512 HU")


def test_another_scan_or_none_leaves_no_stale_text(panel, qtbot, small_ct):
    coloring = colorize(panel, qtbot)
    ct = panel.view.layer.layer()
    panel.viewer.cursor.position = coloring.layer.data_to_world((6, 24, 20))
    assert panel.view.message.text()
    other = panel.viewer.add_layer(Layer.create(*volume_layer(small_ct, "other")))
    panel.view.layer.choose(other)
    assert panel.view.message.text() == ""
    assert not panel.view.readout.isVisible()
    assert not panel.view.tissues.isVisible()
    assert panel.view.caution.text() == "Not for diagnosis"
    panel.view.layer.choose(ct)
    assert panel.view.readout.isVisible()
    assert readout(panel)[0].startswith("700 HU")
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=60_000)
    panel.viewer.layers.clear()
    assert panel.view.message.text() == ""
    assert readout(panel) == ("Point at a voxel to see its value", "")


def test_an_error_disappears_with_its_layer(panel, qtbot):
    flat = panel.viewer.add_layer(Image(np.zeros((30, 30), np.int16), name="flat"))
    panel.view.layer.choose(flat)
    panel.run()
    assert "'flat'" in panel.view.message.text()
    panel.viewer.layers.remove(flat)
    assert panel.view.message.text() == ""


def test_the_status_bar_reads_the_chosen_scan_where_two_overlap(panel, qtbot, small_ct):
    ct = panel.view.layer.layer()
    other = volume_layer(small_ct.with_voxels(small_ct.voxels // 2), "other")
    above = panel.viewer.add_layer(Layer.create(*other))
    here = ct.data_to_world((6, 24, 20))
    panel.viewer.layers.selection.active = above
    assert value_at(panel.viewer.layers, here) == "350 HU"
    panel.viewer.layers.selection.active = ct
    assert value_at(panel.viewer.layers, here) == "700 HU"


def test_the_label_under_the_cursor_is_named(panel, small_ct):
    ct, viewer = panel.view.layer.layer(), panel.viewer
    here, beside = (ct.data_to_world(voxel) for voxel in ((6, 24, 20), (6, 2, 2)))
    code = np.zeros(small_ct.shape, np.uint8)
    code[6, 24, 20] = Tissue.LIVER
    labels = viewer.add_labels(code, name="organs", **layer_transform(ct))
    assert tissue_at(viewer.layers, here) == f"700 HU\norgans: {int(Tissue.LIVER)}"
    labels.features = {"index": [0, int(Tissue.LIVER)], "tissue": ["none", "Liver"]}
    assert tissue_at(viewer.layers, here) == "700 HU\norgans: Liver"
    assert tissue_at(viewer.layers, beside) == "-1000 HU"
    labels.visible = False
    assert tissue_at(viewer.layers, here) == "700 HU"


def test_titles_are_shown_and_ids_are_used_in_files(panel, qtbot):
    model = panel.view.model
    assert [model.itemText(0), model.itemData(0)] == [TITLE, "tissue"]
    assert model.toolTip().startswith("tissue: names the tissue of each voxel")
    coloring = colorize(panel, qtbot)
    assert coloring.layer.name == f"{panel.view.layer.layer().name} · {TITLE}"
    assert coloring.chroma.model == "tissue"
    alpha = panel.view.color.alpha_box
    assert [alpha.itemText(i) for i in range(alpha.count())] == ["Body", "Opaque"]
    assert panel.view.device.itemText(0) == "Automatic"


def test_a_name_not_offered_yet_is_chosen_once_it_is_offered(qtbot):
    box = NamedChoice(device_choices(["auto"]))
    qtbot.addWidget(box)
    box.choose("cuda")
    assert box.name == "auto"
    box.offer(device_choices(["auto", "cpu", "cuda"]))
    assert box.name == "cuda"
    box.choose("mps")
    box.choose("cpu")  # the last choice counts
    box.offer(device_choices(["auto", "cpu", "mps"]))
    assert box.name == "cpu"
    box.offer(device_choices(["auto"]))
    assert box.name == "auto"


def test_in_3d_nothing_is_read_at_the_cursor(panel, qtbot):
    layer = colorize(panel, qtbot).layer
    bar = Readout(panel.viewer)
    qtbot.addWidget(bar)
    panel.viewer.cursor.position = layer.data_to_world((6, 24, 20))
    assert bar.text() == "700 HU"
    panel.viewer.dims.ndisplay = 3
    try:
        assert bar.text() == ""
        assert readout(panel)[1] == ""
    finally:
        panel.viewer.dims.ndisplay = 2


def test_nothing_is_cut_off_at_the_right(panel, qtbot):
    """The dock was 40 pixels narrower than the fields, whose style comes later."""
    (scroll,) = panel.findChildren(ScrollColumn)
    colorize(panel, qtbot)
    qtbot.waitUntil(
        lambda: scroll.viewport().width() >= panel.view.minimumSizeHint().width(), timeout=5000
    )


def test_a_model_that_gives_colors_has_no_legend_and_no_palette(panel, qtbot, monkeypatch):
    """Tissue fields are hidden or disabled for models that predict no tissues."""

    def free(*args, **kwargs):
        table = np.array([[0, 0], [5, 20], [40, 20], [0, 10]], np.float32)
        return replace(simple_colorize(*args, **kwargs), table=FreeColors(table))

    palette = panel.view.color.palette_box
    coloring = colorize(panel, qtbot)
    coloring.layer.data.settings = coloring.layer.data.settings.replace(tissues="fat")
    panel.view.legend.set_selection(coloring.layer.data.settings.tissues)
    with monkeypatch.context() as patch:
        patch.setattr("tomochrome.colorization.colorize", free)
        coloring = colorize(panel, qtbot)
    assert not panel.view.tissues.isVisible()
    assert not palette.isEnabled()
    assert coloring.layer.data.settings.tissues.is_all
    z, y, x = 6, 24, 20
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, y, x))
    assert readout(panel) == ("700 HU · a* 0, b* 10", "Confidence 80 %")
    panel.viewer.cursor.position = coloring.layer.data_to_world((z, 0, 0))
    assert readout(panel) == ("-1000 HU", "")
    panel.view.color.saturation_row.set_value(50)
    panel._relight()
    expected = lit(panel, panel.view.window.window, saturation=0.5)
    np.testing.assert_array_equal(np.asarray(coloring.layer.data), expected)
    colorize(panel, qtbot)
    assert panel.view.tissues.isVisible()
    assert palette.isEnabled()
