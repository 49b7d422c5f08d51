"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd): read by ITK in the sandbox.

ITK determines the size, type and geometry of an image and reads the voxels. This module scans the
text header for what ITK does not report: where the voxels are stored (never outside the header's
folder), the kinds of the axes, and whether the position and orientation are present at all, since
ITK silently substitutes defaults for missing values.

Sources: NRRD 5, https://teem.sourceforge.net/nrrd/format.html;
MetaIO, https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import FileError, InputError
from tomochrome.geometry.affine import compose
from tomochrome.io import sandboxed_itk
from tomochrome.io.archive import display_path
from tomochrome.io.image_file import ImageFile, check_claims, damaged
from tomochrome.io.units import MODALITIES
from tomochrome.notices import Notice
from tomochrome.runtime import report
from tomochrome.runtime.sandbox import MEMORY, SandboxError, call

_MAX_HEADER: Final = 1 << 20
_SECONDS: Final = 8.0
_BYTES_A_SECOND: Final = 10_000_000  #: for the slowest encoding (text) on a slow machine
#: spaces that ITK converts to LPS (NRRD section 3.2); "-time" adds a fourth axis
_KNOWN_SPACES: Final = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las",
    "left-posterior-superior", "lps", "rast", "last", "lpst",
}  # fmt: skip
_SEQUENCES: Final = {"list", "time", "???", "none", ""}  # axis kinds that enumerate volumes
_MM: Final = {"mm": 1.0, "um": 0.001, "µm": 0.001, "cm": 10.0, "m": 1000.0, "": 1.0, "?": 1.0}
_META_MODALITIES: Final = {f"MET_MOD_{code}": code for code in ("CT", "MR", "NM", "US")}
_POSITIONS: Final = ("Offset", "Position", "Origin")
_DIRECTIONS: Final = ("TransformMatrix", "Rotation", "Orientation")
_SPACINGS: Final = ("ElementSpacing", "ElementSize")
_NO_ORIENTATION: Final = Notice(
    "geometry",
    "warning",
    "the file stores no orientation; its axes are taken as left, posterior and superior",
)
_NO_SPACING: Final = Notice("geometry", "warning", "the file stores no voxel size; taken as 1 mm")


@dataclass(frozen=True)
class _Header:
    """The fields of a text header, and the offset of its end."""

    fields: dict[str, str] = field(default_factory=dict)  #: NRRD keys in lowercase without blanks
    pairs: dict[str, str] = field(default_factory=dict)  #: NRRD key/value pairs
    end: int = 0

    def first(self, *names: str, default: str = "") -> str:
        """Return the value of the first of these fields that is present."""
        return next((self.fields[name] for name in names if name in self.fields), default)


@dataclass(frozen=True)
class _Layout:
    """What the reader needs from a text header."""

    data: Path
    start: int  #: byte offset of the voxels
    packed: bool  #: whether the stored size differs from the size in memory
    deflated: str  #: the image format if the voxels are a gzip or zlib stream, else empty
    modality: str
    unit: str  #: unit of positions
    warnings: tuple[Notice, ...]
    kinds: tuple[str, ...] = ()  #: kinds of the NRRD axes
    pairs: dict[str, str] = field(default_factory=dict)
    header: str = ""  #: replacement header for ITK, or empty


def open_itk(path: Path, kind: str) -> ImageFile:
    """Read and validate the header of a NRRD or MetaImage file.

    Parameters
    ----------
    path
        A ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.
    kind
        ``"nrrd"`` or ``"metaimage"``.

    Raises
    ------
    InputError
        If it is damaged, claims more data than the file can hold, does not describe a volume, or
        its data file is missing or outside its folder.
    Cancelled
        If the task was cancelled.
    """
    where = display_path(path)
    try:
        header = _scan(path, is_nrrd=kind == "nrrd")
        layout = (_nrrd_layout if kind == "nrrd" else _meta_layout)(path, header)
        seen = call(sandboxed_itk.image_information, str(path.absolute()), seconds=_SECONDS)
        return _image(path, kind, layout, seen)
    except (OSError, KeyError, ValueError, SandboxError) as error:
        raise damaged(where, kind.upper()) from error


