"""Writing, judged by nibabel, SimpleITK, Pillow and pydicom."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import ORIENTATIONS, ct, same_in_space, series
from PIL import Image, ImageDraw, ImageFont

from tomochrome.errors import Cancelled, InputError, OutputError
from tomochrome.geometry import from_sitk, same_grid, to_nifti_affine
from tomochrome.io import check_output, read, write
from tomochrome.io.slice_pictures import caption, contact_sheet
from tomochrome.runtime import Task, running
from tomochrome.volume import Provenance, Volume, default_affine

EXTRA = {"model": "tissue", "window": "50/400", "description": "model tissue, not for diagnosis"}


def color(shape=(6, 9, 8), orientation="oblique", opaque=False) -> Volume:
    grid = ct(shape, orientation)
    rgba = np.random.default_rng(4).integers(0, 256, (*shape, 4)).astype(np.uint8)
    if opaque:
        rgba[..., 3] = 255
    return Volume(rgba, grid.affine, "RGBA", Provenance(extra=EXTRA))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rgba_nifti_equals_what_nibabel_reads(tmp_path, ending, orientation):
    volume = color(orientation=orientation)
    write(volume, tmp_path / f"c{ending}")
    image = nib.load(tmp_path / f"c{ending}")
    assert int(image.header["datatype"]) == 2304
    assert image.header.get_xyzt_units()[0] == "mm"
    assert b"not for diagnosis" in image.header["descrip"].tobytes()
    stored = np.asanyarray(image.dataobj)
    for channel, name in enumerate("RGBA"):
        np.testing.assert_array_equal(stored[name].T, volume.voxels[..., channel])
    np.testing.assert_allclose(image.affine, to_nifti_affine(volume.affine), atol=1e-3)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    back = read(tmp_path / f"c{ending}")
    assert back.unit == "RGBA"
    np.testing.assert_array_equal(back.voxels, volume.voxels)


@pytest.mark.parametrize("shape", [(1, 64, 8), (9, 64, 16), (9, 16, 64)])
def test_a_sheet_of_narrow_slices_shows_its_whole_caption(shape):
    rgba = np.full((*shape, 4), 255, np.uint8)
    extra = {"model": "a model with quite a long name", "window": "50/400"}
    volume = Volume(rgba, default_affine((3.0, 2.0, 2.0)), "RGBA", Provenance(extra=extra))
    sheet = contact_sheet(volume)
    alone = Image.new("L", (2000, 40))
    ImageDraw.Draw(alone).text((8, 8), caption(volume), fill=255, font=ImageFont.load_default(15))
    left, top, right, bottom = alone.getbbox()
    ink = np.asarray(alone)[top:bottom, left:right] > 100
    assert sheet.width >= right
    grey = np.asarray(sheet.convert("L"))[-70:, left:right]
    offsets = range(len(grey) - len(ink) + 1)
    assert any((grey[k : k + len(ink)][ink] > 50).all() for k in offsets)


def test_a_long_description_in_nifti_still_says_not_for_diagnosis(tmp_path):
    for length in (60, 61, 62, 200):
        extra = {"description": f"{'x' * length}, not for diagnosis"}
        volume = Volume(np.zeros((2, 3, 4), np.int16), provenance=Provenance(extra=extra))
        write(volume, tmp_path / f"{length}.nii")
        note = nib.load(tmp_path / f"{length}.nii").header["descrip"].item().decode()
        assert note == f"{'x' * min(length, 60)}, not for diagnosis"


def test_opaque_nifti_is_rgb24_for_simpleitk_and_nibabel(tmp_path):
    volume = color(opaque=True)
    write(volume, tmp_path / "c.nii.gz")
    assert int(nib.load(tmp_path / "c.nii.gz").header["datatype"]) == 128
    image = SimpleITK.ReadImage(str(tmp_path / "c.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels[..., :3])
    bare = from_sitk(SimpleITK.VectorIndexSelectionCast(image, 0))
    assert same_grid(bare, volume, tolerance_mm=1e-3)
    np.testing.assert_array_equal(read(tmp_path / "c.nii.gz").voxels, volume.voxels)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "uint16", "bool", "float16"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_scalars(tmp_path, dtype, ending):
    values = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(dtype)
    volume = Volume(values, ct((4, 5, 6), "oblique").affine, "tissue")
    path = tmp_path / f"m{ending}"
    write(volume, path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), values)
    assert same_grid(from_sitk(image), volume, tolerance_mm=1e-3)
    if ending == ".nii.gz":
        np.testing.assert_array_equal(nib.load(path).get_fdata().T, values)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_hounsfield_units_come_back(tmp_path, ending):
    volume = ct(orientation="coronal")
    write(volume, tmp_path / f"v{ending}")
    back = read(tmp_path / f"v{ending}")
    assert back.unit == "HU"
    assert back.voxels.dtype == np.int16
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert same_grid(back, volume)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rgba_nrrd_opens_in_itk(tmp_path, orientation):
    volume = color(orientation=orientation)
    write(volume, tmp_path / "c.nrrd")
    image = SimpleITK.ReadImage(str(tmp_path / "c.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == 4
    assert "8-bit unsigned" in image.GetPixelIDTypeAsString()
    assert image.GetMetaData("model") == "tissue"
    assert "not for diagnosis" in image.GetMetaData("description")
    back = from_sitk(image)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert same_grid(back, volume, tolerance_mm=1e-6)
    again = read(tmp_path / "c.nrrd")
    assert again.unit == "RGBA"
    np.testing.assert_array_equal(again.voxels, volume.voxels)


def test_a_sheared_affine_stays_true_in_nifti(tmp_path):
    affine = default_affine((3.0, 1.0, 1.0))
    affine[1, 0] = 1.0
    write(Volume(np.zeros((2, 3, 4), np.int16), affine), tmp_path / "t.nii.gz")
    image = nib.load(tmp_path / "t.nii.gz")
    np.testing.assert_allclose(image.affine, to_nifti_affine(affine))
    assert int(image.header["qform_code"]) == 0


class Lazy:
    """Voxels that exist only slice by slice, as a lit view's do."""

    def __init__(self, whole):
        self.whole, self.shape, self.dtype, self.ndim = whole, whole.shape, whole.dtype, whole.ndim
        self.most = 0

    def __getitem__(self, key):
        part = self.whole[key]
        self.most = max(self.most, part.nbytes)
        return part


