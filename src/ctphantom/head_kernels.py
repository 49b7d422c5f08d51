"""Compiled loop that paints the head's envelope, skull and brain in one pass over the voxels.

Head frame: mm, LPS axes, origin midway between the ear canals; nose near y = -105, vertex near
z = 118, chin near (0, -85, -92). `head_frame` maps it to the patient frame.

What is called for every voxel takes numbers: with arrays as arguments it took a third longer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ctphantom.compiling import kernel
from ctphantom.painting_kernels import Array, Grid, noise_at, row_positions


class Cranium(NamedTuple):
    """Shape of one patient's skull and brain; lengths in mm."""

    half_width: float = 69.0  #: inside of the skull
    front: float = 82.0
    back: float = 83.5
    top: float = 71.0
    bottom: float = 64.0
    middle_y: float = 0.0
    middle_z: float = 40.0
    temples: float = 0.16  #: relative narrowing of the forehead
    thickness: float = 6.3
    scalp: float = 5.0
    skin: float = 1.9
    face_fat: float = 5.0
    neck_fat: float = 6.0
    gap: float = 2.0  #: cerebrospinal fluid over the brain
    sulcus: float = 0.6  #: half width of a sulcus
    sulcus_depth: float = 11.0
    gyrus: float = 2.9  #: mm per voxel of the noise cube
    fissure: float = 1.0
    cortex: float = 3.0
    temporalis: float = 11.0
    thinnest: float = 2.2  #: minimum thickness of the skull, at least a voxel
    lowest_z: float = -95.0  #: lowest z that is painted


class Pose(NamedTuple):
    """Pose of the head on the neck."""

    turn: Array  #: rotation (3, 3) from patient axes to head axes
    pivot: Array  #: patient-frame position of the atlas, mm
    scale: Array  #: size of this head along x, y, z
    atlas: Array  #: head-frame position of the atlas, mm


class Roughness(NamedTuple):
    """Noise cube for rough surfaces, and the patient's offsets in it."""

    noise: Array
    shift: Array


