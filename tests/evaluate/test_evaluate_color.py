import numpy as np
import pytest

from tomochrome.color.chroma import Chroma
from tomochrome.color.palettes import palette
from tomochrome.errors import GeometryError
from tomochrome.evaluate import colored_outside, flicker, photograph_error, score_color
from tomochrome.tissue import N_TISSUES, NO_TISSUE, Tissue


def coloring(tissue, model="test"):
    mixtures = np.eye(N_TISSUES, dtype=np.float32)
    tissue = np.asarray(tissue, np.uint16)
    return Chroma(tissue, np.full(tissue.shape, 255, np.uint8), mixtures, model=model)


@pytest.fixture
def truth():
    rng = np.random.default_rng(3)
    return rng.choice(
        np.array([0, 3, 4, 9, 10, NO_TISSUE], np.uint8),
        (4, 12, 12),
        p=[0.2, 0.3, 0.3, 0.1, 0.05, 0.05],
    )


def test_perfect_color_has_no_error(truth):
    score = score_color(coloring(np.where(truth == NO_TISSUE, 0, truth)), truth, least=1)
    assert score.voxel_error == pytest.approx(0, abs=1e-5)
    assert score.organ_error == pytest.approx(0, abs=1e-5)
    assert score.right == 1.0
    assert set(score.organs) == {"fat", "muscle", "liver", "spleen"}


def test_grey_has_the_grey_error(truth):
    score = score_color(coloring(np.zeros_like(truth)), truth, least=1)
    assert score.voxel_error == pytest.approx(score.grey_voxel_error, rel=1e-5)
    assert score.organ_error == pytest.approx(score.grey_organ_error, rel=1e-5)


def test_errors_equal_a_voxel_by_voxel_loop(truth):
    rng = np.random.default_rng(4)
    guess = rng.integers(0, N_TISSUES, truth.shape)
    score = score_color(coloring(guess), truth, least=1)
    ab = palette("natural").ab
    known = (truth != NO_TISSUE) & (truth != 0)
    each = np.linalg.norm(ab[guess[known]] - ab[truth[known]], axis=1)
    assert score.voxel_error == pytest.approx(each.mean(), rel=1e-4)
    means = [each[truth[known] == t].mean() for t in np.unique(truth[known])]
    assert score.organ_error == pytest.approx(np.mean(means), rel=1e-4)


def test_the_most_frequent_confusion_is_reported():
    truth = np.full((1, 10, 10), Tissue.SPLEEN, np.uint8)
    guess = truth.copy()
    guess[0, :3] = Tissue.LIVER
    organ = score_color(coloring(guess), truth).organs["spleen"]
    assert organ.right == pytest.approx(0.7)
    assert (organ.mistaken_for, organ.mistaken_share) == ("liver", pytest.approx(0.3))


def test_a_truth_on_another_grid_is_rejected(truth):
    with pytest.raises(GeometryError, match="grid"):
        score_color(coloring(truth % 4), truth[:, :5])
    with pytest.raises(GeometryError, match="no tissue"):
        score_color(coloring(truth * 0), truth * 0)


def test_color_outside_the_body_is_counted():
    guess = np.zeros((2, 4, 4), np.uint8)
    guess[0] = Tissue.LIVER
    body = np.zeros(guess.shape, bool)
    body[0, :3] = True
    assert colored_outside(coloring(guess), body) == pytest.approx(4 / 16)
    assert colored_outside(coloring(guess), body.astype(np.uint8) * 2) == pytest.approx(4 / 16)
    assert colored_outside(coloring(guess * 0), body) == 0.0
    with pytest.raises(GeometryError, match="the mask of the body"):
        colored_outside(coloring(guess), body[:1])


def test_a_constant_coloring_has_no_flicker():
    guess = np.full((3, 6, 6), Tissue.LIVER, np.uint8)
    hu = np.full(guess.shape, 60.0, np.float32)
    steady = flicker(coloring(guess), hu)
    assert steady.chroma == 0 and steady.luminance == 0
    guess[1] = Tissue.SPLEEN
    moving = flicker(coloring(guess), hu)
    ab = palette("natural").ab
    expected = np.linalg.norm(ab[Tissue.LIVER] - ab[Tissue.SPLEEN])
    assert moving.chroma == pytest.approx(expected, rel=1e-4)
    assert moving.chroma_where_still == pytest.approx(expected, rel=1e-4)
    with pytest.raises(GeometryError):
        flicker(coloring(guess[:1]), hu[:1])


def test_a_grey_photograph_needs_no_color():
    grey = np.full((5, 5, 3), 128, np.uint8)
    mask = np.ones((5, 5), bool)
    error, without = photograph_error(np.zeros((5, 5, 2), np.float32), grey, mask)
    assert error == pytest.approx(0, abs=0.05) and without == pytest.approx(0, abs=0.05)
    with pytest.raises(GeometryError):
        photograph_error(np.zeros((5, 5, 2), np.float32), grey, ~mask)
