# ruff: noqa: N817 - S is Structure
import numpy as np
import pytest
from scipy import ndimage

from ctphantom import PhantomError, Variations, draw_anatomy, draw_variations, make_structures
from ctphantom.materials import hu_table
from ctphantom.structures import Structure as S

COARSE = (6.0, 4.0, 4.0)
KIDNEY = (S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA, S.RENAL_PELVIS)
STRAIGHT = {"warp": 0.0, "tilt": (0.0, 0.0, 0.0), "shift": (0.0, 0.0), "bend": 0.0}
PLAIN = {"effusion": (0.0, 0.0), "ascites": 0.0, "gallbladder": 1.0, "arms_up": True, **STRAIGHT}


def vary(region="abdomen", seed=5, couch=False, **fields):
    variations = Variations(**fields) if fields else None
    return make_structures(seed, region, COARSE, couch=couch, variations=variations, **PLAIN)


@pytest.fixture(scope="module")
def abdomen():
    return vary()


@pytest.fixture(scope="module")
def torso():
    return vary("torso")


def places(painted, *structures):
    """World x, y, z of the voxels of structures, without the module that is tested."""
    index = np.argwhere(np.isin(painted.structures, structures))
    return (painted.affine[:3, :3] @ index.T).T + painted.affine[:3, 3]


def test_patients_without_variations_are_unchanged():
    painted = make_structures(8, "torso", (8.0, 6.0, 6.0))
    assert painted.structures.shape == (71, 50, 76)
    counted = {
        S.LIVER: 4015, S.MUSCLE: 38996, S.SUBCUTANEOUS_FAT: 24672, S.LUNG: 10925,
        S.TRABECULAR_BONE: 2501, S.SMALL_BOWEL_WALL: 2150,
    }  # fmt: skip
    # a count each, not a checksum: processors may round one voxel of a surface otherwise
    for structure, count in counted.items():
        assert abs(int((painted.structures == structure).sum()) - count) <= 3, structure.name
    neutral = make_structures(8, "torso", (8.0, 6.0, 6.0), variations=Variations())
    assert np.array_equal(neutral.structures, painted.structures)


