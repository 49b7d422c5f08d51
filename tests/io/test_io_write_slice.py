"""A picture of one slice as a file: what is refused, and what becomes of an existing one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from marker_cases import marked, turned
from tomochrome.errors import OptionError, OutputError
from tomochrome.io import write_slice

MIDDLE = "z=318"


def grey_levels(path):
    with Image.open(path, formats=("PNG",)) as picture:
        return np.asarray(picture.convert("L"))


def test_restored_voxels_are_hatched(tmp_path):
    volume = marked()
    grey = replace(volume, voxels=np.full_like(volume.voxels, 90))
    write_slice(grey, tmp_path / "a.png", MIDDLE)
    write_slice(replace(grey, restored=np.ones(grey.shape[:3], bool)), tmp_path / "b.png", MIDDLE)
    plain, hatched = (grey_levels(tmp_path / f"{name}.png") for name in "ab")
    middle = (slice(300, 400), slice(300, 400))
    assert plain[middle].std() < 2 < hatched[middle].std()
    with Image.open(tmp_path / "b.png") as picture:
        assert "restored" in picture.text["Comment"]


@pytest.mark.parametrize(
    ("turn", "axis", "words"),
    [
        (0, 2, "axial, z"),
        (0, 0, "sagittal, x"),
        (30, 2, "axial, oblique by 30 degrees, z"),
        (30, 0, "sagittal, x"),  # across the axis about which it is turned
    ],
)
def test_the_plane_that_a_picture_names_is_that_of_the_grid(
    monkeypatch, tmp_path, turn, axis, words
):
    drawn = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *given, **_: drawn.append(given[2]))
    volume = turned(marked(), 0, 0, turn)
    middle = volume.affine @ (*((n - 1) / 2 for n in volume.shape), 1)
    write_slice(volume, tmp_path / "a.png", f"{words[-1]}={middle[axis]}")
    assert f"{words} = {middle[axis]:.0f} mm" in drawn


def test_an_existing_picture_is_kept_unless_replaced(tmp_path):
    target = tmp_path / "a.png"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_slice(marked(), target, MIDDLE)
    assert target.read_text() == "mine"
    write_slice(marked(), target, MIDDLE, force=True)
    assert grey_levels(target).size
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "position", "error", "words"),
    [
        ("a.nii.gz", MIDDLE, OutputError, "a picture of one slice ends in .png"),
        ("a.png", "318", OptionError, "the slice must be x=MM"),
        ("a.png", "z=0", OptionError, "there is no axial slice at z=0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, name, position, error, words):
    with pytest.raises(error, match=words):
        write_slice(marked(), tmp_path / name, position)
    assert not list(tmp_path.iterdir())


def test_a_scan_without_colors_is_refused(tmp_path):
    scan = replace(marked(), voxels=np.zeros(marked().shape[:3], np.int16), unit="HU")
    with pytest.raises(OutputError, match="needs a colored volume"):
        write_slice(scan, tmp_path / "a.png", MIDDLE)
