"""Find the colors of the palette ``colorblind-safe``.

Usage::

    python benchmarks/optimize_palette.py --seeds 1 2 3 --restarts 8

The patients are phantoms of every region, without and with contrast agent. Tissues that touch there
must be 10 apart in CIEDE2000 under simulated protanopia, deuteranopia and tritanopia (Machado
2009), each at the L* of its median HU in the window in which the phantom opens and in the
soft-tissue window, as on the screen. Only a* and b* are free. Simulated annealing chooses among
random colors that sRGB can show at the L* of soft tissue (`SHOWN_L`), then among their neighbors,
at ever smaller distances. Among equals, colors near those of ``natural`` win; blood stays warm.

At one common L* the goal cannot be met: the largest group of tissues that all touch each other has
eight members, and at L* 50 no more than five colors were found that are 10 apart under all three
deficiencies. On the screen, the L* of the CT separates fat, bone and lung from the rest. In the
shipped palette all contacts are 10.02 or more apart; its random colors were 783 on a grid, from 24
starts, before the neighbors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from tomochrome.color.convert import fit_chroma
from tomochrome.color.palettes import palette
from tomochrome.color.perception import DEFICIENCIES, as_seen, ciede2000
from tomochrome.evaluate.contrast import measure_contrast
from tomochrome.phantom import make_patient
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue
from tomochrome.windowing import PRESETS, luminance, opening_window

GOAL: Final = 10.2
"""CIEDE2000 between tissues that touch, with a margin over the 10 that a test demands."""
SHOWN_L: Final = (52.0, 60.0)
"""L* at which all colors are in the gamut of sRGB."""
REGIONS: Final = ("head", "chest", "abdomen", "pelvis", "torso")
PHASES: Final = ("native", "arterial", "portal")
MIN_L: Final = 20.0
MAX_L: Final = 92.0
"""Tissues that are both darker or both brighter are black or white, and have no color."""
FIXED: Final = (Tissue.AIR, Tissue.AIRWAY, Tissue.CORTICAL_BONE, Tissue.FOREIGN_BODY)
WARM: Final = (Tissue.VESSEL, Tissue.HEART)
WARM_HUES: Final = (-25.0, 75.0)
"""Hue angles of `WARM` tissues in degrees; their chroma is at least 16."""
NEAR_NATURAL: Final = (0.3, 1.0)
"""Weights of the distance from the palette ``natural``: of random colors, then of neighbors."""
_L_STEP: Final = 1.0  # L* of tissues are rounded to this
_RANDOM: Final = 150  # random colors for each tissue
_STEPS: Final = (3.0, 2.0, 1.0, 1.0)  # distances of neighbors
_REACH: Final = 4  # neighbors in each direction
_NEVER: Final = 1e3


@dataclass(frozen=True)
class Contact:
    """Two tissues that touch, with their L*."""

    first: int
    second: int
    L_first: float
    L_second: float


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


def in_gamut(L: float, ab: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether sRGB can show colors (n, 2) at an L*."""
    return np.asarray(np.abs(_shown(L, ab)[:, 1:] - ab).max(axis=1) < 0.05)


