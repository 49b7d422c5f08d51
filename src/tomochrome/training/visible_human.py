"""Reading the original files of the Visible Human Project (National Library of Medicine).

Color sections are 2048 x 1216 pixels of 0.33 mm: ``a_vm1001.raw`` (male, one per mm) or
``avf1001a.raw`` (female; a, b and c, three per mm), either three 8-bit planes (red, green, blue) or
a PNG of the same name. CT slices are ``c_vm1001.fre`` (fresh), ``c_vm1001.fro`` (frozen) or
``c_vf1001.fre``, 512 x 512 big-endian 16-bit pixels after a header, or 16-bit PNG. The number is
the distance from the head in mm. Columns run to the patient's left; in a section, rows run to
anterior.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomochrome.errors import InputError
from tomochrome.io.picture_files import read_photograph
from tomochrome.io.section_photograph import clean_section
from tomochrome.runtime import check, report
from tomochrome.runtime.sandbox import SandboxError, call
from tomochrome.volume import Provenance, Volume, default_affine

WIDTH, HEIGHT = 2048, 1216
SECTION_MM: Final = 0.33
CT_SIZE: Final = 512
CT_MM: Final = 0.9375
"""Default size of a CT pixel: a field of view of 480 mm."""
_SECTION = re.compile(r"(?:a_vm|avf)(\d{4})([abc]?)\.(?:raw|png)", re.IGNORECASE)
_SLICE = re.compile(r"c_?v[mf](\d{4})[a-z]?\.(?:fre|fro|raw|png)", re.IGNORECASE)
_MAX_HEADER: Final = 16384
_MAX_REDUCTION: Final = 4  # of the pixels of a section along each axis
_REDUCE: Final = 3  # downsampling factor of a section, to about 1 mm


@dataclass(frozen=True)
class NumberedFile:
    """A file and its distance from the head in mm."""

    path: Path
    depth_mm: float


def find_sections(folder: Path) -> list[NumberedFile]:
    """Return the color sections in a folder and its subfolders, from the head downwards."""
    thirds = {"": 0.0, "a": 0.0, "b": 1 / 3, "c": 2 / 3}
    return _numbered(folder, _SECTION, lambda match: thirds[match[2].lower()])


def find_slices(folder: Path) -> list[NumberedFile]:
    """Return the CT slices in a folder and its subfolders, from the head downwards.

    Raises
    ------
    InputError
        If there are fresh and frozen slices, which are two scans.
    """
    slices = _numbered(folder, _SLICE, lambda _: 0.0)
    kinds = sorted({slice_.path.suffix.lower() for slice_ in slices} & {".fre", ".fro"})
    if len(kinds) > 1:
        raise InputError(
            f"'{folder}' holds fresh (.fre) and frozen (.fro) CT slices, which are two scans; keep "
            "one kind in a folder"
        )
    return slices


def _numbered(
    folder: Path, pattern: re.Pattern[str], more: Callable[[re.Match[str]], float]
) -> list[NumberedFile]:
    sections = [
        NumberedFile(path, int(match[1]) + more(match))
        for path in sorted(folder.rglob("*"))
        if (match := pattern.fullmatch(path.name))
    ]
    return sorted(sections, key=lambda item: item.depth_mm)


def read_section(path: Path) -> NDArray[np.uint8]:
    """Read a color section: uint8 (1216, 2048, 3), sRGB, rows from posterior to anterior.

    A PNG may also be smaller by a whole factor, up to 4; see
    `section_pixel_mm`.

    Raises
    ------
    InputError
        If it cannot be read, or has another size.
    """
    if path.suffix.lower() != ".raw":
        rgb = read_photograph(path)
        factor = WIDTH // rgb.shape[1]
        if not 1 <= factor <= _MAX_REDUCTION or rgb.shape != (HEIGHT // factor, WIDTH // factor, 3):
            raise InputError(
                f"'{path}' has {rgb.shape[1]} x {rgb.shape[0]} pixels, but a section of the "
                f"Visible Human has {WIDTH} x {HEIGHT}, or a half, a third or a quarter of them"
            )
        return rgb
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror})") from error
    if data.size != 3 * WIDTH * HEIGHT:
        raise InputError(
            f"'{path}' has {data.size} bytes, but a section of the Visible Human has "
            f"{3 * WIDTH * HEIGHT}; decompress it (.Z), or download it again"
        )
    return np.ascontiguousarray(np.moveaxis(data.reshape(3, HEIGHT, WIDTH), 0, -1))


def section_pixel_mm(rgb: NDArray[np.uint8]) -> float:
    """Return the pixel size of a section in mm, which follows from its width."""
    return SECTION_MM * WIDTH / rgb.shape[1]


def read_slice(path: Path) -> NDArray[np.int16]:
    """Read a CT slice: int16 (512, 512) stored values, rows from anterior to posterior.

    Raises
    ------
    InputError
        If it cannot be read, or has another size.
    """
    size = 2 * CT_SIZE * CT_SIZE
    try:
        if path.suffix.lower() == ".png":
            values = np.asarray(call(_png_values, str(path.absolute()), subject=f"'{path}'"))
        else:
            data = path.read_bytes()
            header = len(data) - size
            if not 0 <= header <= _MAX_HEADER:
                raise InputError(
                    f"'{path}' has {len(data)} bytes, but a CT slice of the Visible Human has "
                    f"{size} and a header; decompress it (.Z), or download it again"
                )
            values = np.frombuffer(data, ">i2", offset=header).reshape(CT_SIZE, CT_SIZE)
    except (OSError, SandboxError) as error:
        raise InputError(f"'{path}' cannot be read as a CT slice; download it again") from error
    if values.shape != (CT_SIZE, CT_SIZE) or values.dtype.kind not in "iu":
        raise InputError(
            f"'{path}' holds {values.dtype} pixels of shape {values.shape}, but a CT slice of the "
            f"Visible Human has {CT_SIZE} x {CT_SIZE} pixels of 16 bits"
        )
    return np.clip(values, -32768, 32767).astype(np.int16)


def _png_values(path: str) -> NDArray[np.int32]:
    """Return the values of a 16-bit PNG; runs in the sandbox."""
    with Image.open(path, formats=("PNG",)) as image:
        if image.size != (CT_SIZE, CT_SIZE):
            raise InputError(f"'{Path(path).name}' does not have {CT_SIZE} x {CT_SIZE} pixels")
        return np.asarray(image, np.int32)


def read_ct(slices: Sequence[NumberedFile], pixel_mm: float = CT_MM) -> Volume:
    """Read CT slices as a volume in HU with 1 mm between slices; missing slices are interpolated.

    Parameters
    ----------
    slices
        At least two slices from `find_slices`.
    pixel_mm
        Pixel size in mm.

    Raises
    ------
    InputError
        If there are too few, a slice cannot be read, or the values are not those of a CT.
    """
    if len(slices) < 2:
        raise InputError("an import needs at least two CT slices of the Visible Human")
    planes = []
    for done, item in enumerate(slices):
        check()
        report(done, len(slices), "reading the CT")
        planes.append(read_slice(item.path))
    # the most frequent value is air: it shows whether stored values start at 0 or at -1024
    values, counts = np.unique(np.stack(planes), return_counts=True)
    air = int(values[counts.argmax()])
    if -200 <= air <= 200:
        offset = -1024
    elif -1300 <= air <= -800:
        offset = 0
    else:
        raise InputError(
            f"the most frequent value in the CT slices, {air}, cannot be air; they are not CT of "
            "the Visible Human"
        )
    depths = np.array([item.depth_mm for item in slices])
    depths_mm = np.arange(depths[0], depths[-1] + 0.5)
    hu = np.empty((len(depths_mm), CT_SIZE, CT_SIZE), np.int16)
    for k, depth in enumerate(depths_mm):
        after = min(int(np.searchsorted(depths, depth)), len(depths) - 1)
        before = max(after - 1, 0) if depths[after] > depth else after
        gap = max(depths[after] - depths[before], 1e-6)
        share = (depth - depths[before]) / gap if after != before else 0.0
        hu[k] = np.rint(planes[before] * (1 - share) + planes[after] * share) + offset
    middle = -pixel_mm * (CT_SIZE - 1) / 2
    affine = default_affine((1.0, pixel_mm, pixel_mm), (-float(depths_mm[-1]), middle, middle))
    return Volume(hu[::-1], affine, "HU", Provenance("Visible Human", "raw", "CT"))


def read_photographs(sections: Sequence[NumberedFile]) -> Volume:
    """Read color sections as an RGBA volume of about 1 mm, with alpha as the tissue mask.

    Parameters
    ----------
    sections
        Sections from `find_sections`; the nearest one is used for each millimeter.

    Raises
    ------
    InputError
        If there are none, or one cannot be read.
    """
    if not sections:
        raise InputError("there are no color sections of the Visible Human to import")
    depths = np.array([item.depth_mm for item in sections])
    depths_mm = np.arange(np.ceil(depths[0]), np.floor(depths[-1]) + 0.5)
    rows, columns = HEIGHT // _REDUCE, WIDTH // _REDUCE
    out = np.zeros((len(depths_mm), rows, columns, 4), np.uint8)
    for k, depth in enumerate(depths_mm):
        check()
        report(k, len(depths_mm), "reading the color sections")
        nearest = int(np.abs(depths - depth).argmin())
        if abs(depths[nearest] - depth) > 0.7:
            continue  # a missing section stays without tissue
        rgb, tissue = clean_section(read_section(sections[nearest].path))
        factor = WIDTH // rgb.shape[1]
        rgb = rgb.repeat(factor, 0).repeat(factor, 1)
        tissue = tissue.repeat(factor, 0).repeat(factor, 1)
        blocks = rgb[: rows * _REDUCE, : columns * _REDUCE].reshape(
            rows, _REDUCE, columns, _REDUCE, 3
        )
        in_body = tissue[: rows * _REDUCE, : columns * _REDUCE].reshape(rows, _REDUCE, columns, -1)
        out[k, ..., :3] = np.rint(blocks.mean(axis=(1, 3)))
        out[k, ..., 3] = 255 * (in_body.mean(axis=(1, 3)) > 0.6)
    mm = SECTION_MM * _REDUCE
    origin = (-float(depths_mm[-1]), -mm * (rows - 1) / 2, -mm * (columns - 1) / 2)
    voxels = np.ascontiguousarray(out[::-1, ::-1])  # to superior and posterior
    return Volume(
        voxels, default_affine((1.0, mm, mm), origin), "RGBA", Provenance("Visible Human")
    )
