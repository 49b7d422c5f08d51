"""What 3D pictures and napari's 3D show: clipped, with faint tissues and faded colors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from render_cases import body, with_tissues

from tomochrome.color import TissueSelection
from tomochrome.color.palettes import palette
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply
from tomochrome.phantom import make_patient
from tomochrome.rendering import (
    RENDER_PRESETS,
    BodyField,
    HalfSpace,
    body_field,
    render,
    render_preset,
    selected_preset,
)
from tomochrome.tissue import Tissue

COLORS = palette("natural")
PLANES = [
    HalfSpace((1.0, 0.0, 0.0), 50.0),
    HalfSpace((0.0, -1.0, 0.0), -30.0),
    HalfSpace((0.6, 0.0, 0.8), 60.0),
]


def positions(field: BodyField) -> np.ndarray:
    """LPS of every voxel, (z, y, x, 3)."""
    return apply(field.affine, np.stack(np.indices(field.opacity.shape), axis=-1))


@pytest.mark.parametrize("half", PLANES)
def test_only_the_side_of_the_normal_is_left(half: HalfSpace) -> None:
    field = body_field(*body(), RENDER_PRESETS["muscle"], COLORS)
    clipped = field.clipped(half)
    depth = positions(field) @ half.normal - half.at
    inside, outside = depth > field.spacing, depth < -field.spacing
    assert field.opacity[outside].any()
    assert not clipped.opacity[outside].any()
    np.testing.assert_array_equal(clipped.opacity[inside], field.opacity[inside])


def test_what_is_clipped_is_not_computed_and_the_rest_is_finer() -> None:
    volume, chroma = body()
    preset = RENDER_PRESETS["muscle"]
    x = float(apply(volume.affine, (0, 0, 24))[0])
    clip = (HalfSpace((1.0, 0.0, 0.0), x), HalfSpace((0.0, 0.0, 1.0), 30.0))
    whole = body_field(volume, chroma, preset, COLORS, most_voxels=4000)
    part = body_field(volume, chroma, preset, COLORS, most_voxels=4000, clip=clip)
    assert part.spacing < 0.9 * whole.spacing
    low, high = positions(part).min(axis=(0, 1, 2)), positions(part).max(axis=(0, 1, 2))
    ends = positions(whole).min(axis=(0, 1, 2)), positions(whole).max(axis=(0, 1, 2))
    assert ends[0][0] < low[0] < x
    assert ends[0][2] < low[2] < 30.0
    assert np.allclose(high, ends[1], atol=2 * whole.spacing)


def test_clipping_everything_says_so() -> None:
    corner = (HalfSpace((-1.0, 0.0, 0.0), -2.0), HalfSpace((0.0, -1.0, 0.0), -2.0))
    far = (HalfSpace((0.0, 0.0, 1.0), 5000.0),)
    oblique = (HalfSpace((0.6, 0.0, 0.8), 5000.0),)
    for clip in (far, oblique, corner):
        with pytest.raises(OptionError, match="clipping leaves nothing of 'muscle'"):
            render(*body(), preset="muscle", quality="draft", size=(112, 112), clip=clip)


def test_tissues_of_the_legend_replace_those_of_a_preset() -> None:
    organs = RENDER_PRESETS["organs"]
    assert selected_preset(organs, TissueSelection()) is organs
    hidden = selected_preset(organs, TissueSelection(hidden=frozenset({Tissue.LIVER})))
    assert hidden == render_preset("organs", hide=("liver",))
    alone = selected_preset(organs, TissueSelection.only(["muscle"]))
    assert alone.tissues == (Tissue.MUSCLE,)
    assert not alone.faint
    with pytest.raises(OptionError, match="are hidden"):
        selected_preset(
            RENDER_PRESETS["brain"],
            TissueSelection(hidden=frozenset(RENDER_PRESETS["brain"].tissues)),
        )


@pytest.mark.parametrize("others", ["dim", "grey"])
def test_other_tissues_are_faint_grey_surfaces(others) -> None:
    selection = TissueSelection.only(["liver"], others)
    preset = selected_preset(RENDER_PRESETS["skin"], selection)
    alone = selected_preset(RENDER_PRESETS["skin"], TissueSelection.only(["liver"]))
    volume, chroma = body()
    field = body_field(volume, chroma, preset, COLORS)
    liver = body_field(volume, chroma, alone, COLORS)
    assert field.opacity.shape[2] > liver.opacity.shape[2]  # the surface of the body as well
    faint = (field.opacity > 0.005) & (field.opacity < 0.05)
    assert faint.sum() > 500
    chromas = np.ptp(field.color.astype(int), axis=-1)
    assert np.median(chromas[faint]) <= 2
    assert np.median(chromas[field.opacity > 0.5]) > 20


def test_colors_without_confidence_are_grey() -> None:
    volume, chroma = body()
    confidence = np.full(volume.shape, 255, np.uint8)
    confidence[:, :, :24] = 20  # of the liver
    chroma = replace(chroma, confidence=confidence)
    preset = RENDER_PRESETS["organs"]
    full = body_field(volume, chroma, preset, COLORS)
    faded = body_field(volume, chroma, preset, COLORS, min_confidence=0.8)
    np.testing.assert_array_equal(full.opacity, faded.opacity)
    x = positions(full)[..., 0]
    middle = float(apply(volume.affine, (0, 0, 24))[0])
    solid = full.opacity > 0.5
    for side, most in ((x < middle - 4, 3), (x > middle + 4, None)):
        chromas = np.ptp(faded.color[solid & side].astype(int), axis=-1)
        if most is None:
            np.testing.assert_array_equal(faded.color[solid & side], full.color[solid & side])
        else:
            assert chromas.max() <= most


def test_titles_are_the_names_in_words() -> None:
    assert RENDER_PRESETS["lungs-vessels"].title == "Lungs and vessels"
    assert len({preset.title for preset in RENDER_PRESETS.values()}) == len(RENDER_PRESETS) == 8


def scan_with_vessels(blood: int, filled: float = 1.0, aorta: bool = True):
    """A body with an aorta of such HU in a share of its slices, and a bone, half called vessel."""
    volume, chroma = body()
    _, y, x = np.indices(volume.shape)
    code, hu = np.array(chroma.code), np.array(volume.voxels)
    bone = np.hypot(y - 16, x - 26) < 3
    code[bone & (y < 16)] = Tissue.VESSEL
    if aorta:
        vessel = np.hypot(y - 16, x - 12) < 4
        code[vessel], hu[vessel] = Tissue.VESSEL, 40
        hu[: round(filled * len(hu))][vessel[: round(filled * len(hu))]] = blood
    return volume.with_voxels(hu, unit="HU"), replace(chroma, code=code)


def red_and_seen(field: BodyField, at: tuple[float, float]) -> tuple[float, float]:
    """Redness (a* in steps of sRGB) and opacity around a place (y, x) of the body, in voxels."""
    volume, _ = body()
    where = positions(field)
    place = apply(volume.affine, (12, *at))
    near = np.linalg.norm(where - place, axis=-1) < 4
    weight = field.opacity[near]
    color = field.color[near].astype(float)
    if weight.sum() == 0:
        return 0.0, 0.0
    mean = (color * weight[:, None]).sum(axis=0) / weight.sum()
    return float(mean[0] - mean[1]), float(weight.max())


BONE_CALLED_VESSEL, AORTA = (14, 26), (16, 12)


@pytest.mark.parametrize("blood", [30, 45, 60, 80])
def test_without_contrast_agent_bone_that_is_called_vessel_is_bone(blood: int) -> None:
    """A model takes some bone for vessels, and both are dense."""
    preset = RENDER_PRESETS["bone-vessels"]
    field = body_field(*scan_with_vessels(blood), preset, COLORS)
    red, seen = red_and_seen(field, BONE_CALLED_VESSEL)
    own, _ = red_and_seen(field, (18, 26))  # what the model calls bone
    assert seen > 0.9
    assert abs(red - own) < 12
    assert red_and_seen(field, AORTA)[1] < 0.05
    with pytest.raises(OptionError, match="the scan shows nothing of 'bone-vessels'"):
        hidden = preset.without(["cortical-bone", "marrow"])
        body_field(*scan_with_vessels(blood), hidden, COLORS)


@pytest.mark.parametrize(("blood", "filled"), [(150, 1.0), (300, 1.0), (400, 0.34)])
def test_vessels_with_contrast_agent_are_drawn(blood: int, filled: float) -> None:
    """All of them, or, in the arterial phase, a third."""
    scan = scan_with_vessels(blood, filled)
    field = body_field(*scan, RENDER_PRESETS["bone-vessels"], COLORS)
    assert red_and_seen(field, BONE_CALLED_VESSEL)[0] > 60
    where = (4, 16, 12) if filled < 1 else (12, 16, 12)
    place = apply(scan[0].affine, where)
    near = np.linalg.norm(positions(field) - place, axis=-1) < 4
    assert field.opacity[near].max() > 0.4  # half at 150 HU
    always = replace(
        RENDER_PRESETS["bone-vessels"],
        parts=tuple(replace(p, needs_agent=False) for p in RENDER_PRESETS["bone-vessels"].parts),
    )
    plain = body_field(*scan, always, COLORS)
    np.testing.assert_array_equal(field.opacity, plain.opacity)
    np.testing.assert_array_equal(field.color, plain.color)


@pytest.mark.parametrize("region", ["chest", "abdomen"])
@pytest.mark.parametrize("phase", ["native", "arterial", "portal"])
def test_phantoms_show_vessels_in_the_phases_with_contrast_agent(region: str, phase: str) -> None:
    patient = make_patient(2, region, (5.0, 4.0, 4.0), phase=phase)
    scan = with_tissues(patient.ct, np.asarray(patient.tissue.voxels))
    vessels = RENDER_PRESETS["bone-vessels"].without(["cortical-bone", "marrow", "foreign-body"])
    if phase == "native":
        with pytest.raises(OptionError, match="the scan shows nothing"):
            body_field(*scan, vessels, COLORS)
    else:
        field = body_field(*scan, vessels, COLORS)
        assert (field.opacity > 0.5).sum() * field.spacing**3 > 10_000  # mm³


def test_where_no_vessel_tells_nothing_is_changed() -> None:
    field = body_field(*scan_with_vessels(0, aorta=False), RENDER_PRESETS["bone-vessels"], COLORS)
    assert red_and_seen(field, BONE_CALLED_VESSEL)[0] > 60


def test_other_presets_show_vessels_without_contrast_agent() -> None:
    field = body_field(*scan_with_vessels(45), RENDER_PRESETS["heart-vessels"], COLORS)
    red, seen = red_and_seen(field, AORTA)
    assert red > 60 and seen > 0.9
