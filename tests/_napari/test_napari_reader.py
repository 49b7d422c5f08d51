"""What is opened at once, with its name, messages and orientation."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from tomochrome import io
from tomochrome._napari.layers.volume_layers import display_name, source_of, volume_layer
from tomochrome._napari.series import opening
from tomochrome._napari.series.reader import get_reader, read_layers
from tomochrome._napari.viewer.readout import value_at
from tomochrome.errors import TomochromeError
from tomochrome.geometry.orient import reorient
from tomochrome.io.dicom import write_series
from tomochrome.notices import Notice
from tomochrome.volume import Provenance, Volume, default_affine

# For each new axis (z, y, x) of the stored volume the upright axis that it is.
ORIENTATIONS = {
    "axial": ((0, 1, 2), (False, False, False)),
    "feet first": ((0, 1, 2), (True, False, False)),
    "prone": ((0, 1, 2), (False, True, True)),
    "flipped rows": ((0, 1, 2), (False, True, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "sagittal": ((2, 0, 1), (False, True, False)),
    "sagittal from the right": ((2, 0, 1), (True, True, False)),
}


@pytest.fixture
def lopsided():
    """An upright volume with a different marker toward right, anterior and superior."""
    voxels = np.full((10, 36, 40), -1000, np.int16)
    voxels[1:-1, 4:-4, 4:-4] = 40
    voxels[4:6, 16:20, 4:8] = 100  # patient's right: low x
    voxels[4:6, 4:8, 18:22] = 200  # anterior: low y
    voxels[7:9, 16:20, 18:22] = 300  # superior: high z
    return Volume(voxels, default_affine((4.0, 1.5, 1.25), (-25.0, -30.0, 50.0)))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_is_shown_upright_in_place(tmp_path, lopsided, name):
    stored = reorient(lopsided, *ORIENTATIONS[name])
    write_series(stored, tmp_path / "series", description=name)
    ((data, keywords, kind),) = read_layers(str(tmp_path / "series"))
    assert kind == "image"
    # Voxel for voxel the upright volume again: so the patient's right (low x) is on the left of
    # the screen, anterior (low y) is up, and the slider (z) runs to superior.
    np.testing.assert_array_equal(data, lopsided.voxels)
    assert keywords["scale"] == pytest.approx((4.0, 1.5, 1.25), abs=1e-4)
    assert keywords["translate"] == pytest.approx((50.0, -30.0, -25.0), abs=1e-3)
    known = source_of(keywords["metadata"])
    assert known.stored.shape == stored.shape
    np.testing.assert_allclose(known.shown.affine, lopsided.affine, atol=1e-3)


def test_dicom_layers_have_the_series_description_and_no_patient_data(cd, identity):
    ((_, keywords, _),) = read_layers(str(cd / "DOE_one"))
    assert keywords["name"] == "Thorax 5 mm"
    known = source_of(keywords["metadata"])
    text = f"{keywords['name']} {known.stored.provenance} {known.shown.provenance}"
    assert not [word for word in identity if word in text]


@pytest.mark.parametrize(
    ("provenance", "name"),
    [
        (Provenance("/x/DOE^JANE", "dicom-series", "CT", title="Chest"), "Chest"),
        (Provenance("/x/DOE^JANE", "dicom-series", "CT"), "CT series"),
        (Provenance("/x/DOE^JANE/1.dcm", "dicom-file"), "Series"),
        (Provenance("/x/brain.nii.gz", "nifti"), "brain"),
        (Provenance("/x/brain.hdr", "nifti"), "brain"),
        (Provenance(kind="phantom"), "phantom"),
    ],
)
def test_names_of_layers(provenance, name):
    assert display_name(Volume(np.zeros((2, 3, 4)), provenance=provenance)) == name


def test_the_only_readable_ct_is_opened_without_asking(cd):
    for folder in ("DOE_two", "lost"):
        for path in (cd / folder).iterdir():
            path.unlink()
    ((_, keywords, _),) = read_layers(str(cd))
    assert keywords["name"] == "Thorax 5 mm"


def test_other_items_are_reported(cd, monkeypatch, identity):
    for folder in ("DOE_two", "lost"):
        for path in (cd / folder).iterdir():
            path.unlink()
    monkeypatch.setattr(notification_manager, "records", [])
    read_layers(str(cd))
    (record,) = notification_manager.records
    assert record.severity.name == "INFO"
    assert record.message.startswith(
        "Thorax 5 mm: Also found: 1 other series (not CT); 1 file skip"
    )
    assert not [word for word in identity if word in record.message]


def test_where_there_is_a_choice_and_no_window_the_series_are_named(cd, monkeypatch):
    monkeypatch.setattr("napari.current_viewer", lambda: None)
    with pytest.raises(TomochromeError, match="choose one"):
        read_layers(str(cd))


def test_an_unreadable_ct_is_always_reported(cd):
    for path in (cd / "DOE_two").iterdir():
        path.unlink()
    assert opening.only_choice(io.find(cd), cd) is None


def test_a_zip_is_opened_like_a_folder(cd, tmp_path):
    archive = tmp_path / "cd.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (cd / "DOE_one").iterdir():
            file.write(path, f"DICOM/{path.name}")
    assert get_reader(str(archive)) is read_layers
    ((data, keywords, _),) = read_layers(str(archive))
    assert data.shape == (12, 48, 40)
    assert keywords["name"] == "Thorax 5 mm"
    (tmp_path / "text.zip").write_text("no zip at all")
    assert get_reader(str(tmp_path / "text.zip")) is None


def test_only_folders_of_volumes_are_accepted(tmp_path, small_ct):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    assert get_reader(str(tmp_path / "notes")) is None
    io.write(small_ct, tmp_path / "notes" / "small.nii.gz")
    assert get_reader(str(tmp_path / "notes")) is read_layers


def test_one_message_about_a_volume_before_it_is_shown(monkeypatch, small_ct):
    said = ("the slices were tilted by 18.5 degrees; they were straightened", "lossy")
    warnings = tuple(Notice("geometry", "warning", text) for text in said)
    provenance = Provenance(kind="dicom-series", title="Head", verdict="tilted", warnings=warnings)
    volume = Volume(small_ct.voxels, small_ct.affine, "HU", provenance)
    monkeypatch.setattr(notification_manager, "records", [])
    opening.announce(opening.opened(volume, "Head"))
    (record,) = notification_manager.records
    assert record.severity.name == "WARNING"
    assert record.message == (
        "Head: The slices were tilted by 18.5 degrees; they were straightened. Lossy."
    )


def test_messages_match_the_severity(monkeypatch, small_ct):
    monkeypatch.setattr(notification_manager, "records", [])
    opening.announce(opening.opened(small_ct, "CT"))
    assert notification_manager.records == []
    remark = Notice("content", "info", "a remark")
    mild = Volume(small_ct.voxels, provenance=Provenance(warnings=(remark,)))
    opening.announce(opening.opened(mild, "CT"))
    assert [record.severity.name for record in notification_manager.records] == ["INFO"]


def test_the_value_under_the_cursor_is_the_scanners_with_its_unit(small_ct):
    from napari.components import ViewerModel
    from napari.layers import Layer

    outside = np.zeros(small_ct.shape, bool)
    outside[:, :5] = True
    ct = Volume(small_ct.voxels, small_ct.affine, "HU", outside=outside)
    viewer = ViewerModel()
    layer = viewer.add_layer(Layer.create(*volume_layer(ct, "CT")))

    def value(*index):
        return value_at(viewer.layers, layer.data_to_world(index))

    assert value(6, 24, 20) == "700 HU"
    assert layer.get_value((6, 24, 20)) == 700  # napari's own text has the same value
    assert value(6, 2, 20) == "outside the scan"
    assert value(6, 200, 20) == ""
    odd = Volume(np.full((3, 4, 5), 0.25, np.float32), unit="unknown")
    other = viewer.add_layer(Layer.create(*volume_layer(odd, "odd")))
    assert value_at(viewer.layers, other.data_to_world((1, 1, 1))) == "0.25 (not HU)"
    viewer.layers.selection.clear()
    other.visible = False
    assert value(6, 24, 20) == "700 HU"


def test_a_colored_file_is_shown_in_its_colors(tmp_path, small_ct):
    rgba = np.random.default_rng(0).integers(0, 255, (*small_ct.shape, 4), np.uint8)
    path = tmp_path / "color.nii.gz"
    io.write(small_ct.with_voxels(rgba, unit="RGBA"), path)
    ((data, keywords, _),) = read_layers(str(path))
    assert keywords["rgb"]
    np.testing.assert_array_equal(data, rgba)


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_either_half_of_a_pair_is_opened(tmp_path, small_ct, ending):
    import nibabel

    from tomochrome.geometry.affine import to_nifti_affine

    data = np.asarray(small_ct.voxels).transpose(2, 1, 0)
    pair = nibabel.Nifti1Pair(data, to_nifti_affine(small_ct.affine))
    nibabel.save(pair, tmp_path / "small.img")
    path = str(tmp_path / f"small{ending}")
    assert get_reader(path) is read_layers
    ((shown, keywords, _),) = read_layers(path)
    assert keywords["name"] == "small"
    np.testing.assert_array_equal(shown, small_ct.voxels)


def test_the_volumes_of_a_4d_file_are_a_choice(tmp_path, small_ct):
    import nibabel

    data = np.stack([np.asarray(small_ct.voxels).transpose(2, 1, 0)] * 3, axis=-1)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "moving.nii")
    listing = opening.find_or_read(tmp_path / "moving.nii")
    assert [item.phase for item in listing.items] == ["1 of 3", "2 of 3", "3 of 3"]
    result = opening.open_item(listing.items[1])
    assert result.layer[1]["name"] == "moving (2 of 3)"


def test_a_dicomdir_is_a_choice(shared_data):
    path = shared_data / "dicom" / "dicomdir" / "DICOMDIR"
    assert get_reader(str(path)) is read_layers
    listing = opening.find_or_read(path)
    assert len(listing.items) > 5