@pytest.mark.parametrize("name", ["c.nii.gz", "c.nrrd", "c.png", "c/"])
def test_a_view_is_written_slice_by_slice(tmp_path, name):
    volume = color((40, 9, 8))
    lazy = Lazy(volume.voxels)
    told = []
    out = f"{tmp_path}/{name}"
    with running(Task(lambda *args: told.append(args))):
        write(replace(volume, voxels=lazy), out)
    assert lazy.most == volume.voxels[0].nbytes
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("name", ["c.nii.gz", "c.nrrd", "c.png", "c/"])
def test_cancelled_writing_leaves_nothing(tmp_path, name):

    def stop(done, total, stage):
        if done == 2:
            token.cancel()

    token = Task(stop)
    with running(token), pytest.raises(Cancelled):
        write(color(), f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet_shows_right_on_the_left_and_anterior_up(tmp_path):
    """A red ball at the patient's right front, green behind, whatever the stored axes."""
    for orientation in ORIENTATIONS:
        grid = ct((21, 20, 22), orientation, spacing=(2.0, 2.0, 2.0))
        index = np.indices(grid.shape).reshape(3, -1)
        points = grid.affine[:3, :3] @ index
        middle = (points.max(axis=1) + points.min(axis=1)) / 2
        x, y, _ = points - middle[:, None]
        rgba = np.zeros((index.shape[1], 4), np.uint8)
        rgba[:, 3] = 255
        rgba[(np.hypot(x + 8, y + 8) < 6)] = (255, 0, 0, 255)
        rgba[(np.hypot(x - 8, y - 8) < 6)] = (0, 255, 0, 255)
        volume = Volume(rgba.reshape(*grid.shape, 4), grid.affine, "RGBA")
        sheet = np.asarray(contact_sheet(volume)).astype(int)[:, :320]
        tile = sheet[7 : sheet.shape[1]]
        red = np.argwhere((tile[..., 0] > 200) & (tile[..., 1] < 50))
        green = np.argwhere((tile[..., 1] > 200) & (tile[..., 0] < 50))
        assert (red.mean(axis=0) + 40 < green.mean(axis=0)).all(), orientation


def test_contact_sheet_keeps_proportions_and_says_what_it_is(tmp_path):
    affine = default_affine((3.0, 1.0, 2.0))
    volume = Volume(color((30, 40, 40)).voxels, affine, "RGBA", Provenance(extra=EXTRA))
    write(volume, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as sheet:
        assert "not for diagnosis" in sheet.info["Comment"]
        assert sheet.info["Model"] == "tissue"
        assert sheet.size == (5 * 326 + 6, 4 * 166 + 6 + 34)


def test_capture_series(tmp_path):
    volume = color((4, 9, 7), opaque=True)
    write(volume, f"{tmp_path}/sc/")
    files = sorted((tmp_path / "sc").iterdir())
    assert len(files) == 4
    for z, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
        assert "not for diagnosis" in dataset.ImageComments
        assert dataset.SOPClassUID.name == "Secondary Capture Image Storage"
        np.testing.assert_array_equal(dataset.pixel_array, volume.voxels[z, ..., :3])
    image = SimpleITK.ReadImage([str(f) for f in files])
    assert same_grid(
        from_sitk(SimpleITK.VectorIndexSelectionCast(image, 0)), volume, tolerance_mm=1e-4
    )


def test_alpha_is_composited_over_black(tmp_path):
    rgba = np.zeros((1, 1, 2, 4), np.uint8)
    rgba[0, 0] = ((200, 100, 50, 0), (200, 100, 51, 128))
    write(Volume(rgba, unit="RGBA"), f"{tmp_path}/sc/")
    pixels = pydicom.dcmread(tmp_path / "sc" / "0001.dcm").pixel_array
    assert pixels.tolist() == [[[0, 0, 0], [100, 50, 26]]]


def test_ct_series_by_the_ending(tmp_path):
    volume = ct(orientation="sagittal")
    write(volume, f"{tmp_path}/ct/")
    assert same_in_space(volume, read(tmp_path / "ct"))
    with pytest.raises(OutputError, match="unit tissue cannot be written as DICOM"):
        write(replace(volume, unit="tissue"), f"{tmp_path}/map/")


def test_series_is_valid_and_nobodys(tmp_path):
    folder = series(tmp_path / "s", description="phantom", series_uid="1.2.3")
    datasets = [pydicom.dcmread(f) for f in sorted(folder.iterdir())]
    assert {d.SeriesInstanceUID for d in datasets} == {"1.2.3"}
    assert {d.SeriesDescription for d in datasets} == {"phantom"}
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    assert str(datasets[0].PatientName) == "TOMOCHROME^ANONYMOUS"
    assert all(d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID for d in datasets)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), "1.2.3")
    assert len(names) == len(datasets)


