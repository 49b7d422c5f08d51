"""A complete short training run: checkpoint, resuming, bundles that colorize."""

import json
import threading

import numpy as np
import pytest

from tomochrome.colorization.network_builder import build_network
from tomochrome.errors import Cancelled, InputError, OptionError
from tomochrome.phantom import Structure, draw_variations
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.training.pool import HELD_OUT, generate_phantom

torch = pytest.importorskip("torch")

TINY = {
    "name": "tissue",
    "network": {
        "name": "UNet",
        "in_channels": 10,
        "out_channels": N_TISSUES,
        "channels": [8, 16, 16],
        "strides": [2, 2],
        "num_res_units": 1,
        "norm": "batch",
        "act": "leakyrelu",
    },
    "minutes": 0.05,
    "batch": 2,
    "shape": [32, 48],
    "phantoms": {"spacing": [8.0, 8.0, 8.0], "regions": {"abdomen": 1.0}, "count": 2},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Four patients made of boxes, in the pool's own file format."""
    folder = tmp_path_factory.mktemp("pool")
    for seed in range(4):
        s = np.zeros((10, 40, 48), np.uint8)
        s[:, 4:36, 4:44] = Structure.SUBCUTANEOUS_FAT
        s[:, 8 + seed : 32, 8:40] = Structure.MUSCLE
        s[2:8, 12:28, 10:20] = Structure.LIVER
        header = json.dumps({"seed": seed, "region": "abdomen", "spacing": [3.0, 2.0, 2.0]})
        np.savez_compressed(folder / f"abdomen-{seed}.npz", structures=s, header=np.array(header))
    return folder


@pytest.fixture(scope="module")
def run(pool, tmp_path_factory):
    from tomochrome.training import train

    out = tmp_path_factory.mktemp("run") / "tissue"
    train(TINY, out=out, pool=pool, paint=False, device="cpu", steps=12)
    return out


def test_a_run_reduces_the_loss_and_writes_checkpoint_and_log(run):
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 12
    assert (run / "log.csv").read_text().startswith("step,seconds,rate,loss")
    build_network(TINY["network"]).load_state_dict(state["mean"])
    assert all(torch.isfinite(v).all() for v in state["mean"].values())


def test_a_run_is_not_overwritten_but_resumed(run, pool):
    from tomochrome.training import train

    with pytest.raises(OptionError, match="resume"):
        train(TINY, out=run, pool=pool, paint=False)
    train(TINY, out=run, pool=pool, paint=False, device="cpu", steps=14, resume=True)
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 14
    steps = [line.split(",")[0] for line in (run / "log.csv").read_text().splitlines()]
    assert steps == ["step", "12", "14"]


def test_cancelling_writes_a_checkpoint_and_stops_the_threads(pool, tmp_path):
    from tomochrome.training import train

    token = Task(lambda done, total, stage: token.cancel() if stage == "training" else None)
    with running(token), pytest.raises(Cancelled):
        train(TINY, out=tmp_path / "r", pool=pool, paint=False, device="cpu", steps=1000)
    assert torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)["step"] > 0
    assert not [t for t in threading.enumerate() if "tomochrome" in t.name]


def test_cancelling_before_the_first_step_leaves_nothing_that_blocks_the_next_try(pool, tmp_path):
    from tomochrome.training import train

    token = Task()
    token.cancel()
    for _ in range(2):
        with running(token), pytest.raises(Cancelled):
            train(TINY, out=tmp_path / "r", pool=pool, paint=False, device="cpu")
    assert not (tmp_path / "r" / "checkpoint.pt").exists()


def test_a_data_folder_without_scans_is_rejected(pool, tmp_path):
    from tomochrome.training import train

    with pytest.raises(InputError, match="none of the scans"):
        train(TINY, data=tmp_path, out=tmp_path / "r", pool=pool, paint=False)


def test_missing_training_data_is_reported(tmp_path):
    from tomochrome.training import train

    with pytest.raises(InputError, match="nothing to train on"):
        train(TINY, out=tmp_path / "r", pool=tmp_path / "empty", paint=False)


