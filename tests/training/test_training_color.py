"""Training networks that predict color: their data, their losses, and when they stop."""

import json

import numpy as np
import pytest
from training_cases import small, write_pool, write_run

from tomochrome.cli.app import main
from tomochrome.color.convert import lab_to_srgb, srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.colorization import colorize, find_model
from tomochrome.colorization.kinds.color_network import ColorNetwork
from tomochrome.colorization.quantize import quantize
from tomochrome.errors import ModelError, OptionError
from tomochrome.training import load_config
from tomochrome.training.pool import Pool
from tomochrome.volume import Volume, default_affine

torch = pytest.importorskip("torch")
from tomochrome.colorization.color_heads import CLOSE, make_head, soft_bins  # noqa: E402
from tomochrome.training.calibrate import fit_confidence  # noqa: E402
from tomochrome.training.color_samples import (  # noqa: E402
    AROUND,
    BODY,
    UNKNOWN,
    PairSamples,
)
from tomochrome.training.tasks.color_task import LAST_DIGITS, Colors, rebalanced  # noqa: E402

NAMES = ("scim", "unet", "unet-quantized", "coloria-cnn", "zhang")


def config(name, **change):
    return load_config({**small(name), "validate_every": 0, **change})


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("pool"), range(1, 21))


def test_training_and_test_patients_are_disjoint(pool):
    plan = config("scim").phantoms.model_copy(update={"count": 20})
    parts = []
    for digits in (LAST_DIGITS[part] for part in ("learn", "validate", "test")):
        part = Pool(pool, plan, digits)
        assert len(part) == 2 * len(digits)
        rng = np.random.default_rng(0)
        parts.append({part.draw(rng).name for _ in range(200)})
    assert [len(part) for part in parts] == [14, 4, 2]
    assert len(set.union(*parts)) == 20


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_reduce_the_color_error(name, pool, tmp_path):
    rate = {"scim": 3e-4, "coloria-cnn": 1e-2}.get(name, 3e-3)  # scim has no norms
    plan = config(name, learning_rate=rate, phantoms=None)
    task = Colors(plan, pool)
    task.prepare()
    batch = torch.utils.data.default_collate([task.dataset()[k] for k in range(4)])
    torch.manual_seed(1)
    net, losses = task.network(), []
    optimizer = task.optimizer(net)
    for _ in range(80 if name == "coloria-cnn" else 20):
        loss, figures = task.loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((float(loss.detach()), figures["ab_error"]))
    assert losses[-1][0] < 0.8 * losses[0][0]
    assert losses[-1][1] < losses[0][1]


def test_the_loss_matches_the_papers(pool):
    """Mean squared error of (a*, b*) / 128, and the accuracy that Keras gives two outputs."""
    plan = config("scim")
    task = Colors(plan, pool)
    images, truth = (torch.from_numpy(part)[None] for part in task.dataset()[3])
    truth[0, 2, 4:8] = UNKNOWN
    raw = 0.3 * torch.randn(1, 2, *plan.shape)

    class Says(torch.nn.Module):
        def forward(self, _):
            return raw

    loss, figures = task.loss(Says(), (images, truth))
    wanted, kind = truth[0, :2].numpy().transpose(1, 2, 0) / 128, truth[0, 2].numpy()
    said = np.tanh(raw[0].numpy()).transpose(1, 2, 0)
    known, body = kind != UNKNOWN, kind == BODY
    assert float(loss) == pytest.approx(((said - wanted) ** 2)[known].mean(), rel=1e-4)
    distance = 128 * np.linalg.norm(said - wanted, axis=-1)[body]
    assert figures["ab_error"] == pytest.approx(distance.mean(), rel=1e-4)
    assert figures["close"] == pytest.approx((distance < 10).mean(), abs=1e-4)
    assert figures["accuracy"] == pytest.approx(
        (said.argmax(-1) == wanted.argmax(-1))[known].mean(), abs=1e-4
    )


