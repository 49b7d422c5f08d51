"""Slabs: which slices belong to them, luminance of the projection, color of its voxels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from marker_cases import STORED, marked, stored_as
from tomochrome.color import (
    Chroma,
    Lighting,
    LitVolume,
    Slab,
    light,
    light_slab,
    light_slabs,
    srgb_to_lab,
)
from tomochrome.errors import OptionError
from tomochrome.geometry import closest_axial
from tomochrome.geometry.planes import plane_map
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import luminance, parse_window

SPACING = (2.5, 0.8, 0.7)
WINDOW = parse_window("40/400")
NUMPY = {"mean": np.nanmean, "maximum": np.nanmax, "minimum": np.nanmin}


def chroma_of(tissue: np.ndarray, affine: np.ndarray, confidence: int = 255) -> Chroma:
    table = np.eye(N_TISSUES, dtype=np.float32)
    certain = np.full(tissue.shape, confidence, np.uint8)
    return Chroma(tissue.astype(np.uint16), certain, table, affine)


@pytest.fixture
def colored() -> tuple[Volume, Chroma]:
    rng = np.random.default_rng(3)
    shape = (9, 14, 12)
    # all values differ, so that the voxel with the highest one is unique
    values = rng.permutation(np.linspace(-150, 240, 9 * 14 * 12, dtype=np.float32))
    volume = Volume(values.reshape(shape), default_affine(SPACING, (5, 6, 7)), "HU")
    tissue = rng.choice([Tissue.LIVER, Tissue.FAT, Tissue.MUSCLE], shape)
    return volume, chroma_of(tissue, volume.affine)


@cache
def marked_tissue() -> tuple[NDArray[np.uint8], Volume]:
    """The markers as three tissues, and as a scan."""
    colors = marked()
    tissue = np.zeros(colors.shape, np.uint8)
    for channel, named in enumerate((Tissue.VESSEL, Tissue.GALLBLADDER, Tissue.FAT)):
        tissue[colors.voxels[..., channel] > 0] = named
    hu = np.where(tissue > 0, 40, -1000).astype(np.int16)
    return tissue, Volume(hu, colors.affine, "HU")


def slabs_of_markers(order: tuple[int, ...], flips: tuple[bool, ...], across: int) -> Volume:
    """The lit slabs of the scan as it is stored, made upright."""
    tissue, hu = marked_tissue()
    scan = stored_as(hu, order, flips)
    codes = stored_as(Volume(tissue, hu.affine, "unknown"), order, flips).voxels
    axis = plane_map(scan.affine, across)[0][0]
    slab = Slab("maximum", 9.0)
    return closest_axial(light_slabs(scan, chroma_of(codes, scan.affine), slab, WINDOW, axis=axis))


@cache
def upright_slabs(across: int) -> Volume:
    return slabs_of_markers(*STORED[0], across)


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_slabs_have_the_markers_where_they_are_however_the_scan_is_stored(stored) -> None:
    for across in range(3):
        upright, other = upright_slabs(across), slabs_of_markers(*stored, across)
        np.testing.assert_allclose(other.affine, upright.affine, atol=1e-9)
        np.testing.assert_array_equal(other.voxels, upright.voxels)
        lit = upright.voxels[..., :3].max(axis=-1) > 60
        # the markers, longer across the slabs
        assert np.count_nonzero(lit) > np.count_nonzero(marked_tissue()[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("projection", NUMPY)
def test_a_volume_of_slabs_has_the_slab_around_each_slice(colored, projection, axis) -> None:
    volume, chroma = colored
    masks = np.random.default_rng(4).random((2, *volume.shape)) < 0.3
    volume = replace(volume, outside=masks[0], restored=masks[1] & ~masks[0])
    slab = Slab(projection, 2.6 * SPACING[axis])
    image = light_slabs(volume, chroma, slab, WINDOW, axis=axis, saturation=0.7)
    np.testing.assert_array_equal(image.affine, volume.affine)
    assert image.provenance.extra["slab"] == str(slab)
    for index in range(volume.shape[axis]):
        one = light_slab(volume, chroma, index, slab, WINDOW, axis=axis, saturation=0.7)
        for name in ("voxels", "outside", "restored"):
            whole = getattr(image, name).take([index], axis)
            np.testing.assert_array_equal(whole, getattr(one, name), err_msg=name)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("projection", NUMPY)
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_luminance_is_that_of_the_projected_values(colored, axis, projection, kind) -> None:
    volume, chroma = colored
    volume = volume.with_voxels(volume.voxels.astype(kind))
    index, thickness = 2, 5.5
    at = np.arange(volume.shape[axis]) * SPACING[axis]
    within = np.abs(at - at[index]) <= thickness / 2
    values = NUMPY[projection](np.compress(within, volume.voxels, axis).astype(float), axis)
    image = light_slab(
        volume, chroma, index, Slab(projection, thickness), WINDOW, axis=axis, alpha="opaque"
    )
    assert image.shape[axis] == 1
    lab = srgb_to_lab(image.voxels.squeeze(axis)[..., :3])
    assert np.abs(lab[..., 0] - luminance(values, WINDOW)).max() <= 0.5
    step = np.eye(3)[axis] * index
    np.testing.assert_allclose(
        image.affine[:3, 3], volume.affine[:3, :3] @ step + volume.affine[:3, 3]
    )
    np.testing.assert_allclose(image.spacing, SPACING, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("projection", "pick"), [("maximum", np.argmax), ("minimum", np.argmin)])
def test_an_extreme_has_the_color_of_the_voxel_with_this_value(
    colored, axis, projection, pick
) -> None:
    volume, chroma = colored
    single = light(volume, chroma, WINDOW).voxels
    chosen = np.expand_dims(pick(volume.voxels, axis), (axis, 3))
    image = light_slab(volume, chroma, 4, Slab(projection, 500), WINDOW, axis=axis)
    np.testing.assert_array_equal(image.voxels, np.take_along_axis(single, chosen, axis))


@pytest.mark.parametrize("projection", NUMPY)
def test_a_slab_of_one_slice_is_the_slice(colored, projection) -> None:
    volume, chroma = colored
    single = light(volume, chroma, WINDOW).voxels[4:5]
    image = light_slab(volume, chroma, 4, Slab(projection, 4.9), WINDOW)
    np.testing.assert_array_equal(image.voxels, single)


@pytest.mark.parametrize("min_confidence", [0, 0.8])
def test_the_mean_of_two_tissues_has_their_mean_chroma(min_confidence) -> None:
    volume = Volume(np.full((2, 1, 1), 40, np.int16), default_affine((1, 1, 1)), "HU")
    tissue = np.array([Tissue.LIVER, Tissue.FAT]).reshape(2, 1, 1)
    chroma = chroma_of(tissue, volume.affine, confidence=140)
    settings = {"saturation": 0.5, "min_confidence": min_confidence}
    both = srgb_to_lab(light(volume, chroma, WINDOW, **settings).voxels[..., :3])
    image = light_slab(volume, chroma, 0, Slab("mean", 2), WINDOW, **settings)
    seen = srgb_to_lab(image.voxels[..., :3]).ravel()
    np.testing.assert_allclose(seen, both.mean(axis=0).ravel(), atol=1.0)


@pytest.mark.parametrize("projection", NUMPY)
@pytest.mark.parametrize("as_nan", [False, True])
def test_voxels_outside_the_scan_do_not_contribute(colored, projection, as_nan) -> None:
    volume, chroma = colored
    outside = np.random.default_rng(4).random(volume.shape) < 0.5
    outside[:, :3] = True
    values = volume.voxels.copy()
    values[outside] = np.nan if as_nan else (3000 if projection == "maximum" else -3000)
    cut = volume.with_voxels(values) if as_nan else replace(volume, voxels=values, outside=outside)
    image = light_slab(cut, chroma, 4, Slab(projection, 500), WINDOW, alpha="opaque")
    rest = np.where(outside, np.nan, volume.voxels)[:, 3:]
    seen = ~np.isnan(rest).all(axis=0)
    expected = luminance(NUMPY[projection](rest[:, seen], 0), WINDOW)
    L = srgb_to_lab(image.voxels[0, 3:][seen][..., :3])[..., 0]
    assert np.abs(L - expected).max() <= 0.5
    if not as_nan:
        assert image.outside is not None
        np.testing.assert_array_equal(image.outside[0], outside.all(axis=0))


def test_a_slab_with_a_restored_voxel_stays_marked(colored) -> None:
    volume, chroma = colored
    restored = np.zeros(volume.shape, bool)
    restored[3, 5, 6] = restored[8, 1, 1] = True
    volume = replace(volume, restored=restored)
    image = light_slab(volume, chroma, 4, Slab("mean", 5), WINDOW)
    assert image.restored is not None
    assert np.argwhere(image.restored).tolist() == [[0, 5, 6]]
    assert "slab: mean over 5 mm" in image.provenance.history[-1]


def test_a_slab_is_named_no_thicker_than_the_scan(colored) -> None:
    volume, chroma = colored
    whole = volume.shape[0] * SPACING[0]
    for thickness, shown in ((whole, whole), (whole + 1, whole), (500, whole), (5, 5)):
        slab = Slab("mean", thickness)
        one = light_slab(volume, chroma, 0, slab, WINDOW)
        for image in (one, light_slabs(volume, chroma, slab, WINDOW)):
            assert image.provenance.extra["slab"] == f"mean over {shown:g} mm"
            told = [str(w) for w in image.provenance.warnings if "slab" in str(w)]
            expected = f"the scan is {whole:g} mm thick, less than the slab of {thickness:g} mm"
            assert told == ([expected] if thickness > whole else [])
    sheared = volume.affine.copy()
    sheared[:3, 0] += 3 * volume.affine[:3, 1]  # the planes stay where they are
    volume, chroma = (replace(each, affine=sheared) for each in (volume, chroma))
    image = light_slab(volume, chroma, 4, Slab("maximum", 500), WINDOW)
    assert image.provenance.extra["slab"] == f"maximum over {whole:g} mm"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("projection", NUMPY)
def test_slices_of_a_lit_volume_are_slabs_and_its_voxels_are_not(colored, axis, projection) -> None:
    volume, chroma = colored
    lit = LitVolume(volume, chroma, Lighting(window=WINDOW))
    plain = lit[...]
    lit.slab = Slab(projection, 6)
    image = light_slab(volume, chroma, 3, lit.slab, WINDOW, axis=axis)
    key = [slice(2, None), slice(None), slice(None, 5)]
    key[axis] = 3
    expected = image.voxels.take(0, axis)[tuple(key[k] for k in range(3) if k != axis)]
    np.testing.assert_array_equal(lit[tuple(key)], expected)
    np.testing.assert_array_equal(lit[...], plain)
    np.testing.assert_array_equal(lit[3, 4, 5], plain[3, 4, 5])


@pytest.mark.parametrize(
    ("projection", "thickness"), [("median", 3), ("mean", -1), ("mean", np.nan), ("mean", 501)]
)
def test_a_slab_that_cannot_be_is_refused(projection, thickness) -> None:
    with pytest.raises(OptionError, match="slab"):
        Slab(projection, thickness)


def test_slices_and_axes_that_the_volume_lacks_are_refused(colored) -> None:
    with pytest.raises(OptionError, match="9 slices has no slice 9"):
        light_slab(*colored, 9, Slab("mean", 3))
    with pytest.raises(OptionError, match="axis of a slab"):
        light_slab(*colored, 0, Slab("mean", 3), axis=3)
    with pytest.raises(OptionError, match="axis"):
        light_slabs(*colored, Slab("mean", 3), axis=3)