def test_phantoms_are_generated_during_the_run(tmp_path):
    from tomochrome.training import train

    train(TINY, out=tmp_path / "r", device="cpu", steps=2)
    assert len(list((tmp_path / "r" / "pool").glob("abdomen-*.npz"))) == 2
    assert (tmp_path / "r" / "checkpoint.pt").exists()


def test_every_third_patient_of_the_pool_varies_but_no_held_out_one(tmp_path, monkeypatch):
    given = {}

    def noted(seed, *_, variations, **__):
        given[seed] = variations
        return np.zeros((1, 1, 1), np.uint8), None, None

    monkeypatch.setattr("tomochrome.phantom.make_structures", noted)
    for seed in (3, 4, 5, HELD_OUT + 1):
        generate_phantom(tmp_path, seed, "abdomen", (6.0, 4.0, 4.0))
    assert given == {3: None, 4: None, 5: draw_variations(5), HELD_OUT + 1: None}


def test_an_invalid_checkpoint_is_rejected(pool, tmp_path):
    from tomochrome.training import train

    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(TINY, out=tmp_path, pool=pool, paint=False, resume=True)


def test_the_exported_bundles_colorize(run, pool, tmp_path):
    from tomochrome.colorization import colorize
    from tomochrome.colorization.cards import find_model
    from tomochrome.training import finish
    from tomochrome.volume import Volume, default_affine

    network, transfer = finish(run, tmp_path / "new", config=TINY, pool=pool, held_out=pool)
    for path in (network, transfer):
        card = find_model(path)
        assert "Not for diagnosis" in (path / "docs" / "README.md").read_text()
        assert card.license == "BSD-3-Clause"
        assert (path / "LICENSE").is_file()
    assert find_model(network).scores["expected_calibration_error"] >= 0
    hu = np.full((3, 40, 48), -1000, np.int16)
    hu[:, 6:34, 6:42] = 55
    for path in (network, transfer):
        chroma = colorize(Volume(hu, default_affine((3.0, 2.0, 2.0))), str(path), device="cpu")
        assert chroma.shape == hu.shape
        assert not chroma.code[:, 0].any()


def test_the_lookup_table_recognizes_fat_and_air():
    from tomochrome.training.fit import BINS, FIRST_HU, STEP_HU, likelihood_table, transfer_table

    counts = np.zeros((BINS, N_TISSUES))
    row = lambda hu: int((hu - FIRST_HU) / STEP_HU)  # noqa: E731
    counts[row(-130) : row(-70), Tissue.FAT] = 900
    counts[row(0) : row(90), Tissue.MUSCLE] = 700
    counts[row(20) : row(130), Tissue.LIVER] = 300
    table = transfer_table(counts)
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)
    assert table[row(-100)].argmax() == Tissue.FAT
    assert table[row(50)].argmax() == Tissue.MUSCLE
    assert table[row(110)].argmax() == Tissue.LIVER
    likely = likelihood_table(counts)
    assert likely.min() > 0 and likely.max() <= 1
    assert likely[row(-100), Tissue.FAT] > 5 * likely[row(-100), Tissue.LIVER]
    assert likely[row(120), Tissue.LIVER] > 5 * likely[row(120), Tissue.MUSCLE]


def test_calibration_finds_the_temperature():
    from tomochrome.training.calibrate import fit_temperature, reliability_of_logits

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 5, generator=generator) * 2
    truths = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits * 2.5, truths) == pytest.approx(2.5, rel=0.1)
    before = reliability_of_logits(logits * 2.5, truths).error
    after = reliability_of_logits(logits * 2.5, truths, 2.5).error
    assert after < 0.02 < before


def test_plans_mix_regions_by_their_shares():
    from tomochrome.training.config import PhantomPlan
    from tomochrome.training.pool import plan_jobs

    plan = PhantomPlan(regions={"abdomen": 0.5, "head": 0.25, "thorax": 0.25}, count=40)
    jobs = list(plan_jobs(plan, 100))
    assert [seed for seed, _ in jobs] == list(range(100, 140))
    names = [name for _, name in jobs]
    assert (names.count("abdomen"), names.count("head"), names.count("thorax")) == (20, 10, 10)


