"""Every real file, one by one: what it must be read as, or why it must be left aside.

The expectations come from `../shared/data/INDEX.md` and from pydicom, nibabel and SimpleITK, which
decode the files here beside Tomochrome; none was taken from Tomochrome's own output.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import same_in_space

from tomochrome.errors import InputError, TomochromeError
from tomochrome.geometry import closest_axial
from tomochrome.geometry.affine import apply, compose
from tomochrome.io import find, read
from tomochrome.notices import texts
from tomochrome.volume import Volume

AIR = -1024


@dataclass(frozen=True)
class Row:
    """What one file or folder must be read as."""

    path: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    range: tuple[float, float]  #: of the values that the scanner measured (padding aside)
    unit: str = "HU"
    verdict: str = "regular"
    outside: bool = False  #: whether the scan has padding, which becomes air
    says: str = ""  #: what one of the warnings must speak of


R = Row
DICOM = [
    # The distance of the slices is 2 mm, though their thickness is 3.
    R("abdomen_contrast_j2k", (20, 512, 512), (2, 0.9765625, 0.9765625), (-1024, 1839)),
    # Once compressed with loss, which smeared its padding of -3024 HU: what is nearer to that than
    # to air is padding too.
    R("syntaxes/693_UNCI.dcm", (1, 512, 512), (5, 0.478516, 0.478516), (-2024, 1812), outside=True),
    R("syntaxes/693_UNCR.dcm", (1, 512, 512), (5, 0.478516, 0.478516), (-1024, 1468), outside=True),
    R("syntaxes/693_J2KR.dcm", (1, 512, 512), (5, 0.478516, 0.478516), (-1024, 1468), outside=True),
    R("syntaxes/ELSCINT1_JP2vsJ2K.dcm", (1, 512, 512), (0.5, 0.351, 0.351), (-1000, 3095)),
    R("syntaxes/CT1_JLSN.dcm", (1, 512, 512), (5, 0.661468, 0.661468), (-1024, 1254), outside=True),
    R("syntaxes/bad_sequence.dcm", (1, 512, 512), (1, 0.287109375, 0.287109375), (-1011, 1243)),
    R("syntaxes/TOSHIBA_J2K_SIZ0_PixRep1.dcm", (1, 512, 512), (3, 0.656, 0.656), (-2048, 1717)),
    R("syntaxes/MR_small_RLE.dcm", (1, 64, 64), (0.8, 0.3125, 0.3125), (127, 2145),
      "unknown", "not-ct", says="MR"),
    R("syntaxes/MR_small_jpeg_ls_lossless.dcm", (1, 64, 64), (0.8, 0.3125, 0.3125), (127, 2145),
      "unknown", "not-ct", says="MR"),
    R("syntaxes/MR_small_bigendian.dcm", (1, 64, 64), (0.8, 0.3125, 0.3125), (127, 2145),
      "unknown", "not-ct", says="MR"),
    R("odd/CT_small.dcm", (1, 128, 128), (5, 0.661468, 0.661468), (-896, 1167)),
    R("ct_with_seg", (1, 128, 128), (5, 0.661468, 0.661468), (-896, 1167)),
    R("ct_with_seg/ct_image.dcm", (1, 128, 128), (5, 0.661468, 0.661468), (-896, 1167)),
    # A map of blood flow in ml/100ml/s, stored as enhanced CT: read, and never called HU.
    R("enhanced/eCT_Supplemental.dcm", (2, 512, 512), (10, 0.388672, 0.388672), (-1024, 172),
      "unknown", "not-ct"),
    R("dicomdir/98892001/CT5N", (5, 16, 16), (2.5, 0.488281, 0.488281), (-888, 85)),
    R("dicomdir/77654033/CT2/17106", (1, 16, 16), (1.25, 0.488281, 0.488281), (-981, 77)),
]  # fmt: skip
VOLUMES = [
    R("nifti/oblique_uint8.nii.gz", (58, 248, 175), (2.3970494, 0.8125, 0.8125), (0, 255),
      "unknown", "not-ct", says="Hounsfield"),
    R("ct/head_female_1mm.nii.gz", (234, 512, 512), (1, 1, 1), (-1024, 3063)),
    R("ct/abdomen_3mm.nii.gz", (112, 101, 122), (3, 3, 3), (-1207, 3382)),
    R("ct/thorax_cta_1p5mm.nii.gz", (112, 102, 122), (1.5, 1.5, 1.5), (-1064, 3343)),
    R("ct/abdomen_contrast_pancreas_5mm.nii.gz", (35, 512, 512), (5, 0.859375, 0.859375),
      (-1024, 3071)),
    R("ct/chest_effusion_tumor.nii.gz", (137, 256, 256), (2.007326, 1.5625, 1.5625), (-1000, 1832)),
    R("ct/chest_lowdose.nii.gz", (143, 256, 256), (2, 1.08, 1.08), (-1024, 2118)),
    R("ct/chest_plain_a.nii.gz", (49, 256, 256), (2, 1.519531, 1.519531), (-1024, 3065)),
    R("ct/kidneys_arterial_18slices.nii.gz", (18, 512, 512), (2.5, 0.6640625, 0.6640625),
      (-1024, 1334)),
    R("ct/torso_petct_couch.nii.gz", (135, 256, 256), (3.27, 1.953124, 1.953124), (-1024, 1350)),
    R("ct/abdomen_3mm_labels.nii.gz", (112, 101, 122), (3, 3, 3), (0, 117), "unknown", "not-ct"),
    R("ct/head_female_1mm_exact.nii.gz", (234, 512, 512), (1, 1, 1), (0, 1), "unknown", "not-ct"),
    R("ct/thorax_cta_1p5mm_heart_larger_grid.nii.gz", (191, 167, 233), (1.5,) * 3, (0, 1),
      "unknown", "not-ct"),
    R("ct/thorax_cta_1p5mm_pulmonary_artery.nii.gz", (112, 102, 122), (1.5,) * 3, (0, 1),
      "unknown", "not-ct"),
    R("registration/brain_a.nii.gz", (224, 192, 160), (1, 1, 1), (0, 0.88235295), "unknown",
      "not-ct"),
    R("registration/brain_b.nii.gz", (224, 192, 160), (1, 1, 1), (0, 0.8509804), "unknown",
      "not-ct"),
    # Nothing says what these measure, and 32767 is no Hounsfield unit.
    R("registration/RA-Short.nrrd", (64, 64, 64), (0.7558745,) * 3, (-1146, 32767), "unknown",
      "not-ct"),
    R("registration/RA-Short_az0.35_tx3_ty4_tz2.nrrd", (64, 64, 64), (0.7558745,) * 3,
      (0, 32742), "unknown", "not-ct"),
]  # fmt: skip
REFUSED = {
    "odd/MR_truncated.dcm": r"truncated|less|short|damaged|bytes",
    "odd/no_meta.dcm": r"no image|without an image|not an image|damaged",
    "odd/image_dfl.dcm": r"modality OT|picture|not a CT",
    "ct_with_seg/seg_image_ct_binary.dcm": r"SEG|segmentation",
    "ct_with_seg/seg_image_ct_true_fractional.dcm": r"SEG|segmentation",
    "dicomdir/README.txt": r"not in a format",
    "dicomdir/77654033/CR1/6154": r"CR",
    "dicomdir/77654033/CR2/6247": r"CR",
    "dicomdir/77654033/CR3/6278": r"CR",
}


def holds(row: Row, item, volume: Volume) -> None:
    assert item.shape == volume.shape == row.shape
    np.testing.assert_allclose(item.spacing, row.spacing, rtol=1e-5)
    np.testing.assert_allclose(volume.spacing, row.spacing, rtol=1e-5)
    np.testing.assert_array_equal(item.affine, volume.affine)
    measured = volume.voxels if volume.outside is None else volume.voxels[~volume.outside]
    np.testing.assert_allclose((volume.voxels.min(), measured.max()), row.range, rtol=1e-6)
    assert (item.unit, item.verdict) == (row.unit, row.verdict)
    assert (volume.unit, volume.provenance.verdict) == (row.unit, row.verdict)
    assert (volume.outside is not None) == row.outside
    if row.outside:
        assert (volume.voxels[volume.outside] == AIR).all()
    assert not item.refusal
    for notice in item.warnings:
        assert "\n" not in notice.text
    if row.says:
        assert re.search(row.says, " ".join(texts(item.warnings)))


def by_pydicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the rescaled values and the affine of a classic file, by pydicom's numbers alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files bend the standard
        d = pydicom.dcmread(path)
        stored = d.pixel_array.astype(float)
        values = stored * float(d.get("RescaleSlope", 1)) + float(d.get("RescaleIntercept", 0))
        row, column = np.array(d.ImageOrientationPatient, float).reshape(2, 3)
        directions = np.stack([np.cross(row, column), column, row], 1)
        spacing = (float(d.SliceThickness), *map(float, d.PixelSpacing))
        return values, compose(np.array(d.ImagePositionPatient, float), directions, spacing)


@pytest.mark.parametrize("row", DICOM, ids=lambda row: row.path)
def test_dicom(shared_data, row):
    path = shared_data / "dicom" / row.path
    items = find(path).items
    assert len(items) == 1
    volume = read(path)
    holds(row, items[0], volume)
    if path.is_file() and "enhanced" not in row.path:
        values, affine = by_pydicom(path)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
        kept = np.ones(volume.shape, bool) if volume.outside is None else ~volume.outside
        np.testing.assert_array_equal(volume.voxels[kept], values[None][kept])
        # What was marked as outside is only what the scanner could not have measured.
        assert (values[None][~kept] < AIR).all()


@pytest.mark.parametrize("row", VOLUMES, ids=lambda row: row.path)
def test_volumes_in_one_file(shared_data, row):
    path = shared_data / row.path
    (item,) = find(path).items
    volume = read(path)
    holds(row, item, volume)
    if path.suffix == ".nrrd":
        image = SimpleITK.ReadImage(str(path))
        values = SimpleITK.GetArrayFromImage(image)
        direction = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
        affine = compose(image.GetOrigin(), direction, image.GetSpacing()[::-1])
    else:
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).T
        affine = np.diag([-1.0, -1, 1, 1]) @ image.affine[:, [2, 1, 0, 3]]
    np.testing.assert_array_equal(volume.voxels, values)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


@pytest.mark.parametrize("path", REFUSED)
def test_refused(shared_data, path):
    file = shared_data / "dicom" / path
    with pytest.raises(InputError, match=REFUSED[path]) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    assert file.name in str(caught.value)


def test_every_file_is_in_this_table(shared_data):
    """Nothing was added to the data without a word here about it."""
    known = {shared_data / "dicom" / row.path for row in DICOM}
    known |= {shared_data / row.path for row in VOLUMES}
    known |= {shared_data / "dicom" / path for path in REFUSED}
    elsewhere = {shared_data / "dicom" / n for n in ("head_gantry_tilt", "dicomdir", "reported")}
    for folder in ("dicom", "nifti", "ct", "registration"):
        for file in (shared_data / folder).rglob("*"):
            if file.is_file():
                assert known & {file, *file.parents} or elsewhere & set(file.parents), file


def test_jpeg2000_equals_the_uncompressed_image_voxel_for_voxel(shared_data):
    a = read(shared_data / "dicom/syntaxes/693_J2KR.dcm")
    b = read(shared_data / "dicom/syntaxes/693_UNCR.dcm")
    np.testing.assert_array_equal(a.voxels, b.voxels)
    np.testing.assert_array_equal(a.outside, b.outside)
    np.testing.assert_array_equal(a.affine, b.affine)


def test_the_abdomen_equals_simpleitk(shared_data):
    folder = shared_data / "dicom" / "abdomen_contrast_j2k"
    files = sorted(folder.iterdir(), key=lambda f: -int(f.name[-5:]))  # downwards as they count
    image = SimpleITK.ReadImage([str(f) for f in files])
    direction = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = compose(image.GetOrigin(), direction, image.GetSpacing()[::-1])
    volume = read(folder)
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    np.testing.assert_allclose(volume.origin[2], -804.5)
    assert len(find(folder).items) == 1  # although its series has no UID


def test_enhanced_frames_lie_where_their_groups_say(shared_data):
    path = shared_data / "dicom/enhanced/eCT_Supplemental.dcm"
    volume = read(path)
    d = pydicom.dcmread(path)
    frames = d.pixel_array.astype(int) - 1024
    for i, groups in enumerate(d.PerFrameFunctionalGroupsSequence):
        where = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        index = apply(np.linalg.inv(volume.affine), where)
        z = round(index[0])
        np.testing.assert_allclose(index, (z, 0, 0), atol=1e-3)
        np.testing.assert_array_equal(volume.voxels[z], frames[i])
    # Rows run to the patient's right: the picture is upright all the same.
    row = np.array([-1.0, 0, 0])
    np.testing.assert_allclose(volume.affine[:3, 2] / volume.spacing[2], row, atol=1e-6)
    upright = closest_axial(volume)
    assert (np.diag(upright.affine[:3, 2::-1]) > 0).all()
    assert same_in_space(volume, upright)


def test_segmentations_are_not_mixed_into_the_series(shared_data):
    folder = shared_data / "dicom" / "ct_with_seg"
    found = find(folder)
    assert [item.shape for item in found.items] == [(1, 128, 128)]
    assert {Path(s.path).name for s in found.skipped} == {
        "seg_image_ct_binary.dcm", "seg_image_ct_true_fractional.dcm",
    }  # fmt: skip
    assert all(re.search("SEG|segmentation", s.reason) for s in found.skipped)
    np.testing.assert_array_equal(read(folder).voxels, read(folder / "ct_image.dcm").voxels)


# --- the tilted head ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tilted(shared_data):
    folder = shared_data / "dicom" / "head_gantry_tilt"
    (item,) = find(folder).items
    return item, read(folder), [pydicom.dcmread(f) for f in sorted(folder.iterdir())]


def test_the_tilted_head_is_named_so(tilted):
    item, volume, datasets = tilted
    assert item.verdict == volume.provenance.verdict == "tilted"
    text = " ".join(texts(item.warnings))
    assert re.search(r"18\.5 degrees", text)
    assert re.search(r"distance|gap|spacing|uneven|apart", text)
    assert item.unit == volume.unit == "HU"
    assert item.shape == volume.shape
    stored = np.array(sorted(d.ImagePositionPatient[2] for d in datasets), float)
    positions = np.array(volume.provenance.stored_positions)
    np.testing.assert_allclose(sorted(positions[:, 2]), stored, atol=1e-4)


def test_the_tilted_head_comes_out_upright(tilted):
    """Its axes are the patient's, and nothing that was scanned lies outside its grid."""
    _, volume, datasets = tilted
    directions = volume.affine[:3, :3] / np.array(volume.spacing)
    np.testing.assert_allclose(directions, np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]), atol=1e-6)
    np.testing.assert_allclose(volume.spacing[2], 0.4882812, rtol=1e-6)
    measured = volume.voxels if volume.outside is None else volume.voxels[~volume.outside]
    assert measured.min() >= -1500 + 0  # nothing below what was stored
    assert 1200 < measured.max() <= 2121
    for d in (datasets[0], datasets[-1]):
        row, column = np.array(d.ImageOrientationPatient, float).reshape(2, 3)
        for x, y in ((0, 0), (511, 0), (0, 511), (511, 511)):
            point = np.array(d.ImagePositionPatient, float) + 0.4882812 * (row * x + column * y)
            index = apply(np.linalg.inv(volume.affine), point)
            assert (index > -0.6).all()
            assert (index < np.array(volume.shape) - 0.4).all()


