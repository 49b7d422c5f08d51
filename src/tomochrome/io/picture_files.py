"""Photographs and label images (PNG, JPEG, TIFF), read by Pillow in the sandbox; PNG with texts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.runtime.sandbox import SandboxError, call
from tomochrome.volume import RESTORED

if TYPE_CHECKING:
    from PIL import Image

ENDINGS: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS: Final = 64_000_000
_COLOR_MODES: Final = ("RGB", "RGBA", "LA", "PA", "P", "L", "1")
_LABEL_MODES: Final = ("L", "P", "1")


def is_photograph(path: Path) -> bool:
    """Whether a path has the file ending of a photograph; the content is not examined."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def read_photograph(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return the colors of a photograph.

    Parameters
    ----------
    path
        A PNG, JPEG or TIFF of at most 64 million pixels, 8 bits per channel. The EXIF orientation
        is applied; a color profile other than sRGB is not.

    Returns
    -------
    numpy.ndarray
        uint8 (y, x, 3), sRGB.

    Raises
    ------
    InputError
        If it cannot be read, is too large, is partly transparent, or has another pixel format
        (CMYK, more than 8 bits of grey).
    """
    return _read(path, "photograph")


def read_label_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return the values of an 8-bit grey or indexed image, such as a mask or a tissue map.

    Parameters
    ----------
    path
        A PNG or TIFF of at most 64 million pixels.

    Returns
    -------
    numpy.ndarray
        uint8 (y, x): grey levels, or the indices into a color table.

    Raises
    ------
    InputError
        If it cannot be read, is too large, or has color channels.
    """
    return _read(path, "label picture")


def is_restored(path: str | os.PathLike[str]) -> bool:
    """Return whether a picture that `read_photograph` reads says that pixels were restored."""
    return RESTORED in str(call(_comment, str(Path(path).absolute()), subject=f"'{path}'"))


def save_png(picture: Image.Image, path: Path, texts: Mapping[str, str]) -> None:
    """Write a picture as a PNG with texts, such as a ``"Comment"`` that says how it was made."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    picture.save(path, format="PNG", pnginfo=info)


def _comment(path: str) -> str:
    """Return the comment of a picture; runs in the sandbox."""
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        return str(image.info.get("Comment", ""))


def _read(path: str | os.PathLike[str], kind: str) -> NDArray[np.uint8]:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file '{path}'")
    try:
        pixels = call(_pixels, str(path.absolute()), kind, subject=f"'{path}'")
    except SandboxError as error:
        raise InputError(
            f"'{path}' cannot be read as a {kind}: it is damaged, truncated, or not a "
            "PNG, JPEG or TIFF file"
        ) from error
    return np.asarray(pixels, np.uint8)


def _pixels(path: str, kind: str) -> NDArray[Any]:
    """Return the pixels; runs in the sandbox."""
    from PIL import Image, ImageOps

    name = Path(path).name
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"'{name}' has {image.width} x {image.height} pixels, and at most "
                f"{MAX_PIXELS // 10**6} million are read; save a smaller copy"
            )
        allowed = _COLOR_MODES if kind == "photograph" else _LABEL_MODES
        if image.mode not in allowed:
            accepted = "8-bit sRGB" if kind == "photograph" else "8-bit grey or with a color table"
            raise InputError(
                f"'{name}' is a {kind} of mode {image.mode}; save it as {accepted} (PNG)"
            )
        upright = ImageOps.exif_transpose(image)
        if kind != "photograph":
            return np.array(upright, np.uint8)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            if np.asarray(upright)[..., 3].min() < 255:
                raise InputError(
                    f"'{name}' is partly transparent, so some of its colors are unknown; save it "
                    "without transparency"
                )
        return np.array(upright.convert("RGB"), np.uint8)
