"""Parameters of one phantom patient, and the patient frame.

The patient frame is in mm along LPS axes: x to the patient's left, y to posterior, z to superior.
z = 0 at the disc between L5 and S1, x = 0 in the median plane, y = 0 near the center of the
third lumbar vertebra. Proportions follow a labelled CT of an adult and published organ volumes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from ctphantom.interface import PhantomError

Sex = Literal["female", "male"]
StomachFill = Literal["collapsed", "water", "food", "contrast", "gas"]

#: z of the center of each vertebral body in mm
VERTEBRA_Z: dict[str, float] = {
    "L5": 17, "L4": 51, "L3": 86, "L2": 120, "L1": 152, "T12": 183, "T11": 211, "T10": 237,
    "T9": 262, "T8": 286, "T7": 309, "T6": 331, "T5": 352, "T4": 372, "T3": 391, "T2": 409,
    "T1": 426, "C7": 443, "C6": 459, "C5": 474, "C4": 489, "C3": 504, "C2": 522,
}  # fmt: skip
#: (z, y) of the centers of the vertebral bodies, sacrum to neck
SPINE = np.array(
    [(-125, 42), (-98, 62), (-80, 66), (-58, 61), (-35, 46), (-12, 24), (0, 12), (17, 2),
     (51, -6), (86, -5), (120, 2), (152, 11), (183, 19), (211, 26), (237, 32), (262, 37),
     (309, 41), (352, 37), (391, 25), (426, 9), (459, -4), (489, -10), (522, -12), (560, -12)],
    dtype=float,
)  # fmt: skip


@cache
def shared_noise() -> NDArray[np.float32]:
    """Return the periodic cube of unit-variance noise, which patients sample at random offsets."""
    white = np.random.default_rng([0, 977]).standard_normal((64, 64, 64), np.float32)
    soft = ndimage.gaussian_filter(white, 1.0, mode="wrap")
    return np.asarray(soft / soft.std(), np.float32)


@dataclass(frozen=True)
class Anatomy:
    """Parameters of one patient, drawn from a seed by `draw_anatomy`.

    Lengths are in mm, volumes in ml, fractions from 0 to 1 unless stated otherwise.
    """

    seed: int = 0
    sex: Sex = "male"
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)  #: size along x, y, z
    subcutaneous: float = 16.0  #: thickness of subcutaneous fat at the belly
    visceral: float = 0.5  #: amount of visceral fat
    muscle: float = 1.0  #: size factor of the muscles
    breathing: float = 0.6  #: 0 expiration, 1 inspiration
    arms_up: bool = True
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: rotation in degrees about x, y, z
    shift: tuple[float, float] = (0.0, 0.0)  #: offset from the table's center, x and y
    warp: float = 1.0  #: strength of the random deformation
    bend: float = 0.0  #: lateral bend at mid-back
    liver: float = 1.0  #: size factor
    left_lobe: float = 0.5  #: 0 ends at the midline, 1 reaches the spleen
    riedel: float = 0.0  #: length of a Riedel lobe
    gallbladder: float = 1.0  #: size factor, 0 = removed
    spleen_ml: float = 220.0
    spleen_turn: float = 0.5  #: 0 along the rib, 1 vertical
    spleen_back: float = 0.5  #: 0 lateral, 1 posterior
    spleen_notch: float = 0.5
    accessory_spleen: bool = False
    stomach_fill: StomachFill = "water"
    stomach_ml: float = 300.0
    stomach_horn: float = 0.5  #: 0 J-shaped, 1 steer-horn
    stomach_gas: float = 0.3  #: fraction of the lumen's depth filled by gas
    stomach_wall: float = 4.0
    kidney: tuple[float, float] = (1.0, 1.0)  #: size factor right, left
    kidney_drop: tuple[float, float] = (0.0, 0.0)  #: inferior shift right, left
    pancreas: float = 1.0
    pancreas_tail: float = 0.5  #: height of the tail: 0 low, 1 at the splenic hilum
    bowel_fill: float = 0.5
    bowel_gas: float = 0.2
    colon_fill: float = 0.5  #: caliber
    colon_gas: float = 0.4
    bladder_ml: float = 200.0
    heart: float = 1.0
    effusion: tuple[float, float] = (0.0, 0.0)  #: depth in mm right, left
    ascites: float = 0.0
    cysts: int = 0
    hip_metal: bool = False
    calcium: float = 0.0  #: amount of aortic plaque
    size: float = 1.0  #: size of a child relative to an adult
    scoliosis: float = 0.0  #: deviation of the spine at T8, to the patient's left

    def rng(self, stream: int) -> np.random.Generator:
        """Return the random number generator of one stream; streams are independent."""
        return np.random.default_rng([self.seed, 7, stream])

    @property
    def head_origin(self) -> tuple[float, float, float]:
        """Position (x, y, z) in mm of the center of the atlas (C1)."""
        return 0.0, -12.0, 543.0

    @property
    def spine_y(self) -> PchipInterpolator:
        """Interpolator from z to the y of the vertebral bodies' centers."""
        return PchipInterpolator(SPINE[:, 0], SPINE[:, 1], extrapolate=True)

    def to_patient(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map scanner positions (n, 3) to the patient frame by pose, size and deformation."""
        turn = Rotation.from_euler("xyz", self.tilt, degrees=True).as_matrix()
        pivot = np.array([0.0, 0.0, 150.0])
        p = (world - [self.shift[0], self.shift[1], 0.0] - pivot) / self.size @ turn + pivot
        p = p / np.asarray(self.scale)
        cube, rng = shared_noise(), self.rng(1)
        moved = p.copy()
        for unit, amount in ((48.0, 5.0), (17.0, 1.2)):
            offset = rng.uniform(0, 64, (3, 3))
            for axis in range(3):
                at = (p / unit + offset[axis]).T
                step = ndimage.map_coordinates(cube, at, order=1, mode="grid-wrap")
                moved[:, axis] += self.warp * amount * np.tanh(step / 2) * 1.5
        moved[:, 0] += self.bend * np.sin(np.clip((p[:, 2] + 50) / 500, 0, 1) * np.pi)
        if self.scoliosis:
            # with a lumbar counter-curve; flanks and skin move less than the spine
            curve = np.exp(-(((p[:, 2] - 286) / 80) ** 2))
            curve -= 0.45 * np.exp(-(((p[:, 2] - 110) / 60) ** 2))
            moved[:, 0] -= self.scoliosis * curve * np.exp(-((p[:, 0] / 125) ** 2))
        return moved


def _floats(values: NDArray[np.float64]) -> tuple[Any, ...]:
    return tuple(float(value) for value in values)


def _pick(rng: np.random.Generator, choices: dict[str, float]) -> str:
    names = list(choices)
    weights = np.array([choices[n] for n in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def draw_anatomy(seed: int, **overrides: Any) -> Anatomy:
    """Draw the anatomy of a realistic adult from a seed.

    Parameters
    ----------
    seed
        Any integer; its absolute value determines the patient.
    **overrides
        Fields of `Anatomy` to set instead of drawing them, and ``build`` ("lean", "average",
        "heavy").

    Returns
    -------
    Anatomy
        The parameters of the patient.

    Raises
    ------
    PhantomError
        If an override is not a field of `Anatomy`, or the sex or build is unknown.
    """
    rng = np.random.default_rng([abs(int(seed)), 7])
    build = overrides.pop("build", None)
    names = {f.name for f in fields(Anatomy)}
    for name in overrides:
        if name not in names:
            raise PhantomError(f"a phantom patient has no property '{name}'")
    sex = overrides.get("sex") or ("female" if rng.random() < 0.5 else "male")
    if sex not in ("female", "male"):
        raise PhantomError(f"the sex of a phantom must be 'female' or 'male', not '{sex}'")
    drawn_build = _pick(rng, {"lean": 0.3, "average": 0.45, "heavy": 0.25})
    build = build or drawn_build
    if build not in ("lean", "average", "heavy"):
        raise PhantomError(f"the build of a phantom must be lean, average or heavy, not '{build}'")
    fat = {"lean": 0.12, "average": 0.4, "heavy": 0.85}[build] + rng.normal(0, 0.1)
    fat = float(np.clip(fat, 0.0, 1.2))
    tall = float(np.clip(rng.normal(1.02 if sex == "male" else 0.95, 0.04), 0.85, 1.12))
    wide = float(np.clip(rng.normal(1.04 if sex == "male" else 0.97, 0.045), 0.86, 1.18))
    deep = wide * float(np.clip(rng.normal(1.02, 0.045), 0.9, 1.12))
    deep = min(deep, 1.14)
    fill = _pick(
        rng, {"collapsed": 0.25, "water": 0.25, "food": 0.2, "contrast": 0.12, "gas": 0.18}
    )
    volume = {
        "collapsed": rng.uniform(25, 90),
        "water": rng.uniform(120, 900),
        "food": rng.uniform(150, 900),
        "contrast": rng.uniform(120, 800),
        "gas": rng.uniform(100, 600),
    }[fill]
    spleen = float(np.exp(rng.normal(np.log(215), 0.45)))
    anatomy = Anatomy(
        seed=abs(int(seed)),
        sex="female" if sex == "female" else "male",
        scale=(wide, deep, tall),
        subcutaneous=float(
            (4 + 25 * fat) * rng.uniform(0.8, 1.2) * (1.25 if sex == "female" else 1)
        ),
        visceral=float(
            np.clip(fat * rng.uniform(0.6, 1.4) * (0.8 if sex == "female" else 1), 0, 1.1)
        ),
        muscle=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3)),
        breathing=float(rng.uniform(0.1, 1.0)),
        arms_up=bool(rng.random() < 0.75),
        tilt=_floats(rng.normal(0, (2.0, 1.5, 3.0))),
        shift=_floats(rng.normal(0, 8, 2)),
        bend=float(rng.normal(0, 5)),
        liver=float(np.clip(rng.normal(0.96, 0.09), 0.78, 1.22)),
        left_lobe=float(rng.uniform(0, 1)),
        riedel=float(max(0.0, rng.uniform(-1.5, 1.0))),
        gallbladder=float(0.0 if rng.random() < 0.15 else rng.uniform(0.5, 1.5)),
        spleen_ml=float(np.clip(spleen, 70, 560)),
        spleen_turn=float(rng.uniform(0, 1)),
        spleen_back=float(rng.uniform(0, 1)),
        spleen_notch=float(rng.uniform(0, 1)),
        accessory_spleen=bool(rng.random() < 0.2),
        stomach_fill=fill,  # type: ignore[arg-type]
        stomach_ml=float(volume),
        stomach_horn=float(rng.uniform(0, 1)),
        stomach_gas=float(rng.uniform(0.0, 0.6) if fill != "gas" else rng.uniform(0.55, 0.95)),
        stomach_wall=float(rng.uniform(3, 5.5) + (3 if fill == "collapsed" else 0)),
        kidney=_floats(np.clip(rng.normal(1.0, 0.08, 2), 0.75, 1.2)),
        kidney_drop=_floats(rng.normal((12, 0), 9)),
        pancreas=float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.3)),
        pancreas_tail=float(rng.uniform(0, 1)),
        bowel_fill=float(rng.uniform(0, 1)),
        bowel_gas=float(rng.uniform(0, 0.35)),
        colon_fill=float(rng.uniform(0, 1)),
        colon_gas=float(rng.uniform(0, 1)),
        bladder_ml=float(rng.uniform(40, 550)),
        heart=float(np.clip(rng.normal(1.0, 0.08), 0.85, 1.25)),
        effusion=_floats(np.maximum(0.0, rng.uniform(-160, 32, 2))),
        ascites=float(max(0.0, rng.uniform(-9, 1))),
        cysts=int(rng.integers(0, 4)) if rng.random() < 0.35 else 0,
        calcium=float(max(0.0, rng.uniform(-1, 1))),
    )
    chosen = {name: value for name, value in overrides.items() if value is not None}
    return replace(anatomy, **chosen) if chosen else anatomy


@dataclass(frozen=True)
class Frame:
    """Polar tables of one patient's envelope.

    ``z`` (n,) in mm, ``theta`` (m,) in radians (0 left, pi/2 posterior), ``center`` (n,) y of the
    pole, ``skin``, ``muscle`` and ``cavity`` (n, m) radii in mm. ``floor`` is the height of the
    diaphragm over (y, x), and ``floor_grid`` its x0, y0 and step.
    """

    z: NDArray[np.float64]
    theta: NDArray[np.float64]
    center: NDArray[np.float64]
    skin: NDArray[np.float64]
    muscle: NDArray[np.float64]
    cavity: NDArray[np.float64]
    floor: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2)))
    floor_grid: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def wall(
        self, theta: Any, z: Any, out: float = 0.0, surface: str = "cavity"
    ) -> NDArray[np.float64]:
        """Return points (n, 3) on a surface at angles in degrees and heights in mm."""
        angle = np.atleast_1d(np.radians(np.asarray(theta, float)))
        height = np.broadcast_to(np.asarray(z, float), angle.shape)
        table = getattr(self, surface)
        row = np.interp(height, self.z, np.arange(len(self.z)))
        column = np.mod(angle, 2 * np.pi) / (2 * np.pi) * len(self.theta)
        radius = ndimage.map_coordinates(table, [row, column], order=1, mode="grid-wrap") + out
        pole = np.interp(height, self.z, self.center)
        return np.column_stack([radius * np.cos(angle), pole + radius * np.sin(angle), height])

    def lining(self, theta: float, z: float, out: float = 0.0) -> NDArray[np.float64]:
        """Return the point (3,) on the inner wall of the abdomen, below the diaphragm."""
        rim = self.wall(theta, z)[0]
        pole = np.array([0.0, np.interp(z, self.z, self.center), z])
        share = np.linspace(1.0, 0.05, 60)[:, None]
        spots = pole + share * (rim - pole)
        x0, y0, step = self.floor_grid
        at = [(spots[:, 1] - y0) / step, (spots[:, 0] - x0) / step]
        dome = ndimage.map_coordinates(self.floor, at, order=1, mode="nearest")
        below = np.flatnonzero(dome - 3.0 > z)
        best = spots[below[0]] if len(below) else spots[-1]
        ray = (rim - pole) / max(float(np.linalg.norm(rim - pole)), 1e-6)
        return np.asarray(best + out * ray)

    def diaphragm(self, x: float, y: float) -> float:
        """Return the height of the diaphragm over (x, y) in mm."""
        x0, y0, step = self.floor_grid
        at = [[(y - y0) / step], [(x - x0) / step]]
        return float(ndimage.map_coordinates(self.floor, at, order=1, mode="nearest")[0])
