"""Training of color networks on phantoms, photographs of sections and scans with a teacher."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede94
from training_cases import small, write_run

from tomochrome.bundles import load_state
from tomochrome.cli.app import main
from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.palettes import palette
from tomochrome.colorization.cards import find_model
from tomochrome.colorization.photograph_coloring import colorize_photograph
from tomochrome.errors import TomochromeError
from tomochrome.phantom import make_patient
from tomochrome.training import finish, load_config, train, visible_human
from tomochrome.training.color_data import SECTIONS, taught_scan
from tomochrome.training.color_samples import (
    AROUND,
    BODY,
    UNKNOWN,
    ColorSamples,
    MixedSamples,
    ReusedSamples,
    ScanSamples,
    SectionSamples,
)
from tomochrome.training.sections import Section
from tomochrome.training.task_interface import find_task

torch = pytest.importorskip("torch")
FAT, MUSCLE = (190, 160, 110), (90, 50, 40)


def section():
    """Fat around muscle, with a black border."""
    rgb = np.zeros((120, 160, 3), np.uint8)
    rgb[20:100, 20:140] = FAT
    rgb[40:80, 50:110] = MUSCLE
    tissue = np.zeros(rgb.shape[:2], bool)
    tissue[20:100, 20:140] = True
    return Section(rgb, tissue, 1.0, 1500.0)


def plan(**changes):
    """The small configuration `unet`, with a mixture."""
    found = {**small("unet"), "validate_every": 0, "source": "mixture", "teacher": "tissue"}
    return {**found, "shape": [48, 64], "crop": [32, 32], "reuse": 6, "body_pixels": 40, **changes}


def test_a_photograph_is_its_own_truth():
    samples = SectionSamples([section()], 3, 60, (64, 96), seed=1, augment=False)
    images, truth = samples[0]
    assert images.shape == (3, 64, 96) and truth.shape == (3, 64, 96)
    assert (images[0] == images[1]).all() and (images[0] == images[2]).all()
    rows, columns = np.nonzero(truth[2] == BODY)
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(60, abs=2)
    L, a, b = srgb_to_lab(np.uint8([[MUSCLE]]))[0, 0]
    assert images[0, 32, 48] == pytest.approx(L / 100, abs=0.01)
    assert truth[:2, 32, 48] == pytest.approx((a, b), abs=0.6)
    assert set(np.unique(truth[2])) == {UNKNOWN, BODY} and not images[0, truth[2] != BODY].any()


def test_augmented_photographs_differ_and_are_repeatable():
    samples = SectionSamples([section()], 1, 60, (64, 64), seed=1)
    first = [samples[k] for k in range(4)]
    again = [samples[k] for k in range(4)]
    for (images, truth), (same, true) in zip(first, again, strict=True):
        assert np.array_equal(images, same) and np.array_equal(truth, true)
    assert len({images.tobytes() for images, _ in first}) == 4
    images, truth = torch.utils.data.default_collate(first)
    assert images.shape == (4, 1, 64, 64) and truth.shape == (4, 3, 64, 64)


def test_a_taught_scan_has_the_expected_colors_of_its_teacher():
    scan = make_patient(2, "abdomen", (6.0, 4.0, 4.0), shape=(6, 80, 96)).ct
    taught = taught_scan(scan, "transfer-function")
    import tomochrome as tc

    chroma = tc.colorize(scan, model="transfer-function")
    assert taught.hu.shape == scan.shape and taught.spacing == pytest.approx(scan.spacing)
    assert np.abs(taught.ab - chroma.ab()).max() <= 0.51
    assert set(np.unique(taught.kind)) == {AROUND, BODY}
    spec = load_config(plan()).spec
    images, truth = ScanSamples([taught], spec, (64, 96), 1, augment=False)[0]
    assert len(images) == 3 and (truth[2] == BODY).mean() > 0.2
    fat = palette("natural").ab[3]
    assert (np.linalg.norm(truth[:2].T - fat, axis=-1) < 6).mean() > 0.02


class Numbers(ColorSamples):
    """Constant samples, each with a number of its own, of alternating regions."""

    def __init__(self, offset):
        super().__init__(offset)
        self.offset, self.drawn = offset, 0

    def draw(self):
        self.drawn += 1
        self.region = ("head", "pelvis")[self.drawn % 2]
        value = self.offset + self.rng.random()
        return np.full((1, 8, 8), value, np.float32), np.full((3, 8, 8), BODY, np.float32)


def test_samples_are_drawn_by_their_shares():
    mixed = MixedSamples([(3.0, Numbers(0)), (1.0, Numbers(10))], seed=5)
    values = [mixed[k][0][0, 0, 0] for k in range(400)]
    assert np.mean([value > 5 for value in values]) == pytest.approx(0.25, abs=0.06)
    assert len(set(values)) == 400 and values[7] == mixed[7][0][0, 0, 0]


def test_kept_samples_are_drawn_once():
    inner = Numbers(0)
    reused = ReusedSamples(inner, 5, (4, 6))
    drawn = [reused[k] for k in range(60)]
    assert inner.drawn == 5 and len({images.max() for images, _ in drawn}) == 5
    assert all(images.shape == (1, 4, 6) and truth.shape == (3, 4, 6) for images, truth in drawn)
    fresh = ReusedSamples(Numbers(0), 5, (4, 6))
    assert all(np.array_equal(fresh[k][0], drawn[k][0]) for k in (59, 3, 40))


def test_mixed_and_kept_samples_have_the_region_of_their_patient():
    inner = Numbers(0)
    samples = ReusedSamples(MixedSamples([(1.0, inner)], seed=5), 6, (4, 6))
    regions = {}
    for k in range(60):
        value = samples[k][0].max()
        assert regions.setdefault(value, samples.region) == samples.region
    assert inner.drawn == len(regions) == 6 and set(regions.values()) == {"head", "pelvis"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder with small sections of a chest and no CT."""
    monkeypatch.setattr(visible_human, "WIDTH", 512)
    monkeypatch.setattr(visible_human, "HEIGHT", 304)
    (tmp_path / SECTIONS).mkdir(parents=True)
    for number in (1400, 1410, 1430, 1432):
        rgb = np.full((304, 512, 3), (30, 70, 130), np.uint8)
        rgb[60:200, 150:350] = FAT
        rgb[90:170, 180:320] = MUSCLE
        Image.fromarray(rgb).save(tmp_path / SECTIONS / f"avf{number}a.png")
    return tmp_path


