"""Lighting: the luminance is that of the CT, regardless of color."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from color_cases import RENDERING
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from tomochrome.color import (
    ALPHA_PRESETS,
    Chroma,
    Lighting,
    LitVolume,
    light,
    light_3d,
    light_slice,
)
from tomochrome.color.alpha import AlphaCurve, alpha_curve
from tomochrome.color.lighting import mean_chroma
from tomochrome.color.palettes import palette_names
from tomochrome.color.relight import fade_curve
from tomochrome.color.space import GREY_L
from tomochrome.color.table import SIDE, TABLE
from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError
from tomochrome.notices import Notice
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Provenance, ScannerWindow, Volume, default_affine
from tomochrome.windowing import PRESETS, Window, auto_window, luminance

RNG = np.random.default_rng(11)
N_CODES = 600


def mixtures() -> np.ndarray:
    """Pure tissues, then mixtures with a grey remainder, the last code all grey."""
    mixed = RNG.dirichlet(np.full(N_TISSUES, 0.2), N_CODES - N_TISSUES - 1)
    mixed *= RNG.random((len(mixed), 1))
    return np.vstack([np.eye(N_TISSUES), mixed, np.zeros((1, N_TISSUES))]).astype(np.float32)


MIXTURES = mixtures()


def case(
    shape: tuple[int, int, int] = (4, 16, 16), dtype: type = np.int16
) -> tuple[Volume, Chroma]:
    hu = RNG.integers(-1200, 3100, shape).astype(dtype)
    affine = default_affine((2, 0.7, 0.7), (-100, -100, 30))
    chroma = Chroma(
        RNG.integers(0, N_CODES, shape).astype(np.uint16),
        RNG.integers(0, 256, shape).astype(np.uint8),
        MIXTURES,
        affine,
        "test",
    )
    return Volume(hu, affine), chroma


def off(image: Volume, hu: np.ndarray, window: Window) -> float:
    """Return the largest error of L* according to scikit-image's rgb2lab."""
    return float(np.abs(rgb2lab(image.voxels[..., :3])[..., 0] - luminance(hu, window)).max())


