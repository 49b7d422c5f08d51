"""The deformation grid: where the lines of a square grid of the moving volume have come to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.lazy_picture import LazyPicture
from tomochrome.compare.region import Region
from tomochrome.geometry.affine import apply
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.transform import Transform

_COLOR: Final = (255, 226, 120)
_LINE_OF_EXTENT: Final = 1 / 500
_OPACITY: Final = 210
_STEPS_MM: Final = (5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
_LEAST_VOXELS: Final = 5  # from line to line: less is a thicket
_MOST_LINES: Final = 40


class GridPicture(LazyPicture):
    """Lines on the fixed grid wherever the moving volume has a whole number of steps.

    The lines of a plane are those of the two axes that lie in it: the moving volume's planes cut
    the slice there. In a block (3D), the edges where two families meet are drawn.

    Parameters
    ----------
    forward
        From the fixed volume's points to the moving volume's, LPS mm.
    fixed
        Its grid is that of the picture.
    step_mm
        Distance between lines, in mm of the moving volume; None: a round number that the grid
        can show.
    """

    def __init__(self, forward: Transform, fixed: Volume, step_mm: float | None = None) -> None:
        super().__init__(fixed.shape)
        self._forward = forward
        self._affine = fixed.affine
        self._spacing = np.array(fixed.spacing)
        # The lines run along the fixed grid's own axes where nothing is deformed.
        self._axes = fixed.affine[:3, :3] / self._spacing
        self._origin = fixed.origin
        extent = float(max(n * s for n, s in zip(fixed.shape, fixed.spacing, strict=True)))
        least = max(_LEAST_VOXELS * float(self._spacing.max()), extent / _MOST_LINES)
        usual = next((step for step in _STEPS_MM if step >= least), least)
        self.step_mm = usual if step_mm is None else step_mm
        self._width = np.maximum(self._spacing, extent * _LINE_OF_EXTENT)

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region: clear but for the lines."""
        index = np.stack(np.meshgrid(*map(np.asarray, region.axes), indexing="ij"), axis=-1)
        points = apply(self._affine, index.reshape(-1, 3).astype(np.float64))
        steps = (self._forward.points(points) - self._origin) @ self._axes / self.step_mm
        apart = np.abs(steps - np.rint(steps)) * self.step_mm / self._width
        apart = apart.reshape((*region.shape, 3))
        plane = region.plane
        if plane is None:
            distance = np.sort(apart, axis=-1)[..., 1]
        else:
            distance = np.delete(apart, plane, axis=-1).min(axis=-1)
        cover = np.clip(1.1 - distance, 0, 1)
        out = np.empty((*region.shape, 4), np.uint8)
        out[..., :3] = _COLOR
        out[..., 3] = np.rint(_OPACITY * cover)
        return out
