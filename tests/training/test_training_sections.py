"""Single sections: their split, and their planes in the CT of the same body."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tomochrome.errors import InputError
from tomochrome.phantom import make_patient
from tomochrome.training import visible_human
from tomochrome.training.color_data import HEAD_END
from tomochrome.training.sections import (
    NEIGHBORS_MM,
    Section,
    place_sections,
    read_clean_sections,
    section_pair,
    split_sections,
)
from tomochrome.training.visible_human import find_sections
from tomochrome.volume import Volume

PITCH, HEIGHT = 4.0, 180.0  # degrees; height of section 0 in mm


def sections_at(depths):
    empty = np.zeros((2, 2), bool)
    return [Section(np.zeros((2, 2, 3), np.uint8), empty, 1.0, float(depth)) for depth in depths]


@pytest.mark.parametrize(
    ("depths", "left_out"),
    [
        ((1015.7, 1039, 1041, 1067, 1075, 1107, 1124, 1126, 1169), {1015.7, 1107, 1169}),
        ((1588.0, 1588.3, 1588.7), set()),  # neighbors are nearly equal: all or none
        ((1432, 1434), set()),  # too few of a region
        ((1100, 1120, 1140), {1100, 1120}),
    ],
)
def test_sections_with_neighbors_are_never_left_out(depths, left_out):
    parts = split_sections(sections_at(depths))
    assert {d for d, part in zip(depths, parts, strict=True) if part != "learn"} == left_out
    learned = [d for d, part in zip(depths, parts, strict=True) if part == "learn"]
    assert all(abs(a - b) >= NEIGHBORS_MM for a in left_out for b in learned)


def test_a_part_is_chosen_within_a_region():
    parts = split_sections(sections_at((1100, 1140, 1200, 1700, 1740, 1780, 2300)))
    assert parts == ["test", "validate", "learn", "test", "validate", "learn", "learn"]


@pytest.fixture(scope="module")
def head():
    patient = make_patient(4, "head", (2.0, 2.0, 2.0), couch=False)
    return patient.ct, patient.cryosection()


def cut(head, depth, move):
    """A section of a phantom: a pitched plane, moved and turned within itself."""
    scan, colors = head
    angle, dy, dx = move
    mm = np.stack(np.meshgrid(np.arange(0, 240, 1.5), np.arange(0, 220, 1.5), indexing="ij"))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    center = np.array(scan.shape[1:]) * 2.0 / 2
    y, x = mm[0] - 120, mm[1] - 110
    v, u = cos * y - sin * x + dy, sin * y + cos * x + dx
    z = HEIGHT - depth + np.tan(np.radians(PITCH)) * v
    at = [axis / 2.0 for axis in (z, v + center[0], u + center[1])]
    rgb = np.stack(
        [ndimage.map_coordinates(colors[..., c].astype(float), at, order=1) for c in range(3)], -1
    )
    hu = ndimage.map_coordinates(scan.voxels.astype(float), at, order=1, cval=-1000)
    return Section(rgb.astype(np.uint8), rgb[..., 0] > rgb[..., 2], 1.5, depth), hu


def test_planes_are_found_in_the_ct(head):
    moves = {70.0: (3.0, 4.0, -3.0), 100.0: (-2.0, -5.0, 2.0), 130.0: (0.0, 2.0, 5.0)}
    cuts = [cut(head, depth, move) for depth, move in moves.items()]
    places = place_sections([section for section, _ in cuts], head[0])
    for place, (section, hu) in zip(places, cuts, strict=True):
        pair = section_pair(section, head[0], place)
        inside = ndimage.binary_erosion(section.tissue, iterations=3)
        assert np.degrees(np.arctan(place.axes[0, 0])) == pytest.approx(PITCH, abs=1.5)
        assert place.outline_mm < 2.0
        assert np.median(np.abs(pair.hu[0][inside] - hu[inside])) < 25
        assert np.corrcoef(pair.hu[0][inside], hu[inside])[0, 1] > 0.85


def test_sections_of_another_region_are_refused(head):
    section, _ = cut(head, 100.0, (0.0, 0.0, 0.0))
    far = Section(section.rgb, section.tissue, section.pixel_mm, 100.0 + 5000.0)
    with pytest.raises(InputError, match="do not lie within the CT"):
        place_sections([section, far], head[0])
    air = Volume(np.full((20, 40, 40), -1000, np.int16), head[0].affine, "HU")
    with pytest.raises(InputError, match="do not lie within the CT"):
        place_sections([section], air)


def test_sections_are_read_on_the_radiological_side(tmp_path, monkeypatch):
    monkeypatch.setattr(visible_human, "WIDTH", 1024)
    monkeypatch.setattr(visible_human, "HEIGHT", 608)
    rgb = np.full((304, 512, 3), (30, 70, 130), np.uint8)
    rgb[60:200, 150:350] = (190, 160, 110)
    rgb[150:190, 160:200] = (90, 30, 20)  # anterior is below in the file
    Image.fromarray(rgb).save(tmp_path / "avf1588b.png")
    Image.fromarray(np.full_like(rgb, (30, 70, 130))).save(tmp_path / "avf2730a.png")  # no tissue
    (section,) = read_clean_sections(tmp_path)
    assert section.depth_mm == pytest.approx(1588 + 1 / 3)
    assert section.pixel_mm == pytest.approx(0.66)
    red = np.argwhere(section.rgb[..., 0] < 110).mean(axis=0)
    middle = (np.array(section.tissue.shape) - 1) / 2
    assert red[0] < middle[0] and red[1] < middle[1]  # anterior and right: above and on the left
    assert section.tissue.shape == pytest.approx((140 + 24, 200 + 24), abs=6)


def test_a_folder_without_sections(tmp_path):
    with pytest.raises(InputError, match="has no color sections"):
        read_clean_sections(tmp_path)


@pytest.mark.slow
def test_the_head_of_the_visible_human(shared_data: Path) -> None:
    """Outlines agree, and the eyes of section and CT lie at the same place."""
    import tomochrome as tc

    folder = shared_data / "cryosection" / "sections"
    assert len([s for s in find_sections(folder) if s.depth_mm < HEAD_END]) == 9
    sections = [s for s in read_clean_sections(folder) if s.depth_mm < HEAD_END]
    scan = tc.read(shared_data / "ct" / "head_female_1mm.nii.gz")
    places = place_sections(sections, scan)
    outlines = [place.outline_mm for place in places]
    assert max(outlines[1:]) < 2.5 and np.median(outlines) < 1.7  # the first is the vertex
    pitches = {round(float(place.axes[0, 0]), 6) for place in places[3:]}
    assert all(-0.07 < pitch < -0.04 for pitch in pitches)
