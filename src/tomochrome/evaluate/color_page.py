"""An HTML page that compares colorings with the truth: images, figures, reliability diagrams."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.hatch import hatched
from tomochrome.color.palettes import Palette
from tomochrome.evaluate.color_truth import ColorTruth
from tomochrome.windowing import Window, luminance, parse_window

_SLICES = 4
_SIDE = 120  # size of a reliability diagram in pixels
_COLUMNS = (
    ("ciede2000", "CIEDE2000", 1),
    ("ciede2000_median", "median", 1),
    ("ciede2000_p95", "95th percentile", 1),
    ("chroma_error", "chroma error", 1),
    ("psnr", "PSNR (dB)", 1),
    ("ssim", "SSIM", 3),
    ("colorfulness", "colorfulness", 1),
    ("flicker", "flicker", 2),
    ("seconds_per_slice", "s/slice", 3),
)
_STYLE = (
    "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .7em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}figure{display:inline-block;margin:.3em}"
    "figcaption{font-size:.8em}img{image-rendering:pixelated;max-width:20em}"
)

Picture = NDArray[np.uint8]


def shown_slices(truth: ColorTruth) -> list[int]:
    """Return the indices of at most four slices to show, evenly spread over those with truth."""
    known = [k for k, index in enumerate(truth.index) if truth.known[index].any()]
    places = np.linspace(0, len(known) - 1, min(_SLICES, len(known)) + 2)[1:-1]
    return sorted({known[round(place)] for place in places}) if known else []


def grey_and_truth(
    hu: NDArray[Any],
    truth: ColorTruth,
    window: str | Window = "soft-tissue",
    restored: NDArray[np.bool_] | None = None,
) -> list[dict[str, Picture]]:
    """Return the images ``grey`` and ``truth`` of each shown slice, uint8 (y, x, 3).

    Parameters
    ----------
    hu
        (z, y, x) in HU.
    truth
        The true colors on its grid; unknown colors are shown in grey.
    window
        Window of both images.
    restored
        Voxels that were restored (`Volume.restored`), which are hatched.
    """
    window = parse_window(window)
    rows = []
    for k in shown_slices(truth):
        light, index = luminance(hu[k], window), truth.index[k]
        ab = np.where(truth.known[index][..., None], truth.colors[index], 0.0)
        pictures = {"grey": _lit(light, ab * 0.0), "truth": _lit(light, ab)}
        rows.append({name: hatched(p, _at(restored, k)) for name, p in pictures.items()})
    return rows


def add_model(
    rows: Sequence[dict[str, Picture]],
    chroma: Chroma,
    hu: NDArray[Any],
    truth: ColorTruth,
    palette_name: str | Palette = "natural",
    window: str | Window = "soft-tissue",
    restored: NDArray[np.bool_] | None = None,
) -> None:
    """Add the images of one coloring, under its model's name, to those of `grey_and_truth`."""
    window = parse_window(window)
    for row, k in zip(rows, shown_slices(truth), strict=True):
        picture = _lit(luminance(hu[k], window), chroma.ab(palette_name, k))
        row[chroma.model] = hatched(picture, _at(restored, k))


def _at(restored: NDArray[np.bool_] | None, k: int) -> NDArray[np.bool_] | None:
    return None if restored is None else restored[k]


def color_page(rows: Sequence[Mapping[str, Picture]], figures: Sequence[Mapping[str, Any]]) -> str:
    """Return a self-contained HTML page with embedded images and no scripts.

    Parameters
    ----------
    rows
        Images by title, for each slice.
    figures
        `ColorFigures` of each model as plain data.

    Returns
    -------
    str
        The page; it contains no file names and no patient data.
    """
    heads = "".join(f"<th>{escape(head)}</th>" for _, head, _ in _COLUMNS)
    lines = "".join(
        f"<tr><td>{escape(str(each['model']))}</td>"
        + "".join(f"<td>{_cell(each, name, digits)}</td>" for name, _, digits in _COLUMNS)
        + "</tr>"
        for each in figures
    )
    pictures = "".join(
        "<div>"
        + "".join(_figure(f'<img alt="" src="{_embedded(row[name])}">', name) for name in row)
        + "</div>"
        for row in rows
    )
    diagrams = "".join(
        _figure(_diagram(each["calibration"]), str(each["model"]))
        for each in figures
        if each.get("calibration")
    )
    if diagrams:
        diagrams = f"<h2>Share of correct tissues against confidence</h2><div>{diagrams}</div>"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Tomochrome: color comparison</title><style>{_STYLE}</style></head><body>"
        "<h1>Color comparison</h1><p><strong>Not for diagnosis.</strong> Made by Tomochrome. "
        "In brackets: 95 % bootstrap interval over slices. All images have the L* of the CT; "
        "hatching marks voxels that were restored, not measured.</p>"
        f"<table><tr><th>model</th>{heads}</tr>{lines}</table>"
        f"<h2>Slices</h2>{pictures}{diagrams}</body></html>\n"
    )


def _cell(figures: Mapping[str, Any], name: str, digits: int) -> str:
    value = figures.get(name)
    ends = figures.get("intervals", {}).get(name)
    if value is None:
        return "infinite" if name == "psnr" else "-"
    text = f"{value:.{digits}f}"
    if ends is None or None in ends:
        return text
    return f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _figure(inside: str, caption: str) -> str:
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def _diagram(calibration: Mapping[str, Any]) -> str:
    """Return the reliability diagram as SVG: bars of the accuracy, and the diagonal."""
    bars = "".join(
        f'<rect x="{_SIDE * each["low"]:.1f}" y="{_SIDE * (1 - each["right"]):.1f}" '
        f'width="{_SIDE * (each["high"] - each["low"]):.1f}" '
        f'height="{_SIDE * each["right"]:.1f}" fill="#69c" stroke="#fff"/>'
        for each in calibration["bins"]
        if each["right"] is not None
    )
    return (
        f'<svg width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}">{bars}'
        f'<path d="M0 {_SIDE}L{_SIDE} 0M0 0V{_SIDE}H{_SIDE}" stroke="#333" fill="none"/></svg>'
    )


def _lit(light: NDArray[np.float32], ab: NDArray[Any]) -> Picture:
    return lab_to_srgb8(np.concatenate([light[..., None], ab], axis=-1).astype(np.float32))


def _embedded(picture: Picture) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
