"""Colors of a photograph: they are transferred tissue by tissue, with and without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colorize_cases import SIMPLE, likelihood
from skimage.color import lab2rgb, rgb2lab

import tomochrome as tc
from tomochrome.bundles import load_arrays
from tomochrome.color.palettes import palette
from tomochrome.colorization import find_model
from tomochrome.colorization.kinds import exemplar
from tomochrome.colorization.predictor import needs_reference
from tomochrome.colorization.reference_photograph import Reference, TissueColors, foreground
from tomochrome.errors import Cancelled, InputError, ModelError, OptionError
from tomochrome.runtime import Task, running
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing import luminance, parse_window

YELLOW, RED, BLUE = (75.0, 5.0, 40.0), (35.0, 30.0, 18.0), (35.0, 0.0, -30.0)
SIZE = 96
Maker = Callable[..., Path]


def disc(radius: float, size: int = SIZE) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - size / 2, x - size / 2) < radius


def painted(
    *parts: tuple[np.ndarray, tuple[float, float, float]], ground: Any = BLUE
) -> np.ndarray:
    """A photograph of regions in CIELAB colors, with slight noise."""
    lab = np.empty((*parts[0][0].shape, 3))
    lab[:] = ground
    for where, color in parts:
        lab[where] = color
    lab += np.random.default_rng(1).normal(0, 0.5, lab.shape)
    return np.rint(255 * lab2rgb(lab)).astype(np.uint8)


@pytest.fixture(scope="module")
def ct() -> Volume:
    """Muscle inside fat, three slices with noise, in air."""
    hu = np.full((3, SIZE, SIZE), -1000.0)
    hu[:, disc(40)] = -100
    hu[:, disc(25)] = 55
    noise = np.random.default_rng(0).normal(0, 6, hu.shape)
    return Volume((hu + noise).astype(np.int16), default_affine((3.0, 2.0, 2.0)))


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Another size, fat on the left and muscle on the right, so that position does not help."""
    body, left = disc(60, 160), np.mgrid[:160, :160][1] < 80
    return painted((body & left, YELLOW), (body & ~left, RED))


