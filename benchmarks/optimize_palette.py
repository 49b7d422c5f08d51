"""Find the colors of the palette ``colorblind-safe``.

Usage::

    python benchmarks/optimize_palette.py --seeds 1 2 3 --restarts 8

The patients are phantoms of every region, without and with contrast agent. Tissues that touch there
must be `GOAL` apart in CIEDE2000 under simulated protanopia, deuteranopia and tritanopia (Machado
2009), each at the L* of its median HU in the window in which the phantom opens, as on the screen.
Only a* and b* are free. Random restarts and coordinate descent over the colors that sRGB can show
minimize the shortfall; among equals, tissues are also apart at one common L* (`EQUAL_L`), and their
hues near those of ``natural``. Pairs of `tests/color/test_color_palette.py` stay 8 apart in b*.

No palette was found that reaches the goal for all pairs at one common L*: the largest group of
tissues that all touch each other has eight members, and at L* 50 a random search found no more than
five colors that are 10 apart under all three deficiencies. On the screen, the L* of the CT
separates fat, bone and lung from the rest. In the shipped palette, found by further descents from
the best result after random changes of its most alike tissues (a loop that is not part of this
script), 365 of 381 contacts are 10 apart, the others 6.7 or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.convert import fit_chroma
from tomochrome.color.difference import ciede2000
from tomochrome.color.palette import palette
from tomochrome.color.vision import DEFICIENCIES, as_seen
from tomochrome.evaluate.contrast import measure_contrast
from tomochrome.phantom import make_patient
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue
from tomochrome.windowing import PRESETS, luminance, opening_window

GOAL: Final = 10.7
"""CIEDE2000 between tissues that touch, with a margin over the 10 that a test demands."""
EQUAL_L: Final = 50.0
SHOWN_L: Final = (40.0, 50.0, 60.0, 68.0)
"""L* at which all colors are in the gamut of sRGB."""
BRIGHT_L: Final = 75.0
"""The same, but for the colors of vessels and heart."""
REGIONS: Final = ("head", "chest", "abdomen", "pelvis", "torso")
PHASES: Final = ("native", "arterial", "portal")
MIN_L: Final = 20.0
MAX_L: Final = 92.0
"""Tissues that are both darker or both brighter are black or white, and have no color."""
FIXED: Final = (Tissue.AIR, Tissue.AIRWAY, Tissue.CORTICAL_BONE, Tissue.FOREIGN_BODY)
B_APART: Final = 8.5
_STEP: Final = 3.0
_L_STEP: Final = 4.0  # L* of tissues are rounded to this
_EQUAL_WEIGHT: Final = 0.003
_HUE_WEIGHT: Final = 0.001


@dataclass(frozen=True)
class Contact:
    """Two tissues that touch, with their L*."""

    first: int
    second: int
    L_first: float
    L_second: float
    weight: float = 1.0


def contacts(seeds: Sequence[int], spacing: tuple[float, float, float]) -> list[Contact]:
    """Return the contacts of tissues in the phantoms, without repetitions."""
    found = set()
    for seed in seeds:
        for region in REGIONS:
            for phase in PHASES:
                patient = make_patient(seed, region, spacing, phase=phase)
                tissues = np.asarray(patient.tissue.voxels).astype(np.uint8)
                hu = np.asarray(patient.ct.voxels, np.float32)
                windows = {opening_window(patient.ct), PRESETS["soft-tissue"]}
                pairs = measure_contrast(patient.ct, tissues, PRESETS["soft-tissue"]).pairs
                for pair, window in product(pairs, windows):
                    a, b = (TISSUE_NAMES.index(name) for name in pair.tissues)
                    L = [float(luminance(np.median(hu[tissues == t]), window)) for t in (a, b)]
                    found.add((a, b, *(_L_STEP * round(value / _L_STEP) for value in L)))
    return [Contact(*values) for values in sorted(found)]


def candidates() -> NDArray[np.float64]:
    """Return (a*, b*), shape (n, 2), in the gamut at all of `SHOWN_L`."""
    side = np.arange(-60, 61, _STEP)
    ab = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.logical_and.reduce([in_gamut(L, ab) for L in SHOWN_L])
    return np.asarray(ab[inside])


def in_gamut(L: float, ab: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether sRGB can show colors (n, 2) at an L*."""
    return np.asarray(np.abs(_shown(L, ab)[:, 1:] - ab).max(axis=1) < 0.05)


