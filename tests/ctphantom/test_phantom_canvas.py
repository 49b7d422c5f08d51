# ruff: noqa: N817 - S is Structure
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctphantom.anatomy import shared_noise
from ctphantom.canvas import Canvas
from ctphantom.painting_kernels import SUBTRACT
from ctphantom.shapes import Shape, axes, rotation, spline
from ctphantom.structures import Structure as S


def small(**options) -> Canvas:
    return Canvas((40, 40, 40), (2.0, 2.0, 2.0), (-39.0, -39.0, -39.0), **options)


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.floats(12, 30)] * 3), st.tuples(*[st.floats(-90, 90)] * 3))
def test_a_rotated_ellipsoid_has_its_volume(radii, angles):
    canvas = small()
    canvas.paint(Shape().ellipsoid((0, 0, 0), radii, rotation(*angles)), S.LIVER)
    volume = (canvas.labels == S.LIVER).sum() * 8.0
    assert volume == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.04)


def test_a_tube_is_a_wall_around_its_content():
    canvas = small()
    tube = Shape().tube([(-25, 0, 0), (0, 8, 0), (25, 0, 0)], 12)
    canvas.paint(tube, [(0, S.COLON_WALL), (-4, S.COLON_CONTENT)])
    z, y, x = np.nonzero(canvas.labels == S.COLON_CONTENT)
    steps = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    shifted = [canvas.labels[z + dz, y + dy, x + dx] for dz, dy, dx in steps]
    assert len(z) > 0
    assert np.isin(shifted, (S.COLON_WALL, S.COLON_CONTENT)).all()


def test_organs_that_compete_meet_half_way_and_leave_no_gap():
    canvas = small()
    left, right = (
        Shape().ellipsoid((12, 0, 0), (20,) * 3),
        Shape().ellipsoid((-12, 0, 0), (20,) * 3),
    )
    canvas.paint(left, S.SPLEEN, compete=True)
    canvas.paint(right, S.LIVER, compete=True, only=[S.OUTSIDE_AIR, S.SPLEEN])
    row = canvas.labels[20, 20]
    assert (row[row > 0] == np.sort(row[row > 0])).all()  # liver on the right, spleen on the left
    border = np.flatnonzero(np.diff(row.astype(int)) == S.SPLEEN - S.LIVER)
    assert len(border) == 1
    assert abs(-39.0 + 2 * border[0] + 1) <= 2.0


def test_only_and_spare_protect_structures():
    canvas = small()
    canvas.paint(Shape().ellipsoid((0, 0, 0), (20,) * 3), S.LIVER)
    canvas.paint(Shape().ellipsoid((0, 0, 0), (30,) * 3), S.SPLEEN, spare=[S.LIVER])
    canvas.paint(Shape().ellipsoid((0, 0, 0), (35,) * 3), S.MUSCLE, only=[S.OUTSIDE_AIR])
    assert canvas.labels[20, 20, 20] == S.LIVER
    assert set(np.unique(canvas.labels)) == {0, S.LIVER, S.SPLEEN, S.MUSCLE}


def test_gas_is_anterior_with_a_horizontal_level():
    canvas = small()
    shape = Shape().ellipsoid((0, 0, 0), (30,) * 3)
    canvas.paint(
        shape, [(0, S.STOMACH_WALL), (-4, S.STOMACH_CONTENT)], gas=S.STOMACH_GAS, gas_level=-4
    )
    _, gas, _ = np.nonzero(canvas.labels == S.STOMACH_GAS)
    _, fluid, _ = np.nonzero(canvas.labels == S.STOMACH_CONTENT)
    assert gas.max() < fluid.min()


def test_cuts_and_subtracted_primitives():
    canvas = small()
    shape = Shape().ellipsoid((0, 0, 0), (25,) * 3).ellipsoid((0, 0, 0), (10,) * 3, op=SUBTRACT)
    canvas.paint(shape.cut((0, 0, 0), (0, 0, 1)), S.LIVER)
    assert canvas.labels[19, 20, 20] == 0  # bitten out
    assert canvas.labels[30, 20, 20] == 0  # cut off above
    assert canvas.labels[11, 20, 20] == S.LIVER


def test_walls_cut_by_a_neighbor_are_closed():
    canvas = small()
    canvas.paint(Shape().ellipsoid((0, 0, 0), (25,) * 3), S.STOMACH_CONTENT)
    canvas.paint(Shape().box((0, 0, 20), (40, 40, 10)), S.LIVER)
    canvas.close_walls([S.STOMACH_CONTENT], S.STOMACH_WALL, 2.0)
    below = canvas.labels[:-1][canvas.labels[1:] == S.LIVER]
    assert S.STOMACH_CONTENT not in below


def test_threads_do_not_change_the_result():
    pictures = []
    for threads in (1, 3):
        canvas = small(seed=4, threads=threads)
        canvas.paint(
            Shape().tube([(-20, 0, -20), (0, 9, 0), (20, 0, 20)], 9), S.COLON_WALL, noise=2
        )
        pictures.append(canvas.labels)
    assert np.array_equal(*pictures)


def test_positions_are_inverted_through_a_deformation():
    def bend(points):
        return points + 6 * np.sin(points[:, [1, 2, 0]] / 30)

    canvas = small(to_patient=bend)
    voxels = np.random.default_rng(0).uniform(6, 33, (20, 3))
    world = voxels[:, ::-1] * 2.0 - 39.0
    assert np.abs(canvas.to_voxel(bend(world)) - voxels).max() < 0.5


def test_a_shape_outside_the_canvas_paints_nothing():
    canvas = small()
    for shape in (Shape().ellipsoid((500, 0, 0), (9, 9, 9)), Shape()):
        assert canvas.stamp(shape) is None
        canvas.paint(shape, S.LIVER)
    assert not canvas.labels.any()


def test_helpers():
    turn = axes((1, 0.2, 0.3), (0, 0.1, 1))
    assert np.allclose(turn @ turn.T, np.eye(3))
    line = spline([(0, 0, 0), (5, 5, 0), (10, 0, 0)], 9)
    assert np.allclose(line[[0, -1]], [(0, 0, 0), (10, 0, 0)])
    assert shared_noise().std() == pytest.approx(1.0, rel=1e-3)