def test_obesity_enlarges_subcutaneous_fat_by_the_factor(torso):
    def thickness(painted):
        """Mean depth in mm of the fat in front of the belly, in the median third."""
        z = places(painted, S.LIVER)[:, 2].min()
        k = round((z - painted.affine[2, 3]) / COARSE[0])
        n = painted.structures.shape[2] // 3
        front = painted.structures[k - 3 : k + 4, : painted.structures.shape[1] // 2, n : 2 * n]
        return (front == S.SUBCUTANEOUS_FAT).sum(1).mean() * COARSE[1]

    own = torso.anatomy.subcutaneous
    heavy, obese = vary("torso", fat=30 / own), vary("torso", fat=60 / own)
    assert heavy.anatomy.subcutaneous == pytest.approx(30)
    # from a patient who has some: 2.5 mm are there whatever the factor
    assert thickness(obese) / thickness(heavy) == pytest.approx(2.0, rel=0.15)
    plain, more = (len(places(p, S.SUBCUTANEOUS_FAT)) for p in (torso, heavy))
    assert more > 2 * plain


def test_emaciation_reduces_fat_and_muscle():
    fed, starved = (
        make_structures(5, "abdomen", COARSE, build="heavy", variations=v, **PLAIN)
        for v in (None, Variations(fat=0.2))
    )
    for structure, share in ((S.SUBCUTANEOUS_FAT, 0.5), (S.VISCERAL_FAT, 0.8), (S.MUSCLE, 1.0)):
        left = (starved.structures == structure).sum() / (fed.structures == structure).sum()
        assert left < share, structure.name


@pytest.mark.parametrize("deviation", [30.0, -24.0])
def test_scoliosis_moves_the_spine_by_so_many_mm(torso, deviation):
    def line(painted):
        cord = places(painted, S.SPINAL_CORD, S.CSF)
        return {z: cord[cord[:, 2] == z, 0].mean() for z in np.unique(cord[:, 2])}

    straight, bent = line(torso), line(vary("torso", scoliosis_mm=deviation))
    moved = np.array([bent[z] - straight[z] for z in sorted(straight.keys() & bent.keys())])
    moved *= np.sign(deviation)
    assert moved.max() == pytest.approx(abs(deviation), abs=3.0)
    assert moved.min() < -0.3 * abs(deviation)  # the counter-curve of the loins
    assert abs(moved[0]) < 4 and abs(moved[-1]) < 12  # sacrum and neck stay in the middle


def test_effusion_is_dependent_and_inside_the_chest(torso):
    painted = vary("torso", effusion_mm=(60.0, 0.0))
    fluid = painted.structures == S.EFFUSION_FLUID
    was = torso.structures[fluid]
    assert fluid.sum() > 500 and np.isin(was, [S.LUNG, S.LUNG_VESSEL]).all()
    there, air = places(painted, S.EFFUSION_FLUID), places(painted, S.LUNG)
    assert (there[:, 0] < 6).all()  # the right side alone
    right = air[air[:, 0] < 0]
    assert np.median(there[:, 1]) > np.percentile(right[:, 1], 90)
    deep = np.ptp(there[:, 1])
    assert 50 < deep < 110
    # airless lung lies between fluid and lung
    near = ndimage.binary_dilation(fluid, iterations=2)
    solid = painted.structures == S.LUNG_SOLID
    assert solid.sum() > 50 and near[solid].mean() > 0.7
    assert not (torso.structures == S.LUNG_SOLID).any()


def test_a_consolidation_is_airless_lung_with_open_bronchi(torso):
    painted = vary("torso", consolidation_mm=40.0)
    solid = painted.structures == S.LUNG_SOLID
    there = places(painted, S.LUNG_SOLID)
    assert 60 < solid.sum() * np.prod(COARSE) / 1000 < 900  # ml
    assert len(np.unique(np.sign(there[np.abs(there[:, 0]) > 20, 0]))) == 1  # one lung
    was = torso.structures[solid]
    assert np.isin(was, [S.LUNG, S.LUNG_DEPENDENT]).all()
    changed = painted.structures != torso.structures
    kinds = {S.LUNG_SOLID, S.LUNG_DEPENDENT, S.AIRWAY_GAS}
    assert set(np.unique(painted.structures[changed])) <= kinds


def test_nodules_are_solid_and_as_many_as_asked_for():
    chest = {"region": "chest", "spacing": (3.0, 3.0, 3.0), "couch": False, **PLAIN}
    painted = make_structures(5, variations=Variations(nodules=12), **chest)
    solid = ndimage.label(painted.structures == S.LUNG_SOLID, np.ones((3, 3, 3)))[1]
    assert 4 <= solid <= 14  # some fall outside of the lungs, or touch
    assert hu_table("native")[S.LUNG_SOLID] > 0


def test_ascites_replaces_fat_alone_and_grows(abdomen):
    little, much = vary(ascites_mm=8.0), vary(ascites_mm=24.0)
    counts = [(p.structures == S.ASCITES).sum() for p in (abdomen, little, much)]
    assert counts[0] == 0 < counts[1] < 0.8 * counts[2]
    changed = much.structures != abdomen.structures
    free = np.isin(abdomen.structures[changed], [S.VISCERAL_FAT, S.SMALL_BOWEL_WALL])
    assert free.mean() > 0.97  # walls that touch fluid are closed anew
    near = ndimage.binary_dilation(np.isin(much.structures, KIDNEY))
    assert (much.structures[near] == S.ASCITES).mean() < 0.02


@pytest.mark.parametrize(("name", "side"), [("left kidney", 1), ("right kidney", -1)])
def test_a_removed_kidney_leaves_the_other(abdomen, name, side):
    painted = vary(removed=(name,))
    before, after = places(abdomen, *KIDNEY), places(painted, *KIDNEY)
    assert (before[:, 0] * side > 0).sum() > 400 and not (after[:, 0] * side > 0).any()
    assert np.array_equal(after, before[before[:, 0] * side < 0])
    changed = painted.structures != abdomen.structures
    assert (painted.structures[changed] == S.VISCERAL_FAT).all()


def test_a_removed_gallbladder_is_gone(abdomen):
    bile = [S.GALLBLADDER, S.GALLBLADDER_WALL]
    assert np.isin(abdomen.structures, bile).any()
    assert not np.isin(vary(removed=("gallbladder",)).structures, bile).any()


def test_a_hernia_moves_bowel_anterior_to_the_wall(abdomen):
    painted = vary(hernia_mm=32.0)
    changed = painted.structures != abdomen.structures
    loop = np.argwhere(changed & np.isin(painted.structures, [S.SMALL_BOWEL_WALL,
                                                               S.SMALL_BOWEL_CONTENT]))  # fmt: skip
    assert len(loop) > 20
    k, y, x = loop[loop[:, 1].argmin()]
    wall = np.flatnonzero(abdomen.structures[k, :, x] == S.MUSCLE)
    assert y <= wall[0]
    skin = [(p.structures[k, :, x] == S.SKIN).argmax() for p in (painted, abdomen)]
    assert skin[0] < skin[1] and skin[0] > 0  # it bulges, and the picture holds it


def test_varices_are_veins_in_the_fat_of_the_left_upper_abdomen(abdomen):
    painted = vary(varices_mm=4.0)
    changed = painted.structures != abdomen.structures
    assert changed.sum() > 100
    assert (painted.structures[changed] == S.PORTAL_VEIN).all()
    assert (abdomen.structures[changed] == S.VISCERAL_FAT).all()
    veins = places(painted, S.PORTAL_VEIN)
    before = places(abdomen, S.PORTAL_VEIN)
    assert np.median(veins[:, 0]) > np.median(before[:, 0]) + 20


def test_implants_are_metal_in_bone(torso):
    spine = vary("torso", spine_implant=("L5", "L4", "L3"))
    hip = vary("torso", hip_implant=True)
    assert not (torso.structures == S.METAL).any()
    screws, prosthesis = places(spine, S.METAL), places(hip, S.METAL)
    scale = torso.anatomy.scale[2]
    assert screws[:, 2].min() > -10 and screws[:, 2].max() < 120 * scale
    assert (screws[:, 0] < -8).sum() > 20 and (screws[:, 0] > 8).sum() > 20
    canal = np.isin(torso.structures[spine.structures == S.METAL], [S.CSF, S.SPINAL_CORD])
    assert canal.mean() < 0.02
    assert prosthesis[:, 2].max() < -60 and np.abs(prosthesis[:, 0]).min() > 50


def test_arms_are_raised_if_obese_flanks_would_overlap_them():
    lying = draw_anatomy(1, subcutaneous=30.0, arms_up=False)
    assert Variations(fat=2.0).apply(lying).arms_up
    assert not Variations(fat=1.1).apply(lying).arms_up
    assert Variations().apply(lying) == lying


def test_arms_are_beside_the_trunk(torso):
    assert vary("torso", arms_down=True).structures.shape[2] > torso.structures.shape[2] + 10


def test_a_child_is_smaller_along_all_axes(torso):
    child = vary("torso", child=0.78)
    for structures in ([S.LIVER], [S.MUSCLE], [S.SKIN]):
        sizes = np.ptp(places(child, *structures), 0) / np.ptp(places(torso, *structures), 0)
        assert sizes == pytest.approx([0.78] * 3, abs=0.06)
    assert (child.structures == S.BLADDER_WALL).any() and (child.structures == S.LUNG).any()


def test_a_region_without_the_organ_is_unchanged():
    chest = {"spacing": (10.0, 8.0, 8.0), "region": "head"}
    what = Variations(removed=("left kidney",), hernia_mm=30, ascites_mm=20, hip_implant=True,
                      effusion_mm=(50, 50), spine_implant=("L4", "L3"))  # fmt: skip
    plain, varied = (make_structures(3, variations=v, **chest) for v in (None, what))
    assert np.array_equal(plain.structures, varied.structures)


def test_variations_depend_only_on_the_seed_and_all_are_drawn():
    drawn = [draw_variations(seed) for seed in range(150)]
    assert drawn == [draw_variations(seed) for seed in range(150)]
    assert all(v != Variations() for v in drawn)
    for name in Variations.__dataclass_fields__:
        share = np.mean([getattr(v, name) != getattr(Variations(), name) for v in drawn])
        assert 0.04 < share < 0.6, name
    fat = [v.fat * draw_anatomy(s).subcutaneous for s, v in enumerate(drawn) if v.fat > 1]
    assert min(fat) > 35


@pytest.mark.parametrize(
    "wrong",
    [{"fat": 0.0}, {"child": 0.3}, {"removed": ("heart",)}, {"spine_implant": ("C9",)},
     {"effusion_mm": (500.0, 0.0)}, {"scoliosis_mm": float("nan")}, {"varices_mm": 9.0},
     {"consolidation_mm": -1.0}, {"nodules": 41}],
)  # fmt: skip
def test_values_out_of_range_are_rejected(wrong):
    with pytest.raises(PhantomError, match=next(iter(wrong))):
        Variations(**wrong)
