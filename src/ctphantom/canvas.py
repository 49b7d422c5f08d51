"""The canvas that a phantom is painted on: a label map with warped coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ctphantom import painting_kernels as kernels
from ctphantom.anatomy import shared_noise
from ctphantom.compiling import run_in_threads
from ctphantom.shapes import Shape
from ctphantom.structures import Structure

Map = Callable[[NDArray[np.float64]], NDArray[np.float64]]
NODE_MM = 14.0  #: spacing of the coordinate nodes


class Style(TypedDict, total=False):
    """Options of painting a shape; see `Canvas.paint`."""

    only: Iterable[Structure]
    spare: Iterable[Structure]
    compete: bool
    bias: float
    noise: float
    scale: float
    gas: Structure
    gas_level: float | Sequence[float]


class Canvas:
    """A uint8 label map with painting primitives in warped patient coordinates.

    Parameters
    ----------
    shape
        Number of voxels (z, y, x).
    spacing
        Voxel spacing (z, y, x) in mm.
    origin
        LPS position (x, y, z) in mm of voxel (0, 0, 0) in the scanner's frame.
    to_patient
        Function from scanner positions (n, 3) in mm to patient-frame positions; identity if None.
        It must be smooth on the scale of `NODE_MM`.
    seed
        Seed of the offsets of surface noise.
    threads
        Number of threads; None for all processors. It does not affect the result.

    Attributes
    ----------
    labels
        uint8 (z, y, x) of `Structure`.
    depth
        int16 (z, y, x): depth of a voxel in the competing organ that it belongs to.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: Sequence[float],
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        to_patient: Map | None = None,
        *,
        seed: int = 0,
        threads: int | None = 1,
    ) -> None:
        self.shape = shape
        self.spacing = np.asarray(spacing, dtype=np.float64)
        self.origin = np.asarray(origin, dtype=np.float64)
        self.labels = np.zeros(shape, np.uint8)
        self.depth = np.full(shape, 32767, np.int16)
        self.threads = threads
        self.noise = shared_noise()
        self.rng = np.random.default_rng([seed, 31])
        self.steps = np.maximum(1, np.round(NODE_MM / self.spacing)).astype(np.int64)
        counts = [(n - 1) // s + 2 for n, s in zip(self.shape, self.steps, strict=True)]
        voxel = np.moveaxis(np.indices(counts), 0, -1).reshape(-1, 3) * self.steps
        world = (voxel * self.spacing)[:, ::-1] + self.origin
        patient = world if to_patient is None else to_patient(world)
        nodes = np.ascontiguousarray(patient.reshape(*counts, 3), np.float32)
        self.grid = kernels.Grid(nodes, self.steps)
        # the best-fitting affine of the node map, as the initial value of its inversion
        design = np.column_stack([nodes.reshape(-1, 3), np.ones(len(voxel))])
        self._inverse, *_ = np.linalg.lstsq(design, voxel.astype(np.float64), rcond=None)

    def to_voxel(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fractional voxel indices (n, 3: z, y, x) of patient points (n, 3: x, y, z)."""
        voxel = np.column_stack([points, np.ones(len(points))]) @ self._inverse
        reached = np.empty_like(voxel)
        for _ in range(3):
            kernels.positions(self.grid, voxel, reached)
            voxel = voxel + (points - reached) @ self._inverse[:3]
        return voxel

    def _boxes(self, shape: Shape, margin: float) -> NDArray[np.int64]:
        """Return bounding boxes (n, 6: z0, z1, y0, y1, x0, x1) of the primitives in voxels."""
        lo = np.array([b[0] for b in shape.bounds]) - margin
        hi = np.array([b[1] for b in shape.bounds]) + margin
        finite = np.isfinite(lo).all(1)
        boxes = np.zeros((len(lo), 6), np.int64)
        boxes[:, 1::2] = self.shape
        if finite.any():
            low, high = lo[finite], hi[finite]
            half = np.array(list(product((0, 0.5, 1), repeat=3)))
            corners = low[:, None] + half[None] * (high - low)[:, None]
            voxel = self.to_voxel(corners.reshape(-1, 3)).reshape(len(low), 27, 3)
            first = np.floor(voxel.min(1)).astype(np.int64) - 1
            last = np.ceil(voxel.max(1)).astype(np.int64) + 2
            size = np.asarray(self.shape)
            boxes[finite, 0::2] = np.clip(first, 0, size)
            boxes[finite, 1::2] = np.clip(last, 0, size)
        return boxes

    def run(self, kernel: Callable[..., None], z0: int, z1: int, *args: Any) -> None:
        """Call a kernel on slices ``z0..z1``, distributed over the canvas's threads."""
        run_in_threads(kernel, z0, z1, *args, threads=self.threads, least=8)

    def paint(
        self,
        shape: Shape,
        layers: Structure | Sequence[tuple[float, Structure]],
        **style: Unpack[Style],
    ) -> None:
        """Paint a shape.

        Parameters
        ----------
        shape
            The shape in patient-frame mm.
        layers
            One structure, or pairs (distance, structure) from the surface inwards: ``[(0, WALL),
            (-3, CONTENT)]`` is a wall of 3 mm around content.
        style
            The following options.
        only, spare
            Structures that may, or may not, be painted over (by default all may).
        compete
            Where competing shapes overlap, a voxel belongs to the shape in which it is deeper, so
            that the shapes meet in a contact surface.
        bias
            Depth in mm added in competition; shapes with a higher bias prevail.
        noise, scale
            Roughness of the surface in mm, and its wavelength in units of about 3 x ``scale`` mm.
        gas, gas_level
            Structure that replaces the last layer above (anterior to) the level, a y in mm; one
            level, or one per primitive.
        """
        pairs = [(0.0, layers)] if isinstance(layers, Structure) else list(layers)
        stamp = self.stamp(shape, 1.0 + max(pairs[0][0], 0.0) + 3.0 * style.get("noise", 0.0))
        if stamp is not None:
            self.press(stamp, pairs, **style)

    def stamp(self, shape: Shape, margin: float = 1.0) -> kernels.Stamp | None:
        """Return a shape's distance field for `press`, or None if it is outside the canvas.

        The field is valid up to ``margin`` mm outside the surface.
        """
        if not shape.rows:
            return None
        boxes = self._boxes(shape, margin)
        rows = np.asarray(shape.rows, np.float32)
        union = rows[:, 1] == kernels.UNION
        filled = union & (boxes[:, 1::2] > boxes[:, 0::2]).all(1)
        if not filled.any():
            return None
        low = boxes[filled, 0::2].min(0)
        high = boxes[filled, 1::2].max(0)
        boxes = np.clip(boxes - np.repeat(low, 2), 0, np.repeat(high - low, 2))
        size = tuple(int(n) for n in high - low)
        field, owner = np.empty(size, np.float32), np.empty(size, np.uint16)
        stamp = kernels.Stamp(field, owner, low, len(rows))
        self.run(kernels.evaluate, 0, size[0], stamp, self.grid, rows, boxes)
        return stamp

    def press(
        self, stamp: kernels.Stamp, pairs: Sequence[tuple[float, Structure]], **style: Unpack[Style]
    ) -> None:
        """Write a stamp's layers into the label map; options as for `paint`."""
        only = style.get("only")
        table = np.full(256, only is None)
        table[list(only or ())] = True
        table[list(style.get("spare", ()))] = False
        level = np.asarray(style.get("gas_level", -1e9), np.float32)
        n = stamp.primitives
        layers = kernels.Layers(
            np.array([p[0] for p in pairs], np.float32),
            np.array([int(p[1]) for p in pairs], np.uint8),
            np.full(n, level) if level.ndim == 0 else level,
            int(style.get("gas", 0)),
        )
        brush = kernels.Brush(
            table, style.get("compete", False), float(style.get("bias", 0.0)), self.noise,
            float(style.get("noise", 0.0)), float(style.get("scale", 20.0)),
            self.rng.uniform(0, 64, 3),
        )  # fmt: skip
        depth = stamp.field.shape[0]
        self.run(kernels.apply, 0, depth, self.labels, self.depth, stamp, self.grid, layers, brush)

    def close_walls(self, contents: Iterable[Structure], wall: Structure, thickness: float) -> None:
        """Grow ``wall`` inwards by ``thickness`` mm wherever ``contents`` touch other structures.

        The contents may touch each other.
        """
        own = np.zeros(256, np.uint8)
        own[list(contents)] = 2
        own[int(wall)] = 1
        reach = np.maximum(1, np.round(thickness / self.spacing)).astype(np.int64)
        before = self.labels.copy()
        self.run(kernels.close_walls, 0, self.shape[0], before, self.labels, own, int(wall), reach)
