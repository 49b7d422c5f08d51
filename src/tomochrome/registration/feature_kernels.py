"""Compiled kernel for the squared difference of warped features, with its gradient.

Features are compared in many channels. Warping them first, as an image is, would store them, and
their gradients, at each iteration; here neither is stored, and the channels of a voxel are adjacent
in memory. The torch twin is `similarity_losses.mean_squares` of `velocity.sample_through`.
"""

from __future__ import annotations

import numpy as np

from tomochrome.registration.warp_kernels import _ends
from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda rows, *_: len(rows) * rows.shape[1], least=1, fastmath=True)
def squares(first, last, rows, displacement, weight, sums, gradient):  # type: ignore[no-untyped-def]
    """Sum the squared differences between each of two images and the other one, warped.

    ``rows`` (2, z, y, x, c) are the images. ``displacement`` (2, 3, z, y, x) is in voxels;
    positions outside get the value of the nearest voxel. ``weight`` is (2, z, y, x). ``sums``
    (2, z) are those of each slice, ``gradient`` is that of their total for ``displacement``.
    """
    _, depth, height, width, channels = rows.shape
    zero, two = np.float32(0.0), np.float32(2.0)
    for job in range(first, last):
        n, z = job // depth, job % depth
        ours, theirs = rows[n], rows[1 - n]
        total = np.float64(0.0)
        for y in range(height):
            for x in range(width):
                w = weight[n, z, y, x]
                if w == zero:
                    for axis in range(3):
                        gradient[n, axis, z, y, x] = zero
                    continue
                pz = np.float32(z) + displacement[n, 0, z, y, x]
                py = np.float32(y) + displacement[n, 1, z, y, x]
                px = np.float32(x) + displacement[n, 2, z, y, x]
                z0, z1, gz, fz = _ends(pz, depth)
                y0, y1, gy, fy = _ends(py, height)
                x0, x1, gx, fx = _ends(px, width)
                v000, v001 = theirs[z0, y0, x0], theirs[z0, y0, x1]
                v010, v011 = theirs[z0, y1, x0], theirs[z0, y1, x1]
                v100, v101 = theirs[z1, y0, x0], theirs[z1, y0, x1]
                v110, v111 = theirs[z1, y1, x0], theirs[z1, y1, x1]
                here = ours[z, y, x]
                squared, sz, sy, sx = zero, zero, zero, zero
                for c in range(channels):
                    a, b = gx * v000[c] + fx * v001[c], gx * v010[c] + fx * v011[c]
                    d, e = gx * v100[c] + fx * v101[c], gx * v110[c] + fx * v111[c]
                    low, high = gy * a + fy * b, gy * d + fy * e
                    apart = gz * low + fz * high - here[c]
                    squared += apart * apart
                    sz += apart * (high - low)
                    sy += apart * (gz * (b - a) + fz * (e - d))
                    sx += apart * (
                        gz * (gy * (v001[c] - v000[c]) + fy * (v011[c] - v010[c]))
                        + fz * (gy * (v101[c] - v100[c]) + fy * (v111[c] - v110[c]))
                    )
                total += w * squared
                inside_z = zero <= pz and pz <= depth - 1
                inside_y = zero <= py and py <= height - 1
                inside_x = zero <= px and px <= width - 1
                gradient[n, 0, z, y, x] = two * w * sz if inside_z else zero
                gradient[n, 1, z, y, x] = two * w * sy if inside_y else zero
                gradient[n, 2, z, y, x] = two * w * sx if inside_x else zero
        sums[n, z] = total
