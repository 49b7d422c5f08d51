"""Hounsfield units to luminance by the window functions of DICOM PS3.3 C.11.2.1.2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import OptionError

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """A window that maps Hounsfield units to grey levels from black to white.

    Parameters
    ----------
    center, width
        Window Center (0028,1050) and Window Width (0028,1051) in HU.
    function
        VOI LUT Function (0028,1056).
    name
        Display name, for example ``"lung"``; empty for a custom window.

    Raises
    ------
    OptionError
        If a number is not finite, the function is unknown, or the width is below 1 for
        LINEAR or not above 0 for the others (the limits of C.11.2.1.2).
    """

    center: float
    width: float
    function: WindowFunction = "LINEAR"
    name: str = ""

    def __post_init__(self) -> None:
        try:
            center, width = float(self.center), float(self.width)
        except (TypeError, ValueError):
            center = width = math.nan
        if not (math.isfinite(center) and math.isfinite(width)):
            raise OptionError(
                f"a window needs a finite center and width, not {self.center}/{self.width}"
            )
        if self.function not in get_args(WindowFunction):
            raise OptionError(
                f"unknown window function '{self.function}': "
                f"choose one of {', '.join(get_args(WindowFunction))}"
            )
        if self.function == "LINEAR" and width < 1:
            raise OptionError(f"a LINEAR window needs a width of at least 1 HU, not {width:g}")
        if width <= 0:
            raise OptionError(f"a {self.function} window needs a width above 0 HU, not {width:g}")
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "width", width)

    def __str__(self) -> str:
        numbers = f"{self.center:g}/{self.width:g}"
        return f"{self.name} {numbers}" if self.name else numbers


def luminance(hu: ArrayLike, window: Window) -> NDArray[np.float32]:
    """Return the L* of Hounsfield units: 100 times the output of the window function.

    Parameters
    ----------
    hu
        Stored values after slope and intercept, any shape.
    window
        The window to apply.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape, 0 to 100. NaN becomes 0 (black).

    Notes
    -----
    DICOM PS3.3 C.11.2.1.2.1 (LINEAR) with its terms -0.5 and -1, C.11.2.1.3.1 (SIGMOID)
    and C.11.2.1.3.2 (LINEAR_EXACT), with the output range 0 to 100.
    """
    x = np.asarray(hu, dtype=np.float64)
    center, width = window.center, window.width
    with np.errstate(over="ignore", invalid="ignore"):
        if window.function == "SIGMOID":
            y = 1.0 / (1.0 + np.exp(-4.0 * (x - center) / width))
        elif window.function == "LINEAR_EXACT":
            y = np.clip((x - center) / width + 0.5, 0.0, 1.0)
        elif width == 1.0:
            # The standard's ramp has no width here: a step between center - 1 and center.
            y = np.where(x > center - 0.5, 1.0, 0.0)
        else:
            y = np.clip((x - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return np.asarray(np.nan_to_num(100.0 * y, nan=0.0), dtype=np.float32)