def test_the_absolute_error_is_of_the_picture_in_rgb(pool):
    """The picture has the mean luminance of the windows; unknown pixels do not count."""
    task = Colors(config("coloria-cnn"), pool)
    images, truth = (torch.from_numpy(part)[None] for part in task.dataset()[3])
    truth[0, 2, 4:8] = UNKNOWN
    raw = torch.randn(1, 3, *truth.shape[2:])
    lab = np.concatenate([100 * images[0].mean(0, True).numpy(), truth[0, :2].numpy()]).transpose(
        1, 2, 0
    )
    said = 1 / (1 + np.exp(-raw[0].numpy().transpose(1, 2, 0)))
    known = truth[0, 2].numpy() != UNKNOWN
    error = np.abs(said - lab_to_srgb(lab))[known].mean()
    loss, figures = task.loss(lambda _: raw, (images, truth))
    assert float(loss) == pytest.approx(error, rel=1e-5)
    body = truth[0, 2].numpy() == BODY
    distance = np.linalg.norm(srgb_to_lab(said)[..., 1:] - lab[..., 1:], axis=-1)[body]
    assert figures["ab_error"] == pytest.approx(distance.mean(), rel=1e-3)


def test_the_scale_and_the_highest_confidence_are_fitted():
    """A network that is right in nine of ten pixels where it says that it is certain."""
    head, rng = make_head({"name": "tanh"}), torch.Generator().manual_seed(3)
    sigma = torch.tensor([1.0, 20.0]).repeat_interleave(20000)
    raw = torch.zeros(1, 3, len(sigma), 1)
    raw[0, 2, :, 0] = sigma.log()
    true = 0.9 * (1 - torch.exp(-0.5 * (CLOSE / (1.5 * sigma)) ** 2))
    right = torch.rand(len(sigma), generator=rng) < true
    before, after = fit_confidence(head, raw, right)
    confidence = head.confidence(raw)[0, 0, :, 0]
    assert float((confidence - true).abs().max()) < 0.02
    assert head.max_confidence == pytest.approx(0.9, abs=0.01)
    assert after.error < 0.02 < before.error


def test_a_table_of_confidences_is_fitted_stored_and_read(tmp_path, capsys):
    """Confidence depends on the predicted color: a cell's share of close colors."""
    head = make_head({"name": "plain-tanh"})
    ab = torch.tensor([[30.0, 20.0], [-50.0, 10.0]]).repeat_interleave(1000, dim=0)
    ab = ab[torch.randperm(2000, generator=torch.Generator().manual_seed(1))]
    raw = torch.atanh(ab / 128).T[None, :, :, None]
    warm = ab[:, 0] > 0
    right = warm & (torch.arange(2000) % 10 < 9)
    _, after = fit_confidence(head, raw, right)
    confidence = head.confidence(raw)[0, 0, :, 0]
    assert float(confidence[warm][0]) == pytest.approx(0.9, abs=0.02)
    assert float(confidence[~warm][0]) < 0.02
    assert after.error < 0.03
    (tmp_path / "mine.json").write_text(json.dumps(small("scim")))
    run = write_run(tmp_path / "run")
    argv = ["train", str(tmp_path / "mine.json"), "--out", str(run), "--steps", "2"]
    assert main([*argv, "--device", "cpu", "--json"]) == 0
    predictor = ColorNetwork(find_model(run / "weights" / "scim"), device="cpu")
    a, b, confidence = np.moveaxis(
        predictor.predict(np.full((1, 1, 16, 16), 0.5, np.float32)), -1, 0
    )
    rates = predictor.extra["confidences"].astype(np.float32)
    cells = (np.rint(np.stack([a, b]) / 4).astype(int) + 32).clip(0, 63)
    np.testing.assert_allclose(confidence, rates[cells[0], cells[1]], atol=1e-3)


@pytest.mark.parametrize("rates", [np.zeros(3), np.full((64, 64), 1.2), np.full((64, 64), np.nan)])
def test_an_impossible_table_of_confidences_is_refused(rates):
    with pytest.raises(ModelError, match="table of confidences of the model 'm' is invalid"):
        make_head({"name": "rgb"}).load(rates, "m")


def test_the_palettes_colors_are_the_truth(pool):
    task = Colors(config("scim"), pool)
    samples, colors = task.dataset(), palette("natural").ab
    _, truth = samples[5]
    samples.slices.rng = np.random.default_rng([samples.seed, 5])
    _, names = samples.slices.draw()
    np.testing.assert_array_equal(truth[:2].transpose(1, 2, 0), colors[names])
    np.testing.assert_array_equal(truth[2], np.where(names > 0, BODY, AROUND))


