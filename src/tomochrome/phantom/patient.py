# ruff: noqa: RUF005 - S is Structure; lists are added to arrays, not joined to them
"""Phantom patients by seed: anatomy, label map, CT, tissue map and cryosection colors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.phantom.anatomy import Anatomy, Frame, draw_anatomy
from tomochrome.runtime import check, quietly, report
from tomochrome.volume import Provenance, Volume, default_affine

if TYPE_CHECKING:
    from tomochrome.phantom.variations import Variations

#: lowest and highest z of each region in the patient frame in mm
REGIONS: dict[str, tuple[float, float]] = {
    "head": (462, 715),
    "chest": (135, 455),
    "thorax": (135, 455),
    "abdomen": (-30, 250),
    "pelvis": (-165, 60),
    "torso": (-165, 458),
    "all": (-165, 715),
}


class StructureMap(NamedTuple):
    """A patient's structures without a CT; unpacks to structures, affine, anatomy."""

    structures: NDArray[np.uint8]  #: (z, y, x) of `tomochrome.phantom.structures.Structure`
    affine: NDArray[np.float64]  #: 4x4 from voxel index (z, y, x) to LPS mm
    anatomy: Anatomy

    @property
    def voxels(self) -> NDArray[np.uint8]:
        """The structures, named as in `Volume`."""
        return self.structures


@dataclass(frozen=True, eq=False)
class Patient:
    """A phantom patient with all data on one grid.

    Attributes
    ----------
    ct
        int16 HU (z, y, x).
    tissue
        uint8 of `tomochrome.tissue.Tissue` on the same grid.
    structures
        uint8 (z, y, x) of `tomochrome.phantom.structures.Structure`, finer than tissues.
    anatomy
        The parameters of the patient.
    description
        One line on the patient and the scan.
    """

    ct: Volume
    tissue: Volume
    structures: NDArray[np.uint8]
    anatomy: Anatomy
    description: str

    def cryosection(self) -> NDArray[np.uint8]:
        """Return the colors of photographs of frozen sections, uint8 (z, y, x, 3), sRGB."""
        from tomochrome.phantom.cryosection import cryosection

        with quietly():
            return np.asarray(
                cryosection(
                    self.structures, self.ct.spacing, np.random.default_rng(self.anatomy.seed)
                )
            )


