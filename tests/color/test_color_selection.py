"""Selection of the tissues that are shown in color."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from tomochrome.color import ALPHA_PRESETS, Chroma, Lighting, LitVolume, TissueSelection, light
from tomochrome.color.selection import DIM, tissue_selection
from tomochrome.colorization import ColoringRequest
from tomochrome.errors import OptionError
from tomochrome.rendering import render_preset
from tomochrome.tissue import N_TISSUES, NO_TISSUE, TISSUE_NAMES, Tissue
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import luminance, parse_window

SHAPE = (3, 24, 24)


def case() -> tuple[Volume, Chroma]:
    """Random values in mixtures of two tissues, with every tissue dominant in some."""
    rng = np.random.default_rng(5)
    mixtures = np.zeros((1 + 4 * N_TISSUES, N_TISSUES), np.float32)
    mixtures[0, Tissue.AIR] = 1
    for row in range(1, len(mixtures)):
        first, second = row % N_TISSUES, (row * 7 + 3) % N_TISSUES
        mixtures[row, second] = 0.3
        mixtures[row, first] += 0.6
    affine = default_affine((2, 1, 1))
    code = rng.integers(0, len(mixtures), SHAPE).astype(np.uint16)
    confidence = rng.integers(0, 256, SHAPE).astype(np.uint8)
    hu = rng.integers(-1200, 1500, SHAPE).astype(np.int16)
    return Volume(hu, affine), Chroma(code, confidence, mixtures, affine, "test")


VOLUME, CHROMA = case()
ALL = light(VOLUME, CHROMA).voxels
TISSUES = st.frozensets(st.sampled_from(list(Tissue)))
SELECTIONS = st.builds(TissueSelection, TISSUES, TISSUES)


@settings(deadline=None, max_examples=60)
@given(SELECTIONS, st.sampled_from(["soft-tissue", "lung", "bone"]), st.sampled_from([0.0, 0.6]))
def test_luminance_is_the_scanners_under_any_selection(
    tissues: TissueSelection, window: str, min_confidence: float
) -> None:
    image = light(VOLUME, CHROMA, window, min_confidence=min_confidence, tissues=tissues)
    expected = luminance(VOLUME.voxels, parse_window(window))
    assert np.abs(rgb2lab(image.voxels[..., :3])[..., 0] - expected).max() <= 0.5


@settings(deadline=None, max_examples=60)
@given(SELECTIONS)
def test_hidden_is_grey_shown_is_as_ever_and_dimmed_is_between(tissues: TissueSelection) -> None:
    image = light(VOLUME, CHROMA, tissues=tissues).voxels
    modes = np.array([tissues.mode(tissue) for tissue in Tissue])[CHROMA.tissue]
    grey = image[..., :3].max(axis=-1) == image[..., :3].min(axis=-1)
    assert grey[modes == "hide"].all()
    np.testing.assert_array_equal(image[modes == "show"], ALL[modes == "show"])
    np.testing.assert_array_equal(image[..., 3], ALL[..., 3])
    faint = light(VOLUME, CHROMA, saturation=DIM).voxels
    np.testing.assert_array_equal(image[modes == "dim"], faint[modes == "dim"])


@settings(deadline=None, max_examples=30)
@given(st.lists(SELECTIONS, min_size=1, max_size=4))
def test_showing_all_again_is_the_picture_as_it_was(steps: list[TissueSelection]) -> None:
    lit = LitVolume(VOLUME, CHROMA)
    for tissues in steps:
        lit.settings = lit.settings.replace(tissues=tissues)
        np.testing.assert_array_equal(lit[1], light(VOLUME, CHROMA, tissues=tissues).voxels[1])
    lit.settings = lit.settings.replace(tissues=TissueSelection())
    np.testing.assert_array_equal(np.asarray(lit), ALL)


@pytest.mark.parametrize("name", ALPHA_PRESETS)
def test_hidden_tissues_stay_in_slices_and_are_clear_under_curves_for_3d(name: str) -> None:
    hidden = CHROMA.tissue == Tissue.LIVER
    before = light(VOLUME, CHROMA, alpha=name).voxels[..., 3]
    after = light(VOLUME, CHROMA, alpha=name, tissues={"liver": "hide"}).voxels[..., 3]
    np.testing.assert_array_equal(after[~hidden], before[~hidden])
    expected = before[hidden] if name in ("body", "opaque") else 0
    np.testing.assert_array_equal(after[hidden], expected)


def test_floats_and_fading_follow_the_selection_too() -> None:
    floats = VOLUME.with_voxels(VOLUME.voxels.astype(np.float32))
    for min_confidence in (0.0, 0.7):
        settings_ = {"min_confidence": min_confidence, "tissues": "spleen", "alpha": "skin"}
        image = light(VOLUME, CHROMA, **settings_).voxels
        np.testing.assert_array_equal(light(floats, CHROMA, **settings_).voxels, image)


def test_a_prepared_palette_holds_every_dimmed_color() -> None:
    """With ``ready`` missing columns are not filled, so all must already be filled."""
    lit = LitVolume(VOLUME, CHROMA, Lighting(palette="vivid"))
    lit.prepare()
    lit.settings = lit.settings.replace(tissues=TissueSelection.only(["liver"], "dim"))
    window, tissues = lit.settings.window, lit.settings.tissues
    fresh = light(VOLUME, CHROMA, palette="vivid", window=window, tissues=tissues)
    assert np.asarray(lit)[..., :3][CHROMA.tissue != Tissue.AIR].any(axis=-1).mean() > 0.5
    np.testing.assert_array_equal(np.asarray(lit), fresh.voxels)


def test_what_a_user_may_give() -> None:
    only = TissueSelection.only([Tissue.LIVER, Tissue.CORTICAL_BONE])
    assert tissue_selection(["liver", "Cortical bone"]) == only
    assert tissue_selection(" liver, cortical_bone ,") == only
    assert tissue_selection(only) is only
    assert tissue_selection(None).is_all
    mapped = tissue_selection({"fat": "hide", "muscle": "dim", "liver": "show"})
    assert [mapped.mode(name) for name in ("fat", "muscle", "liver")] == ["hide", "dim", "show"]
    assert TissueSelection.only(["liver"], "dim").mode("spleen") == "dim"
    assert TissueSelection({Tissue.FAT}, {Tissue.FAT}).mode("fat") == "hide"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("liver,gizzard", "unknown tissue 'gizzard'"),
        ("", "name at least one"),
        ({"liver": "blink"}, "not 'blink'"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(value: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Lighting(tissues=value)  # type: ignore[arg-type]


def test_one_string_names_tissues_wherever_a_list_does() -> None:
    both = {Tissue.LIVER, Tissue.SPLEEN}
    assert TissueSelection.only("liver, spleen") == TissueSelection.only(both)
    assert TissueSelection("liver,spleen", dimmed="fat") == TissueSelection(  # type: ignore[arg-type]
        frozenset(both), frozenset({Tissue.FAT})
    )
    assert ColoringRequest(only="liver", hide="skin", dim="liver").tissues == TissueSelection(
        frozenset(Tissue) - {Tissue.LIVER}, frozenset({Tissue.LIVER})
    )
    assert render_preset(only="liver,spleen", hide="spleen") == render_preset(
        only=[Tissue.LIVER, Tissue.SPLEEN], hide=[Tissue.SPLEEN]
    )


def test_the_file_says_which_tissues_are_in_color() -> None:
    image = light(VOLUME, CHROMA, tissues=["spleen", "liver"])
    assert image.provenance.extra["tissues"] == "liver, spleen in color; all other tissues in grey"
    assert "all other tissues in grey" in image.provenance.history[-1]
    assert str(TissueSelection()) == "all tissues in color"
    assert str(tissue_selection({"fat": "dim"})) == "fat faded; all other tissues in color"


@pytest.mark.parametrize("slices", [None, 1, (slice(None), 7), (slice(None), slice(None), 3)])
def test_shares_are_those_of_the_tissue_map_without_air(slices: object) -> None:
    chosen = CHROMA.tissue if slices is None else CHROMA.tissue[slices]
    body = chosen[chosen != Tissue.AIR]
    expected = [(body == tissue).mean() if tissue else 0.0 for tissue in range(N_TISSUES)]
    np.testing.assert_allclose(CHROMA.tissue_shares(slices), expected, atol=1e-12)


def test_shares_of_air_alone_are_nothing() -> None:
    air = Chroma(np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8), CHROMA.table, CHROMA.affine)
    assert not air.tissue_shares().any()
    assert len(TISSUE_NAMES) == N_TISSUES < NO_TISSUE
