"""Doubt about nodules, marrow without bone around it, and partial volume that looks like fluid."""

from __future__ import annotations

import numpy as np
import pytest

import tomochrome as tc
from tomochrome.color.palettes import palette
from tomochrome.colorization.doubtful_tissues import doubt_tissues
from tomochrome.colorization.scan import Colors, prepare
from tomochrome.colorization.tables import tissue_table
from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume, default_affine

SPACINGS = [(2.0, 0.7, 0.7), (1.5, 1.5, 1.5), (3.0, 1.0, 1.0)]
ids = pytest.mark.parametrize("spacing", SPACINGS, ids=str)


def sure(tissue: Tissue) -> int:
    """Return the code of a tissue that is certain."""
    return int(np.flatnonzero(tissue_table().weights[:, tissue] == 1)[0])


class Body:
    """A cylinder of one tissue with structures in it; positions in mm from its middle."""

    def __init__(self, spacing, tissue=Tissue.MUSCLE, hu=50.0, size=(70, 100, 100)) -> None:
        shape = [round(mm / step) for mm, step in zip(size, spacing, strict=True)]
        z, y, x = ((np.arange(n) - n / 2) * step for n, step in zip(shape, spacing, strict=True))
        self.z, self.y, self.x = z[:, None, None], y[:, None], x
        self.spacing = spacing
        self.hu, self.code = np.full(shape, -1000.0), np.zeros(shape, np.uint16)
        self.draw(np.hypot(self.y, self.x) + 0 * self.z < 48, hu, tissue)

    def draw(self, where: np.ndarray, hu: float, tissue: Tissue) -> np.ndarray:
        self.hu[where], self.code[where] = hu, sure(tissue)
        return where

    def ball(self, radius: float) -> np.ndarray:
        return np.sqrt(self.z**2 + self.y**2 + self.x**2) < radius

    def tube(self, radius: float) -> np.ndarray:
        """Return a tube along y, through the middle."""
        return np.hypot(self.z, self.x) + 0 * self.y < radius

    def colored(self, noise: float = 5.0, confidence: int = 250) -> Colors:
        hu = self.hu + np.random.default_rng(0).normal(0, noise, self.hu.shape)
        scan = prepare(Volume(np.rint(hu).astype(np.int16), default_affine(self.spacing)))
        colors = Colors(self.code.copy(), np.full(self.code.shape, confidence, np.uint8))
        doubt_tissues(scan, colors)
        self.changed = colors.code != self.code
        assert (colors.confidence[self.changed] == min(confidence, 127)).all()
        assert (colors.confidence[~self.changed] == confidence).all()
        return colors


def tissues(colors: Colors, where: np.ndarray) -> set[Tissue]:
    return {Tissue(int(t)) for t in np.unique(tissue_table().tissue[colors.code[where]])}


def saturation(colors: Colors, where: np.ndarray) -> float:
    """Return the chroma there, relative to that of the certain tissue."""
    code = colors.code[where]
    of = tissue_table().chroma(palette())
    certain = [sure(Tissue(int(t))) for t in tissue_table().tissue[code]]
    chroma = np.linalg.norm(of[code], axis=1) / np.linalg.norm(of[certain], axis=1)
    return float(chroma.mean())


@ids
@pytest.mark.parametrize("radius", [5.0, 8.0, 12.0])
def test_a_ball_with_lung_all_around_is_uncertain(spacing, radius: float) -> None:
    body = Body(spacing, Tissue.LUNG, -850)
    nodule = body.draw(body.ball(radius), 40, Tissue.VESSEL)
    colors = body.colored()
    assert body.changed[nodule].all()
    assert not body.changed[~nodule].any()
    assert tissues(colors, nodule) == {Tissue.VESSEL}
    assert saturation(colors, nodule) == pytest.approx(0.5, abs=0.02)


@ids
def test_a_vessel_may_lead_to_it(spacing) -> None:
    body = Body(spacing, Tissue.LUNG, -850)
    body.draw(body.tube(1.5) & (body.y > 0), 40, Tissue.VESSEL)
    nodule = body.draw(body.ball(7), 40, Tissue.VESSEL)
    body.colored()
    assert body.changed[nodule].all()


def lung_with(draw) -> Body:
    body = Body(SPACINGS[0], Tissue.LUNG, -850)
    body.draw(draw(body), 40, Tissue.VESSEL)
    return body


