"""Slices of a colored volume as images: one slice, contact sheet (PNG), cine (GIF, MP4).

The images have orientation letters, a scale bar and a caption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tomochrome.color.hatch import LEGEND, hatched
from tomochrome.geometry.orient import axis_map, edge_letters, reorient
from tomochrome.geometry.planes import (
    nearest_slice,
    plane_map,
    slice_orientation,
    slice_positions,
)
from tomochrome.io.dicom.dicom_write import over_black
from tomochrome.io.picture_files import save_png
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

DARK: Final = 24  # of 255: darker pixels count as background when the slices are cropped
SPECKS: Final = 3  # a row or column with at most so many bright pixels is background too
BAR_LENGTHS_MM: Final = (500, 200, 100, 50, 20, 10, 5, 2, 1)
GREY: Final = (170, 170, 170)
_LETTER: Final = (235, 235, 235)
SMALL: Final = ImageFont.load_default(12)
LARGER: Final = ImageFont.load_default(15)

COLUMNS: Final = 5
SLICES: Final = 20
WIDTH: Final = 1600  # total width of all columns, pixels
MAX_TILE: Final = 800
GAP: Final = 6
CAPTION: Final = 34
LABEL: Final = 16

FRAME_MS: Final = 80  # GIF stores multiples of 10 ms
GIF_SIDE: Final = 512  # longer edge of a slice, pixels
SLICE_SIDE: Final = 900  # of a single slice
VIDEO_SIDE: Final = 960
_CAPTION: Final = 28  # height, pixels
_QUALITY: Final = "17"  # constant rate factor of H.264: below 18 it is visually lossless


@dataclass(frozen=True, eq=False)
class SlicePictures:
    """Slices in radiological display, cropped to a common field of view.

    They lie as `plane_map` says, with square pixels, over black.

    Parameters
    ----------
    volume
        RGBA.
    order, flips
        As `plane_map` returns them.
    indices
        Indices of the slices, in the order of the images.
    field
        The field of view in pixels of a slice: top, bottom, left, right.
    pixels_per_mm
        Scale of the images.
    axis
        LPS axis across the slices, 0 to 2 for x to z.
    """

    volume: Volume
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    indices: Sequence[int]
    field: tuple[int, int, int, int]
    pixels_per_mm: float
    axis: int = 2

    @classmethod
    def of(cls, volume: Volume, side: int, indices: Iterable[int], axis: int = 2) -> SlicePictures:
        """Return the images of slices across an axis, whose longer edge has ``side`` pixels."""
        order, flips = plane_map(volume.affine, axis)
        chosen = [int(index) for index in indices]
        brightest: NDArray[np.uint8] | None = None
        for done, index in enumerate(chosen, start=1):
            check()
            plane = over_black(_plane(volume, order, flips, index)[0]).max(axis=-1)
            brightest = plane if brightest is None else np.maximum(brightest, plane)
            report(done, len(chosen), "drawing slices")
        assert brightest is not None
        field = _field(brightest > DARK)
        top, bottom, left, right = field
        height = (bottom - top) * volume.spacing[order[1]]
        width = (right - left) * volume.spacing[order[2]]
        return cls(volume, order, flips, chosen, field, side / max(height, width), axis)

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.indices)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of each image, in pixels."""
        top, bottom, left, right = self.field
        (_, down, across), scale = self.order, self.pixels_per_mm
        width = (right - left) * self.volume.spacing[across] * scale
        height = (bottom - top) * self.volume.spacing[down] * scale
        return max(1, round(width)), max(1, round(height))

    def picture(self, number: int) -> Image.Image:
        """Return a slice as an image, without annotations; restored voxels are hatched."""
        check()
        rgba, mask = _plane(self.volume, self.order, self.flips, self.indices[number])
        top, bottom, left, right = self.field
        image = Image.fromarray(np.ascontiguousarray(over_black(rgba)[top:bottom, left:right]))
        image = image.resize(self.size, Image.Resampling.BICUBIC)
        if mask is None:
            return image
        cut = Image.fromarray(np.where(mask[top:bottom, left:right], np.uint8(255), np.uint8(0)))
        marked = np.asarray(cut.resize(self.size, Image.Resampling.BOX)) > 0
        return Image.fromarray(hatched(np.asarray(image), marked))

    def position_mm(self, number: int) -> float:
        """Return the LPS coordinate of the center of a slice across it, in mm."""
        return float(slice_positions(self.volume, self.axis)[self.indices[number]])

    @property
    def letters(self) -> dict[str, str]:
        """Orientation letters at the "left", "right", "top" and "bottom" edges."""
        down, right = (
            self.volume.affine[:3, self.order[axis]] * (-1 if self.flips[axis] else 1)
            for axis in (1, 2)
        )
        return edge_letters(right, -down)

    def annotate(self, picture: Image.Image, left: int = 0) -> None:
        """Draw orientation letters and a scale bar on a slice, ``left`` pixels from the left."""
        (width, height), draw = self.size, ImageDraw.Draw(picture)
        draw_letters(draw, self.letters, (left, 0, left + width, height))
        length = bar_mm(self.pixels_per_mm, width // 2)  # keeps clear of the letter at the center
        draw_bar(draw, length, self.pixels_per_mm, (left + width - 8, height - 10))


def from_head_to_feet(volume: Volume, count: int | None = None) -> NDArray[np.int64]:
    """Return the indices of the axial slices, from head to feet.

    With ``count``, that many evenly spaced ones at most, which leave out both ends.
    """
    order, flips = axis_map(volume.affine)
    indices = np.arange(volume.shape[order[0]])
    if count is not None and len(indices) > count:
        indices = np.floor((np.arange(count) + 0.5) * len(indices) / count).astype(np.int64)
    return indices[:: 1 if flips[0] else -1]


def draw_letters(
    draw: ImageDraw.ImageDraw, letters: dict[str, str], box: tuple[int, int, int, int]
) -> None:
    """Draw the orientation letters at the edges of a tile, outlined for contrast."""
    left, top, right, bottom = box
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    places = {
        "left": ((left + 4, middle_y), "lm"),
        "right": ((right - 4, middle_y), "rm"),
        "top": ((middle_x, top + 3), "mt"),
        "bottom": ((middle_x, bottom - 4), "mb"),
    }
    for edge, (place, anchor) in places.items():
        draw.text(
            place,
            letters[edge],
            fill=_LETTER,
            font=LARGER,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def bar_mm(pixels_per_mm: float, width: int) -> int:
    """Return a round length of the scale bar in mm, at most a third of the tile width."""
    fitting = (length for length in BAR_LENGTHS_MM if length * pixels_per_mm <= width / 3)
    return next(fitting, BAR_LENGTHS_MM[-1])


def draw_bar(
    draw: ImageDraw.ImageDraw, length: int, pixels_per_mm: float, end: tuple[int, int]
) -> None:
    """Draw a scale bar with its right end at ``end``, and its length to the left of it."""
    right, y = end
    left = right - round(length * pixels_per_mm)
    draw.line([(left, y), (right, y)], fill=_LETTER, width=2)
    for x in (left, right):
        draw.line([(x, y - 4), (x, y + 4)], fill=_LETTER, width=2)
    draw.text((left - 8, y), f"{length} mm", fill=_LETTER, font=LARGER, anchor="rm")


def caption(volume: Volume) -> str:
    """Return the caption: model, place, window, "not for diagnosis", and no patient data."""
    extra = volume.provenance.extra
    parts = ["Tomochrome"]
    if extra.get("model"):
        parts.append(f"color by model {extra['model']}")
    if extra.get("place"):
        parts.append(str(extra["place"]))
    if extra.get("window"):
        parts.append(f"window {extra['window']}")
    if extra.get("slab"):
        parts.append(f"slabs: {extra['slab']}")
    if extra.get("look"):
        parts.append(f"look of a {extra['look']}: lightness not from the scanner")
    if extra.get("colors"):
        parts.append(f"colors {extra['colors']}")
    if volume.restored is not None:
        parts.append(LEGEND)
    return "  ·  ".join([*parts, "not for diagnosis"])


def _field(bright: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the bounding box (top, bottom, left, right) of the foreground, with a margin."""
    ends: list[int] = []
    for axis, length in enumerate(bright.shape):
        margin, (first, stop) = max(1, length // 40), extent(bright, axis)
        ends += [max(0, first - margin), min(length, stop + margin)]
    return ends[0], ends[1], ends[2], ends[3]


def extent(mask: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return start and stop of the rows (axis 0) or columns (1) with more than `SPECKS` pixels.

    All, if there are none.
    """
    places = np.flatnonzero(mask.sum(axis=1 - axis) > SPECKS)
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, mask.shape[axis])


def _plane(
    volume: Volume,
    order: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    index: int,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return one slice (down, right, 4) and its mask of restored voxels in display orientation.

    Only that slice is reoriented.
    """
    where: list[slice] = [slice(None)] * 3
    where[order[0]] = slice(index, index + 1)
    thin = np.asarray(volume.voxels[tuple(where)])
    mask = None if volume.restored is None else volume.restored[tuple(where)]
    one = reorient(Volume(thin, volume.affine, "RGBA", restored=mask), order, flips)
    return np.asarray(one.voxels)[0], None if one.restored is None else one.restored[0]


def write_contact_sheet(volume: Volume, path: Path) -> None:
    """Write evenly spaced axial slices as a PNG, in radiological display.

    The patient's right is on screen left and anterior is up; slices run from head to feet, with
    square pixels, over black. Each slice has orientation letters, and the sheet a scale bar. The
    caption names the model and says "not for diagnosis"; it contains no patient data. The volume
    is RGBA.
    """
    save_slice_picture(contact_sheet(volume), volume, path)


def save_slice_picture(picture: Image.Image, volume: Volume, path: Path) -> None:
    """Write a picture of a colored volume as a PNG that says how it was made."""
    extra = volume.provenance.extra
    shown = (key for key in ("model", "window", "palette") if extra.get(key))
    made = {key.capitalize(): str(extra[key]) for key in shown}
    save_png(picture, path, {**made, "Comment": caption(volume), "Software": "Tomochrome"})


def slice_picture(volume: Volume, axis: int, index: int) -> Image.Image:
    """Return one slice with orientation letters, scale bar, position and caption.

    Parameters
    ----------
    volume
        RGBA.
    axis
        LPS axis across the slice, 0 to 2 for x to z.
    index
        Index of the slice along the volume's closest axis.
    """
    slices = SlicePictures.of(volume, SLICE_SIDE, [index], axis)
    plane = slice_orientation(volume.affine, slices.order[0])
    where = f"{plane}, {'xyz'[axis]} = {slices.position_mm(0):.0f} mm"
    return _framed(slices, 0, where, caption(volume))


def write_slice_picture(volume: Volume, path: Path, position: tuple[int, float]) -> None:
    """Write the slice at a position, as `parse_position` returns it, as a PNG."""
    axis, mm = position
    index = nearest_slice(volume, axis, mm)
    save_slice_picture(slice_picture(volume, axis, index), volume, path)


def contact_sheet(
    volume: Volume,
    labels: Sequence[str] | None = None,
    beside: Sequence[tuple[str, NDArray[np.uint8]]] = (),
) -> Image.Image:
    """Return the contact sheet of an RGBA volume as an image.

    Parameters
    ----------
    volume
        The volume whose slices are drawn; with ``labels``, variants of one slice along z.
    labels
        A caption for each slice; all slices are then drawn in order. By default, up to 20 slices
        with their LPS z position.
    beside
        Further images (y, x, 3) with their captions, drawn last and without orientation letters,
        as their orientation is unknown.
    """
    indices = from_head_to_feet(volume, SLICES) if labels is None else np.arange(len(labels))
    slices = _slices(volume, indices)
    titles = labels
    if titles is None:
        titles = [f"{slices.position_mm(k):.0f} mm" for k in range(len(slices))]
    tiles = [
        *((title, slices.picture(k)) for k, title in enumerate(titles)),
        *((title, ImageOps.pad(Image.fromarray(pixels), slices.size)) for title, pixels in beside),
    ]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = slices.size
    bar = bar_mm(slices.pixels_per_mm, width)
    text = caption(volume)
    ends = GAP + 2 + LARGER.getlength(text)
    sheet_width = max(columns * (width + GAP) + GAP, round(ends) + 2 * GAP)
    fits = ends + bar * slices.pixels_per_mm + 90 < sheet_width
    foot = CAPTION if fits else 2 * CAPTION
    sheet = Image.new("RGB", (sheet_width, rows * (height + GAP) + GAP + foot))
    draw = ImageDraw.Draw(sheet)
    for i, (title, picture) in enumerate(tiles):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        sheet.paste(picture, (x, y))
        draw.text((x + 4, y + 2), title, fill=GREY, font=SMALL)
        if i < len(slices):
            top = y if labels is None else y + LABEL  # a long label would cover the letter
            draw_letters(draw, slices.letters, (x, top, x + width, y + height))
    draw.text((GAP + 2, sheet.height - foot + 8), text, fill=GREY, font=LARGER)
    draw_bar(draw, bar, slices.pixels_per_mm, (sheet_width - GAP - 2, sheet.height - CAPTION // 2))
    return sheet


def tile_pictures(volume: Volume, side: int) -> list[Image.Image]:
    """Return each slice of an RGBA volume with orientation letters and a scale bar, as stored.

    Parameters
    ----------
    volume
        The slices, or variants of one slice along z.
    side
        Length of the longer edge of each image, in pixels.
    """
    slices = _slices(volume, np.sort(from_head_to_feet(volume)), side)
    pictures = [slices.picture(k) for k in range(len(slices))]
    for picture in pictures:
        slices.annotate(picture)
    return pictures


def _slices(volume: Volume, indices: NDArray[np.int64], side: int = MAX_TILE) -> SlicePictures:
    return SlicePictures.of(volume, min(side, WIDTH // min(COLUMNS, len(indices))), indices)


def write_gif(volume: Volume, path: Path) -> None:
    """Write all axial slices as an animated GIF that repeats, in radiological display.

    The patient's right is on screen left and anterior is up; slices run from head to feet, with
    square pixels, over black, with orientation letters, position, scale bar and caption. Each
    frame has its own 256 colors. The volume is RGBA.
    """
    save_gif(frames(volume, GIF_SIDE), path, caption(volume))


def save_gif(pictures: Iterable[Image.Image], path: Path, comment: str, ms: int = FRAME_MS) -> None:
    """Write images as an animated GIF that repeats, each with its own 256 colors.

    Parameters
    ----------
    pictures
        RGB images of one size.
    path
        The file.
    comment
        Stored in the file.
    ms
        Duration of a frame, a multiple of 10 ms.
    """
    drawn = (picture.quantize(256) for picture in pictures)
    first = next(drawn)
    first.save(
        path, format="GIF", save_all=True, append_images=drawn, duration=ms, loop=0,
        comment=comment.encode(),
    )  # fmt: skip


def write_mp4(volume: Volume, path: Path) -> None:
    """Write all axial slices as an H.264 video, drawn as by `write_gif`.

    The volume is RGBA.
    """
    save_mp4(frames(volume, VIDEO_SIDE), path, caption(volume))


def save_mp4(pictures: Iterable[Image.Image], path: Path, comment: str, ms: int = FRAME_MS) -> None:
    """Write images as an H.264 video.

    Colors are stored as Rec. 709 with chroma at half resolution (4:2:0), the only sampling that
    all players support. It needs the package av.

    Parameters
    ----------
    pictures
        RGB images of one size with even sides.
    path
        The file.
    comment
        Stored in the file.
    ms
        Duration of a frame.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    drawn = iter(pictures)
    first = next(drawn)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata["comment"] = comment
        stream: Any = container.add_stream("libx264", Fraction(1000, ms))
        stream.width, stream.height = first.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": _QUALITY}
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = Colorspace.ITU709
        for image in (first, *drawn):
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames(volume: Volume, side: int) -> Iterator[Image.Image]:
    """Yield an annotated image of each axial slice, from head to feet.

    Parameters
    ----------
    volume
        RGBA.
    side
        Length of the longer edge of a slice, in pixels; the images are larger by the caption, and
        have even sides, as video requires.
    """
    slices = SlicePictures.of(volume, side, from_head_to_feet(volume))
    text = caption(volume)
    for number in range(len(slices)):
        yield _framed(slices, number, f"{slices.position_mm(number):.0f} mm", text)
        report(number + 1, len(slices), "drawing frames")


def _framed(slices: SlicePictures, number: int, where: str, text: str) -> Image.Image:
    """Return an annotated slice over its caption; the sides of the image are even."""
    width, height = slices.size
    wide = max(width, round(LARGER.getlength(text)) + 16)
    left = (wide - width) // 2
    frame = Image.new("RGB", (wide + wide % 2, height + _CAPTION + height % 2))
    frame.paste(slices.picture(number), (left, 0))
    slices.annotate(frame, left)
    draw = ImageDraw.Draw(frame)
    draw.text((4, 2), where, fill=GREY, font=SMALL)
    draw.text((8, frame.height - _CAPTION + 6), text, fill=GREY, font=LARGER)
    return frame
