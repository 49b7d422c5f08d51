"""Colored voxels outside the patient: their distance from the body of phantoms on every support.

    python benchmarks/colored_outside.py [--seeds 3] [--model NAME] [--only KIND] [--json]

Each phantom lies on its own couch or headrest (`make_patient`), or on one drawn here by the
measures of real ones: flat and curved tops, boards, head holders with side plates, cradles with and
without foam, pillows. The body is the phantom's own label map; a voxel is colored if its code is
not 0. ``missed`` is the share of the body's tissue (above -220 HU) that is not colored; ``bare`` is
the same without any support.

Target: no colored voxel more than 3 mm from the body; exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import tomochrome as tc
from tomochrome.phantom import Patient, Structure, make_patient
from tomochrome.volume import Volume

LIMIT_MM = 3.0
TISSUE_HU = -220
SUPPORT = [Structure.OUTSIDE_AIR, Structure.COUCH, Structure.COUCH_FOAM, Structure.BLANKET]
SPACING = {"head": (2.0, 0.8, 0.8), "chest": (3.0, 1.3, 1.3), "abdomen": (4.0, 1.0, 1.0)}

Bool = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Section(NamedTuple):
    """Positions of a slice's pixels in mm, relative to the patient."""

    x: Floats  #: (1, nx), from the middle of the body, towards the patient's left
    y: Floats  #: (ny, 1), from the lowest point of the back, towards posterior
    half: float  #: half of the body's width


Drawing = list[tuple[Bool, float]]  #: regions (ny, nx) of a support, and their HU


def flat_top(s: Section) -> Drawing:
    """A table top of 42 mm foam between skins of 2 mm, on which the back lies."""
    inside = (s.y > 0) & (s.y < 46) & (abs(s.x) < 210)
    foam = (s.y > 2) & (s.y < 44) & (abs(s.x) < 208)
    return [(inside, 60.0), (foam, -930.0)]


def solid_board(s: Section) -> Drawing:
    """A radiotherapy board of 10 mm, and a thicker rail below its middle."""
    rail = (s.y > 10) & (s.y < 32) & (abs(s.x) < 40)
    return [((s.y > 1) & (s.y < 11) & (abs(s.x) < 240), -250.0), (rail, -100.0)]


def curved_top(s: Section) -> Drawing:
    """A curved shell of 3 mm, rising beside the flanks, and 12 mm of foam on it."""
    rise = s.y + 0.0015 * s.x**2
    inside = (rise > 0) & (rise < 15) & (abs(s.x) < 230)
    return [(inside, -930.0), (inside & (rise > 12), 150.0)]


def side_plates(s: Section) -> Drawing:
    """A head holder's vertical plates of 5 mm, which press the ears, and foam behind the head."""
    plate = (abs(abs(s.x) - s.half) < 2.5) & (s.y > -105) & (s.y < -25)
    foam = (abs(s.x) < s.half) & (s.y > 0) & (s.y < 20)
    return [(foam, -900.0), (plate, 250.0)]


def cradle(s: Section, thick: float = 4.0, hu: float = 120.0, foam: float = 0.0) -> Drawing:
    """A head holder's hollow U, as wide as the head, its back close to the head."""
    radius = s.half + 6 + foam
    reach = np.hypot(s.x, np.maximum(s.y + radius - foam, 0.0))
    inside = (s.y > -110) & (reach < radius + thick + 1)
    shell = inside & (reach > radius + 1)
    return [(inside & ~shell & (reach > radius - foam), -900.0 if foam else -1000.0), (shell, hu)]


def thin_cradle(s: Section) -> Drawing:
    """A carbon shell of 1.5 mm."""
    return cradle(s, 1.5, 200.0)


def thick_cradle(s: Section) -> Drawing:
    """A plastic shell of 10 mm."""
    return cradle(s, 10.0, -150.0)


def foam_cradle(s: Section) -> Drawing:
    """A shell of 3 mm around 15 mm of foam."""
    return cradle(s, 3.0, 0.0, 15.0)


