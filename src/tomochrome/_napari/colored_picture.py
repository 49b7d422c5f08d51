"""The data of a colored layer: slices lit when napari asks for them, 3D by a worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.lazy_picture import DrawnByWorker, Solid, is_block
from tomochrome.color import Chroma, Lighting, LitVolume
from tomochrome.color.shading import seen_in_3d
from tomochrome.geometry.blocks import Steps
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Volume


class ColoredPicture(DrawnByWorker, LitVolume):
    """A `LitVolume` whose 3D picture, with shaded surfaces, is computed by a worker.

    Parameters
    ----------
    volume, chroma, settings
        As for `LitVolume`.
    """

    def __init__(self, volume: Volume, chroma: Chroma, settings: Lighting | None = None) -> None:
        DrawnByWorker.__init__(self)
        LitVolume.__init__(self, volume, chroma, settings)

    @property
    def settings(self) -> Lighting:
        """How the volume is shown; assign another `Lighting` to change it."""
        return self._state.settings

    @settings.setter
    def settings(self, settings: Lighting) -> None:
        before = seen_in_3d(self.settings)
        LitVolume.settings.__set__(self, settings)  # type: ignore[attr-defined]
        if seen_in_3d(settings) != before:
            self.outdate()

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return RGBA of the voxels asked for; ``[:, :, :]`` is napari's question for 3D."""
        return self.block() if is_block(key) else LitVolume.__getitem__(self, key)

    def solid(
        self,
        steps: Steps,
        *,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Solid:
        """Compute what 3D is to show."""
        rgba = self.lit_in_3d(steps, progress=progress, cancel=cancel)
        return Solid(rgba, steps, tuple((step - 1) / 2 for step in steps))

    def __deepcopy__(self, memo: Any) -> ColoredPicture:
        """Return a picture of the same volume for another layer; nothing large is copied."""
        return ColoredPicture(self.volume, self.chroma, self.settings)
