"""The colored view: it behaves like an array, without a copy in memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.color import Chroma, Lighting, LitVolume, light, palette_names
from tomochrome.color.palettes import palette
from tomochrome.errors import GeometryError, InputError
from tomochrome.tissue import N_TISSUES
from tomochrome.volume import Volume, default_affine

RNG = np.random.default_rng(5)
SHAPE = (5, 12, 9)
AFFINE = default_affine((3, 1, 1))
VOLUME = Volume(RNG.integers(-1000, 1500, SHAPE).astype(np.int16), AFFINE)
CHROMA = Chroma(
    RNG.integers(0, N_TISSUES, SHAPE).astype(np.uint16),
    RNG.integers(0, 256, SHAPE).astype(np.uint8),
    np.eye(N_TISSUES, dtype=np.float32),
    AFFINE,
)
WHOLE = light(VOLUME, CHROMA).voxels


def index(size: int) -> st.SearchStrategy[object]:
    return st.one_of(
        st.integers(-size, size - 1), st.integers(0, size - 1).map(np.int64), st.slices(size)
    )


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_it_is_indexed_as_an_array(data: st.DataObject) -> None:
    sizes = (*SHAPE, 4)
    keys: list[object] = [data.draw(index(size)) for size in sizes[: data.draw(st.integers(0, 4))]]
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(keys)))
        tail = len(keys) - at
        keys[at:] = [Ellipsis, *(data.draw(index(size)) for size in sizes[4 - tail :])]
    key = keys[0] if len(keys) == 1 else tuple(keys)
    np.testing.assert_array_equal(LitVolume(VOLUME, CHROMA)[key], WHOLE[key])


def test_it_looks_like_an_array() -> None:
    lit = LitVolume(VOLUME, CHROMA)
    assert lit.shape == WHOLE.shape
    assert lit.dtype == WHOLE.dtype
    assert (lit.ndim, lit.size, lit.nbytes, len(lit)) == (4, WHOLE.size, WHOLE.nbytes, 5)
    np.testing.assert_array_equal(np.asarray(lit), WHOLE)
    np.testing.assert_array_equal(np.array(lit, dtype=np.float32), WHOLE)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(lit, copy=False)
    assert "LitVolume" in repr(lit)


@pytest.mark.parametrize("key", [(0, 0, 0, 0, 0), (..., ...), [0, 1], "z", None, (0, 1.5)])
def test_odd_indices_are_refused(key: object) -> None:
    with pytest.raises(IndexError):
        LitVolume(VOLUME, CHROMA)[key]


def test_settings_are_replaced_live() -> None:
    lit = LitVolume(VOLUME, CHROMA)
    for changes in (
        {"window": "lung"},
        {"saturation": 0.4},
        {"min_confidence": 0.5},
        {"palette": "vivid"},
        {"alpha": "opaque"},
    ):
        lit.settings = lit.settings.replace(**changes)
        now = lit.settings
        expected = light(
            VOLUME,
            CHROMA,
            now.window,
            saturation=now.saturation,
            min_confidence=now.min_confidence,
            palette=now.palette,
            alpha=now.alpha,
        )
        np.testing.assert_array_equal(lit[...], expected.voxels)


def test_settings_may_change_while_others_read() -> None:
    choices = [Lighting(saturation=s) for s in (0.0, 1.0)]
    expected = [LitVolume(VOLUME, CHROMA, s)[...] for s in choices]
    lit = LitVolume(VOLUME, CHROMA, choices[0])
    wrong: list[int] = []

    def look() -> None:
        for _ in range(200):
            seen = lit[...]
            if not any(np.array_equal(seen, e) for e in expected):
                wrong.append(1)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for k in range(200):
        lit.settings = choices[k % 2]
    for reader in readers:
        reader.join()
    assert not wrong


def test_prepare_leaves_nothing_for_the_sliders_to_compute() -> None:
    from tomochrome.color.table import TABLE

    lit = LitVolume(VOLUME, CHROMA, Lighting(palette="conventional"))  # type: ignore[arg-type]
    lit.prepare()
    before = TABLE.columns_filled
    for saturation in np.linspace(0, 1, 23):
        lit.settings = lit.settings.replace(saturation=float(saturation))
        lit.settings = lit.settings.replace(min_confidence=float(saturation))
    assert TABLE.columns_filled == before


@pytest.mark.parametrize("name", palette_names())
def test_prepare_fills_what_any_mixture_can_lead_to(name: str) -> None:
    from tomochrome.color.relight import CodeTable
    from tomochrome.color.table import TABLE

    weights = RNG.dirichlet(np.full(N_TISSUES, 0.05), 20_000) * RNG.random((20_000, 1)) ** 0.2
    mixtures = np.vstack([np.eye(N_TISSUES), weights]).astype(np.float32)
    chroma = Chroma(CHROMA.code, CHROMA.confidence, mixtures, AFFINE)
    LitVolume(VOLUME, chroma).prepare(Lighting(palette=name, saturation=1.6))  # type: ignore[arg-type]
    before = TABLE.columns_filled
    for saturation in (0.3, 1.0, 1.3, 1.6):
        assert TABLE.holds(palette(name), saturation)
        # Without the shortcut, so that it checks every column.
        CodeTable(chroma.ab_of_code(name, saturation), chroma.tissue_of_code, 0.6)
    assert TABLE.columns_filled == before
    assert not TABLE.holds(palette(name), 1.7)


def test_a_turned_volume_is_lit_from_the_stored_chroma() -> None:
    affine = AFFINE[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (SHAPE[2] - 1)
    affine[:3, 0] *= -1
    turned = Volume(VOLUME.voxels.transpose(2, 0, 1)[::-1], affine)
    lit = LitVolume(turned, CHROMA)
    np.testing.assert_array_equal(lit[...], WHOLE.transpose(2, 0, 1, 3)[::-1])
    np.testing.assert_array_equal(lit[3, :, ::-2], WHOLE.transpose(2, 0, 1, 3)[::-1][3, :, ::-2])
    with pytest.raises(GeometryError):
        LitVolume(Volume(VOLUME.voxels[:, :-1], AFFINE), CHROMA)
    with pytest.raises(InputError):
        LitVolume(light(VOLUME, CHROMA), CHROMA)


def test_voxels_that_only_slice_are_enough() -> None:
    class Lazy:
        shape, dtype, ndim = VOLUME.voxels.shape, VOLUME.voxels.dtype, 3

        def __getitem__(self, key: object) -> np.ndarray:
            return VOLUME.voxels[key]

    lit = LitVolume(Volume(Lazy(), AFFINE), CHROMA)  # type: ignore[arg-type]
    np.testing.assert_array_equal(lit[2], WHOLE[2])


def test_napari_shows_it() -> None:
    components = pytest.importorskip("napari.components")
    viewer = components.ViewerModel()
    lit = LitVolume(VOLUME, CHROMA)
    layer = viewer.add_image(lit, rgb=True, scale=(3, 1, 1))
    assert layer.rgb
    viewer.dims.set_point(0, 2 * 3)
    np.testing.assert_array_equal(np.asarray(layer._slice.image.raw), WHOLE[2])
    lit.settings = lit.settings.replace(window="bone")
    layer.refresh()
    np.testing.assert_array_equal(np.asarray(layer._slice.image.raw), lit[2])
    viewer.dims.order = (1, 0, 2)
    assert np.asarray(layer._slice.image.raw).shape == (5, 9, 4)
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    np.testing.assert_array_equal(np.asarray(layer._slice.image.raw), lit[...])