def _grid(
    anatomy: Anatomy,
    frame: Frame,
    region: str,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int] | None,
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the number of voxels (z, y, x) and the scanner position (x, y, z) of the first."""
    low, high = REGIONS[region]
    pivot, (sx, sy, sz) = 150.0, (anatomy.size * scale for scale in anatomy.scale)
    bottom, top = pivot + (low - pivot) * sz, pivot + (high - pivot) * sz
    rows = (frame.z >= low) & (frame.z <= min(high, 450))
    middle = np.array(anatomy.shift)
    if region == "head":
        width, depth = 270.0, 290.0
        middle = middle + [0, -12.0]
    else:
        skin = frame.skin[rows]
        across = skin * np.abs(np.cos(frame.theta))
        pole = frame.center[rows][:, None]
        y = pole + skin * np.sin(frame.theta)
        width = 2 * float(across.max()) * sx + 36
        if high > 330:
            width = max(width, 2 * 190 * sx)
        if not anatomy.arms_up and high > 20:
            width = 2 * (258 * sx)
        depth = float(y.max() - y.min()) * sy + 62
        middle = middle + [0.0, 0.5 * float(y.max() + y.min()) * sy + 12]
    if shape is None:
        z, yy, x = spacing
        shape = (
            max(1, round((top - bottom) / z)), max(1, round(depth / yy)), max(1, round(width / x))
        )  # fmt: skip
    size = (np.array(shape) - 1) * np.asarray(spacing)
    origin = np.array([middle[0] - 0.5 * size[2], middle[1] - 0.5 * size[1],
                       0.5 * (bottom + top) - 0.5 * size[0]])  # fmt: skip
    return shape, origin


def _check_options(
    region: str, spacing: tuple[float, float, float], shape: tuple[int, int, int] | None
) -> None:
    if region not in REGIONS:
        raise OptionError(f"a phantom has no region '{region}'; choose from {', '.join(REGIONS)}")
    if len(spacing) != 3 or not all(0.2 <= float(s) <= 20 for s in spacing):
        raise OptionError(
            f"the phantom's spacing must be three lengths of 0.2 to 20 mm, not {spacing}"
        )
    if shape is not None and (len(shape) != 3 or min(shape) < 1):
        raise OptionError(f"the phantom's shape must be three positive counts, not {shape}")


def make_structures(
    seed: int = 0,
    region: str = "torso",
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    *,
    shape: tuple[int, int, int] | None = None,
    couch: bool = True,
    metal: bool = False,
    variations: Variations | None = None,
    threads: int = 1,
    **overrides: Any,
) -> StructureMap:
    """Make a patient's structures without rendering a CT, as for training.

    Parameters
    ----------
    seed
        The same seed gives the same patient at any spacing.
    region
        A key of `REGIONS`; ``"torso"`` extends from the hips to the apices of the lungs.
    spacing
        Voxel spacing (z, y, x) in mm.
    shape
        Number of voxels (z, y, x); by default the grid covers the region.
    couch
        Whether to include the table.
    metal
        Whether the patient has a hip prosthesis.
    variations
        Habitus, age, fluid, operations, implants; they take precedence over ``overrides``.
    threads
        Number of threads; it does not affect the result.
    **overrides
        Fields of `Anatomy` (``spleen_ml=400``), or ``build="lean"``.

    Returns
    -------
    structures
        uint8 (z, y, x) of `Structure`.
    affine
        4x4 from voxel index (z, y, x) to LPS mm.
    anatomy
        The parameters of the patient.

    Raises
    ------
    OptionError
        If region, spacing, shape or an override is invalid.
    """
    _check_options(region, spacing, shape)
    if metal:
        overrides = {"hip_metal": True, **overrides}
    anatomy = draw_anatomy(seed, **overrides)
    if variations is not None:
        anatomy = variations.apply(anatomy, region)
    from tomochrome.phantom.body import make_frame
    from tomochrome.phantom.canvas import Canvas

    frame = make_frame(anatomy)
    size, origin = _grid(anatomy, frame, region, spacing, shape)
    canvas = Canvas(
        size, spacing, tuple(origin), anatomy.to_patient, seed=anatomy.seed, threads=threads
    )
    _paint(canvas, anatomy, frame, region, couch, variations)
    return StructureMap(canvas.labels, default_affine(spacing, origin), anatomy)


def _paint(
    canvas: Any,
    anatomy: Anatomy,
    frame: Frame,
    region: str,
    couch: bool,
    variations: Variations | None,
) -> None:
    from tomochrome.phantom import abdomen, body, gut, head, kidneys, pelvis, skeleton, thorax
    from tomochrome.phantom.variations import Variations, paint_variations

    c, a, f = canvas, anatomy, frame
    low, high = REGIONS[region]
    trunk = region != "head"
    belly, hips, chest = trunk and low < 240, low < 0, high > 150 and trunk
    varied = trunk and variations is not None
    steps: list[tuple[bool, Callable[[], object]]] = [
        (True, lambda: body.paint_envelope(c, a, f)),
        (trunk, lambda: body.paint_limbs(c, a, f)),
        (chest, lambda: thorax.paint_mediastinum(c, a)),
        (hips, lambda: pelvis.paint_pelvic_muscles(c, a)),
        (True, lambda: skeleton.paint_skeleton(c, a, f)),
        (hips, lambda: pelvis.paint_pelvic_bones(c, a)),
        (chest, lambda: thorax.paint_heart(c, a)),
        (True, lambda: thorax.paint_great_vessels(c, a)),
        (chest, lambda: thorax.paint_lung_vessels(c, a)),
        (chest, lambda: thorax.paint_effusion(c, a, f)),
        (belly, lambda: abdomen.paint_vessels(c, a)),
        (belly, lambda: kidneys.paint_kidneys(c, a)),
        (belly, lambda: abdomen.paint_liver(c, a)),
        (belly, lambda: abdomen.paint_crura(c, a)),
        (belly, lambda: abdomen.paint_spleen(c, a, f)),
        (belly, lambda: abdomen.paint_gallbladder(c, a)),
        (belly, lambda: abdomen.paint_pancreas(c, a)),
        (belly, lambda: gut.paint_stomach(c, a, f)),
        (belly, lambda: gut.paint_duodenum(c, a)),
        (hips, lambda: pelvis.paint_pelvic_organs(c, a)),
        (belly, lambda: gut.paint_colon(c, a, f)),
        (belly, lambda: gut.paint_small_bowel(c, a, f)),
        (belly, lambda: kidneys.paint_perirenal_fat(c, a)),
        (belly, lambda: abdomen.paint_branches(c, a)),
        (belly, lambda: abdomen.paint_liver_vessels(c, a)),
        (belly, lambda: abdomen.paint_findings(c, a)),
        (belly, lambda: gut.paint_ascites(c, a)),
        (belly, lambda: gut.finish_walls(c, a)),
        (hips and a.hip_metal, lambda: pelvis.paint_hip_metal(c, a)),
        (varied, lambda: paint_variations(c, a, f, variations or Variations())),
        (high > 470, lambda: head.paint_head(c, a)),
        (couch and region != "head", lambda: _paint_couch(c)),
        (couch and region == "head", lambda: head.paint_headrest(c, a.rng(41))),
    ]  # fmt: skip
    needed_steps = [step for needed, step in steps if needed]
    for i, step in enumerate(needed_steps):
        check()
        report(i, len(needed_steps), "generating the phantom")
        step()
    report(len(needed_steps), len(needed_steps), "generating the phantom")


def _paint_couch(canvas: Any) -> None:
    """Paint the table just below the lowest point of the back."""
    from tomochrome.phantom.body import paint_couch

    occupied = (canvas.labels != 0).any(axis=0)
    rows = np.flatnonzero(occupied[:, occupied.shape[1] // 3 : 2 * occupied.shape[1] // 3].any(1))
    last = int(rows[-1]) if len(rows) else canvas.shape[1] - 1
    paint_couch(canvas, float(canvas.origin[1] + canvas.spacing[1] * (last + 1)))


def make_patient(
    seed: int = 0,
    region: str = "chest",
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    *,
    sex: str | None = None,
    build: str | None = None,
    phase: str = "native",
    breathing: float | None = None,
    metal: bool = False,
    couch: bool = True,
    noise: float = 1.0,
    shape: tuple[int, int, int] | None = None,
    threads: int | None = None,
    **overrides: Any,
) -> Patient:
    """Make a realistic adult patient with its CT.

    Parameters
    ----------
    seed
        The same seed and options give the same patient, voxel by voxel.
    region
        "head", "chest" (or "thorax"), "abdomen", "pelvis", "torso" or "all".
    spacing
        Voxel spacing (z, y, x) in mm.
    sex, build
        "female" or "male"; "lean", "average" or "heavy"; drawn from the seed if None.
    phase
        "native", "arterial", "portal" or "delayed".
    breathing
        0 for expiration to 1 for inspiration; drawn if None.
    metal
        Whether the patient has a hip prosthesis.
    couch
        Whether to include the table.
    noise
        Factor on the scanner's noise; 0 for none.
    shape
        Number of voxels (z, y, x); by default the grid covers the region.
    threads
        Number of threads; None for all processors. It does not affect the result.
    **overrides
        Any field of `Anatomy`, or ``variations`` as in `make_structures`.

    Returns
    -------
    Patient
        CT, tissues and structures on one grid.

    Raises
    ------
    OptionError
        If an option is invalid.
    Cancelled
        If cancelled.
    """
    from tomochrome.phantom.materials import PHASES, hu_table, tissue_table
    from tomochrome.phantom.render import Scanner, render_ct
    from tomochrome.runtime import thread_count

    if phase not in PHASES:
        raise OptionError(
            f"a phantom has no contrast phase '{phase}'; choose from {', '.join(PHASES)}"
        )
    started = time.perf_counter()
    named = {"sex": sex, "breathing": breathing, "build": build}
    chosen: dict[str, Any] = {k: v for k, v in named.items() if v is not None}
    structures, affine, anatomy = make_structures(
        seed, region, spacing, shape=shape, couch=couch, metal=metal,
        threads=threads or thread_count(), **chosen, **overrides,
    )  # fmt: skip
    rng = anatomy.rng(90)
    hu = hu_table(phase, rng, stomach=anatomy.stomach_fill)
    ct = render_ct(structures, spacing, phase, rng, hu=hu, scanner=Scanner(noise=noise))
    text = (
        f"Phantom patient {seed}: {anatomy.sex}, {region}, {phase} phase, "
        f"{'x'.join(str(n) for n in structures.shape)} voxels"
    )
    duration = f"generated in {time.perf_counter() - started:.1f} s"
    origin = Provenance(
        source=f"phantom:{seed}", kind="phantom", modality="CT", history=(text, duration)
    )
    return Patient(
        Volume(ct, affine, "HU", origin),
        Volume(tissue_table()[structures], affine, "tissue", origin),
        structures,
        anatomy,
        text,
    )
