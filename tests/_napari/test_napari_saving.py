"""napari's File > Save with layers of this plugin works, or shows one helpful sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.plugins._npe2 import file_extensions_string_for_layers
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog, QMessageBox

from tomochrome import io
from tomochrome._napari.export.layer_writers import layer_volume
from tomochrome._napari.layers.volume_layers import (
    color_layer,
    layer_transform,
    source_of,
    volume_layer,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer

pytestmark = pytest.mark.gui


@pytest.fixture
def layers(window, small_ct):
    """A viewer with a CT whose name has a dot, the same in color, and labels over it."""
    from napari.layers import Layer

    from tomochrome.color import Lighting, LitVolume
    from tomochrome.colorization import colorize

    prepare_viewer(window)
    ct = window.add_layer(Layer.create(*volume_layer(small_ct, "Thorax 1.5 mm")))
    known = source_of(ct.metadata)
    chroma = colorize(known.shown, "transfer-function")
    lit = LitVolume(known.shown, chroma, Lighting())
    color = window.add_layer(
        Layer.create(
            *color_layer(
                lit,
                replace(known, role="color", chroma=chroma),
                layer_transform(ct),
                "Thorax 1.5 mm, tissue",
            )
        )
    )
    labels = np.zeros(known.shown.shape, np.uint8)
    labels[3:5, 10:20, 8:30] = 2
    labels = window.add_labels(labels, name="lesion", **layer_transform(ct))
    yield {"ct": ct, "color": color, "labels": labels}
    window.layers.clear()


def choose_in_dialog(monkeypatch, path, filter_index):
    """Let napari's save dialog return a name and one of its filters."""
    offered = []

    def answer(*_args, filter="", **_kwargs):
        offered.extend(filter.split(";;"))
        return str(path), offered[filter_index]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    return offered


def save(window, *chosen):
    window.layers.selection = set(chosen)
    before = len(notification_manager.records)
    window.window._qt_viewer._save_layers_dialog(selected=True)
    return [str(n.message) for n in notification_manager.records[before:]]


@pytest.mark.parametrize("kind", ["ct", "color"])
@pytest.mark.parametrize("name", ["plain", "Thorax 1.5 mm"])
def test_the_default_filter_and_a_name_without_ending(
    window, layers, monkeypatch, tmp_path, kind, name, small_ct
):
    choose_in_dialog(monkeypatch, tmp_path / name, 0)
    (said,) = save(window, layers[kind])
    assert said == f"Saved as '{name}.nii.gz'."
    saved = io.read(tmp_path / f"{name}.nii.gz")
    np.testing.assert_allclose(saved.affine, small_ct.affine, atol=1e-3)
    assert saved.is_rgba == (kind == "color")
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.nii.gz"]


@pytest.mark.parametrize("kind", ["ct", "color", "labels"])
def test_every_filter_of_the_plugin_completes_the_name(window, layers, monkeypatch, tmp_path, kind):
    _, writers = file_extensions_string_for_layers([layers[kind]])
    ours = [i for i, w in enumerate(writers) if w.plugin_name == "napari-tomochrome"]
    assert len(ours) == {"ct": 9, "color": 9, "labels": 4}[kind]
    pictures = {".png", ".mp4", ".gif", ".html"}  # of colored volumes only
    for index in ours:
        choose_in_dialog(monkeypatch, tmp_path / f"Thorax 1.5 mm {index}", index)
        said = save(window, layers[kind])
        refused = kind == "ct" and bool(pictures & set(writers[index].filename_extensions))
        assert len(said) == refused, said
    names = sorted("".join(p.suffixes[1:]) for p in tmp_path.iterdir())
    expected = [".nii.gz"] * 2 + [".nrrd", ".zarr"]
    if kind != "labels":
        expected.append("")  # the series is a folder
    if kind == "color":
        expected += pictures
    assert names == sorted(expected)
    if kind != "labels":
        series = next(p for p in tmp_path.iterdir() if p.is_dir() and p.suffix != ".zarr")
        assert len(list(series.glob("*.dcm"))) == 12


