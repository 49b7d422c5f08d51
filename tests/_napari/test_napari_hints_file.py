"""Strokes on an oblique CT, saved from the window and spread by the command line."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels, Layer
from napari.layers._layer_actions import _convert_to_labels
from qtpy.QtGui import QColor
from register_cases import body, oblique

from tomochrome import io
from tomochrome._napari.hints.hints_panel import HintsPanel
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.cli import main
from tomochrome.tissue import Tissue

pytestmark = pytest.mark.gui


def stored_in(volume, axes):
    """The same patient stored along other axes, the second backwards."""
    voxels = np.ascontiguousarray(volume.voxels.transpose(axes)[:, ::-1])
    affine = volume.affine[:, [*axes, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (voxels.shape[1] - 1)
    affine[:3, 1] *= -1
    return replace(volume, voxels=voxels, affine=affine)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_strokes_saved_in_napari_keep_their_voxels(window, tmp_path, monkeypatch, capfd, axes):
    plain = body(affine=oblique())
    noise = np.random.default_rng(4).integers(-400, 400, plain.shape)  # tells voxels apart
    inside = plain.voxels > -200
    scan = replace(plain, voxels=np.where(inside, 500 + noise, plain.voxels).astype(np.int16))
    path, file, out = (tmp_path / name for name in ("ct.nii.gz", "strokes.nii.gz", "c.nii.gz"))
    io.write(stored_in(scan, axes), path)

    prepare_viewer(window)
    ct = window.add_layer(Layer.create(*volume_layer(io.read(path), "scan")))
    panel = HintsPanel(window)
    dialog = "tomochrome._napari.hints.hints_panel.QColorDialog.getColor"
    monkeypatch.setattr(dialog, lambda **_: QColor("#2040c0"))
    panel.view.color.click()
    strokes = panel.view.strokes.layer()
    own = int(strokes.selected_label)
    places = {own: np.s_[5:7, 14:17, 20:26], int(Tissue.LIVER): np.s_[8, 22:25, 9:14]}
    under = {}
    for label, place in places.items():
        strokes.data[place] = label
        under[label] = np.sort(np.asarray(ct.data)[place], axis=None)
        assert under[label].min() > 0  # all in the body
    window.layers.selection = {strokes}
    assert window.layers.save(str(file), selected=True) == [str(file)]
    panel.release()
    upright = source_of(ct.metadata).shown
    window.layers.clear()

    command = ["colorize", path, "-o", out, "--model", "none", "--hints", file]
    command += ["--window", "500/1200"]  # what is white has no color
    assert main([*map(str, command), "--hint", f"{own}=#2040c0", "--json"]) == 0
    assert "outside the body" not in capfd.readouterr().out
    ct_file, label_file, colors = (nib.load(name) for name in (path, file, out))
    for image in (label_file, colors):  # on the very grid of the oblique CT
        np.testing.assert_allclose(image.affine, ct_file.affine, atol=1e-4)
    hu, labels = (np.asarray(image.dataobj) for image in (ct_file, label_file))
    rgba = np.asarray(colors.dataobj)
    for label, place in places.items():
        at = labels == label
        np.testing.assert_array_equal(np.sort(hu[at], axis=None), under[label])
        # and by the affines: where the strokes were painted in the patient, RAS mm
        index = np.stack(np.meshgrid(*(np.arange(99)[s] for s in place), indexing="ij"), -1)
        index = index.reshape(-1, 3)
        lps = index @ upright.affine[:3, :3].T + upright.affine[:3, 3]
        ras = np.argwhere(at) @ label_file.affine[:3, :3].T + label_file.affine[:3, 3]
        np.testing.assert_allclose(
            np.sort(ras * [-1, -1, 1], axis=0), np.sort(lps, axis=0), atol=0.01
        )
    blue, liver = rgba[labels == own], rgba[labels == Tissue.LIVER]
    assert (blue["B"] > blue["R"] + 0.0).mean() > 0.8
    assert (liver["R"] > liver["B"] + 0.0).mean() > 0.8


@pytest.mark.filterwarnings("ignore:projection mode:UserWarning")  # napari's own
def test_strokes_saved_in_napari_are_converted_to_labels_and_applied(window, tmp_path, qtbot):
    prepare_viewer(window)
    ct = window.add_layer(Layer.create(*volume_layer(body(), "scan")))
    panel = HintsPanel(window)
    panel.view.new.click()
    strokes = panel.view.strokes.layer()
    strokes.data[7, 18:22, 16:20] = painted = int(Tissue.LIVER)
    window.layers.selection = {strokes}
    window.layers.save(str(tmp_path / "strokes.nii.gz"), selected=True)
    window.layers.remove(strokes)
    opened = window.add_layer(Layer.create(*volume_layer(io.read(tmp_path / "strokes.nii.gz"))))
    window.layers.selection.active = opened
    _convert_to_labels(window.layers)  # napari's entry "Convert to Labels" in the layer list
    labels = window.layers[-1]
    assert isinstance(labels, Labels)
    panel.view.layer.choose(ct)
    panel.view.strokes.choose(labels)
    panel.view.run.click()
    qtbot.waitUntil(lambda: not panel.running)
    assert panel.view.message.text() == "Strokes applied."
    colored = panel.view.colored.layer()
    assert source_of(colored.metadata).chroma.tissue[7, 20, 18] == painted
    panel.release()
    window.layers.clear()
