"""Shading for 3D: brightest towards the light, unchanged hue, unchanged slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.color import Chroma, Lighting, LitVolume, light, light_3d, shading
from tomochrome.color.alpha import AlphaCurve, opening_curve
from tomochrome.color.codes import FreeColors
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.color.shading import AMBIENT, settings_for_3d, shade
from tomochrome.errors import Cancelled, InputError
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine

N, RADIUS = 25, 8.0
AFFINE = default_affine((1.0, 1.0, 1.0), (-12.0, -12.0, -12.0))
INDEX = np.stack(np.meshgrid(*[np.arange(N) - N // 2] * 3, indexing="ij"), axis=-1)
DISTANCE = np.linalg.norm(INDEX, axis=-1)


def ball(tissue: Tissue, hu: float = 40.0) -> tuple[Volume, Chroma]:
    """A ball of one tissue in air, with partial volume at its edge."""
    inside = np.clip(RADIUS + 0.5 - DISTANCE, 0, 1)
    voxels = np.rint(-1000 + inside * (hu + 1000)).astype(np.int16)
    mixtures = np.zeros((2, N_TISSUES), np.float32)
    mixtures[0, Tissue.AIR] = mixtures[1, tissue] = 1
    code = (inside > 0.5).astype(np.uint16)
    sure = np.full(code.shape, 255, np.uint8)
    return Volume(voxels, AFFINE), Chroma(code, sure, mixtures, AFFINE, "test")


def directions() -> np.ndarray:
    """Return the LPS direction of each voxel from the center of the ball."""
    lps = INDEX @ AFFINE[:3, :3].T
    return lps / np.maximum(np.linalg.norm(lps, axis=-1, keepdims=True), 1e-9)


@given(
    towards=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.2),
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_a_sphere_is_brightest_towards_the_light(towards, axes, flips):
    """For any direction of the light and any storage order."""
    volume, _ = ball(Tissue.SKIN)
    affine = AFFINE[:, [*axes, 3]].copy()
    voxels = volume.voxels.transpose(axes)
    lps = directions().transpose(*axes, 3)
    distance = DISTANCE.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels, lps, distance = (np.flip(a, axis) for a in (voxels, lps, distance))
    found = shade(voxels, affine, (-1000.0, 0.0), towards)
    unit = np.asarray(towards) / np.linalg.norm(towards)
    surface = np.abs(distance - RADIUS) < 1.0
    facing = lps[surface] @ unit
    assert np.corrcoef(facing, found[surface])[0, 1] > 0.95
    assert found[surface][facing > 0.95].min() > found[surface][facing < 0.5].max()


@given(
    low=st.floats(-1000, 0),
    wide=st.floats(1, 2000),
    scale=st.floats(0.3, 5),
    seed=st.integers(0, 9),
)
def test_shades_lie_between_ambient_and_full(low, wide, scale, seed):
    values = np.random.default_rng(seed).normal(low, wide, (6, 5, 7))
    affine = default_affine((3 * scale, scale, scale))
    found = shade(values, affine, (low, low + wide))
    assert np.isfinite(found).all()
    assert found.min() >= AMBIENT - 1e-6
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (5, 1, 1)])
def test_flat_regions_are_evenly_lit(shape):
    found = shade(np.full(shape, 40, np.int16), np.eye(4), (-1000, 0))
    np.testing.assert_allclose(found, (AMBIENT + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("name", ["body", "opaque", "muscle", "skin", "lung", "glass", "vessels"])
def test_skin_is_skin_and_not_black(name):
    """The windowed value of the outermost skin is black, but in 3D it has the tissue's L*."""
    tissue = {"lung": Tissue.LUNG, "vessels": Tissue.VESSEL}.get(name, Tissue.SKIN)
    volume, chroma = ball(tissue, {"lung": -500.0, "vessels": 250.0}.get(name, 40.0))
    rgba = light_3d(volume, chroma, Lighting(alpha=name)).voxels
    seen = rgba[..., 3] > 0.3 * rgba[..., 3].max()
    lab = srgb_to_lab(rgba[seen][:, :3])
    wanted = palette("natural").lab[tissue]
    assert lab[:, 0].min() > 0.25 * wanted[0]
    assert np.median(lab[:, 0]) > 0.5 * wanted[0]
    hue = np.arctan2(lab[:, 2], lab[:, 1])
    assert np.abs(hue - np.arctan2(wanted[2], wanted[1])).max() < np.radians(12)
    if name in ("body", "skin"):  # as in slices: nearly black
        colored = light(volume, chroma, "soft-tissue", alpha=name).voxels
        assert colored[seen][:, :3].max(axis=-1).min() < 40


