"""Training of feature networks: what they learn, and what of it is kept."""

import numpy as np
import pytest
from training_cases import small, write_pool

from tomochrome.bundles import FEATURES, list_cards
from tomochrome.errors import OptionError
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.training import load_config
from tomochrome.training.pool import HELD_OUT
from tomochrome.training.task_interface import Evidence

torch = pytest.importorskip("torch")
from tomochrome.registration.feature_networks import load_features  # noqa: E402
from tomochrome.training.export import write_bundle  # noqa: E402
from tomochrome.training.tasks.features_task import FeatureTask  # noqa: E402

NAMES = ("alexnet", "vgg16", "resnet18")


def config(name, **change):
    return load_config({**small(f"features-{name}"), **change})


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("pool"), range(1, 5))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name, pool):
    task = FeatureTask(config(name, learning_rate=1e-3, phantoms=None), pool)
    task.prepare()
    torch.manual_seed(1)
    batch = task.collate([task.dataset()[k] for k in range(4)])
    net = task.network()
    optimizer = task.optimizer(net)
    losses = []
    for _ in range(12):
        loss, figures = task.loss(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(figures["entropy"])
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None and p.grad.any() for p in net.extractor.parameters())


def test_samples_name_tissues_and_are_kept(pool):
    samples = FeatureTask(config("vgg16"), pool).dataset()
    images, truth = samples[5]
    assert images.shape == (3, 24, 32) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    names = set(np.unique(truth[0]).astype(int))
    assert {int(Tissue.FAT), int(Tissue.MUSCLE)} & names and max(names) < N_TISSUES
    again = samples[5]
    np.testing.assert_array_equal(images, again[0])
    drawn = {samples[k][0].tobytes() for k in range(40)}
    assert len(drawn) > 2 and len(samples._kept) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_has_the_features_without_the_head(name, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("tomochrome.training.tasks.features_task.HELD_OUT_SLICES", 8)
    plan = config(name)
    task = FeatureTask(plan, pool)
    net = task.network().eval()
    held_out = write_pool(tmp_path / "held-out", range(HELD_OUT, HELD_OUT + 2))
    [bundle] = task.bundles(net, Evidence(held_out, ["step,seconds", "3,1"], 100))
    (tmp_path / "weights").mkdir()
    write_bundle(tmp_path / "weights", bundle, task, Evidence(held_out, ["step,seconds", "3,1"], 1))
    [card] = list_cards(FEATURES, tmp_path / "weights")
    assert (card.name, card.kind) == (f"features-{name}", "features")
    assert set(card.scores) == {"held_out_phantoms_voxels_right"}
    extractor, spec = load_features(name, card.path)
    assert spec == plan.spec
    images = torch.rand(1, 3, 32, 40)
    with torch.inference_mode():
        for stored, own in zip(extractor(images), net.extractor(images), strict=True):
            torch.testing.assert_close(stored, own, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"name": "VGG19"}}, "'VGG19' is not supported; supported are AlexNet, VGG16"),
        ({"network": {"name": "VGG16", "width": 3}}, "without parameters"),
        ({"crop": [48, 48]}, "'crop' cannot be larger than 'shape'"),
        ({"shape": [30, 48]}, "each size in 'shape' must be a multiple of 8"),
        ({"windows": [[0, 100]]}, "there must be 3 'windows', not 1"),
    ],
)
def test_invalid_configurations_are_rejected(change, words):
    with pytest.raises(OptionError, match="the training configuration") as refused:
        config("vgg16", **change)
    assert words in str(refused.value)
