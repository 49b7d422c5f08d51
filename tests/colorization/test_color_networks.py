"""The networks that predict color, and the heads that convert their outputs."""

import numpy as np
import pytest

from tomochrome.color.convert import lab_to_srgb, srgb_to_lab
from tomochrome.colorization.network_builder import build_network, size_multiple
from tomochrome.colorization.quantize import checked_levels, median_cut, quantize
from tomochrome.errors import ModelError
from tomochrome.training.config import read_json

torch = pytest.importorskip("torch")
from tomochrome.colorization.color_heads import (  # noqa: E402
    CLOSE,
    BinsHead,
    RegressionHead,
    color_bins,
    make_head,
    soft_bins,
)

SCIM = {"name": "Scim", "in_channels": 1, "out_channels": 2}
UNET = {"name": "ColorUNet", "in_channels": 3, "out_channels": 3, "features": [4, 4, 8, 8, 8, 4]}
ZHANG = {"name": "Zhang", "in_channels": 3, "out_channels": 12, "width": 4}
RESNET = {
    "name": "DynamicUNet", "in_channels": 3, "out_channels": 3, "layers": 34,
    "widths": [2, 4, 4, 8], "decoder": [8, 8, 4, 4, 4],
}  # fmt: skip
DEEP = {**RESNET, "layers": 101}
BIGCOLOR = {**RESNET, "name": "BigColor", "layers": 18, "latent": 5}


@pytest.mark.parametrize(
    "config",
    [
        SCIM,
        UNET,
        {**UNET, "upsampling": "nearest"},
        {**UNET, "upsampling": "transposed"},
        ZHANG,
        RESNET,
        DEEP,
        BIGCOLOR,
    ],
)
def test_a_network_keeps_the_grid_up_to_its_stride(config):
    net = build_network(config).eval()
    multiple = size_multiple(config)
    stride = getattr(net, "output_stride", 1)
    images = torch.rand(2, config["in_channels"], 2 * multiple, 3 * multiple)
    with torch.inference_mode():
        out = net(images)
    assert out.shape == (2, config["out_channels"], 2 * multiple // stride, 3 * multiple // stride)


def test_scim_is_the_thesiss_network():
    net = build_network(SCIM)
    assert sum(p.numel() for p in net.parameters()) == 3_896_530
    shapes = []
    for layer in net:
        layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    with torch.inference_mode():
        net(torch.rand(1, 1, 64, 64))
    assert (1, 512, 8, 8) in shapes
    deepest = shapes.index((1, 512, 8, 8))
    widths = [shape[-1] for shape in shapes[deepest:]]
    assert widths == sorted(widths) and widths[-1] == 64
    assert shapes[-2] == (1, 2, 32, 32)  # the output layer, then the last upsampling


@pytest.mark.parametrize("way", ["bilinear", "nearest"])
def test_the_u_net_upsamples_as_it_is_told(way):
    net = build_network({**UNET, "upsampling": way})
    ways = {m.mode for m in net.modules() if isinstance(m, torch.nn.Upsample)}
    assert ways == {way}


@pytest.mark.parametrize("layers", [18, 34, 101])
def test_an_encoder_has_as_many_layers_as_it_says(layers):
    net = build_network({**RESNET, "layers": layers})
    found = [m for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    beside = [m for m in found if m.kernel_size == (1, 1) and m.bias is not None]  # shortcuts
    assert len(found) - len(beside) == layers - 1  # the last layer of the paper classifies


@pytest.mark.parametrize("name", ["artistic", "stable", "bigcolor"])
def test_weights_of_the_generators_stay_below_15_megabytes(name):
    net = build_network(read_json(name)["network"])
    assert 2 * sum(p.numel() for p in net.parameters()) < 15e6
    assert not any("critic" in key for key in net.state_dict())


def test_a_code_and_a_region_change_what_bigcolor_says():
    net = build_network(BIGCOLOR).eval()
    torch.nn.init.normal_(net.generator.colors.weight)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        plain = net(images)
        zero = net(images, torch.zeros(1, 5), torch.tensor([0]))
        assert torch.equal(plain, zero)
        assert not torch.allclose(net(images, torch.ones(1, 5)), plain)
        assert not torch.allclose(net(images, None, torch.tensor([2])), plain)
        net.code.copy_(torch.ones(5))
        assert torch.equal(net(images), net(images, torch.ones(1, 5)))
    assert "code" not in net.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 50}, "'layers' must be one of 18, 34, 101, not 50"),
        ({"widths": [4]}, "'widths' must be 4 numbers, not 1"),
        ({"decoder": [4, 4]}, "'decoder' must be 5 numbers, not 2"),
        ({"latent": 3}, "no parameter 'latent'"),
    ],
)
def test_a_damaged_generator_is_one_sentence(change, message):
    with pytest.raises(ModelError, match=message):
        build_network({**RESNET, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsampling": "cubic"}, "'upsampling' must be one of"),
        ({"features": [4, 4]}, "'features' must be 6 numbers, not 2"),
        ({"width": 4}, "no parameter 'width'"),
        ({"name": "GAN"}, "is not supported"),
    ],
)
def test_a_damaged_description_is_one_sentence(change, message):
    with pytest.raises(ModelError, match=message):
        build_network({**UNET, **change})


