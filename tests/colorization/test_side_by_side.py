"""One slice, colored by several models: the same colors as separately, at the right position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colorize_cases import likelihood
from skimage.color import rgb2lab

import tomochrome as tc
from tomochrome.colorization.side_by_side import (
    compare_models,
    models_to_compare,
    upright_slice,
)
from tomochrome.errors import Cancelled, ModelError, NotCTError, OptionError
from tomochrome.geometry.orient import closest_axial
from tomochrome.io.slice_pictures import tile_pictures
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume
from tomochrome.windowing import luminance, parse_window

Drawn = tuple[Volume, dict[str, np.ndarray]]
AT = 2


@pytest.fixture
def bundles(transfer_bundle: Callable[..., Path]) -> list[Path]:
    """Two curves: one distinguishes fat and muscle, the other colors everything as liver."""
    return [
        transfer_bundle("one"),
        transfer_bundle("two", likelihood(LIVER=(-1000, 3000)).astype(np.float32)),
    ]


def test_each_picture_is_what_its_model_gives_alone(bundles: list[Path], drawn: Drawn) -> None:
    volume, _ = drawn
    found = compare_models(volume, bundles, at=AT, window="soft-tissue", device="cpu")
    assert found.names == ("grey", "one", "two")
    assert found.titles[0] == "Grey"
    assert found.pictures.shape == (3, *volume.shape[1:])
    np.testing.assert_allclose(found.pictures.origin, volume.affine @ (AT, 0, 0, 1) @ np.eye(4, 3))
    for picture, bundle in zip(found.pictures.voxels[1:], bundles, strict=True):
        alone = tc.light(volume, tc.colorize(volume, bundle, device="cpu"), "soft-tissue")
        np.testing.assert_array_equal(picture, alone.voxels[AT])
    lab = rgb2lab(found.pictures.voxels[..., :3])
    assert np.abs(lab[0, ..., 1:]).max() < 0.5
    window = parse_window("soft-tissue")
    inside = found.pictures.voxels[..., 3] > 0
    away = np.abs(lab[..., 0] - luminance(volume.voxels[AT], window))
    assert away[inside].max() <= 0.5
    assert not found.warnings


def test_slices_are_counted_from_the_feet_whatever_the_order(
    bundles: list[Path], drawn: Drawn
) -> None:
    volume, _ = drawn
    affine = volume.affine.copy()
    affine[:, 3] = affine @ (volume.shape[0] - 1, 0, 0, 1)
    affine[:, 0] *= -1
    turned = Volume(np.ascontiguousarray(volume.voxels[::-1]), affine)
    assert closest_axial(turned).shape == volume.shape
    a, b = (compare_models(v, bundles[:1], at=AT, window="soft-tissue", device="cpu")
            for v in (volume, turned))  # fmt: skip
    np.testing.assert_array_equal(a.pictures.voxels, b.pictures.voxels)
    np.testing.assert_allclose(a.pictures.affine, b.pictures.affine)
    assert upright_slice(volume, (AT, 5, 6)) == AT
    assert upright_slice(turned, (AT, 5, 6)) == volume.shape[0] - 1 - AT


def test_a_model_that_fails_is_named_and_the_others_are_shown(
    bundles: list[Path], drawn: Drawn
) -> None:
    (bundles[0] / "models" / "model.safetensors").write_bytes(b"damaged")
    found = compare_models(drawn[0], bundles, window="soft-tissue", device="cpu")
    assert found.names == ("grey", "two")
    (warning,) = found.warnings
    assert warning.text.startswith("the model 'one' was skipped: the weights")
    with pytest.raises(ModelError, match="damaged"):
        compare_models(drawn[0], bundles[:1], device="cpu")


def test_bad_wishes_are_one_sentence(bundles: list[Path], drawn: Drawn) -> None:
    volume, _ = drawn
    with pytest.raises(OptionError, match="there is no slice 999: slices are numbered from 0 to"):
        compare_models(volume, bundles, at=999)
    with pytest.raises(ModelError, match="unknown model 'nobody'"):
        compare_models(volume, ["nobody"])
    with pytest.raises(OptionError, match="takes its colors from a photograph"):
        compare_models(volume, ["exemplar", *bundles])
    with pytest.raises(NotCTError):
        compare_models(Volume(volume.voxels, volume.affine, "unknown"), bundles, window="50/400")
    assert "exemplar" not in [card.name for card in models_to_compare()]
    assert "exemplar" in [card.name for card in models_to_compare(with_reference=True)]


def test_a_comparison_can_be_stopped(bundles: list[Path], drawn: Drawn) -> None:
    stages: list[str] = []

    def hear(_done: int, _total: int, stage: str) -> None:
        stages.append(stage)
        if "two" in stage:
            task.cancel()

    task = Task(hear)
    with running(task), pytest.raises(Cancelled):
        compare_models(drawn[0], [*bundles, "tissue"], device="cpu")
    assert stages == ["coloring with one", "coloring with two"]


def test_the_sheet_shows_all_with_titles_and_the_photograph(
    bundles: list[Path], drawn: Drawn
) -> None:
    photograph = np.full((40, 60, 3), (180, 90, 80), np.uint8)
    photograph[:, :30] = (200, 180, 110)
    found = compare_models(drawn[0], ["exemplar", *bundles], window="soft-tissue", device="cpu",
                           reference=tc.Reference(photograph))  # fmt: skip
    assert found.names == ("grey", "exemplar", "one", "two")
    sheet, tiles = found.sheet(), tile_pictures(found.pictures, 120)
    assert [max(tile.size) for tile in tiles] == [120] * 4
    last = np.asarray(sheet)[:, -sheet.width // 5 :]
    assert ((last == photograph[20, 50]).all(axis=-1)).mean() > 0.1  # in its original colors
    alone = compare_models(drawn[0], bundles, window="soft-tissue", device="cpu")
    assert alone.reference is None
    assert alone.sheet().width != sheet.width
