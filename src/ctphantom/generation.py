# ruff: noqa: RUF005 - lists are added to arrays, not joined to them
"""Generation of a patient from a seed: anatomy, label map, CT and cryosection colors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctphantom.anatomy import Anatomy, Frame, draw_anatomy
from ctphantom.interface import PhantomError, Progress, silent
from ctphantom.materials import PHASES, Phase, hu_table
from ctphantom.variations import Variations

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

    structures: NDArray[np.uint8]  #: (z, y, x) of `ctphantom.structures.Structure`
    affine: NDArray[np.float64]  #: 4x4 from voxel index (z, y, x) to LPS mm
    anatomy: Anatomy


@dataclass(frozen=True, eq=False)
class Patient:
    """A phantom patient with all data on one grid.

    Attributes
    ----------
    ct
        int16 HU (z, y, x).
    structures
        uint8 (z, y, x) of `Structure`.
    affine
        4x4 from voxel index (z, y, x) to LPS mm.
    anatomy
        The parameters of the patient.
    description
        One line on the patient and the scan.
    """

    ct: NDArray[np.int16]
    structures: NDArray[np.uint8]
    affine: NDArray[np.float64]
    anatomy: Anatomy
    description: str

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centers along (z, y, x) in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def cryosection(self, *, progress: Progress = silent) -> NDArray[np.uint8]:
        """Return the colors of photographs of frozen sections, uint8 (z, y, x, 3), sRGB."""
        from ctphantom.cryosection import cryosection

        rng = np.random.default_rng(self.anatomy.seed)
        return cryosection(self.structures, self.spacing, rng, progress=progress)


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
        raise PhantomError(f"a phantom has no region '{region}'; choose from {', '.join(REGIONS)}")
    if len(spacing) != 3 or not all(0.2 <= float(s) <= 20 for s in spacing):
        raise PhantomError(
            f"the phantom's spacing must be three lengths of 0.2 to 20 mm, not {spacing}"
        )
    if shape is not None and (len(shape) != 3 or min(shape) < 1):
        raise PhantomError(f"the phantom's shape must be three positive counts, not {shape}")


def make_structures(
    seed: int = 0,
    region: str = "torso",
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    *,
    shape: tuple[int, int, int] | None = None,
    couch: bool = True,
    metal: bool = False,
    variations: Variations | None = None,
    threads: int | None = None,
    progress: Progress = silent,
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
        Number of threads; None for all processors. It does not affect the result.
    progress
        Progress callback; an exception that it raises ends the work.
    **overrides
        Fields of `Anatomy` (``spleen_ml=400``), or ``build="lean"``.

    Returns
    -------
    StructureMap
        Structures, affine and anatomy.

    Raises
    ------
    PhantomError
        If region, spacing, shape or an override is invalid.
    """
    _check_options(region, spacing, shape)
    if metal:
        overrides = {"hip_metal": True, **overrides}
    anatomy = draw_anatomy(seed, **overrides)
    if variations is not None:
        anatomy = variations.apply(anatomy, region)
    from ctphantom.canvas import Canvas
    from ctphantom.envelope import make_frame

    frame = make_frame(anatomy)
    size, origin = _grid(anatomy, frame, region, spacing, shape)
    canvas = Canvas(
        size, spacing, tuple(origin), anatomy.to_patient, seed=anatomy.seed, threads=threads
    )
    steps = _painting(canvas, anatomy, frame, region, couch, variations)
    for i, (paint, arguments) in enumerate(steps):
        progress(i, len(steps), "generating the phantom")
        paint(*arguments)
    progress(len(steps), len(steps), "generating the phantom")
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing
    affine[:3, 3] = origin
    affine[3, 3] = 1.0
    return StructureMap(canvas.labels, affine, anatomy)


