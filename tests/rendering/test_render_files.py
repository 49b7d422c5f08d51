"""What is written into pictures: letters at their edges, and the marks, read from the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageSequence
from render_cases import DRAFT, body
from skimage.feature import match_template

import tomochrome as tc
from tomochrome.colorization.coloring_request import SAVED_MODEL, ColoringRequest
from tomochrome.rendering import RenderRequest, annotated, render, render_file, save_picture
from tomochrome.rendering.cinematic import MIN_SIDE, Picture3D

LETTERS = "RLAPHF"
MARKS = ("lightness not from the scanner", "not for diagnosis")
VIEWS = {
    "front": {"left": "R", "right": "L", "top": "H", "bottom": "F"},
    "back": {"left": "L", "right": "R", "top": "H", "bottom": "F"},
    "left": {"left": "A", "right": "P", "top": "H", "bottom": "F"},
    "right": {"left": "P", "right": "A", "top": "H", "bottom": "F"},
    "top": {"left": "R", "right": "L", "top": "P", "bottom": "A"},
}
"""The letters that someone would write who walks around a patient, or bends over from the front."""
EXAMPLE = Picture3D(
    np.full((120, 160, 3), 60, np.uint8), VIEWS["front"],
    ("Tomochrome", "color by model tissue", "the skeleton", *MARKS),
)  # fmt: skip


def drawn_text(text: str, size: float) -> np.ndarray:
    """A text as Pillow draws it, white on black, without a margin."""
    font = ImageFont.load_default(size)
    image = Image.new("L", (int(font.getlength(text)) + 20, int(3 * size)))
    ImageDraw.Draw(image).text((10, size), text, fill=255, font=font)
    return np.asarray(image.crop(image.getbbox()), float)


def likeness(area: np.ndarray, text: str, size: float) -> float:
    """How much the most similar place in a picture looks like a text: 1 for the same."""
    template = drawn_text(text, size)
    if any(n < t for n, t in zip(area.shape, template.shape, strict=True)):
        return 0.0
    return float(match_template(area, template).max())


def letter_at(pixels: np.ndarray, edge: str) -> str:
    """Read the letter at the middle of an edge; those of the caption are smaller."""
    grey = pixels.astype(float).mean(axis=-1)
    middle = grey.shape[1] // 2
    area = {
        "left": grey[30:-20, :26],
        "right": grey[30:-20, -26:],
        "top": grey[:24, middle - 13 : middle + 13],
        "bottom": grey[grey.shape[0] // 2 :, middle - 13 : middle + 13],
    }[edge]
    scores = {letter: likeness(np.pad(area, 4), letter, 15) for letter in LETTERS}
    best = max(scores, key=scores.__getitem__)
    assert scores[best] > 0.75, (edge, scores)
    return best


@pytest.mark.parametrize("view", VIEWS)
def test_letters_are_at_the_edges_that_they_name(view: str) -> None:
    picture = render(*body(), preset="skin", view=view, quality="draft", size=(240, 240))
    image = annotated(picture)
    assert image.size == (240, 240)
    pixels = np.asarray(image)
    assert {edge: letter_at(pixels, edge) for edge in VIEWS[view]} == VIEWS[view]
    changed = (pixels != picture.pixels).any(axis=-1)
    assert not changed[26:150, 26:-26].any()  # nothing is written on the body


def test_a_picture_without_annotations_has_no_text() -> None:
    """What the other tests read is not there by chance."""
    picture = render(*body(), preset="skin", quality="draft", size=(240, 240))
    grey = picture.pixels.astype(float).mean(axis=-1)
    for mark in MARKS:
        assert likeness(grey, mark, 9) < 0.6
    with pytest.raises(AssertionError):
        letter_at(picture.pixels, "left")


@pytest.mark.parametrize("size", [(160, 120), (400, 300), (1000, 1000), (2000, 500)], ids=str)
def test_the_marks_are_in_the_pixels_whatever_the_size(size) -> None:
    width, height = size
    plain = Picture3D(np.full((height, width, 3), 60, np.uint8), EXAMPLE.letters, EXAMPLE.caption)
    grey = np.asarray(annotated(plain).convert("L"), float)
    font = max(9, min(16, round(width / 50)))
    for mark in MARKS:
        assert likeness(grey, mark, font) > 0.9, mark
    assert likeness(grey, "for every diagnosis", font) < 0.8


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize(("side", "font"), [(MIN_SIDE, 7), (112, 9)])
def test_the_marks_fit_into_a_small_picture(side: int, font: int, restored: bool) -> None:
    """They are broken between words, and what is less important gives way."""
    marks = ("partly restored, not measured", *MARKS) if restored else MARKS
    long = "muscles, with bone and organs where no muscle covers them"
    caption = ("Tomochrome", "color by model tissue", long, *marks)
    picture = Picture3D(np.full((side, side, 3), 60, np.uint8), EXAMPLE.letters, caption)
    grey = np.asarray(annotated(picture).convert("L"), float)
    for words in ("lightness not", "scanner", "not for", "diagnosis"):
        assert likeness(grey, words, font) > 0.9, words
    if restored:
        assert likeness(grey, "measured", font) > 0.9
    assert (grey[-side // 2 :, :2] == 60).all()  # no word is cut off
    assert (grey[-side // 2 :, -2:] == 60).all()
    if side > MIN_SIDE:
        middle = grey[:, side // 2 - 13 : side // 2 + 13]
        assert likeness(middle[:19], "H", 15) > 0.9 < likeness(middle[19:70], "F", 15)


def test_the_comment_of_a_picture_is_its_whole_caption(tmp_path: Path) -> None:
    picture = render(*body(), preset="skin", **DRAFT)
    save_picture(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Comment"].split("  ·  ") == list(picture.caption)
        assert image.text["Comment"].endswith("  ·  ".join(MARKS))
        assert image.text["Software"] == "Tomochrome"
        np.testing.assert_array_equal(np.asarray(image), np.asarray(annotated(picture)))


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_every_frame_of_a_film_has_letters_and_marks(tmp_path: Path, ending: str) -> None:
    av = pytest.importorskip("av") if ending == "mp4" else None
    volume, chroma = body()
    tc.save_colored(tc.ColoredScan(volume, chroma, tc.Lighting()), tmp_path / "a.tomochrome")
    out = tmp_path / f"turn.{ending}"
    report = render_file(
        tmp_path / "a.tomochrome", out,
        RenderRequest(preset="skin", quality="draft", size=(320, 240)),
        coloring=ColoringRequest(model=SAVED_MODEL), frames=4,
    )  # fmt: skip
    assert report.output == str(out)
    if av is None:
        with Image.open(out) as film:
            comment = film.info["comment"].decode()
            frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(film)]
    else:
        with av.open(str(out)) as film:
            comment = film.metadata["comment"]
            frames = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    assert comment.endswith("  ·  ".join(MARKS))
    assert len(frames) == 4
    for frame, view in zip(frames, ("front", "left", "back", "right"), strict=True):
        grey = frame.astype(float).mean(axis=-1)
        for mark in MARKS:
            assert likeness(grey[-90:], mark, 9) > 0.8, (view, mark)
        letters = {edge: letter_at(frame, edge) for edge in VIEWS[view]}
        assert letters == VIEWS[view]