def test_the_loss_is_zero_only_for_the_truth():
    from tomochrome.color.palettes import palette
    from tomochrome.training.tasks.tissue_task import TissueLoss

    loss = TissueLoss(np.ones(N_TISSUES, np.float32), palette("natural").ab, 1.0)
    target = torch.randint(1, N_TISSUES, (2, 6, 6), generator=torch.Generator().manual_seed(1))
    sure = torch.nn.functional.one_hot(target, N_TISSUES).permute(0, 3, 1, 2).float() * 40
    total, entropy, chroma = loss(sure, target)
    assert float(entropy) < 1e-3 and float(chroma) < 0.2 and float(total) < 0.02
    other = loss(torch.zeros_like(sure), target)
    assert all(float(a) > float(b) for a, b in zip(other, (total, entropy, chroma), strict=True))


def test_sampled_voxels_estimate_the_loss():
    from tomochrome.color.palettes import palette
    from tomochrome.training.tissue_loss import TissueLoss

    torch.manual_seed(3)
    weights = np.linspace(0.5, 2, N_TISSUES, dtype=np.float32)
    logits = torch.randn(2, N_TISSUES, 8, 40, 40)
    target = torch.randint(1, N_TISSUES, (2, 8, 40, 40))
    whole, some, none = (
        TissueLoss(weights, palette("natural").ab, 1.0, share)(logits, target)[0]
        for share in (1.0, 0.25, 1.0)
    )
    assert float(whole) == float(none)  # without air nothing is left out
    assert some != whole and abs(float(some) - float(whole)) < 0.02 * float(whole)


def test_weights_of_voxels_leave_some_out_and_count_others_more():
    from tomochrome.color.palettes import palette
    from tomochrome.training.tissue_loss import TissueLoss

    loss = TissueLoss(np.ones(N_TISSUES, np.float32), palette("natural").ab, 1.0)
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, N_TISSUES, 4, 6, generator=generator)
    target = torch.randint(1, N_TISSUES, (1, 4, 6), generator=generator)
    left, right = (float(loss(logits[..., half], target[..., half])[0])
                   for half in (slice(0, 3), slice(3, 6)))  # fmt: skip
    weights = torch.ones(1, 4, 6)
    assert float(loss(logits, target, weights)[0]) == pytest.approx((left + right) / 2, rel=1e-5)
    weights[..., 3:] = 3.0
    assert float(loss(logits, target, weights)[0]) == pytest.approx(
        (left + 3 * right) / 4, rel=1e-5
    )
    weights[..., 3:] = 0.0
    assert float(loss(logits, target, weights)[0]) == pytest.approx(left, rel=1e-5)


def test_exported_weights_predict_as_the_checkpoint_does(run, pool, tmp_path):
    from tomochrome.bundles import load_state
    from tomochrome.colorization.cards import find_model
    from tomochrome.training import load_config
    from tomochrome.training.export import load_mean, write_bundle
    from tomochrome.training.task_interface import Bundle, Evidence, half_precision
    from tomochrome.training.tasks.tissue_task import Tissues, reading

    task = Tissues(load_config(TINY), pool)
    net = load_mean(run / "checkpoint.pt", task)
    state = net.state_dict()
    name = next(n for n in state if n.endswith("running_var"))
    state[name][0] = 3e6  # beyond float16
    metadata = {**task.metadata({}, 1.0), "description": ""}
    evidence = Evidence(None, [], 0)

    def write():
        words = dict.fromkeys(("temperature", "reliability", "began", "emphasis"), "") | reading(
            task.config.spec
        )
        bundle = Bundle("tissue", half_precision(state), metadata, words, "tissue")
        return write_bundle(tmp_path, bundle, task, evidence)

    again = build_network(TINY["network"]).eval()
    again.load_state_dict(load_state(find_model(write())))
    x = torch.rand(1, 10, 32, 48)
    with torch.inference_mode():
        difference = (net(x).softmax(1) - again(x).softmax(1)).abs().max()
    assert float(difference) < 0.01
    state[name][0] = float("nan")
    with pytest.raises(InputError, match="infinite or NaN"):
        write()