def _shown(L: float, ab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the CIELAB of (a*, b*) at an L*, fitted to the gamut, shape (n, 3)."""
    lab = np.concatenate([np.full((len(ab), 1), L), ab], axis=1)
    return np.asarray(fit_chroma(lab.astype(np.float32)), np.float64)


def visible(found: Sequence[Contact]) -> list[Contact]:
    """Return the contacts at which colors can be seen and are needed: L* is not enough."""
    grey = np.zeros((1, 2))
    return [
        c
        for c in found
        if max(c.L_first, c.L_second) >= MIN_L
        and min(c.L_first, c.L_second) <= MAX_L
        and float(ciede2000(_shown(c.L_first, grey), _shown(c.L_second, grey))[0]) < GOAL + 4
    ]


def choose(
    candidates: NDArray[np.float64],
    found: Sequence[Contact],
    near: float,
    rng: np.random.Generator,
    heat: float,
    steps: int,
) -> tuple[float, NDArray[np.float64], NDArray[np.float32]]:
    """Choose a color for each tissue by simulated annealing.

    Parameters
    ----------
    candidates
        (a*, b*) for each tissue, (tissues, n, 2).
    found
        The contacts.
    near
        Weight of the distance from ``natural``.
    rng
        Random numbers.
    heat
        Temperature at the beginning.
    steps
        Number of attempted changes.

    Returns
    -------
    cost
        Sum of the squared shortfalls and of the weighted distances.
    ab
        The colors, (tissues, 2).
    apart
        CIEDE2000 at each contact, the least of the three deficiencies.
    """
    cost = near * np.square(candidates - palette("natural").ab[:, None]).sum(axis=2) / 1e4
    for tissue in set(Tissue) - set(FIXED):
        colors = candidates[tissue]
        never = ~np.logical_and.reduce([in_gamut(L, colors) for L in SHOWN_L])
        if tissue in WARM:
            hue = np.degrees(np.arctan2(colors[:, 1], colors[:, 0]))
            cold = (hue < WARM_HUES[0]) | (hue > WARM_HUES[1])
            never |= cold | (np.hypot(*colors.T) < 16)
        cost[tissue, never] += _NEVER
    seen: dict[tuple[int, float], NDArray[np.float64]] = {}
    for c in found:
        for tissue, L in ((c.first, c.L_first), (c.second, c.L_second)):
            if (tissue, L) not in seen:
                shown = _shown(L, candidates[tissue])
                seen[tissue, L] = np.stack([as_seen(shown, name) for name in DEFICIENCIES])
    apart = np.stack([
        ciede2000(seen[c.first, c.L_first][:, :, None], seen[c.second, c.L_second][:, None])
        .min(axis=0).astype(np.float32)
        for c in found
    ])  # fmt: skip
    ends = np.array([(c.first, c.second) for c in found])
    at = [np.flatnonzero((ends == tissue).any(axis=1)) for tissue in range(N_TISSUES)]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in at])])
    moving = np.array([tissue for tissue in Tissue if tissue not in FIXED])
    chosen = np.full(N_TISSUES, candidates.shape[1] // 2)
    _anneal(chosen, moving, ends, apart, np.concatenate(at), starts, cost, heat, steps,
            rng)  # fmt: skip
    distances = apart[np.arange(len(found)), chosen[ends[:, 0]], chosen[ends[:, 1]]]
    tissues = np.arange(N_TISSUES)
    total = np.square(np.maximum(0, GOAL - distances)).sum() + cost[tissues, chosen].sum()
    return float(total), candidates[tissues, chosen], distances


@numba.njit
def _anneal(chosen, moving, ends, apart, at, starts, cost, heat, steps, rng):  # type: ignore[no-untyped-def]
    """Change the chosen candidates in place."""
    for step in range(steps):
        temperature = heat * (0.003 / heat) ** (step / steps)
        tissue = moving[int(rng.random() * len(moving))]
        other = int(rng.random() * cost.shape[1])
        change = cost[tissue, other] - cost[tissue, chosen[tissue]]
        for k in range(starts[tissue], starts[tissue + 1]):
            c = at[k]
            a, b = chosen[ends[c, 0]], chosen[ends[c, 1]]
            before = apart[c, a, b]
            after = apart[c, other, b] if ends[c, 0] == tissue else apart[c, a, other]
            change += max(0.0, GOAL - after) ** 2 - max(0.0, GOAL - before) ** 2
        if change < 0 or rng.random() < np.exp(-change / temperature):
            chosen[tissue] = other


def search(
    found: Sequence[Contact], rng: np.random.Generator
) -> tuple[float, NDArray[np.float64], NDArray[np.float32]]:
    """Return the cost, the colors and the distances of a palette from a random start."""
    colors = np.round(rng.uniform(-72, 72, (40 * _RANDOM, 2)))
    colors = colors[np.logical_and.reduce([in_gamut(L, colors) for L in SHOWN_L])]
    candidates = np.stack([rng.permutation(colors)[:_RANDOM] for _ in range(N_TISSUES)])
    fixed = palette("colorblind-safe").ab[list(FIXED)].astype(float)
    candidates[list(FIXED)] = fixed[:, None]
    result = choose(candidates, found, NEAR_NATURAL[0], rng, 30.0, 6_000_000)
    side = np.arange(-_REACH, _REACH + 1)
    around = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    for step in _STEPS:
        candidates = np.round(result[1][:, None] + step * around)
        candidates[list(FIXED)] = fixed[:, None]
        result = choose(candidates, found, NEAR_NATURAL[1], rng, 2.0, 4_000_000)
    return result


def main() -> None:
    """Search, and print the palette and its nearest colors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--spacing", type=float, nargs=3, default=(6.0, 3.0, 3.0))
    parser.add_argument("--restarts", type=int, default=8)
    options = parser.parse_args()
    every = contacts(options.seeds, tuple(options.spacing))
    found = visible(every)
    print(f"{len(every)} contacts, {len(found)} of them alike in L*")
    results = []
    for number in range(options.restarts):
        results.append(search(found, np.random.default_rng(number)))
        print(
            f"start {number}: {results[-1][0]:.2f}, nearest {results[-1][2].min():.2f}", flush=True
        )
    _, ab, apart = min(results, key=lambda result: result[0])
    for tissue in Tissue:
        L = palette("colorblind-safe").lab[tissue, 0]
        print(f"    _T.{tissue.name}: ({L:g}, {ab[tissue, 0]:g}, {ab[tissue, 1]:g}),")
    for k in np.argsort(apart)[:12]:
        c = found[k]
        names = TISSUE_NAMES[c.first], TISSUE_NAMES[c.second]
        print(f"{apart[k]:6.2f}  {names[0]} (L* {c.L_first:g}) and {names[1]} (L* {c.L_second:g})")


if __name__ == "__main__":
    main()
