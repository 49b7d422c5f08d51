"""Tissues as segments with names, colors and codes, as 3D Slicer and DICOM viewers show them.

The codes are SNOMED CT's, by the meanings that DICOM gives them (PS3.16 CID 7150, 7151, 7166 and
8134). Cortical bone is coded as bone, of which it is the dense part, and the two that DICOM does
not list as a whole, intestine and reproductive organs, by the meanings of SNOMED CT itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tomochrome.color.palettes import Palette, palette
from tomochrome.color.selection import tissues_of
from tomochrome.errors import OptionError, OutputError
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


_TISSUE: Final = Code("85756007", "SCT", "Tissue")
_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
_SUBSTANCE: Final = Code("91720002", "SCT", "Body Substance")
_OBJECT: Final = Code("260787004", "SCT", "Physical object")

_MAX_NAMES: Final = 8

CODES: Final[dict[Tissue, tuple[Code, Code]]] = {
    tissue: (category, Code(value, "SCT", meaning))
    for tissue, category, value, meaning in (
        (Tissue.LUNG, _STRUCTURE, "39607008", "Lung"),
        (Tissue.AIRWAY, _STRUCTURE, "89187006", "Airway structure"),
        (Tissue.FAT, _TISSUE, "55603005", "Fat"),
        (Tissue.MUSCLE, _TISSUE, "91727004", "Muscle"),
        (Tissue.SKIN, _TISSUE, "39937001", "Skin"),
        (Tissue.CORTICAL_BONE, _TISSUE, "3138006", "Bone"),
        (Tissue.MARROW, _TISSUE, "14016003", "Bone Marrow"),
        (Tissue.CARTILAGE, _TISSUE, "309312004", "Cartilage"),
        (Tissue.LIVER, _STRUCTURE, "10200004", "Liver"),
        (Tissue.SPLEEN, _STRUCTURE, "78961009", "Spleen"),
        (Tissue.KIDNEY, _STRUCTURE, "64033007", "Kidney"),
        (Tissue.PANCREAS, _STRUCTURE, "15776009", "Pancreas"),
        (Tissue.ADRENAL, _STRUCTURE, "23451007", "Adrenal gland"),
        (Tissue.GALLBLADDER, _STRUCTURE, "28231008", "Gallbladder"),
        (Tissue.STOMACH, _STRUCTURE, "69695003", "Stomach"),
        (Tissue.BOWEL, _STRUCTURE, "113276009", "Intestine"),
        (Tissue.BLADDER, _STRUCTURE, "89837001", "Bladder"),
        (Tissue.VESSEL, _TISSUE, "59820001", "Blood Vessel"),
        (Tissue.HEART, _STRUCTURE, "80891009", "Heart"),
        (Tissue.BRAIN, _STRUCTURE, "12738006", "Brain"),
        (Tissue.SPINAL_CORD, _STRUCTURE, "2748008", "Spinal cord"),
        (Tissue.EYE, _STRUCTURE, "81745001", "Eye"),
        (Tissue.REPRODUCTIVE, _STRUCTURE, "71934003", "Genital structure"),
        (Tissue.FLUID, _SUBSTANCE, "32457005", "Body fluid"),
        (Tissue.FOREIGN_BODY, _OBJECT, "19227008", "Foreign body"),
    )
}
"""Category and type of each tissue; air is the background and has none."""


@dataclass(frozen=True)
class Segment:
    """A label of a label map, and what it means.

    Parameters
    ----------
    value
        The label.
    name
        Display name.
    rgb
        Its color, 0 to 255.
    codes
        Category and type, or None.
    """

    value: int
    name: str
    rgb: tuple[int, int, int]
    codes: tuple[Code, Code] | None = None


def tissue_segments(colors: str | Palette = "natural") -> list[Segment]:
    """Return the segments of all tissues except air, with the colors of a palette."""
    rgb = palette(colors).rgb.tolist()
    return [Segment(int(t), t.title, tuple(rgb[t]), codes) for t, codes in CODES.items()]


def segments_of(volume: Volume, only: str | Iterable[str | Tissue] | None = None) -> list[Segment]:
    """Return the segments that occur in a tissue map.

    Parameters
    ----------
    volume
        Indices of `Tissue`, unit ``"tissue"``; ``provenance.extra["palette"]`` names the palette
        of the colors (``natural`` without it).
    only
        The tissues to write, or their names; None for all.

    Raises
    ------
    OutputError
        If the volume is not a tissue map, or holds no tissue but air, or none of the chosen ones.
    """
    if volume.unit != "tissue":
        raise OutputError("only a tissue map has tissues to write; give Chroma.tissue_volume()")
    values = {int(value) for plane in volume.voxels for value in np.unique(plane)}
    colors = str(volume.provenance.extra.get("palette", "natural"))
    try:
        listed = tissue_segments(colors)
    except OptionError:  # a palette of the user's own has a name that only he knows
        listed = tissue_segments()
    present = [segment for segment in listed if segment.value in values]
    if not present:
        raise OutputError("the tissue map has no tissue but air; there is nothing to write")
    if only is None:
        return present
    chosen = sorted(set(tissues_of(only)) - {Tissue.AIR})
    if not chosen:
        raise OutputError("no tissue is chosen, and air is none; there is nothing to write")
    present = [segment for segment in present if segment.value in chosen]
    if not present:
        raise OutputError(
            f"the tissue map has none of the chosen tissues ({in_short(chosen)}); there is "
            "nothing to write"
        )
    return present


def in_short(tissues: Sequence[Tissue]) -> str:
    """Return the names of the first tissues, and how many more there are."""
    more = [f"{len(tissues) - _MAX_NAMES} more"] if len(tissues) > _MAX_NAMES else []
    return ", ".join([tissue.label for tissue in tissues[:_MAX_NAMES]] + more)


def slicer_keys(segments: Sequence[Segment], shape: Sequence[int]) -> dict[str, str | int]:
    """Return the keys by which 3D Slicer opens a ``.seg.nrrd`` as a segmentation.

    Parameters
    ----------
    segments
        The labels.
    shape
        Voxels along (z, y, x).
    """
    keys: dict[str, str | int] = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    extent = " ".join(f"0 {n - 1}" for n in shape[::-1])
    for number, segment in enumerate(segments):
        start = f"Segment{number}_"
        keys |= {
            f"{start}ID": f"Segment_{segment.value}",
            f"{start}Name": segment.name,
            f"{start}NameAutoGenerated": 0,
            f"{start}Color": " ".join(f"{c / 255:.6g}" for c in segment.rgb),
            f"{start}ColorAutoGenerated": 0,
            f"{start}LabelValue": segment.value,
            f"{start}Layer": 0,
            f"{start}Extent": extent,
        }
        if segment.codes is not None:
            category, kind = ("^".join((c.scheme, c.value, c.meaning)) for c in segment.codes)
            keys[f"{start}Tags"] = (
                "Segmentation.Status:completed|TerminologyEntry:Segmentation category and type - "
                f"DICOM master list~{category}~{kind}~^^~Anatomic codes - DICOM master list"
                "~^^~^^|"
            )
    return keys


def slicer_segmentation(volume: Volume) -> Volume:
    """Return a tissue map with the keys of `slicer_keys`, which the NRRD writer writes.

    One that has them already, and other labels, are returned unchanged. Raises as `segments_of`.
    """
    extra: dict[str, Any] = dict(volume.provenance.extra)
    if volume.unit != "tissue" or "Segment0_ID" in extra:
        return volume
    extra |= slicer_keys(segments_of(volume), volume.shape)
    voxels = np.where(np.asarray(volume.voxels) <= max(Tissue), volume.voxels, 0).astype(np.uint8)
    return replace(volume, voxels=voxels, provenance=replace(volume.provenance, extra=extra))


def names_json(colors: str | Palette = "natural") -> str:
    """Return names, colors and codes of all labels of a tissue map as JSON."""
    labels = [
        {
            "value": segment.value,
            "name": Tissue(segment.value).label,
            "title": segment.name,
            "rgb": list(segment.rgb),
            "category": (segment.codes or ({},))[0]._asdict(),  # type: ignore[union-attr]
            "type": (segment.codes or ({}, {}))[1]._asdict(),  # type: ignore[union-attr]
        }
        for segment in tissue_segments(colors)
    ]
    data = {"palette": palette(colors).name, "note": "not for diagnosis", "labels": labels}
    return f"{json.dumps(data, indent=1)}\n"


def color_table(colors: str | Palette = "natural") -> str:
    """Return a color table of all tissues as 3D Slicer reads it (``.ctbl``)."""
    lines = [f"# Tomochrome tissues, palette {palette(colors).name}", "0 Air 0 0 0 0"]
    for segment in tissue_segments(colors):
        rgb = " ".join(map(str, segment.rgb))
        lines.append(f"{segment.value} {segment.name.replace(' ', '_')} {rgb} 255")
    return "\n".join(lines) + "\n"


def names_path(path: Path) -> Path | None:
    """Return the path of the JSON of names beside a tissue map; None for other formats."""
    for ending in (".nii.gz", ".nii"):
        if path.name.lower().endswith(ending):
            return path.with_name(f"{path.name[: -len(ending)]}.json")
    return None
