"""The manifest's contributions exist, open quickly, and read and write their formats."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

from tomochrome import io
from tomochrome._napari.export.layer_writers import write_nifti
from tomochrome._napari.layers.volume_layers import source_of, volume_layer
from tomochrome._napari.series.reader import get_reader, read_layers
from tomochrome.errors import InputError, OutputError
from tomochrome.formats import FORMATS

PLUGIN = "napari-tomochrome"


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution(PLUGIN)


@pytest.fixture(scope="module")
def manager(manifest):
    manager = PluginManager()
    manager.register(manifest)
    return manager


def test_every_command_points_at_something(manifest):
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_the_panels_are_in_their_menus_and_under_plugins(manifest):
    widgets = {widget.display_name: widget.command for widget in manifest.contributions.widgets}
    assert list(widgets) == [
        "Colorize volume",
        "Register & checkerboard",
        "Open a scan",
        "Scan",
        "Export",
        "Color hints",
        "Color a photograph",
        "Restore",
    ]
    volume, photograph, restore, *view = manifest.contributions.menus["napari/layers/visualize"]
    assert [item.command.partition(".")[2] for item in view] == ["planes", "grey_beside", "keys"]
    assert volume.command == widgets["Colorize volume"]
    assert photograph.command == widgets["Color a photograph"]
    assert restore.command == widgets["Restore"]
    (item,) = manifest.contributions.menus["napari/layers/register"]
    assert item.command == widgets["Register & checkerboard"]
    measuring = manifest.contributions.menus["napari/layers/measure"]
    assert [item.command.partition(".")[2] for item in measuring] == [
        "measure",
        "measure_labels",
        "save_measurements",
        "open_measurements",
    ]
    opening, export = manifest.contributions.menus["napari/file/io_utilities"]
    assert opening.command == widgets["Open a scan"]
    assert export.command == widgets["Export"]


def test_the_save_dialog_offers_the_formats_of_the_table(manifest):
    writers = manifest.contributions.writers
    for output in FORMATS:
        endings = [] if output.is_folder else list(output.endings)
        offered = [w for w in writers if w.filename_extensions == endings]
        assert any(w.layer_types == ["image"] for w in offered), output
        assert all(w.display_name.startswith(output.name) for w in offered)
    labelled = [w.filename_extensions for w in writers if w.layer_types == ["labels"]]
    assert labelled == [[".nii.gz", ".nii"], [".nrrd"], [".zarr"]]


def test_three_samples(manifest):
    assert [s.key for s in manifest.contributions.sample_data] == ["head", "chest", "abdomen"]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("a.nii", True), ("a.NII.GZ", True), ("a.nrrd", True), ("a.mha", True), ("a.mhd", True),
        ("slice.dcm", True), ("slice.IMA", True), ("DICOMDIR", True), ("IM000123", True),
        ("1.2.840.113619.2.55", True), ("a.hdr", True), ("a.img", True), ("cd.zip", True),
        ("a.nhdr", True), ("scan.dicom", True), ("cells.tif", False), ("photo.png", False),
        ("table.csv", False), ("movie.mp4", False), ("data.h5", False), ("data.zarr", False),
        ("IM_0001", True), ("00000012", True), ("A10", True), ("CT000012", True),
        ("CT.1.2.840.113619.2", True), ("i12.CTDC.34", True), ("img0001", True),
        ("notes12", False), ("core.12345", False), ("run_2024", False), ("README_1", False),
        ("results.v12", False), ("libgcc.so.10", False), ("backup-2024-11-25", False),
        ("photo.0012", False), ("My notes 2024", False), ("table.csv.20", False),
    ],
)  # fmt: skip
def test_only_supported_files_are_accepted(manager, name, ours):
    readers = {reader.plugin_name for reader in manager.iter_compatible_readers([name])}
    assert (PLUGIN in readers) == ours


def test_folders_are_accepted(manager, tmp_path):
    assert list(manager.iter_compatible_readers([str(tmp_path)]))


def test_the_pattern_of_the_manual_answers_the_question_for_every_folder(tmp_path):
    from napari.plugins.utils import get_preferred_reader
    from napari.settings import get_settings

    settings = get_settings().plugins
    before = settings.extension2reader
    (tmp_path / "CT 1.5 mm").mkdir()
    try:
        settings.extension2reader = {"*/": PLUGIN}
        for folder in (tmp_path, tmp_path / "CT 1.5 mm"):
            assert get_preferred_reader(folder) == PLUGIN
        (tmp_path / "photo.png").touch()
        assert get_preferred_reader(tmp_path / "photo.png") is None
    finally:
        settings.extension2reader = before


def test_menus_readers_and_panels_import_nothing_slow():
    modules = (
        "series.reader",
        "series.samples",
        "series.series_picker",
        "series.scan_panel",
        "export.layer_writers",
        "export.export_panel",
        "registration.register_widget",
        "hints.hints_panel",
        "colorize.photograph_panel",
        "restore.restore_panel",
    )
    slow = ("torch", "monai", "SimpleITK", "pydicom", "nibabel", "tomochrome.io.reading")
    code = "\n".join(f"import tomochrome._napari.{module}" for module in modules)
    code += f"\nimport sys\nprint([m for m in {slow} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_file_is_read_into_a_layer_at_its_place(tmp_path, small_ct, ending):
    path = tmp_path / f"small{ending}"
    io.write(small_ct, path)
    assert get_reader(str(path)) is read_layers
    ((data, keywords, kind),) = read_layers(str(path))
    assert (kind, keywords["name"]) == ("image", "small")
    np.testing.assert_array_equal(data, small_ct.voxels)
    assert keywords["scale"] == pytest.approx((5.0, 4.0, 4.0), abs=1e-4)
    assert keywords["translate"] == pytest.approx((100.0, -90.0, -80.0), abs=1e-3)
    assert keywords["units"] == ("mm",) * 3


def test_a_folder_of_slices_and_a_single_slice_are_read(tmp_path, small_ct):
    folder = tmp_path / "series"
    io.dicom.write_series(small_ct, folder)
    assert get_reader(str(folder)) is read_layers
    ((data, keywords, _),) = read_layers(str(folder))
    np.testing.assert_array_equal(data, small_ct.voxels)
    assert source_of(keywords["metadata"]).stored.provenance.kind == "dicom-series"
    first = sorted(folder.iterdir())[0]
    assert get_reader([str(first)]) is read_layers
    ((data, _, _),) = read_layers(str(first))
    assert data.shape == (1, 48, 40)


def test_unsupported_files_are_left_to_other_readers(tmp_path):
    (tmp_path / "notes12").write_text("nothing to see")
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "notes12", tmp_path / "sub", tmp_path / "absent.nii"):
        assert get_reader(str(path)) is None
    assert get_reader(["a.dcm", "b.dcm"]) is None


def test_a_broken_file_gives_a_one_sentence_error(tmp_path):
    path = tmp_path / "broken.nii"
    path.write_bytes(b"x" * 100)
    with pytest.raises(InputError):
        read_layers(str(path))


def test_a_ct_layer_is_written_back_as_it_was_read(tmp_path, small_ct):
    data, keywords, _ = volume_layer(small_ct)
    path = tmp_path / "again.nii.gz"
    assert write_nifti(str(path), data, keywords) == [str(path)]
    again = io.read(path)
    np.testing.assert_array_equal(again.voxels, small_ct.voxels)
    np.testing.assert_allclose(again.affine, small_ct.affine, atol=1e-3)


def test_a_layer_of_another_plugin_is_not_written(tmp_path):
    path = tmp_path / "other.nii.gz"
    with pytest.raises(OutputError, match="'other' was not made by Tomochrome"):
        write_nifti(str(path), np.zeros((3, 4, 5)), {"name": "other"})
    assert not path.exists()
