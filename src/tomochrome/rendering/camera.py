"""The camera of 3D pictures, and planes that clip them, in LPS mm.

The camera is never mirrored, and its directions have letters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import OptionError
from tomochrome.geometry.orient import edge_letters

Vector = NDArray[np.float64]

VIEWS: Final[dict[str, tuple[float, float]]] = {
    "front": (0.0, 0.0),
    "back": (180.0, 0.0),
    "left": (90.0, 0.0),
    "right": (-90.0, 0.0),
    "top": (0.0, 90.0),
}
"""Azimuth and elevation in degrees of the views with a name."""
MAX_AZIMUTH: Final = 360.0
MAX_ELEVATION: Final = 90.0
_HALF_ANGLE: Final = math.radians(11.0)  #: of the field of view, vertically
_FILLED: Final = 0.92  #: share of the width that the body fills at most


def parse_view(view: str | tuple[float, float]) -> tuple[float, float]:
    """Return azimuth and elevation in degrees.

    Parameters
    ----------
    view
        ``"front"``, ``"back"``, ``"left"``, ``"right"``, ``"top"``, ``"AZIMUTH/ELEVATION"`` or
        both as numbers. The camera is in front of the patient at azimuth 0 and at the patient's
        left at 90; it is above the patient at elevation 90.

    Raises
    ------
    OptionError
        If the view is unknown, or an angle is out of range.
    """
    if isinstance(view, str) and view in VIEWS:
        return VIEWS[view]
    parts = view.split("/") if isinstance(view, str) else view
    try:
        azimuth, elevation = (float(part) for part in parts)
    except (TypeError, ValueError):
        azimuth = elevation = math.nan
    if not (abs(azimuth) <= MAX_AZIMUTH and abs(elevation) <= MAX_ELEVATION):
        raise OptionError(
            f"the view must be {', '.join(VIEWS)}, or AZIMUTH/ELEVATION in degrees such as 30/15, "
            f"with an azimuth from -{MAX_AZIMUTH:g} to {MAX_AZIMUTH:g} and an elevation from "
            f"-{MAX_ELEVATION:g} to {MAX_ELEVATION:g}, not '{view}'"
        )
    return azimuth, elevation


@dataclass(frozen=True)
class HalfSpace:
    """The side of a plane that is seen.

    Parameters
    ----------
    normal
        Unit direction in LPS, from the plane to the side that is seen.
    at
        Position of the plane along it in mm: ``normal @ point`` of its points.
    """

    normal: tuple[float, float, float]
    at: float


@dataclass(frozen=True, eq=False)
class Camera:
    """A perspective camera.

    Parameters
    ----------
    eye
        Position in LPS mm, shape (3,).
    forward, up
        Unit directions in LPS, perpendicular to each other, shape (3,).
    slope
        Tangent of half the vertical field of view.
    """

    eye: Vector
    forward: Vector
    up: Vector
    slope: float = math.tan(_HALF_ANGLE)

    @property
    def right(self) -> Vector:
        """Unit direction in LPS of the picture's right side."""
        return np.asarray(np.cross(self.forward, self.up))

    @property
    def letters(self) -> dict[str, str]:
        """Orientation letters at the "left", "right", "top" and "bottom" edges."""
        return edge_letters(self.right, self.up)

    @classmethod
    def looking(cls, view: tuple[float, float]) -> Camera:
        """Return a camera at the origin that looks from azimuth and elevation in degrees."""
        azimuth, elevation = np.radians(view)
        sin_a, cos_a, sin_e, cos_e = (
            np.sin(azimuth), np.cos(azimuth), np.sin(elevation), np.cos(elevation),
        )  # fmt: skip
        towards = np.array([sin_a * cos_e, -cos_a * cos_e, sin_e])
        up = np.array([-sin_a * sin_e, cos_a * sin_e, cos_e])
        return cls(np.zeros(3), -towards, up)

    @property
    def view(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees of the side from which it looks; see `looking`."""
        x, y, z = -self.forward
        return math.degrees(math.atan2(x, -y)), math.degrees(math.asin(max(-1.0, min(1.0, z))))

    def distance(self, points: ArrayLike, aspect: float, filled: float = 0.84) -> float:
        """Return the distance from the origin at which points are in the picture.

        Parameters
        ----------
        points
            Shape (n, 3) in LPS mm.
        aspect
            Width of the picture divided by its height.
        filled
            Share of the height that they fill at most.

        Returns
        -------
        float
            In mm.
        """
        across, along, depth = (
            np.asarray(points, np.float64) @ direction
            for direction in (self.right, self.up, self.forward)
        )
        wide = np.abs(across) / (self.slope * aspect * _FILLED) - depth
        high = np.abs(along) / (self.slope * filled) - depth
        return float(max(wide.max(), high.max()))

    def at(self, center: Vector, distance: float, raised: float = 0.0) -> Camera:
        """Return the camera at a distance in mm from a point.

        Parameters
        ----------
        center
            The point, LPS mm.
        distance
            The distance.
        raised
            How far above the middle of the picture the point is, in heights of the picture.

        Returns
        -------
        Camera
            In the same direction.
        """
        low = raised * 2 * self.slope * distance * self.up
        return Camera(center - distance * self.forward - low, self.forward, self.up, self.slope)
