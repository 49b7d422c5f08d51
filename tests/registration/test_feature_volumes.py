"""Features of two scans on their working grid, and what they do in a registration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from registration_cases import BODY, FINER, blobs, labels_of, scans, shifted
from transform_cases import smooth_field

import tomochrome as tc
from tomochrome.cli.app import main
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.errors import InputError, OptionError
from tomochrome.transform import Transform

torch = pytest.importorskip("torch")
from tomochrome.registration import feature_volumes  # noqa: E402
from tomochrome.registration.feature_volumes import (  # noqa: E402
    Backbone,
    load_backbone,
    pair_features,
    principal_components,
)
from tomochrome.registration.refine import masked_shrink, refine  # noqa: E402
from tomochrome.registration.similarity_losses import mean_squares  # noqa: E402
from tomochrome.registration.velocity import (  # noqa: E402
    flow,
    sample_through,
    smaller,
    squares_through,
)
from tomochrome.registration.working_pair import make_pair  # noqa: E402

SPEC = InputSpec(4.0, channels=(Channel(0.0, 2000.0),))
PLAIN = Backbone(SPEC, 8, lambda images: np.moveaxis(images, 1, -1))  # the luminance itself


def test_components_are_scaled_and_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 1, (20, 20)) * np.linspace(2, 0.1, 20)
    a, b = (rng.normal(mean, 1, (3000, 20)).astype(np.float32) @ mixing for mean in (0, 0.2))
    components, mean = principal_components((a, b))
    assert components.shape == (20, feature_volumes.CHANNELS)
    np.testing.assert_allclose(mean, np.concatenate([a, b]).mean(0), atol=1e-3)
    rows = (np.concatenate([a, b]) - mean) @ np.linalg.qr(components)[0]
    kept = rows.var(0).sum() / np.concatenate([a, b]).var(0).sum()
    assert kept > 0.95
    values = (np.concatenate([a, b]) - mean) @ components
    pairs = values[rng.permutation(len(values))] - values
    assert (pairs**2).sum(1).mean() == pytest.approx(kept, rel=0.05)
    exchanged, other = principal_components((b, a))
    np.testing.assert_allclose(np.abs(exchanged), np.abs(components), atol=1e-4)
    np.testing.assert_allclose(other, mean, atol=1e-6)


def test_balanced_components_keep_a_rare_tissue() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.6, 0.3, 0.08, 0.02])
    kinds = np.eye(4, dtype=np.float32)[rng.choice(4, 4000, p=shares)]
    apart = []
    for balance in (0.0, 0.5, 1.0):
        components, _ = principal_components((kinds[:2000], kinds[2000:]), 3, balance)
        rows = np.eye(4, dtype=np.float32) @ components
        apart.append(np.square(rows[3] - rows[0]).sum() / np.square(rows[1] - rows[0]).sum())
    assert apart[0] < apart[1] < apart[2]
    assert apart[1] > 1.5 * apart[0]


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("turn", [False, True])
def test_features_lie_where_the_images_are(turn: bool, fine: bool) -> None:
    """With the luminance itself as the feature, it is the image of the working pair."""
    fixed, moving = BODY, shifted(BODY, 6.0)
    if turn:  # another orientation of the voxels in space, same positions
        flip = np.diag([1.0, -1.0, -1.0, 1.0])
        flip[1, 3], flip[2, 3] = (n - 1 for n in moving.shape[1:])
        voxels = np.ascontiguousarray(np.asarray(moving.voxels)[:, ::-1, ::-1])
        moving = replace(moving, voxels=voxels, affine=moving.affine @ flip)
    pair = make_pair(*scans(fixed, moving))
    features = pair_features(fixed, moving, pair, replace(PLAIN, fine=fine))
    assert features.shape == (2, 1, *(pair.shape if fine else smaller(pair.shape, 2)))
    for image, feature in zip((pair.fixed, pair.moving), features, strict=True):
        grid = torch.nn.functional.interpolate(
            image, features.shape[2:], mode="trilinear", align_corners=True
        )
        inside = (slice(1, -1),) * 3
        values = torch.stack([part[0][inside].flatten() for part in (grid[0], feature)])
        # at full resolution, the image has noise that a network with 4 mm pixels does not see
        assert abs(float(torch.corrcoef(values)[0, 1])) > (0.85 if fine else 0.93)


def test_several_channels_are_warped_and_shrunk_as_each_alone() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 12, 14, 16)
    field = flow(torch.randn(1, 3, 6, 7, 8), 3)[0].requires_grad_()
    together = sample_through(images, field)
    alone = torch.cat([sample_through(images[:, c : c + 1], field) for c in range(3)], 1)
    torch.testing.assert_close(together, alone)
    together.square().sum().backward()
    assert field.grad is not None and field.grad.abs().max() > 0
    masks = (torch.rand(2, 1, 12, 14, 16) > 0.6).float()
    shape = (6, 7, 8)
    values, share = masked_shrink(images, masks, shape)
    for c in range(3):
        one, same = masked_shrink(images[:, c : c + 1], masks, shape)
        torch.testing.assert_close(values[:, c : c + 1], one)
        torch.testing.assert_close(share, same)


@pytest.mark.parametrize("masked", [False, True])
def test_the_compiled_difference_is_that_of_warped_features(masked: bool) -> None:
    torch.manual_seed(0)
    features, masks = torch.rand(2, 5, 12, 14, 16), (torch.rand(2, 1, 12, 14, 16) > 0.3).float()
    velocity = (2 * torch.randn(1, 3, 6, 7, 8)).requires_grad_()
    field = flow(velocity, 3)[0]
    weight = masks * sample_through(masks.flip(0), field.detach())
    warped = sample_through(features.flip(0), field)
    expected = torch.stack([
        mean_squares(features[k : k + 1], warped[k : k + 1], weight[k : k + 1] if masked else None)
        for k in (0, 1)
    ])  # fmt: skip
    rows = features.movedim(1, -1).contiguous()
    compared = squares_through(rows, field, masks if masked else None)
    torch.testing.assert_close(compared, expected)
    slopes = [
        torch.autograd.grad(values.mean(), velocity, retain_graph=True)[0]
        for values in (compared, expected)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-7)


def test_features_move_what_the_images_do_not_show() -> None:
    """Two organs of one grey value, told apart by a feature only."""
    shape = (24, 24, 24)
    z, y, x = np.indices(shape)
    ball = [
        ((z - 12) ** 2 + (y - 12) ** 2 + (x - c) ** 2 < 30).astype(np.float32) for c in (10, 13)
    ]
    grey = torch.full((1, 1, *shape), 0.5)
    features = torch.from_numpy(np.stack(ball))[:, None]
    still = refine(grey, grey, iterations=20, measure="lncc")
    moved = refine(grey, grey, iterations=20, measure="features", features=features)
    assert float(still.velocities.abs().max()) < 0.05
    ends = flow(torch.nn.functional.interpolate(moved.velocities[1:], shape), 4)[0]
    warped = sample_through(features.flip(0), ends)
    before = float((features[0] - features[1]).square().mean())
    assert float((warped[0] - features[0]).square().mean()) < 0.5 * before


class Kinds:
    """A network that names what the pictures of the tests consist of, whatever the contrast."""

    @staticmethod
    def extract(images: np.ndarray) -> np.ndarray:
        grey = images[:, 0]
        edges = (0.08, 0.35, 0.58, 0.8)
        return np.stack([np.digitize(grey, edges) == k for k in range(5)], -1).astype(np.float32)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = InputSpec(4.0, channels=(Channel(0.0, 2000.0),))
    monkeypatch.setattr(
        feature_volumes, "load_backbone", lambda *_: Backbone(spec, 8, Kinds.extract)
    )


def test_a_registration_by_features_is_reported_and_symmetric(kinds: None) -> None:
    fixed = blobs(*FINER)
    field = smooth_field(fixed.shape, fixed.affine, 8.0, seed=5)
    moving = replace(Transform.from_fields(field).apply(fixed, fixed), outside=None)
    labels = {"fixed_labels": labels_of(fixed), "moving_labels": labels_of(moving)}
    how = {"init": "none", "model": None, "refine": 24, "similarity": "features", "device": "cpu"}
    result = tc.register(fixed, moving, **how, **labels)
    report = result.report
    assert (report["similarity"], report["backbone"]) == ("features", "tissue")
    assert report["seconds"]["features"] > 0
    assert report["jacobian"]["folded_percent"] == 0
    assert report["after"]["dice_mean"] > report["before"]["dice_mean"] + 0.05
    back = tc.register(moving, fixed, **how)
    points = np.random.default_rng(0).uniform(-30, 30, (50, 3))
    np.testing.assert_allclose(
        back.inverse.points(points), result.forward.points(points), atol=0.05
    )


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"backbone": "alexnet"}, OptionError, "no effect on the similarity 'lncc'"),
        ({"weights": "a.pth"}, OptionError, "no effect on the similarity 'lncc'"),
        (
            {"similarity": "features", "weights": "a.pth"},
            OptionError,
            "weights need one of the backbones alexnet, vgg16, resnet18",
        ),
        ({"similarity": "features", "backbone": "vgg"}, OptionError, "unknown backbone 'vgg'"),
    ],
)
def test_options_that_do_not_fit_are_refused(how: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        tc.register(BODY, BODY, **how)


@pytest.mark.parametrize("backbone", ["tissue", "alexnet"])
def test_a_ct_and_another_modality_are_refused(backbone: str) -> None:
    grey = replace(BODY, unit="unknown")
    with pytest.raises(InputError, match="the values of the moving volume are not known to be"):
        tc.register(BODY, grey, similarity="features", backbone=backbone)


def test_the_tissue_network_refuses_another_modality() -> None:
    grey = replace(BODY, unit="unknown")
    with pytest.raises(InputError, match="one of the backbones alexnet, vgg16, resnet18"):
        tc.register(grey, grey, similarity="features")


def test_features_of_another_modality_do_not_depend_on_its_units() -> None:
    grey = np.clip(np.asarray(BODY.voxels, np.float32) + 200, 0, None)
    pictures = [replace(BODY, voxels=voxels, unit="unknown") for voxels in (grey, 0.01 * grey + 5)]
    pair = make_pair(*scans(BODY, BODY))
    features = [pair_features(picture, picture, pair, PLAIN) for picture in pictures]
    torch.testing.assert_close(features[0], features[1], atol=1e-3, rtol=0)
    assert float(features[0].std()) > 0.05


def test_the_tissue_network_sees_the_same_in_both_phases() -> None:
    backbone = load_backbone("tissue", None, torch.device("cpu"))
    images = np.random.default_rng(0).random((1, len(backbone.spec.channels), 64, 64), np.float32)
    features = backbone.extract(images)
    assert features.shape[:3] == (1, 64, 64)
    np.testing.assert_allclose((features**2).sum(-1), 1, atol=1e-4)


def test_the_command_registers_by_the_user_s_weights(tmp_path: Path, capsys) -> None:
    from tomochrome.registration.feature_networks import build_features

    torch.manual_seed(0)
    torch.save(build_features({"name": "AlexNet"}).state_dict(), tmp_path / "mine.pth")
    paths = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    for path, volume in zip(paths, (BODY, shifted(BODY, 5.0)), strict=True):
        tc.write(volume, path)
    argv = ["register", *map(str, paths), "-o", str(tmp_path / "out"), "--init", "center",
            "--model", "none", "--refine", "4", "--device", "cpu", "--similarity", "features",
            "--backbone", "alexnet"]  # fmt: skip
    assert main([*argv, "--weights", str(tmp_path / "mine.pth")]) == 0
    assert "refinement with 'features'" in capsys.readouterr().out
    assert main([*argv, "--weights", str(tmp_path / "a.nii.gz"), "--force"]) == 2
    assert "neither safetensors nor a state dict" in capsys.readouterr().err
