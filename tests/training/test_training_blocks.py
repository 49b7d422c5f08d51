"""Blocks for 3D networks: samples, training, and colorizing with the exported bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training_cases import small, write_pool

from tomochrome.colorization.inputs import DEFAULT_CHANNELS, InputSpec
from tomochrome.errors import OptionError
from tomochrome.phantom import Structure
from tomochrome.training import load_config
from tomochrome.training.augment import Augmentation, Sampler
from tomochrome.training.patients import TrainingPatient

BLOCK = (16, 32, 48)
CHANNELS = tuple(c for c in DEFAULT_CHANNELS if not c.offset_mm)
SPEC = InputSpec(2.0, channels=CHANNELS, block=BLOCK)
STILL = Augmentation(
    tilt_degrees=0.0, scale=(1.0, 1.0001), elastic_mm=0.0, inflation=0.0, shift_mm=0.0,
    noise_hu=0.0, blur_px=0.0, couch=0.0, arms=0.0, small_field=0.0, short_volume=0.0, streaks=0.0,
    prone=0.0, real_hu=1.0,
)  # fmt: skip
WARPED = Augmentation(**{**STILL.__dict__, "elastic_mm": 5.0, "tilt_degrees": 10.0})


def ball_patient(hu: bool = False) -> TrainingPatient:
    """A ball of liver of 15 mm in muscle; with HU it is bright where it is liver."""
    z, y, x = np.mgrid[:24, :40, :48]
    inside = ((z - 11.5) * 3) ** 2 + ((y - 19.5) * 2) ** 2 + ((x - 23.5) * 2) ** 2 < 15**2
    s = np.where(inside, Structure.LIVER, Structure.MUSCLE).astype(np.uint8)
    scan = np.where(inside, 900, 0).astype(np.int16) if hu else None
    return TrainingPatient("ball", s, (3.0, 2.0, 2.0), scan)


def drawn(sampler: Sampler, patient: TrainingPatient) -> tuple[np.ndarray, np.ndarray]:
    x = np.full((len(CHANNELS), *BLOCK), np.nan, np.float32)
    y = np.full(BLOCK, 99, np.uint8)
    sampler.sample(patient, x, y)
    return x, y


def test_a_block_and_its_labels_are_aligned() -> None:
    sampler, patient = Sampler(SPEC, settings=WARPED, seed=4), ball_patient(hu=True)
    for _ in range(6):
        planes, structures = sampler.scan(patient)
        assert planes.shape == structures.shape == BLOCK
        liver, middle = structures == Structure.LIVER, planes > planes.mean() + planes.std()
        assert liver.sum() > 200
        both = (liver & middle).sum() / (liver | middle).sum()
        assert both > 0.6
        for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):  # shifted by a voxel they fit worse
            for sign in (-1, 1):
                moved = np.roll(middle, [sign * k for k in step], (0, 1, 2))
                assert (liver & moved).sum() / (liver | moved).sum() < both


def test_a_block_without_augmentation_matches_the_patient() -> None:
    sampler = Sampler(SPEC, settings=STILL, seed=1)
    sampler._matrix = lambda: (np.eye(3), 1.0)  # type: ignore[method-assign]
    sampler._offsets = lambda: sampler.planes  # type: ignore[method-assign]
    _, structures = sampler.scan(ball_patient())
    extent = [np.ptp(where) + 1 for where in np.nonzero(structures == Structure.LIVER)]
    assert np.abs(np.array(extent) * (3.0, 2.0, 2.0) - 30).max() <= 4


def test_all_planes_have_the_same_deformation() -> None:
    sampler = Sampler(SPEC, settings=WARPED, seed=7)
    for _ in range(6):
        _, structures = sampler.scan(ball_patient())
        middles = [np.argwhere(p == Structure.LIVER).mean(0) for p in structures
                   if (p == Structure.LIVER).sum() > 30]  # fmt: skip
        steps = np.linalg.norm(np.diff(middles, axis=0), axis=1)
        assert len(middles) >= 4 and steps.max() < 1.5


def test_augmented_blocks_are_valid_and_depend_only_on_the_seed() -> None:
    strong = Augmentation(couch=1.0, arms=1.0, small_field=1.0, streaks=1.0, short_volume=1.0)
    first, second = (Sampler(SPEC, settings=strong, seed=5) for _ in range(2))
    seen = set()
    for _ in range(8):
        x, y = drawn(first, ball_patient())
        assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1 and y.max() < 26
        for mine, other in zip((x, y), drawn(second, ball_patient()), strict=True):
            np.testing.assert_array_equal(mine, other)
        seen.add(y.tobytes())
    assert len(seen) == 8


def test_a_block_is_inside_a_scan_that_is_long_enough() -> None:
    ends = np.full((40, 40, 48), Structure.MUSCLE, np.uint8)
    ends[0], ends[-1] = Structure.LIVER, Structure.SPLEEN
    sampler = Sampler(SPEC, settings=STILL, seed=3)
    sampler._matrix = lambda: (np.eye(3), 1.0)  # type: ignore[method-assign]
    sampler._offsets = lambda: sampler.planes  # type: ignore[method-assign]
    for _ in range(30):
        _, found = sampler.scan(TrainingPatient("long", ends, (3.0, 2.0, 2.0)))
        repeated = [
            (found[k] == s).any() for k, s in ((1, Structure.LIVER), (-2, Structure.SPLEEN))
        ]
        assert not any(repeated)


@pytest.mark.parametrize(
    "change",
    [
        {"block": None},
        {"network": {"spatial_dims": 2}},
        {"block": [18, 32, 48]},
        {"block": [8, 32, 48]},
    ],
)
def test_a_network_that_does_not_fit_its_blocks_is_rejected(change: dict) -> None:
    config = small("tissue-3d-unet")
    network = {**config["network"], **change.get("network", {})}
    with pytest.raises(OptionError, match="block"):
        load_config({**config, **change, "network": network})


@pytest.mark.parametrize("name", ["tissue-3d-unet", "tissue-3d-segresnet"])
def test_a_short_training_exports_a_bundle_that_colorizes(name, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("torch")
    from tomochrome.colorization import colorize, find_model
    from tomochrome.colorization.grid_predictor import blended
    from tomochrome.colorization.predictor import predictor_class
    from tomochrome.training import finish, train
    from tomochrome.volume import Volume, default_affine

    config, pool = load_config(small(name)), write_pool(tmp_path / "pool", range(1, 3))
    run = tmp_path / "run"
    train(config, out=run, pool=pool, steps=3, device="cpu", paint=False)
    bundles = finish(run, tmp_path / "new", config=config, pool=pool, held_out=pool)
    assert [path.name for path in bundles] == [name]
    card = (bundles[0] / "docs" / "README.md").read_text()
    assert "blocks of 16 x 32 x 48 voxels" in card and "pixels of " in card
    hu = np.full((30, 60, 70), -1000, np.int16)
    hu[:, 6:54, 6:64] = 55
    volume = Volume(hu, default_affine((3.0, 2.5, 2.5)))
    chroma = colorize(volume, str(bundles[0]), device="cpu")
    assert chroma.has_tissues and not chroma.code[:, 0].any()
    bundle_card = find_model(bundles[0])
    predictor: Any = predictor_class(bundle_card)(bundle_card, device="cpu")
    assert predictor.reads.block == BLOCK
    flat = np.full((30, 60, 70), 55, np.float32)
    planes = np.stack(
        list(blended(predictor.predict, flat, predictor.reads, 2, predictor.multiple))
    )
    np.testing.assert_allclose(planes.sum(-1), 1, atol=0.02)


def test_contradicting_blocks_are_blended_without_seams() -> None:
    from tomochrome.colorization.grid_predictor import blended

    ramps = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in BLOCK), indexing="ij"), axis=-1)

    def predict(inputs: np.ndarray) -> np.ndarray:  # where one block says 0 another says 1
        return np.repeat(ramps[None].astype(np.float32), len(inputs), axis=0)

    hu = np.zeros((40, 80, 112), np.float32)
    planes = np.stack(list(blended(predict, hu, SPEC, 2, 4)))
    for axis in range(3):
        assert np.abs(np.diff(planes[..., axis], axis=axis)).max() < 0.25
