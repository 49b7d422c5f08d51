"""What 3D pictures and napari's 3D show: clipped, with faint tissues and faded colors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from render_cases import body

from tomochrome.color import TissueSelection
from tomochrome.color.palettes import palette
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply
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
            render(*body(), preset="muscle", quality="draft", size=(64, 64), clip=clip)


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
