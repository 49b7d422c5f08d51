"""The legend: tissues, colors and fractions; selecting, dimming and hiding without a new run."""

from __future__ import annotations

import numpy as np
import pytest
from colorize_panel_cases import colorize, lit, on_screen
from napari.layers import Layer
from qtpy.QtCore import QEvent, QItemSelectionModel, Qt

from tomochrome._napari.colorize.legend import (
    BODY_COLUMN,
    NAME_COLUMN,
    PLANE_COLUMN,
    SHOWN_COLUMN,
    Legend,
    percent,
)
from tomochrome._napari.layers.volume_layers import volume_layer
from tomochrome.color import TissueSelection
from tomochrome.color.palettes import palette
from tomochrome.tissue import N_TISSUES, Tissue

pytestmark = pytest.mark.gui

WINDOW = "default"


def row_of(panel, name):
    (row,) = [row for row in panel.view.legend.list.rows() if row.tissue.label == name]
    return row


def click(qtbot, panel, name, column=NAME_COLUMN, modifier=Qt.KeyboardModifier.NoModifier):
    """Click into a row as a user does."""
    tree = panel.view.legend.list
    at = tree.visualItemRect(row_of(panel, name)).center()
    at.setX(tree.columnViewportPosition(column) + 11)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, modifier, at)


@pytest.fixture
def colored(panel, qtbot, monkeypatch):
    """The panel over a colored scan that cannot be run again."""
    colorize(panel, qtbot)
    monkeypatch.setattr(panel, "run", None)
    panel.view.tissues.heading.setChecked(True)
    return panel


def shows(panel, qtbot, **settings):
    """Wait until the layer equals the core's result for a selection."""
    expected = lit(panel, WINDOW, **settings)
    layer = panel.coloring.layer
    z = panel.viewer.dims.current_step[0]
    qtbot.waitUntil(lambda: np.array_equal(on_screen(layer), expected[z]), timeout=5000)
    np.testing.assert_array_equal(np.asarray(layer.data), expected)


def test_tissues_present_are_listed_largest_first(colored):
    rows = colored.view.legend.list.rows()
    shares = colored.coloring.chroma.tissue_shares()
    assert [row.tissue.label for row in rows] == sorted(
        ("fat", "liver", "cortical-bone"), key=lambda name: -shares[_index(name)]
    )
    for row in rows:
        assert row.text(NAME_COLUMN) == row.tissue.title
        assert row.text(BODY_COLUMN) == percent(shares[row.tissue])
        color = row.icon(NAME_COLUMN).pixmap(14, 14).toImage().pixelColor(7, 7)
        assert color.getRgb()[:3] == tuple(palette("natural").rgb[row.tissue])


def _index(name):
    return [tissue.label for tissue in Tissue].index(name)


def test_the_fractions_of_the_slice_follow_the_plane(colored, qtbot):
    dims, chroma = colored.viewer.dims, colored.coloring.chroma

    def follows(slices):
        expected = [percent(share) for share in chroma.tissue_shares(slices)]
        rows = colored.view.legend.list.rows()
        qtbot.waitUntil(
            lambda: all(row.text(PLANE_COLUMN) == expected[row.tissue] for row in rows),
            timeout=5000,
        )

    try:
        dims.set_current_step(0, 3)
        follows(3)
        dims.order = (1, 0, 2)
        dims.set_current_step(1, 8)
        follows((slice(None), 8))
        dims.ndisplay = 3
        rows = colored.view.legend.list.rows()
        qtbot.waitUntil(lambda: all(row.text(PLANE_COLUMN) == "" for row in rows), timeout=5000)
    finally:
        dims.ndisplay, dims.order = 2, (0, 1, 2)


def test_clicks_select_add_hide_and_show_all_without_a_new_run(colored, qtbot):
    legend = colored.view.legend
    shows(colored, qtbot)
    click(qtbot, colored, "liver")
    shows(colored, qtbot, tissues=TissueSelection.only(["liver"], "dim"))
    legend.others.setCurrentIndex(2)
    shows(colored, qtbot, tissues=["liver"])
    click(qtbot, colored, "fat", modifier=Qt.KeyboardModifier.ControlModifier)
    shows(colored, qtbot, tissues=["liver", "fat"])
    click(qtbot, colored, "fat")
    shows(colored, qtbot, tissues=["fat"])
    click(qtbot, colored, "fat")  # once more
    shows(colored, qtbot)
    click(qtbot, colored, "fat", column=SHOWN_COLUMN)
    assert not legend.list.selectedItems()
    shows(colored, qtbot, tissues={"fat": "hide"})
    assert legend.all.isEnabled()
    qtbot.mouseClick(legend.all, Qt.MouseButton.LeftButton)
    shows(colored, qtbot)
    assert not legend.all.isEnabled()


def test_the_keyboard_reaches_everything(colored, qtbot):
    tree = colored.view.legend.list
    first, second = tree.rows()[:2]
    tree.setCurrentItem(first)
    assert [row.isSelected() for row in (first, second)] == [True, False]
    qtbot.keyClick(tree, Qt.Key.Key_Down)
    assert colored.view.legend.selection == TissueSelection.only([second.tissue], "dim")
    qtbot.keyClick(tree, Qt.Key.Key_Space)
    assert colored.view.legend.selection.mode(second.tissue) == "hide"
    qtbot.keyClick(tree, Qt.Key.Key_Escape)
    assert colored.view.legend.selection.is_all
    shows(colored, qtbot)
    focusable = (tree, colored.view.legend.others, colored.view.legend.all)
    assert all(widget.focusPolicy() & Qt.FocusPolicy.TabFocus for widget in focusable)


