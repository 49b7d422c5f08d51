"""Files with 3D pictures of a scan: a picture (PNG) or a turn around the patient (MP4, GIF)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from tomochrome.color.chroma import no_tissues_message
from tomochrome.colorization.cards import find_model
from tomochrome.colorization.coloring_request import (
    NO_MODEL,
    SAVED_MODEL,
    ColoringRequest,
    Hints,
    Source,
)
from tomochrome.colorization.file_coloring import color_scan, open_source
from tomochrome.colorization.predictor import predictor_class
from tomochrome.errors import OptionError, OutputError
from tomochrome.formats import GIF, SHEET, VIDEO, format_of
from tomochrome.io import check_output, read
from tomochrome.io.picture_files import save_png
from tomochrome.io.slice_pictures import draw_letters, save_gif, save_mp4
from tomochrome.notices import Notice
from tomochrome.rendering.camera import parse_view
from tomochrome.rendering.cinematic import (
    FRAMES,
    NEEDS_TISSUES,
    Picture3D,
    RenderRequest,
    Stage,
    check_frames,
    turn,
)
from tomochrome.rendering.picture_caption import SEPARATOR, caption_in
from tomochrome.runtime import quietly, report, write_whole
from tomochrome.runtime.clock import Clock

_TWO_LETTERS: Final = 34  #: pixels from the top to the caption in which two letters have space
_TURN_SECONDS: Final = 6.0


def annotated(picture: Picture3D) -> Image.Image:
    """Return a picture with its orientation letters and its caption.

    Parameters
    ----------
    picture
        The picture.

    Returns
    -------
    PIL.Image.Image
        RGB, of the same size.
    """
    image = Image.fromarray(picture.pixels)
    draw = ImageDraw.Draw(image)
    caption = caption_in(picture.caption, image.size)
    caption.draw(draw)
    letters = dict(picture.letters)
    if caption.top < _TWO_LETTERS:
        letters["bottom"] = ""  # it would cover that at the top, which implies it
    draw_letters(draw, letters, (0, 0, image.width, caption.top))
    return image


def save_picture(picture: Picture3D, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a picture with letters and caption as PNG.

    Parameters
    ----------
    picture
        The picture.
    path
        A file that ends in ``.png``.
    force
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file exists (without ``force``) or cannot be written.
    """
    check_render_output(path, force=force, film=False)
    with write_whole(path, force=force) as place:
        _save_png(picture, place)


def save_film(
    stage: Stage, path: str | os.PathLike[str], frames: int = FRAMES, *, force: bool = False
) -> None:
    """Write a turn around the patient, with letters and caption, as MP4 or GIF.

    Parameters
    ----------
    stage
        The scan with the view in which the turn begins.
    path
        A file that ends in ``.mp4`` or ``.gif``.
    frames
        Number of pictures, at least 2.
    force
        Replace an existing file.

    Raises
    ------
    OptionError
        If the number of frames is out of range.
    OutputError
        If the file exists (without ``force``) or cannot be written.
    Cancelled
        If the user cancelled; no file is left.
    """
    check_frames(frames)
    check_render_output(path, force=force)
    with write_whole(path, force=force) as place:
        _save_film(stage, place, frames)


def _save_png(picture: Picture3D, path: Path) -> None:
    texts = {"Comment": SEPARATOR.join(picture.caption), "Software": "Tomochrome"}
    save_png(annotated(picture), path, texts)


def check_render_output(
    path: str | os.PathLike[str], *, force: bool = False, film: bool = True
) -> None:
    """Check the path of a picture or a film before the work begins.

    Parameters
    ----------
    path
        The path.
    force
        Whether an existing file may be replaced.
    film
        Whether a film is possible.

    Raises
    ------
    OutputError
        If the ending is another one, the package for videos is missing, or the file cannot be
        written.
    """
    name = os.fspath(path)
    endings = [SHEET.ending, *([VIDEO.ending, GIF.ending] if film else [])]
    if not name.lower().endswith(tuple(endings)):
        raise OutputError(
            f"'{name}' cannot hold a 3D picture; use the extension {' or '.join(endings)}"
        )
    check_output(name, force=force)


