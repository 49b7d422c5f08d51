"""Shades of the brain: grey and white matter by density, where the CT shows a difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import tomochrome as tc
from tomochrome.colorization.brain import shade_brain
from tomochrome.colorization.scan import Colors, Scan, prepare
from tomochrome.colorization.slab_kernels import SHARES, TOTALS
from tomochrome.colorization.tables import (
    SHADES,
    brain_shades,
    grey_tissue_table,
    mixture_codes,
    mixture_weights,
    tissue_table,
)
from tomochrome.errors import Cancelled
from tomochrome.phantom import Structure, make_patient
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine

SHAPE, SPACING = (40, 80, 80), (3.0, 2.0, 2.0)
CODE_OF_TISSUE = mixture_codes(np.eye(N_TISSUES, dtype=np.float32))


def ball(millimeters: float) -> np.ndarray:
    """A ball in the center of the volume."""
    axes = [(np.arange(n) - n / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 < millimeters**2


HEAD, BRAIN = ball(58), ball(50)
WHITE = ball(40) & ~ball(20)  # white matter around deep grey matter


def scan_of(hu: np.ndarray) -> Scan:
    """A head with the given HU in its brain."""
    voxels = np.where(BRAIN, hu, np.where(HEAD, 900, -1000))
    return prepare(Volume(np.rint(voxels).astype(np.int16), default_affine(SPACING)))


def noise(sd: float, blur: float = 0.7) -> np.ndarray:
    """Noise of a CT, correlated within slices."""
    values = ndimage.gaussian_filter(
        np.random.default_rng(5).standard_normal(SHAPE), (0, blur, blur)
    )
    return values * (sd / values.std())


def shaded(scan: Scan, brain: np.ndarray = BRAIN) -> np.ndarray:
    """The shade of each voxel, in a scan whose tissues are known."""
    tissue = np.where(brain, Tissue.BRAIN, np.where(HEAD, Tissue.CORTICAL_BONE, Tissue.AIR))
    code = CODE_OF_TISSUE[tissue]
    colors = Colors(code.copy(), np.full(SHAPE, 255, np.uint8))
    shade_brain(scan, colors)
    table = tissue_table()
    np.testing.assert_array_equal(table.weights[colors.code], table.weights[code])
    assert (colors.confidence == 255).all()
    return table.shade[colors.code]


def test_dense_brain_gets_the_shade_of_grey_matter() -> None:
    shade = shaded(scan_of(np.where(WHITE, 28.0, 37.0) + noise(4.0)))
    grey, white = BRAIN & ~WHITE, ndimage.binary_erosion(WHITE)
    assert (shade[white] < 0).mean() > 0.9
    assert (shade[ball(14)] > 0).mean() > 0.9
    assert shade[grey].mean() > 0.4 > -0.5 > shade[white].mean()
    assert not shade[~BRAIN].any()


@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_noise_gives_no_shades(blur: float) -> None:
    assert not shaded(scan_of(34 + noise(12.0, blur))).any()


def test_beam_hardening_gives_no_shades() -> None:
    depth = ndimage.distance_transform_edt(BRAIN, sampling=SPACING)
    assert not shaded(scan_of(30 + 8 * np.exp(-depth / 30) + noise(4.0))).any()


def test_a_small_brain_has_no_shades() -> None:
    little = ball(20)
    assert not shaded(scan_of(np.where(ball(10), 28.0, 37.0)), little).any()


def test_shades_are_the_same_however_far_the_air_extends() -> None:
    hu = np.where(WHITE, 28.0, 37.0) + noise(4.0)
    scan = scan_of(hu)
    voxels = np.pad(scan.hu, ((0, 0), (16, 16), (8, 24)), constant_values=-1000)
    larger = prepare(Volume(voxels, default_affine(SPACING)))
    tissue = np.pad(np.where(BRAIN, Tissue.BRAIN, Tissue.AIR), ((0, 0), (16, 16), (8, 24)))
    colors = Colors(CODE_OF_TISSUE[tissue], np.zeros(voxels.shape, np.uint8))
    shade_brain(larger, colors)
    table = tissue_table()
    np.testing.assert_array_equal(table.shade[colors.code][:, 16:-16, 8:-24], shaded(scan))


def test_uncertain_brain_keeps_its_code() -> None:
    weights = np.zeros((1, N_TISSUES), np.float32)
    weights[0, [Tissue.BRAIN, Tissue.FLUID]] = 0.6, 0.4
    scan = scan_of(np.where(WHITE, 28.0, 37.0))
    code = np.where(BRAIN, mixture_codes(weights)[0], 0).astype(np.uint16)
    colors = Colors(code.copy(), np.zeros(SHAPE, np.uint8))
    shade_brain(scan, colors)
    np.testing.assert_array_equal(colors.code, code)


def test_every_code_with_shades_is_certainly_brain() -> None:
    shades, weights, table = brain_shades(), mixture_weights(), tissue_table()
    assert shades.shape == (len(weights), len(SHADES))
    assert len(grey_tissue_table()) <= 1 << 16
    np.testing.assert_array_equal(shades[:, SHADES.index(0.0)], np.arange(len(weights)))
    several = shades[:, 0] != shades[:, -1]
    brain = weights[:, Tissue.BRAIN]
    certain = (brain >= 0.86 * weights.sum(axis=1)) & (weights.sum(axis=1) > 0.66)
    np.testing.assert_array_equal(several, certain)
    assert several.sum() == (N_TISSUES - 1) * 3 * (TOTALS - 7) and SHARES > 3
    for number, shade in enumerate(SHADES):
        codes = shades[several, number]
        assert (table.shade[codes] == shade).all()
        np.testing.assert_array_equal(table.weights[codes], weights[several])
    assert len(np.unique(shades)) == len(table)


def test_shading_can_be_cancelled() -> None:
    scan, task = scan_of(np.where(WHITE, 28.0, 37.0)), Task()
    colors = Colors(CODE_OF_TISSUE[np.where(BRAIN, Tissue.BRAIN, 0)], np.zeros(SHAPE, np.uint8))
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        shade_brain(scan, colors)


def test_the_default_model_shades_grey_and_white_matter_of_a_phantom() -> None:
    patient = make_patient(3, "head", (2.5, 1.5, 1.5))
    chroma = tc.colorize(patient.ct)
    shade = chroma.table.shade[chroma.code]
    of = {name: shade[patient.structures == Structure[name]] for name in (
        "WHITE_MATTER", "GREY_MATTER", "DEEP_GREY", "MUSCLE")}  # fmt: skip
    assert (of["WHITE_MATTER"] < 0).mean() > 0.65 > 0.15 > (of["WHITE_MATTER"] > 0).mean()
    assert (of["GREY_MATTER"] > 0).mean() > 0.5 > 0.15 > (of["GREY_MATTER"] < 0).mean()
    assert of["DEEP_GREY"].mean() > 0.3 and not of["MUSCLE"].any()
    a, brain = chroma.ab()[..., 0], patient.tissue.voxels == Tissue.BRAIN
    grey, white = (
        a[brain & (patient.structures == Structure[name])].mean()
        for name in ("DEEP_GREY", "WHITE_MATTER")
    )
    assert grey - white > 2
    plain = chroma.without_shades()
    np.testing.assert_array_equal(plain.tissue, chroma.tissue)
    difference = (chroma.ab() - plain.ab())[shade != 0]
    assert not (chroma.ab() != plain.ab())[shade == 0].any()
    assert (np.sign(difference[:, 0]) == np.sign(shade[shade != 0])).all()


def test_only_a_head_that_shows_a_difference_has_shades(shared_data: Path) -> None:
    full = tc.read(shared_data / "ct/head_female_1mm.nii.gz")
    half = full.affine @ np.diag([1, 2, 2, 1])
    cadaver = tc.colorize(Volume(np.asarray(full.voxels)[:, ::2, ::2], half))
    assert not cadaver.table.shade[cadaver.code].any()
    patient = tc.colorize(tc.read(shared_data / "dicom/head_gantry_tilt"))
    shade = patient.table.shade[patient.code][patient.tissue == Tissue.BRAIN]
    assert (shade > 0).mean() > 0.25 and (shade < 0).mean() > 0.25


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((1, 60, 60), (10.0, 4.0, 4.0)),
        ((2, 200, 200), (1.5, 2.0, 2.0)),
        ((9, 8, 8), (20.0, 30.0, 30.0)),
        ((7, 61, 59), (9.0, 5.0, 5.0)),
        ((40, 100, 100), (0.5, 2.0, 2.0)),
    ],
)
def test_any_grid_can_be_shaded(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    hu = np.random.default_rng(1).integers(20, 45, shape).astype(np.int16)
    hu[:, :1] = -1000
    code = np.full(shape, CODE_OF_TISSUE[Tissue.BRAIN], np.uint16)
    colors = Colors(code, np.zeros(shape, np.uint8))
    shade_brain(prepare(Volume(hu, default_affine(spacing))), colors)
    assert (tissue_table().weights[code, Tissue.BRAIN] == 1).all()
