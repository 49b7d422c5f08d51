"""Palettes: adjacent organs differ, colors are in gamut, measured ones follow from data."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from color_cases import max_chroma

from tomochrome.color import Palette, palette_names, srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.color.space import LINEAR_OF_8BIT
from tomochrome.errors import OptionError
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue

#: Tissues that are adjacent somewhere in the body.
TOUCHING = [
    ("liver", "gallbladder"),
    ("liver", "stomach"),
    ("liver", "kidney"),
    ("liver", "muscle"),
    ("liver", "vessel"),
    ("liver", "heart"),
    ("liver", "lung"),
    ("liver", "fat"),
    ("liver", "bowel"),
    ("liver", "pancreas"),
    ("liver", "adrenal"),
    ("liver", "fluid"),
    ("spleen", "stomach"),
    ("spleen", "kidney"),
    ("spleen", "pancreas"),
    ("spleen", "lung"),
    ("spleen", "fat"),
    ("spleen", "muscle"),
    ("spleen", "bowel"),
    ("spleen", "vessel"),
    ("spleen", "fluid"),
    ("spleen", "adrenal"),
    ("liver", "spleen"),
    ("stomach", "pancreas"),
    ("stomach", "bowel"),
    ("stomach", "fat"),
    ("stomach", "lung"),
    ("stomach", "heart"),
    ("stomach", "muscle"),
    ("stomach", "gallbladder"),
    ("stomach", "vessel"),
    ("stomach", "kidney"),
    ("stomach", "adrenal"),
    ("stomach", "fluid"),
    ("bowel", "bladder"),
    ("bowel", "pancreas"),
    ("bowel", "fat"),
    ("bowel", "muscle"),
    ("bowel", "kidney"),
    ("bowel", "gallbladder"),
    ("bowel", "reproductive"),
    ("bowel", "vessel"),
    ("bowel", "fluid"),
    ("bladder", "reproductive"),
    ("bladder", "fat"),
    ("bladder", "muscle"),
    ("bladder", "fluid"),
    ("reproductive", "fat"),
    ("reproductive", "muscle"),
    ("reproductive", "vessel"),
    ("reproductive", "fluid"),
    ("kidney", "adrenal"),
    ("kidney", "fat"),
    ("kidney", "muscle"),
    ("kidney", "vessel"),
    ("kidney", "pancreas"),
    ("kidney", "fluid"),
    ("pancreas", "fat"),
    ("pancreas", "vessel"),
    ("pancreas", "adrenal"),
    ("pancreas", "fluid"),
    ("adrenal", "fat"),
    ("adrenal", "muscle"),
    ("adrenal", "vessel"),
    ("gallbladder", "fat"),
    ("gallbladder", "pancreas"),
    ("gallbladder", "fluid"),
    ("muscle", "fat"),
    ("muscle", "cortical-bone"),
    ("muscle", "skin"),
    ("muscle", "vessel"),
    ("muscle", "cartilage"),
    ("muscle", "lung"),
    ("muscle", "heart"),
    ("muscle", "marrow"),
    ("muscle", "eye"),
    ("muscle", "airway"),
    ("muscle", "fluid"),
    ("fat", "skin"),
    ("fat", "cortical-bone"),
    ("fat", "marrow"),
    ("fat", "vessel"),
    ("fat", "heart"),
    ("fat", "lung"),
    ("fat", "cartilage"),
    ("fat", "eye"),
    ("fat", "spinal-cord"),
    ("fat", "airway"),
    ("fat", "fluid"),
    ("heart", "vessel"),
    ("heart", "lung"),
    ("heart", "cartilage"),
    ("heart", "fluid"),
    ("lung", "vessel"),
    ("lung", "airway"),
    ("lung", "cortical-bone"),
    ("lung", "cartilage"),
    ("lung", "fluid"),
    ("lung", "marrow"),
    ("vessel", "cortical-bone"),
    ("vessel", "airway"),
    ("vessel", "fluid"),
    ("vessel", "marrow"),
    ("vessel", "cartilage"),
    ("vessel", "brain"),
    ("cortical-bone", "marrow"),
    ("cortical-bone", "cartilage"),
    ("cortical-bone", "skin"),
    ("cortical-bone", "brain"),
    ("cortical-bone", "eye"),
    ("cortical-bone", "spinal-cord"),
    ("cortical-bone", "airway"),
    ("cortical-bone", "fluid"),
    ("marrow", "cartilage"),
    ("marrow", "spinal-cord"),
    ("marrow", "fluid"),
    ("cartilage", "spinal-cord"),
    ("cartilage", "skin"),
    ("cartilage", "airway"),
    ("cartilage", "fluid"),
    ("brain", "spinal-cord"),
    ("brain", "fluid"),
    ("spinal-cord", "fluid"),
    ("foreign-body", "muscle"),
    ("foreign-body", "fat"),
    ("foreign-body", "cortical-bone"),
    ("foreign-body", "vessel"),
]


def distance(name: str, first: str, second: str) -> float:
    ab = palette(name).ab
    i, j = TISSUE_NAMES.index(first), TISSUE_NAMES.index(second)
    return float(np.linalg.norm(ab[i] - ab[j]))


def test_the_default_is_natural_and_all_load() -> None:
    assert palette_names()[0] == "natural"
    assert palette() is palette("natural")
    assert palette(palette("vivid")) is palette("vivid")
    for name in palette_names():
        loaded = palette(name)
        assert loaded.name == name
        assert loaded.ab.shape == (N_TISSUES, 2)
        assert loaded.rgb.shape == (N_TISSUES, 3)
        assert all(loaded.sources)
    with pytest.raises(OptionError, match="choose one of natural"):
        palette("rainbow")


@pytest.mark.parametrize("name", ["natural", "vivid"])
def test_touching_organs_are_8_apart_in_chroma(name: str) -> None:
    assert [pair for pair in TOUCHING if distance(name, *pair) < 8.0] == []


@pytest.mark.parametrize(
    ("name", "lightness"), [("natural", (40, 50, 60, 68)), ("colorblind-safe", (52, 60))]
)
def test_colors_can_be_shown_at_the_luminance_of_soft_tissue(
    name: str, lightness: tuple[int, ...]
) -> None:
    a, b = palette(name).ab.T
    chroma, hue = np.hypot(a, b), np.arctan2(b, a)
    for L in lightness:
        assert (chroma <= max_chroma(np.full(N_TISSUES, L), hue) + 0.1).all(), L
    if name == "colorblind-safe":
        return
    # Brighter, only the most saturated reds (blood, heart) lose some.
    lost = chroma > max_chroma(np.full(N_TISSUES, 75), hue) + 0.1
    assert {Tissue(int(i)) for i in np.flatnonzero(lost)} <= {Tissue.VESSEL, Tissue.HEART}


def test_legend_colors_are_in_gamut() -> None:
    for name in palette_names():
        loaded = palette(name)
        np.testing.assert_allclose(srgb_to_lab(loaded.rgb)[:, 0], loaded.lab[:, 0], atol=0.5)
    natural = palette()
    np.testing.assert_allclose(srgb_to_lab(natural.rgb), natural.lab, atol=1.0)


def test_air_and_airway_have_no_color_in_natural() -> None:
    for name in ("natural", "vivid", "colorblind-safe"):
        assert (palette(name).ab[[Tissue.AIR, Tissue.AIRWAY]] == 0).all()
    assert np.linalg.norm(palette().ab[Tissue.FLUID]) < 8


def test_natural_hues_are_those_of_life() -> None:
    ab = palette().ab
    hue = np.degrees(np.arctan2(ab[:, 1], ab[:, 0]))
    assert 20 < hue[Tissue.VESSEL] < 40
    assert hue[Tissue.SPLEEN] < 10 < hue[Tissue.LIVER]
    assert 55 < hue[Tissue.FAT] < 95
    assert 100 < hue[Tissue.GALLBLADDER] < 140
    chroma = np.hypot(*ab.T)
    assert chroma.argmax() == Tissue.VESSEL
    # Never the conventional blue, except for codes without a tissue.
    blue = ab[:, 1] < -1
    assert set(np.flatnonzero(blue)) <= {Tissue.FOREIGN_BODY}


def test_vivid_has_the_same_hues() -> None:
    natural, vivid = palette().ab.astype(float), palette("vivid").ab.astype(float)
    cross = natural[:, 0] * vivid[:, 1] - natural[:, 1] * vivid[:, 0]
    np.testing.assert_allclose(cross, 0, atol=1.0)
    colored = np.hypot(*natural.T) > 0
    assert (np.hypot(*vivid.T)[colored] > 1.2 * np.hypot(*natural.T)[colored]).all()


def test_to_dict_is_the_contract() -> None:
    described = json.loads(json.dumps(palette().to_dict()))
    assert described["name"] == "natural"
    assert [t["index"] for t in described["tissues"]] == list(range(N_TISSUES))
    assert [t["name"] for t in described["tissues"]] == list(TISSUE_NAMES)
    for entry in described["tissues"]:
        assert set(entry) == {"index", "name", "lab", "rgb", "source"}
        assert len(entry["lab"]) == len(entry["rgb"]) == 3


def test_a_palette_of_ones_own_is_checked() -> None:
    own = Palette("own", np.zeros((N_TISSUES, 3), np.float32), ("mine",) * N_TISSUES)
    assert not own.lab.flags.writeable
    with pytest.raises(OptionError, match="finite colors"):
        Palette("short", np.zeros((3, 3), np.float32), ("mine",) * N_TISSUES)
    with pytest.raises(OptionError, match="source"):
        Palette("silent", np.zeros((N_TISSUES, 3), np.float32), ())


GAINS = np.array([1.186, 0.938, 1.231])
MEASURED = {
    Tissue.FAT: ("subcutaneous_fat", "subcutaneous_fat_b", "breast_fat", "orbital_fat"),
    Tissue.MUSCLE: ("muscle_arm_R", "muscle_arm_L", "temporalis_b", "extraocular_muscle"),
    Tissue.CARTILAGE: ("costal_cartilage", "costal_cartilage_b"),
    Tissue.HEART: ("myocardium_lv",),
    Tissue.SPINAL_CORD: ("spinal_cord",),
}


def balanced(rows: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return the white-balanced Lab of one patch, by the rule in the palette's docstring."""
    rgb = rows[name]
    linear = np.interp(rgb, np.arange(256), LINEAR_OF_8BIT) * GAINS
    encoded = np.interp(linear, LINEAR_OF_8BIT, np.arange(256) / 255)
    return srgb_to_lab(encoded.astype(np.float32)).astype(float)


