"""The "Export" panel: all formats of the command line, also for maps, in a worker."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from napari.layers import Labels
from PIL import Image
from qtpy.QtWidgets import QFileDialog, QMessageBox

from tomochrome import io
from tomochrome._napari.colorize.colored_reader import get_reader
from tomochrome._napari.colorize.coloring import Coloring
from tomochrome._napari.export import export_panel as export_module
from tomochrome._napari.export.export_panel import ExportPanel
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.layers.volume_layers import (
    MEASUREMENTS,
    METADATA_KEY,
    REGIONS,
    source_of,
)
from tomochrome._napari.viewer.measure_labels import LabelMeasuring
from tomochrome._napari.viewer.measure_shapes import COLUMN, Measuring
from tomochrome._napari.viewer.readout import MEASURED
from tomochrome.color import Chroma, Lighting, TissueSelection
from tomochrome.colorization.tables import tissue_table
from tomochrome.errors import ExistsError
from tomochrome.formats import (
    COLORED_SCAN,
    DICOM,
    FORMATS,
    LOOK_FORMATS,
    NIFTI,
    NRRD,
    PAGE,
    PLY,
    SHEET,
    TISSUE_FORMATS,
)
from tomochrome.io.dicom import write_series
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume

pytestmark = pytest.mark.gui


@pytest.fixture
def exporting(panel, window, qtbot):
    """The colored small CT, and the panel opened by the button of Colorize volume."""
    panel.run()
    qtbot.waitUntil(lambda: panel.coloring is not None and not panel.running, timeout=30_000)
    panel.view.export.click()
    (export,) = window.window._qt_window.findChildren(ExportPanel)
    yield export
    export.release()


def choose(export, part, output):
    labels = [choice.part for choice in export.choices]
    export.view.content.setCurrentIndex(labels.index(part))
    export.view.format.setCurrentIndex(export.view.format.findData(output))
    assert export.chosen_format is output


def run(export, qtbot):
    export.view.run.click()
    qtbot.waitUntil(lambda: not export.running, timeout=30_000)
    return export.view.message.text()


@pytest.mark.parametrize("output", FORMATS, ids=lambda f: f.name)
def test_the_colored_volume_in_every_format(exporting, panel, qtbot, tmp_path, output, small_ct):
    assert exporting.choice.layer is panel.coloring.layer
    choose(exporting, "layer", output)
    exporting.view.path.setText(str(tmp_path / "out 1.5"))
    assert run(exporting, qtbot) == f"Saved {output.complete(str(tmp_path / 'out 1.5'))}"
    if output is DICOM:
        files = sorted((tmp_path / "out 1.5").iterdir())
        first = pydicom.dcmread(files[0])
        assert (len(files), first.SOPClassUID.name) == (12, "Secondary Capture Image Storage")
    elif output in (NIFTI, NRRD):
        saved = io.read(tmp_path / f"out 1.5{output.ending}")
        assert saved.is_rgba
        np.testing.assert_allclose(saved.affine, small_ct.affine, atol=1e-3)


def test_the_maps_of_a_colored_layer(exporting, panel, qtbot, tmp_path):
    for part, values in (
        ("tissue map", panel.coloring.chroma.tissue),
        ("confidence map", panel.coloring.chroma.confidence / np.float32(255)),
    ):
        choose(exporting, part, NRRD)
        assert exporting.view.format.findData(SHEET) == exporting.view.format.findData(DICOM) == -1
        exporting.view.path.setText(str(tmp_path / part))
        run(exporting, qtbot)
        saved = np.asarray(io.read(tmp_path / f"{part}.nrrd").voxels)
        np.testing.assert_allclose(saved, values, atol=1e-6)


@pytest.mark.parametrize("output", TISSUE_FORMATS, ids=lambda f: f.name)
def test_the_tissue_map_as_segmentation_and_surfaces(exporting, panel, qtbot, tmp_path, output):
    choose(exporting, "tissue map", output)
    exporting.view.path.setText(str(tmp_path / "t"))
    assert run(exporting, qtbot) == f"Saved {tmp_path / 't'}{output.ending}"
    assert (tmp_path / f"t{output.ending}").stat().st_size > 1000
    assert not exporting.view.join.isVisibleTo(exporting)  # the scan is no DICOM series


def test_surfaces_are_those_of_the_tissues_that_are_shown(exporting, panel, qtbot, tmp_path):
    present = set(np.unique(panel.coloring.chroma.tissue)) - {Tissue.AIR}
    assert Tissue.EYE not in present
    choose(exporting, "tissue map", PLY)
    exporting.view.path.setText(str(tmp_path / "t"))
    panel.coloring.relight({"tissues": TissueSelection.only([Tissue.FAT.label])})
    run(exporting, qtbot)
    names = (tmp_path / "t.ply").read_bytes().split(b"\n")[3]
    assert names == b"comment Fat"
    panel.coloring.relight({"tissues": TissueSelection.only([Tissue.EYE.label])})
    exporting.view.path.setText(str(tmp_path / "none"))
    message = run(exporting, qtbot)
    assert "none of the chosen tissues (eye)" in message
    assert not (tmp_path / "none.ply").exists()


def test_a_tissue_too_small_for_a_surface_is_named(exporting, panel, qtbot, tmp_path):
    chroma = panel.coloring.chroma
    code = chroma.tissue.astype(np.uint16)
    code[6, 24, 30] = Tissue.EYE
    colors = replace(chroma, code=code, table=np.eye(N_TISSUES, dtype=np.float32))
    source = source_of(panel.coloring.layer.metadata)
    marked = replace(source, chroma=colors)
    panel.coloring.layer.metadata[METADATA_KEY] = marked
    exporting._refill()
    choose(exporting, "tissue map", PLY)
    exporting.view.path.setText(str(tmp_path / "t"))
    assert run(exporting, qtbot) == (
        f"Saved {tmp_path / 't.ply'}. No surface of eye: too few voxels."
    )
    assert exporting.view.message.tone == "warning"
    names = (tmp_path / "t.ply").read_bytes().split(b"\n")[3]
    assert names.startswith(b"comment Fat") and b"Eye" not in names


def test_a_colored_scan_is_saved_and_opens_with_its_colors(exporting, panel, qtbot, tmp_path):
    choose(exporting, "layer", COLORED_SCAN)
    path = str(tmp_path / "case.tomochrome")
    exporting.view.path.setText(path)
    assert run(exporting, qtbot) == f"Saved {path}"
    assert get_reader(str(tmp_path)) is None
    layer, viewer = panel.coloring.layer, exporting.viewer
    before = np.asarray(layer.data[5]), layer.data.settings
    read = get_reader(path)
    assert read is not None
    (grey, grey_fields, _), (picture, fields, _) = read(path)
    viewer.layers.clear()
    viewer.add_image(grey, **grey_fields)
    viewer.add_image(picture, **fields)
    (found,) = Coloring.find(viewer)
    assert found.layer is viewer.layers[1]
    assert found.layer.data.settings == before[1]
    np.testing.assert_array_equal(found.layer.data[5], before[0])
    found.relight({"window": "lung"})
    assert found.layer.data.settings.window.name == "lung"


def test_measurements_are_saved_with_the_scan(exporting, window, panel, qtbot, tmp_path):
    measuring = follower_of(window, Measuring)
    window.layers.selection.active = panel.coloring.layer
    shapes = measuring.chosen()
    shapes.add(np.array([(5, 10, 8), (5, 10, 30.0)]), shape_type="line")
    shapes.add(np.array([(5, 20, 16), (5, 20, 24), (5, 28, 24.0)]), shape_type="polygon")
    texts = list(shapes.features[COLUMN])
    exporting.choose(panel.coloring.layer)
    choose(exporting, "layer", COLORED_SCAN)
    path = str(tmp_path / "case.tomochrome")
    exporting.view.path.setText(path)
    run(exporting, qtbot)
    drawn = [each.copy() for each in shapes.data]
    window.layers.clear()
    window.open(path, plugin="napari-tomochrome")
    qtbot.waitUntil(lambda: len(window.layers) == 3)
    opened = window.layers[-1]  # above the colored layer
    assert window.layers.selection.active is window.layers[1]
    assert list(opened.features[COLUMN]) == texts
    for found, expected in zip(opened.data, drawn, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(window.layers[0].metadata[MEASUREMENTS]) == 2
    assert not exporting.view.message.text().endswith("not saved.")
    window.layers.remove(opened)
    assert MEASUREMENTS not in window.layers[0].metadata


def test_painted_regions_are_saved_with_the_scan(exporting, window, panel, qtbot, tmp_path):
    window.layers.selection.active = panel.coloring.layer
    measuring = follower_of(window, LabelMeasuring)
    painted = measuring.chosen()
    painted.data[4:7, 10:20, 8:16] = 3
    painted.refresh()
    window.layers.selection.active = panel.coloring.layer
    other = measuring.chosen()
    other.data[2, 3, 5] = 44
    window.layers.selection.active = panel.coloring.layer
    measuring.chosen()  # nothing is painted here
    shapes = follower_of(window, Measuring).chosen()
    shapes.add(np.array([(5, 10, 8), (5, 20, 18), (5, 10, 18), (5, 20, 8.0)]), shape_type="polygon")
    drawn = [np.array(layer.data) for layer in (painted, other)]
    measuring.update()
    readouts = list(painted.features[MEASURED])
    exporting.choose(panel.coloring.layer)
    choose(exporting, "layer", COLORED_SCAN)
    path = str(tmp_path / "case.tomochrome")
    exporting.view.path.setText(path)
    said = run(exporting, qtbot)
    assert said == f"Saved {path}. 1 of the shapes are not measurable and were not saved."
    window.layers.clear()
    window.open(path, plugin="napari-tomochrome")
    qtbot.waitUntil(lambda: len(window.layers) == 4)
    opened = [layer for layer in window.layers if isinstance(layer, Labels)]
    assert window.layers.selection.active is window.layers[1]
    for layer, expected in zip(opened, drawn, strict=True):
        np.testing.assert_array_equal(layer.data, expected)
    assert list(opened[0].features[MEASURED]) == readouts
    assert "mL" in readouts[-1]
    opened[0].data[0, 0, 0] = 9  # painted on
    assert (window.layers[0].metadata[REGIONS][0] == 9).sum() == 1
    window.layers.remove(opened[0])
    assert len(window.layers[0].metadata[REGIONS]) == 1


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("ends", list(product((1, -1), repeat=3)), ids=str)
def test_painted_regions_are_at_the_same_voxels_however_the_scan_is_stored(axes, ends, tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, axes] * ends * (2.5, 1.5, 1.0)
    hu = np.random.default_rng(0).integers(-1000, 1000, (5, 7, 9)).astype(np.int16)
    labels = (hu > 500).astype(np.uint8)
    chroma = Chroma(
        np.zeros(hu.shape, np.uint16),
        np.zeros(hu.shape, np.uint8),
        tissue_table(),
        affine,
        "tissue",
    )
    scan = io.ColoredScan(Volume(hu, affine, "HU"), chroma, Lighting(), regions=(labels,))
    path = str(io.save_colored(scan, tmp_path / "case.tomochrome"))
    (data, meta, _), _ = get_reader(path)(path)
    (shown,) = meta["metadata"][REGIONS]
    np.testing.assert_array_equal(shown, np.asarray(data) > 500)


def test_joining_a_study_asks_for_the_scan(exporting, qtbot, tmp_path, monkeypatch, small_ct):
    source = tmp_path / "ct"
    write_series(small_ct, source)
    uid = pydicom.dcmread(source / "0001.dcm").SeriesInstanceUID
    origin = replace(small_ct.provenance, kind="dicom-series", series_uid=str(uid))
    kept = exporting.choice.source.stored
    object.__setattr__(kept, "provenance", origin)
    choose(exporting, "layer", DICOM)
    assert exporting.view.join.isVisibleTo(exporting)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(source))
    exporting.view.join.setChecked(True)
    exporting.view.path.setText(str(tmp_path / "out"))
    assert run(exporting, qtbot).startswith("Saved")
    made, own = (pydicom.dcmread(tmp_path / f / "0001.dcm") for f in ("out", "ct"))
    assert made.StudyInstanceUID == own.StudyInstanceUID
    assert made.FrameOfReferenceUID == own.FrameOfReferenceUID


def test_a_page_names_the_patient_only_where_the_box_says_so(
    exporting, qtbot, tmp_path, monkeypatch, small_ct
):
    source = tmp_path / "ct"
    write_series(small_ct, source)
    for file in source.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Doe^Jane", "4711", "20190314"
        dataset.save_as(file)
    origin = replace(
        small_ct.provenance, kind="dicom-series", series_uid=str(dataset.SeriesInstanceUID)
    )
    kept = exporting.choice.source.stored
    object.__setattr__(kept, "provenance", origin)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(source))
    box = exporting.view.join
    choose(exporting, "layer", DICOM)
    box.click()
    choose(exporting, "layer", PAGE)  # what was ticked for an archive does not hold for a page
    assert box.isVisibleTo(exporting) and not box.isChecked()
    assert box.text() == "With the patient's name, ID and study date"
    exporting.view.path.setText(str(tmp_path / "nobody"))
    assert run(exporting, qtbot) == f"Saved {tmp_path / 'nobody.html'}"
    assert "Jane" not in (tmp_path / "nobody.html").read_text("utf-8")
    for name, photograph in (("plain", False), ("look", True)):
        exporting.view.photograph.setChecked(photograph)
        box.setChecked(True)
        exporting.view.path.setText(str(tmp_path / name))
        assert run(exporting, qtbot) == f"Saved {tmp_path / name}.html"
        text = (tmp_path / f"{name}.html").read_text("utf-8")
        for part in ("Doe, Jane", "4711", "2019-03-14"):
            assert f"<b>{part}</b>" in text
    choose(exporting, "layer", DICOM)
    assert not box.isChecked() and box.text().startswith("Join the scan's study")
    choose(exporting, "layer", NIFTI)
    assert not box.isVisibleTo(exporting)


def test_the_grey_scan_as_a_ct_series(exporting, panel, qtbot, tmp_path, small_ct):
    exporting.choose(panel.coloring.ct_layer)
    assert exporting.view.format.findData(SHEET) == -1
    exporting.view.format.setCurrentIndex(exporting.view.format.findData(DICOM))
    exporting.view.path.setText(str(tmp_path / "ct"))
    run(exporting, qtbot)
    np.testing.assert_array_equal(io.read(tmp_path / "ct").voxels, small_ct.voxels)


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_existing_files_are_asked_about(exporting, qtbot, tmp_path, monkeypatch, answer):
    (tmp_path / "a.nii.gz").write_text("precious")
    monkeypatch.setattr(
        QMessageBox, "question", lambda *_: getattr(QMessageBox.StandardButton, answer)
    )
    exporting.view.path.setText(str(tmp_path / "a"))
    exporting.view.run.click()
    qtbot.waitUntil(lambda: not exporting.running, timeout=30_000)
    kept = (tmp_path / "a.nii.gz").read_bytes() == b"precious"
    assert kept == (answer == "No")


def test_cancel_leaves_nothing(exporting, qtbot, tmp_path, monkeypatch):
    waiting = threading.Event()

    def slow(*_, **__):
        from tomochrome.runtime import check, report

        while True:
            report(1, 2, "writing")
            waiting.set()
            check()

    monkeypatch.setattr(export_module, "export", slow)
    exporting.view.path.setText(str(tmp_path / "a"))
    exporting.view.run.click()
    assert waiting.wait(600)
    assert exporting.view.cancel.isEnabled()
    assert not exporting.view.run.isEnabled()
    exporting.view.cancel.click()
    qtbot.waitUntil(lambda: not exporting.running, timeout=30_000)
    assert exporting.view.message.text() == "Cancelled; nothing was saved."
    assert list(tmp_path.iterdir()) == []


def test_an_input_error_is_one_sentence(exporting, qtbot, tmp_path):
    exporting.view.path.setText(str(tmp_path / "no" / "a"))
    said = run(exporting, qtbot)
    assert said.startswith("The folder") and said.endswith("create it first.")


def test_an_output_that_appears_meanwhile_is_reported_without_a_cli_option(exporting):
    exporting.show_error(ExistsError("a"))
    assert exporting.view.message.text() == "'a' already exists; choose another name."


def test_the_format_changes_the_ending_and_the_dialog_its_filter(exporting, monkeypatch, tmp_path):
    exporting.view.path.setText(str(tmp_path / "a.nii.gz"))
    exporting.view.format.setCurrentIndex(exporting.view.format.findData(DICOM))
    assert exporting.view.path.text() == f"{tmp_path}/a/"
    exporting.view.format.setCurrentIndex(exporting.view.format.findData(NIFTI))
    assert exporting.view.path.text() == f"{tmp_path}/a.nii.gz"
    shown = []

    def answer(_parent, _title, start, pattern, **_):
        shown.append((start, pattern))
        return str(tmp_path / "b"), pattern

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    exporting.view.browse.click()
    assert shown == [(f"{tmp_path}/a.nii.gz", "NIfTI (*.nii.gz *.nii)")]
    assert exporting.view.path.text() == str(tmp_path / "b.nii.gz")


def test_a_comparison_is_offered_too(exporting, window, small_ct, qtbot, tmp_path):
    from napari.layers import Layer

    from tomochrome._napari.compare.compare_layer import make_in_worker
    from tomochrome._napari.compare.compare_modes import Fields

    ct = next(x for x in window.layers if source_of(x.metadata).role == "ct")
    made = make_in_worker(ct, ct, Fields(), (None, None))
    assert isinstance(made.layer, Layer)
    window.add_layer(made.layer)
    assert exporting.choices[0].layer is made.layer
    exporting.choose(made.layer)
    exporting.view.path.setText(str(tmp_path / "board"))
    assert run(exporting, qtbot).startswith("Saved")
    saved = io.read(tmp_path / "board.nii.gz")
    assert saved.is_rgba
    assert saved.shape == small_ct.shape
    assert Path(tmp_path / "board.nii.gz").stat().st_size > 0


def test_the_names_follow_the_layers(exporting, panel):
    panel.coloring.layer.name = "renamed"
    assert exporting.view.content.currentText() == "renamed"
    texts = [exporting.view.content.itemText(row) for row in range(3)]
    assert texts == ["renamed", "renamed: tissue map", "renamed: confidence map"]


def test_without_a_scan_it_says_so(window, qtbot):
    export = ExportPanel(window)
    qtbot.addWidget(export)
    assert not export.view.run.isEnabled()
    assert "nothing to export" in export.view.message.text()
    export.release()


def test_a_page_has_the_values_and_the_tissues_of_the_scan(exporting, panel, qtbot, tmp_path):
    choose(exporting, "layer", PAGE)
    exporting.view.path.setText(str(tmp_path / "case"))
    assert run(exporting, qtbot) == f"Saved {tmp_path / 'case.html'}"
    text = (tmp_path / "case.html").read_text(encoding="utf-8")
    assert '"values": [-1022.5' in text and "Window" in text
    assert panel.coloring.layer.name not in text  # which may be that of a patient's file


def test_pictures_and_pages_can_have_the_look_of_a_photograph(exporting, qtbot, tmp_path):
    box = exporting.view.photograph
    for output in FORMATS:
        choose(exporting, "layer", output)
        assert box.isHidden() == (output not in LOOK_FORMATS)
    box.setChecked(True)
    note = "lightness not from the scanner"
    for output, name in ((SHEET, "sheet.png"), (PAGE, "case.html")):
        choose(exporting, "layer", output)
        exporting.view.path.setText(str(tmp_path / name))
        assert run(exporting, qtbot) == f"Saved {tmp_path / name}"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert note in sheet.text["Comment"]
    assert (
        f"Look of a photograph: {note}. Not for diagnosis" in (tmp_path / "case.html").read_text()
    )
    choose(exporting, "layer", NIFTI)  # the box is hidden, and has no effect
    exporting.view.path.setText(str(tmp_path / "color.nii.gz"))
    assert run(exporting, qtbot).startswith("Saved")
    assert "look" not in io.read(tmp_path / "color.nii.gz").provenance.extra
