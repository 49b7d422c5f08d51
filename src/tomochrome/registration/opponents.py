"""Published methods of registration beside ours, on the same pair, from the same start.

Demons (Thirion, Medical Image Analysis 2, 1998, with the symmetric forces of Vercauteren et al.,
NeuroImage 45, 2009) and cubic B-splines by mutual information (Rueckert et al., IEEE TMI 18, 1999)
are those of SimpleITK; SyN (Avants et al., Medical Image Analysis 12, 2008) is that of ANTs, if the
user has installed it.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import OptionError, TomochromeError
from tomochrome.evaluate.registration import measure_registration
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.sitk import placed_image
from tomochrome.registration.checked_input import FEATURE_BACKBONES, check_modality, checked_pair
from tomochrome.registration.initialize import initialize
from tomochrome.registration.pairwise import register
from tomochrome.registration.validation import Synthetic, displacement_errors
from tomochrome.registration.working_pair import WorkingPair, make_pair
from tomochrome.runtime import check, current, quietly, report
from tomochrome.transform import Transform
from tomochrome.volume import Volume

OPPONENTS: Final = ("demons", "bspline", "syn")
OWN: Final = "lncc"
"""Our registration by local correlation, in a comparison."""
_MAX_VOXELS: Final = 2_000_000
_DEMONS: Final = ((4, 60), (2, 40), (1, 20))  # shrink factor and iterations of each level
_DEMONS_SD: Final = 2.0  # voxels by which the field is smoothed
_KNOTS_MM: Final = 40.0  # between the knots of the finest B-spline
_MIN_SIZE: Final = 12  # voxels of the coarsest level along each axis
_BINS, _SAMPLES, _LBFGS_STEPS = 32, 60_000, 60


def compare_methods(
    fixed: Volume,
    moving: Volume,
    methods: Sequence[str],
    *,
    case: Synthetic | None = None,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    fixed_mask: Volume | None = None,
    init: str = "affine",
    model: str = "symnet",
    refine: int | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Register two volumes by several methods, and measure each result in the same way.

    Parameters
    ----------
    fixed, moving
        Scalar volumes.
    methods
        ``"lncc"`` (our registration), the backbones of its similarity ``"features"``
        (`FEATURE_BACKBONES`), and `OPPONENTS`.
    case
        The known deformation, if the volumes are those of `make_synthetic`.
    fixed_labels, moving_labels, fixed_points, moving_points
        For evaluation, as for `register`; each for both volumes.
    fixed_mask
        Nonzero where similarity and folds are measured, on any grid.
    init, model, refine, device, threads
        As for `register`; ``init`` is also the start of the opponents.

    Returns
    -------
    list of dict
        Of each method ``method``, ``seconds`` (without initial alignment and measuring), ``ncc``,
        ``dice_mean``, ``tre_mm``, ``error_mm`` (mean left of the known deformation), and
        ``folded_percent``; None where there is nothing to measure it by.

    Raises
    ------
    OptionError
        If a method is unknown, or ANTs is not installed; labels or points are of one volume only.
    TomochromeError
        As `register` does.
    """
    names = (OWN, *FEATURE_BACKBONES, *OPPONENTS)
    for name in methods:
        if name not in names:
            raise OptionError(f"unknown method '{name}': choose from {', '.join(names)}")
    if "syn" in methods:
        _ants()
    extras: dict[str, Any] = {
        "fixed_labels": fixed_labels, "moving_labels": moving_labels,
        "fixed_points": fixed_points, "moving_points": moving_points, "fixed_mask": fixed_mask,
    }  # fmt: skip
    checked = checked_pair(fixed, moving, **extras)
    if (fixed_labels is None) != (moving_labels is None):
        raise OptionError("labels are needed for both images, the fixed and the moving one")
    # what evaluates does not drive
    alone = [replace(scan, mask=None, labels=None, points=None) for scan in checked]
    scans = alone[0], alone[1]
    for name in methods:
        if name in FEATURE_BACKBONES:
            check_modality(scans, name)
    rows, pair = [], None
    for number, name in enumerate(methods):
        check()
        report(number, len(methods), f"registering by {name}")
        with quietly():
            if name in OPPONENTS:
                if pair is None:
                    first = initialize(*scans, init)
                    pair = make_pair(*scans, transform=first.affine, max_voxels=_MAX_VOXELS)
                start = time.perf_counter()
                forward = register_with(name, pair)
                seconds = time.perf_counter() - start
            else:
                own = name == OWN
                result = register(
                    fixed, moving, init=init, model=model, refine=refine, device=device,
                    threads=threads, similarity="lncc" if own else "features",
                    backbone=None if own else name,
                )  # fmt: skip
                spent = result.report["seconds"]
                outside = ("check", "initialize", "plausibility", "apply", "measure", "total")
                seconds = sum(value for stage, value in spent.items() if stage not in outside)
                forward = result.forward
            measured = measure_registration(fixed, moving, forward, **extras)
            error = None if case is None else displacement_errors(forward, case)
        after = measured["after"]
        rows.append({
            "method": name,
            "seconds": round(seconds, 1),
            "ncc": after.get("ncc"),
            "dice_mean": after.get("dice_mean"),
            "tre_mm": after.get("tre_mm", {}).get("mean"),
            "error_mm": None if error is None else error["after"]["mean"],
            "folded_percent": measured["jacobian"]["folded_percent"],
        })  # fmt: skip
    report(len(methods), len(methods), "registering")
    return rows


