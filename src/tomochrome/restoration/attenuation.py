"""Attenuation of X-rays in body, bone and metal, and polychromatic projections.

Mass attenuation coefficients and densities: Hubbell and Seltzer, NIST Standard Reference Database
126 (water, cortical bone of ICRU-44, and elements), interpolated between their energies on a
logarithmic scale. Iron stands for steel and silver for dental amalgam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Material = Literal["water", "bone", "aluminium", "titanium", "steel", "amalgam"]

_KEV: Final = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_CM2_PER_G: Final[dict[Material, tuple[float, ...]]] = {
    "water": (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
    "bone": (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
    "aluminium": (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
    "titanium": (15.85, 4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721, 0.1649),
    "steel": (25.68, 8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717, 0.1964),
    "amalgam": (18.36, 36.68, 17.20, 9.444, 5.766, 2.651, 1.470, 0.5426),
}
G_PER_CM3: Final[dict[Material, float]] = {
    "water": 1.0, "bone": 1.92, "aluminium": 2.699, "titanium": 4.54, "steel": 7.874,
    "amalgam": 10.5,
}  # fmt: skip
TUBE_KV: Final = 120
EFFECTIVE_KEV: Final = 70.0  #: energy at which the HU are those of the scan
_FILTER_CM: Final = 0.7  # of aluminium: tube, housing and the bowtie's center
_BONE_HU: Final = (100.0, 1300.0)  # between them the share of bone increases from 0 to 1


def coefficient(material: Material, kev: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mass attenuation coefficient in cm^2/g at energies of 20 to 150 keV."""
    values = np.interp(np.log(kev), np.log(_KEV), np.log(_CM2_PER_G[material]))
    return np.asarray(np.exp(values))


@cache
def spectrum() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies in keV and the share of the detected signal at each.

    Kramers' law behind the filter, weighted by energy as the detector does (Buzug, 2008, "Computed
    Tomography", sections 2.2 and 2.4).
    """
    kev = np.arange(25.0, TUBE_KV, 5.0)
    signal = (TUBE_KV / kev - 1) * kev
    signal *= np.exp(-coefficient("aluminium", kev) * G_PER_CM3["aluminium"] * _FILTER_CM)
    return kev, signal / signal.sum()


@dataclass(frozen=True)
class Densities:
    """What a slice consists of.

    Attributes
    ----------
    water, bone
        Densities in g/cm^3, float32 (y, x), that have the attenuation of the slice at
        `EFFECTIVE_KEV`.
    """

    water: NDArray[np.float32]
    bone: NDArray[np.float32]

    @classmethod
    def of(cls, hu: NDArray[np.floating]) -> Densities:
        """Divide the attenuation of a slice in HU between water and bone."""
        relative = np.maximum(1 + np.asarray(hu, np.float32) / 1000, 0)
        low, high = _BONE_HU
        share = np.clip((hu - low) / (high - low), 0, 1).astype(np.float32)
        ratio = coefficient("water", EFFECTIVE_KEV) / coefficient("bone", EFFECTIVE_KEV)
        return cls((1 - share) * relative, share * relative * np.float32(ratio))


def transmission(paths: dict[Material, NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return the share of the signal that passes through paths in g/cm^2, of equal shapes."""
    kev, share = spectrum()
    passed = np.zeros(next(iter(paths.values())).shape)
    for energy, weight in zip(kev, share, strict=True):
        exponent = sum(coefficient(name, energy) * path for name, path in paths.items())
        passed += weight * np.exp(-exponent)
    return passed


@cache
def _water_curve() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the projection of water as measured, and at the effective energy."""
    paths = np.concatenate([np.linspace(0, 60, 241), np.geomspace(62, 2000, 60)])
    return -np.log(transmission({"water": paths})), coefficient("water", EFFECTIVE_KEV) * paths


def corrected(projection: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correct the beam hardening of water, as scanners do.

    Parameters
    ----------
    projection
        Negative logarithms of `transmission`.

    Returns
    -------
    ndarray
        Line integrals at `EFFECTIVE_KEV`, exact if the path is in water.
    """
    measured, ideal = _water_curve()
    return np.interp(projection, measured, ideal)


def to_hu(per_pixel: NDArray[np.floating], pixel_mm: float) -> NDArray[np.float32]:
    """Convert differences of attenuation per pixel at `EFFECTIVE_KEV` to HU."""
    water = coefficient("water", EFFECTIVE_KEV) * pixel_mm / 10
    return np.asarray(per_pixel * np.float32(1000 / water), np.float32)
