"""The phantom written in every orientation comes back voxel for voxel, at its places in space."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torture as T
from io_cases import same_in_space
from scipy.spatial.transform import Rotation

from marker_cases import stored_as
from tomochrome.geometry import closest_axial, reorient_like
from tomochrome.geometry.affine import compose
from tomochrome.io import read, write
from tomochrome.io.dicom import write_series
from tomochrome.volume import Volume

# The scan's axes z, y, x in another order, each forwards or backwards: the same body at the same
# place, stored in another way. Cut unequal, so that no axis can be taken for another.
CUT = (24, 44, 40)


def body() -> Volume:
    return Volume(T.scan().voxels[:, : CUT[1], : CUT[2]].copy(), T.scan().affine, "HU")


def turned(volume: Volume, *degrees: float) -> Volume:
    """Return the volume with the patient turned in the scanner."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("zyx", degrees, degrees=True).as_matrix()
    return Volume(volume.voxels, turn @ volume.affine, "HU")


NAMED = {
    # the order of the axes z, y, x, and which run backwards
    "axial": ((0, 1, 2), (False, False, False)),
    "feet-first": ((0, 1, 2), (True, False, False)),
    "sagittal": ((2, 0, 1), (False, True, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "flipped rows": ((0, 1, 2), (False, True, False)),
    "flipped columns": ((0, 1, 2), (False, False, True)),
    "turned by 90 degrees": ((0, 2, 1), (False, False, True)),
    "prone": ((0, 1, 2), (False, True, True)),
}
CASES = {name: (lambda how=how: stored_as(body(), *how)) for name, how in NAMED.items()}
CASES |= {
    "oblique": lambda: turned(body(), 20, -15, 30),
    "oblique sagittal": lambda: turned(stored_as(body(), *NAMED["sagittal"]), 7, 11, -5),
    "nearly axial": lambda: turned(body(), 0.2, 0.1, 0.3),
}


def from_itk(image: SimpleITK.Image) -> Volume:
    """Return SimpleITK's image by its own numbers, with nothing of Tomochrome's."""
    direction = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = compose(image.GetOrigin(), direction, image.GetSpacing()[::-1])
    return Volume(SimpleITK.GetArrayFromImage(image), affine, "HU")


def by_simpleitk(folder) -> SimpleITK.Image:
    """Read a series by ITK's series reader, in the order that GDCM finds."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def agrees_with_simpleitk(volume: Volume, folder) -> None:
    image = by_simpleitk(folder)
    oracle = from_itk(image)
    np.testing.assert_array_equal(volume.voxels, oracle.voxels)
    np.testing.assert_allclose(volume.origin, image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.spacing[::-1], image.GetSpacing(), atol=1e-4)
    direction = volume.affine[:3, 2::-1] / np.array(volume.spacing[::-1])
    np.testing.assert_allclose(direction.ravel(), image.GetDirection(), atol=1e-4)
    far = np.array(volume.shape) - 1.0
    there = volume.affine @ [*far, 1]
    np.testing.assert_allclose(
        there[:3], image.TransformIndexToPhysicalPoint([int(v) for v in far[::-1]]), atol=1e-3
    )


@pytest.mark.parametrize("writer", ["tomochrome", "pydicom"])
@pytest.mark.parametrize("case", CASES)
def test_dicom_in_every_orientation(tmp_path, case, writer):
    volume = CASES[case]()
    if writer == "tomochrome":
        folder = write_series(volume, tmp_path / "s")
    else:
        datasets = T.slices(volume)
        for d in datasets:
            d.PatientPosition = "FFS" if case == "feet-first" else "HFS"
            d.InstanceNumber = 1000 - d.InstanceNumber
        order = np.random.default_rng(1).permutation(len(datasets))
        folder = T.save([datasets[i] for i in order], tmp_path / "s", name="{:d}")
    back = read(folder)
    assert (back.unit, back.provenance.verdict) == ("HU", "regular")
    assert back.voxels.dtype == np.int16
    assert same_in_space(volume, back)
    agrees_with_simpleitk(back, folder)


@pytest.mark.parametrize("case", NAMED)
def test_however_it_was_stored_it_is_shown_alike(tmp_path, case):
    """The closest axial view of every way of storing is one and the same volume."""
    T.save(T.slices(CASES[case]()), tmp_path / "s")
    back = read(tmp_path / "s")
    upright = closest_axial(back)
    np.testing.assert_array_equal(upright.voxels, body().voxels)
    np.testing.assert_allclose(upright.affine, body().affine, atol=1e-4)
    again = reorient_like(upright, back)
    np.testing.assert_array_equal(again.voxels, back.voxels)
    np.testing.assert_allclose(again.affine, back.affine, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_volumes_in_one_file_come_back_as_they_were(tmp_path, case, ending):
    volume = CASES[case]()
    path = tmp_path / f"v{ending}"
    write(volume, path)
    back = read(path)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    if ending == ".nrrd":
        oracle = from_itk(SimpleITK.ReadImage(str(path)))
        np.testing.assert_array_equal(oracle.voxels, volume.voxels)
        np.testing.assert_allclose(oracle.affine, volume.affine, atol=1e-4)


def canonical(path) -> Volume:
    """Return nibabel's closest canonical image (x to the right, y to anterior) in our terms."""
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asanyarray(image.dataobj)[::-1, ::-1]  # to LPS: x and y run the other way
    affine = np.diag([-1.0, -1, 1, 1]) @ image.affine
    for axis in (0, 1):
        affine[:, 3] += affine[:, axis] * (data.shape[axis] - 1)
        affine[:, axis] *= -1
    return Volume(data.T, affine[:, [2, 1, 0, 3]], "HU")


WAYS = [
    (order, flips)
    for order in permutations((0, 1, 2))
    for flips in product((False, True), repeat=3)
]


@pytest.mark.parametrize("turn", [(), (9, -6, 12)], ids=["straight", "oblique"])
def test_nifti_equals_nibabels_canonical_image_in_all_48_orders(tmp_path, turn):
    small = Volume(T.scan().voxels[4:13, 6:20, 10:22].copy(), T.scan().affine, "HU")
    for i, (order, flips) in enumerate(WAYS):
        volume = stored_as(turned(small, *turn) if turn else small, order, flips)
        ras = np.diag([-1.0, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
        image = nib.Nifti1Image(volume.voxels.T, ras)
        image.set_data_dtype(">i2" if i % 2 else "<i2")
        ending = (".nii", ".nii.gz", ".img")[i % 3]
        kind = nib.Nifti1Pair if ending == ".img" else nib.Nifti1Image
        path = tmp_path / f"{i}{ending}"
        nib.save(kind(volume.voxels.T, ras, image.header), path)
        back = read(path.with_suffix(".hdr") if ending == ".img" else path)
        np.testing.assert_array_equal(back.voxels, volume.voxels)
        np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
        upright, oracle = closest_axial(back), canonical(path)
        np.testing.assert_array_equal(upright.voxels, oracle.voxels)
        np.testing.assert_allclose(upright.affine, oracle.affine, atol=1e-4)
