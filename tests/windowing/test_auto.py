"""The window chosen by content keeps color: judged by the phantoms' own tissue maps."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctphantom.rendered_ct import render_ct
from tomochrome.color import Lighting
from tomochrome.errors import OptionError
from tomochrome.geometry.orient import reorient
from tomochrome.io import read
from tomochrome.phantom import (
    PHASES,
    StructureMap,
    hu_table,
    make_patient,
    make_structures,
    tissue_table,
)
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, ScannerWindow, Volume, default_affine
from tomochrome.windowing import (
    PRESETS,
    Window,
    auto_window,
    luminance,
    opening_choice,
    opening_window,
    parse_window,
)
from tomochrome.windowing.auto import FAT_L, MAX_AGENT_HU, MAX_BLACK, MAX_WHITE, widened

REGIONS = ("head", "chest", "abdomen", "pelvis", "torso")
NO_TISSUE = (Tissue.AIR, Tissue.CORTICAL_BONE, Tissue.MARROW, Tissue.FOREIGN_BODY)
CTA = "thorax_cta_1p5mm"


@lru_cache(maxsize=16)
def painted(seed: int, region: str) -> StructureMap:
    spacing = (6.0, 2.5, 2.5) if region == "head" else (8.0, 4.0, 4.0)
    return make_structures(seed, region, spacing)


@lru_cache(maxsize=64)
def phantom(seed: int, region: str, phase: Any) -> tuple[Volume, NDArray[np.uint8]]:
    """A patient's CT and tissue map, as `make_patient` makes them; painted once for all phases."""
    structures, affine, anatomy = painted(seed, region)
    rng = anatomy.rng(90)
    hu = hu_table(phase, rng, stomach=anatomy.stomach_fill)
    spacing = Volume(structures, affine).spacing
    ct = render_ct(structures, spacing, phase, rng, hu=hu)
    return Volume(ct, affine), tissue_table()[structures]


def share_white(hu: NDArray[np.generic], window: Window) -> float:
    """Share of values that a display of 8 bits shows as white."""
    return float((luminance(hu, window) >= 99.8).mean())


def share_black(hu: NDArray[np.generic], window: Window) -> float:
    return float((luminance(hu, window) <= 0.2).mean())


def check_bound(seed: int, region: str, phase: str) -> Window:
    """Check the window of a phantom against its tissue map, and return it."""
    ct, tissue = phantom(seed, region, phase)
    window = auto_window(ct)
    if region == "head":
        assert window == PRESETS["brain"]  # in which fat is black and bone white
        return window
    hu = np.asarray(ct.voxels)
    colored = hu[~np.isin(tissue, NO_TISSUE)]
    # A small bowel loop with oral agent does not widen the window.
    assert share_white(colored, window) <= 1.5 * MAX_WHITE, window
    # Organs, muscle, blood and fat as such: partial volumes at the skin and the lung apart.
    fat_and_soft = hu[~np.isin(tissue, (*NO_TISSUE, Tissue.LUNG, Tissue.AIRWAY)) & (hu >= -150)]
    assert share_black(fat_and_soft, window) <= MAX_BLACK, window
    assert window.width <= 650
    assert window.width <= 400 or phase in ("arterial", "delayed"), window
    return window


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("region", REGIONS)
def test_little_of_a_phantom_is_white(region: str, phase: str) -> None:
    check_bound(2, region, phase)


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    region=st.sampled_from(REGIONS[:4]),
    phase=st.sampled_from(PHASES),
)
@example(2, "head", "arterial")  # bone of the skull in many voxels of brain and muscle
@example(1, "chest", "arterial")
def test_little_of_any_phantom_is_white(seed: int, region: str, phase: str) -> None:
    check_bound(seed, region, phase)


def test_the_usual_window_is_kept_where_it_is_enough() -> None:
    window = check_bound(1, "abdomen", "portal")
    assert window in (PRESETS["abdomen"], PRESETS["soft-tissue"])
    lung = np.random.default_rng(0).normal(-850, 30, (9, 9, 9)).astype(np.int16)
    assert auto_window(Volume(lung)) == PRESETS["lung"]