def _shown(L: float, ab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the CIELAB of (a*, b*) at an L*, fitted to the gamut, shape (n, 3)."""
    lab = np.concatenate([np.full((len(ab), 1), L), ab], axis=1)
    return np.asarray(fit_chroma(lab.astype(np.float32)), np.float64)


class Distances:
    """CIEDE2000 between candidates at two L*, the least of the three deficiencies."""

    def __init__(self, ab: NDArray[np.float64]) -> None:
        self.ab = ab
        self._seen: dict[float, NDArray[np.float64]] = {}

    def seen(self, L: float) -> NDArray[np.float64]:
        """Return how the candidates look at an L*, for each deficiency, shape (3, n, 3)."""
        if L not in self._seen:
            shown = _shown(L, self.ab)
            self._seen[L] = np.stack([as_seen(shown, name) for name in DEFICIENCIES])
        return self._seen[L]

    def to_all(self, L: float, L_other: float, other: int) -> NDArray[np.float64]:
        """Return the distances of all candidates at ``L`` to one at another L*, shape (n,)."""
        fixed = self.seen(L_other)[:, other, None]
        return np.asarray(ciede2000(self.seen(L), fixed).min(axis=0))

    def between(self, c: Contact, chosen: NDArray[np.int64]) -> float:
        """Return the distance of the colors of two tissues."""
        one = self.seen(c.L_first)[:, chosen[c.first]]
        other = self.seen(c.L_second)[:, chosen[c.second]]
        return float(ciede2000(one, other).min())


class Search:
    """Coordinate descent over the candidates of all tissues."""

    def __init__(
        self, found: Sequence[Contact], ab: NDArray[np.float64], b_pairs: Sequence[tuple[int, int]]
    ) -> None:
        self.ab, self.distances = ab, Distances(ab)
        # Where L* alone is enough, the color does not matter; near black and white there is none.
        grey = np.array([[0.0, 0.0]])
        self.contacts = [
            c
            for c in found
            if max(c.L_first, c.L_second) >= MIN_L
            and min(c.L_first, c.L_second) <= MAX_L
            and float(ciede2000(_shown(c.L_first, grey), _shown(c.L_second, grey))[0]) < GOAL + 4
        ]
        alike = {(c.first, c.second) for c in self.contacts}
        equal = [Contact(a, b, EQUAL_L, EQUAL_L, _EQUAL_WEIGHT) for a, b in sorted(alike)]
        self.terms = self.contacts + equal
        self.b_pairs = b_pairs
        natural = palette("natural").ab.astype(float)
        self.hue_cost = _HUE_WEIGHT * np.square(ab[None] - natural[:, None]).sum(axis=2) / 10.0
        for tissue in set(range(N_TISSUES)) - {Tissue.VESSEL, Tissue.HEART}:
            self.hue_cost[tissue, ~in_gamut(BRIGHT_L, ab)] += 1e4
        self.moving = [t for t in range(N_TISSUES) if t not in FIXED]

    def start(self, ab: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the candidates nearest to colors (n, 2)."""
        return np.asarray(np.square(self.ab[None] - ab[:, None]).sum(axis=2).argmin(axis=1))

    def costs(self, tissue: int, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cost of each candidate of a tissue, the others being fixed."""
        cost = self.hue_cost[tissue].copy()
        for c in self.terms:
            if tissue not in (c.first, c.second):
                continue
            if tissue == c.first:
                far = self.distances.to_all(c.L_first, c.L_second, chosen[c.second])
            else:
                far = self.distances.to_all(c.L_second, c.L_first, chosen[c.first])
            cost += c.weight * np.square(np.maximum(0.0, GOAL - far))
        for a, b in self.b_pairs:
            if tissue in (a, b):
                other = self.ab[chosen[b if tissue == a else a], 1]
                cost += 3 * np.square(np.maximum(0.0, B_APART - np.abs(self.ab[:, 1] - other)))
        return cost

    def total(self, chosen: NDArray[np.int64]) -> float:
        """Return the cost of a palette."""
        cost = float(self.hue_cost[np.arange(N_TISSUES), chosen].sum())
        for c in self.terms:
            far = self.distances.between(c, chosen)
            cost += c.weight * max(0.0, GOAL - far) ** 2
        for a, b in self.b_pairs:
            apart = abs(self.ab[chosen[a], 1] - self.ab[chosen[b], 1])
            cost += 3 * max(0.0, B_APART - float(apart)) ** 2
        return cost

    def descend(
        self, chosen: NDArray[np.int64], rng: np.random.Generator, heat: float, sweeps: int = 30
    ) -> NDArray[np.int64]:
        """Improve one tissue after the other, with noise that fades, until nothing changes."""
        chosen = chosen.copy()
        for sweep in range(sweeps):
            before = chosen.copy()
            noise = heat * max(0.0, 1 - sweep / (0.7 * sweeps))
            for tissue in rng.permutation(self.moving):
                cost = self.costs(int(tissue), chosen)
                if noise:
                    cost += rng.exponential(noise, len(cost))
                chosen[tissue] = cost.argmin()
            if not noise and (before == chosen).all():
                break
        return chosen


def worst(search: Search, chosen: NDArray[np.int64]) -> Iterator[tuple[float, Contact]]:
    """Yield contacts from the nearest colors on."""
    rated = [(search.distances.between(c, chosen), c) for c in search.contacts]
    yield from sorted(rated, key=lambda each: each[0])


def b_pairs() -> list[tuple[int, int]]:
    """Return the pairs that the palette's test keeps apart in b*."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "color"))
    from test_color_palette import TOUCHING

    names = [pair for pair in TOUCHING if "airway" not in pair]
    return [(TISSUE_NAMES.index(a), TISSUE_NAMES.index(b)) for a, b in names]


def main() -> None:
    """Search, and print the palette and its nearest colors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--spacing", type=float, nargs=3, default=(6.0, 3.0, 3.0))
    parser.add_argument("--restarts", type=int, default=8)
    options = parser.parse_args()
    found = contacts(options.seeds, tuple(options.spacing))
    search = Search(found, candidates(), b_pairs())
    print(f"{len(found)} contacts, {len(search.contacts)} of them alike in L*")
    best: tuple[float, NDArray[np.int64]] | None = None
    for number in range(options.restarts):
        rng = np.random.default_rng(number)
        chosen = search.start(palette("colorblind-safe").ab)
        if number:
            chosen[search.moving] = rng.integers(0, len(search.ab), len(search.moving))
        chosen = search.descend(chosen, rng, heat=30.0 if number else 5.0)
        cost = search.total(chosen)
        print(
            f"start {number}: {cost:.1f}, nearest {next(worst(search, chosen))[0]:.2f}", flush=True
        )
        if best is None or cost < best[0]:
            best = cost, chosen
    assert best is not None
    for tissue in Tissue:
        a, b = search.ab[best[1][tissue]]
        print(
            f"    _T.{tissue.name}: ({palette('colorblind-safe').lab[tissue, 0]:g}, {a:g}, {b:g}),"
        )
    for far, c in list(worst(search, best[1]))[:12]:
        names = TISSUE_NAMES[c.first], TISSUE_NAMES[c.second]
        print(f"{far:6.2f}  {names[0]} (L* {c.L_first:g}) and {names[1]} (L* {c.L_second:g})")


if __name__ == "__main__":
    main()