def test_labels_over_a_scan_are_saved_at_its_place(window, layers, tmp_path, small_ct):
    window.layers.selection = {layers["labels"]}
    window.layers.save(str(tmp_path / "lesion.nii.gz"), selected=True)
    saved = io.read(tmp_path / "lesion.nii.gz")
    np.testing.assert_array_equal(np.asarray(saved.voxels), layers["labels"].data)
    np.testing.assert_allclose(saved.affine, small_ct.affine, atol=1e-3)


def test_several_layers_become_a_file_each(window, layers, monkeypatch, tmp_path):
    offered = choose_in_dialog(monkeypatch, tmp_path / "case 7", 0)
    assert save(window, *layers.values()) == []
    assert offered[0].startswith("Tomochrome NIfTI, one file for each layer")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "case 7 - Thorax 1.5 mm, tissue.nii.gz",
        "case 7 - Thorax 1.5 mm.nii.gz",
        "case 7 - lesion.nii.gz",
    ]


def test_unsuitable_data_for_a_format_gives_a_message(window, layers, monkeypatch, tmp_path):
    """The SVG writer holds no volumes, and a contact sheet no grey ones."""
    texts, writers = file_extensions_string_for_layers([layers["ct"]])
    choose_in_dialog(monkeypatch, tmp_path / "a.svg", texts.split(";;").index("napari SVG (*.svg)"))
    (said,) = save(window, layers["ct"])
    assert said.startswith("'a.svg' cannot be saved in this format; choose NIfTI")
    sheet = next(i for i, w in enumerate(writers) if w.display_name == "Contact sheet")
    choose_in_dialog(monkeypatch, tmp_path / "b", sheet)
    (said,) = save(window, layers["ct"])
    assert said.startswith("A contact sheet (.png) needs a colored volume")


def test_a_completed_name_asks_before_it_replaces(window, layers, monkeypatch, tmp_path):
    (tmp_path / "a.nii.gz").write_text("precious")
    asked = []

    def no(*args):
        asked.append(args[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    choose_in_dialog(monkeypatch, tmp_path / "a", 0)
    assert save(window, layers["color"]) == []
    assert asked == ["'a.nii.gz' already exists. Replace it?"]
    assert (tmp_path / "a.nii.gz").read_text() == "precious"


def test_a_script_gets_the_same_and_errors(window, layers, tmp_path):
    window.layers.selection = {layers["color"]}
    for name in ("a", "Thorax 1.5 mm", "series/"):
        window.layers.save(f"{tmp_path}/{name}", selected=True)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["Thorax 1.5 mm.nii.gz", "a.nii.gz", "series"]
    window.layers.save(str(tmp_path / "a.tif"), selected=True)
    assert (tmp_path / "a.tif").exists()
    with pytest.raises(Exception, match="does not exist"):
        window.layers.save(str(tmp_path / "no" / "a.nii.gz"), selected=True)


def test_layers_of_other_plugins_are_saved_by_napari(window, monkeypatch, tmp_path):
    prepare_viewer(window)
    other = window.add_image(np.zeros((7, 8, 9), np.uint8), name="cells")
    try:
        window.layers.selection = {other}
        assert window.layers.save(str(tmp_path / "cells"), selected=True)
        assert [p.name for p in tmp_path.iterdir()] == ["cells.tif"]
        choose_in_dialog(monkeypatch, tmp_path / "cells 1.5", 0)
        with pytest.raises((OSError, UserWarning), match="save"):
            window.window._qt_viewer._save_layers_dialog(selected=True)
    finally:
        window.layers.clear()


def test_the_legend_choice_of_tissues_is_saved(layers):
    """Tissues hidden in the viewer are hidden in the file."""
    data = layers["color"].data
    data.settings = data.settings.replace(tissues="fat")
    meta = {"metadata": layers["color"].metadata}
    saved = layer_volume(data, meta)
    np.testing.assert_array_equal(np.asarray(saved.voxels), np.asarray(data))
    assert Path(saved.provenance.source).name == "small"