def test_a_mixture_is_trained_and_described(folder, tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps(plan()))
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "2", "--device", "cpu", "--json"]
    run = write_run(tmp_path / "run")
    assert main([*argv, "--out", str(run), "--data", str(folder)]) == 0
    bundle = tmp_path / "run" / "weights" / "unet"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["photograph"] == {"body_pixels": 40}
    assert {"held_out_sections_chroma_error", "held_out_phantoms_chroma_error"} <= set(
        metadata["scores"]
    )
    card = (bundle / "docs" / "README.md").read_text()
    assert "2 photographs of frozen sections" in card and "the photograph's" in card
    assert "`tomochrome train configs/train.json --steps 2 --data DIR --out RUN`" in card
    assert load_config(bundle / "configs" / "train.json") == load_config(tmp_path / "mine.json")


def test_a_second_run_learns_photographs_alone(folder, tmp_path, capsys):
    (tmp_path / "mine.json").write_text(
        json.dumps(plan(photographs={"share": 0.5, "body_pixels": 60}))
    )
    run = write_run(tmp_path / "run")
    argv = ["train", str(tmp_path / "mine.json"), "--steps", "4", "--device", "cpu", "--json"]
    assert main([*argv, "--out", str(run), "--data", str(folder)]) == 0
    first, second = (
        torch.load(path / "checkpoint.pt", weights_only=True) for path in (run, run / "second")
    )
    assert (first["step"], second["step"]) == (4, 2)
    card = find_model(run / "weights" / "unet")
    own = card.for_photographs()
    assert card.metadata["photograph"]["body_pixels"] == 60
    assert own.weights_sha256 == card.metadata["photograph"]["weights_sha256"]
    states = [load_state(card), load_state(own)]
    for state, wanted in zip(states, (first, second), strict=True):
        for name, value in wanted["mean"].items():
            assert torch.allclose(state[name].float(), value.float(), atol=2e-3), name
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    text = (card.path / "docs" / "README.md").read_text()
    assert "then learned photographs alone, for 2 steps" in text
    assert len((card.path / "docs" / "log-photographs.csv").read_text().splitlines()) == 2
    photograph = np.asarray(Image.open(next((folder / SECTIONS).iterdir())))
    colored = colorize_photograph(photograph, card.path)
    (card.path / own.weights).write_bytes((card.path / card.weights).read_bytes())
    with pytest.raises(TomochromeError, match="SHA-256"):
        colorize_photograph(photograph, card.path)
    metadata = card.path / "configs" / "metadata.json"
    plain = json.loads(metadata.read_text())
    del plain["photograph"]["weights_sha256"]
    metadata.write_text(json.dumps(plain))
    assert not np.array_equal(colorize_photograph(photograph, card.path), colored)