@pytest.fixture
def curve(transfer_bundle: Maker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the network that recognizes the tissues of the CT by a curve over the HU."""

    def use(name: str, **ranges: tuple[float, float]) -> None:
        table = (likelihood(**ranges) > 0.5).astype(np.float32)
        card = find_model(transfer_bundle(name, table=table))
        monkeypatch.setattr("tomochrome.colorization.kinds.exemplar.find_model", lambda _: card)

    return use


@pytest.fixture(autouse=True)
def _simple_tissues(curve: Callable[..., None]) -> None:
    curve("simple", **SIMPLE)


def colors(chroma: tc.Chroma, where: np.ndarray) -> np.ndarray:
    return np.median(chroma.ab()[1][where], axis=0)


def test_without_labels_tissues_are_found_by_their_color(
    ct: Volume, photograph: np.ndarray
) -> None:
    chroma = tc.colorize(ct, "exemplar", reference=photograph)
    assert np.abs(colors(chroma, disc(20)) - RED[1:]).max() < 3
    assert np.abs(colors(chroma, disc(37) & ~disc(28)) - YELLOW[1:]).max() < 3
    assert (chroma.code[:, ~disc(44)] == 0).all()
    rim = np.linalg.norm(chroma.ab()[1], axis=-1)[disc(40) & ~disc(38)]
    assert np.median(rim) > 0.9 * np.hypot(*YELLOW[1:])  # not mixed with the grey outside
    again = tc.colorize(ct, "exemplar", reference=tc.Reference(photograph))
    np.testing.assert_array_equal(again.code, chroma.code)
    np.testing.assert_array_equal(again.confidence, chroma.confidence)


def test_without_labels_no_statistics_of_the_hu_are_computed(
    ct: Volume, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tissue has one color, on which they have no effect."""
    read: list[int] = []
    monkeypatch.setattr(exemplar, "denoised", lambda hu: read.append(len(hu)) or hu)
    tc.colorize(ct, "exemplar", reference=photograph)
    assert not read


def test_the_promises_hold(ct: Volume, photograph: np.ndarray) -> None:
    chroma = tc.colorize(ct, "exemplar", reference=photograph)
    assert not chroma.has_tissues
    for window in ("soft-tissue", "lung"):
        lab = rgb2lab(tc.light(ct, chroma, window).voxels[..., :3])
        assert np.abs(lab[..., 0] - luminance(ct.voxels, parse_window(window))).max() <= 0.5
    assert chroma.confidence[:, disc(38)].max() <= np.rint(0.6 * 255)  # the bundle's ceiling
    assert chroma.confidence[:, disc(20)].mean() > 0.5 * 255
    step = chroma.provenance.history[-1]
    assert "not for diagnosis" in step
    assert tc.Reference(photograph).sha256 in step


def test_a_uniform_brain_has_no_rings(curve: Callable[..., None]) -> None:
    """Whatever the photograph's brain is like at each depth, the color does not depend on depth."""
    curve("head", **(SIMPLE | {"MUSCLE": (9000, 9001), "BRAIN": (-20, 200)}))
    hu = np.full((3, SIZE, SIZE), -1000.0)
    hu[:, disc(42)] = 1000
    hu[:, disc(38)] = 35
    hu += np.random.default_rng(0).normal(0, 4, hu.shape)
    head = Volume(hu.astype(np.int16), default_affine((3.0, 2.0, 2.0)))
    shells = [(disc(42), (85.0, 6.0, 14.0))]
    shells += [(disc(r), (50.0 + r / 2, 25.0 - r / 2, 10.0 + r / 2)) for r in range(38, 0, -4)]
    chroma = tc.colorize(head, "exemplar", reference=painted(*shells))
    y, x = np.mgrid[:SIZE, :SIZE]
    depth = 42 - np.hypot(y - SIZE / 2, x - SIZE / 2)
    brain = depth > 8
    for values in (*np.moveaxis(chroma.ab()[1], -1, 0), chroma.confidence[1] / 255):
        means = [values[brain & (depth >= d) & (depth < d + 4)].mean() for d in range(8, 40, 4)]
        assert np.ptp(means) < 0.05
    assert np.linalg.norm(chroma.ab()[1][brain], axis=-1).min() > 15


def test_confidence_is_low_where_the_match_is_poor(ct: Volume) -> None:
    def confidence(*parts: tuple[np.ndarray, tuple[float, float, float]]) -> tuple[float, float]:
        """Return the confidence in muscle and fat."""
        reference = Reference(painted(*parts), mask=parts[0][0])
        found = tc.colorize(ct, "exemplar", reference=reference).confidence[1] / 255
        return float(found[disc(20)].mean()), float(found[disc(37) & ~disc(28)].mean())

    body, inner = disc(45), disc(32)
    muscle, fat = (48.0, 25.0, 21.0), (65.0, 12.0, 25.0)  # as in the palette
    sure = confidence((body, fat), (inner, muscle))
    assert min(sure) > 0.5
    strange = confidence((body, fat), (inner, (48.0, 60.0, -5.0)))  # unlike any muscle
    assert strange[0] < 0.1 < strange[1]
    stripes = inner & (np.mgrid[:SIZE, :SIZE][1] % 8 < 4)
    mixed = confidence((body, fat), (inner, (48.0, 36.0, 21.0)), (stripes, (48.0, 14.0, 8.0)))
    assert mixed[0] < 0.6 * sure[0]


def test_a_tissue_that_the_photograph_does_not_show_has_no_confidence(ct: Volume) -> None:
    body = disc(40)
    chroma = tc.colorize(ct, "exemplar", reference=Reference(painted((body, YELLOW)), mask=body))
    assert np.abs(colors(chroma, disc(20)) - YELLOW[1:]).max() < 3
    assert (chroma.confidence[:, disc(20)] == 0).all()
    (warning,) = [w.text for w in chroma.provenance.warnings if "does not seem to show" in w.text]
    assert "muscle" in warning
    assert "fat" not in warning


def test_gel_black_and_paper_are_no_tissue_and_a_mask_excludes_the_rest(ct: Volume) -> None:
    body = disc(40)
    for ground in (BLUE, (2.0, 0.0, 0.0), (98.0, 0.0, 1.0)):
        lab = rgb2lab(painted((body, RED), ground=ground)).astype(np.float32)
        found = foreground(lab)
        assert found[disc(38)].all()
        assert not found[~disc(42)].any()
    green = painted((body, RED), (disc(20), YELLOW), ground=(45.0, -50.0, 30.0))
    open_, masked = (
        tc.colorize(ct, "exemplar", reference=Reference(green, mask=mask)) for mask in (None, body)
    )
    assert open_.ab()[..., 0].min() < -30
    assert masked.ab()[..., 0].min() > -5


def test_of_a_large_photograph_some_pixels_are_looked_at(
    ct: Volume, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomochrome.colorization.reference_photograph.MAX_PIXELS", 80 * 80)
    reference = tc.Reference(photograph, mask=disc(60, 160))
    assert reference.lab.shape == (80, 80, 3)
    np.testing.assert_array_equal(reference.body, disc(60, 160)[1::2, 1::2])
    chroma = tc.colorize(ct, "exemplar", reference=reference)
    assert np.abs(colors(chroma, disc(20)) - RED[1:]).max() < 3


@pytest.fixture
def labelled() -> Reference:
    """Muscle on the right, redder where it is darker; fat on the left, yellower where lighter."""
    rng = np.random.default_rng(4)
    body, left = disc(45), np.mgrid[:SIZE, :SIZE][1] < SIZE // 2
    z = rng.normal(0, 1, (SIZE, SIZE))
    lab = np.zeros((SIZE, SIZE, 3))
    lab[:] = BLUE
    lab[body & left] = (np.array(YELLOW) + z[..., None] * (3, 1, 5))[body & left]
    lab[body & ~left] = (np.array(RED) + z[..., None] * (3, -4, 2))[body & ~left]
    labels = np.where(body, np.where(left, Tissue.FAT, Tissue.MUSCLE), 0).astype(np.uint8)
    labels[48, :60] = NO_TISSUE
    return Reference(np.rint(255 * lab2rgb(lab)).astype(np.uint8), labels)


def test_each_tissue_gets_the_mean_and_spread_of_its_label(ct: Volume, labelled: Reference) -> None:
    chroma = tc.colorize(ct, "exemplar", reference=labelled)
    lab = rgb2lab(labelled.photograph)
    for tissue, where in ((Tissue.MUSCLE, disc(22)), (Tissue.FAT, disc(37) & ~disc(28))):
        ab = chroma.ab()[:, where].reshape(-1, 2)
        truth = lab[labelled.labels == tissue][:, 1:]
        np.testing.assert_allclose(ab.mean(axis=0), truth.mean(axis=0), atol=0.7)
        np.testing.assert_allclose(ab.std(axis=0), truth.std(axis=0), rtol=0.2, atol=0.2)
    hu = ct.voxels[1].astype(float)
    for tissue, where, sign in (
        (Tissue.MUSCLE, disc(22), -1),
        (Tissue.FAT, disc(37) & ~disc(28), 1),
    ):
        a = chroma.ab()[1][..., 0][where]
        assert sign * np.corrcoef(a, hu[where])[0, 1] > 0.2, tissue  # as with L* in the photograph
    assert not [w for w in chroma.provenance.warnings if "remains grey" in w.text]


def test_a_tissue_without_a_label_stays_grey_and_is_named(ct: Volume, labelled: Reference) -> None:
    labels = np.where(labelled.labels == Tissue.FAT, NO_TISSUE, labelled.labels).astype(np.uint8)
    chroma = tc.colorize(ct, "exemplar", reference=Reference(labelled.photograph, labels))
    fat = disc(37) & ~disc(28)
    assert np.abs(chroma.ab()[:, fat]).max() <= 1
    assert (chroma.confidence[:, fat] == 0).all()
    assert (chroma.code[:, fat] > 0).all()
    (warning,) = [w.text for w in chroma.provenance.warnings if "remains grey" in w.text]
    assert "fat" in warning
    assert "muscle" not in warning


def test_statistics_of_labels_are_those_of_numpy(labelled: Reference) -> None:
    found = TissueColors.of(labelled)
    lab = rgb2lab(labelled.photograph)[labelled.labels == Tissue.MUSCLE]
    np.testing.assert_allclose(found.mean[Tissue.MUSCLE], lab[:, 1:].mean(axis=0), atol=0.02)
    np.testing.assert_allclose(
        np.abs(found.slope[Tissue.MUSCLE]), lab[:, 1:].std(axis=0), atol=0.02
    )
    assert np.sign(found.slope[Tissue.MUSCLE]).tolist() == [-1, 1]
    assert found.trust[Tissue.LIVER] == 0
    assert found.trust[Tissue.MUSCLE] > 0.9


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"labels": np.zeros((5, 5), np.uint8)}, "shape of the labels of the reference"),
        ({"mask": np.ones((5, 5), bool)}, "shape of the mask of the reference"),
        ({"mask": np.zeros((SIZE, SIZE), bool)}, "hardly any tissue"),
        ({"labels": np.full((SIZE, SIZE), 99, np.uint8)}, "contain 99, which is not a tissue"),
        ({"photograph": np.zeros((9, 9), np.uint8)}, "uint8 of shape"),
        ({"photograph": np.zeros((0, 9, 3), np.uint8)}, "uint8 of shape"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Reference(**{"photograph": painted((disc(40), RED)), **more})
    assert "\n" not in str(caught.value)


def test_labels_without_a_tissue_are_refused(ct: Volume, photograph: np.ndarray) -> None:
    labels = np.full(photograph.shape[:2], NO_TISSUE, np.uint8)
    with pytest.raises(OptionError, match="contain no tissue"):
        TissueColors.of(Reference(photograph, labels))


def test_a_photograph_too_many_or_too_few(ct: Volume, photograph: np.ndarray) -> None:
    with pytest.raises(OptionError, match="'exemplar' takes its colors from a photograph"):
        tc.colorize(ct, "exemplar")
    with pytest.raises(OptionError, match="'transfer-function' uses no reference photograph"):
        tc.colorize(ct, "transfer-function", reference=photograph)
    with pytest.raises(InputError, match="there is no file"):
        tc.colorize(ct, "exemplar", reference="nowhere.png")
    assert [card.name for card in tc.models() if needs_reference(card)] == ["exemplar"]


def test_an_empty_scan_a_single_slice_and_a_cancel(ct: Volume, photograph: np.ndarray) -> None:
    air = Volume(np.full((2, 40, 40), -1000, np.int16), ct.affine)
    assert not tc.colorize(air, "exemplar", reference=photograph).code.any()
    one = tc.colorize(Volume(ct.voxels[:1], ct.affine), "exemplar", reference=photograph)
    assert np.abs(np.median(one.ab()[0][disc(20)], axis=0) - RED[1:]).max() < 3
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        tc.colorize(ct, "exemplar", reference=photograph)


@pytest.mark.parametrize("change", [{"ceiling": None}, {"weights_sha256": "0" * 64}])
def test_a_damaged_bundle(
    ct: Volume, photograph: np.ndarray, tmp_path: Path, change: dict[str, Any]
) -> None:
    import shutil

    bundle = tmp_path / "exemplar"
    shutil.copytree(find_model("exemplar").path, bundle)
    file = bundle / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ModelError):
        tc.colorize(ct, bundle, reference=photograph)


def test_the_shipped_expected_colors_are_those_that_the_card_names() -> None:
    """The palette's, but for the brain: sections are frozen, and their brain is yellow-brown."""
    card = find_model("exemplar")
    expected = load_arrays(card)["colors"]
    living = palette("natural").lab
    rest = np.arange(N_TISSUES) != Tissue.BRAIN
    np.testing.assert_allclose(expected[rest], living[rest], atol=1e-4)
    assert expected[Tissue.BRAIN][2] > living[Tissue.BRAIN][2] + 15
    assert "but for the brain" in (card.path / "docs" / "README.md").read_text(encoding="utf-8")