def _scan(path: Path, *, is_nrrd: bool) -> _Header:
    """Parse a header up to the first empty line (NRRD) or ElementDataFile (MetaImage)."""
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER)
    fields, pairs, end = dict[str, str](), dict[str, str](), 0
    while end < len(head):
        stop = head.find(b"\n", end)
        stop = len(head) if stop < 0 else stop
        line = head[end:stop].decode("utf-8", "replace").rstrip("\r")
        end = min(stop + 1, len(head))
        if is_nrrd and not line:
            return _Header(fields, pairs, end)
        if is_nrrd and line.startswith(("#", "NRRD0")):
            continue
        key, pair, value = line.partition(":=" if is_nrrd else "=")
        if is_nrrd and pair:
            pairs[key] = value
            continue
        key, sign, value = line.partition(":" if is_nrrd else "=")
        if not sign and key.strip():
            raise ValueError("a line that is no field")
        fields[key.strip().lower().replace(" ", "") if is_nrrd else key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return _Header(fields, pairs, end)
    if not is_nrrd or len(head) == _MAX_HEADER:
        raise ValueError("a header without an end")
    return _Header(fields, pairs, end)  # a detached header may end without an empty line


def _nrrd_layout(path: Path, header: _Header) -> _Layout:
    where, encoding = display_path(path), header.first("encoding", default="raw").lower()
    if encoding in ("bzip2", "bz2"):
        fault = "is compressed with bzip2, which ITK does not read"
        raise FileError(where, fault, "save it as gzip")
    name = header.first("datafile")
    space = header.first("space").lower().removesuffix("-time")
    warnings: tuple[Notice, ...] = ()
    if not space:
        warnings = (_NO_ORIENTATION,)
    elif space not in _KNOWN_SPACES:
        text = (
            "the file does not define its axes in patient coordinates; they are taken as "
            "left, posterior and superior"
        )
        warnings = (Notice("geometry", "warning", text),)
    if not _has_spacing(header):
        warnings = (*warnings, _NO_SPACING)
    modality = header.pairs.get("modality", header.pairs.get("DICOM_0008_0060", "")).strip()
    return _Layout(
        data=_data_file(path, name) if "datafile" in header.fields else path,
        start=0 if "datafile" in header.fields else header.end,
        packed=encoding != "raw",
        deflated="nrrd" if encoding in ("gzip", "gz") else "",
        modality=modality if modality in MODALITIES else "unknown",
        unit=header.first("spaceunits").partition('" "')[0].strip('" '),
        warnings=warnings,
        kinds=tuple(header.first("kinds").lower().split()),
        pairs=header.pairs,
    )


def _has_spacing(header: _Header) -> bool:
    """Whether a NRRD gives a voxel size for three axes (the others are marked NaN or none)."""
    vectors = re.findall(r"\(([^)]*)\)", header.first("spacedirections"))
    spacings = [[word] for word in header.first("spacings").split()]
    return any(
        sum(_is_length(parts) for parts in axes) >= 3
        for axes in ([vector.split(",") for vector in vectors], spacings)
    )


def _is_length(parts: list[str]) -> bool:
    length = math.hypot(*(float(part) for part in parts))
    return math.isfinite(length) and length > 0


def _meta_layout(path: Path, header: _Header) -> _Layout:
    where, name = display_path(path), header.fields["ElementDataFile"]
    dims = int(header.fields["NDims"])
    if not _true(header.first("BinaryData", default="True")):
        raise FileError(where, "stores its voxels as text", "save it in binary form")
    sizes = _numbers(header, ("DimSize",), dims)
    if sizes is None or min(sizes) < 1:
        raise ValueError("no sizes")
    _numbers(header, _POSITIONS, dims)
    warnings: tuple[Notice, ...] = ()
    if _numbers(header, _DIRECTIONS, dims * dims) is None:
        warnings = (_NO_ORIENTATION,)
    spacing = _numbers(header, _SPACINGS, dims)
    if spacing is None:
        warnings = (*warnings, _NO_SPACING)
    elif min(spacing) <= 0:
        raise ValueError("voxels without extent")
    local = name.upper() == "LOCAL"
    data = path if local else _data_file(path, name)
    start = header.end if local else max(int(header.first("HeaderSize", default="0")), 0)
    deflated = _true(header.first("CompressedData"))
    is_unsized = deflated and "CompressedDataSize" not in header.fields
    return _Layout(
        data=data,
        start=start,
        packed=deflated,
        deflated="metaimage" if deflated else "",
        header=_with_size(header, data, start) if is_unsized else "",
        modality=_META_MODALITIES.get(header.first("Modality"), "unknown"),
        unit=header.first("DistanceUnits"),
        warnings=warnings,
    )


def _with_size(header: _Header, data: Path, start: int) -> str:
    """Return a header with CompressedDataSize; without it ITK ignores the data offset."""
    places = {
        "HeaderSize": str(start),
        "CompressedDataSize": str(data.stat().st_size - start),
        "ElementDataFile": str(data.absolute()),
    }
    fields = {key: value for key, value in header.fields.items() if key not in places} | places
    return "".join(f"{key} = {value}\n" for key, value in fields.items())


def _numbers(header: _Header, names: tuple[str, ...], count: int) -> list[float] | None:
    """Return the numbers of a field; ITK would accept an incomplete list."""
    text = header.first(*names)
    if not text:
        return None
    values = [float(word) for word in text.split()]
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError("impossible numbers")
    return values


def _true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _data_file(header: Path, name: str) -> Path:
    """Return the data file that a header names; it must exist below the header's folder."""
    where, windows = display_path(header), PureWindowsPath(name)
    if (
        PurePosixPath(name).is_absolute()
        or windows.anchor
        or ".." in windows.parts
        or any(ord(letter) < 32 for letter in name)
    ):
        raise FileError(
            where,
            f"refers to the data file {name[:80]!r}, outside its own folder",
            "put both into one folder and correct the name in the header",
        )
    if not name or name.upper().startswith("LIST") or "%" in name:
        raise FileError(
            where,
            "stores its voxels in several files",
            "save it as one file (.nrrd, .mha or .nii.gz)",
        )
    path = header.parent.joinpath(*windows.parts)
    try:
        there = path.is_file()
    except OSError:  # the name is too long
        there = False
    if not there:
        raise InputError(
            f"the data file '{name[:80]}' of '{where}' is missing; copy both into one folder"
        )
    return path


def _image(path: Path, kind: str, layout: _Layout, seen: dict[str, Any]) -> ImageFile:
    where = display_path(path)
    size, components, dtype = seen["size"], seen["components"], np.dtype(seen["dtype"])
    dims = len(size)
    others = {one for one in layout.kinds if one not in ("domain", "space")}
    as_list = components > 1 and bool(others) and others <= _SEQUENCES
    if dtype == np.uint8 and components in (3, 4) and "list" not in others:
        as_list = False  # colors
    if dims < 3 or prod(size[4:]) > 1 or (as_list and prod(size[3:]) > 1):
        raise FileError(
            where,
            f"has {dims} dimensions",
            "save the three-dimensional volume that you want as a file of its own",
        )
    shape = (size[2], size[1], size[0])
    nbytes = prod(size) * components * dtype.itemsize
    stored = layout.data.stat().st_size - layout.start
    check_claims(where, shape, nbytes, 1, stored, packed=layout.packed)  # it is read whole
    affine, warnings = _affine(where, layout, seen)
    voxels = shape if components == 1 else (*shape, components)
    return ImageFile(
        path=path,
        kind=kind,
        dtype=dtype,
        components=components,
        channels=1 if as_list else components,
        shape=shape,
        volumes=components if as_list else prod(size[3:]),
        affine=affine,
        warnings=warnings,
        modality=layout.modality,
        pairs=layout.pairs,
        read=partial(_read, path, layout, nbytes, as_list, voxels),
    )


def _affine(
    where: str, layout: _Layout, seen: dict[str, Any]
) -> tuple[NDArray[np.float64], tuple[Notice, ...]]:
    """Return the affine from (z, y, x) index to LPS mm, and warnings about it."""
    dims = len(seen["size"])
    directions = np.array(seen["direction"]).reshape(dims, dims)[:3, :3]
    affine = compose(seen["origin"][:3], directions[:, ::-1], seen["spacing"][2::-1])
    warnings, factor = layout.warnings, _MM.get(layout.unit)
    if factor is None:
        text = "the file gives its positions in an unknown unit; taken as mm"
        warnings = (*warnings, Notice("geometry", "warning", text))
    elif factor != 1.0:
        affine[:3] *= factor
        text = f"positions in the file are in {layout.unit}; they were converted to mm"
        warnings = (*warnings, Notice("geometry", "info", text))
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise FileError(
            where, "has an unusable geometry: its affine is singular", "export it again"
        )
    return affine, warnings


def _read(
    path: Path,
    layout: _Layout,
    nbytes: int,
    as_list: bool,
    shape: tuple[int, ...],
    first: int,
    count: int,
) -> Iterator[NDArray[Any]]:
    """Yield consecutive volumes; all are read at once, as they may be interleaved."""
    report(0, 1, "reading")
    array = call(
        sandboxed_itk.image_voxels,
        str(path.absolute()),
        str(layout.data.absolute()),
        layout.start,
        layout.deflated,
        layout.header,
        subject=f"'{display_path(path)}'",
        memory=MEMORY + 2 * nbytes,
        seconds=_SECONDS + nbytes / _BYTES_A_SECOND,
    )
    report(1, 1, "reading")
    volumes = np.moveaxis(array, -1, 0) if as_list else array.reshape(-1, *shape)
    yield from map(np.ascontiguousarray, volumes[first : first + count])
