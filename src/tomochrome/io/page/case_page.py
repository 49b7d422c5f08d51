"""A page with all slices of a CT, lit in the browser, in grey and in the colors of models."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomochrome.bundles import ModelCard, in_words
from tomochrome.color.chroma import Chroma
from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.color.hatch import LEGEND, hatched
from tomochrome.color.lighting import Lighting
from tomochrome.color.photograph_look import NOT_FROM_SCANNER
from tomochrome.color.space import GREY_L
from tomochrome.color.table import GREY_EDGES
from tomochrome.errors import OutputError
from tomochrome.formats import PAGE, check_package
from tomochrome.geometry.affine import plane_distance
from tomochrome.geometry.orient import closest_axial, edge_letters, orientation_letters
from tomochrome.geometry.planes import slice_orientation
from tomochrome.io.dicom.dicom_write import over_black
from tomochrome.io.page.page_planes import (
    CONFIDENCE_LEVELS,
    ColorPlanes,
    ValueScale,
    as_text,
    grey_levels,
    marks_of,
    packed,
)
from tomochrome.io.slice_pictures import DARK, bar_mm, extent
from tomochrome.notices import sentence
from tomochrome.runtime import check, report
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import PRESETS, Window, describe_window

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_BYTES: Final = 25_000_000  #: mail servers refuse more
SCALES: Final = (ValueScale(1, 4), ValueScale(2, 8), ValueScale(4, 16))
MAX_FULL_SIDE: Final = 256  # of slices whose colors are stored for every pixel
_SAMPLE: Final = 6  # slices whose size is measured to choose the scale
_RESERVE: Final = 400_000  # bytes for all except the slices
_MARGIN: Final = 0.03  # of the field of view around the body
_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, eq=False)
class PageColoring:
    """One coloring of the scan, as the page shows it.

    Parameters
    ----------
    title
        Display name.
    planes
        Colors of all slices.
    card
        The card of its model; None if it has none.
    names_tissues
        Whether its colors are those of tissues.
    """

    title: str
    planes: ColorPlanes
    card: ModelCard | None = None
    names_tissues: bool = False


class CasePage:
    """A page of one scan; colorings are added one after another, so that none is kept in full.

    Parameters
    ----------
    volume
        CT in HU, or a colored volume (RGBA), whose luminance then replaces the HU.
    settings
        Window shown first, palette, saturation, confidence and tissues; the opacity is not used.

    Examples
    --------
    >>> page = CasePage(volume, Lighting.of(volume))                   # doctest: +SKIP
    >>> page.add(tc.colorize(volume), "Tissue network")                # doctest: +SKIP
    >>> with write_whole("case.html") as place:                        # doctest: +SKIP
    ...     page.write(place)
    """

    def __init__(self, volume: Volume, settings: Lighting | None = None) -> None:
        self.volume = closest_axial(volume)
        self.settings = settings or (Lighting() if volume.is_rgba else Lighting.of(volume))
        self.step = 2 if max(self.volume.shape[1:]) > MAX_FULL_SIDE else 1
        self.colorings: list[PageColoring] = []
        self.identity: Mapping[str, str] = {}
        self._lightness: Volume | None = None
        self._notices = list(self.volume.provenance.warnings)
        self._body = np.zeros(self.volume.shape[1:], bool)
        if volume.is_rgba:
            self._add_colors()

    def add(self, chroma: Chroma, title: str, card: ModelCard | None = None) -> None:
        """Add a coloring.

        Parameters
        ----------
        chroma
            On the grid of the volume.
        title
            Display name.
        card
            The card of its model, which the page quotes.

        Raises
        ------
        GeometryError
            If it is on another grid.
        OptionError
            If the settings select tissues, but the coloring has none.
        """
        check()
        chroma = chroma.on_grid(self.volume)
        planes = ColorPlanes.of_chroma(chroma, self.settings, self.step)
        self._body |= (chroma.code > 0).any(axis=0)
        marks = [notice for notice in chroma.provenance.warnings if notice.code == "restored"]
        self._notices += [notice for notice in marks if notice not in self._notices]
        self.colorings.append(PageColoring(title, planes, card, chroma.has_tissues))

    def take_lightness(self, image: Volume) -> None:
        """Show the colors, but not the grey, with the lightness of another image.

        Parameters
        ----------
        image
            RGBA on the grid of the scan, as from `tomochrome.color.photograph_look`; the page says
            that lightness is not from the scanner.
        """
        self._lightness = closest_axial(image)

    def name_patient(self, identity: Mapping[str, str]) -> None:
        """Show whose scan it is, which no page does that is not asked to.

        Parameters
        ----------
        identity
            Text by title, as from `tomochrome.io.source_identity`.
        """
        self.identity = identity

    def _add_colors(self) -> None:
        """Add the colors of an RGBA volume."""

        def lab() -> Iterator[NDArray[np.float32]]:
            for k in range(self.volume.shape[0]):
                check()
                pixels = self._pixels(k)
                np.logical_or(self._body, pixels.max(axis=-1) > DARK, out=self._body)
                yield srgb_to_lab(pixels)

        title = self._extra("model") or "Color"
        self.colorings.append(PageColoring(title, ColorPlanes.of_lab(lab(), self.step)))

    @property
    def look(self) -> str:
        """The look of colors whose lightness is not from the scanner; otherwise empty."""
        image = self._lightness or self.volume
        return str(image.provenance.extra.get("look") or "")

    def _extra(self, key: str) -> str:
        return str(self.volume.provenance.extra.get(key) or "")

    def _pixels(self, k: int) -> NDArray[np.uint8]:
        return over_black(np.asarray(self.volume.voxels[k]))

    def _levels_of_colors(self, k: int) -> NDArray[np.uint8] | None:
        """Return the grey levels of the colors of a slice, if they are not those of its values."""
        if self._lightness is None:
            return None
        L = srgb_to_lab(over_black(np.asarray(self._lightness.voxels[k])))[..., 0]
        return np.searchsorted(GREY_EDGES, L).astype(np.uint8)

    # Content

    def codes(self, k: int, scale: ValueScale) -> NDArray[np.uint16]:
        """Return the codes of a slice: of HU, or the grey level of the luminance of RGBA."""
        if self.volume.is_rgba:
            L = srgb_to_lab(self._pixels(k))[..., 0]
            return np.searchsorted(GREY_EDGES, L).astype(np.uint16)
        return scale.codes(np.asarray(self.volume.voxels[k]))

    @property
    def field(self) -> tuple[slice, slice]:
        """Rows and columns that are shown: the body and restored voxels, with a margin."""
        body = self._body
        if self.volume.restored is not None:
            body = body | self.volume.restored.any(axis=0)
        ends = []
        for axis, length in enumerate(body.shape):
            margin, (first, stop) = max(2, round(_MARGIN * length)), extent(body, axis)
            start = max(0, first - margin) // self.step * self.step
            ends.append(slice(start, min(length, stop + margin)))
        return ends[0], ends[1]

    def slice_text(self, k: int, scale: ValueScale, field: tuple[slice, slice]) -> str:
        """Return the data of a slice."""
        check()
        coarse = tuple(slice(s.start // self.step, -(-s.stop // self.step)) for s in field)
        masks = self.volume.outside, self.volume.restored
        marks = marks_of(*(None if mask is None else mask[k] for mask in masks))
        planes = [coloring.planes for coloring in self.colorings]
        colors = [(each.index[k][coarse], each.confidence[k][coarse]) for each in planes]
        lightness = self._levels_of_colors(k)
        return packed(
            self.codes(k, scale)[field],
            None if marks is None else marks[field],
            colors,
            None if lightness is None else lightness[field],
        )

    @property
    def _budget(self) -> int:
        """Bytes that are left for the slices."""
        tables = sum(len(as_text(c.planes.rows.tobytes())) for c in self.colorings)
        return MAX_BYTES - _RESERVE - 100_000 * len(self.colorings) - tables

    def choose(self, field: tuple[slice, slice]) -> tuple[ValueScale, list[int]]:
        """Return the finest scale with which the page is small enough, and the slices in it.

        If the coarsest is not enough, every n-th slice is left. Slices run from head to feet.
        """
        count = self.volume.shape[0]
        order = list(range(count - 1, -1, -1))
        sample = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).round().astype(int))
        budget = self._budget
        scale, mean = SCALES[0], 0.0
        for scale in SCALES[: 1 if self.volume.is_rgba else None]:
            sizes = [len(self.slice_text(int(k), scale, field)) for k in sample]
            # the larger of mean and estimated quantile: neighbors of a large slice are large
            mean = 0.5 * (float(np.mean(sizes)) + max(sizes))
            if mean * count <= budget:
                return scale, order
        return scale, order[:: max(1, -(-int(mean * count) // budget))]

    def picture(self, k: int, field: tuple[slice, slice]) -> Image.Image:
        """Return a slice as the first coloring shows it, for browsers without scripts."""
        scale, step = SCALES[0], self.step
        codes, (rows, columns) = self.codes(k, scale), self.volume.shape[1:]
        levels: NDArray[Any] | None = self._levels_of_colors(k)
        if levels is None:
            rgba, window = self.volume.is_rgba, self.settings.window
            levels = codes if rgba else self._levels(scale, window)[codes]
        L = GREY_L[levels].astype(np.float32)[..., None]
        planes = self.colorings[0].planes
        ab = planes.rows[planes.index[k], 1:].astype(np.float32)
        ab = ab.repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns]
        pixels = lab_to_srgb8(np.concatenate([L, ab], axis=-1))
        mask = self.volume.restored
        return Image.fromarray(
            np.ascontiguousarray(hatched(pixels, None if mask is None else mask[k])[field])
        )

    def _levels(self, scale: ValueScale, window: Window) -> NDArray[np.uint8]:
        return grey_levels(scale.centers, window)

    def _windows(self, scale: ValueScale) -> list[dict[str, Any]]:
        """Return the windows on offer, the one of the settings first."""
        if self.volume.is_rgba:
            level = as_text(np.arange(256, dtype=np.uint8).tobytes())
            text = NOT_FROM_SCANNER if self.look else self._extra("window")
            return [{"title": "As colored", "text": text, "levels": level}]
        first = self.settings.window
        others = [w for w in PRESETS.values() if describe_window(w) != describe_window(first)]
        return [
            {
                "title": (window.name or "Own").replace("-", " ").capitalize(),
                "text": describe_window(window),
                "levels": as_text(self._levels(scale, window).tobytes()),
            }
            for window in (first, *others)
        ]

    # Page

    def write(
        self, path: Path, template: str = "case.html", start: int | None = None, **context: Any
    ) -> None:
        """Write the page.

        Parameters
        ----------
        path
            Where; use `tomochrome.runtime.write_whole`.
        template
            Name of the template.
        start
            Index along z (from the feet) of the slice that is shown first; by default the middle.
        **context
            Further variables of the template.

        Raises
        ------
        OutputError
            If Jinja2 is not installed, or the page would be larger than `MAX_BYTES`.
        Cancelled
            If the user cancelled.
        """
        check_package(PAGE)
        field = self.field
        scale, order = self.choose(field)
        slices, budget = [], self._budget
        for done, k in enumerate(order, start=1):
            slices.append(self.slice_text(k, scale, field))
            report(done, len(order), "writing slices")
        while len(order) > 1 and sum(map(len, slices)) > budget:  # the sample was too small
            order, slices = order[::2], slices[::2]
        if start is None:
            start = self.volume.shape[0] // 2
        first = int(np.abs(np.array(order) - start).argmin())
        buffer = io.BytesIO()
        self.picture(order[first], field).save(buffer, "WEBP", quality=88, method=4)
        still = as_text(buffer.getvalue())
        variables = {**self._context(scale, order, field), "still": still, "slices": slices}
        variables["data"]["first"] = first
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for part in _templates().get_template(template).generate({**variables, **context}):
                file.write(part)
        if (size := path.stat().st_size) > MAX_BYTES:
            raise OutputError(
                f"the page would have {size / 1e6:.1f} MB, and mail servers refuse more than "
                f"{MAX_BYTES / 1e6:.0f} MB; show fewer models on it"
            )

    def _context(
        self, scale: ValueScale, order: list[int], field: tuple[slice, slice]
    ) -> dict[str, Any]:
        volume, rows, columns = self.volume, *(s.stop - s.start for s in field)
        spacing = volume.spacing
        width_mm = columns * spacing[2]
        return {
            "data": {
                "rows": rows,
                "columns": columns,
                "step": self.step,
                "positions": [self._position(k) for k in order],
                "values": None if volume.is_rgba else scale.centers.tolist(),
                "windows": self._windows(scale),
                "confidences": CONFIDENCE_LEVELS - 1,
                "lightness": self._lightness is not None,
                "note": NOT_FROM_SCANNER if self._lightness is not None else "",
                "marks": volume.restored is not None or volume.outside is not None,
                "colorings": [
                    {
                        "title": coloring.title,
                        "tissues": coloring.names_tissues,
                        "rows": as_text(coloring.planes.rows.tobytes()),
                    }
                    for coloring in self.colorings
                ],
                "tissues": [
                    {"title": tissue.title, "color": f"rgb{tuple(int(v) for v in color)}"}
                    for tissue, color in zip(Tissue, self.settings.palette.rgb, strict=True)
                ],
            },
            "letters": edge_letters(volume.affine[:3, 2], -volume.affine[:3, 1]),
            "width_mm": width_mm,
            "height_mm": rows * spacing[1],
            "bar_mm": bar_mm(1.0, round(width_mm)),
            "shown": self._slices_in_words(order),
            "to_feet": len(order) > 1 and orientation_letters(-volume.affine[:3, 0])[0] == "F",
            "spacing": spacing,
            "distance": plane_distance(volume.affine),
            "scale": None if volume.is_rgba else scale,
            "left_out": volume.shape[0] - len(order),
            "count": volume.shape[0],
            "colorings": self.colorings,
            "identity": self.identity,
            "models": [(c.title, model_facts(c.card)) for c in self.colorings if c.card],
            "look": self.look and f"look of a {self.look}: {NOT_FROM_SCANNER}",
            "hatching": "" if volume.restored is None else LEGEND,
            "has_outside": volume.outside is not None,
            "verdict": volume.provenance.verdict,
            "notices": [sentence(notice.without_names()) for notice in self._notices],
        }

    def _slices_in_words(self, order: list[int]) -> str:
        """Return number, plane and distance of the slices on the page."""
        plane, _, oblique = slice_orientation(self.volume.affine).partition(", ")
        parts = [f"{len(order)} {plane} slice{'s' * (len(order) > 1)}"]
        if oblique:
            parts.append(oblique)
        if len(order) > 1:
            mm = plane_distance(self.volume.affine) * (order[0] - order[1])
            parts.append(f"{mm:.3g} mm apart")
        return ", ".join(parts)

    def _position(self, k: int) -> float:
        """Return the LPS z of the center of a slice in mm."""
        center = self.volume.affine @ (k, *((n - 1) / 2 for n in self.volume.shape[1:]), 1)
        return round(float(center[2]), 1)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        autoescape=True,
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_color_page(volume: Volume, path: Path) -> None:
    """Write a page of a colored volume (RGBA): grey and color, without HU and tissues."""
    CasePage(volume).write(path)


def model_facts(card: ModelCard) -> Mapping[str, str]:
    """Return what a page says about a model: lines by title, without empty ones."""
    facts = {
        "What it does": card.description,
        "Trained on": card.trained_on,
        "Intended use": str(card.metadata.get("intended_use") or ""),
        "Scores": "; ".join(f"{in_words(key)}: {in_words(v)}" for key, v in card.scores.items()),
        "License": card.license,
        "Weights (SHA-256)": card.weights_sha256,
    }
    return {name: text for name, text in facts.items() if text}
