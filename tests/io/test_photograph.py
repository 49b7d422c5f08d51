"""Photographs: the right pixels, or one sentence."""

import numpy as np
import pytest
from PIL import Image

from tomochrome.errors import InputError
from tomochrome.io.picture_files import is_photograph, read_label_picture, read_photograph

PIXELS = np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)


def saved(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_pixels_are_returned_as_they_are(tmp_path):
    assert (read_photograph(saved(tmp_path / "a.png", PIXELS)) == PIXELS).all()
    assert (read_photograph(saved(tmp_path / "a.tif", PIXELS)) == PIXELS).all()
    assert (read_photograph(saved(tmp_path / "b.png", PIXELS, "RGBA")) == PIXELS).all()
    grey = read_photograph(saved(tmp_path / "c.png", PIXELS[..., 0]))
    assert (grey == PIXELS[..., :1]).all()


def test_a_color_table_gives_colors_of_a_photograph_and_indices_of_labels(tmp_path):
    labels = np.arange(35, dtype=np.uint8).reshape(7, 5) % 4
    image = Image.fromarray(labels)
    image.putpalette([9, 8, 7, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(tmp_path / "p.png")
    assert (read_label_picture(tmp_path / "p.png") == labels).all()
    assert (read_photograph(tmp_path / "p.png")[0, 1] == [200, 0, 0]).all()


def test_a_turned_photograph_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    path = saved(tmp_path / "a.png", PIXELS, exif=exif)
    assert (read_photograph(path) == np.rot90(PIXELS, -1)).all()


def test_what_cannot_be_taken_for_srgb_is_refused_in_a_sentence(tmp_path):
    deep = saved(tmp_path / "deep.png", PIXELS[..., 0].astype(np.uint16) * 200)
    print_ = saved(tmp_path / "print.jpg", PIXELS, "CMYK")
    clear = np.dstack([PIXELS, np.full((7, 5), 90, np.uint8)])
    for path, words in (
        (deep, "I;16"),
        (print_, "CMYK"),
        (saved(tmp_path / "clear.png", clear), "transparent"),
    ):
        with pytest.raises(InputError, match=words):
            read_photograph(path)
    with pytest.raises(InputError, match="label picture"):
        read_label_picture(saved(tmp_path / "rgb.png", PIXELS))
    huge = tmp_path / "huge.png"
    Image.new("1", (8001, 8000)).save(huge)
    with pytest.raises(InputError, match="8001 x 8000"):
        read_photograph(huge)


def test_damaged_files_are_named(tmp_path):
    whole = saved(tmp_path / "a.png", np.tile(PIXELS, (40, 40, 1))).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.png", "text.png"):
        with pytest.raises(InputError, match=f"{name}.*photograph"):
            read_photograph(tmp_path / name)
    with pytest.raises(InputError, match="no file"):
        read_photograph(tmp_path / "none.png")


def test_photographs_are_known_by_their_ending(tmp_path):
    assert is_photograph(tmp_path / "a.JPG") and not is_photograph(tmp_path / "a.nii.gz")
