"""The camera: names and angles of views, letters, and VTK's camera as an independent oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.errors import OptionError
from tomochrome.rendering.camera import VIEWS, Camera, parse_view

AZIMUTHS, ELEVATIONS = st.floats(-360, 360), st.floats(-90, 90)


@pytest.mark.parametrize(
    ("view", "left", "top"),
    [
        ("front", "R", "H"),
        ("back", "L", "H"),
        ("left", "A", "H"),
        ("right", "P", "H"),
        ("top", "R", "P"),
        ("0/-90", "R", "A"),
        ("45/0", "RA", "H"),
    ],
)
def test_letters_are_those_of_a_viewer_who_stands_there(view: str, left: str, top: str) -> None:
    letters = Camera.looking(parse_view(view)).letters
    assert letters["left"] in (left, left[::-1])
    assert letters["top"] == top


@given(st.floats(-179, 179), st.floats(-89, 89))
def test_the_view_of_a_camera_is_that_from_which_it_looks(azimuth: float, elevation: float) -> None:
    assert Camera.looking((azimuth, elevation)).view == pytest.approx((azimuth, elevation))


@given(AZIMUTHS, ELEVATIONS)
def test_no_camera_mirrors(azimuth: float, elevation: float) -> None:
    camera = Camera.looking((azimuth, elevation))
    frame = np.stack([camera.right, camera.up, -camera.forward])
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1.0)


@given(AZIMUTHS, st.floats(-89, 89))
def test_the_directions_are_those_of_vtk(azimuth: float, elevation: float) -> None:
    vtk = pytest.importorskip("vtkmodules.vtkRenderingCore")
    camera = Camera.looking((azimuth, elevation)).at(np.array([10.0, 20.0, 30.0]), 500.0)
    other = vtk.vtkCamera()
    other.SetFocalPoint(10, 20, 30)
    other.SetPosition(10, -480, 30)
    other.SetViewUp(0, 0, 1)
    other.Azimuth(azimuth)
    other.Elevation(elevation)
    other.OrthogonalizeViewUp()
    assert np.allclose(camera.forward, other.GetDirectionOfProjection(), atol=1e-6)
    assert np.allclose(camera.up, other.GetViewUp(), atol=1e-6)


@given(AZIMUTHS, ELEVATIONS, st.floats(0.3, 3), st.sampled_from([0.84, 0.4]))
def test_all_points_are_in_the_picture(
    azimuth: float, elevation: float, aspect: float, filled: float
) -> None:
    """In the upper part of it, if the middle is raised."""
    points = np.random.default_rng(5).uniform(-200, 200, (30, 3))
    camera = Camera.looking((azimuth, elevation))
    raised = 0.5 - filled / 2 - 0.05
    placed = camera.at(np.zeros(3), camera.distance(points, aspect, filled), raised)
    seen = points - placed.eye
    depth = seen @ placed.forward
    assert depth.min() > 0
    assert np.abs(seen @ placed.right / depth).max() < placed.slope * aspect
    height = seen @ placed.up / depth / placed.slope  # -1 to 1 in the picture
    assert -0.1 + 2 * (0.45 - filled) < height.min() and height.max() < 1


@pytest.mark.parametrize("view", ["above", "10", "10/20/30", "nan/0", "0/91", "a/b", "", "400/0"])
def test_other_views_are_refused(view: str) -> None:
    with pytest.raises(OptionError, match=r"the view must be front, .* not '"):
        parse_view(view)


def test_views_can_be_numbers() -> None:
    assert parse_view((30, 15)) == parse_view("30/15") == (30.0, 15.0)
    assert all(parse_view(name) == angles for name, angles in VIEWS.items())
