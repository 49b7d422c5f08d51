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
from scipy import ndimage

from tomochrome.color.convert import srgb_to_lab
from tomochrome.errors import InputError
from tomochrome.io.photograph import read_photograph
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
_MOST_HEADER: Final = 16384
_GEL_B: Final = -6.0  # b* below which a pixel is blue gel
_LEAST_PART: Final = 0.004  # minimum share of the image for a component of body or gel
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
    found = _numbered(folder, _SLICE, lambda _: 0.0)
    kinds = sorted({slice_.path.suffix.lower() for slice_ in found} & {".fre", ".fro"})
    if len(kinds) > 1:
        raise InputError(
            f"'{folder}' holds fresh (.fre) and frozen (.fro) CT slices, which are two scans; keep "
            "one kind in a folder"
        )
    return found


def _numbered(
    folder: Path, pattern: re.Pattern[str], more: Callable[[re.Match[str]], float]
) -> list[NumberedFile]:
    found = [
        NumberedFile(path, int(match[1]) + more(match))
        for path in sorted(folder.rglob("*"))
        if (match := pattern.fullmatch(path.name))
    ]
    return sorted(found, key=lambda item: item.depth_mm)


def read_section(path: Path) -> NDArray[np.uint8]:
    """Read a color section: uint8 (1216, 2048, 3), sRGB, rows from posterior to anterior.

    Raises
    ------
    InputError
        If it cannot be read, or has another size.
    """
    if path.suffix.lower() != ".raw":
        rgb = read_photograph(path)
        if rgb.shape != (HEIGHT, WIDTH, 3):
            raise InputError(
                f"'{path}' has {rgb.shape[1]} x {rgb.shape[0]} pixels, but a section of the "
                f"Visible Human has {WIDTH} x {HEIGHT}"
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
            if not 0 <= header <= _MOST_HEADER:
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
    from PIL import Image

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
    wanted = np.arange(depths[0], depths[-1] + 0.5)
    hu = np.empty((len(wanted), CT_SIZE, CT_SIZE), np.int16)
    for k, depth in enumerate(wanted):
        after = min(int(np.searchsorted(depths, depth)), len(depths) - 1)
        before = max(after - 1, 0) if depths[after] > depth else after
        gap = max(depths[after] - depths[before], 1e-6)
        share = (depth - depths[before]) / gap if after != before else 0.0
        hu[k] = np.rint(planes[before] * (1 - share) + planes[after] * share) + offset
    middle = -pixel_mm * (CT_SIZE - 1) / 2
    affine = default_affine((1.0, pixel_mm, pixel_mm), (-float(wanted[-1]), middle, middle))
    return Volume(hu[::-1], affine, "HU", Provenance("Visible Human", "raw", "CT"))


def clean_section(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """White-balance a section by the Kodak grey scale, and segment the tissue in the gel.

    Parameters
    ----------
    rgb
        uint8 (y, x, 3), the original photograph.

    Returns
    -------
    rgb
        uint8 (y, x, 3); unchanged if no grey scale is found.
    tissue
        bool (y, x): the body without gel in cavities.
    """
    small = srgb_to_lab(rgb[::2, ::2])
    gel = small[..., 2] < _GEL_B
    body = body_in_gel(gel)
    gains = grey_scale_gains(rgb[::2, ::2], small, gel | body)
    tissue = np.repeat(np.repeat(body & ~gel, 2, 0), 2, 1)[: rgb.shape[0], : rgb.shape[1]]
    if gains is None:
        return rgb, tissue
    levels = _linear(np.arange(256) / 255)
    tables = [np.rint(255 * _gamma(np.clip(levels * gain, 0, 1))) for gain in gains]
    balanced = [table.astype(np.uint8)[rgb[..., c]] for c, table in enumerate(tables)]
    return np.stack(balanced, axis=-1), tissue


def body_in_gel(gel: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the body inside the frozen block, with enclosed gel filled.

    The block is the region between gel above and below, because arms may touch its sides and the
    grey scale is below it.

    Parameters
    ----------
    gel
        bool (y, x).

    Returns
    -------
    ndarray
        bool (y, x).
    """
    block = _large_parts(ndimage.binary_opening(gel))
    inside = ~block
    inside &= np.logical_or.accumulate(block, 0)
    inside &= np.logical_or.accumulate(block[::-1], 0)[::-1]
    return np.asarray(ndimage.binary_fill_holes(_large_parts(ndimage.binary_opening(inside))))


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected components of a mask that cover at least `_LEAST_PART` of the image."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.isin(labels, np.flatnonzero(sizes >= _LEAST_PART * mask.size))


def grey_scale_gains(
    rgb: NDArray[np.uint8], lab: NDArray[np.float32], block: NDArray[np.bool_]
) -> tuple[float, float, float] | None:
    """Return the white-balance gains of linear red, green and blue, or None without a grey scale.

    The grey scale is the nearly colorless component outside the frozen block with the widest range
    of L*. The gain of green is 1.

    Parameters
    ----------
    rgb, lab
        The section, (y, x, 3).
    block
        bool (y, x): gel and body.
    """
    plain = (np.hypot(lab[..., 1], lab[..., 2]) < 14) & ~block & (lab[..., 0] > 12)
    labels, _ = ndimage.label(ndimage.binary_closing(plain, iterations=2))
    best, widest = 0, 40.0
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        L = lab[place][..., 0][labels[place] == label]
        if L.size >= 0.0008 * block.size:
            low, high = np.percentile(L, (5, 95))
            if high - low > widest:
                best, widest = label, float(high - low)
    if not best:
        return None
    patch = rgb[(labels == best) & plain].astype(np.float64)
    used = patch[(patch.max(axis=1) < 245) & (patch.min(axis=1) > 20)] / 255
    if len(used) < 50:
        return None
    red, green, blue = _linear(used).T
    return float(np.median(green / red)), 1.0, float(np.median(green / blue))


def _linear(values: NDArray[np.floating]) -> NDArray[np.float64]:
    low = values <= 0.04045
    return np.asarray(np.where(low, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def _gamma(values: NDArray[np.floating]) -> NDArray[np.float64]:
    low = values <= 0.0031308
    return np.asarray(np.where(low, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055))


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
    wanted = np.arange(np.ceil(depths[0]), np.floor(depths[-1]) + 0.5)
    rows, columns = HEIGHT // _REDUCE, WIDTH // _REDUCE
    out = np.zeros((len(wanted), rows, columns, 4), np.uint8)
    for k, depth in enumerate(wanted):
        check()
        report(k, len(wanted), "reading the color sections")
        nearest = int(np.abs(depths - depth).argmin())
        if abs(depths[nearest] - depth) > 0.7:
            continue  # a missing section stays without tissue
        rgb, tissue = clean_section(read_section(sections[nearest].path))
        blocks = rgb[: rows * _REDUCE, : columns * _REDUCE].reshape(
            rows, _REDUCE, columns, _REDUCE, 3
        )
        known = tissue[: rows * _REDUCE, : columns * _REDUCE].reshape(rows, _REDUCE, columns, -1)
        out[k, ..., :3] = np.rint(blocks.mean(axis=(1, 3)))
        out[k, ..., 3] = 255 * (known.mean(axis=(1, 3)) > 0.6)
    mm = SECTION_MM * _REDUCE
    origin = (-float(wanted[-1]), -mm * (rows - 1) / 2, -mm * (columns - 1) / 2)
    voxels = np.ascontiguousarray(out[::-1, ::-1])  # to superior and posterior
    return Volume(
        voxels, default_affine((1.0, mm, mm), origin), "RGBA", Provenance("Visible Human")
    )
