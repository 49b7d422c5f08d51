"""A colored volume that is computed lazily, on indexing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.lighting import Lighting, check_scan, code_table, lit_provenance
from tomochrome.color.relight import CodeTable, relight
from tomochrome.color.shading import SkinGaps, render_blocks
from tomochrome.color.slab import Slab, slab_plane
from tomochrome.color.table import TABLE
from tomochrome.geometry.block_grids import block_affine, block_means, block_steps
from tomochrome.geometry.computed import ComputedArray, full_index
from tomochrome.volume import Volume


@dataclass(frozen=True)
class ViewState:
    """Settings and the tables derived from them, replaced atomically for other threads."""

    settings: Lighting
    codes: CodeTable


class LitVolume(ComputedArray):
    """RGBA of shape (z, y, x, 4), computed on indexing: layer data without a copy in memory.

    Parameters
    ----------
    volume
        Scalar CT. Its voxels may be any array-like that supports slicing.
    chroma
        Chroma map of the same voxels; axes may be flipped or permuted.
    settings
        Rendering settings; by default with `tomochrome.windowing.opening_window`. Assign `settings`
        to change them for subsequent reads. Reading and assigning are thread-safe.

    Raises
    ------
    InputError
        If ``volume`` is RGBA already.
    GeometryError
        If the grids differ.

    Examples
    --------
    >>> lit = LitVolume(ct, chroma, Lighting(window="lung"))      # doctest: +SKIP
    >>> lit[40].shape                                             # doctest: +SKIP
    (512, 512, 4)
    >>> lit.settings = lit.settings.replace(saturation=0.5)           # doctest: +SKIP
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, volume: Volume, chroma: Chroma, settings: Lighting | None = None) -> None:
        check_scan(volume, chroma)
        self.volume = volume
        self.chroma = chroma.on_grid(volume)
        settings = settings or Lighting.of(volume)
        self._state = ViewState(settings, code_table(self.chroma, settings))
        #: One slice, indexed by one integer, is the slab around it; None for the slice alone.
        self.slab: Slab | None = None
        self._gaps: tuple[tuple[int, int, int], SkinGaps] = ((0, 0, 0), {})

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (z, y, x, 4)."""
        return (*self.volume.shape, 4)

    @property
    def settings(self) -> Lighting:
        """Rendering settings; assign another `Lighting` to change them."""
        return self._state.settings

    @settings.setter
    def settings(self, settings: Lighting) -> None:
        old = self._state
        same = (
            settings.palette is old.settings.palette
            and settings.saturation == old.settings.saturation
            and settings.min_confidence == old.settings.min_confidence
            and settings.tissues == old.settings.tissues
        )
        codes = old.codes if same else code_table(self.chroma, settings)
        self._state = ViewState(settings, codes)

    def prepare(self, settings: Lighting | None = None) -> None:
        """Fill the color table for settings and compile the kernels in advance.

        The color table is filled for every mixture of the palette of ``settings``, at every
        confidence and every saturation up to that of ``settings`` (at least 1). This takes tenths
        of a second, or seconds if kernels are compiled. Call it in a worker thread, so that
        assigning ``settings`` in the GUI thread is fast.

        Parameters
        ----------
        settings
            The settings to prepare for; by default the current ones.
        """
        settings = settings or self.settings
        colors = self.chroma.table.source(settings.palette)
        TABLE.ensure_mixtures(colors, max(1.0, settings.saturation))
        for min_confidence in (0.0, 0.5):  # a kernel for each
            codes = code_table(self.chroma, settings.replace(min_confidence=min_confidence))
            self._relit((slice(0, 1),) * 3, ViewState(settings, codes))

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return RGBA of the indexed voxels; integers, slices and Ellipsis as in NumPy."""
        index = full_index(key, 4)
        return self._relit(index[:3], self._state)[..., index[3]]

    def _relit(self, spatial: tuple[Any, ...], state: ViewState) -> NDArray[np.uint8]:
        axes = [axis for axis, index in enumerate(spatial) if not isinstance(index, slice)]
        if self.slab is not None and len(axes) == 1:
            (axis,), index = axes, spatial[axes[0]]
            plane = slab_plane(
                self.volume, self.chroma, axis, index, self.slab, state.codes, state.settings
            )
            return plane[tuple(spatial[other] for other in range(3) if other != axis)]
        return relight(
            np.asarray(self.volume.voxels[spatial]),
            self.chroma.code[spatial],
            self.chroma.confidence[spatial],
            state.codes,
            state.settings.window,
            state.settings.alpha,
        )

    @property
    def settings_in_3d(self) -> Lighting:
        """Rendering settings of the 3D image."""
        return self._state.settings

    @property
    def shaded_in_3d(self) -> bool:
        """Whether the light is in the 3D image; if not, who draws it adds the light."""
        return True

    def lit_in_3d(self, steps: tuple[int, int, int] = (1, 1, 1)) -> NDArray[np.uint8]:
        """Compute RGBA for 3D, with shaded surfaces, in blocks of voxels; see `light_3d`.

        Parameters
        ----------
        steps
            Voxels per block along (z, y, x).

        Returns
        -------
        numpy.ndarray
            uint8, shape (ceil(z / steps[0]), ..., 4).
        """
        state, settings = self._state, self.settings_in_3d
        kept, gaps = self._gaps
        if kept != steps:
            self._gaps = (steps, gaps := {})
        return render_blocks(
            self.volume, self.chroma, state.codes, settings, steps,
            shaded=self.shaded_in_3d, gaps=gaps,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"LitVolume(shape={self.shape}, window={self.settings.window})"


def light_3d(
    volume: Volume, chroma: Chroma, settings: Lighting | None = None, *, most_voxels: int = 1 << 25
) -> Volume:
    """Return the colored volume for 3D rendering, with shaded surfaces.

    Not suitable for reading values: L* is not the windowed Hounsfield value, unless the opacity
    curve is not shaded.

    Parameters
    ----------
    volume, chroma
        As for `LitVolume`.
    settings
        Rendering settings; the window has an effect only if the opacity curve is not shaded.
    most_voxels
        Maximum number of voxels of the result; larger volumes are averaged in blocks.

    Returns
    -------
    Volume
        uint8 (z, y, x, 4), unit ``"RGBA"``. The opacity is that of a layer one voxel thick.

    Raises
    ------
    InputError, GeometryError
        As for `LitVolume`.
    Cancelled
        If the user cancelled.
    """
    lit = LitVolume(volume, chroma, settings)
    steps = block_steps(volume.shape, volume.spacing, most_voxels)
    voxels = lit.lit_in_3d(steps)
    provenance = lit_provenance(volume, lit.chroma, lit.settings)
    restored = None if volume.restored is None else block_means(volume.restored, steps) > 0
    affine = block_affine(volume.affine, steps)
    return Volume(voxels, affine, "RGBA", provenance, restored=restored)
