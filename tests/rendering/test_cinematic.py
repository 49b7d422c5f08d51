"""3D pictures: never mirrored, nothing outside the patient, and what each setting does."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from render_cases import DRAFT, LARGER, MARKERS, body, marked_scan, with_tissues

from marker_cases import OFFSETS, STORED, stored_as
from tomochrome.color import Chroma, TissueSelection
from tomochrome.color.codes import FreeColors
from tomochrome.errors import Cancelled, InputError, OptionError
from tomochrome.notices import Notice
from tomochrome.rendering import RENDER_PRESETS, RenderRequest, render, render_preset, turntable
from tomochrome.rendering.camera import VIEWS, Camera, HalfSpace
from tomochrome.rendering.cinematic import Stage, turn
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume

ONLY = tuple(tissue.label for tissue in MARKERS.values())


def markers(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Where each marker is in a picture: right and up of the middle, in pixels."""
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    masks = {
        "L": (red > 70) & (red > 1.9 * green),
        "A": (green > 50) & (green > 1.08 * red) & (green > 1.4 * blue),
        "H": (red > 90) & (green > 0.6 * red) & (green < red) & (blue < 0.8 * red),
    }
    middle = (np.array(pixels.shape[:2]) - 1) / 2
    found = {}
    for name, mask in masks.items():
        assert mask.sum() > 8, f"no marker {name}"
        found[name] = (np.argwhere(mask).mean(axis=0) - middle)[::-1] * (1, -1)
    return found


def stored_scan(stored):
    """The markers stored with the axes in another order and direction, with their tissues."""
    volume, tissue = marked_scan()
    codes = stored_as(Volume(tissue, volume.affine, "unknown"), *stored)
    return with_tissues(stored_as(volume, *stored), codes.voxels)


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_pictures_and_films_are_never_mirrored_however_the_scan_is_stored(stored) -> None:
    """What `render` and `turntable` draw, of one body: to prepare it takes most of the time."""
    stage = Stage(*stored_scan(stored), RenderRequest(only=ONLY, view="30/20", **DRAFT))
    check_places(stage.draw((30.0, 20.0)).pixels, Camera.looking((30.0, 20.0)))
    frames = turn(stage, 5)
    for k in range(2):  # later all markers are not in view
        check_places(next(frames).pixels, Camera.looking((30.0 + 72 * k, 20.0)))


@pytest.mark.parametrize("stored", STORED[11::12], ids=str)
def test_render_and_turntable_draw_the_stage(stored) -> None:
    scan, settings = stored_scan(stored), {"only": ONLY, "view": "30/20", **DRAFT}
    stage = Stage(*scan, RenderRequest(**settings))
    picture, frame = stage.draw((30.0, 20.0)), next(turn(stage, 5))
    np.testing.assert_array_equal(render(*scan, **settings).pixels, picture.pixels)
    np.testing.assert_array_equal(next(turntable(*scan, 5, **settings)).pixels, frame.pixels)


def check_places(pixels: np.ndarray, camera: Camera) -> None:
    """Check that the markers lie from each other as a camera sees them."""
    places = markers(pixels)
    for a, b in (("L", "A"), ("A", "H"), ("L", "H")):
        apart = np.subtract(OFFSETS[a], OFFSETS[b])
        expected = np.array([apart @ camera.right, apart @ camera.up])
        measured = places[a] - places[b]
        cosine = expected @ measured / np.linalg.norm(expected) / np.linalg.norm(measured)
        assert cosine > 0.97, (a, b, expected, measured)


@pytest.mark.parametrize("view", VIEWS)
def test_letters_say_where_the_markers_are(view: str) -> None:
    volume, tissue = marked_scan()
    picture = render(*with_tissues(volume, tissue), only=ONLY, view=view, **DRAFT)
    red = picture.pixels.astype(int)
    side = {"R": -1, "L": 1}
    if picture.letters["right"] in side:
        mask = (red[..., 0] > 70) & (red[..., 0] > 1.9 * red[..., 1])
        offset = np.argwhere(mask)[:, 1].mean() - red.shape[1] / 2
        assert np.sign(offset) == side[picture.letters["right"]]


def test_couch_and_air_leave_no_trace() -> None:
    volume, chroma = body()
    hu = volume.voxels.copy()
    hu[:, 34:36] = -1000
    bare = volume.with_voxels(hu)
    for preset in ("skin", "bone"):
        pictures = [render(v, chroma, preset=preset, view="back", **DRAFT) for v in (volume, bare)]
        assert np.abs(np.subtract(*(p.pixels.astype(int) for p in pictures))).max() <= 12


def test_a_picture_has_a_dark_background_and_a_lit_body() -> None:
    picture = render(*body(), preset="skin", **LARGER)
    assert picture.pixels.shape == (360, 480, 3)
    assert picture.pixels[:12].max() < 60
    assert picture.pixels[150:210, 210:270].min() > 60
    assert picture.caption[-2:] == ("lightness not from the scanner", "not for diagnosis")


