"""Tables of codes: free colors have the same guarantees as mixtures, and both can be pickled."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from color_cases import RENDERING
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from tomochrome.color import Chroma, Lighting, LitVolume, fit_chroma, light, light_3d
from tomochrome.color.codes import FreeColors, Mixtures, as_table, code_type
from tomochrome.color.palettes import palette, palette_names
from tomochrome.color.table import TABLE
from tomochrome.errors import ModelError, OptionError
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.volume import Provenance, Volume, default_affine
from tomochrome.windowing import PRESETS, Window, luminance

RNG = np.random.default_rng(23)
SHAPE = (3, 32, 40)
AFFINE = default_affine((2, 0.7, 0.7), (-100, -100, 30))
COLORS = np.vstack([np.zeros((1, 2)), RNG.uniform(-128, 128, (3000, 2))]).astype(np.float32)
WINDOW = PRESETS["soft-tissue"]


def case(dtype: type = np.int16, colors: np.ndarray = COLORS) -> tuple[Volume, Chroma]:
    hu = RNG.integers(-1200, 3100, SHAPE).astype(dtype)
    code = RNG.integers(0, len(colors), SHAPE).astype(np.uint16)
    sure = RNG.integers(0, 256, SHAPE).astype(np.uint8)
    return Volume(hu, AFFINE), Chroma(code, sure, FreeColors(colors), AFFINE, "free")


def lab_of(image: Volume) -> np.ndarray:
    return rgb2lab(image.voxels[..., :3])


@settings(deadline=None, max_examples=40)
@given(
    **RENDERING,
    dtype=st.sampled_from([np.int16, np.float32, np.int32]),
)
def test_luminance_is_the_scanners_whatever_colors_a_model_gives(
    center: float,
    width: float,
    function: str,
    saturation: float,
    min_confidence: float,
    dtype: type,
) -> None:
    volume, chroma = case(dtype)
    window = Window(center, width, function)  # type: ignore[arg-type]
    image = light(volume, chroma, window, saturation=saturation, min_confidence=min_confidence)
    assert np.abs(lab_of(image)[..., 0] - luminance(volume.voxels, window)).max() <= 0.5


def test_colors_out_of_gamut_lose_chroma_at_constant_hue() -> None:
    volume, chroma = case()
    image = light(volume, chroma, WINDOW)
    L = luminance(volume.voxels, WINDOW)[..., None]
    fitted = fit_chroma(np.concatenate([L, chroma.ab()], axis=-1))
    apart = np.linalg.norm(lab_of(image)[..., 1:] - fitted[..., 1:], axis=-1)
    assert np.median(apart) < 1.0  # the table's cells are one unit wide, and bytes are rounded
    strong = np.linalg.norm(fitted[..., 1:], axis=-1) > 20
    hue = [np.arctan2(lab[..., 2], lab[..., 1])[strong] for lab in (lab_of(image), fitted)]
    turn = np.abs(np.angle(np.exp(1j * (hue[0] - hue[1]))))
    assert np.percentile(np.degrees(turn), 99) < 4.0


def test_other_light_needs_no_other_chroma() -> None:
    volume, chroma = case()
    half = light(volume, chroma, WINDOW, saturation=0.5)
    table = FreeColors(chroma.table.ab * np.float32(0.5))  # type: ignore[union-attr]
    same = light(volume, replace(chroma, table=table), WINDOW)
    np.testing.assert_array_equal(half.voxels, same.voxels)
    grey = light(volume, chroma, WINDOW, saturation=0.0, alpha="opaque").voxels
    assert (grey[..., :1] == grey[..., :3]).all()


def test_a_guess_fades_to_grey() -> None:
    volume, chroma = case()
    image = light(volume, chroma, WINDOW, min_confidence=0.8, alpha="opaque").voxels
    unsure = chroma.confidence < 0.4 * 255
    assert (image[unsure][:, :1] == image[unsure][:, :3]).all()
    plain = light(volume, chroma, WINDOW, alpha="opaque").voxels
    np.testing.assert_array_equal(image[chroma.confidence > 0.8 * 255],
                                  plain[chroma.confidence > 0.8 * 255])  # fmt: skip


def test_what_lies_outside_is_clear_and_turns_with_the_volume() -> None:
    volume, chroma = case()
    image = light(volume, chroma, WINDOW, alpha="body").voxels
    np.testing.assert_array_equal(image[..., 3], np.where(chroma.code > 0, 255, 0))
    assert (light(volume, chroma, WINDOW, alpha="opaque").voxels[..., 3] == 255).all()
    turned = Volume(volume.voxels.transpose(2, 0, 1), volume.affine[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(light(turned, chroma, WINDOW).voxels, image.transpose(2, 0, 1, 3))


def test_a_palette_is_not_used_and_a_warning_says_so() -> None:
    volume, chroma = case()
    plain = light(volume, chroma, WINDOW)
    assert plain.provenance.warnings == ()
    for name in palette_names():
        image = light(volume, chroma, WINDOW, palette=name)
        np.testing.assert_array_equal(image.voxels, plain.voxels)
        said = [w for w in image.provenance.warnings if f"the palette '{name}'" in w.text]
        assert len(said) == (name != "natural")


@pytest.mark.parametrize("tissues", ["liver", {"fat": "dim"}, {"fat": "hide"}])
def test_tissues_cannot_be_chosen_where_none_are_named(tissues: object) -> None:
    volume, chroma = case()
    with pytest.raises(OptionError, match="'free' predicts colors, not tissues"):
        light(volume, chroma, tissues=tissues)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no tissue map"):
        chroma.tissue_volume()
    assert not chroma.tissue_shares().any()
    assert chroma.table.tissue[:3].tolist() == [Tissue.AIR, NO_TISSUE, NO_TISSUE]


def test_free_colors_are_lit_in_3d() -> None:
    """An opacity curve for some tissues applies to all values, instead of hiding everything."""
    hu = np.full((6, 12, 12), -1000, np.int16)
    hu[1:5, 2:10, 2:10] = -700  # like lung
    code = (hu > -1000).astype(np.uint16)
    table = FreeColors(np.array([[0, 0], [40, 20]], np.float32))
    chroma = Chroma(code, np.full(hu.shape, 255, np.uint8), table, AFFINE)
    for curve in ("lung", "body", "skin"):
        image = light_3d(Volume(hu, AFFINE), chroma, Lighting(alpha=curve))
        assert (image.voxels[hu == -1000][:, 3] < 128).all()
    inside = light_3d(Volume(hu, AFFINE), chroma, Lighting(alpha="lung")).voxels[2:4, 4:8, 4:8]
    assert (inside[..., 3] > 20).all()
    assert (inside[..., 0] > inside[..., 2]).all()


def test_a_lit_volume_is_prepared_for_every_color_at_once() -> None:
    volume, chroma = case(colors=np.array([[0, 0], [30, 30], [-30, 40], [10, -50]], np.float32))
    lit = LitVolume(volume, chroma)
    lit.prepare()
    before = TABLE.columns_filled
    for saturation in (0.2, 0.7, 1.0):
        for min_confidence in (0.0, 0.6):
            lit.settings = lit.settings.replace(
                saturation=saturation, min_confidence=min_confidence
            )
            np.asarray(lit)
    assert TABLE.columns_filled == before


@pytest.mark.parametrize(
    "table",
    [
        COLORS.astype(np.float64),
        COLORS[:, :1],
        np.full((3, 2), 5, np.float32),
        np.array([[0, 0], [np.nan, 1]], np.float32),
        np.zeros((0, 2), np.float32),
    ],
)
def test_what_is_no_table_of_colors_is_refused(table: np.ndarray) -> None:
    with pytest.raises(ModelError) as caught:
        as_table(table)
    assert "\n" not in str(caught.value)


def mixed() -> np.ndarray:
    """Random mixtures of a few tissues, with grey."""
    weights = RNG.dirichlet(np.full(N_TISSUES, 0.05), 500) * RNG.uniform(0.1, 1, (500, 1))
    return np.vstack([np.eye(N_TISSUES)[:1], weights]).astype(np.float32)


def test_contrast_favors_the_most_probable_tissue() -> None:
    weights, colors = mixed(), palette()
    plain, strong, stronger = (Mixtures(weights, contrast) for contrast in (1.0, 2.0, 50.0))
    np.testing.assert_allclose(plain.chroma(colors), weights @ colors.ab, atol=1e-4)
    likeliest = colors.ab[weights.argmax(axis=1)] * weights.sum(axis=1)[:, None]
    away = [np.linalg.norm(t.chroma(colors) - likeliest, axis=1) for t in (plain, strong, stronger)]
    plain_away, strong_away, least = (distance.mean() for distance in away)
    assert strong_away < 0.9 * plain_away and least < 0.7 * strong_away
    for table in (strong, pickle.loads(pickle.dumps(strong))):
        assert table.contrast == 2.0
        np.testing.assert_array_equal(table.weights, weights)
    squared = weights.astype(float) ** 2
    squared *= weights.sum(axis=1, keepdims=True) / squared.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(strong.chroma(colors), squared @ colors.ab, atol=1e-3)


def test_a_shade_moves_the_color_of_the_brain_only() -> None:
    weights = mixed()
    shade = RNG.uniform(-1, 1, len(weights)).astype(np.float32)
    for name in palette_names():
        colors = palette(name)
        moved = Mixtures(weights, shade=shade).chroma(colors) - Mixtures(weights).chroma(colors)
        expected = (shade * weights[:, Tissue.BRAIN])[:, None] * colors.brain_shade
        np.testing.assert_allclose(moved, expected, atol=1e-4)
    natural = palette()
    grey_matter, white_matter = (
        natural.ab[Tissue.BRAIN] + k * natural.brain_shade for k in (1, -1)
    )
    np.testing.assert_allclose(grey_matter, (16.3, 5.2), atol=0.1)
    np.testing.assert_allclose(white_matter, (8.7, 7.8), atol=0.1)
    again = pickle.loads(pickle.dumps(Mixtures(weights, 2.0, shade)))
    np.testing.assert_array_equal(again.shade, shade)


@pytest.mark.parametrize(
    "shade", [np.zeros(3), np.full(501, 2.0), np.full(501, np.nan), np.zeros((501, 2))]
)
def test_invalid_shades_are_refused(shade: np.ndarray) -> None:
    with pytest.raises(ModelError) as caught:
        Mixtures(mixed(), shade=shade.astype(np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("contrast", [0.5, float("nan"), float("inf")])
def test_an_invalid_contrast_is_refused(contrast: float) -> None:
    with pytest.raises(ModelError, match="contrast"):
        Mixtures(mixed(), contrast)


def test_there_may_be_more_codes_than_16_bits_hold() -> None:
    """The same mixtures in a table of 150,000 rows, as for 40 tissues, give the same image."""
    rng = np.random.default_rng(2)
    few = np.zeros((1000, N_TISSUES), np.float32)
    few[0, Tissue.AIR] = 1
    few[np.arange(1, 1000), rng.integers(1, N_TISSUES, 999)] = rng.random(999)
    many = np.zeros((150_000, N_TISSUES), np.float32)
    place = np.r_[0, np.sort(rng.choice(np.arange(1, 150_000), 999, replace=False))]
    many[place] = few
    assert (code_type(1 << 16), code_type(150_000)) == (np.uint16, np.uint32)
    volume, _ = case()
    code = rng.integers(0, 1000, SHAPE)
    sure = rng.integers(0, 256, SHAPE).astype(np.uint8)
    small = Chroma(code.astype(np.uint16), sure, Mixtures(few), AFFINE)
    large = Chroma(place[code].astype(np.uint32), sure, Mixtures(many), AFFINE)
    for given_ in (volume, Volume(volume.voxels.astype(np.float32), AFFINE)):
        for wish in ({}, {"min_confidence": 0.7, "palette": "vivid"}, {"tissues": "liver, fat"}):
            images = [light(given_, chroma, WINDOW, **wish).voxels for chroma in (small, large)]  # type: ignore[arg-type]
            np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(small.tissue, large.tissue)
    np.testing.assert_allclose(small.tissue_shares(), large.tissue_shares())
    assert small.mean_chroma == pytest.approx(large.mean_chroma)
    three = [light_3d(volume, chroma, Lighting(alpha="muscle")).voxels for chroma in (small, large)]
    np.testing.assert_array_equal(*three)


def used(chroma: Chroma, volume: Volume) -> None:
    """Fill the cached properties of a chroma map."""
    light(volume, chroma, WINDOW, palette="vivid")
    _ = chroma.mean_chroma, chroma.tissue_shares(), chroma.tissue_of_code


@pytest.mark.parametrize("kind", ["mixtures", "free"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_volume_and_used_chroma_pickle(kind: str, protocol: int) -> None:
    volume, chroma = case()
    outside = volume.voxels > 2000
    volume = replace(volume, outside=outside, provenance=Provenance(source="x", extra={"a": 1}))
    if kind == "mixtures":
        table = Mixtures(np.eye(N_TISSUES, dtype=np.float32))
        chroma = replace(chroma, code=chroma.code % N_TISSUES, table=table)
    used(chroma, volume)
    wish = Lighting(palette="vivid", tissues="liver") if kind == "mixtures" else Lighting()
    there, colors, asked = pickle.loads(pickle.dumps((volume, chroma, wish), protocol))
    np.testing.assert_array_equal(there.voxels, volume.voxels)
    np.testing.assert_array_equal(there.outside, outside)
    assert there.provenance == volume.provenance
    assert not there.affine.flags.writeable
    np.testing.assert_array_equal(colors.code, chroma.code)
    assert (colors.model, colors.has_tissues) == (chroma.model, chroma.has_tissues)
    assert asked == wish
    assert asked.palette is wish.palette
    used(colors, there)
    same = [light(v, c, WINDOW).voxels for v, c in ((volume, chroma), (there, colors))]
    np.testing.assert_array_equal(*same)
    assert copy.deepcopy(chroma).mean_chroma == chroma.mean_chroma


def test_a_palette_of_ones_own_pickles_as_it_is() -> None:
    own = replace(palette(), name="mine")
    there = pickle.loads(pickle.dumps(own))
    assert there.name == "mine"
    np.testing.assert_array_equal(there.lab, own.lab)
