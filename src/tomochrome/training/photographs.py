"""Training on color photographs without CT: the grey values are computed from the colors.

This is the usual setup of the colorization literature. Each photograph becomes a pair file (see
`tomochrome.training.section_pairs`) of one slice, with the HU that the configuration's only window
shows as that grey.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveFloat, ValidationError

from tomochrome.color.convert import srgb_to_lab
from tomochrome.colorization.reference_photograph import foreground
from tomochrome.errors import InputError, OptionError
from tomochrome.io.picture_files import is_photograph, read_photograph
from tomochrome.runtime import check, report, write_whole
from tomochrome.training.config import RULES, validation_message
from tomochrome.training.folder import make_folder
from tomochrome.training.section_pairs import (
    SHARES,
    Part,
    SectionPair,
    import_visible_human,
    pair_files,
    write_pair,
)
from tomochrome.training.visible_human import find_slices

SETTINGS: Final = "photographs.json"
_NTSC: Final = (0.299, 0.587, 0.114)
_LONG_SIDE_MM: Final = 400.0
_AIR_HU: Final = -1000


class PhotographSettings(BaseModel):
    """The file ``photographs.json`` in a folder of photographs.

    Parameters
    ----------
    pixel_mm
        Pixel size in mm; by default the longer side of each photograph is assumed to be 400 mm.
    grey
        ``"ntsc"``: Y = 0.299 R + 0.587 G + 0.114 B of the stored values; ``"lightness"``: L*.
    """

    model_config = RULES

    pixel_mm: PositiveFloat | None = None
    grey: Literal["ntsc", "lightness"] = "ntsc"


def find_photographs(folder: Path) -> list[Path]:
    """Return the photographs in a folder and its subfolders, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_photograph(path))


def find_pairs(data: Path, imported: Path, windows: tuple[tuple[float, float], ...]) -> Path:
    """Return the folder of pair files: the data folder, or the folder it was imported into.

    Parameters
    ----------
    data
        Folder of pair files, Visible Human files, or photographs.
    imported
        Folder for the imported pair files; if it has any, nothing is imported.
    windows
        As for `import_photographs`.

    Raises
    ------
    TomochromeError
        If nothing can be imported.
    """
    if pair_files(data, "learn"):
        return data
    if not pair_files(imported, "learn"):
        with write_whole(imported, force=True) as whole:  # a next try must not take a part for all
            if find_slices(data) or not find_photographs(data):
                import_visible_human(data, whole)
            else:
                import_photographs(data, whole, windows)
    return imported


def import_photographs(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    windows: tuple[tuple[float, float], ...],
    seed: int = 1,
) -> int:
    """Write a pair file for each photograph of a folder, split by `SHARES`.

    Blue gel and a black or white background become air.

    Parameters
    ----------
    data
        Folder of PNG, JPEG or TIFF files, optionally with `PhotographSettings`.
    out
        Folder for the pair files.
    windows
        Center and width in HU of the network's only window.
    seed
        Seed of the split.

    Returns
    -------
    int
        Number of photographs.

    Raises
    ------
    OptionError
        If there are several windows, as one grey value determines the HU of one window only.
    InputError
        If there are fewer than three photographs, or one cannot be read.
    OutputError
        If the files cannot be written.
    """
    folder = Path(data)
    if len(windows) != 1:
        raise OptionError(
            "photographs without CT have one grey: give 'windows' a single center and width"
        )
    paths = find_photographs(folder)
    if len(paths) < len(SHARES):
        raise InputError(
            f"'{folder}' holds {len(paths)} photographs (PNG, JPEG, TIFF); at least {len(SHARES)} "
            "are needed: for training, validation and test"
        )
    settings = _settings(folder)
    target = make_folder(out)
    order = np.random.default_rng(seed).permutation(len(paths))
    for place, k in enumerate(order):
        check()
        report(place, len(paths), "reading photographs")
        pair = as_pair(read_photograph(paths[k]), windows[0], settings)
        write_pair(target / f"{_part(place, len(paths))}-{k:04d}.npz", pair)
    return len(paths)


def as_pair(
    photograph: NDArray[np.uint8], window: tuple[float, float], settings: PhotographSettings
) -> SectionPair:
    """Return a photograph as a pair: its colors, and the HU that the window shows as its grey.

    Parameters
    ----------
    photograph
        uint8 (y, x, 3), sRGB.
    window
        Center and width in HU.
    settings
        Pixel size and definition of grey.
    """
    lab = srgb_to_lab(photograph)
    tissue = foreground(lab)
    if settings.grey == "lightness":
        grey: NDArray[Any] = lab[..., 0] / 100.0
    else:
        grey = photograph @ np.array(_NTSC) / 255.0
    center, width = window
    hu = np.where(tissue, np.rint(center + (grey - 0.5) * width), _AIR_HU)
    pixel = settings.pixel_mm or _LONG_SIDE_MM / max(tissue.shape)
    return SectionPair(
        hu[None].astype(np.int16), photograph[None], tissue[None], (pixel, pixel, pixel)
    )


def _part(place: int, count: int) -> Part:
    """Return the part of a photograph by its place in the shuffled order; each part has one."""
    test = max(1, round(count * SHARES["test"]))
    validate = max(1, round(count * SHARES["validate"]))
    return "test" if place < test else "validate" if place < test + validate else "learn"


def _settings(folder: Path) -> PhotographSettings:
    path = folder / SETTINGS
    if not path.is_file():
        return PhotographSettings()
    try:
        return PhotographSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read") from error
    except ValidationError as error:
        raise InputError(
            validation_message(error.errors()[0], f"'{path}'", PhotographSettings)
        ) from error
