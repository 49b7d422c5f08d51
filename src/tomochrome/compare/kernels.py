"""Compiled kernel for blending two images."""

from __future__ import annotations

from tomochrome.runtime.kernels import kernel


@kernel
def blend_rgba(a, b, share, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n, 4) with a blend of ``a`` and ``b``, weighted by ``share`` and alpha."""
    for n in range(a.shape[0]):
        wa, wb = (1.0 - share) * a[n, 3], share * b[n, 3]
        alpha = wa + wb
        if alpha <= 0.0:
            out[n] = 0
            continue
        for c in range(3):
            out[n, c] = int((wa * a[n, c] + wb * b[n, c]) / alpha + 0.5)
        out[n, 3] = int(alpha + 0.5)