@kernel(fastmath=True, inline="always")
def _smooth_min(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@kernel(fastmath=True, inline="always")
def _step(x: float) -> float:
    """Return a smooth step from 0 at x <= 0 to 1 at x >= 1."""
    t = min(max(x, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel(fastmath=True, inline="always")
def _table(values: Array, row: int, step: float, z: float) -> float:
    """Interpolate a row of a table with a value every ``step`` mm from z = -95."""
    g = min(max((z + 95.0) / step, 0.0), values.shape[1] - 1.001)
    i = int(g)
    return values[row, i] + (g - i) * (values[row, i + 1] - values[row, i])


@kernel(fastmath=True)
def _petrous_y(ax: float) -> float:
    """Return y of the petrous ridge between middle and posterior fossa at ax = abs(x)."""
    return -12.0 + 0.52 * ax


@kernel(fastmath=True)
def _floor(ax: float, y: float) -> float:
    """Return the height of the floor of the cranial cavity."""
    anterior = 46.0 - 10.0 * (1.0 - _step((ax - 5.0) / 16.0)) - 0.010 * (ax - 32.0) ** 2
    anterior -= 0.006 * (y + 58.0) ** 2
    lateral = _step((ax - 11.0) / 9.0)
    pit = 2.0 + 0.03 * (ax - 38.0) ** 2 + 0.018 * (y + 18.0) ** 2
    middle = 27.0 * (1.0 - lateral) + lateral * min(pit, 22.0)
    posterior = -24.0 + 0.010 * ax * ax
    ridge_y = _petrous_y(ax)
    ridge = _step((ax - 8.0) / 8.0) * _step((68.0 - ax) / 10.0)
    wing = _step((y + 36.0 - 0.10 * ax + 12.0 * _step((ax - 30.0) / 25.0)) / 7.0)
    behind = _step((y - ridge_y + 3.0) / (9.0 if ax > 12.0 else 15.0))
    floor = anterior * (1.0 - wing) + wing * (middle * (1.0 - behind) + posterior * behind)
    return floor + 14.0 * ridge * math.exp(-(((y - ridge_y) / 6.0) ** 2))


@kernel(fastmath=True)
def tent_height(ax: float, y: float) -> float:
    """Return the height of the tentorium."""
    ridge = 43.0 - 0.55 * max(y - 24.0, 0.0)
    return 13.0 + (ridge - 13.0) * math.exp(-((ax / 27.0) ** 2))


@kernel(fastmath=True)
def _brain(
    x: float, y: float, z: float, depth: float, k: float, c: Cranium, rough: Roughness, names: Array
) -> int:
    """Return the structure at a depth in mm below the surface of the brain."""
    noise, shift = rough
    ax = abs(x)
    wobble = noise_at(noise, x / 9 + shift[0], y / 9 + shift[1], z / 9 + shift[2])
    tent = tent_height(ax, y)
    if y > _petrous_y(ax) + 2.0 and z < tent + 1.0:
        notch = (x / 17.0) ** 2 + ((y - 6.0) / 24.0) ** 2
        if z > tent - 0.9 and notch > 1.0:
            return names[2]
        if notch > 1.0 and z > tent - 2.0:
            return names[1]
        lobe = ((ax - 25.0) / 31.0) ** 2 + ((y - 42.0) / 33.0) ** 2 + ((z - 3.0) / 28.0) ** 2
        worm = (x / 13.0) ** 2 + ((y - 40.0) / 28.0) ** 2 + ((z - 10.0) / 27.0) ** 2
        if depth > 0.0 and min(lobe, worm) < 1.0 and y > 12.0:
            cleft = ax < 2.0 and y > 60.0
            return names[1] if cleft else names[5]
        return names[1]
    if depth < 0.0:
        return names[1]
    # between the hemispheres: fluid and falx, down to the corpus callosum
    across = abs(x + 1.3 * wobble)
    core = ((y - 0.0) / 46.0) ** 2 + ((z - 36.0) / 27.0) ** 2
    midline = 1e3
    if core > 1.0:
        midline = across - c.fissure
        if midline < 0.0:
            falx = core > 1.55 + 0.25 * wobble and z > 30.0
            return names[2] if falx and across < max(0.7, 0.8 * c.fissure) else names[1]
    # sulci: zero sets of a noise that is constant along rays from the center
    px, py, pz = x / k / c.gyrus, (y - c.middle_y) / k / c.gyrus, (z - c.middle_z) / k / c.gyrus
    g = noise_at(noise, px + shift[3], py + shift[4], pz + shift[5])
    wall = abs(g) * c.gyrus * 1.15 * k
    width = max(0.0, c.sulcus * (1.25 + 0.9 * wobble))
    deep = max(3.0, c.sulcus_depth * (1.0 + 0.55 * wobble))
    sulcus = wall - width if depth < deep else math.hypot(max(wall - width, 0.0), depth - deep)
    if depth < deep and wall < width:
        return names[1]
    # Sylvian fissure and insula
    sylvian = 1e3
    if -44.0 < y < 30.0:
        height = 27.0 + 0.38 * (y + 8.0) + 2.0 * wobble
        open_to = 37.0
        lid = abs(z - height) - (1.1 + c.sulcus)
        out = open_to - ax
        sylvian = lid if out < 0.0 else math.hypot(max(lid, 0.0), out)
        island = abs(ax - 38.5 - 1.2 * wobble) - 0.6 - 0.6 * c.sulcus
        if abs(z - height - 2.0) < 12.0 and -34.0 < y < 20.0:
            sylvian = min(sylvian, island)
        if sylvian < 0.0:
            return names[1]
    nearest = min(min(depth, sulcus), min(midline, sylvian))
    return names[3] if nearest < c.cortex else names[4]


@kernel(fastmath=True, inline="always")
def _vault(x: float, y: float, z: float, c: Cranium) -> tuple[float, float]:
    """Return the distance in mm outside the vault's inner table, and the position relative to it.

    The inner table is a superellipsoid that differs in front, behind, above and below; the relative
    position is 0 at its center and 1 on it.
    """
    vy, vz = y - c.middle_y, z - c.middle_z
    length = c.front if vy < 0 else c.back
    height = c.top if vz > 0 else c.bottom
    narrow = 1.0 - c.temples * _step((-vy - 5.0) / 70.0) - 0.05 * _step((vy - 35) / 45)
    a = abs(x) / (c.half_width * narrow)
    b, e = abs(vy) / length, abs(vz) / height
    k = (a**2.25 + b**2.25 + e**2.25) ** (1.0 / 2.25)
    radius = math.sqrt(x * x + vy * vy + vz * vz)
    return (radius * (1.0 - 1.0 / max(k, 1e-3)) if k > 1e-3 else -60.0), k


@kernel(fastmath=True, inline="always")
def _temple(ax: float, y: float, z: float) -> float:
    """Return 1 in the middle of the temple, where bone is thinnest and muscle thickest, to 0."""
    return (
        math.exp(-(((y + 20.0) / 28.0) ** 2))
        * math.exp(-(((z - 24.0) / 31.0) ** 2))
        * _step((ax - 38.0) / 14.0)
    )


@kernel(fastmath=True, inline="always")
def _thickness(x: float, y: float, z: float, temple: float, rough: float, c: Cranium) -> float:
    """Return the thickness of the vault in mm, with the occipital protuberance."""
    thick = c.thickness * (1.0 - 0.45 * temple) + 0.8 * rough
    thick = max(thick + 1.5 * _step((z - 75.0) / 30.0), c.thinnest)
    return thick + 5.0 * math.exp(-((x / 14) ** 2 + ((y - 80) / 14) ** 2 + ((z - 4) / 9) ** 2))


@kernel(fastmath=True, inline="always")
def _face(ax: float, y: float, z: float, wide: float, front: float) -> float:
    """Return the distance in mm outside the face, which ends at the chin and at z = 62."""
    deep = -15.0 - front if y < -15.0 else 45.0
    q = ((ax / wide) ** 2.5 + (abs(y + 15.0) / deep) ** 2.5) ** 0.4
    section = (q - 1.0) * min(wide, deep)
    chin = -(z + 91.0 - 0.33 * max(y + 86.0, -8.0))
    visage = max(section, max(chin, z - 62.0))
    edge = max(-abs(section - chin) + 9.0, 0.0)
    if section > -9 and chin > -9:
        visage += edge * edge / 36.0
    return visage


@kernel(fastmath=True, inline="always")
def _neck(x: float, y: float, z: float, wide: float, front: float, back: float) -> float:
    """Return the distance in mm outside the neck, which does not turn with the head."""
    mid = 0.5 * (front + back)
    q = ((abs(x) / wide) ** 2.2 + (abs(y - mid) / (back - mid)) ** 2.2) ** 0.4545
    return max((q - 1.0) * wide, z - 5.0)


@kernel(fastmath=True, inline="always")
def _base_thickness(ax: float, y: float, z: float, rough: float, c: Cranium) -> float:
    """Return the thickness of the base of the skull in mm, with the petrous bones."""
    slab = max(3.2 + 0.8 * rough, c.thinnest)
    if 8.0 < ax < 66.0 and z < 40.0:
        slab += 9.0 * math.exp(-(((y - _petrous_y(ax)) / 8.0) ** 2))
    return slab


@kernel(fastmath=True)
def _soft_tissue(
    x: float, y: float, z: float, depth: float, temporalis: bool, rough: float, c: Cranium,
    grain: Roughness, names: Array,
) -> int:  # fmt: skip
    """Return the structure between skin and skull at a depth in mm below the skin's surface."""
    noise, shift = grain
    high = _step((z - 10.0) / 25.0)
    fat = high * (c.scalp - c.skin) + (1 - high) * (c.face_fat if y < 10.0 else c.neck_fat)
    fat *= 1.0 + 0.35 * rough
    if depth < c.skin:
        return names[6]
    if temporalis:
        return names[8]
    if depth < c.skin + fat:
        return names[7]
    if z > 12.0 and y > -62.0:
        return names[11] if abs(x) < 38.0 and y > -52.0 else names[9]
    fine = noise_at(noise, x / 4.0 + shift[1], y / 4.0 + shift[2], z / 9.0 + shift[3])
    return names[9] if fine > 0.55 + 0.05 * max(0.0, depth - 18.0) else names[8]


@kernel(fastmath=True)
def paint_head(
    labels: Array, grid: Grid, pose: Pose, c: Cranium, face: Array, neck: Array, grain: Roughness,
    names: Array, z0: int, z1: int,
) -> None:  # fmt: skip
    """Paint skin, fat, soft tissue, skull and brain in slices ``z0..z1``.

    ``face`` (2, n): half width and front every 5 mm from z = -95; ``neck`` (3, n): half width,
    front and back every 10 mm from z = -95. ``names`` are the labels of air, fluid, dura, grey and
    white matter, cerebellum, skin, fat, muscle, fat plane, cortical bone, diploe, couch, foam,
    blanket; the last three remain where they are outside the head.
    """
    turn, pivot, scale, atlas = pose
    noise, shift = grain
    nx = labels.shape[2]
    line = np.empty((nx, 3), np.float32)
    for iz in range(z0, z1):
        for iy in range(labels.shape[1]):
            row_positions(grid, iz, iy, 0, nx, line)
            for ix in range(nx):
                dx, dy, dz = (
                    (line[ix, 0] - pivot[0]) / scale[0],
                    (line[ix, 1] - pivot[1]) / scale[1],
                    (line[ix, 2] - pivot[2]) / scale[2],
                )
                height = dz + atlas[2]
                if height < c.lowest_z or abs(dx) > 104.0 or abs(dy) > 145.0 or height > 150.0:
                    continue
                x = dx * turn[0, 0] + dy * turn[0, 1] + dz * turn[0, 2] + atlas[0]
                y = dx * turn[1, 0] + dy * turn[1, 1] + dz * turn[1, 2] + atlas[1]
                z = dx * turn[2, 0] + dy * turn[2, 1] + dz * turn[2, 2] + atlas[2]
                ax, old = abs(x), labels[iz, iy, ix]
                vault, k = _vault(x, y, z, c)
                rough = noise_at(noise, x / 17 + shift[6], y / 17 + shift[7], z / 17 + shift[8])
                temple = _temple(ax, y, z)
                thick = _thickness(x, y, z, temple, rough, c)
                muscle = c.temporalis * temple
                # scalp, face and neck blended
                skin = vault - thick - c.scalp - 0.8 * muscle
                if z < 62.0:
                    wide, front = _table(face, 0, 5.0, z), _table(face, 1, 5.0, z)
                    skin = _smooth_min(skin, _face(ax, y, z, wide, front), 14.0)
                wide, front = _table(neck, 0, 10.0, height), _table(neck, 1, 10.0, height)
                back = _table(neck, 2, 10.0, height)
                collar = _neck(dx, dy + atlas[1], height, wide, front, back)
                skin = _smooth_min(skin, collar, 16.0)
                if skin > 0.0:
                    if old != names[12] and old != names[13] and old != names[14]:
                        labels[iz, iy, ix] = names[0]
                    continue
                low = (_floor(ax, y) + 1.4 * rough - z) * 0.85
                inside = max(vault, low)
                if vault >= thick or low >= _base_thickness(ax, y, z, rough, c):
                    temporalis = thick < vault < thick + muscle and muscle > 1.2
                    label = _soft_tissue(x, y, z, -skin, temporalis, rough, c, grain, names)
                elif inside < 0.0:
                    label = _brain(x, y, z, -inside - c.gap, max(k, 0.25), c, grain, names)
                else:
                    solid = vault <= low or vault < 1.7 or thick - vault < 1.9 or thick < 4.4
                    label = names[10] if solid else names[11]
                labels[iz, iy, ix] = label