def test_the_tilted_head_is_where_it_was_scanned(tilted):
    """Each pixel of each stored slice is found again at its place in the patient."""
    from scipy.ndimage import map_coordinates

    _, volume, datasets = tilted
    y, x = np.mgrid[60:452:7, 60:452:7]
    for d in datasets[3:25:7]:
        row, column = np.array(d.ImageOrientationPatient, float).reshape(2, 3)
        points = np.array(d.ImagePositionPatient, float) + 0.4882812 * (
            x[..., None] * row + y[..., None] * column
        )
        index = apply(np.linalg.inv(volume.affine), points)
        there = map_coordinates(volume.voxels.astype(float), np.moveaxis(index, -1, 0), order=1)
        stored = d.pixel_array[y, x].astype(float)
        soft = (stored > -50) & (stored < 120)
        assert soft.sum() > 200
        assert np.median(np.abs(there - stored)[soft]) < 6
        assert np.corrcoef(there[soft], stored[soft])[0, 1] > 0.5 or soft.sum() < 300
        assert np.corrcoef(there.ravel(), stored.ravel())[0, 1] > 0.9


def test_as_stored_the_tilted_slices_are_untouched(tilted, shared_data):
    _, _, datasets = tilted
    raw = read(shared_data / "dicom" / "head_gantry_tilt", as_stored=True)
    assert raw.shape == (28, 512, 512)
    datasets = sorted(datasets, key=lambda d: d.ImagePositionPatient[2])
    for z in (0, 13, 14, 27):
        stored = datasets[z].pixel_array.astype(int)
        padding = stored == -1500
        np.testing.assert_array_equal(raw.voxels[z][~padding], stored[~padding])
        assert (raw.voxels[z][padding] == AIR).all()
        assert raw.outside[z][padding].all()


