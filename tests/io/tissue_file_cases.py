"""Tissue maps for the tests of segmentations and surfaces."""

from __future__ import annotations

import numpy as np
from io_cases import ct

from marker_cases import marked
from tomochrome.color import Chroma
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume

MARKERS = {"L": Tissue.LIVER, "A": Tissue.HEART, "H": Tissue.BRAIN}
EXTRA = {"palette": "natural", "model": "tissue"}


def tissue_markers(volume: Volume | None = None) -> Volume:
    """The markers of `marker_cases` as three tissues."""
    volume = marked() if volume is None else volume
    labels = np.zeros(volume.shape, np.uint8)
    for channel, tissue in enumerate(MARKERS.values()):
        labels[volume.voxels[..., channel] > 128] = tissue
    return Volume(labels, volume.affine, "tissue", Provenance(extra=EXTRA))


def coloring(shape=(7, 24, 20), orientation="axial") -> tuple[Volume, Chroma]:
    """A scan and its colors: liver, fat, bone, mixtures of both, and a code without a tissue."""
    volume = ct(shape, orientation)
    weights = np.zeros((6, len(Tissue)), np.float32)
    weights[0, Tissue.AIR] = 1
    weights[1, Tissue.LIVER] = 1
    weights[2, Tissue.FAT] = 1
    weights[3, [Tissue.LIVER, Tissue.FAT]] = 0.75, 0.25
    weights[4, Tissue.CORTICAL_BONE] = 0.5
    rng = np.random.default_rng(5)
    code = rng.integers(0, 6, shape).astype(np.uint16)
    code[0] = 0
    confidence = rng.integers(0, 256, shape).astype(np.uint8)
    return volume, Chroma(code, confidence, weights, volume.affine, "tissue")