def register_with(method: str, pair: WorkingPair) -> Transform:
    """Return the transform of one of `OPPONENTS`, from points of the fixed to the moving volume.

    Parameters
    ----------
    method
        The method's name.
    pair
        The volumes on their working grid, with the initial alignment.

    Raises
    ------
    TomochromeError
        If the method fails, or ANTs is not installed.
    Cancelled
        If the user cancelled.
    """
    check()
    images = [placed_image(image[0, 0].numpy(), pair.affine) for image in (pair.fixed, pair.moving)]
    run: dict[str, Callable[..., NDArray[np.float32]]] = {
        "demons": _demons, "bspline": _bspline, "syn": _syn,
    }  # fmt: skip
    try:
        vectors = run[method](*images)
    except RuntimeError as error:  # of ITK, also after it was stopped
        check()
        raise TomochromeError(f"the registration by {method} failed: {error}") from error
    check()
    return Transform.from_fields(DisplacementField(vectors, pair.affine), affine=pair.transform)


def _stops(process: Any, stop: Callable[[], None]) -> None:
    """Stop an iterating process of ITK if the user cancels."""
    task = current()
    process.AddCommand(SimpleITK.sitkIterationEvent, lambda: stop() if task.cancelled else None)


def _demons(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> NDArray[np.float32]:
    """Return displacements (z, y, x, 3) in LPS mm by demons, coarse to fine."""
    moving = SimpleITK.HistogramMatching(moving, fixed, 256, 15, True)
    field = None
    for factor, iterations in _DEMONS:
        check()
        pair = [_shrunk(image, factor) for image in (fixed, moving)]
        demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(_DEMONS_SD)
        _stops(demons, demons.Abort)
        if field is None:
            field = demons.Execute(*pair)
        else:
            field = demons.Execute(*pair, SimpleITK.Resample(field, pair[0]))
    return _vectors(field)


def _shrunk(image: SimpleITK.Image, factor: int) -> SimpleITK.Image:
    if factor == 1:
        return image
    deviation = [0.5 * factor * step for step in image.GetSpacing()]
    factors = [min(factor, max(1, n // 8)) for n in image.GetSize()]
    return SimpleITK.Shrink(SimpleITK.SmoothingRecursiveGaussian(image, deviation), factors)


def _bspline(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> NDArray[np.float32]:
    """Return displacements (z, y, x, 3) in LPS mm of a B-spline, by mutual information."""
    extent = [n * step for n, step in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    levels = [k for k in (2, 1, 0) if min(fixed.GetSize()) >= _MIN_SIZE << k] or [0]
    # the mesh is refined by as much as the images
    mesh = [max(1, round(mm / (_KNOTS_MM * 2 ** levels[0]))) for mm in extent]
    spline = SimpleITK.BSplineTransformInitializer(fixed, mesh)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    voxels = float(np.prod(fixed.GetSize()))
    shares = [min(1.0, _SAMPLES * 8**k / voxels) for k in levels]
    method.SetMetricSamplingPercentagePerLevel(shares, 1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsLBFGS2(1e-5, _LBFGS_STEPS, deltaConvergenceTolerance=0)
    method.SetShrinkFactorsPerLevel([2**k for k in levels])
    method.SetSmoothingSigmasPerLevel([2.0 * k for k in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    factors = [2 ** (levels[0] - k) for k in levels]
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=factors)
    _stops(method, method.StopRegistration)
    result = method.Execute(fixed, moving)
    return _vectors(
        SimpleITK.TransformToDisplacementField(
            result, SimpleITK.sitkVectorFloat64, fixed.GetSize(), fixed.GetOrigin(),
            fixed.GetSpacing(), fixed.GetDirection(),
        )
    )  # fmt: skip


def _syn(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> NDArray[np.float32]:
    """Return displacements (z, y, x, 3) in LPS mm by ANTs' SyN."""
    ants = _ants()
    with tempfile.TemporaryDirectory(prefix="tomochrome-") as folder:
        images = []
        for name, image in (("fixed", fixed), ("moving", moving)):
            path = str(Path(folder) / f"{name}.nii.gz")
            SimpleITK.WriteImage(image, path)
            images.append(ants.image_read(path))
        result = ants.registration(
            *images, type_of_transform="SyNOnly", initial_transform="identity",
            outprefix=str(Path(folder) / "syn-"),
        )  # fmt: skip
        warps = [path for path in result["fwdtransforms"] if str(path).endswith(".nii.gz")]
        return _vectors(SimpleITK.ReadImage(warps[0], SimpleITK.sitkVectorFloat64))


def _ants() -> Any:
    """Return the module of ANTs, which is no dependency of this package."""
    try:
        return importlib.import_module("ants")
    except ImportError as error:
        raise OptionError(
            "ANTs is not installed, so there is no comparison with 'syn'; install it with "
            "'pip install antspyx', or leave 'syn' out"
        ) from error


def _vectors(field: SimpleITK.Image) -> NDArray[np.float32]:
    return np.asarray(SimpleITK.GetArrayFromImage(field), np.float32)
