"""The marks of a 3D picture over the body that is drawn: read and measured in the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from render_cases import body
from scipy.ndimage import binary_dilation
from skimage.feature import match_template

from tomochrome.color.space import linear_of_srgb
from tomochrome.rendering import RenderRequest, Stage, annotated
from tomochrome.rendering.camera import Camera
from tomochrome.rendering.cinematic import MIN_SIDE
from tomochrome.rendering.picture_caption import caption_in

SIZES = {(64, 64): 7, (150, 150): 9, (400, 64): 9, (640, 480): 13}  #: the font of each
WORDS = ("lightness not from", "scanner", "not for diagnosis")
READABLE = 4.5  #: contrast of text, by WCAG 2.2, criterion 1.4.3


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(*body(), RenderRequest(preset="skin", quality="draft"))


def picture_of(stage: Stage, size: tuple[int, int], *, near: bool = False):
    """A picture of a size; from near, the body fills all of it, as it may on napari's screen."""
    sized = Stage.__new__(Stage)
    vars(sized).update(vars(stage), request=RenderRequest(quality="draft", size=size))
    if near:
        return sized.seen_by(Camera.looking((0.0, 0.0)).at(stage._center, 45.0))
    return sized.draw((0.0, 0.0))


def drawn_words(words: str, font: float) -> np.ndarray:
    face = ImageFont.load_default(font)
    image = Image.new("L", (int(face.getlength(words)) + 20, int(3 * font)))
    ImageDraw.Draw(image).text((10, font), words, fill=255, font=face)
    return np.asarray(image.crop(image.getbbox()), float) / 255


def read(pixels: np.ndarray, words: str, font: float) -> tuple[float, float, int]:
    """How much the most similar place looks like words, their contrast there, and its row."""
    template = drawn_words(words, font)
    likeness = match_template(pixels.astype(float).mean(axis=-1), template)
    y, x = np.unravel_index(likeness.argmax(), likeness.shape)
    height, width = template.shape
    linear = linear_of_srgb(pixels[y : y + height, x : x + width] / 255.0)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    text = template >= np.quantile(template[template > 0.3], 0.75)
    beside = binary_dilation(template > 0.3, np.ones((3, 3))) & (template < 0.05)
    light, dark = luminance[text].mean(), luminance[beside].mean()
    return float(likeness.max()), float((light + 0.05) / (dark + 0.05)), int(y)


@pytest.mark.parametrize("near", [False, True], ids=["framed", "all-body"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_marks_are_read_over_the_body(stage: Stage, size, near: bool) -> None:
    picture = picture_of(stage, size, near=near)
    if near:
        assert picture.pixels[-30:, size[0] // 4 : -size[0] // 4].min() > 60  # behind the words
    pixels = np.asarray(annotated(picture))
    for words in WORDS:
        likeness, contrast, _ = read(pixels, words, SIZES[size])
        assert likeness > 0.65, words
        assert contrast > READABLE, (words, contrast)
        assert read(picture.pixels, words, SIZES[size])[0] < 0.5  # not there by chance


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_body_is_above_the_caption(stage: Stage, size) -> None:
    picture = picture_of(stage, size)
    rows = np.flatnonzero((picture.pixels.min(axis=-1) > 60).sum(axis=1))
    pixels = np.asarray(annotated(picture))
    first = min(read(pixels, words, SIZES[size])[2] for words in WORDS)
    assert len(rows) > 0.25 * size[1]
    assert rows[-1] < first - 2
    changed = np.flatnonzero((pixels != picture.pixels)[rows[-1] + 18 :].any(axis=(1, 2)))
    assert changed.size  # the caption, below the letter at the lower edge of the body


def test_letters_at_the_top_and_bottom_do_not_cover_each_other(stage: Stage) -> None:
    """Where the caption leaves no space for both, the upper one implies the other."""
    picture = picture_of(stage, (MIN_SIDE, MIN_SIDE))
    restored = ("partly restored, not measured", *picture.caption[-2:])
    for caption, letters in ((picture.caption, "HF"), (restored, "H")):
        pixels = np.asarray(annotated(type(picture)(picture.pixels, picture.letters, caption)))
        middle = pixels[:, MIN_SIDE // 2 - 13 : MIN_SIDE // 2 + 13]
        for letter in "HF":
            likeness, contrast, _ = read(middle[:34], letter, 15)
            assert (likeness > 0.85) == (letter in letters), (letter, likeness)
            if letter in letters:
                assert contrast > READABLE


def test_what_is_less_important_gives_way_in_small_pictures() -> None:
    marks = ("partly restored, not measured", "lightness not from the scanner", "not for diagnosis")
    parts = ("Tomochrome", "color by model tissue", "the skeleton", "hidden: liver", *marks)
    written = {side: " ".join(caption_in(parts, (side, side)).lines) for side in (64, 150, 600)}
    assert all(part in written[600] for part in parts)
    assert "Tomochrome" not in written[150] and "hidden: liver" in written[150]
    assert written[64] == " ".join(marks)
