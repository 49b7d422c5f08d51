"""Output formats of volumes: one table for help texts, error messages and save dialogs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, get_args

from tomochrome.errors import OutputError

FOLDER: Final = "/"
LOOKS: Final = ("standard", "photograph")
"""Looks of pictures; see `tomochrome.color.photograph_look`."""
Projection = Literal["mean", "maximum", "minimum"]
PROJECTIONS: Final[tuple[Projection, ...]] = get_args(Projection)
"""Projections of slabs; see `tomochrome.color.slab`."""


@dataclass(frozen=True)
class Format:
    """An output format.

    Parameters
    ----------
    endings
        File name extensions, the default first; ``/`` for a folder.
    name
        Name in save dialogs.
    detail
        Explanation of the extension in the help of the command line.
    only_color
        Whether the format supports colored volumes only.
    package
        The Python package that it needs, beyond those that are always installed.
    extra
        The extra of this distribution that installs the package.
    """

    endings: tuple[str, ...]
    name: str
    detail: str
    only_color: bool = False
    package: str = ""
    extra: str = ""

    @property
    def ending(self) -> str:
        """The default extension."""
        return self.endings[0]

    @property
    def is_folder(self) -> bool:
        """Whether the output is a folder of files."""
        return self.ending == FOLDER

    def complete(self, path: str) -> str:
        """Return a path with an extension of this format, appended if necessary."""
        if self.is_folder:
            return path.rstrip("/" + os.sep) + FOLDER
        lower = path.lower()
        if any(lower.endswith(ending) for ending in self.endings):
            return path
        for ending in self.endings:  # some systems' save dialogs cut ".nii.gz" to ".gz"
            last = "." + ending.rpartition(".")[2]
            if last != ending and lower.endswith(last):
                return path[: -len(last)] + ending
        return path + self.ending


NIFTI: Final = Format((".nii.gz", ".nii"), "NIfTI", "colors as RGBA, or RGB if opaque")
NRRD: Final = Format((".nrrd",), "NRRD for 3D Slicer", "for 3D Slicer")
SHEET: Final = Format((".png",), "Contact sheet", "a contact sheet", only_color=True)
VIDEO: Final = Format((".mp4",), "Video", "a video of all slices", only_color=True, package="av")
GIF: Final = Format((".gif",), "Animated GIF", "an animation of all slices", only_color=True)
ZARR: Final = Format((".zarr",), "OME-Zarr", "OME-Zarr for web viewers", package="zarr")
PAGE: Final = Format(
    (".html", ".htm"), "Web page", "a page for web browsers", only_color=True,
    package="jinja2", extra="page",
)  # fmt: skip
DICOM: Final = Format((FOLDER,), "DICOM series", "DICOM")
FORMATS: Final = (NIFTI, NRRD, SHEET, VIDEO, GIF, PAGE, ZARR, DICOM)
PICTURES: Final = (SHEET, VIDEO, GIF)
LOOK_FORMATS: Final = (*PICTURES, PAGE)
"""Formats that can have another look than the standard one, because nothing is measured in them."""

COLORED_SCAN: Final = Format(
    (".tomochrome",), "Colored scan, to open again", "a colored scan that opens again",
    only_color=True,
)  # fmt: skip
"""A scan with its colors; beyond `FORMATS`, because it needs both."""

COLORED_HEADER: Final = "tomochrome.json"  #: the first file in the archive of a colored scan
COLORED_KIND: Final = "colored-scan"  #: its kind in a listing

SEGMENTS: Final = Format((".seg.nrrd",), "Segmentation for 3D Slicer", "for 3D Slicer")
SEGMENTATION: Final = Format(
    (".dcm",), "DICOM Segmentation", "DICOM Segmentation",
    package="highdicom", extra="segmentation",
)  # fmt: skip
STL: Final = Format((".stl",), "Surface, STL", "surface", package="vtk", extra="render")
PLY: Final = Format(
    (".ply",), "Surface in color, PLY", "surface in color", package="vtk", extra="render"
)
TISSUE_FORMATS: Final = (SEGMENTS, SEGMENTATION, STL, PLY)
"""Formats for tissue maps only."""


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format for the extension of a path.

    Raises
    ------
    OutputError
        If no format has this extension.
    """
    text = os.fspath(path)
    if text.endswith(("/", os.sep)):
        return DICOM
    name = Path(text).name.lower()
    for entry in (*TISSUE_FORMATS, COLORED_SCAN, *FORMATS):
        if any(name.endswith(ending) and name != ending for ending in entry.endings):
            return entry
    files = [entry.ending for entry in FORMATS if not entry.is_folder]
    raise OutputError(
        f"'{text}' does not end in a supported extension: use {', '.join(files)}, "
        "or a folder ending in / (DICOM)"
    )


def check_package(target: Format) -> None:
    """Check that the package that a format needs is installed.

    Raises
    ------
    OutputError
        If it is not.
    """
    if target.package and find_spec(target.package) is None:
        what = f'"napari-tomochrome[{target.extra}]"' if target.extra else target.package
        raise OutputError(
            f"{target.ending} needs the package {target.package}; install it with "
            f"pip install {what}, or choose another format"
        )


def extensions_help(*, color: bool = False) -> str:
    """Return a description of the formats for the help of a command.

    Parameters
    ----------
    color
        Whether the command writes colored volumes only.
    """
    files = [f"{entry.ending} ({entry.detail})" for entry in FORMATS if not entry.is_folder]
    if color:
        files.append(f"{COLORED_SCAN.ending} ({COLORED_SCAN.detail})")
    kind = "a DICOM Secondary Capture series" if color else "a DICOM series"
    return f"{', '.join(files)}, or OUT/, a folder ending in / ({kind})"
