"""Markers at the patient's left, front and head stay there in contact sheets and in exports."""

from __future__ import annotations

import random
from functools import cache
from itertools import permutations

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image, ImageDraw, ImageFont

from marker_cases import CHANNEL, NAMED, OFFSETS, STORED, marked, places, stored_as, turned
from tomochrome.geometry.planes import nearest_slice, slice_positions
from tomochrome.io import slice_pictures, write
from tomochrome.io.slice_pictures import (
    CAPTION,
    COLUMNS,
    GAP,
    SlicePictures,
    contact_sheet,
    frames,
    slice_picture,
)

SOME = list(dict.fromkeys([*NAMED.values(), *random.Random(11).sample(STORED, 5)]))
TILE = (320, 283)  # width and height of a tile of the markers' sheet


def tile_of(sheet, index):
    """The picture of one slice, RGB integers."""
    x = GAP + index % COLUMNS * (TILE[0] + GAP)
    y = GAP + index // COLUMNS * (TILE[1] + GAP)
    return np.asarray(sheet.crop((x, y, x + TILE[0], y + TILE[1]))).astype(int)


def center(tile, channel):
    first, second = (tile[..., other] < 60 for other in {0, 1, 2} - {channel})
    where = np.argwhere((tile[..., channel] > 150) & first & second)
    return where.mean(axis=0) if len(where) > 20 else None


@cache
def letters_at(place, anchor):
    """What a contact sheet looks like around a place, for all that may be written there."""
    font, pictures = ImageFont.load_default(15), {}
    pairs = [a + b for a, b in permutations("RLAPHF", 2)]
    for letters in [*"RLAPHF", *pairs]:
        picture = Image.new("RGB", TILE)
        ImageDraw.Draw(picture).text(
            place, letters, (235,) * 3, font, anchor=anchor, stroke_width=2, stroke_fill=(0,) * 3
        )
        pictures[letters] = around(np.asarray(picture).astype(int), place)
    return pictures


def around(tile, place):
    x, y = (int(np.clip(value, 24, size - 24)) for value, size in zip(place, TILE, strict=True))
    return tile[y - 24 : y + 24, x - 24 : x + 24]


def written_at(tile, place, anchor):
    """Which letters are written at a place."""
    here = around(tile, place)
    pictures = letters_at(place, anchor)
    return min(pictures, key=lambda letters: np.abs(pictures[letters] - here).sum())


def letters_on(tile):
    """The letters at the left, right, top and bottom of a tile."""
    width, height = TILE
    return [
        written_at(tile, (4, height / 2), "lm"),
        written_at(tile, (width - 4, height / 2), "rm"),
        written_at(tile, (width / 2, 3), "mt"),
        written_at(tile, (width / 2, height - 4), "mb"),
    ]


def field(volume):
    """The volume with faint corners, so that a contact sheet shows all of its field."""
    voxels = volume.voxels.copy()
    voxels[voxels[..., 3] == 0] = (30, 30, 30, 255)
    return type(volume)(voxels, volume.affine, "RGBA")


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_contact_sheets_are_radiological_for_every_stored_orientation(stored):
    sheet = contact_sheet(field(stored_as(marked(), *stored)))
    middle = tile_of(sheet, 9)  # of 19 slices
    left, front = center(middle, CHANNEL["L"]), center(middle, CHANNEL["A"])
    assert left[1] > TILE[0] * 0.75  # the patient's left on the right
    assert abs(left[0] - TILE[1] / 2) < 12
    assert front[0] < TILE[1] * 0.25  # the front on top
    assert abs(front[1] - TILE[0] / 2) < 12
    heads = [i for i in range(19) if center(tile_of(sheet, i), CHANNEL["H"]) is not None]
    assert max(heads) < 9  # from the head to the feet
    assert letters_on(middle) == ["R", "L", "A", "P"]


