"""Doubt about thick vessels of the liver's density at the liver, in scans with contrast agent."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome.color.palettes import palette
from tomochrome.colorization.isodense_vessels import doubt_isodense_vessels
from tomochrome.colorization.scan import Colors, prepare
from tomochrome.colorization.tables import tissue_table
from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume, default_affine

SPACINGS = [(3.0, 1.0, 1.0), (5.0, 0.8, 0.8), (1.0, 2.0, 2.0)]
LIVER_HU = 95


def sure(tissue: Tissue) -> int:
    """Return the code of a tissue that is certain."""
    return int(np.flatnonzero(tissue_table().weights[:, tissue] == 1)[0])


class Abdomen:
    """A body with a liver, an aorta, and a part that is named vessel; lengths in mm."""

    def __init__(
        self, spacing, *, aorta=170, part=LIVER_HU, radius=10.0, gap=0.0, liver=60.0, noise=15.0
    ) -> None:
        shape = [round(mm / step) for mm, step in zip((90, 200, 260), spacing, strict=True)]
        z, y, x = (np.arange(n) * step for n, step in zip(shape, spacing, strict=True))
        z, y, x = z[:, None, None], y[:, None], x
        hu = np.full(shape, -1000.0)
        code = np.zeros(shape, np.uint16)

        def paint(where, value: float, tissue: Tissue):
            hu[where], code[where] = value, sure(tissue)
            return where

        body = ((y - 100) / 95) ** 2 + ((x - 130) / 125) ** 2 + 0 * z < 1
        paint(body, -100, Tissue.FAT)
        paint((abs(x - 80) < liver) & (abs(y - 90) < liver) & (abs(z - 45) < 40), LIVER_HU,
              Tissue.LIVER)  # fmt: skip
        self.aorta = paint(np.hypot(y - 150, x - 150) + 0 * z < 11, aorta, Tissue.VESSEL)
        center = 80 + liver + gap + radius
        self.part = paint(np.hypot(y - 90, x - center) + 0 * z < radius, part, Tissue.VESSEL)
        hu += np.random.default_rng(0).normal(0, noise, shape)
        self.hu = np.rint(hu).astype(np.int16)
        self.scan = prepare(Volume(self.hu, default_affine(spacing)))
        self.before = code
        self.colors = Colors(code.copy(), np.full(shape, 250, np.uint8))
        doubt_isodense_vessels(self.scan, self.colors)

    @property
    def changed(self) -> np.ndarray:
        return self.colors.code != self.before


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_a_thick_vessel_of_the_density_of_the_liver_is_uncertain(spacing) -> None:
    case = Abdomen(spacing)
    assert case.changed[case.part].mean() > 0.8
    assert not case.changed[~case.part].any()
    new = case.colors.code[case.changed]
    assert (tissue_table().tissue[new] == Tissue.VESSEL).all()  # the map of tissues stays
    assert (case.colors.confidence[case.changed] <= 127).all()
    assert (case.colors.confidence[~case.changed] == 250).all()
    weights = tissue_table().weights[new[0]]
    expected = {Tissue.VESSEL: 8 / 15, Tissue.LIVER: 7 / 15}
    assert dict(zip(np.flatnonzero(weights), weights[weights > 0], strict=True)) == pytest.approx(
        expected
    )
    lab = palette().lab
    mixed = tissue_table().chroma(palette())[new[0]]
    apart = [np.linalg.norm(mixed - lab[t, 1:]) for t in (Tissue.VESSEL, Tissue.LIVER)]
    whole = np.linalg.norm(lab[Tissue.VESSEL, 1:] - lab[Tissue.LIVER, 1:])
    assert max(apart) < 0.7 * whole
    assert sum(apart) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("no contrast agent", {"aorta": 100}),
        ("denser than the liver", {"part": 150}),
        ("less dense", {"part": 50}),
        ("thin", {"radius": 3.5}),
        ("far from the liver", {"gap": 15.0}),
        ("little liver", {"liver": 20.0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_vessels_stay_as_they_are(what: str, options) -> None:
    case = Abdomen(SPACINGS[0], **options)
    assert not case.changed.any()
    assert (case.colors.confidence == 250).all()


def test_confidence_is_never_raised() -> None:
    case = Abdomen(SPACINGS[0])
    colors = Colors(case.before.copy(), np.full(case.before.shape, 40, np.uint8))
    doubt_isodense_vessels(case.scan, colors)
    assert (colors.code != case.before).any()
    assert (colors.confidence == 40).all()


def test_it_can_be_cancelled() -> None:
    case = Abdomen(SPACINGS[0])
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        doubt_isodense_vessels(case.scan, case.colors)
