"""Distances, angles and regions, compared with SimpleITK and with shapes of known size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomochrome.errors import InputError, OptionError
from tomochrome.geometry import to_sitk
from tomochrome.geometry.measurement import (
    LabelStatistics,
    angle_deg,
    area_mm2,
    describe_label,
    describe_measurement,
    distance_mm,
    mask_statistics,
    measure,
    region_statistics,
)
from tomochrome.volume import Volume

SPACING = (2.5, 0.8, 0.6)


def oblique(shape=(6, 40, 50), seed=3, **fields) -> Volume:
    """Random HU with three different spacings, turned by angles that are far from the axes."""
    turn = Rotation.from_euler("xyz", (21, -33, 47), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn[:, ::-1] * SPACING
    affine[:3, 3] = (-120, 45, 800)
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(voxels, affine, **fields)


points = st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=2, max_size=6)


@given(points)
def test_distances_are_those_of_simpleitk(indices) -> None:
    volume = oblique()
    image = to_sitk(volume)
    placed = [image.TransformContinuousIndexToPhysicalPoint(each[::-1]) for each in indices]
    expected = sum(np.linalg.norm(np.subtract(a, b)) for a, b in pairwise(placed))
    assert distance_mm(volume.affine, indices) == pytest.approx(expected, abs=1e-6)
    if len(indices) == 2:
        measured = measure(volume, "line", indices)
        np.testing.assert_allclose(measured.points, placed, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 1e-4, 30, 90, 135, 180])
def test_angles_are_in_the_patient_not_on_the_grid(degrees: float) -> None:
    volume = oblique()
    turn = np.radians(degrees)
    mm = np.array([(0, 0, 7), (0, 0, 0), (0, 11 * np.sin(turn), 11 * np.cos(turn))])
    measured = measure(volume, "path", mm / SPACING + (2, 9, 9))
    assert measured.values["angle_deg"] == pytest.approx(degrees, abs=1e-6)


def test_region_of_a_sheared_grid() -> None:
    affine = oblique().affine.copy()
    affine[:3, 1] += 0.3 * affine[:3, 2]  # shear keeps the area of a parallelogram
    square = [(1, 0, 0), (1, 0, 10), (1, 10, 10), (1, 10, 0)]
    assert area_mm2(affine, square) == pytest.approx(10 * 0.8 * 10 * 0.6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_statistics_of_a_rectangle_are_those_of_simpleitk(axis: int) -> None:
    volume = oblique((20, 24, 28))
    corners = np.array([(3.6, 4.6), (3.6, 12.4), (9.4, 12.4), (9.4, 4.6)])
    indices = np.insert(corners, axis, 5, axis=1)
    label = np.zeros(volume.shape, np.uint8)
    block = [slice(4, 10), slice(5, 13)]
    block.insert(axis, slice(5, 6))
    label[tuple(block)] = 1
    oracle = SimpleITK.LabelStatisticsImageFilter()
    oracle.Execute(to_sitk(volume), to_sitk(Volume(label, volume.affine, "unknown")))
    values = measure(volume, "rectangle", indices).values
    assert values["count"] == oracle.GetCount(1) == 48
    assert values["mean"] == pytest.approx(oracle.GetMean(1))
    assert values["sd"] == pytest.approx(oracle.GetSigma(1) * np.sqrt(47 / 48))
    assert (values["min"], values["max"]) == (oracle.GetMinimum(1), oracle.GetMaximum(1))
    assert values["area_mm2"] == pytest.approx(5.8 * 7.8 * np.prod(np.delete(SPACING, axis)))
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(to_sitk(Volume(label, volume.affine, "unknown")))
    whole = mask_statistics(volume, label)
    assert whole["volume_ml"] == pytest.approx(shape.GetPhysicalSize(1) / 1000)
    assert whole["mean"] == pytest.approx(values["mean"])


def test_an_ellipse_has_its_area_and_only_its_voxels() -> None:
    volume = oblique((3, 60, 80))
    frame = [(1, 10, 20), (1, 10, 60), (1, 40, 60), (1, 40, 20)]
    values = measure(volume, "ellipse", frame).values
    assert values["area_mm2"] == pytest.approx(np.pi * (15 * 0.8) * (20 * 0.6), rel=1e-4)
    y, x = np.mgrid[:60, :80]
    inside = ((y - 25) / 15) ** 2 + ((x - 40) / 20) ** 2 < 1
    assert abs(values["count"] - inside.sum()) <= 4  # the four ends of the axes
    assert values["mean"] == pytest.approx(volume.voxels[1][inside].mean(), abs=2)


def test_voxels_that_were_not_measured_do_not_count_and_restored_ones_are_told() -> None:
    plain = oblique()
    outside, restored = np.zeros((2, *plain.shape), bool)
    outside[2, :, :10] = restored[2, :, 12] = True
    volume = Volume(plain.voxels, plain.affine, outside=outside, restored=restored)
    square = [(2, 4.5, 4.5), (2, 4.5, 14.5), (2, 14.5, 14.5), (2, 14.5, 4.5)]
    measured = measure(volume, "polygon", square)
    assert measured.values["count"] == 50
    assert measured.values["mean"] == pytest.approx(plain.voxels[2, 5:15, 10:15].mean())
    assert describe_measurement(measured).endswith("\n10 voxels restored")


def test_statistics_of_labels_are_those_of_simpleitk() -> None:
    volume = oblique()
    labels = np.random.default_rng(1).integers(0, 5, volume.shape).astype(np.uint8)
    labels[labels == 3] = 200
    statistics = LabelStatistics(volume)
    for z in range(len(labels)):
        statistics.count(z, np.full_like(labels[z], 9))  # counted again below
    for z in range(len(labels)):
        statistics.count(z, labels[z])
    values = statistics.values()
    itk = SimpleITK.LabelStatisticsImageFilter()
    itk.Execute(to_sitk(volume), to_sitk(replace(volume, voxels=labels)))
    assert list(values) == [1, 2, 4, 200]
    voxel_ml = np.prod(SPACING) / 1000
    for label, own in values.items():
        assert own["count"] == itk.GetCount(label)
        assert own["mean"] == pytest.approx(itk.GetMean(label))
        assert own["sd"] == pytest.approx(itk.GetSigma(label), rel=1e-3)  # of the sample
        assert own["volume_ml"] == pytest.approx(itk.GetCount(label) * voxel_ml)
    text = describe_label(values[4])
    ml, mean, sd = (values[4][name] for name in ("volume_ml", "mean", "sd"))
    assert text == f"{ml:.1f} mL, mean {mean:.0f} HU, sd {sd:.0f}"
    with pytest.raises(InputError, match="a volume in color"):
        LabelStatistics(Volume(np.zeros((2, 3, 4, 4), np.uint8), np.eye(4), "RGBA"))


def test_the_text_has_units() -> None:
    volume = Volume(np.full((3, 20, 20), 40, np.int16))
    square = [(1, 4, 4), (1, 4, 14), (1, 14, 14), (1, 14, 4)]
    assert describe_measurement(measure(volume, "line", [(0, 0, 0), (0, 3, 4)])) == "5.0 mm"
    corner = [(0, 5, 0), (0, 0, 0), (0, 0, 5)]
    assert describe_measurement(measure(volume, "path", corner)) == "90.0°"
    text = describe_measurement(measure(volume, "polygon", square))
    assert text == "100 mm²\nmean 40 HU, sd 0\n40 to 40 HU"
    unknown = Volume(volume.voxels, volume.affine, "unknown")
    assert "HU" not in describe_measurement(measure(unknown, "polygon", square))


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda v: measure(v, "line", [(0, 0, 0)]), "at least 2 points"),
        (lambda v: measure(v, "line", [(0, 0), (1, 1)]), "three coordinates"),
        (lambda v: measure(v, "line", [(0, 0, 0), (0, np.nan, 0)]), "finite"),
        (lambda v: angle_deg(v.affine, np.zeros((3, 3))), "apart from"),
        (lambda v: angle_deg(v.affine, np.eye(4)[:, :3]), "three points"),
        (lambda v: region_statistics(v, np.eye(3)), "one slice"),
        (lambda v: region_statistics(v, [(1, 1, 1), (1, 1, 3), (1, 1, 5)]), "one slice"),
        (lambda v: region_statistics(v, [(9, 1, 1), (9, 1, 9), (9, 9, 9)]), "outside"),
        (lambda v: region_statistics(v, [(1, 1.2, 1.2), (1, 1.2, 1.4), (1, 1.4, 1.4)]), "larger"),
        (lambda v: region_statistics(v, [(1, -9, -9), (1, -9, -3), (1, -3, -3)]), "larger"),
        (lambda v: mask_statistics(v, np.zeros(v.shape)), "larger"),
        (lambda v: mask_statistics(v, np.ones((1, 1, 1))), "shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(work, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        work(oblique())
    assert "\n" not in str(refusal.value)


def test_an_unknown_shape_is_named() -> None:
    with pytest.raises(OptionError, match="unknown shape 'length': choose one of line, path"):
        measure(oblique(), "length", [(0, 0, 0), (0, 1, 1)])  # type: ignore[arg-type]


CIRCLE = 12 + 8 * np.stack([f(np.linspace(0, 5.9, 40)) for f in (np.sin, np.cos)], axis=1)
OUTLINES = {  # rows and columns, and whether they cross themselves
    "bow tie": ([(2, 2), (20, 20), (2, 20), (20, 2)], True),
    "star": ([(12 + 9 * np.sin(t), 12 + 9 * np.cos(t)) for t in 0.8 * np.pi * np.arange(5)], True),
    "loop in a loop": (np.concatenate([CIRCLE, 12 + (CIRCLE - 12) * 0.8]), True),
    "by hand, with crossed ends": ([*CIRCLE, (12 - 3, 20.5), (12 + 1, 19.5)], False),
    "concave": ([(2, 2), (20, 2), (20, 20), (11, 5), (2, 20)], False),
    "a vertex on another side": ([(2, 2), (2, 20), (20, 20), (11, 11)], False),
    "sliver": ([(2, 2), (2.4, 20), (2.2, 20)], False),
}


@pytest.mark.parametrize(("outline", "crossed"), OUTLINES.values(), ids=list(OUTLINES))
@pytest.mark.parametrize("axis", range(3))
def test_an_outline_that_crosses_itself_is_refused(outline, crossed: bool, axis: int) -> None:
    volume = Volume(np.zeros((24, 24, 24), np.int16), np.diag([3.0, 1, 1, 1]))
    points = np.insert(np.array(outline, float), axis, 4, axis=1)
    if crossed:
        with pytest.raises(InputError, match=r"^the outline of the region crosses itself; draw"):
            measure(volume, "polygon", points)
    else:
        assert measure(volume, "polygon", points).values["area_mm2"] > 0


def test_a_volume_in_color_is_refused() -> None:
    color = Volume(np.zeros((3, 9, 9, 4), np.uint8), unit="RGBA")
    with pytest.raises(InputError, match="in color"):
        region_statistics(color, [(1, 1, 1), (1, 1, 7), (1, 7, 7)])