def test_luminance_holds_on_a_million_random_colors() -> None:
    windows = [*PRESETS.values(), Window(40, 1), Window(0.3, 0.7, "LINEAR_EXACT")]
    windows += [Window(50, 400, "SIGMOID"), Window(-3, 77.7, "LINEAR_EXACT")]
    names = palette_names()
    total = 0
    for k, window in enumerate(windows * 3):
        volume, chroma = case((3, 128, 64))
        image = light(
            volume,
            chroma,
            window,
            palette=names[k % len(names)],
            saturation=(0.3, 1.0, 1.37, 2.0)[k // len(windows)],
            min_confidence=(0.0, 0.5, 1.0)[k % 3],
        )
        total += image.voxels[..., 0].size
        assert off(image, volume.voxels, window) <= 0.5
    assert total > 1_000_000


@settings(deadline=None, max_examples=60)
@given(
    **RENDERING,
    name=st.sampled_from(palette_names()),
    dtype=st.sampled_from([np.int16, np.float32, np.float64, np.int32, np.uint16, ">i2"]),
)
def test_luminance_holds_for_any_setting(
    center: float,
    width: float,
    function: str,
    saturation: float,
    min_confidence: float,
    name: str,
    dtype: type,
) -> None:
    volume, chroma = case((2, 16, 16))
    hu = np.maximum(volume.voxels, 0) if dtype is np.uint16 else volume.voxels
    hu = hu.astype(dtype)
    if hu.dtype.kind == "f":
        hu += RNG.random(hu.shape).astype(dtype)
    volume = Volume(hu, volume.affine)
    window = Window(center, width, function)  # type: ignore[arg-type]
    image = light(
        volume,
        chroma,
        window,
        saturation=saturation,
        min_confidence=min_confidence,
        palette=name,
    )
    assert off(image, hu, window) <= 0.5


def test_float_volumes_are_not_rounded() -> None:
    # 1000 steps within one Hounsfield unit, through a window one unit wide.
    hu = np.linspace(40, 41, 1000, dtype=np.float32).reshape(1, 10, 100)
    chroma = Chroma(
        np.ones(hu.shape, np.uint16), np.full(hu.shape, 255, np.uint8), MIXTURES, np.eye(4)
    )
    window = Window(40.5, 1, "LINEAR_EXACT")
    image = light(Volume(hu, np.eye(4)), chroma, window)
    assert off(image, hu, window) <= 0.5
    assert len(np.unique(image.voxels[..., 0])) > 200


def test_not_a_number_is_black_and_clear_in_body() -> None:
    volume, chroma = case((1, 4, 4), np.float32)
    hu = volume.voxels.copy()
    hu[0, 0] = np.nan
    image = light(Volume(hu, volume.affine), chroma, "soft-tissue", alpha="skin")
    assert (image.voxels[0, 0] == 0).all()


def test_saturation_0_is_grey_and_color_never_hides_a_grey_level() -> None:
    hu = np.arange(-400, 600, dtype=np.int16).reshape(1, 10, 100)
    volume = Volume(hu, np.eye(4))
    sure = np.full(hu.shape, 255, np.uint8)
    for tissue in Tissue:
        chroma = Chroma(np.full(hu.shape, tissue, np.uint16), sure, MIXTURES, np.eye(4))
        grey = light(volume, chroma, saturation=0.0).voxels
        np.testing.assert_array_equal(grey[..., 0], grey[..., 1])
        np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
        color = light(volume, chroma).voxels
        levels = grey[..., 0].ravel()
        L = rgb2lab(color[..., :3])[..., 0].ravel()
        np.testing.assert_allclose(L, GREY_L[levels], atol=0.25)
        # Strictly increasing brightness: distinct grey levels remain distinct.
        steps = np.flatnonzero(np.diff(levels.astype(int)) > 0)
        assert (L[steps + 1] > L[steps]).all()
        np.testing.assert_array_equal(color[..., 3], grey[..., 3])


def test_no_column_of_the_table_hides_a_grey_level() -> None:
    cells = np.arange(0, SIDE * SIDE, 97, dtype=np.int32)
    TABLE.ensure(cells)
    rgb = TABLE.words.view(np.uint8).reshape(-1, 256, 4)[cells][..., :3]
    L = rgb2lab(rgb)[..., 0]
    assert np.abs(L - GREY_L).max() < 0.2
    assert np.diff(L, axis=1).min() > 0


def test_colors_are_the_palettes_where_they_can_be_shown() -> None:
    hu = np.full((1, 1, N_TISSUES), 60, np.int16)
    code = np.arange(N_TISSUES, dtype=np.uint16)[None, None]
    chroma = Chroma(code, np.full(code.shape, 255, np.uint8), MIXTURES, np.eye(4))
    image = light(Volume(hu, np.eye(4)), chroma)
    lab = rgb2lab(image.voxels[0, 0, :, :3])
    np.testing.assert_allclose(lab[:, 1:], chroma.ab()[0, 0], atol=1.5)


def test_confidence_fades_color_to_grey() -> None:
    hu = np.full((1, 1, 256), 60, np.int16)
    code = np.full(hu.shape, Tissue.VESSEL, np.uint16)
    confidence = np.arange(256, dtype=np.uint8)[None, None]
    chroma = Chroma(code, confidence, MIXTURES, np.eye(4))
    volume = Volume(hu, np.eye(4))

    def strength(threshold: float) -> np.ndarray:
        image = light(volume, chroma, min_confidence=threshold)
        return np.linalg.norm(rgb2lab(image.voxels[0, 0, :, :3])[:, 1:], axis=1)

    full = strength(0.0)
    np.testing.assert_allclose(full, full[0])
    for threshold in (0.2, 0.5, 1.0):
        faded = strength(threshold)
        np.testing.assert_allclose(faded[0], 0, atol=0.02)
        assert np.diff(faded).min() > -1.0  # smooth and increasing, except for rounding
        assert np.abs(np.diff(faded)).max() < 2 + 300 / (256 * threshold)  # and rounding
        np.testing.assert_array_equal(faded[int(np.ceil(threshold * 255)) :], full[-1])
    assert (fade_curve(0.0) == 1).all()


def test_body_hides_air_and_opaque_hides_nothing() -> None:
    volume, chroma = case()
    body = light(volume, chroma).voxels
    np.testing.assert_array_equal(body[..., 3], np.where(chroma.tissue == Tissue.AIR, 0, 255))
    opaque = light(volume, chroma, alpha="opaque").voxels
    assert (opaque[..., 3] == 255).all()
    np.testing.assert_array_equal(opaque[..., :3], body[..., :3])


@pytest.mark.parametrize("name", sorted(ALPHA_PRESETS))
def test_opacity_follows_the_curve(name: str) -> None:
    volume, chroma = case()
    curve = alpha_curve(name)
    shown = light(volume, chroma, alpha=name).voxels[..., 3]
    hidden = (chroma.tissue == Tissue.AIR) & curve.hide_air
    np.testing.assert_array_equal(shown, np.where(hidden, 0, curve(volume.voxels)))
    real = Volume(volume.voxels.astype(np.float32), volume.affine)
    np.testing.assert_array_equal(light(real, chroma, alpha=name).voxels[..., 3], shown)


def test_opacity_curves_are_checked() -> None:
    with pytest.raises(OptionError, match="unknown opacity"):
        alpha_curve("misty")
    for points in (
        (),
        ((0, 2),),
        ((10, 0), (0, 1)),
        ((0, float("nan")),),
        ((1, 2, 3),),
        (("a", 1),),
        None,
    ):
        with pytest.raises(OptionError):
            AlphaCurve("own", points)  # type: ignore[arg-type]
    half = AlphaCurve("half", [[0, 0.5]], hide_air=False)  # type: ignore[arg-type]
    volume, chroma = case()
    assert (light(volume, chroma, alpha=half).voxels[..., 3] == 128).all()


def test_the_image_says_where_it_comes_from() -> None:
    volume, chroma = case()
    image = light(volume, chroma, "lung", saturation=0.5, palette="vivid")
    assert image.unit == "RGBA"
    assert image.voxels.dtype == np.uint8
    np.testing.assert_array_equal(image.affine, volume.affine)
    line = image.provenance.history[-1]
    for word in ("test", "vivid", "lung -600/1500", "saturation 0.5", "not for diagnosis"):
        assert word in line
    assert image.provenance.extra["not_for_diagnosis"] is True
    assert image.provenance.extra["model"] == "test"


def test_one_slice_is_the_slice_of_the_whole() -> None:
    volume, chroma = case()
    whole = light(volume, chroma, "bone", min_confidence=0.4).voxels
    chosen = Lighting(window="bone", min_confidence=0.4)  # type: ignore[arg-type]
    np.testing.assert_array_equal(light_slice(volume, chroma, 2, chosen), whole[2])
    np.testing.assert_array_equal(light_slice(volume, chroma, 0), light(volume, chroma).voxels[0])


def test_progress_and_cancel() -> None:
    volume, chroma = case((40, 512, 512))
    seen: list[tuple[int, int, str]] = []
    with running(Task(lambda done, total, stage: seen.append((done, total, stage)))):
        light(volume, chroma)
    assert seen[0] == (0, 40, "lighting")
    assert seen[-1] == (40, 40, "lighting")
    assert len(seen) > 10  # a few slices of this size between two checks

    def stop(done: int, total: int, stage: str) -> None:
        if done > 0:
            token.cancel()

    token = Task(stop)
    with running(token), pytest.raises(Cancelled):
        light(volume, chroma)


@pytest.mark.parametrize(
    "settings_",
    [
        {"saturation": -0.1},
        {"saturation": 2.1},
        {"saturation": float("nan")},
        {"saturation": "much"},
        {"min_confidence": 1.1},
        {"min_confidence": None},
        {"palette": "rainbow"},
        {"alpha": "misty"},
        {"window": "no window"},
        {"window": "50/-4"},
    ],
)
def test_nonsense_is_refused_in_one_sentence(settings_: dict[str, object]) -> None:
    volume, chroma = case()
    with pytest.raises(OptionError) as caught:
        light(volume, chroma, **settings_)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_arguments_of_another_type_are_named() -> None:
    volume, chroma = case()
    for scan, colors, words in (
        (volume.voxels, chroma, "the scan must be a Volume, as tc.read returns it, not ndarray"),
        (chroma, volume, "the scan must be a Volume, as tc.read returns it, not Chroma"),
        (volume, volume, "the colors must be a Chroma, as tc.colorize returns it, not Volume"),
        (volume, None, "the colors must be a Chroma, as tc.colorize returns it, not NoneType"),
    ):
        for work in (light, LitVolume, light_3d, lambda v, c: light_slice(v, c, 0)):
            with pytest.raises(InputError, match=f"^{words}$"):
                work(scan, colors)


def test_other_grids_and_colored_volumes_are_refused() -> None:
    volume, chroma = case()
    with pytest.raises(InputError, match="already colored"):
        light(light(volume, chroma), chroma)
    with pytest.raises(GeometryError):
        light(Volume(volume.voxels[1:], volume.affine), chroma)


def test_auto_and_scanner_windows_look_at_the_volume() -> None:
    volume, chroma = case()
    auto = light(volume, chroma, "auto").provenance.history[-1]
    assert f"window {auto_window(volume)}" in auto
    stored = Provenance(windows=(ScannerWindow("scanner", 40, 300),))
    scan = replace(volume, provenance=stored)
    assert "window scanner 40/300" in light(scan, chroma).provenance.history[-1]
    assert light(volume, chroma).provenance.history[-1] == auto
    with pytest.raises(OptionError, match="no window of its own"):
        light(volume, chroma, "scanner")


def test_a_real_series_keeps_its_luminance(shared_data: Path) -> None:
    from tomochrome.io import read

    volume = read(shared_data / "dicom" / "abdomen_contrast_j2k")
    code = RNG.integers(0, N_CODES, volume.shape).astype(np.uint16)
    chroma = Chroma(code, np.full(volume.shape, 255, np.uint8), MIXTURES, volume.affine)
    for name in ("soft-tissue", "lung", "bone"):
        image = light(volume, chroma, name)
        some = slice(0, None, 6)
        error = np.abs(
            rgb2lab(image.voxels[some, ..., :3])[..., 0]
            - luminance(volume.voxels[some], PRESETS[name])
        )
        assert error.max() <= 0.5


def test_what_the_colorizer_warned_of_stays_with_the_picture() -> None:
    volume, chroma = case()
    uneven = Notice("geometry", "warning", "uneven")
    moved = Notice("device", "info", "colored on the CPU after all")
    volume = replace(volume, provenance=Provenance(warnings=(uneven,)))
    provenance = Provenance(warnings=(uneven, moved))
    image = light(volume, replace(chroma, provenance=provenance))
    assert image.provenance.warnings == (uneven, moved)


def test_mean_chroma_is_that_of_the_picture() -> None:
    volume, chroma = case()
    volume = replace(volume, voxels=np.full_like(volume.voxels, 60))
    colored = chroma.colored_codes[chroma.code]
    means = {}
    for saturation in (0.0, 0.5, 1.0):
        image = light(volume, chroma, "soft-tissue", saturation=saturation, alpha="opaque")
        lab = rgb2lab(image.voxels[..., :3])
        expected = np.hypot(lab[..., 1], lab[..., 2])[colored].mean()
        means[saturation] = mean_chroma(image, chroma)
        assert means[saturation] == pytest.approx(expected, abs=0.05)
    assert means[0.0] < 0.1
    assert means[0.5] == pytest.approx(means[1.0] / 2, rel=0.05)
    assert means[1.0] == pytest.approx(chroma.mean_chroma, rel=0.1)
    vivid = mean_chroma(light(volume, chroma, "soft-tissue", palette="vivid"), chroma)
    assert vivid > 1.2 * means[1.0]
    faded = mean_chroma(light(volume, chroma, "soft-tissue", min_confidence=1.0), chroma)
    assert faded < means[1.0]
    white = mean_chroma(light(volume, chroma, "-500/10"), chroma)
    assert white < 0.1
    nothing = replace(chroma, code=np.zeros_like(chroma.code))
    assert mean_chroma(image, nothing) == 0.0
