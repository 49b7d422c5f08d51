"""The real data of a folder that color networks are trained on beside phantoms.

Photographs of sections; the sections of the head with the CT of that head; and CT without any
labels, in the colors that the default model expects (its teacher's colors). Files that another
model is tested on are not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tomochrome.color.chroma import Chroma
from tomochrome.colorization.predict import colorize
from tomochrome.errors import InputError
from tomochrome.geometry.orient import closest_axial
from tomochrome.io import read
from tomochrome.runtime import check, report
from tomochrome.training.color_samples import AROUND, BODY, ColoredScan
from tomochrome.training.patients import coarsened, hu_of
from tomochrome.training.section_pairs import Part
from tomochrome.training.sections import (
    Section,
    place_sections,
    read_clean_sections,
    section_pair,
    split_sections,
)
from tomochrome.training.self_training import taught_files
from tomochrome.volume import Volume

SECTIONS: Final = "cryosection/sections"
SECTIONS_CT: Final = "ct/head_female_1mm.nii.gz"
"""CT of the head whose sections are among `SECTIONS`."""
HEAD_END: Final = 1200.0  #: sections with lower numbers lie within `SECTIONS_CT`
TAUGHT_SPACING: Final = (3.0, 1.6, 1.6)
"""Finest spacing at which `TAUGHT` scans are kept, in mm."""


@dataclass(frozen=True)
class RealColors:
    """Real data with colors, for a training.

    Attributes
    ----------
    sections
        Photographs of each part.
    pairs
        CT with the colors of photographs, of each part.
    taught
        CT with the default model's colors.
    """

    sections: Mapping[Part, list[Section]] = field(default_factory=dict)
    pairs: Mapping[Part, list[ColoredScan]] = field(default_factory=dict)
    taught: list[ColoredScan] = field(default_factory=list)


def read_real_colors(data: Path, teacher: str) -> RealColors:
    """Read the real data of a folder.

    Parameters
    ----------
    data
        The folder; scans that it lacks are left out, sections must be there.
    teacher
        Model whose colors the unlabelled scans get.

    Raises
    ------
    TomochromeError
        If there are no sections, or a file cannot be read.
    """
    sections = read_clean_sections(data / SECTIONS)
    split = list(zip(sections, split_sections(sections), strict=True))
    parts: dict[Part, list[Section]] = {}
    for section, part in split:
        parts.setdefault(part, []).append(section)
    if "learn" not in parts or "test" not in parts:
        raise InputError(
            f"'{data / SECTIONS}' has too few sections: some are needed to learn from, and of each "
            "three of a body region one that is far from the others, to be left out"
        )
    pairs: dict[Part, list[ColoredScan]] = {}
    if (path := data / SECTIONS_CT).is_file():
        head = [item for item in split if item[0].depth_mm < HEAD_END]
        scan = closest_axial(read(path))
        places = place_sections([section for section, _ in head], scan)
        for (section, part), place in zip(head, places, strict=True):
            pair = ColoredScan.from_pair(section_pair(section, scan, place))
            pairs.setdefault(part, []).append(pair)
    paths, taught = taught_files(data), []
    for done, path in enumerate(paths):
        check()
        report(done, len(paths), "coloring scans for the teacher")
        taught.append(taught_scan(closest_axial(read(path)), teacher))
    return RealColors(parts, pairs, taught)


def taught_scan(scan: Volume, teacher: str) -> ColoredScan:
    """Return a scan with the colors that a model expects, in the palette ``natural``.

    Parameters
    ----------
    scan
        CT in HU in axial orientation.
    teacher
        Name of the model.
    """
    small = coarsened(scan, TAUGHT_SPACING)
    chroma: Chroma = colorize(small, model=teacher).without_shades()
    kind = np.where(chroma.code > 0, BODY, AROUND).astype(np.uint8)
    return ColoredScan(hu_of(small), chroma.ab().astype(np.float16), kind, small.spacing)
