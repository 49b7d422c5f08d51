"""Aligned pairs of CT and photographs of the same sections, for training and evaluation.

A pair file (``.npz``) holds a block of slices: ``hu`` int16 (z, y, x), ``rgb`` uint8 (z, y, x, 3),
``tissue`` bool (z, y, x), a mask of tissue in the photograph, and ``spacing`` (z, y, x) in mm. The
blocks of a folder are split into ``learn``, ``validate`` and ``test``; slices between two blocks
are skipped, so that no adjacent slices are in different parts.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.colorization.body import find_body
from tomochrome.errors import InputError
from tomochrome.notices import Notice
from tomochrome.registration.pairwise import register
from tomochrome.runtime import check, report, write_whole
from tomochrome.training.folder import make_folder, read_arrays
from tomochrome.training.visible_human import (
    CT_MM,
    find_sections,
    find_slices,
    read_ct,
    read_photographs,
)
from tomochrome.volume import Volume

Part = Literal["learn", "validate", "test"]
SHARES: Final[dict[Part, float]] = {"learn": 0.7, "validate": 0.2, "test": 0.1}
BLOCK: Final = 16  #: slices in a block
GAP: Final = 2  #: slices skipped between two blocks
AT_ONCE: Final = 240  #: slices aligned at once
SETTINGS: Final = "visible-human.json"
"""An optional file in the data folder, such as ``{"ct_pixel_mm": 0.9}``."""


@dataclass(frozen=True, eq=False)
class SectionPair:
    """A block of CT slices and their photographs.

    Attributes
    ----------
    hu
        int16 (z, y, x).
    rgb
        uint8 (z, y, x, 3), sRGB.
    tissue
        bool (z, y, x): mask of tissue in the photograph.
    spacing
        Voxel spacing (z, y, x) in mm.
    """

    hu: NDArray[np.int16]
    rgb: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    spacing: tuple[float, float, float]


def import_visible_human(
    data: str | os.PathLike[str], out: str | os.PathLike[str], *, refine: int = 60, seed: int = 1
) -> list[Notice]:
    """Align color sections with CT and write pair files.

    Parameters
    ----------
    data
        Folder with the original color sections and CT slices; see
        `tomochrome.training.visible_human`.
    out
        Folder for the pair files; existing ones are replaced.
    refine
        Iterations of the deformable registration; 0 for the affine one only.
    seed
        Seed of the split.

    Returns
    -------
    list of Notice
        Notices for the user, for example on a poor match.

    Raises
    ------
    InputError
        If sections or slices are missing or damaged, or do not overlap along z.
    OutputError
        If the files cannot be written.
    """
    folder = Path(data)
    sections, slices = find_sections(folder), find_slices(folder)
    if not sections or not slices:
        missing = "color sections (such as a_vm1001.raw)" if not sections else "CT slices"
        raise InputError(f"'{folder}' has no {missing} of the Visible Human; see docs/training.md")
    low = max(sections[0].depth_mm, slices[0].depth_mm)
    high = min(sections[-1].depth_mm, slices[-1].depth_mm)
    if high - low < BLOCK:
        raise InputError(
            f"sections and CT slices in '{folder}' overlap by {max(0, high - low):.0f} mm; at "
            f"least {BLOCK} mm are needed"
        )
    target = make_folder(out)
    parts = split_blocks(int(high - low) + 1, seed)
    notices: list[Notice] = []
    written = 0
    for first in range(int(low), int(high) + 1, AT_ONCE):
        last = min(first + AT_ONCE - 1, int(high))
        if last - first < BLOCK:
            break
        photographs = read_photographs([s for s in sections if first <= s.depth_mm < last + 1])
        scan = read_ct([s for s in slices if first <= s.depth_mm <= last], _pixel_mm(folder))
        pair, overlap = align_sections(scan, photographs, refine)
        if overlap < 0.8:
            text = f"sections {first} to {last} match the CT poorly (overlap {overlap:.2f})"
            notices.append(Notice("coverage", "warning", text))
        for block, part in parts:
            begin, stop = block.start + int(low), block.stop + int(low)
            if first <= begin and stop <= last + 1:
                # slices are ordered from feet to head, depths from head to feet
                rows = slice(last + 1 - stop, last + 1 - begin)
                write_pair(target / f"{part}-{begin:04d}.npz", _rows(pair, rows))
                written += 1
        report(min(last + 1, int(high)), int(high), "aligning sections with the CT")
    skipped = int(high - low) + 1 - BLOCK * written
    text = f"{written} blocks of {BLOCK} slices were aligned, {skipped} slices were skipped"
    return [*notices, Notice("content", "info", text)]


def split_blocks(count: int, seed: int) -> list[tuple[range, Part]]:
    """Split slices into blocks with gaps between them, and assign the blocks to parts by `SHARES`.

    Parameters
    ----------
    count
        Number of slices.
    seed
        Seed of the random order.
    """
    starts = range(0, count - BLOCK + 1, BLOCK + GAP)
    order = np.random.default_rng(seed).permutation(len(starts))
    ends = np.rint(np.cumsum([*SHARES.values()]) * len(starts)).astype(int)
    names = list(SHARES)
    part_of = {int(k): names[int(np.searchsorted(ends, n, side="right"))]
               for n, k in enumerate(order)}  # fmt: skip
    return [(range(start, start + BLOCK), part_of[k]) for k, start in enumerate(starts)]


def align_sections(
    scan: Volume, photographs: Volume, refine: int = 60
) -> tuple[SectionPair, float]:
    """Register photographs to a CT and resample them to its grid.

    An affine registration and a diffeomorphic refinement maximize the mutual information of the
    CT and the photographs' L*, both masked to the body.

    Parameters
    ----------
    scan
        CT in HU.
    photographs
        RGBA with alpha as the tissue mask, roughly aligned with the CT.
    refine
        Iterations of the refinement.

    Returns
    -------
    pair
        The pair on the CT's grid.
    overlap
        Dice of the body masks of CT and photographs.
    """
    in_body = photographs.voxels[..., 3] > 0
    light = np.stack([
        np.where(mask, srgb_to_lab(plane[..., :3])[..., 0], 0.0)
        for plane, mask in zip(photographs.voxels, in_body, strict=True)
    ]).astype(np.float32)  # fmt: skip
    grey = replace(photographs, voxels=light, unit="unknown")
    hu = np.ascontiguousarray(scan.voxels, np.int16)
    check()
    body = find_body(hu, scan.spacing)
    cells = (np.minimum(np.arange(n) // factor, size - 1) for n, factor, size
             in zip(hu.shape, body.factors, body.field.shape, strict=True))  # fmt: skip
    inside = body.field[np.ix_(*cells)] > 127
    outline = np.stack([ndimage.binary_fill_holes(plane) for plane in in_body])
    photographed = replace(photographs, voxels=outline.astype(np.uint8), unit="unknown")
    registration = register(
        replace(scan, voxels=np.where(inside, hu, -1000).astype(np.float32), unit="unknown"),
        grey, init="affine", model=None, refine=refine, similarity="mi",
    )  # fmt: skip
    moved = registration.forward.apply(photographs, scan)
    moved_outline = (
        np.asarray(registration.forward.apply(photographed, scan, order="nearest").voxels) > 0
    )
    overlap = 2 * (inside & moved_outline).sum() / max(inside.sum() + moved_outline.sum(), 1)
    rgba = np.asarray(moved.voxels)
    tissue = (rgba[..., 3] > 200) & inside
    return SectionPair(hu, rgba[..., :3], tissue, scan.spacing), float(overlap)


def pair_files(folder: Path, part: Part) -> list[Path]:
    """Return the sorted pair files of one part in a folder."""
    return sorted(folder.glob(f"{part}-*.npz"))


def read_pair(path: Path) -> SectionPair:
    """Read a pair file.

    Raises
    ------
    InputError
        If it cannot be read or is not a pair file.
    """
    with read_arrays(path, "a pair of CT and photographs") as data:
        z, y, x = map(float, data["spacing"])
        pair = SectionPair(data["hu"], data["rgb"], data["tissue"], (z, y, x))
    shape = pair.hu.shape
    if len(shape) != 3 or pair.rgb.shape != (*shape, 3) or pair.tissue.shape != shape:
        raise InputError(
            f"the shapes of CT {shape}, photographs {pair.rgb.shape} and tissue "
            f"{pair.tissue.shape} in '{path}' do not match"
        )
    return pair


def _pixel_mm(folder: Path) -> float:
    path = folder / SETTINGS
    if not path.is_file():
        return CT_MM
    try:
        value = json.loads(path.read_text(encoding="utf-8"))["ct_pixel_mm"]
        if isinstance(value, int | float) and 0.1 <= value <= 5:
            return float(value)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"'{path}' must contain {{\"ct_pixel_mm\": NUMBER}} between 0.1 and 5")


def _rows(pair: SectionPair, rows: slice) -> SectionPair:
    return replace(pair, hu=pair.hu[rows], rgb=pair.rgb[rows], tissue=pair.tissue[rows])


def write_pair(path: Path, pair: SectionPair) -> None:
    """Write a pair file atomically."""
    with write_whole(path, force=True) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream, hu=pair.hu, rgb=pair.rgb, tissue=pair.tissue, spacing=np.array(pair.spacing)
        )
