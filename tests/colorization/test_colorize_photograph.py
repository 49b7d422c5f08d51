"""Coloring of grey photographs by networks that were trained on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colorize_cases import write_bundle
from skimage.color import rgb2lab
from skimage.data import astronaut

import tomochrome as tc
from tomochrome.colorization.photograph_coloring import lightness_of, photograph_models
from tomochrome.errors import InputError, ModelError

UNET = {"name": "ColorUNet", "in_channels": 3, "out_channels": 3, "features": [4, 4, 8, 8, 8, 4]}
CHANNELS = [{"center": 40.0, "width": width, "offset_mm": 0.0} for width in (1500.0, 400.0, 180.0)]
INPUT = {"pixel_mm": 2.0, "slice_mm": 3.0, "channels": CHANNELS}


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    """Factory of networks that give every pixel one color, or random ones."""

    def make(ab: tuple[float, float] | None = (20.0, 10.0), **metadata: Any) -> Path:
        import torch
        from safetensors.torch import save

        from tomochrome.colorization.network_builder import build_network

        torch.manual_seed(3)
        state = {k: v.clone().contiguous() for k, v in build_network(UNET).state_dict().items()}
        if ab is not None:
            *_, weight, bias = (k for k in state if k.endswith(("weight", "bias")))
            state[weight].zero_()
            state[bias][:2] = torch.atanh(torch.tensor(ab) / 128)
            state[bias][2] = 0.0
        return write_bundle(
            tmp_path / "photo", save(state), kind="color-network", network=UNET, input=INPUT,
            head={"name": "tanh"}, temperature=1.0, photograph={"body_pixels": 96}, **metadata,
        )  # fmt: skip

    return make


def picture() -> np.ndarray:
    """A photograph of odd size with a black border."""
    image = np.array(astronaut()[::3, ::3][:151, :133])
    image[:12] = image[-9:] = 0
    return image


def test_the_lightness_is_the_photographs(bundle: Callable[..., Path]) -> None:
    image = picture()
    colored = tc.colorize_photograph(image, bundle(None))
    assert colored.shape == image.shape and colored.dtype == np.uint8
    difference = rgb2lab(colored)[..., 0] - rgb2lab(image)[..., 0]
    assert np.abs(difference).max() <= 0.5


def test_the_color_is_the_networks(bundle: Callable[..., Path]) -> None:
    grey = np.full((80, 100), 128, np.uint8)
    colored = rgb2lab(tc.colorize_photograph(grey, bundle((20.0, 10.0))))
    assert np.abs(colored[..., 1] - 20).max() < 1 and np.abs(colored[..., 2] - 10).max() < 1


def test_only_the_lightness_is_used(bundle: Callable[..., Path]) -> None:
    image = picture()
    L, model = lightness_of(image), bundle(None)
    grey = tc.colorize_photograph(np.repeat(image[..., 1:2], 3, -1), model)
    same = tc.colorize_photograph(image[..., 1], model)
    assert np.array_equal(grey, same) and L.shape == image.shape[:2]


def test_outside_the_mask_is_grey(bundle: Callable[..., Path]) -> None:
    image, model = picture(), bundle()
    mask = np.zeros(image.shape[:2], bool)
    mask[40:100, 30:90] = True
    colored = tc.colorize_photograph(image, model, mask=mask).astype(int)
    assert np.ptp(colored[~mask], axis=-1).max() <= 1
    assert np.ptp(colored[mask & (lightness_of(image) > 20)], axis=-1).min() > 5
    none = tc.colorize_photograph(image, model, mask=np.zeros_like(mask)).astype(int)
    assert np.ptp(none, axis=-1).max() <= 1


def test_gel_and_paper_around_the_body_are_grey(bundle: Callable[..., Path]) -> None:
    """Without a mask, as on the command line."""
    gel, paper, model = (30, 70, 130), (252, 252, 250), bundle()
    inside = np.zeros((90, 120), bool)
    inside[15:75, 20:100] = True
    for around in (gel, paper):
        image = np.where(inside[..., None], (190, 140, 110), around).astype(np.uint8)
        colored = tc.colorize_photograph(image, model).astype(int)
        assert np.ptp(colored[~inside], axis=-1).max() <= 1, around
        assert np.ptp(colored[20:70, 25:95], axis=-1).min() > 5, around


def test_color_follows_the_edges_of_the_photograph() -> None:
    """A coarse color edge ends where the lightness does."""
    from tomochrome.colorization.photograph_coloring import _guided, _reduced

    grey = np.full((120, 120), 0.2, np.float32)
    grey[:, 62:] = 0.8
    coarse = _reduced(grey, 1 / 4)
    values = np.where(coarse > 0.5, 30.0, 10.0)[..., None].astype(np.float32)
    out = _guided(coarse, values, grey)[..., 0]
    assert np.abs(out[:, :62] - 10).max() < 5 and np.abs(out[:, 62:] - 30).max() < 5


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 5, 4), np.uint8), "shape"),
        (np.zeros((4, 5), np.float32), "8-bit"),
        (np.zeros((0, 5), np.uint8), "shape"),
    ],
)
def test_unusable_images(bundle: Callable[..., Path], image: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tc.colorize_photograph(image, bundle())


def test_a_mask_of_another_size(bundle: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="mask has 4 x 3 pixels"):
        tc.colorize_photograph(picture(), bundle(), mask=np.ones((3, 4), bool))


def test_models_without_photographs_are_refused(bundle: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="was not trained on photographs"):
        tc.colorize_photograph(picture(), "tissue")
    assert "tissue" not in photograph_models()
    path = bundle()
    metadata = path / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"body_pixels": 96', '"body_pixels": "x"'))
    with pytest.raises(ModelError, match="was not trained on photographs"):
        tc.colorize_photograph(picture(), path)


def test_a_mirrored_photograph_gets_the_mirrored_colors(bundle: Callable[..., Path]) -> None:
    image = np.array(astronaut()[64:128, 100:196])  # the size that the network needs
    model, everything = bundle(None), np.ones(image.shape[:2], bool)
    colored = tc.colorize_photograph(image, model, mask=everything)
    assert len(np.unique(np.round(rgb2lab(colored)[..., 1]))) > 3  # colors vary
    for up, across in ((1, -1), (-1, 1), (-1, -1)):
        mirrored = tc.colorize_photograph(image[::up, ::across], model, mask=everything)
        difference = mirrored[::up, ::across].astype(int) - colored
        assert np.abs(difference).max() <= 1