def pillow(s: Section) -> Drawing:
    """Foam with a cover of 2 mm, into which the head sinks by 25 mm."""
    inside = (s.y > -25) & (s.y < 30) & (abs(s.x) < s.half + 15)
    core = (s.y > -23) & (s.y < 28) & (abs(s.x) < s.half + 13)
    return [(inside, -150.0), (core, -880.0)]


TRUNK: dict[str, Callable[[Section], Drawing] | None] = {
    "own": None,
    "flat top": flat_top,
    "solid board": solid_board,
    "curved top": curved_top,
}
HEAD: dict[str, Callable[[Section], Drawing] | None] = {
    "own": None,
    "side plates": side_plates,
    "cradle": cradle,
    "thin cradle": thin_cradle,
    "thick cradle": thick_cradle,
    "foam cradle": foam_cradle,
    "pillow": pillow,
    "flat top": flat_top,
}


def body_of(patient: Patient) -> Bool:
    """Return the phantom's own body, with everything in it, bool (z, y, x)."""
    return ~np.isin(patient.structures, SUPPORT)


def on_support(patient: Patient, draw: Callable[[Section], Drawing]) -> Volume:
    """Draw a support into the air around a phantom, the same in all slices."""
    body, (_, dy, dx) = body_of(patient), patient.ct.spacing
    _, ny, nx = body.shape
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = body[:, :, nx // 3 : 2 * nx // 3]
    lowest = np.flatnonzero(middle.any(axis=(0, 2)))[-1]
    section = Section(
        (np.arange(nx)[None, :] - columns.mean()) * dx,
        (np.arange(ny)[:, None] - lowest - 0.5) * dy,
        0.5 * np.ptp(columns) * dx,
    )
    plane = np.full((ny, nx), -1000.0)
    for where, hu in draw(section):
        plane[where] = hu
    plane = ndimage.gaussian_filter(plane, 0.6)
    voxels = np.asarray(patient.ct.voxels)
    drawn = np.where(body, voxels, np.maximum(voxels, plane)).astype(np.int16)
    return patient.ct.with_voxels(drawn)


def measure(volume: Volume, body: Bool, model: str) -> dict[str, float]:
    """Return what is colored outside ``body``, and the share of its tissue that is not colored."""
    colored = np.asarray(tc.colorize(volume, model=model).code) > 0
    away = ndimage.distance_transform_edt(~body, sampling=volume.spacing)
    tissue = body & (np.asarray(volume.voxels) > TISSUE_HU)
    return {
        "farthest_mm": float(away[colored].max(initial=0.0)),
        "beyond": int((away[colored] > LIMIT_MM).sum()),
        "missed_percent": 100 * float((tissue & ~colored).sum() / tissue.sum()),
    }


def main() -> int:
    """Print a line for each phantom and support; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of phantoms of each region")
    parser.add_argument("--model", default="transfer-function", help="colors all of the mask")
    parser.add_argument("--only", default="", help="supports whose name contains this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for region, spacing in SPACING.items():
        kinds = HEAD if region == "head" else TRUNK
        for seed in range(options.seeds):
            plain = make_patient(seed, region, spacing, couch=False)
            bare = measure(plain.ct, body_of(plain), options.model)["missed_percent"]
            for kind, draw in kinds.items():
                if options.only not in kind:
                    continue
                patient = make_patient(seed, region, spacing) if draw is None else plain
                volume = patient.ct if draw is None else on_support(patient, draw)
                row = measure(volume, body_of(patient), options.model)
                rows.append({"region": region, "seed": seed, "support": kind, **row, "bare": bare})
                if not options.json:
                    print(
                        f"{region:8} {seed:2} {kind:13} farthest {row['farthest_mm']:5.1f} mm, "
                        f"beyond {row['beyond']:7}, missed {row['missed_percent']:.3f} % "
                        f"(bare {bare:.3f} %)",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(rows))
    return int(any(row["beyond"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
