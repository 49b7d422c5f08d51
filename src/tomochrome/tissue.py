"""The tissue classes and their indices.

The same indices are used by the phantom, the networks, the palettes and the files: as voxel value
in a tissue map and as output channel of a network.
"""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """Index of a tissue in tissue maps, palettes and network outputs."""

    AIR = 0  # outside the body, and gas in the gut
    LUNG = 1
    AIRWAY = 2  # gas in sinuses, trachea and bronchi
    FAT = 3
    MUSCLE = 4
    SKIN = 5
    CORTICAL_BONE = 6
    MARROW = 7
    CARTILAGE = 8
    LIVER = 9
    SPLEEN = 10
    KIDNEY = 11
    PANCREAS = 12
    ADRENAL = 13
    GALLBLADDER = 14
    STOMACH = 15
    BOWEL = 16
    BLADDER = 17
    VESSEL = 18
    HEART = 19
    BRAIN = 20
    SPINAL_CORD = 21
    EYE = 22
    REPRODUCTIVE = 23
    FLUID = 24  # cerebrospinal fluid, ascites, effusions, cysts
    FOREIGN_BODY = 25  # metal; the couch is AIR

    @property
    def label(self) -> str:
        """Identifier in files and on the command line, for example ``"cortical-bone"``."""
        return self.name.lower().replace("_", "-")

    @property
    def title(self) -> str:
        """Display name, for example ``"Cortical bone"``."""
        return _TITLES.get(self.label) or self.label.replace("-", " ").capitalize()


_TITLES = {
    "airway": "Airways",
    "marrow": "Bone marrow",
    "adrenal": "Adrenal glands",
    "vessel": "Vessels",
    "eye": "Eyes",
    "reproductive": "Reproductive organs",
}

N_TISSUES = len(Tissue)
NO_TISSUE = 255  #: value in a tissue map where the tissue is unknown
TISSUE_NAMES: tuple[str, ...] = tuple(t.label for t in Tissue)
