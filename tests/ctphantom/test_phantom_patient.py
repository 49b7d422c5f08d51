# ruff: noqa: N817 - S is Structure
import subprocess
import sys

import numpy as np
import pytest

from ctphantom import PhantomError, draw_anatomy, make_patient, make_structures
from ctphantom.generation import REGIONS
from ctphantom.structures import Structure as S

COARSE = (5.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def torso():
    return make_structures(7, "torso", COARSE, spleen_ml=250.0, stomach_fill="water",
                           stomach_ml=500.0, arms_up=True)  # fmt: skip


def volume_ml(painted, *structures) -> float:
    scale = np.prod(painted.anatomy.scale)
    return float(np.isin(painted.structures, structures).sum() * np.prod(COARSE) / 1000 / scale)


def centroid(painted, *structures) -> np.ndarray:
    index = np.argwhere(np.isin(painted.structures, structures)).mean(0)
    world = painted.affine @ [*index, 1.0]
    return painted.anatomy.to_patient(world[None, :3])[0]


def test_all_main_organs_are_present(torso):
    present = set(np.unique(torso.structures))
    wanted = {
        S.LIVER, S.SPLEEN, S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA, S.PANCREAS, S.STOMACH_WALL,
        S.STOMACH_CONTENT, S.SMALL_BOWEL_WALL, S.COLON_WALL, S.AORTA, S.VENA_CAVA, S.PORTAL_VEIN,
        S.HEPATIC_VEIN, S.LUNG, S.LUNG_VESSEL, S.AIRWAY_GAS, S.MYOCARDIUM, S.LEFT_HEART_BLOOD,
        S.RIGHT_HEART_BLOOD, S.ESOPHAGUS, S.URINE, S.CORTICAL_BONE, S.TRABECULAR_BONE,
        S.INTERVERTEBRAL_DISC, S.SPINAL_CORD, S.CSF, S.CARTILAGE, S.SKIN, S.MUSCLE, S.ADRENAL,
    }  # fmt: skip
    assert wanted <= present


def test_organ_volumes_are_those_of_adults(torso):
    assert 0.7 * 250 < volume_ml(torso, S.SPLEEN) < 1.2 * 250
    assert 900 < volume_ml(torso, S.LIVER, S.PORTAL_VEIN, S.HEPATIC_VEIN) < 2200
    assert 180 < volume_ml(torso, S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA) < 460
    assert 25 < volume_ml(torso, S.PANCREAS) < 130
    assert 300 < volume_ml(torso, S.STOMACH_WALL, S.STOMACH_CONTENT, S.STOMACH_GAS) < 800
    assert 3000 < volume_ml(torso, S.LUNG) < 7500


def test_organs_are_on_the_correct_side(torso):
    liver, spleen = centroid(torso, S.LIVER), centroid(torso, S.SPLEEN)
    stomach, aorta = centroid(torso, S.STOMACH_CONTENT), centroid(torso, S.AORTA)
    heart, cava = centroid(torso, S.LEFT_HEART_BLOOD), centroid(torso, S.VENA_CAVA)
    assert liver[0] < -30 and spleen[0] > 70 and stomach[0] > 20 and heart[0] > 0
    assert cava[0] < aorta[0]
    assert stomach[1] < spleen[1]  # the stomach lies in front of the spleen
    assert heart[2] > liver[2] > centroid(torso, S.URINE)[2]


@pytest.mark.parametrize("seed", [3, 21, 40])
def test_crura_lie_beside_the_aorta_and_the_caudate_before_the_vena_cava(seed):
    plain = {"warp": 0.0, "tilt": (0.0, 0.0, 0.0), "shift": (0.0, 0.0), "bend": 0.0}
    spacing = (4.0, 1.5, 1.5)
    painted = make_structures(seed, "abdomen", spacing, couch=False, **plain)
    at = [np.argwhere(painted.structures == s) for s in (S.AORTA, S.VENA_CAVA, S.LIVER)]
    places = [(painted.affine[:3, :3] @ found.T).T + painted.affine[:3, 3] for found in at]
    scale = painted.anatomy.scale[2]
    upper = [place[np.abs(place[:, 2] - 150 - 20 * scale) < 3] for place in places]
    aorta, cava, liver = (place[:, :2] for place in upper)
    # around the aorta, muscle of the diaphragm on both sides
    crus = painted.structures == S.DIAPHRAGM
    index = np.argwhere(crus)
    muscle = (painted.affine[:3, :3] @ index.T).T + painted.affine[:3, 3]
    muscle = muscle[np.abs(muscle[:, 2] - 150 - 20 * scale) < 3][:, :2]
    near = muscle[np.linalg.norm(muscle - aorta.mean(0), axis=1) < 30]
    assert (near[:, 0] < aorta[:, 0].mean() - 5).any() and (near[:, 0] > aorta[:, 0].mean()).any()
    # liver to the left of the vena cava and in front of it, as far as the aorta
    front = liver[liver[:, 1] < cava[:, 1].min() + 4]
    assert (np.abs(front[:, 0] - aorta[:, 0].min()) < 12).any()


def test_gas_in_the_stomach_is_anterior():
    straight = {"warp": 0.0, "tilt": (0.0, 0.0, 0.0), "bend": 0.0}
    stomach = {"stomach_fill": "gas", "stomach_gas": 0.6, "stomach_ml": 450.0}
    painted = make_structures(3, "abdomen", COARSE, **stomach, **straight)
    _, gas, _ = np.nonzero(painted.structures == S.STOMACH_GAS)
    _, fluid, _ = np.nonzero(painted.structures == S.STOMACH_CONTENT)
    assert len(gas) > 20 and len(fluid) > 20
    assert gas.max() <= fluid.min() + 1


def test_the_patient_depends_only_on_the_seed(torso):
    again = make_structures(7, "torso", COARSE, spleen_ml=250.0, stomach_fill="water",
                            stomach_ml=500.0, arms_up=True, threads=2)  # fmt: skip
    assert np.array_equal(again.structures, torso.structures)
    assert draw_anatomy(1) == draw_anatomy(1) != draw_anatomy(2)


def test_patients_differ():
    drawn = [draw_anatomy(seed) for seed in range(300)]
    spleens = np.array([a.spleen_ml for a in drawn])
    assert spleens.min() < 110 and spleens.max() > 420
    assert {a.stomach_fill for a in drawn} == {"collapsed", "water", "food", "contrast", "gas"}
    assert {a.sex for a in drawn} == {"female", "male"}
    assert any(a.gallbladder == 0 for a in drawn) and any(a.ascites > 0 for a in drawn)


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_paints_and_is_mostly_body(region):
    painted = make_structures(5, region, (12.0, 9.0, 9.0))
    assert painted.structures.dtype == np.uint8
    assert (painted.structures > S.BLANKET).mean() > 0.12
    low, high = REGIONS[region]
    extent = painted.structures.shape[0] * 12.0 / painted.anatomy.scale[2]
    assert extent == pytest.approx(high - low, abs=14)


def test_all_data_of_a_patient_are_on_one_grid():
    told = []
    patient = make_patient(
        2, "abdomen", (10.0, 5.0, 5.0), sex="male", build="heavy", phase="portal", breathing=1.0,
        progress=lambda *args: told.append(args),
    )  # fmt: skip
    assert patient.ct.dtype == np.int16
    assert patient.ct.shape == patient.structures.shape
    assert patient.spacing == (10.0, 5.0, 5.0)
    assert patient.anatomy.sex == "male" and patient.anatomy.breathing == 1.0
    liver = patient.ct[patient.structures == S.LIVER]
    assert 40 < np.median(liver) < 180
    assert patient.cryosection().shape == (*patient.ct.shape, 3)
    assert [stage for done, total, stage in told if done == total] == [
        "generating the phantom", "rendering CT",
    ]  # fmt: skip


def test_the_affine_maps_to_left_posterior_superior():
    painted = make_structures(2, "chest", (8.0, 7.0, 6.0), shift=(0.0, 0.0))
    last = np.array(painted.structures.shape) - 1
    right, front, bottom, _ = painted.affine @ [0, 0, 0, 1]
    left, back, top, _ = painted.affine @ [*last, 1]
    assert right < 0 < left and front < 0 < back and bottom < top
    assert right == pytest.approx(-left)
    steps = np.array([left - right, back - front, top - bottom]) / last[::-1]
    assert steps == pytest.approx([6.0, 7.0, 8.0])


def test_the_shape_can_be_given():
    painted = make_structures(2, "chest", (8.0, 8.0, 8.0), shape=(20, 30, 40))
    assert painted.structures.shape == (20, 30, 40)


def test_invalid_options_are_rejected():
    with pytest.raises(PhantomError, match="region"):
        make_structures(0, "knee")
    with pytest.raises(PhantomError, match="spacing"):
        make_structures(0, "chest", (0.0, 1.0, 1.0))
    with pytest.raises(PhantomError, match="shape"):
        make_structures(0, "chest", shape=(0, 3, 3))
    with pytest.raises(PhantomError, match="property 'wings'"):
        make_structures(0, "chest", wings=2)
    with pytest.raises(PhantomError, match="build"):
        draw_anatomy(0, build="giant")
    with pytest.raises(PhantomError, match="sex"):
        draw_anatomy(0, sex="both")
    with pytest.raises(PhantomError, match="phase"):
        make_patient(0, phase="late")


def test_painting_can_be_cancelled():
    def cancel(done, total, stage):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_structures(0, "abdomen", (10.0, 10.0, 10.0), progress=cancel)


def test_importing_the_package_paints_nothing_and_loads_no_numba():
    code = "import sys, ctphantom; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