def test_a_second_run_is_resumed(folder, tmp_path):
    plans = plan(photographs={"share": 1.0, "body_pixels": 60})
    run = write_run(tmp_path / "run")
    train(plans, folder, run, steps=2, device="cpu")
    whole = torch.load(run / "second" / "checkpoint.pt", weights_only=True)["net"]
    (run / "second" / "checkpoint.pt").unlink()
    train(plans, folder, run, steps=2, device="cpu", resume=True)
    again = torch.load(run / "second" / "checkpoint.pt", weights_only=True)["net"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    (run / "second" / "checkpoint.pt").unlink()
    (bundle,) = finish(run, tmp_path / "weights", config=plans, data=folder)
    assert find_model(bundle).for_photographs() == find_model(bundle)


def test_the_perceptual_loss_is_cie94_for_differences_of_chroma(folder):
    def loss_of(perceptual: bool, true: float, predicted: float) -> float:
        plans = plan(photographs={"share": 1.0, "perceptual": perceptual, "rebalancing": 0.0})
        first = find_task("color")(load_config(plans), folder / "pool", folder)
        task, _ = first.second_run(first.network())
        truth = torch.tensor([0.6 * true, 0.8 * true]).reshape(1, 2, 1, 1)
        color = truth / true * predicted
        raw = 2 * torch.atanh(color / 128)  # the doubled sigmoid of `unet`
        raw = torch.cat([raw, torch.zeros_like(raw[:, :1])], 1)
        error = task._error(raw, truth, torch.ones(1, 1, 1, dtype=torch.bool))
        flat = task.config.variance_weight * 0.5 * (predicted - true) ** 2
        return float(error) - flat

    for true, predicted in ((10.0, 16.0), (40.0, 46.0), (40.0, 30.0)):
        lab = np.array([[50, 0.6 * c, 0.8 * c] for c in (true, predicted)])
        seen = deltaE_ciede94(lab[0], lab[1])
        assert loss_of(True, true, predicted) == pytest.approx(seen / 10, rel=0.01)
        assert loss_of(False, true, predicted) == pytest.approx(
            (predicted - true) ** 2 / 2 / 128**2, rel=1e-3
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "palette", "photographs": {"share": 0.2}}, "which has sections"),
        (
            {"head": {"name": "bins"}, "photographs": {"share": 0.2, "perceptual": True}},
            "'perceptual' needs a head",
        ),
        ({"crop": [64, 32]}, "cannot be larger than 'shape'"),
        ({"reuse": 0}, "'crop' needs 'reuse'"),
        ({"shares": {"palette": 0.0}}, "at least one of 'shares'"),
        ({"shares": {"photos": 1.0}}, "shares"),
    ],
)
def test_invalid_mixtures_give_one_sentence(changes, words):
    with pytest.raises(TomochromeError, match=words):
        load_config(plan(**changes))


def test_a_mixture_needs_its_folder(tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps(plan()))
    assert main(["train", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run")]) == 2
    assert "--data" in capsys.readouterr().err
    argv = ["train", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run2")]
    assert main([*argv, "--data", str(tmp_path)]) == 2
    assert "no color sections" in capsys.readouterr().err