def test_slices_are_not_shaded():
    volume, chroma = ball(Tissue.SKIN)
    lit = LitVolume(volume, chroma)
    before = np.asarray(lit).copy()
    lit.lit_in_3d()
    np.testing.assert_array_equal(np.asarray(lit), before)
    np.testing.assert_array_equal(before, light(volume, chroma).voxels)


def test_no_dark_seam_is_drawn_between_voxels():
    """Up to two voxels into the air, where a GPU interpolates, the color is the tissue's."""
    volume, chroma = ball(Tissue.SKIN)
    rgba = light_3d(volume, chroma, Lighting(alpha="skin")).voxels
    beside = (DISTANCE > RADIUS) & (DISTANCE < RADIUS + 1)
    assert srgb_to_lab(rgba[beside][:, :3])[:, 0].min() > 15
    assert (rgba[DISTANCE > RADIUS + 3][:, 3] == 0).all()


def test_coarser_blocks_are_as_opaque_along_a_ray():
    volume, chroma = ball(Tissue.MUSCLE, 30.0)
    fine = light_3d(volume, chroma, Lighting(alpha="muscle")).voxels[N // 2, N // 2, N // 2, 3]
    coarse = LitVolume(volume, chroma, Lighting(alpha="muscle")).lit_in_3d((2, 2, 2))
    through = coarse[N // 4, N // 4, N // 4, 3] / 255
    assert 1 - through == pytest.approx((1 - fine / 255) ** 2, abs=0.01)


def test_hidden_tissues_are_clear_in_3d():
    volume, chroma = ball(Tissue.SKIN)
    rgba = light_3d(volume, chroma, Lighting(tissues={"skin": "hide"})).voxels
    assert not rgba[..., 3].any()


def test_the_result_is_a_volume_at_its_place():
    volume, chroma = ball(Tissue.SKIN)
    image = light_3d(volume, chroma, most_voxels=2000)
    assert image.unit == "RGBA"
    assert np.prod(image.shape) <= 2000
    alpha = image.voxels[..., 3].astype(float)
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    middle = (index * alpha[..., None]).sum(axis=(0, 1, 2)) / alpha.sum()
    center = image.affine[:3, :3] @ middle + image.affine[:3, 3]
    np.testing.assert_allclose(center, 0.0, atol=0.35)  # that of the ball, within rounding
    assert "not for diagnosis" in str(image.provenance)


UNSHADED = AlphaCurve("block", ((0, 1),), hide_air=False, shaded=False)


def test_a_curve_without_shading_shows_the_window_also_in_3d():
    volume, chroma = ball(Tissue.SKIN)
    settings = Lighting(alpha=UNSHADED, window="bone")
    rgba = light_3d(volume, chroma, settings).voxels
    np.testing.assert_array_equal(rgba, np.asarray(LitVolume(volume, chroma, settings)))


def test_opaque_shows_the_body_and_the_couch_and_not_a_black_block():
    volume, chroma = ball(Tissue.SKIN)
    hu = np.asarray(volume.voxels).copy()
    hu[:, -3:] = 100  # a couch, which belongs to the air in the tissue map
    rgba = light_3d(Volume(hu, AFFINE), chroma, Lighting(alpha="opaque", window="bone")).voxels
    couch, body, air = np.zeros(hu.shape, bool), DISTANCE < RADIUS, DISTANCE > RADIUS + 3
    couch[:, -3:] = True
    assert (rgba[body | couch][:, 3] == 255).all()
    assert not rgba[air & ~couch][:, 3].any()
    assert rgba[body | couch][:, :3].max(axis=-1).min() > 30
    assert not np.ptp(rgba[couch & air][:, :3].astype(int), axis=-1).any()  # grey


def test_a_window_changes_3d_only_where_it_is_seen():
    one, other = Lighting(window="bone"), Lighting(window="lung")
    assert settings_for_3d(one) == settings_for_3d(other)
    assert settings_for_3d(one.replace(alpha=UNSHADED)) != settings_for_3d(
        other.replace(alpha=UNSHADED)
    )
    assert settings_for_3d(one) != settings_for_3d(one.replace(saturation=0.5))


def test_values_that_are_no_numbers_are_air():
    volume, chroma = ball(Tissue.SKIN)
    voxels = volume.voxels.astype(np.float32)
    voxels[0] = np.nan
    rgba = light_3d(Volume(voxels, AFFINE), chroma, Lighting(alpha="skin")).voxels
    assert not rgba[0, ..., 3].any()


def test_it_can_be_cancelled_and_refuses_color():
    volume, chroma = ball(Tissue.SKIN)
    token = Task()
    token.cancel()
    with running(token), pytest.raises(Cancelled):
        light_3d(volume, chroma)
    with pytest.raises(InputError):
        light_3d(light(volume, chroma), chroma)


@pytest.mark.parametrize(
    ("name", "tissue", "hu", "seen"),
    [
        ("bone", Tissue.CORTICAL_BONE, 900.0, True),
        ("bone", Tissue.MARROW, 400.0, True),
        ("bone", Tissue.VESSEL, 450.0, False),  # contrast agent is as dense as bone
        ("bone", Tissue.HEART, 350.0, False),
        ("bone", Tissue.KIDNEY, 300.0, False),
        ("bone", Tissue.BOWEL, 800.0, False),
        ("vessels", Tissue.VESSEL, 350.0, True),
        ("vessels", Tissue.HEART, 350.0, True),
        ("vessels", Tissue.CORTICAL_BONE, 900.0, True),
        ("vessels", Tissue.VESSEL, 45.0, False),
        ("vessels", Tissue.SKIN, 350.0, False),
        ("organs", Tissue.LIVER, 60.0, True),
        ("organs", Tissue.KIDNEY, 200.0, True),
        ("organs", Tissue.MUSCLE, 60.0, False),
        ("organs", Tissue.SKIN, 30.0, False),
        ("organs", Tissue.CORTICAL_BONE, 900.0, False),
    ],
)
def test_presets_for_3d_are_of_their_tissues(name, tissue, hu, seen):
    """By HU alone, heart and vessels with contrast agent appeared as bone."""
    volume, chroma = ball(tissue, hu)
    alpha = light_3d(volume, chroma, Lighting(alpha=name)).voxels[..., 3]
    if seen:
        assert alpha[DISTANCE < RADIUS - 2].min() > 100
    else:
        assert not alpha.any()


def test_without_a_tissue_map_the_presets_follow_hu():
    volume, _ = ball(Tissue.SKIN, 700.0)
    ab = np.array([[0, 0], [20, 20]], np.float32)
    code = (DISTANCE < RADIUS).astype(np.uint16)
    chroma = Chroma(code, np.full(code.shape, 255, np.uint8), FreeColors(ab), AFFINE, "test")
    for name in ("bone", "vessels", "organs"):
        alpha = light_3d(volume, chroma, Lighting(alpha=name)).voxels[..., 3]
        assert alpha[DISTANCE < RADIUS - 2].min() > 200


@pytest.mark.parametrize(
    ("shares", "name"),
    [
        ({Tissue.BRAIN: 0.3, Tissue.CORTICAL_BONE: 0.2}, "vessels"),
        ({Tissue.LUNG: 0.3, Tissue.HEART: 0.05, Tissue.LIVER: 0.1}, "vessels"),
        ({Tissue.LUNG: 0.05, Tissue.LIVER: 0.1, Tissue.BOWEL: 0.1}, "organs"),
        ({Tissue.BOWEL: 0.05, Tissue.MUSCLE: 0.5}, "organs"),
        ({Tissue.MUSCLE: 0.6, Tissue.CORTICAL_BONE: 0.1}, "vessels"),
        ({}, "vessels"),
    ],
)
def test_the_first_curve_is_that_of_the_region(shares, name):
    share = np.zeros(N_TISSUES)
    for tissue, value in shares.items():
        share[tissue] = value
    assert opening_curve(share).name == name


def patched() -> tuple[Volume, Chroma]:
    """A ball of muscle in skin; a patch of the skin, and the wall of a bubble, taken for vessel."""
    volume, chroma = ball(Tissue.MUSCLE)
    mixtures = np.zeros((4, N_TISSUES), np.float32)
    for code, tissue in enumerate((Tissue.AIR, Tissue.MUSCLE, Tissue.SKIN, Tissue.VESSEL)):
        mixtures[code, tissue] = 1
    code = chroma.code.copy()
    code[(code > 0) & (DISTANCE > RADIUS - 2)] = 2
    code[(code > 0) & (DISTANCE > RADIUS - 2) & (directions()[..., 1] < -0.93)] = 3
    code[DISTANCE < 4] = 3
    code[DISTANCE < 2] = 0
    voxels = np.where(DISTANCE < 2, -1000, volume.voxels).astype(np.int16)
    sure = chroma.confidence
    return Volume(voxels, AFFINE), Chroma(code, np.asarray(sure), mixtures, AFFINE, "test")


def test_small_patches_of_other_tissue_on_the_skin_are_skin_in_3d_only():
    volume, chroma = patched()
    rgba = light_3d(volume, chroma, Lighting(alpha="body")).voxels
    lab = srgb_to_lab(rgba[..., :3])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
    expected = np.degrees(np.arctan2(*palette().ab[Tissue.SKIN][::-1]))
    surface = (np.abs(DISTANCE - RADIUS) < 1) & (rgba[..., 3] > 100)
    patch = surface & (chroma.code == 3)
    assert patch.sum() > 10
    assert np.abs(hue[patch] - expected).max() < 4
    wall = (chroma.code == 3) & (DISTANCE > 2.5) & (DISTANCE < 4)  # of gas inside the body
    vessel = np.degrees(np.arctan2(*palette().ab[Tissue.VESSEL][::-1]))
    assert np.abs(hue[wall] - vessel).max() < 4
    flat = light(volume, chroma, "soft-tissue").voxels[chroma.code == 3]
    own = srgb_to_lab(flat[..., :3][None])[0]
    shown = own[(own[:, 0] > 20) & (own[:, 0] < 80)]
    assert np.abs(np.degrees(np.arctan2(shown[:, 2], shown[:, 1])) - vessel).max() < 4


def test_gaps_of_the_skin_are_found_once_for_all_curves(monkeypatch):
    """With the same picture as without those kept, also after other steps and a hidden tissue."""
    found: list[object] = []
    gaps = shading._skin_gaps
    monkeypatch.setattr(shading, "_skin_gaps", lambda *args: found.append(args) or gaps(*args))
    volume, chroma = patched()
    lit = LitVolume(volume, chroma)
    seen = []
    for alpha, hide, steps in (
        ("skin", {}, (1, 1, 1)), ("muscle", {}, (1, 1, 1)), ("skin", {"muscle": "hide"}, (1, 1, 1)),
        ("skin", {}, (2, 2, 2)), ("body", {}, (2, 2, 2)),
    ):  # fmt: skip
        lit.settings = Lighting(alpha=alpha, tissues=hide)
        picture = lit.lit_in_3d(steps)
        seen.append(len(found))
        fresh = LitVolume(volume, chroma, lit.settings).lit_in_3d(steps)
        np.testing.assert_array_equal(picture, fresh)
        found.clear()
    assert seen == [1, 0, 0, 1, 0]