@pytest.mark.parametrize(("opacity", "bands"), [("body", 4), ("opaque", 3)])
def test_the_opacity_asked_for_decides_the_type(tmp_path, opacity, bands):
    rgba = np.full((2, 3, 4, 4), 255, np.uint8)  # a crop of the body's inside: no air in it
    provenance = Provenance(extra={"opacity": opacity})
    write(Volume(rgba, unit="RGBA", provenance=provenance), tmp_path / "c.nii.gz")
    assert len(nib.load(tmp_path / "c.nii.gz").get_data_dtype()) == bands


def test_values_that_are_no_numbers_are_not_written_as_dicom(tmp_path):
    voxels = np.zeros((2, 3, 4), np.float32)
    voxels[1, 1, 1] = np.nan
    with pytest.raises(OutputError, match="not finite"):
        write(Volume(voxels), f"{tmp_path / 'nan'}/")
    assert list(tmp_path.iterdir()) == []


def test_extreme_values_survive(tmp_path):
    volume = ct((2, 5, 6))
    voxels = volume.voxels.copy()
    voxels[0, 0, 0], voxels[1, 0, 0] = -32768 + 1024, 32767
    write(replace(volume, voxels=voxels), f"{tmp_path}/s/")
    np.testing.assert_array_equal(read(tmp_path / "s").voxels, voxels)
    with pytest.raises(OutputError, match="do not fit 16 bits"):
        write(replace(volume, voxels=voxels * np.float32(2)), f"{tmp_path}/t/")


