"""A fast replacement for the coloring engine, without network or kernels."""

from __future__ import annotations

import numpy as np

from tomochrome.color import Chroma
from tomochrome.notices import Notice
from tomochrome.runtime import check, report
from tomochrome.tissue import N_TISSUES, Tissue

FORCED = Notice("unit", "warning", "colored because forced")


def simple_colorize(volume, model="tissue", *, device="auto", force=False, reference=None):
    """Color by Hounsfield units, without network or kernels."""
    hu = np.asarray(volume.voxels)
    edges = {Tissue.FAT: -150, Tissue.LIVER: 0, Tissue.CORTICAL_BONE: 300}
    mixtures = np.zeros((1 + len(edges), N_TISSUES), np.float32)
    mixtures[0, Tissue.AIR] = 1
    code = np.zeros(hu.shape, np.uint16)
    for row, (tissue, low) in enumerate(edges.items(), 1):
        mixtures[row, tissue] = 0.9
        code[hu >= low] = row
    for done in range(hu.shape[0] + 1):
        check()
        report(done, hu.shape[0], "tissue")
    confidence = np.full(hu.shape, 204, np.uint8)
    provenance = volume.provenance.add("colorize", *([FORCED] if force else []))
    return Chroma(code, confidence, mixtures, volume.affine, model, provenance)