def test_the_doubled_sigmoid_is_the_one_of_the_papers():
    raw = torch.linspace(-6, 6, 40).reshape(1, 1, 5, 8).expand(1, 3, 5, 8)
    wanted = 128 * (2 / (1 + np.exp(-raw[:, :2].numpy().astype(np.float64))) - 1)
    found = make_head({"name": "doubled-sigmoid"}).colors(raw).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("sigma", [2.0, 8.0, 30.0])
def test_a_learned_variance_says_how_often_the_color_is_close(sigma):
    head = RegressionHead()
    raw = torch.full((1, 3, 1, 1), float(np.log(sigma)))
    errors = np.random.default_rng(0).normal(0, sigma, (200_000, 2))
    share = (np.linalg.norm(errors, axis=1) < CLOSE).mean()
    assert float(head.confidence(raw)) == pytest.approx(share, abs=0.005)


def test_bins_cover_the_colors_of_srgb():
    centers = color_bins()
    assert len(np.unique(centers, axis=0)) == len(centers)
    rgb = np.random.default_rng(1).integers(0, 256, (4000, 3), np.uint8)
    ab = np.asarray(srgb_to_lab(rgb[None])[0, :, 1:])
    nearest = np.abs(ab[:, None] - centers[None]).max(-1).min(1)
    assert (nearest <= 5.001).mean() > 0.995  # the corners between the sampled levels
    # and each bin contains a color in the sRGB gamut
    offset = np.stack(np.meshgrid(*[np.linspace(-5, 5, 5)] * 2), -1).reshape(-1, 2)
    tried = np.concatenate(
        [np.insert(centers[:, None] + offset, 0, L, axis=-1) for L in np.linspace(4, 98, 20)], 1
    ).astype(np.float32)  # (bins, colors, L* a* b*)
    off = np.abs(np.asarray(srgb_to_lab(lab_to_srgb(tried))) - tried).max(-1).min(1)
    assert off.max() < 3, centers[off.argmax()]


def test_soft_bins_are_shares_around_the_color():
    ab = torch.from_numpy(np.random.default_rng(2).uniform(-25, 45, (50, 2)).astype(np.float32))
    shares = soft_bins(ab)
    assert torch.allclose(shares.sum(-1), torch.ones(50))
    assert ((shares > 0).sum(-1) == 5).all()
    mean = shares @ torch.from_numpy(color_bins())
    assert float((mean - ab).norm(dim=-1).max()) < 5.0
    exact = soft_bins(torch.from_numpy(color_bins()))
    assert (exact.argmax(-1) == torch.arange(len(color_bins()))).all()


def test_the_annealed_mean_lies_between_mean_and_mode():
    centers = torch.from_numpy(color_bins())
    raw = torch.randn(1, len(centers), 3, 4)
    share = torch.softmax(raw, dim=1)
    mean = torch.einsum("nqyx,qc->ncyx", share, centers)
    assert torch.allclose(BinsHead(1.0).colors(raw), mean, atol=1e-4)
    mode = centers[raw.argmax(1)].movedim(-1, 1)
    assert torch.allclose(BinsHead(0.01).colors(raw * 3), mode, atol=0.5)


def test_the_confidence_of_bins_is_the_mass_near_the_color():
    head, raw = BinsHead(), torch.randn(1, len(color_bins()), 2, 2) * 3
    color = head.colors(raw)[0, :, 1, 0].numpy()
    share = torch.softmax(raw, dim=1)[0, :, 1, 0].numpy()
    near = np.linalg.norm(color_bins() - color, axis=1) < CLOSE
    assert float(head.confidence(raw)[0, 0, 1, 0]) == pytest.approx(share[near].sum(), abs=1e-5)


@pytest.mark.parametrize("config", [{"name": "softmax"}, {}, {"name": "bins", "annealing": 0}])
def test_an_unknown_head_is_refused(config):
    with pytest.raises(ModelError, match="color head"):
        make_head(config)


def test_median_cut_makes_boxes_of_like_population():
    values = np.random.default_rng(3).beta(2, 5, 4096).astype(np.float32)
    levels = median_cut(values, 16)
    assert len(levels) == 16
    assert (np.diff(levels) > 0).all()
    boxes = np.array_split(np.sort(values), 16)  # a power of two: each cut halves a box
    np.testing.assert_allclose(levels, [box.mean() for box in boxes], atol=2e-3)


@pytest.mark.parametrize("values", [[0.5] * 9, [0.0] * 20 + [1.0], [0.0] + [1.0] * 20])
def test_no_more_levels_than_values(values):
    np.testing.assert_allclose(median_cut(np.array(values), 8), np.unique(values))


def test_quantizing_takes_the_nearest_level():
    levels = np.array([0.0, 0.2, 0.9], np.float32)
    values = np.linspace(0, 1, 101, dtype=np.float32)
    nearest = levels[np.abs(values[:, None] - levels).argmin(1)]
    least, found = np.abs(values[:, None] - levels).min(1), quantize(values, levels)
    np.testing.assert_allclose(np.abs(values - found), least, atol=1e-6)
    assert (nearest == quantize(values, levels)).mean() > 0.97  # ties aside
    assert (quantize(values, levels[:1]) == 0).all()


@pytest.mark.parametrize("levels", [[0.5, 0.2], [-0.1, 0.5], [0.1, np.nan], [], [[0.1]]])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(ModelError, match="grey levels of the model 'm'"):
        checked_levels(np.array(levels, np.float32), "m")