# --- the DICOMDIR ------------------------------------------------------------------------------

LISTING = {
    # folder: (files, modality), as the DICOMDIR's README and pydicom tell
    "77654033/CT2": (4, "CT"),
    "98892001/CT2N": (2, "CT"),
    "98892001/CT5N": (5, "CT"),
    "98892003/MR1": (3, "MR"),
    "98892003/MR2": (7, "MR"),
    "98892003/MR700": (7, "MR"),
}
PLAIN = 3  # radiographs, which are no volumes


@pytest.mark.parametrize(
    "name",
    ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset", "DICOMDIR-nopatient",
     "DICOMDIR-reordered"],
)  # fmt: skip
def test_a_dicomdir_leads_to_all_its_images(shared_data, name):
    folder = shared_data / "dicom" / "dicomdir"
    found = find(folder / name)
    seen: dict[str, int] = {}
    for item in found.items:
        for header in {str(h.path): h for h in item.source.headers}.values():
            place = str(Path(header.path).parent.relative_to(folder))
            seen[place] = seen.get(place, 0) + 1
    assert seen == {place: count for place, (count, _) in LISTING.items()}
    radiographs = [s for s in found.skipped if "/CR" in s.path]
    assert len(radiographs) == PLAIN
    assert all("CR" in s.reason for s in radiographs)


