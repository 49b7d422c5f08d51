"""Small scans with known tissues, to draw in 3D."""

from __future__ import annotations

import numpy as np

from marker_cases import CHANNEL, marked
from tomochrome.color import Chroma
from tomochrome.color.codes import Mixtures
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume, default_affine

#: Tissues with clearly different colors, for the markers at the left, in front and at the head.
MARKERS = {"L": Tissue.VESSEL, "A": Tissue.GALLBLADDER, "H": Tissue.FAT}
DRAFT = {"quality": "draft", "size": (160, 120)}
LARGER = {"quality": "draft", "size": (480, 360)}  #: the caption takes little of it


def with_tissues(volume: Volume, tissue: np.ndarray) -> tuple[Volume, Chroma]:
    """A scan whose tissues are certain."""
    code = tissue.astype(np.uint16)
    confidence = np.full(tissue.shape, 255, np.uint8)
    table = Mixtures(np.eye(N_TISSUES, dtype=np.float32))
    return volume, Chroma(code, confidence, table, volume.affine, model="known")


def marked_scan() -> tuple[Volume, np.ndarray]:
    """Return the markers as tissues of 40 HU in air, and the tissue of each voxel."""
    colors = marked()
    tissue = np.zeros(colors.shape, np.uint8)
    for name, channel in CHANNEL.items():
        tissue[colors.voxels[..., channel] > 0] = MARKERS[name]
    hu = np.where(tissue > 0, 40, -1000).astype(np.int16)
    return Volume(hu, colors.affine), tissue


def body(shape: tuple[int, int, int] = (24, 40, 48)) -> tuple[Volume, Chroma]:
    """A body of muscle in skin, with liver, spleen and a bone, on a couch."""
    volume = Volume(np.full(shape, -1000, np.int16), default_affine((3.0, 2.0, 2.0)))
    _, y, x = np.indices(shape)
    radius = np.hypot((y - 16) / 13, (x - 24) / 20)
    tissue = np.zeros(shape, np.uint8)
    tissue[radius < 1] = Tissue.SKIN
    tissue[radius < 0.85] = Tissue.MUSCLE
    tissue[(radius < 0.6) & (x < 24)] = Tissue.LIVER
    tissue[(radius < 0.6) & (x > 28)] = Tissue.SPLEEN
    tissue[np.hypot(y - 16, x - 26) < 3] = Tissue.CORTICAL_BONE
    hu = np.choose(tissue > 0, (-1000, 50)).astype(np.int16)
    hu[tissue == Tissue.CORTICAL_BONE] = 900
    hu[:, 34:36] = 200  # the couch: dense, and not of the body
    return with_tissues(volume.with_voxels(hu, unit="HU"), tissue)