def _painting(
    canvas: Any,
    anatomy: Anatomy,
    frame: Frame,
    region: str,
    couch: bool,
    variations: Variations | None,
) -> list[tuple[Callable[..., object], tuple[object, ...]]]:
    """Return the functions that paint a region, in their order, each with its arguments."""
    from ctphantom import abdomen, envelope, gut, head, pelvis, skeleton, thorax
    from ctphantom.variation_painting import paint_variations

    plain, framed = (canvas, anatomy), (canvas, anatomy, frame)
    low, high = REGIONS[region]
    trunk = region != "head"
    belly, hips, chest = trunk and low < 240, low < 0, high > 150 and trunk
    varied = trunk and variations is not None
    steps: list[tuple[bool, Callable[..., object], tuple[object, ...]]] = [
        (True, envelope.paint_envelope, framed),
        (trunk, envelope.paint_limbs, framed),
        (chest, thorax.paint_mediastinum, plain),
        (hips, pelvis.paint_pelvic_muscles, plain),
        (True, skeleton.paint_skeleton, framed),
        (hips, pelvis.paint_pelvic_bones, plain),
        (chest, thorax.paint_heart, plain),
        (True, thorax.paint_great_vessels, plain),
        (True, thorax.paint_airways, plain),
        (chest, thorax.paint_lung_vessels, plain),
        (chest, thorax.paint_effusion, framed),
        (belly, abdomen.paint_vessels, plain),
        (belly, abdomen.paint_kidneys, plain),
        (belly, abdomen.paint_liver, plain),
        (belly, abdomen.paint_crura, plain),
        (belly, abdomen.paint_spleen, framed),
        (belly, abdomen.paint_gallbladder, plain),
        (belly, abdomen.paint_pancreas, plain),
        (belly, gut.paint_stomach, framed),
        (belly, gut.paint_duodenum, plain),
        (hips, pelvis.paint_pelvic_organs, plain),
        (belly, gut.paint_colon, framed),
        (belly, gut.paint_small_bowel, framed),
        (belly, abdomen.paint_perirenal_fat, plain),
        (belly, abdomen.paint_branches, plain),
        (belly, abdomen.paint_liver_vessels, plain),
        (belly, abdomen.paint_findings, plain),
        (belly, gut.paint_ascites, plain),
        (belly, gut.finish_walls, plain),
        (hips and anatomy.hip_metal, pelvis.paint_hip_metal, plain),
        (varied, paint_variations, (*framed, variations)),
        (high > 470, head.paint_head, plain),
        (couch and trunk, envelope.paint_couch, (canvas,)),
        (couch and not trunk, head.paint_headrest, (canvas, anatomy.rng(41))),
    ]  # fmt: skip
    return [(paint, arguments) for needed, paint, arguments in steps if needed]


def make_patient(
    seed: int = 0,
    region: str = "chest",
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    *,
    sex: str | None = None,
    build: str | None = None,
    phase: Phase = "native",
    breathing: float | None = None,
    metal: bool = False,
    couch: bool = True,
    noise: float = 1.0,
    shape: tuple[int, int, int] | None = None,
    threads: int | None = None,
    progress: Progress = silent,
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
    progress
        Progress callback; an exception that it raises ends the work.
    **overrides
        Any field of `Anatomy`, or ``variations`` as in `make_structures`.

    Returns
    -------
    Patient
        CT and structures on one grid.

    Raises
    ------
    PhantomError
        If an option is invalid.
    """
    from ctphantom.rendered_ct import Scanner, render_ct

    if phase not in PHASES:
        raise PhantomError(
            f"a phantom has no contrast phase '{phase}'; choose from {', '.join(PHASES)}"
        )
    named = {"sex": sex, "breathing": breathing, "build": build}
    chosen: dict[str, Any] = {k: v for k, v in named.items() if v is not None}
    structures, affine, anatomy = make_structures(
        seed, region, spacing, shape=shape, couch=couch, metal=metal,
        threads=threads, progress=progress, **chosen, **overrides,
    )  # fmt: skip
    rng = anatomy.rng(90)
    hu = hu_table(phase, rng, stomach=anatomy.stomach_fill)
    ct = render_ct(
        structures, spacing, phase, rng, hu=hu, scanner=Scanner(noise=noise), threads=threads,
        progress=progress,
    )  # fmt: skip
    text = (
        f"Phantom patient {seed}: {anatomy.sex}, {region}, {phase} phase, "
        f"{'x'.join(str(n) for n in structures.shape)} voxels"
    )
    return Patient(ct, structures, affine, anatomy, text)
