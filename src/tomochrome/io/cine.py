"""A cine: all axial slices of a colored volume as an animated image or a video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw

from tomochrome.io.slice_pictures import (
    GREY,
    LARGER,
    SMALL,
    SlicePictures,
    caption,
    from_head_to_feet,
)
from tomochrome.runtime import report
from tomochrome.volume import Volume

FRAME_MS: Final = 80  # GIF stores multiples of 10 ms
GIF_SIDE: Final = 512  # longer edge of a slice, pixels
VIDEO_SIDE: Final = 960
_CAPTION: Final = 28  # height, pixels
_QUALITY: Final = "17"  # constant rate factor of H.264: below 18 it is visually lossless


def write_gif(volume: Volume, path: Path) -> None:
    """Write all axial slices as an animated GIF that repeats, in radiological display.

    The patient's right is on screen left and anterior is up; slices run from head to feet, with
    square pixels, over black, with orientation letters, position, scale bar and caption. Each
    frame has its own 256 colors. The volume is RGBA.
    """
    drawn = (frame.quantize(256) for frame in frames(volume, GIF_SIDE))
    first, comment = next(drawn), caption(volume).encode()
    first.save(
        path, format="GIF", save_all=True, append_images=drawn, duration=FRAME_MS, loop=0,
        comment=comment,
    )  # fmt: skip


def write_mp4(volume: Volume, path: Path) -> None:
    """Write all axial slices as an H.264 video, drawn as by `write_gif`.

    Colors are stored as Rec. 709 with chroma at half resolution (4:2:0), the only sampling that
    all players support. It needs the package av. The volume is RGBA.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    drawn = frames(volume, VIDEO_SIDE)
    first = next(drawn)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata["comment"] = caption(volume)
        stream: Any = container.add_stream("libx264", Fraction(1000, FRAME_MS))
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
    width, height = slices.size
    wide = max(width, round(LARGER.getlength(text)) + 16)
    left = (wide - width) // 2
    size = wide + wide % 2, height + _CAPTION + height % 2
    for number in range(len(slices)):
        frame = Image.new("RGB", size)
        frame.paste(slices.picture(number), (left, 0))
        slices.annotate(frame, left)
        draw = ImageDraw.Draw(frame)
        draw.text((left + 4, 2), f"{slices.z_mm(number):.0f} mm", fill=GREY, font=SMALL)
        draw.text((8, size[1] - _CAPTION + 6), text, fill=GREY, font=LARGER)
        yield frame
        report(number + 1, len(slices), "drawing frames")