def test_a_picture_of_a_restored_scan_says_so() -> None:
    volume, chroma = body()
    mask = np.zeros(volume.shape, np.bool_)
    assert not any("restored" in part for part in render(volume, chroma, **DRAFT).caption)
    mask[2, 3, 4] = True
    picture = render(replace(volume, restored=mask), chroma, **DRAFT)
    assert "partly restored, not measured" in picture.caption
    told = Provenance(warnings=(Notice("restored", "warning", "tissues of a restored scan"),))
    picture = render(volume, replace(chroma, provenance=told), **DRAFT)
    assert "partly restored, not measured" in picture.caption


def test_a_cut_opens_the_body() -> None:
    scan = body()
    closed = render(*scan, preset="skin", **LARGER).pixels.astype(int)
    opened = render(*scan, preset="skin", cut="y=32", **LARGER).pixels.astype(int)
    # the liver lies at the patient's right: on the left of the picture, darker than skin
    assert opened[180, 165].sum() < closed[180, 165].sum() - 60
    behind = render(*scan, preset="skin", cut="y=32", view="back", **LARGER).pixels.astype(int)
    assert np.abs(behind[180, 315] - opened[180, 165]).max() < 40  # from behind, the same liver


@pytest.mark.parametrize("view", ["front", "back", "top"])
def test_a_cut_beside_the_body_is_refused_on_both_sides(view: str) -> None:
    """Whether it would remove nothing or everything; the sentence says where the body is."""
    scan = body()
    message = r"the cut y={} does not meet .*; choose a position between y=(-?\d+) and y=(-?\d+)$"
    ends = set()
    for place in (-900, 900):
        with pytest.raises(OptionError) as refused:
            render(*scan, preset="skin", cut=f"y={place}", view=view, **DRAFT)
        ends.add(re.fullmatch(message.format(place), str(refused.value)).groups())
    ((low, high),) = ends
    tissue = (scan[1].code == Tissue.SKIN).any(axis=(0, 2)).nonzero()[0]
    first, last = ((scan[0].affine @ (0, y, 0, 1))[1] for y in (tissue[0], tissue[-1]))
    assert (int(low), int(high)) == pytest.approx((first, last), abs=3)
    for place in (int(low) + 3, int(high) - 3):
        render(*scan, preset="skin", cut=f"y={place}", view=view, **DRAFT)


def test_captions_say_what_was_left_out() -> None:
    scan = body()

    def caption(**settings) -> tuple[str, ...]:
        return render(*scan, **DRAFT, **settings).caption[2:-2]

    organs = RENDER_PRESETS["organs"].about
    assert caption(preset="organs") == (organs,)
    hidden = caption(preset="organs", hide=("spleen", "stomach", "fat"))  # never with fat
    assert hidden == (organs, "hidden: spleen, stomach")
    assert caption(preset="organs", tissues=TissueSelection(hidden={"spleen"})) == (
        organs, "hidden: spleen",
    )  # fmt: skip
    dimmed = TissueSelection(hidden={"kidney"}, dimmed={"spleen"}, greyed={"fat"})
    assert caption(preset="organs", tissues=dimmed) == (
        organs, "hidden: kidney", "faint: fat, spleen",
    )  # fmt: skip
    alone = TissueSelection.only(["liver"], "dim")
    about, faint = caption(preset="organs", tissues=alone)
    assert about == "only liver"
    assert faint.startswith("faint: lung, airway, fat") and faint.endswith(" and 17 more")
    half = HalfSpace((1.0, 0.0, 0.0), 48.0)
    assert caption(preset="skin", cut="y=32") == ("the surface of the body", "cut at y=32 mm")
    assert caption(preset="skin", clip=(half,)) == ("the surface of the body", "clipped")


@pytest.mark.parametrize(
    ("preset", "other", "main"),
    [("brain", "SPINAL_CORD", "EYE"), ("lungs-vessels", "HEART", "LUNG")],
)
def test_a_preset_needs_the_tissues_that_it_is_named_for(preset, other, main) -> None:
    """A scan of the abdomen has a spinal cord and vessels, too."""
    volume, chroma = body()
    code = chroma.code.copy()
    code[code == Tissue.LIVER] = Tissue[other]
    hu = np.where(code == Tissue.SPLEEN, 20, volume.voxels)
    if main == "LUNG":
        hu[code == Tissue.SPLEEN] = -750
    scan = volume.with_voxels(hu, unit="HU"), code
    with pytest.raises(OptionError, match=f"nothing of '{preset}' .*{main.lower()}"):
        render(scan[0], replace(chroma, code=code), preset=preset, **DRAFT)
    code = np.where(code == Tissue.SPLEEN, np.uint16(Tissue[main]), code)
    seen = render(scan[0], replace(chroma, code=code), preset=preset, **DRAFT)
    assert (seen.pixels.max(axis=-1) > 80).sum() > 500
    hidden = RENDER_PRESETS[preset].main  # the user may want the rest
    render(scan[0], replace(chroma, code=code), preset=preset, hide=hidden, **DRAFT)