def test_outputs_that_cannot_be(tmp_path):
    volume = color()
    (tmp_path / "there.nrrd").write_text("precious")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "letter.txt").write_text("precious")
    cases = {
        "c.avi": "does not end in a supported extension",
        "c": "does not end in a supported extension",
        ".png": "does not end in a supported extension",
        "nowhere/c.png": "does not exist",
        "there.nrrd": "already exists",
        "folder.png": "already exists",
        "mixed/": "holds other things",
        "there.nrrd/": "is a file",
    }
    for name, words in cases.items():
        with pytest.raises(OutputError, match=words):
            write(volume, f"{tmp_path}/{name}")
        with pytest.raises(OutputError, match=words):
            check_output(f"{tmp_path}/{name}")
    for name in ("mixed/", "folder.png"):
        with pytest.raises(OutputError):
            write(volume, f"{tmp_path}/{name}", force=True)
    assert (tmp_path / "mixed" / "letter.txt").exists()
    with pytest.raises(OutputError, match="needs a colored volume"):
        write(ct(), tmp_path / "ct.png")
    write(volume, tmp_path / "there.nrrd", force=True)
    assert read(tmp_path / "there.nrrd").unit == "RGBA"


def test_force_replaces_a_series_and_an_empty_folder_needs_none(tmp_path):
    (tmp_path / "s").mkdir()
    write(ct((3, 9, 8)), f"{tmp_path}/s/")
    with pytest.raises(OutputError, match="already exists"):
        write(ct((2, 9, 8)), f"{tmp_path}/s/")
    write(ct((2, 9, 8)), f"{tmp_path}/s/", force=True)
    assert read(tmp_path / "s").shape[0] == 2
    affine = default_affine((3.0, 1.0, 1.0))
    affine[1, 0] = 1.0
    with pytest.raises(OutputError, match="not orthogonal"):
        write(Volume(np.zeros((2, 3, 4), np.int16), affine), f"{tmp_path}/t/")
    with pytest.raises(OutputError, match="too small for JPEG 2000"):
        series(tmp_path / "u", compress="j2k")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_types_that_no_file_holds(tmp_path, ending):
    if np.dtype(np.longdouble) == np.float64:
        pytest.skip("this computer has no longer floats")
    odd = Volume(np.zeros((2, 3, 4), np.longdouble), unit="unknown")
    with pytest.raises(OutputError, match="values of type"):
        write(odd, tmp_path / f"x{ending}")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_volume_is_not_written(tmp_path):
    for other in (np.zeros((2, 3, 4), np.int16), None, "ct.nii.gz"):
        with pytest.raises(InputError, match=r"^what is written must be a Volume, as tc.read"):
            write(other, tmp_path / "x.nii.gz")
    assert list(tmp_path.iterdir()) == []
