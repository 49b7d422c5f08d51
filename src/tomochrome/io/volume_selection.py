"""Selecting a volume from a file that holds several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tomochrome.errors import ChoiceError, InputError
from tomochrome.io.archive import display_path
from tomochrome.io.series_item import Item
from tomochrome.volume import Volume

_SHOWN: Final = 8
NUMBERED: Final = re.compile(r"(?P<file>.*)#(?P<number>\d{1,9})", re.DOTALL)
"""The name of one of several volumes: ``file.nii.gz#2``, ``#2``."""


@dataclass(frozen=True)
class Part:
    """One volume of a file: the ``source`` of an item.

    Parameters
    ----------
    path
        The file.
    index, count
        Index of the volume, from 0, and number of volumes in the file.
    """

    path: Path
    index: int = 0
    count: int = 1

    @property
    def phase(self) -> str:
        """``"2 of 10"``, or empty if the file holds one volume."""
        return f"{self.index + 1} of {self.count}" if self.count > 1 else ""

    @property
    def prefix(self) -> str:
        """``"volume 2 of 10 of "``, or empty."""
        return f"volume {self.phase} of " if self.phase else ""


def name_of(path: Path, index: int) -> str:
    """Return the ``series`` argument of `read` that selects a volume of a file."""
    return f"{display_path(path)}#{index + 1}"


def choices(path: Path, count: int) -> str:
    """Return the names of the volumes in a file as a comma-separated list."""
    names = [f"'{name_of(path, index)}'" for index in range(min(count, _SHOWN))]
    more = f" and so on to '{name_of(path, count - 1)}'" if count > _SHOWN else ""
    return ", ".join(names) + more


def choose_part(path: Path, index: int | None, count: int) -> Part:
    """Return the volume of a file to read.

    Raises
    ------
    InputError
        If the file holds several volumes and ``index`` is None, or the index is out of range.
    """
    if index is None and count > 1:
        raise ChoiceError(
            f"'{display_path(path)}' holds {count} volumes in one file", choices(path, count)
        )
    if not 0 <= (index or 0) < count:
        raise InputError(
            f"'{display_path(path)}' has no volume {(index or 0) + 1}; choose one of "
            f"{choices(path, count)}"
        )
    return Part(path, index or 0, count)


def chosen(path: Path, series: str | None) -> int | None:
    """Return the index that ``series`` names, or None if it names the file or is None.

    Accepts the name of an item (``file.nii.gz#2``), its number (``#2``), and the file itself.

    Raises
    ------
    InputError
        If it names something else.
    """
    files = {str(path), display_path(path), path.name, ""}
    if series is None or series in files:
        return None
    match = NUMBERED.fullmatch(series)
    if match and match["file"] in files and int(match["number"]) > 0:
        return int(match["number"]) - 1
    raise InputError(
        f"'{display_path(path)}' contains no series '{series}'; omit it, or give the number of a "
        f"volume ('{name_of(path, 0)}')"
    )


def item_of(volume: Volume, part: Part) -> Item:
    """Return an item that describes a volume read from a file."""
    voxels, provenance = volume.voxels, volume.provenance
    return Item(
        path=provenance.source,
        kind=provenance.kind,
        modality=provenance.modality,
        phase=part.phase,
        key=name_of(part.path, part.index) if part.count > 1 else "",
        shape=volume.shape,
        spacing=volume.spacing,
        affine=volume.affine,
        value_range=(float(voxels.min()), float(voxels.max())),
        unit="HU" if volume.unit == "HU" else "unknown",
        verdict=provenance.verdict,
        warnings=provenance.warnings,
        source=part,
    )
