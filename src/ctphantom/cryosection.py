"""Photographs of frozen sections of the phantom, as the true colors of its CT.

As in the Visible Human Project's photographs, the body is frozen in blue gel, which also fills
sinuses and airways; lungs are dark with blood; vessels contain clotted blood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctphantom.compiling import run_in_threads
from ctphantom.interface import PhantomError, Progress, silent
from ctphantom.materials import color_table, texture_table
from ctphantom.render_kernels import Blur, Mottle, photograph
from ctphantom.rendered_ct import gaussian, texture_tile
from ctphantom.structures import N_STRUCTURES, Structure

_GEL = (Structure.OUTSIDE_AIR, Structure.BLANKET, Structure.COUCH, Structure.COUCH_FOAM)
_SLAB = 16  # slices between two progress reports


def cryosection(
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    rng: np.random.Generator | None = None,
    *,
    exposure: float = 1.0,
    texture: float = 1.0,
    blur_mm: float = 0.3,
    threads: int | None = None,
    progress: Progress = silent,
) -> NDArray[np.uint8]:
    """Render a label map as photographs of frozen sections.

    Parameters
    ----------
    labels
        `Structure` indices, uint8 (z, y, x).
    spacing
        Voxel spacing (z, y, x) in mm.
    rng
        Random number generator.
    exposure
        Brightness factor.
    texture
        Factor on the texture inside a structure; 0 for uniform colors.
    blur_mm
        Standard deviation of the in-plane blur in mm.
    threads
        Number of threads; None for all processors. It does not affect the result.
    progress
        Progress callback; an exception that it raises ends the work.

    Returns
    -------
    NDArray
        uint8 (z, y, x, 3), sRGB.

    Raises
    ------
    PhantomError
        If a label is not a structure, or a number is out of range.
    """
    labels = np.ascontiguousarray(labels)
    if labels.ndim != 3 or labels.dtype != np.uint8 or labels.size == 0:
        raise PhantomError("labels must be a uint8 array (z, y, x) with at least one voxel")
    if int(labels.max()) >= N_STRUCTURES:
        raise PhantomError(f"label {int(labels.max())} is not a structure")
    if not min(spacing) > 0 or exposure <= 0 or texture < 0 or blur_mm < 0:
        raise PhantomError("spacing and exposure must be positive, texture and blur not negative")
    rng = rng if rng is not None else np.random.default_rng(0)

    table = color_table()
    table[list(_GEL)] = table[Structure.OUTSIDE_AIR]
    grain = np.clip(texture_table()[:, 1], 0.8, 4.0)
    frequency = (1.5 / grain).astype(np.float32)
    offsets = rng.uniform(0, 64, (N_STRUCTURES, 3)).astype(np.float32)
    tile = texture_tile(0)
    steps = np.asarray(spacing, dtype=np.float32)
    blur = Blur(gaussian(blur_mm / spacing[1]), gaussian(blur_mm / spacing[2]))
    mottle = Mottle(table, frequency, offsets, np.float32(exposure), np.float32(texture))
    out = np.empty((*labels.shape, 3), dtype=np.uint8)
    for start in range(0, len(labels), _SLAB):
        progress(start, len(labels), "photographing sections")
        stop = min(start + _SLAB, len(labels))
        run_in_threads(
            photograph, start, stop, labels, mottle, tile, steps, blur, out, threads=threads
        )
    progress(len(labels), len(labels), "photographing sections")
    return out
