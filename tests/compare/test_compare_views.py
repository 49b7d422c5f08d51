"""Wipe, flicker, blend, red-cyan, difference and contours."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from compare_cases import AFFINE, SHAPE, ct, keys, rgba
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.color import srgb_to_lab
from tomochrome.compare import (
    MODES,
    Blend,
    BlendSettings,
    CheckerboardSettings,
    Contours,
    ContourSettings,
    Difference,
    DifferenceSettings,
    Flicker,
    FlickerSettings,
    Pair,
    RedCyan,
    Wipe,
    WipeSettings,
    render,
    view,
)
from tomochrome.compare.region import Region
from tomochrome.errors import InputError, OptionError
from tomochrome.volume import Volume

A, B = ct(seed=1), ct(seed=2)
HALF = Volume(B.voxels[:, :, :4], AFFINE)
GREY = Pair(A, B)
SHIFTED = AFFINE.copy()
SHIFTED[:3, 3] += 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("color", [False, True])
def test_every_view_looks_like_an_array(mode: str, color: bool) -> None:
    it = view(mode, Pair(A, B, color=color))
    whole = np.asarray(it)
    assert (it.shape, it.dtype, it.ndim) == (whole.shape, whole.dtype, whole.ndim)
    assert (it.size, it.nbytes, len(it)) == (whole.size, whole.nbytes, len(whole))
    assert type(it).__name__ in repr(it)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(it, copy=False)
    volume = render(it)
    assert volume.voxels.shape == it.shape
    assert volume.unit == it.unit
    assert "not for diagnosis" in volume.provenance.extra["description"]
    np.testing.assert_array_equal(volume.voxels[2], it[2])


def test_the_window_is_told_to_whoever_reads_the_file() -> None:
    said = render(view("blend", Pair(A, B, window="lung"))).provenance.extra
    assert said["window"] == "-600/1500"
    assert "window" not in render(view("difference", GREY)).provenance.extra
    assert "window" not in render(view("blend", GREY)).provenance.extra


@pytest.mark.parametrize("other", [ct(affine=SHIFTED), rgba(affine=SHIFTED), B])
def test_what_was_prepared_changes_nothing(other: Volume) -> None:
    it, again = view("checkerboard", Pair(A, other)), view("checkerboard", Pair(A, other))
    it.prepare()
    np.testing.assert_array_equal(np.asarray(it), np.asarray(again))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["blend", "red-cyan", "difference", "flicker"]), st.booleans(), st.data())
def test_a_part_is_a_part_of_the_whole(mode: str, color: bool, data: st.DataObject) -> None:
    it = view(mode, Pair(A, HALF, color=color))
    key = data.draw(keys(it.shape))
    np.testing.assert_array_equal(it[key], np.asarray(it)[key])


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["wipe", "contour"]), st.integers(0, 2), st.integers(0, 4),
    st.slices(9), st.slices(7), st.booleans(),
)  # fmt: skip
def test_a_part_of_a_plane_is_a_part_of_it(mode, axis, index, first, second, color) -> None:
    it = view(mode, Pair(A, HALF, color=color))
    key: list[object] = [first, second]
    whole: list[object] = [slice(None), slice(None)]
    key.insert(axis, index)
    whole.insert(axis, index)
    np.testing.assert_array_equal(it[tuple(key)], it[tuple(whole)][first, second])


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
@pytest.mark.parametrize("plane", [0, 1, 2])
@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_a_wipe_has_a_place_in_every_plane(direction, plane, position) -> None:
    it = Wipe(GREY, WipeSettings(direction).moved(plane, position))
    shown = [axis for axis in range(3) if axis != plane]
    along = shown[1] if direction == "vertical" else shown[0]
    assert it.axis(plane) == along
    key: list[object] = [slice(None)] * 3
    key[plane] = 3
    picture = it[tuple(key)]
    a, b = A.voxels[tuple(key)], B.voxels[tuple(key)]
    lines = 1 if direction == "vertical" else 0
    for n in range(picture.shape[lines]):
        expected = a if (n + 0.5) / picture.shape[lines] < position else b
        np.testing.assert_array_equal(picture.take(n, lines), expected.take(n, lines))
    other = it[(0, ...) if plane != 0 else (slice(None), 0)]
    assert (other != (A if position else B).voxels[(0, ...) if plane else (slice(None), 0)]).any()


@pytest.mark.parametrize("direction", ["vertical", "horizontal"])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_handle_that_is_dragged(direction, plane) -> None:
    it = Wipe(GREY, WipeSettings(direction))
    assert it.edge(plane) == pytest.approx((SHAPE[it.axis(plane)] - 1) / 2)
    it.settings = it.settings.moved(plane, it.position(plane, 1.7))
    assert it.edge(plane) == pytest.approx(1.7)
    first = np.flatnonzero(it.second(Region(tuple(map(range, SHAPE)))).ravel())  # type: ignore[arg-type]
    if plane == 0:
        assert first[0] == 2
    assert it.position(plane, -9) == 0
    assert it.position(plane, 99) == 1


def test_one_position_counts_for_every_plane() -> None:
    assert WipeSettings("vertical", 0.25).positions == (0.25,) * 3  # type: ignore[arg-type]


def test_a_flicker_shows_one_and_then_the_other() -> None:
    it = Flicker(GREY)
    np.testing.assert_array_equal(np.asarray(it), A.voxels)
    it.settings = it.settings.other()
    np.testing.assert_array_equal(np.asarray(it), B.voxels)
    assert it.settings.other() == FlickerSettings("a")


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_a_blend_of_numbers(part: float) -> None:
    it = np.asarray(Blend(GREY, BlendSettings(part)))
    assert it.dtype == np.float32
    np.testing.assert_allclose(it, (1 - part) * A.voxels + part * B.voxels, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_a_blend_of_colors_weighs_by_opacity(part: float) -> None:
    a, b = rgba(seed=3), rgba(seed=4)
    it = np.asarray(Blend(Pair(a, b), BlendSettings(part))).astype(int)
    wa, wb = (1 - part) * a.voxels[..., 3:], part * b.voxels[..., 3:]
    alpha = wa + wb
    mean = (wa * a.voxels[..., :3] + wb * b.voxels[..., :3]) / np.maximum(alpha, 1e-9)
    seen = alpha[..., 0] > 0
    assert np.abs(it[..., 3] - alpha[..., 0]).max() <= 0.51
    assert np.abs(it[..., :3] - mean)[seen].max() <= 0.51
    assert (it[~seen] == 0).all()


def test_red_is_what_only_the_first_has() -> None:
    a = Volume(np.full(SHAPE, -1000, np.int16), AFFINE)
    b = a.with_voxels(np.array(a.voxels))
    a.voxels[1], b.voxels[2] = 300, 300
    a.voxels[3], b.voxels[3] = 50, 50
    it = np.asarray(RedCyan(Pair(a, b)))
    assert it.dtype == np.uint8
    assert it[0, 0, 0].tolist() == [0, 0, 0, 255]
    assert it[1, 0, 0].tolist() == [255, 0, 0, 255]
    assert it[2, 0, 0].tolist() == [0, 255, 255, 255]
    red, green, blue, _ = it[3, 0, 0].tolist()
    assert red == green == blue > 0


def test_a_color_counts_by_its_luminance() -> None:
    colored = rgba(opaque=True)
    levels = np.asarray(RedCyan(Pair(colored, colored)))[..., 0]
    grey = np.repeat(levels[..., None], 3, axis=-1)
    apart = srgb_to_lab(grey)[..., 0] - srgb_to_lab(colored.voxels[..., :3])[..., 0]
    assert np.abs(apart).max() < 0.5


def test_differences_are_signed_numbers() -> None:
    it = Difference(GREY, DifferenceSettings(colored=False))
    assert it.unit == "unknown"
    np.testing.assert_array_equal(np.asarray(it), B.voxels.astype(int) - A.voxels)


def test_the_diverging_map_is_symmetric_and_black_in_the_middle() -> None:
    steps = np.arange(-300, 301).astype(np.int16).reshape(1, 1, -1)
    zero = Volume(np.zeros_like(steps))
    it = np.asarray(Difference(Pair(zero, Volume(steps)), DifferenceSettings(reach=200.0)))[0, 0]
    assert it[300].tolist() == [0, 0, 0, 255]
    np.testing.assert_array_equal(it[:100], np.broadcast_to(it[100], (100, 4)))
    L = srgb_to_lab(it[:, :3])[:, 0]
    assert (
        np.abs(L - L[::-1]).max() < 1.5
    )  # equal positive and negative differences are equally bright
    assert (np.diff(L[300:]) >= -0.1).all()
    assert it[0, 2] > it[0, 0]
    assert it[-1, 0] > it[-1, 2]


def test_a_difference_ends_with_the_field_of_view_and_at_nan() -> None:
    a = Volume(A.voxels.astype(np.float32), AFFINE)
    a.voxels[0, 0, 0] = np.nan
    it = np.asarray(Difference(Pair(a, HALF)))
    assert (it[..., 4:, 3] == 0).all()
    assert it[0, 0, 0].tolist() == [0, 0, 0, 0]
    assert (it[..., :4, 3] == 255).sum() == 5 * 9 * 4 - 1
    numbers = render(Difference(Pair(A, HALF), DifferenceSettings(colored=False)))
    assert numbers.outside is not None
    assert numbers.outside[..., 4:].all()


def test_other_units_have_a_reach_of_their_own() -> None:
    a, b = ct(unit="unknown", dtype=np.float32), ct(unit="unknown", dtype=np.float32, seed=7)
    expected = np.percentile(np.abs(b.voxels - a.voxels), 99)
    assert Difference(Pair(a, b)).reach == pytest.approx(expected, rel=1e-5)
    assert Difference(Pair(a, a)).reach == 1.0
    assert Difference(GREY).reach == 200.0


def naive_contour(values: np.ndarray, level: float) -> np.ndarray:
    inside = values >= level
    edge = np.zeros_like(inside)
    for y, x in np.ndindex(*values.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if 0 <= v < values.shape[0] and 0 <= u < values.shape[1]:
                edge[y, x] |= inside[y, x] and not inside[v, u]
    return edge


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_contour_is_what_a_naive_loop_finds(axis: int) -> None:
    it = Contours(GREY, ContourSettings(levels=(100.0,)))
    plain = np.asarray(Flicker(Pair(A, B, color=True)))
    for n in range(SHAPE[axis]):
        key: list[object] = [slice(None)] * 3
        key[axis] = n
        edge = naive_contour(B.voxels[tuple(key)], 100)
        picture = it[tuple(key)]
        assert (picture[edge] == (0, 230, 255, 255)).all()
        np.testing.assert_array_equal(picture[~edge], plain[tuple(key)][~edge])


def test_contours_of_labels_and_none_along_the_field_of_view() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:6, 1:4] = 9
    labels[:, 4:6, 1:4] = 12
    tissue = Volume(labels[..., :4], AFFINE, "tissue")
    it = Contours(Pair(A, tissue))
    assert it.labels
    plain = Flicker(Pair(A, B, color=True))
    drawn = (it[2] != plain[2]).any(-1)
    expected = np.zeros(SHAPE[1:], bool)
    expected[2:6, 1] = (
        True  # the edge to missing voxels on the left; the end of the volume on the right
    )
    expected[2, 1:4] = expected[4, 1:4] = expected[5, 1:4] = True
    np.testing.assert_array_equal(drawn, expected)
    assert it[2][2, 2].tolist() != it[2][5, 2].tolist()


def test_levels_by_unit_and_live() -> None:
    assert Contours(GREY).levels == (-300.0, 200.0)
    assert len(Contours(Pair(A, ct(unit="unknown"))).levels) == 2
    it = Contours(GREY, ContourSettings((5, -5, 5)))  # type: ignore[arg-type]
    assert it.levels == (-5.0, 5.0)
    it.settings = ContourSettings((900.0,))
    assert it.levels == (900.0,)


def test_what_has_no_difference_and_no_contours() -> None:
    with pytest.raises(InputError, match="same unit, not HU and unknown"):
        view("difference", Pair(A, ct(unit="unknown")))
    with pytest.raises(InputError, match="colors cannot be subtracted"):
        view("difference", Pair(A, rgba()))
    labels = ct(unit="tissue", dtype=np.uint8)
    with pytest.raises(InputError, match="labels cannot be subtracted"):
        view("difference", Pair(labels, labels))
    with pytest.raises(InputError, match="no levels"):
        view("contour", Pair(A, rgba()))
    with pytest.raises(OptionError, match="order='nearest'"):
        view("contour", Pair(A, ct(affine=SHIFTED)), ContourSettings(labels=True))
    with pytest.raises(OptionError, match="unknown comparison 'xray'"):
        view("xray", GREY)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BlendSettings(1.5), lambda: BlendSettings(float("nan")), lambda: BlendSettings("a"),  # type: ignore[arg-type]
        lambda: WipeSettings("diagonal"), lambda: WipeSettings("vertical", (0.5, 2, 0)),  # type: ignore[arg-type]
        lambda: WipeSettings("vertical", (0.5, 0.5)), lambda: FlickerSettings("c"),  # type: ignore[arg-type]
        lambda: DifferenceSettings(0), lambda: DifferenceSettings(float("inf")),
        lambda: ContourSettings(()),
        lambda: ContourSettings((float("nan"),)), lambda: ContourSettings(tuple(range(99))),
        lambda: CheckerboardSettings(-1),
    ],
)  # fmt: skip
def test_settings_out_of_range(make) -> None:
    with pytest.raises(OptionError):
        make()


def test_settings_may_change_while_slices_are_read() -> None:
    it = view("checkerboard", Pair(A, HALF))
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            it.settings = replace(it.settings, tile_mm=5.0)
            it.settings = replace(it.settings, tile_mm=9.0)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        for _ in range(100):
            picture = it[2]
            assert np.isin(picture, [*A.voxels[2].flat, *HALF.voxels[2].flat, -1024]).all()
    finally:
        stop.set()
        thread.join()