def exposed(lab: np.ndarray, L: float = 47.5) -> np.ndarray:
    """Return the chroma at the exposure for L*, at constant chromaticity."""
    return lab[1:] * max(1.0, (L + 16) / (lab[0] + 16))


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> dict[str, np.ndarray]:
    with (shared_data / "cryosection" / "measured_tissue_colors.csv").open() as file:
        return {
            row["tissue"]: np.array([float(row[k]) for k in "RGB"]) for row in csv.DictReader(file)
        }


@pytest.mark.parametrize("tissue", MEASURED)
def test_measured_colors_follow_from_the_measurements(
    tissue: Tissue, rows: dict[str, np.ndarray]
) -> None:
    dark = tissue in (Tissue.MUSCLE, Tissue.CARTILAGE, Tissue.HEART)
    found = [balanced(rows, name) for name in MEASURED[tissue]]
    ab = [exposed(lab) if dark else lab[1:] for lab in found]
    np.testing.assert_allclose(palette().ab[tissue], np.mean(ab, axis=0), atol=0.8)


def test_the_brain_says_what_was_measured_and_is_pinkish_grey_and_cream(
    rows: dict[str, np.ndarray],
) -> None:
    white = np.mean([balanced(rows, f"white_matter{end}") for end in ("", "_L", "_C")], axis=0)
    grey = balanced(rows, "grey_matter_cortex")
    natural = palette()
    source = natural.sources[Tissue.BRAIN]
    stated = [float(number) for number in re.findall(r"\d+\.\d", source)[:4]]
    np.testing.assert_allclose(stated, [*grey[1:], *white[1:]], atol=0.8)

    ab, shade = natural.ab[Tissue.BRAIN], natural.brain_shade
    pinkish, cream = ab + shade, ab - shade
    # half of the measured difference in a*
    assert shade[0] == pytest.approx((grey - white)[1] / 2, abs=0.8)
    assert pinkish[0] > 2 * pinkish[1] > 0  # red rather than yellow, and of little chroma
    assert np.linalg.norm(pinkish) < 20
    assert abs(cream[0] - cream[1]) < 2 and np.linalg.norm(cream) < 13


def test_marrow_and_bone_follow_from_the_measurements(rows: dict[str, np.ndarray]) -> None:
    humeri = (balanced(rows, "marrow_humerus_R") + balanced(rows, "marrow_humerus_L")) / 2
    marrow = (humeri + 2 * balanced(rows, "vertebra_cancellous")) / 3
    np.testing.assert_allclose(palette().ab[Tissue.MARROW], exposed(marrow, 66), atol=0.8)

    bone = balanced(rows, "cortical_humerus_L")[1:] + balanced(rows, "vertebra_sclerotic")[1:]
    shown = palette().ab[Tissue.CORTICAL_BONE]
    assert abs(shown[0] * bone[1] - shown[1] * bone[0]) < 0.05 * np.linalg.norm(bone) * 15
    np.testing.assert_allclose(np.linalg.norm(shown), 14.6, atol=0.5)