@pytest.mark.parametrize(
    "draw",
    [
        lambda body: body.tube(6),
        lambda body: body.tube(6) & (abs(body.y) < 25),  # ends in the lung
        lambda body: body.tube(4) | (body.ball(7)),  # an aneurysm of it, or a fork
        lambda body: body.ball(2.5),
    ],
    ids=["tube", "short tube", "thick vessel through it", "small"],
)
def test_vessels_of_the_lung_stay_as_they_are(draw) -> None:
    body = lung_with(draw)
    body.colored()
    assert not body.changed.any()


def test_a_ball_without_lung_around_it_stays() -> None:
    body = Body(SPACINGS[0])
    body.draw(body.ball(7), 40, Tissue.VESSEL)
    body.colored()
    assert not body.changed.any()


@ids
def test_marrow_without_bone_around_it_can_be_a_vessel(spacing) -> None:
    body = Body(spacing)
    aorta = body.draw(body.tube(13), 300, Tissue.MARROW)
    rim = body.draw(aorta & ~body.tube(11), 290, Tissue.CORTICAL_BONE)
    colors = body.colored()
    assert body.changed[aorta & ~rim].all()
    assert not body.changed[~aorta].any()
    assert body.changed[rim].mean() > 0.8  # the network takes the edge for bone
    assert tissues(colors, aorta & ~rim) == {Tissue.VESSEL}
    of = tissue_table().chroma(palette())
    got = of[colors.code[aorta & ~rim][0]]
    apart = [np.linalg.norm(got - of[sure(t)]) for t in (Tissue.VESSEL, Tissue.MARROW)]
    whole = np.linalg.norm(of[sure(Tissue.VESSEL)] - of[sure(Tissue.MARROW)])
    assert sum(apart) == pytest.approx(whole, rel=0.01)
    assert max(apart) < 0.6 * whole


@pytest.mark.parametrize(
    ("marrow", "bone", "noise"),
    [(150, 500, 5), (300, 500, 5), (50, 60, 5), (800, 800, 5), (300, 300, 90)],
    ids=["vertebra", "dense vertebra", "fatty", "dense bone", "uneven"],
)
def test_other_marrow_stays_as_it_is(marrow: float, bone: float, noise: float) -> None:
    body = Body((3.0, 1.8, 1.8))
    body.draw(body.tube(16), bone, Tissue.CORTICAL_BONE)
    body.draw(body.tube(12), marrow, Tissue.MARROW)
    body.colored(noise)
    assert not body.changed.any()


@ids
@pytest.mark.parametrize("along", ["z", "y"])
def test_thin_fluid_between_fat_and_denser_tissue_is_uncertain(spacing, along: str) -> None:
    body = Body(spacing)
    depth = {"z": body.z, "y": body.y}[along]
    inside = body.code == sure(Tissue.MUSCLE)
    body.draw(inside & (depth + 0 * body.hu > 0), -100, Tissue.FAT)
    fluid = body.draw(inside & (abs(depth - 1.6) + 0 * body.hu <= 1.6), -5, Tissue.FLUID)
    colors = body.colored()
    assert body.changed[fluid].mean() > 0.75
    assert not body.changed[~fluid].any()
    assert tissues(colors, fluid) == {Tissue.FLUID}
    assert saturation(colors, fluid & body.changed) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("thick", "above"), [(14.0, -100.0), (2.0, 50.0), (2.0, 0.0)], ids=["thick", "muscle", "none"]
)
def test_other_fluid_stays_as_it_is(thick: float, above: float) -> None:
    body = Body(SPACINGS[1])
    inside = body.code == sure(Tissue.MUSCLE)
    body.draw(inside & (body.z + 0 * body.hu > thick), above, Tissue.FAT)
    body.draw(inside & (abs(body.z) + 0 * body.hu <= thick), 5, Tissue.FLUID)
    body.colored()
    assert not body.changed.any()


def test_confidence_is_never_raised() -> None:
    body = lung_with(lambda body: body.ball(7))
    body.colored(confidence=40)
    assert body.changed.any()


def test_it_can_be_cancelled() -> None:
    body = lung_with(lambda body: body.ball(7))
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        body.colored()


def test_the_aorta_of_a_small_field_of_view_is_not_certainly_marrow(shared_data) -> None:
    """Beside a vertebra, in the upper right corner of a single slice."""
    chroma = tc.colorize(tc.read(shared_data / "dicom/odd/CT_small.dcm"), device="cpu")
    corner = (0, slice(3, 22), slice(76, 104))
    named = chroma.table.tissue[chroma.code[corner]]
    assert (named == Tissue.MARROW).mean() < 0.1
    assert (chroma.confidence[corner] <= 127).mean() > 0.8