@dataclass(frozen=True)
class RenderReport:
    """What one run of `render_file` did; its fields are those of ``render --json``."""

    input: str
    output: str
    model: str
    device: str
    preset: str
    look: str
    view: tuple[float, float]  #: azimuth and elevation in degrees
    size: tuple[int, int]  #: width and height in pixels
    frames: int
    seconds: dict[str, float]  #: of each stage, and in total
    warnings: tuple[Notice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``render --json`` prints; a warning is its text."""
        return {
            **asdict(self),
            "view": list(self.view),
            "size": list(self.size),
            "warnings": list(dict.fromkeys(map(str, self.warnings))),
        }


def render_file(
    source: Source | str | os.PathLike[str],
    output: str | os.PathLike[str],
    request: RenderRequest | None = None,
    *,
    coloring: ColoringRequest | None = None,
    hints: Hints | None = None,
    frames: int | None = None,
    force: bool = False,
) -> RenderReport:
    """Read a scan, color it, and write a picture of it in 3D, or a turn around it.

    Parameters
    ----------
    source
        Path of a CT, or a `Source` with options for reading it.
    output
        ``.png`` for a picture, ``.mp4`` or ``.gif`` for a film.
    request
        Settings of the picture.
    coloring
        Model and device; its other settings are not used. With `SAVED_MODEL` the source is a scan
        that was saved with its colors, also with the settings that ``request`` does not give.
    hints
        The user's strokes, whose labels mean tissues.
    frames
        Number of frames, of a film only; None for 60.
    force
        Replace an existing file.

    Returns
    -------
    RenderReport
        Times and warnings.

    Raises
    ------
    OptionError, ModelError, DeviceError
        If a setting is invalid.
    OutputError
        If the output cannot be written.
    TomochromeError
        If the scan cannot be read or colored, or shows nothing of the preset.
    Cancelled
        If the user cancelled.
    """
    source = Source.of(source)
    request = RenderRequest() if request is None else request
    coloring = ColoringRequest() if coloring is None else coloring
    check_render_output(output, force=force)
    is_film = format_of(output) != SHEET
    request.check()
    if frames is not None:
        check_frames(frames)
        if not is_film:
            raise OptionError(
                f"a number of frames is for films: give an output in {VIDEO.ending} or {GIF.ending}"
            )
    frames = FRAMES if frames is None else frames
    coloring.check(hints=hints)
    if coloring.model not in (NO_MODEL, SAVED_MODEL):
        card = find_model(coloring.model)
        if not predictor_class(card).names_tissues:
            raise OptionError(no_tissues_message(card.name, NEEDS_TISSUES))
    if hints is not None and not hints.are_tissues:
        raise OptionError(no_tissues_message("hints", NEEDS_TISSUES))
    clock = Clock()
    with clock.stage("read"):
        volume, saved = open_source(source, coloring.model)
        strokes = None if hints is None else read(hints.path)
    with clock.stage("predict"):
        chroma = color_scan(volume, saved, coloring, hints, strokes, force=source.as_hu)
    with clock.stage("prepare"):
        stage = Stage(volume, chroma, request, None if saved is None else saved.settings)
    with clock.stage("draw"), write_whole(output, force=force) as place:
        if is_film:
            _save_film(stage, place, frames)
        else:
            _save_png(stage.draw(parse_view(request.view)), place)
    return RenderReport(
        input=str(source.path),
        output=os.fspath(output),
        model=chroma.model,
        device=str(chroma.provenance.extra.get("device", "cpu")),
        preset=stage.preset.name,
        look=request.look,
        view=parse_view(request.view),
        size=_even(request.size) if is_film else request.size,
        frames=frames if is_film else 1,
        seconds=clock.seconds(),
        warnings=chroma.provenance.warnings,
    )


def _save_film(stage: Stage, path: Path, frames: int) -> None:
    save = save_gif if format_of(path) == GIF else save_mp4
    milliseconds = max(20, 10 * round(100 * _TURN_SECONDS / frames))
    save(_frames(stage, frames), path, SEPARATOR.join(stage.caption), milliseconds)


def _frames(stage: Stage, frames: int) -> Iterator[Image.Image]:
    pictures = turn(stage, frames)
    for number in range(frames):
        with quietly():
            image = annotated(next(pictures))
        yield image.crop((0, 0, *_even(image.size)))
        report(number + 1, frames, "drawing frames")


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a film: video requires even sides."""
    width, height = size
    return width - width % 2, height - height % 2