#: Edges near which markers are in single slices across x, y and z, and the letters of the edges.
EDGES = (
    ({"A": "left", "H": "top"}, "APHF"),
    ({"L": "right", "H": "top"}, "RLHF"),
    ({"L": "right", "A": "top"}, "RLAP"),
)


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_single_slices_are_radiological_for_every_stored_orientation(stored, monkeypatch):
    monkeypatch.setattr(slice_pictures, "SLICE_SIDE", 200)
    volume = field(stored_as(marked(), *stored))
    for axis, (edges, letters) in enumerate(EDGES):
        index = nearest_slice(volume, axis, float(np.median(slice_positions(volume, axis))))
        pixels = np.asarray(slice_picture(volume, axis, index))
        height, width = pixels.shape[:2]
        for marker, edge in edges.items():
            y, x = center(pixels, CHANNEL[marker])
            far = {"left": x / width, "right": 1 - x / width, "top": y / height}[edge]
            assert far < 0.3
        written = SlicePictures.of(volume, 100, [index], axis).letters
        assert "".join(written[edge] for edge in ("left", "right", "top", "bottom")) == letters


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_films_are_radiological_for_every_stored_orientation(stored):
    """The frames of both kinds of film, GIF and MP4."""
    drawn = [np.asarray(x) for x in frames(field(stored_as(marked(), *stored)), 140)]
    height, width = drawn[9].shape[:2]  # of 19
    assert center(drawn[9], CHANNEL["L"])[1] > 0.65 * width  # wider than the slice
    assert center(drawn[9], CHANNEL["A"])[0] < 0.3 * height
    heads = [i for i, frame in enumerate(drawn) if center(frame, CHANNEL["H"]) is not None]
    assert heads and max(heads) < 9  # from the head to the feet


def test_oblique_contact_sheets_have_the_true_letters():
    sheet = contact_sheet(field(stored_as(turned(marked(), 30, 0, 0), *STORED[29])))
    assert letters_on(tile_of(sheet, 9)) == ["RA", "LP", "AL", "PR"]


def test_the_scale_bar_of_a_contact_sheet_is_as_long_as_it_says():
    sheet = contact_sheet(field(marked()))
    middle = tile_of(sheet, 9)
    apart = center(middle, CHANNEL["L"]) - center(middle, CHANNEL["A"])
    offset = np.subtract(OFFSETS["L"], OFFSETS["A"])
    pixels_per_mm = np.abs(apart).sum() / np.abs(offset).sum()
    strip = np.asarray(sheet).astype(int)[-CAPTION:, -400:].max(axis=-1)
    line = strip[CAPTION - CAPTION // 2]
    first, last = np.flatnonzero(line > 200)[[0, -1]]
    runs = np.flatnonzero(np.diff(np.flatnonzero(line > 200)) > 1)
    start = np.flatnonzero(line > 200)[runs[-1] + 1] if len(runs) else first
    length = (last - start) / pixels_per_mm
    assert length == pytest.approx(10, abs=0.4)  # the longest round one within a third of a tile


@pytest.mark.parametrize("stored", SOME, ids=str)
@pytest.mark.parametrize("oblique", [False, True])
def test_exports_keep_the_markers_where_they_are(tmp_path, stored, oblique):
    """Read back by other programs: nibabel, SimpleITK and pydicom, not our own readers."""
    volume = stored_as(turned(marked(), 25, -10, 15) if oblique else marked(), *stored)
    opaque = type(volume)(volume.voxels, volume.affine, "RGBA")
    wanted = places(volume)
    write(opaque, tmp_path / "a.nii.gz")
    write(opaque, tmp_path / "a.nrrd")
    write(opaque, f"{tmp_path}/sc/")
    for name, read in (("a.nii.gz", by_nibabel), ("a.nrrd", by_itk), ("sc", by_pydicom)):
        found = read(tmp_path / name)
        for marker, place in wanted.items():
            np.testing.assert_allclose(found[marker], place, atol=0.02, err_msg=f"{name} {marker}")


def by_nibabel(path):
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    found = {}
    for name, field_name in zip(CHANNEL, "RGB", strict=True):
        index = np.argwhere(data[field_name] > 128).mean(axis=0)
        right, anterior, superior = image.affine[:3, :3] @ index + image.affine[:3, 3]
        found[name] = np.array([-right, -anterior, superior])
    return found


def by_itk(path):
    image = SimpleITK.ReadImage(str(path))
    data = SimpleITK.GetArrayFromImage(image)
    return {
        name: np.array(
            image.TransformContinuousIndexToPhysicalPoint(
                np.argwhere(data[..., channel] > 128).mean(axis=0)[::-1].tolist()
            )
        )
        for name, channel in CHANNEL.items()
    }


def by_pydicom(folder):
    points = {name: [] for name in CHANNEL}
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        along_row, along_column = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
        between_rows, between_columns = map(float, dataset.PixelSpacing)
        origin = np.array(dataset.ImagePositionPatient, float)
        pixels = dataset.pixel_array
        for name, channel in CHANNEL.items():
            row, column = np.argwhere(pixels[..., channel] > 128).T[..., np.newaxis]
            points[name].append(
                origin + along_row * between_columns * column + along_column * between_rows * row
            )
    return {name: np.concatenate(found).mean(axis=0) for name, found in points.items()}
