"""The body mask: it contains the patient, but not couch, clothes and outside air."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from colorize_cases import draw_patient
from scipy import ndimage

from tomochrome.colorization.body import coarse_body, find_body
from tomochrome.colorization.scan import prepare
from tomochrome.volume import Volume, default_affine


def mask_of(hu: np.ndarray, mm: float = 3.0) -> np.ndarray:
    return coarse_body(hu.astype(np.float32), (mm, mm, mm))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_trunk_and_arm_are_body_and_the_couch_is_not() -> None:
    hu, masks = draw_patient()
    found = mask_of(hu, 2.5)
    assert overlap(found, masks["body"]) > 0.98
    assert found[masks["lung"] | masks["gas"]].all()
    assert not (found & masks["couch"] & ~masks["body"]).any()


def test_a_single_slice_is_enough() -> None:
    hu, masks = draw_patient((1, 120, 140))
    assert overlap(mask_of(hu, 2.5), masks["body"]) > 0.98


def test_field_of_view_inside_the_chest() -> None:
    """Lung at the image border is inside, although it is not enclosed."""
    hu, masks = draw_patient()
    part = (slice(None), slice(30, 70), slice(60, 90))
    assert masks["lung"][part].any()
    assert masks["body"][part].all()
    assert mask_of(hu[part], 2.5).all()


@pytest.mark.parametrize(
    ("columns", "cut"), [(slice(None), False), (slice(34, 100), True), (slice(11, 140), False)]
)
def test_a_body_cut_off_at_the_sides_is_told(columns: slice, cut: bool) -> None:
    """The sides of the chest are, an arm alone is not enough."""
    hu, _ = draw_patient()
    volume = Volume(np.ascontiguousarray(hu[:, :, columns]), default_affine((3.0, 2.5, 2.5)))
    assert [n.code for n in prepare(volume).warnings] == (["cut-off"] if cut else [])


def test_a_sagittal_slice_has_no_sides_to_cut_off() -> None:
    hu, _ = draw_patient()
    volume = Volume(np.ascontiguousarray(hu[:, :, 70:71]), default_affine((3.0, 2.5, 2.5)))
    assert not prepare(volume).warnings


@pytest.mark.parametrize(
    ("name", "cut"),
    [("ct/thorax_cta_1p5mm.nii.gz", True), ("dicom/odd/CT_small.dcm", True),
     ("ct/chest_lowdose.nii.gz", False), ("ct/abdomen_3mm.nii.gz", False)],
)  # fmt: skip
def test_real_scans_cut_off_at_the_sides(shared_data: Path, name: str, cut: bool) -> None:
    from tomochrome import read

    codes = [notice.code for notice in prepare(read(shared_data / name)).warnings]
    assert ("cut-off" in codes) == cut


def test_pocket_between_arm_and_trunk_stays_outside() -> None:
    """The arm closes the pocket in the middle slices; it is open above and below."""
    z, y, x = np.ogrid[:12, :60, :80]
    hu = np.full((12, 60, 80), -1000, np.float32)
    hu[np.broadcast_to(((x - 30) / 22) ** 2 + ((y - 30) / 22) ** 2 < 1, hu.shape)] = 40
    ring = ((x - 54) / 14) ** 2 + ((y - 30) / 14) ** 2
    hu[(ring < 1) & (ring > 0.3) & (z > 2) & (z < 9)] = 40
    pocket = (hu < -500) & np.broadcast_to(ring < 0.3, hu.shape)
    found = mask_of(hu)
    assert not found[pocket].any()


def test_gas_enclosed_on_all_sides_is_inside() -> None:
    hu = np.full((9, 40, 40), -1000, np.float32)
    hu[:, 5:35, 5:35] = 40
    hu[3:6, 15:25, 15:25] = -1000
    assert mask_of(hu)[:, 6:34, 6:34].all()


def test_two_legs_are_both_kept_and_a_cushion_is_not() -> None:
    hu = np.full((6, 60, 100), -1000, np.float32)
    _, y, x = np.ogrid[:6, :60, :100]
    for center in (28, 70):
        hu[np.broadcast_to((x - center) ** 2 + (y - 30) ** 2 < 14**2, hu.shape)] = 40
    hu[:, 50:53, 5:95] = -100
    found = mask_of(hu)
    assert found[:, 30, 28].all()
    assert found[:, 30, 70].all()
    assert not found[:, 50:].any()


def test_a_thick_joint_of_the_couch_is_outside() -> None:
    """A plate in all slices, with a block as thick as an arm in a few of them; an arm stays."""
    z, y, x = np.ogrid[:30, :80, :100]
    hu = np.full((30, 80, 100), -1000, np.float32)
    body = np.broadcast_to(((x - 50) / 30) ** 2 + ((y - 30) / 20) ** 2 < 1, hu.shape)
    arm = np.broadcast_to((x - 90) ** 2 + (y - 30) ** 2 < 8**2, hu.shape)
    plate = (abs(y - 62) < 3) & (abs(x - 50) < 40) & (z >= 0)
    block = (abs(y - 66) < 7) & (abs(x - 50) < 10) & (z > 24)
    hu[body | arm | plate | block] = 40
    found = mask_of(hu)
    assert found[body | arm].mean() > 0.99
    assert not found[:, 52:].any()


def head_in_a_holder(plates: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head with a nasal septum between two plates of 6 mm; the rims of its ears touch them."""
    z, y, x = np.ogrid[:50, :90, :80]
    head = ((x - 40) / 24) ** 2 + ((y - 45) / 32) ** 2 + ((z - 25) / 30) ** 2 < 1
    ears = (abs(abs(x - 40) - 23) < 6) & (abs(y - 47 + 0.5 * abs(abs(x - 40) - 23)) < 2)
    ears = (ears | (abs(abs(x - 40) - 28) < 1) & (abs(y - 45) < 3)) & (abs(z - 23) < 10)
    nose = (abs(x - 40) < 8) & (y < 37) & (abs(z - 20) < 9)
    septum = nose & (x == 40) & (y > 17)
    body = (head & ~nose) | ears | septum
    plate = (abs(abs(x - 40) - 29.5) < 1) & (abs(y - 52) < 14) & (z >= 0) & ~body
    hu = np.full(body.shape, -1000, np.float32)
    hu[body] = 40
    hu[plate & plates] = 250
    return hu, body & ears & ~head, plate