def test_a_dicomdir_lists_what_its_folder_holds(shared_data):
    folder = shared_data / "dicom" / "dicomdir"

    def listed(path):
        return sorted(
            (i.modality, i.series_uid, i.shape or (), i.verdict) for i in find(path).items
        )

    assert listed(folder / "DICOMDIR") == listed(folder)


def test_an_empty_dicomdir_says_so(shared_data):
    with pytest.raises(TomochromeError) as caught:
        read(shared_data / "dicom" / "dicomdir" / "DICOMDIR-empty.dcm")
    assert "DICOMDIR" in str(caught.value)


def test_series_of_the_dicomdir(shared_data):
    folder = shared_data / "dicom" / "dicomdir"
    items = find(folder).items
    regular = [i for i in items if i.verdict == "regular"]
    assert [(i.modality, i.shape) for i in regular] == [("CT", (5, 16, 16))]
    # 4 slices of which one lies 202.5 mm below the others: nothing fills that.
    (torn,) = [i for i in items if i.verdict == "incomplete"]
    assert torn.modality == "CT"
    volume = read(torn)
    stored = [
        pydicom.dcmread(f).pixel_array.astype(int) - 1024
        for f in sorted((folder / "77654033" / "CT2").iterdir())
    ]
    np.testing.assert_allclose(volume.spacing[0], 1.25, atol=1e-6)
    assert volume.shape == (165, 16, 16)
    np.testing.assert_array_equal(volume.voxels[0], stored[0])
    np.testing.assert_array_equal(volume.voxels[-3:], np.stack(stored[1:]))
    assert volume.outside[1:-3].all()
    assert (volume.voxels[1:-3] == AIR).all()
    # Scouts in two directions are no volume together, and are called what they are.
    scouts = [i for i in items if "98892001/CT2N" in i.path]
    assert scouts
    for item in scouts:
        assert item.verdict == "not-ct"
        assert re.search("localizer|scout", " ".join(texts(item.warnings)))
    assert all(i.verdict == "not-ct" for i in items if i.modality == "MR")