def test_the_only_selected_row_is_cleared_whatever_class_the_event_has(colored, qtbot):
    tree = colored.view.legend.list
    click(qtbot, colored, "liver")
    index = tree.indexFromItem(row_of(colored, "liver"), NAME_COLUMN)
    press = QEvent(QEvent.Type.MouseButtonPress)
    assert tree.selectionCommand(index, press) == QItemSelectionModel.SelectionFlag.Clear


def test_another_palette_changes_the_swatches_and_keeps_the_selection(colored, qtbot):
    colored.view.color.offer(("natural", "vivid"), ("body",))
    click(qtbot, colored, "liver")
    colored.view.color.palette_box.choose("vivid")
    shows(colored, qtbot, palette="vivid", tissues=TissueSelection.only(["liver"], "dim"))
    color = row_of(colored, "liver").icon(NAME_COLUMN).pixmap(14, 14).toImage().pixelColor(7, 7)
    assert color.getRgb()[:3] == tuple(palette("vivid").rgb[Tissue.LIVER])


def test_each_scan_has_its_own_selection_and_none_has_no_legend(colored, qtbot, small_ct):
    scan = colored.view.layer.layer()
    click(qtbot, colored, "liver")
    shows(colored, qtbot, tissues=TissueSelection.only(["liver"], "dim"))
    other = colored.viewer.add_layer(Layer.create(*volume_layer(small_ct, "other")))
    colored.view.layer.choose(other)
    assert not colored.view.tissues.isVisible()
    colored.view.layer.choose(scan)
    assert colored.view.legend.selection == TissueSelection.only(["liver"], "dim")
    shows(colored, qtbot, tissues=TissueSelection.only(["liver"], "dim"))


@pytest.mark.parametrize(
    "tissues",
    [
        TissueSelection(),
        TissueSelection(hidden={Tissue.FAT}),
        TissueSelection.only(["fat", "liver"]),
        TissueSelection.only(["fat"], "dim"),
    ],
)
def test_a_selection_is_shown_unchanged(qtbot, tissues):
    legend = Legend()
    qtbot.addWidget(legend)
    shares = np.zeros(N_TISSUES)
    shares[[Tissue.FAT, Tissue.LIVER, Tissue.SPLEEN]] = 0.5, 0.3, 0.2
    legend.set_shares(shares, "natural")
    legend.set_selection(tissues)
    assert legend.selection == tissues
    shares[Tissue.LIVER] = 0
    legend.set_shares(shares, "natural")  # another run found no liver
    assert all(row.tissue != Tissue.LIVER for row in legend.list.rows())


def test_the_list_is_high_enough_for_its_rows(qtbot):
    legend = Legend()
    qtbot.addWidget(legend)
    legend.show()
    legend.set_shares(np.arange(N_TISSUES) * (np.arange(N_TISSUES) < 6) / 15, "natural")
    tree = legend.list
    assert len(tree.rows()) == 5
    assert tree.visualItemRect(tree.rows()[-1]).bottom() < tree.viewport().height()


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "–"),
        (0.0004, "<0.1 %"),
        (0.004, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.48, "48 %"),
        (1, "100 %"),
    ],
)
def test_fractions_are_rounded_to_significant_digits(share, text):
    assert percent(share) == text


@pytest.fixture
def in_3d(colored, qtbot):
    """The panel with the scan in 3D."""
    colored.viewer.dims.ndisplay = 3
    yield colored
    colored.viewer.dims.ndisplay = 2


def test_a_click_isolates_in_3d_and_the_others_are_as_the_box_says(in_3d, qtbot):
    """Before, "Dim others" left the outer tissues opaque, and "Grey others" hid them."""
    layer, legend = in_3d.coloring.layer, in_3d.view.legend
    chroma = in_3d.coloring.chroma
    liver, fat = chroma.tissue == Tissue.LIVER, chroma.tissue == Tissue.FAT

    def drawn_with(mode):
        selection = TissueSelection.only(["liver"], mode)
        data = layer.data
        qtbot.waitUntil(lambda: data.settings.tissues == selection and data.is_rendered)
        return data.drawn

    def opacity(drawn, mask):
        index = np.rint((np.argwhere(mask) - drawn.offset) / drawn.steps).astype(int)
        inside = ((index >= 0) & (index < drawn.rgba.shape[:3])).all(axis=1)
        return np.where(inside, drawn.rgba[(*np.where(inside[:, None], index, 0).T, 3)], 0)

    click(qtbot, in_3d, "liver")
    for index, mode in enumerate(("dim", "grey", "hide")):
        legend.others.setCurrentIndex(index)
        assert legend.others.currentText().lower().startswith(mode)
        drawn = drawn_with(mode)
        assert opacity(drawn, liver).max() > 220
        others = opacity(drawn, fat)
        far = others[others < 80]
        assert np.median(others) < 60
        if mode == "hide":
            assert (far == 0).any()  # the smooth edge of the liver reaches two voxels
        else:
            assert (far > 0).mean() > 0.5
    qtbot.mouseClick(legend.all, Qt.MouseButton.LeftButton)