def test_the_loss_is_minimal_at_the_variance_of_the_errors(pool):
    task = Colors(config("unet", variance_weight=1.0), pool)
    truth, known = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)
    color = 2 * torch.atanh(torch.tensor([3.0, 4.0]) / 128).reshape(1, 2, 1, 1)  # 5 units off
    logs = torch.linspace(-1, 4, 501)
    losses = [
        float(task._error(torch.cat([color, torch.full((1, 1, 1, 1), float(s))], 1), truth, known))
        for s in logs
    ]
    # of two coordinates: sigma^2 = 25 / 2
    assert float(logs[int(np.argmin(losses))]) == pytest.approx(0.5 * np.log(12.5), abs=0.011)


def test_rare_colors_have_higher_weights():
    share = torch.tensor([0.7, 0.25, 0.05, 0.0])
    for strength in (0.0, 0.5, 0.9):
        weight = rebalanced(share, strength)
        assert float((share * weight).sum()) == pytest.approx(1)
        assert (weight.diff() >= -1e-6).all()
    wanted = 1 / (0.5 * share + 0.5 / 4)
    assert torch.allclose(rebalanced(share, 0.5), wanted / (share * wanted).sum())
    assert torch.allclose(rebalanced(share, 0.0), torch.ones(4))


def test_the_loss_of_bins_is_a_weighted_cross_entropy(pool):
    task = Colors(config("zhang"), pool)
    task.prepare()
    truth = torch.randn(1, 2, 3, 5) * 20
    known = torch.ones(1, 3, 5, dtype=torch.bool)
    known[0, 1, 2] = False
    raw = torch.randn(1, task.head.channels, 3, 5)
    total = weights = 0.0
    for y, x in np.ndindex(3, 5):
        if known[0, y, x]:
            bins = soft_bins(truth[0, :, y, x][None])[0]
            weight = task.bin_weights[bins.argmax()]
            total -= weight * (bins * torch.log_softmax(raw[0, :, y, x], 0)).sum()
            weights += weight
    found = float(task._bins_loss(raw, truth, known))
    assert found == pytest.approx(float(total / weights), rel=1e-5)


def test_quantized_grey_levels_are_used_in_training_and_prediction(tmp_path, capsys):
    plan = {**small("unet-quantized"), "grey_levels": 5}
    (tmp_path / "mine.json").write_text(json.dumps(plan))
    run = write_run(tmp_path / "run")
    argv = ["train", str(tmp_path / "mine.json"), "--out", str(run), "--steps", "2"]
    assert main([*argv, "--device", "cpu", "--json"]) == 0
    task = Colors(load_config(plan), run / "pool")
    task.prepare()
    assert len(task.levels) == 5
    images, _ = task.dataset()[0]
    assert np.isin(images, task.levels).all()
    predictor = ColorNetwork(find_model(run / "weights" / "unet-quantized"), device="cpu")
    smooth = np.linspace(0, 1, 2 * 3 * 16 * 16, dtype=np.float32).reshape(2, 3, 16, 16)
    seen = predictor.predict(quantize(smooth, task.levels.astype(np.float32)))
    np.testing.assert_array_equal(predictor.predict(smooth), seen)