def test_plates_of_a_head_holder_are_outside_and_the_ears_are_not() -> None:
    hu, ears, plate = head_in_a_holder()
    alone, _, _ = head_in_a_holder(plates=False)
    found = mask_of(hu)
    assert not (found & plate).any()
    assert found[ears].mean() > 0.7  # the rim lies flat against the plate
    assert (mask_of(alone) & ~found & ~ears).sum() < 20
    assert found[20, 18:36, 40].all()  # the septum, which is as straight as a plate


def test_a_shell_that_touches_the_back_of_the_head_is_outside() -> None:
    """Its place is known from slices in which the head does not touch it."""
    z, y, x = np.ogrid[:60, :90, :80]
    hu = np.full((60, 90, 80), -1000, np.float32)
    head = ((x - 40) / 24) ** 2 + ((y - 40) / 30) ** 2 + ((z - 30) / 34) ** 2 < 1
    reach = np.hypot(x - 40, y - 41)
    shell = (reach > 29.5) & (reach < 33) & (y > 45) & (z >= 0) & ~head
    hu[head] = 40
    hu[shell] = 0
    found = mask_of(hu)
    assert not (found & shell).any()
    assert found[head].mean() > 0.995


@pytest.mark.parametrize("contact", [slice(0, 8), slice(36, 60)])
def test_a_board_with_a_rail_below_the_body_is_outside(contact: slice) -> None:
    """The body lies on it at one end of the scan only."""
    _, y, x = np.ogrid[:60, :80, :100]
    hu = np.full((60, 80, 100), -1000, np.float32)
    board = (y >= 50) & (y < 53) & (x > 2) & (x < 98)
    rail = (y >= 53) & (y < 60) & (x > 55) & (x < 82)
    hu[np.broadcast_to(board, hu.shape)], hu[np.broadcast_to(rail, hu.shape)] = -250, -100
    body = np.broadcast_to(((x - 45) / 30) ** 2 + ((y - 28) / 20) ** 2 < 1, hu.shape).copy()
    body[contact] |= ((x[0] - 45) / 30) ** 2 + ((y[0] - 30) / 20.5) ** 2 < 1
    body[:, 50:] = False
    hu[body] = 40
    found = mask_of(hu)
    assert found[body].mean() > 0.999
    assert not (found & ~body).any()


def test_a_shell_thinner_than_a_voxel_is_outside() -> None:
    """Only where the head fills a part of its voxels are these above the threshold of tissue."""
    z, y, x = np.ogrid[:60, :90, :80]
    hu = np.full((60, 90, 80), -1000, np.float32)
    head = ((x - 40) / 24) ** 2 + ((y - 40) / 30) ** 2 + ((z - 30) / 34) ** 2 < 1
    reach = np.hypot(x - 40, y - 41)
    shell = (reach > 29) & (reach < 30.5) & (y > 45) & (z >= 0) & ~head
    hu[shell] = -650
    hu[shell & ndimage.binary_dilation(head)] = -330
    hu[head] = 40
    assert (hu[shell] == -330).sum() > 100
    found = mask_of(hu)
    assert not (found & shell).any()
    assert found[head].mean() > 0.999


def test_edges_of_a_couch_are_outside_and_a_hand_on_it_is_not() -> None:
    """The edge is free over 78 mm; where an arm lies on it, what juts out is the couch's."""
    z, y, x = np.ogrid[:60, :80, :130]
    hu = np.full((60, 80, 130), -1000, np.float32)
    body = np.broadcast_to(((x - 65) / 34) ** 2 + ((y - 30) / 22) ** 2 < 1, hu.shape)
    couch = (abs(y - 53) < 1) & (abs(x - 65) < 50) & (z >= 0)
    arm = np.broadcast_to((abs(x - 111) < 9) & (abs(y - 45) < 8), hu.shape).copy()
    arm[20:34] &= abs(x[0] - 107) < 5  # a wrist, beside which the edge juts out
    arm[34:] = False
    finger = (abs(x - 25) < 3) & (abs(y - 50) < 3) & (z > 10) & (z < 30)
    hand = (abs(x - 25) < 7) & (abs(y - 46) < 7) & (z >= 30)
    hu[couch] = -100
    hu[body | arm | finger | hand] = 40
    found = mask_of(hu)
    assert found[finger].mean() > 0.999
    assert not (found & couch & ~finger).any()


