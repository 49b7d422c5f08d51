"""A new kind of model is one file of at most 40 lines, and works everywhere."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_blocks
import toy_colors
from colorize_cases import INPUT, NETWORK, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.color import Lighting
from tomochrome.colorization import find_model, register_kind
from tomochrome.colorization.cards import models
from tomochrome.colorization.coloring_request import ColoringRequest
from tomochrome.colorization.grid_predictor import blended, windowed
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.colorization.network_builder import build_network
from tomochrome.colorization.predictor import kinds, predictor_class
from tomochrome.errors import Cancelled, ModelError, OptionError
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume
from tomochrome.windowing import PRESETS, luminance

Drawn = tuple[Volume, dict[str, np.ndarray]]
LINE = np.array([[-20, 30], [60, 40]], np.float32)
BLOCK = {**INPUT, "channels": INPUT["channels"][:1] * 2, "block": [4, 32, 32], "overlap": 0.5}
WINDOW = PRESETS["soft-tissue"]


@pytest.fixture
def colors_bundle(tmp_path: Path) -> Path:
    from safetensors.numpy import save

    return write_bundle(tmp_path / "paint", save({"line": LINE}), kind="toy-colors", classes=None)


@pytest.fixture
def blocks_bundle(tmp_path: Path) -> Path:
    """A 3D network with the same output everywhere."""
    import torch
    from safetensors.torch import save

    network = {**NETWORK, "spatial_dims": 3, "out_channels": 3}
    state = {k: v.clone() for k, v in build_network(network).state_dict().items()}
    *_, weight, bias = (k for k in state if k.endswith(("weight", "bias")))
    state[weight].zero_()
    state[bias].copy_(torch.tensor([0.5, -0.25, 2.0]))
    about = {"kind": "toy-blocks", "classes": None, "network": network, "input": BLOCK}
    return write_bundle(tmp_path / "blocks", save(state), **about)


@pytest.mark.parametrize("module", [toy_colors, toy_blocks])
def test_a_new_kind_is_one_file_of_forty_lines(module: object) -> None:
    assert len(Path(module.__file__).read_text().splitlines()) <= 40  # type: ignore[attr-defined]


def test_kinds_are_known_by_their_files_and_by_registration() -> None:
    assert {"network", "transfer-function", "toy-colors", "toy-blocks"} <= set(kinds())
    for card in models():
        assert predictor_class(card).names_tissues == (
            card.kind in ("network", "transfer-function")
        )
    with pytest.raises(ModelError, match="two predictors of the kind 'toy-colors'"):
        register_kind("toy-colors")(type("Other", (), {}))


def test_colors_lie_where_the_model_puts_them(colors_bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn
    chroma = tc.colorize(volume, colors_bundle, device="cpu")
    assert not chroma.has_tissues
    assert (chroma.code[~masks["body"]] == 0).all()
    assert (chroma.code[masks["body"]] > 0).mean() > 0.99
    L = (55 - 40) / 400 + 0.5  # of muscle, in the toy's window
    error = np.abs(chroma.ab()[masks["muscle"]] - (LINE[0] + L * (LINE[1] - LINE[0])))
    assert np.median(error) < 2
    assert chroma.confidence[masks["muscle"]].mean() > 200
    assert chroma.mean_chroma > 10
    assert "not for diagnosis" in chroma.provenance.history[-1]


def test_the_five_promises_hold_for_a_model_that_predicts_colors(
    colors_bundle: Path, drawn: Drawn
) -> None:
    volume, masks = drawn
    outside = np.zeros(volume.shape, bool)
    outside[2:4] = True
    volume = replace(volume, outside=outside)
    chroma = tc.colorize(volume, colors_bundle, device="cpu")
    for wish in ({}, {"saturation": 2.0}, {"min_confidence": 0.9}, {"alpha": "opaque"}):
        for window in ("lung", "soft-tissue", "50/400/sigmoid"):
            settings_ = Lighting.of(volume, window, **wish)  # type: ignore[arg-type]
            image = tc.light(volume, chroma, window, **wish)  # type: ignore[arg-type]
            lab = rgb2lab(image.voxels[..., :3])
            assert np.abs(lab[..., 0] - luminance(volume.voxels, settings_.window)).max() <= 0.5
    assert (chroma.code[outside] == 0).all()
    assert (chroma.confidence[outside] == 0).all()
    np.testing.assert_array_equal(chroma.affine, volume.affine)
    image = tc.light(volume, chroma, WINDOW, palette="vivid")
    assert any("did not use the palette 'vivid'" in w.text for w in image.provenance.warnings)
    with pytest.raises(OptionError, match="predicts colors, not tissues"):
        tc.light(volume, chroma, WINDOW, tissues="liver")
    assert masks["body"].any()


def test_a_3d_network_colors_in_blocks(blocks_bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn
    chroma = tc.colorize(volume, blocks_bundle, device="cpu")
    assert (chroma.code[~masks["body"]] == 0).all()
    expected = 80 * np.tanh([0.5, -0.25])
    assert np.abs(chroma.ab()[masks["muscle"]] - expected).max() < 1.5
    assert np.abs(chroma.confidence[masks["muscle"]] - 255 / (1 + np.exp(-2))).max() < 4
    lab = rgb2lab(tc.light(volume, chroma, WINDOW).voxels[..., :3])
    assert np.abs(lab[..., 0] - luminance(volume.voxels, WINDOW)).max() <= 0.5
    small = Volume(np.full((1, 3, 5), 55, np.int16), volume.affine)  # smaller than a block
    colors = tc.colorize(small, blocks_bundle, device="cpu").ab()
    assert np.abs(colors - expected).max() < 1.5


def test_a_3d_network_of_tissues_needs_no_new_kind(
    network_bundle: Callable[..., Path], drawn: Drawn
) -> None:
    volume, masks = drawn
    logits = {"FAT": 1.0, "MUSCLE": 1.5, "AIR": 0.0}
    network = {**NETWORK, "spatial_dims": 3}
    bundle = network_bundle("deep", logits=logits, network=network, input=BLOCK)
    chroma = tc.colorize(volume, bundle, device="cpu")
    assert chroma.has_tissues
    assert (chroma.tissue[masks["muscle"]] == Tissue.MUSCLE).mean() > 0.97
    assert (chroma.tissue[masks["fat"]] == Tissue.FAT).mean() > 0.97


def test_blocks_of_a_damaged_description(blocks_bundle: Path, drawn: Drawn) -> None:
    file = blocks_bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    for change in (
        {"block": [4, 31, 32]},
        {"block": [4, 32]},
        {"overlap": 1.5},
        {"channels": INPUT["channels"]},
    ):
        file.write_text(json.dumps({**metadata, "input": {**BLOCK, **change}}))
        with pytest.raises(ModelError) as caught:
            tc.colorize(drawn[0], blocks_bundle, device="cpu")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["colors_bundle", "blocks_bundle"])
def test_the_command_line_colors_by_a_new_kind(
    name: str, request: pytest.FixtureRequest, drawn: Drawn, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bundle = request.getfixturevalue(name)
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    tc.write(drawn[0], scan)
    command = ["colorize", str(scan), "-o", str(out), "--model", str(bundle), "--as-hu"]
    command += ["--device", "cpu", "--json"]
    assert main([*command, "--palette", "vivid", "--saturation", "0.8"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["model"], result["mean_chroma"] > 5) == (bundle.name, True)
    assert sum("did not use the palette 'vivid'" in text for text in result["warnings"]) == 1
    for more in (["--only", "muscle"], ["--tissue-map", str(tmp_path / "t.nii.gz")]):
        assert main([*command, "--force", *more]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"error: the model '{bundle.name}' predicts colors, not tis")


def test_what_an_engine_carries_pickles(colors_bundle: Path, drawn: Drawn) -> None:
    """A reference, a card, a scan and its chroma map can be sent to another process."""
    volume, _ = drawn
    request = ColoringRequest(model=str(colors_bundle), only=("liver",), threads=2)
    card = find_model(colors_bundle)
    wish, about, scan = pickle.loads(pickle.dumps((request, card, volume)))
    assert (wish, about) == (request, card)
    chroma = tc.colorize(scan, wish.model, device="cpu")
    _ = chroma.mean_chroma, tc.light(scan, chroma)
    back = pickle.loads(pickle.dumps(chroma))
    assert back.provenance == chroma.provenance
    np.testing.assert_array_equal(tc.light(volume, back).voxels, tc.light(volume, chroma).voxels)


def test_a_model_without_tissues_is_scored_by_its_colors(
    colors_bundle: Path, drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, masks = drawn
    truth = np.where(masks["muscle"], Tissue.MUSCLE, 255).astype(np.uint8)
    scan, map_ = tmp_path / "scan.nii.gz", tmp_path / "truth.nii.gz"
    tc.write(volume, scan)
    tc.write(Volume(truth, volume.affine, "tissue"), map_)
    command = ["evaluate", "color", str(scan), str(map_), "--model", str(colors_bundle)]
    assert main([*command, "--device", "cpu", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["right"] is None
    (organ,) = score["organs"].values()
    assert (organ["right"], organ["mistaken_for"], organ["mistaken_share"]) == (None, None, None)
    assert 0 < score["voxel_error"] < 60
    assert main([*command, "--device", "cpu"]) == 0
    assert "names no tissues" in capsys.readouterr().out


def test_what_a_model_returns_is_checked(colors_bundle: Path, drawn: Drawn) -> None:
    predictor = predictor_class(find_model(colors_bundle))
    broken = type("Broken", (predictor,), {"predict": lambda self, inputs: inputs[:, 0]})
    with pytest.raises(ModelError, match="returned an array of shape"):
        _run(broken, colors_bundle, drawn[0])


def test_what_is_not_a_number_is_grey_and_a_guess(colors_bundle: Path, drawn: Drawn) -> None:
    volume, masks = drawn

    def predict(self: object, inputs: np.ndarray) -> np.ndarray:
        return np.full((*inputs[:, 0].shape, 3), np.nan, np.float32)

    predictor = type("Nan", (predictor_class(find_model(colors_bundle)),), {"predict": predict})
    out = _run(predictor, colors_bundle, volume)
    assert (out.confidence[masks["muscle"]] == 0).all()
    assert not predictor.table.fget(predictor).ab[out.code[masks["muscle"]]].any()


@pytest.mark.parametrize(("stride", "limit"), [(1, 2.0), (4, 6.0)])
def test_coarse_colors_end_where_the_ct_does(
    colors_bundle: Path, drawn: Drawn, stride: int, limit: float
) -> None:
    """Pixels of 2 or 8 mm contain fat and muscle; by distance only the errors are 3.8 and 9.6."""
    volume, masks = drawn

    def predict(self: object, inputs: np.ndarray) -> np.ndarray:
        n, _, h, w = inputs.shape
        L = inputs[:, 0].reshape(n, h // stride, stride, w // stride, stride).mean(axis=(2, 4))
        return np.stack([100 * L - 30, 20 - 40 * L, L], axis=-1)

    own = {"predict": predict, "stride": stride, "multiple": 4}
    predictor = type("Strided", (predictor_class(find_model(colors_bundle)),), own)
    ab = predictor.table.fget(predictor).ab[_run(predictor, colors_bundle, volume).code]
    for name, hu in (("muscle", 55), ("fat", -100)):
        L = (hu + 160) / 400
        off = np.linalg.norm(ab[masks[name]] - [100 * L - 30, 20 - 40 * L], axis=-1)
        assert off.mean() < limit, name


def _run(predictor: type, bundle: Path, volume: Volume) -> object:
    from tomochrome.colorization.scan import prepare

    return predictor(find_model(bundle), device="cpu").color(prepare(volume))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.floats(0, 0.9),
    st.integers(1, 7),
    st.integers(1, 3),
)
def test_blocks_blend_to_what_each_voxel_says(
    shape: tuple[int, int, int],
    block: tuple[int, int, int],
    overlap: float,
    batch: int,
    multiple: int,
) -> None:
    """A predictor of single voxels returns the same in every block."""
    hu = np.random.default_rng(1).uniform(-200, 300, shape).astype(np.float32)
    z, y, x = (size * multiple for size in block)
    spec = InputSpec(2.0, 3.0, (Channel(40, 400), Channel(0, 900)), (z, y, x), overlap)
    sizes = []

    def predict(inputs: np.ndarray) -> np.ndarray:
        sizes.append(inputs.shape)
        return np.moveaxis(inputs, 1, -1)

    planes = np.stack(list(blended(predict, hu, spec, batch, multiple)))
    np.testing.assert_allclose(planes, np.moveaxis(windowed(hu, spec), 0, -1), atol=1e-5)
    # whole slices up to twice the block's area; no block larger than the padded volume
    depth, height, width = (-(-length // multiple) * multiple for length in shape)
    if height * width > 2 * y * x:
        height, width = min(height, y), min(width, x)
    assert {size[1:] for size in sizes} == {(2, min(depth, z), height, width)}
    assert all(size[0] <= batch for size in sizes)


def test_blocks_can_be_cancelled() -> None:
    token = Task()
    spec = InputSpec(2.0, 3.0, (Channel(40, 400),), (2, 2, 2), 0.0)

    def predict(inputs: np.ndarray) -> np.ndarray:
        token.cancel()
        return np.moveaxis(inputs, 1, -1)

    with running(token), pytest.raises(Cancelled):
        list(blended(predict, np.zeros((4, 4, 4), np.float32), spec, 1, 1))