def test_a_single_slice_is_refused_by_its_reason() -> None:
    volume, chroma = body((1, 40, 48))
    for axes in ((0, 1, 2), (1, 0, 2)):
        affine = volume.affine[:, [*axes, 3]]
        turned = Volume(volume.voxels.transpose(axes), affine)
        code, confidence = (x.transpose(axes) for x in (chroma.code, chroma.confidence))
        same = replace(chroma, code=code, confidence=confidence, affine=affine)
        with pytest.raises(OptionError, match="a single slice cannot be drawn in 3D"):
            render(turned, same, preset="skin", **DRAFT)
    render(*body((2, 40, 48)), preset="skin", **DRAFT)


def test_hidden_tissues_are_not_there() -> None:
    scan = body()
    both = render(*scan, only=("liver", "spleen"), **DRAFT).pixels
    liver = render(*scan, only=("liver", "spleen"), hide=("spleen",), **DRAFT).pixels
    alone = render(*scan, only=("liver",), **DRAFT).pixels
    assert np.array_equal(liver, alone)
    assert not np.array_equal(both, alone)


def test_a_preset_that_shows_nothing_says_so() -> None:
    scan = body()
    for preset in ("brain", "lungs-vessels", "heart-vessels"):
        with pytest.raises(OptionError, match=f"the scan shows nothing of '{preset}'"):
            render(*scan, preset=preset, **DRAFT)


@pytest.mark.parametrize("look", ["standard", "photograph"])
def test_saturation_zero_is_grey(look: str) -> None:
    pixels = render(*body(), preset="skin", saturation=0.0, look=look, **LARGER).pixels.astype(int)
    inside = pixels[150:210, 180:300]
    assert (inside.max(axis=-1) - inside.min(axis=-1)).max() < 14  # shadows are a little warm


def test_what_is_uncertain_fades_to_grey() -> None:
    volume, chroma = body()
    unsure = replace(chroma, confidence=np.full_like(chroma.confidence, 100))  # of 255
    pictures = [
        render(volume, given, only=("liver",), min_confidence=least, **DRAFT).pixels.astype(int)
        for given, least in ((unsure, 0.0), (unsure, 0.8), (chroma, 0.8))
    ]
    colored, faded, sure = (np.percentile(np.ptp(p, axis=-1), 98) for p in pictures)
    assert faded < 0.5 * colored
    assert sure == colored


def test_a_turn_ends_where_it_began() -> None:
    scan = body()
    frames = [p.pixels for p in turntable(*scan, 4, preset="skin", view="right", **DRAFT)]
    assert len(frames) == 4
    assert not np.array_equal(frames[0], frames[2])
    # a quarter from the right is the front: the camera moves towards the patient's left
    letters = [p.letters["left"] for p in turntable(*scan, 4, preset="skin", view="right", **DRAFT)]
    assert letters == ["P", "R", "A", "L"]


def test_a_cancelled_picture_stops() -> None:
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        render(*body(), preset="skin", **DRAFT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "nobody"}, "unknown preset 'nobody': choose one of auto, skin"),
        ({"only": ("hair",)}, "unknown tissue 'hair'"),
        ({"only": ("air",)}, "air cannot be drawn in 3D"),
        ({"only": ("liver", "air")}, "air cannot be drawn in 3D"),
        ({"only": ("liver",), "hide": ("liver",)}, "all tissues of the preset 'liver' are hidden"),
        ({"size": (10, 100)}, "the size must be from 64 to 4096 pixels, not 10x100"),
        ({"size": (100, 5000)}, "the size must be"),
        ({"cut": "w=3"}, "the cut must be x=MM"),
        ({"cut": "x"}, "the cut must be x=MM"),
        ({"cut": "x=nan"}, "the cut must be x=MM"),
        ({"quality": "best"}, "the quality must be draft or final"),
        ({"look": "painting"}, "the look must be standard or photograph"),
        ({"saturation": 3.0}, "the saturation must be from 0 to 1"),
        ({"min_confidence": -0.1}, "the minimum confidence must be from 0 to 1"),
        ({"palette": "none"}, "unknown palette 'none'"),
    ],
)
def test_wrong_settings_are_refused_before_the_work(settings, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        RenderRequest(**settings).check()


def test_a_film_has_a_sensible_number_of_frames() -> None:
    with pytest.raises(OptionError, match="a film has 2 to 720 frames, not 1"):
        next(turntable(*body(), 1))


def test_what_cannot_be_drawn_is_refused() -> None:
    volume, chroma = body()
    colored = volume.with_voxels(np.zeros((*volume.shape, 4), np.uint8), unit="RGBA")
    with pytest.raises(InputError, match="already colored"):
        render(colored, chroma)
    free = Chroma(
        np.minimum(chroma.code, 1), chroma.confidence,
        FreeColors(np.array([[0, 0], [10, 10]], np.float32)), chroma.affine, model="free",
    )  # fmt: skip
    with pytest.raises(OptionError, match="'free' predicts colors, not tissues"):
        render(volume, free)


def test_auto_chooses_by_the_region_of_the_body() -> None:
    shares = np.zeros(26)
    shares[Tissue.LIVER] = 1
    assert render_preset(shares=shares) is RENDER_PRESETS["organs"]
    shares[Tissue.LUNG] = 2
    assert render_preset(shares=shares) is RENDER_PRESETS["bone-vessels"]