def test_contrast_agent_widens_the_window() -> None:
    """As far as the agent needs: 50/400 shows these vessels white, 300/900 the fat black."""
    ct, tissue = phantom(1, "chest", "arterial")
    blood = np.asarray(ct.voxels)[np.isin(tissue, (Tissue.VESSEL, Tissue.HEART))]
    assert share_white(blood, PRESETS["soft-tissue"]) > 0.2
    window = auto_window(ct)
    assert share_white(blood, window) < 0.02
    assert window.center + window.width / 2 <= np.percentile(blood, 99) + 50
    assert PRESETS["soft-tissue"] == auto_window(phantom(1, "chest", "native")[0])


@pytest.mark.parametrize("agent", [260, 330, 480, 640, 900, 2000])
def test_fat_is_not_black_and_the_liver_not_dark(agent: int) -> None:
    window = widened(agent)
    fat, liver = luminance(np.array([-100, 60]), window)
    assert fat >= FAT_L - 0.1
    assert liver >= 30
    assert agent > MAX_AGENT_HU or luminance(np.array(agent - 1), window) < 100


def ball(hu: NDArray[Any], center: tuple[int, int, int], radius: int, value: float) -> None:
    z, y, x = np.ogrid[tuple(map(slice, hu.shape))]
    inside = sum((at - c) ** 2 for at, c in zip((z, y, x), center, strict=True))
    hu[inside <= radius**2] = value


@pytest.mark.parametrize("thing", ["implant", "couch", "thick bone", "spongy bone"])
def test_what_is_dense_but_no_agent_does_not_widen_the_window(thing: str) -> None:
    hu = np.asarray(pooled(100).voxels).astype(float)
    rng = np.random.default_rng(1)
    if thing == "implant":
        ball(hu, (20, 30, 30), 8, 1500)
        ball(hu, (20, 30, 30), 6, 3000)
    elif thing == "couch":
        hu = np.pad(hu, ((0, 0), (0, 20), (0, 0)), constant_values=-1000)
        hu[:, 68:75, 10:50] = 330
    elif thing == "thick bone":
        ball(hu, (20, 30, 30), 8, 1400)
    else:
        ball(hu, (20, 30, 30), 9, 900)
        grain = rng.normal(280, 110, (40, 60, 60))
        z, y, x = np.ogrid[:40, :60, :60]
        inside = (z - 20) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 <= 64
        hu[inside] = grain[inside]
    volume = Volume(hu.astype(np.int16), default_affine((3.0, 3.0, 3.0)))
    assert auto_window(volume) == PRESETS["soft-tissue"]