def test_a_trained_model_colors_a_volume(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (tmp_path / "mine.json").write_text(json.dumps(small("zhang")))
    argv = ["train", str(tmp_path / "mine.json"), "--out", str(run), "--steps", "2", "--json"]
    assert main([*argv, "--device", "cpu"]) == 0
    voxels = np.full((3, 60, 60), -1000, np.int16)
    voxels[:, 8:52, 8:52] = 40
    chroma = colorize(
        Volume(voxels, default_affine((5.0, 4.0, 4.0)), "HU"), run / "weights" / "zhang"
    )
    assert not chroma.has_tissues and chroma.model == "zhang"
    assert (chroma.code[:, 20:40, 20:40] > 0).all() and (chroma.code[:, :4] == 0).all()


def write_pairs(folder, blocks=4):
    """Pair files: a red half and a yellow half, with blue gel in a cavity of the red one."""
    folder.mkdir()
    hu = np.full((4, 40, 50), -1000, np.int16)
    hu[:, 5:35, 5:45] = 60
    hu[:, 5:35, 25:45] = -90
    hu[:, 15:20, 10:15] = -900
    rgb = np.full((*hu.shape, 3), (20, 60, 160), np.uint8)
    rgb[hu == 60], rgb[hu == -90] = (150, 60, 60), (220, 190, 120)
    for k in range(blocks):
        part = ("learn", "learn", "validate", "test")[k]
        np.savez(folder / f"{part}-{k}.npz", hu=hu, rgb=rgb, tissue=hu > -200, spacing=(1.0, 3, 3))
    return folder


def test_samples_of_pairs_keep_photograph_and_ct_together(tmp_path):
    spec = config("unet", pixel_mm=4.0).spec
    samples = PairSamples(write_pairs(tmp_path / "pairs"), "learn", spec, (32, 48), 1)
    for k in range(6):
        images, truth = samples[k]
        body, around = truth[2] == BODY, truth[2] == AROUND
        assert images.shape == (3, 32, 48) and images.min() >= 0 and images.max() <= 1
        fat, muscle = (body & (images[1] > low) & (images[1] < high)
                       for low, high in ((0.05, 0.3), (0.5, 0.7)))  # fmt: skip
        assert fat.sum() > 100 and muscle.sum() > 100
        assert np.median(truth[1][fat]) > 30 > 25 > np.median(truth[1][muscle])  # b* of yellow
        assert (truth[:2][:, ~body] == 0).all() and around.any()
        assert images[0][around].mean() < 0.3
    assert ((samples[0][1][2] == UNKNOWN) | body).any()
    first, again = samples[3], samples[3]
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_training_on_pairs_and_its_card(tmp_path, capsys):
    pairs = write_pairs(tmp_path / "pairs")
    plan = {**small("unet"), "source": "photographs", "validate_every": 2}
    del plan["phantoms"]
    (tmp_path / "mine.json").write_text(json.dumps({**plan, "phantoms": None}))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "4", "--device", "cpu", "--json"]
    argv += ["--out", str(tmp_path / "run")]
    assert main(argv) == 2
    assert "give a folder of them with --data" in capsys.readouterr().err
    assert main([*argv, "--data", str(pairs)]) == 0
    bundle = tmp_path / "run" / "weights" / "unet"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["trained_on"] == ["2 blocks of CT slices with photographs of the sections"]
    assert "held_out_sections_chroma_error" in metadata["scores"]
    assert "that of the photograph" in (bundle / "docs" / "README.md").read_text()
    assert "validation" in (tmp_path / "run" / "log.csv").read_text()


def test_too_few_sections_give_a_one_line_error(tmp_path, capsys):
    pairs = write_pairs(tmp_path / "pairs", blocks=2)
    plan = {**small("unet"), "source": "photographs", "phantoms": None}
    (tmp_path / "mine.json").write_text(json.dumps(plan))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "1", "--device", "cpu"]
    assert main([*argv, "--out", str(tmp_path / "run"), "--data", str(pairs)]) == 2
    assert "no pairs of CT and photographs to validate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"head": {"name": "bins"}},
            "one for each window, and 260 'out_channels'",
        ),
        ({"windows": [[40, 400]]}, "1 'in_channels', one for each window"),
        ({"windows": [[40, 0]]}, "greater than 0"),
        ({"head": {"name": "softmax"}}, "color head 'softmax' is unknown"),
        ({"network": {"name": "Resnet"}}, "is not supported"),
        ({"optimizer": "lbfgs"}, "'optimizer' is 'lbfgs'"),
        ({"grey_levels": 0}, "'grey_levels' is 0"),
    ],
)
def test_configuration_error_messages(change, words):
    with pytest.raises(OptionError) as refused:
        load_config({**small("unet"), **change})
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_the_optimizer_is_chosen_on_the_command_line(tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps({**small("unet"), "validate_every": 0}))
    for name in ("sgd", "rmsprop"):
        run = write_run(tmp_path / name)
        argv = ["train", str(tmp_path / "mine.json"), "--out", str(run), "--steps", "1"]
        assert main([*argv, "--device", "cpu", "--optimizer", name, "--json"]) == 0
        settings = json.loads((run / "weights" / "unet" / "configs" / "train.json").read_text())
        assert settings["optimizer"] == name
    assert main([*argv, "--optimizer", "lbfgs"]) == 2
    kinds = {"adamw": "AdamW", "adam": "Adam", "rmsprop": "RMSprop", "sgd": "SGD"}
    kinds |= {"adamax": "Adamax", "sgd-auto": "PolyakSGD"}
    for name, kind in kinds.items():
        task = Colors(config("unet", optimizer=name), tmp_path)
        assert type(task.optimizer(torch.nn.Linear(1, 1))).__name__ == kind


def test_color_bins_can_do_without_rebalancing(pool):
    task = Colors(load_config({**small("zhang"), "rebalancing": 0.0}), pool)
    task.prepare()
    assert task.bin_weights is not None
    torch.testing.assert_close(task.bin_weights, torch.ones_like(task.bin_weights))