def test_thin_wall_of_the_chest_is_inside() -> None:
    """It is as thin and straight as a couch top, but closes the lung off."""
    hu = np.full((50, 60, 80), -1000, np.float32)
    hu[:, 10:50, 10:70] = 40
    hu[:, 13:40, 13:38] = hu[:, 13:40, 42:67] = -850
    assert mask_of(hu)[:, 10:50, 10:70].mean() > 0.995


def test_plates_of_a_real_head_holder_are_outside(shared_data: Path) -> None:
    """Both plates, 3 mm thick, touch the ears in slices 26 to 44."""
    from tomochrome import read

    path = shared_data / "dicom" / "head_gantry_tilt"
    if not path.is_dir():
        pytest.skip(f"'{path.name}' is not there")
    scan = read(path)
    body = find_body(np.asarray(scan.voxels), scan.spacing)
    plates = np.r_[0:11, 75:86]  # the columns in which they stand
    assert (body.field[13:21][:, :, plates] > 127).sum() < 150
    ears = body.field[13:21][:, :, np.r_[11:14, 72:75]] > 127
    assert ears.sum() > 400


def test_nothing_beyond_the_patient_on_a_real_couch(shared_data: Path) -> None:
    """The couch of a PET/CT is 3 cm and more behind the patient, in some slices 20 mm thick."""
    from tomochrome import read

    path = shared_data / "ct" / "torso_petct_couch.nii.gz"
    if not path.is_file():
        pytest.skip(f"'{path.name}' is not there")
    scan = read(path)
    mask = find_body(np.asarray(scan.voxels), scan.spacing).field > 0
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.sort(ndimage.sum_labels(mask, parts, np.arange(1, count + 1)))
    assert sizes[:-1].sum() < 50
    couch = np.asarray(scan.voxels)[:, 190:] > -200  # the body ends in front of row 187
    assert couch.sum() > 10_000
    assert not mask[:, 95:].any()


@pytest.mark.parametrize("region", ["head", "chest", "abdomen", "pelvis"])
def test_nothing_is_colored_beyond_a_phantom_on_its_couch(region: str) -> None:
    """Distances from its own body; `benchmarks/colored_outside.py` has other couches."""
    from tomochrome import colorize
    from tomochrome.phantom import Structure, make_patient

    patient = make_patient(1, region, (4.0, 1.5, 1.5))
    around = Structure.OUTSIDE_AIR, Structure.COUCH, Structure.COUCH_FOAM, Structure.BLANKET
    outside = np.isin(patient.structures, around)
    assert (patient.structures == Structure.COUCH).any()
    colored = np.asarray(colorize(patient.ct, "transfer-function").code) > 0
    away = ndimage.distance_transform_edt(outside, sampling=patient.ct.spacing)
    assert away[colored].max() <= 3.0
    tissue = ~outside & (np.asarray(patient.ct.voxels) > -220)
    assert (tissue & ~colored).sum() < 5e-4 * tissue.sum()


@pytest.mark.parametrize("value", [-1024, 0, 3000])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 5), (40, 3, 3), (3, 64, 64)])
def test_constant_and_tiny_volumes(value: int, shape: tuple[int, int, int]) -> None:
    hu = np.full(shape, value, np.int16)
    body = find_body(hu, (1.0, 1.0, 1.0))
    assert (body.field == (0 if value < -400 else 255)).all()


@pytest.mark.parametrize("spacing", [(50.0, 0.2, 0.2), (0.3, 9.0, 9.0), (1e-3, 1.0, 1.0)])
def test_extreme_spacing(spacing: tuple[float, float, float]) -> None:
    hu = np.full((4, 40, 40), -1000, np.int16)
    hu[:, 8:32, 8:32] = 30
    field = find_body(hu, spacing).field
    assert field.any()


def test_noise_estimate() -> None:
    from tomochrome.colorization.scan import body_noise

    for sigma in (5.0, 25.0):
        hu, _ = draw_patient(noise=sigma)
        scan = prepare(Volume(hu, default_affine((3.0, 2.5, 2.5))))
        assert body_noise(scan) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("abdomen_3mm", 0.55, 0.75), ("thorax_cta_1p5mm", 0.99, 1.0)]
)
def test_share_of_body_on_real_ct(shared_data: Path, name: str, low: float, high: float) -> None:
    import nibabel

    image = nibabel.load(shared_data / "ct" / f"{name}.nii.gz")
    hu = np.asarray(image.dataobj).transpose(2, 1, 0).astype(np.int16)
    spacing = tuple(float(s) for s in image.header.get_zooms()[::-1])
    share = (find_body(hu, spacing).field > 127).mean()
    assert low <= share <= high