@pytest.mark.parametrize("case", ["teeth", "plate", "agent"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_head_keeps_its_brain_window(seed: int, case: str) -> None:
    ct, tissue = phantom(seed, "head", "arterial" if case == "agent" else "native")
    hu = np.array(ct.voxels, dtype=float)
    if case == "teeth":  # fillings with streaks across the mouth
        z, y, x = (int(n * f) for n, f in zip(hu.shape, (0.25, 0.3, 0.5), strict=True))
        hu[z, y : y + 8, :] += np.random.default_rng(seed).normal(0, 400, (8, hu.shape[2]))
        for side in (-12, -6, 0, 6, 12):
            hu[z - 1 : z + 1, y : y + 3, x + side : x + side + 3] = 8000
    elif case == "plate":
        bone = tissue == Tissue.CORTICAL_BONE
        hu[bone & (np.arange(hu.shape[2]) > hu.shape[2] // 2)] = 3000
    volume = Volume(hu.clip(-1024, 12000).astype(np.int16), ct.affine)
    assert auto_window(volume) == opening_window(volume) == PRESETS["brain"]


def pooled(level: float) -> Volume:
    """Fat around muscle around a ball of blood with contrast agent; a shell of bone outside."""
    z, y, x = np.ogrid[:40, :60, :60]
    radius = np.sqrt((z - 20.0) ** 2 + (y - 30.0) ** 2 + (x - 30.0) ** 2)
    hu = np.full(radius.shape, -1000.0)
    for edge, value in ((28, -100), (22, 900), (20, 100), (10, level)):
        hu[radius < edge] = value
    hu += np.random.default_rng(3).normal(0, 12, hu.shape)
    return Volume(hu.astype(np.int16), default_affine((3.0, 3.0, 3.0)))


@settings(max_examples=15, deadline=None)
@given(level=st.integers(100, 900), more=st.integers(0, 200))
def test_more_contrast_agent_never_narrows_the_window(level: int, more: int) -> None:
    less, denser = auto_window(pooled(level)), auto_window(pooled(level + more))
    assert less.center + less.width / 2 <= denser.center + denser.width / 2
    blood = np.full(10, level)
    assert share_white(blood, less) == (level >= MAX_AGENT_HU)


@pytest.mark.parametrize("flips", [(True, False, False), (True, True, True)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_same_patient_has_the_same_window_on_any_axes(
    order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    ct, _ = phantom(1, "head", "native")
    stored = reorient(ct, order, flips)
    assert auto_window(stored) == auto_window(ct) == auto_window(replace(ct))
    assert opening_window(stored) == opening_window(ct)


@pytest.mark.parametrize("region", ["chest", "head"])
def test_the_window_stored_in_the_scan_comes_first(region: str) -> None:
    ct, _ = phantom(1, region, "arterial")
    assert opening_choice(ct) == "auto"
    assert opening_window(ct) == parse_window("default", ct) == auto_window(ct)
    for stored in ((120, 600), (40, 350), (300, 600)):
        windows = ScannerWindow("broken", 40, -1), ScannerWindow("scanner", *stored)
        volume = replace(ct, provenance=Provenance(windows=windows))
        shown = opening_window(volume)
        assert (shown.center, shown.width) == stored
        assert shown == parse_window("default", volume)
        assert shown == parse_window(opening_choice(volume), volume)
        assert auto_window(volume) == auto_window(ct)  # the automatic one is by content alone
        assert Lighting.of(volume).window == shown  # the same for color


@pytest.mark.parametrize("phase", ["native", "arterial"])
def test_a_head_opens_in_the_brain_window_and_nothing_else_does(phase: str) -> None:
    assert opening_window(phantom(1, "head", phase)[0]) == PRESETS["brain"]
    assert opening_window(phantom(2, "head", phase)[0]) == PRESETS["brain"]
    for region in REGIONS[1:]:
        ct, _ = phantom(2, region, phase)
        assert opening_window(ct) == auto_window(ct) != PRESETS["brain"]


@pytest.mark.parametrize(("seed", "spacing"), [(7, (2.0, 2.0, 2.0)), (9, (3.0, 2.0, 2.0))])
def test_a_thin_skull_in_voxels_of_2_mm_is_a_head(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    """It has gaps of up to 12 mm in a sample of every other voxel."""
    assert auto_window(make_patient(seed, "head", spacing).ct) == PRESETS["brain"]


def test_what_is_not_hu_shows_nearly_all_of_its_values() -> None:
    rng = np.random.default_rng(0)
    brain = np.where(rng.random((20, 30, 30)) < 0.5, 0, rng.normal(0.35, 0.05, (20, 30, 30)))
    brain[0, 0, :3] = 12.0  # a few bright voxels, as of vessels, do not count
    window = opening_window(Volume(brain.astype(np.float32), unit="unknown"))
    assert window.function == "LINEAR_EXACT"
    assert 0.1 < window.center - window.width / 2 < 0.3
    assert 0.4 < window.center + window.width / 2 < 0.6


def test_odd_volumes_have_a_window_too() -> None:
    for voxels, unit in [
        (np.full((3, 4, 5), -1024, np.int16), "HU"),
        (np.full((3, 4, 5), 40, np.int16), "HU"),
        (np.full((1, 1, 1), 3000, np.int16), "HU"),
        (np.full((3, 4, 5), np.nan, np.float32), "HU"),
        (np.full((3, 4, 5), np.nan, np.float32), "unknown"),
        (np.zeros((3, 4, 5), np.float32), "unknown"),
        (np.full((3, 4, 5), 1e7, np.float32), "unknown"),
        (np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5), "unknown"),
    ]:
        volume = Volume(voxels, unit=unit)  # type: ignore[arg-type]
        assert auto_window(volume).width > 0
        assert opening_window(volume).width > 0
    for ask in (auto_window, opening_window):
        with pytest.raises(OptionError):
            ask(Volume(np.zeros((2, 2, 2, 4), np.uint8), unit="RGBA"))


def test_a_real_chest_angiography_keeps_its_color(shared_data: Path) -> None:
    """The blood, as two masks that others drew mark it; and nearly all of the body."""
    ct = read(shared_data / "ct" / f"{CTA}.nii.gz")
    hu = np.asarray(ct.voxels)
    artery = np.asarray(read(shared_data / "ct" / f"{CTA}_pulmonary_artery.nii.gz").voxels) > 0
    heart = read(shared_data / "ct" / f"{CTA}_heart_larger_grid.nii.gz")
    first = np.rint(np.linalg.solve(heart.affine, ct.affine @ (0, 0, 0, 1)))[:3].astype(int)
    inside = tuple(slice(int(at), int(at) + n) for at, n in zip(first, ct.shape, strict=True))
    blood = artery | (np.asarray(heart.voxels)[inside] > 0)
    assert share_white(hu[blood], PRESETS["soft-tissue"]) > 0.5
    window = auto_window(ct)
    assert share_white(hu[artery], window) <= 0.12
    assert share_white(hu[blood], window) <= 0.12  # it alone, with the mixing in the right heart
    # Between breastbone and spine nothing but the heart and great vessels can be white: that much
    # of the whole body, lung with it.
    white = luminance(hu[:, 20:82], window) >= 99.8
    assert white.sum() <= 2 * MAX_WHITE * (hu > -950).sum()
    fat, liver = luminance(np.array([-100, 60]), window)  # 300/900: 5.6 and 23
    assert fat >= 15
    assert liver >= 35


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("abdomen_3mm", (50, 400)),
        ("abdomen_contrast_pancreas_5mm", (50, 400)),
        ("chest_effusion_tumor", (50, 400)),
        ("chest_lowdose", (50, 400)),
        ("chest_plain_a", (50, 400)),  # on a couch as dense as contrast agent
        ("head_female_1mm", (40, 80)),
        ("kidneys_arterial_18slices", (50, 500)),
        ("thorax_cta_1p5mm", (175, 850)),
        ("torso_petct_couch", (50, 400)),
    ],
)
def test_the_table_of_real_scans(name: str, expected: Any, shared_data: Path) -> None:
    """The table in ``docs/windows.md``."""
    window = opening_window(read(shared_data / "ct" / f"{name}.nii.gz"))
    assert (window.center, window.width) == expected


def test_stored_windows_of_real_scans_are_opened_in(shared_data: Path) -> None:
    scan = read(shared_data / "dicom" / "abdomen_contrast_j2k")
    window = opening_window(scan)
    assert (window.center, window.width) == (40, 300)
    assert auto_window(scan) == PRESETS["soft-tissue"]
    tilted = read(shared_data / "dicom" / "head_gantry_tilt")
    shown = opening_window(tilted)
    assert (shown.center, shown.width) == (35, 85)
    bare = replace(tilted, provenance=replace(tilted.provenance, windows=()))
    assert opening_window(bare) == PRESETS["brain"]


def test_organs_of_a_real_abdomen_are_not_white(shared_data: Path) -> None:
    ct = read(shared_data / "ct" / "abdomen_3mm.nii.gz")
    labels = np.asarray(read(shared_data / "ct" / "abdomen_3mm_labels.nii.gz").voxels)
    organs = (labels >= 1) & (labels <= 24)
    assert share_white(np.asarray(ct.voxels)[organs], auto_window(ct)) <= MAX_WHITE
