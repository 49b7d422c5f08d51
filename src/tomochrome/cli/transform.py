"""``tomochrome transform``: apply a saved transform to a volume or to landmarks."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, given, read_chosen
from tomochrome.cli.session import Outcome, Session, size
from tomochrome.errors import GeometryError, InputError, OptionError, OutputError
from tomochrome.formats import extensions_help
from tomochrome.io import check_fits, check_output, companions, write
from tomochrome.io.points import ENDINGS, read_points, write_points
from tomochrome.io.units import EXACT_FLOAT
from tomochrome.registration.checked_input import looks_like_labels
from tomochrome.registration.report import overlap_share, sampled_points
from tomochrome.runtime import check_beside, check_writable
from tomochrome.runtime.clock import Clock
from tomochrome.transform import Transform
from tomochrome.volume import Volume

_MIN_COVERED = 0.99  # a smaller covered fraction of the reference gives a warning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(
        parser,
        input="a volume (grey, labels or color), or points (.fcsv, .mrk.json, .csv in LPS mm)",
        transform=".h5, .tfm, .txt, .mat, or a displacement field (.nii.gz, .nrrd, .mha)",
    )
    like = (
        "volume that gives the grid of the result: the fixed one for forward.h5, the moving one "
        "for inverse.h5 (not used for points)"
    )
    options.add_values(parser, ("--like", "REFERENCE", options.some_path, like))
    options.add_output(
        parser,
        f"output; the extension gives the format: {extensions_help()}; for points .fcsv or .csv",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="INPUT contains labels: use nearest-neighbor interpolation",
    )
    parser.add_argument(
        "--inverse",
        action="store_true",
        help="apply the inverse. Without it, the transform resamples images of the moving volume "
        "on the fixed grid, and maps points of the fixed volume to the moving one",
    )
    parser.add_argument(
        "--series", metavar="UID", help="series of INPUT to read, if there are several"
    )
    parser.add_argument("--series-like", metavar="UID", help="series of REFERENCE")
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Apply a transform after checking the input."""
    points = args.input.name.lower().endswith(ENDINGS)
    check_inputs((args.input, args.transform, args.like), args.output)
    _check_output(args, points)
    clock = Clock()
    with clock.stage("load"):
        transform = Transform.load(args.transform)
        if args.inverse:
            transform = transform.inverse()
    move = _move_points if points else _move_volume
    facts, summary = move(args, transform, session, clock)
    data = {
        "input": str(args.input),
        "transform": str(args.transform),
        "inverse": args.inverse,
        "output": args.output,
        **facts,
        "seconds": clock.seconds(),
        "warnings": list(session.warnings),
    }
    kind = _summary(transform) + (", inverted" if args.inverse else "")
    return Outcome(data, f"{args.output}\n  {summary}\n  transform: {kind}\n  not for diagnosis")


def _summary(transform: Transform) -> str:
    """Return the parts of a transform as text."""
    fields = len(transform.fields)
    parts = ["an affine transform"] if len(transform.steps) > fields else []
    if fields:
        parts.append("a displacement field" if fields == 1 else f"{fields} displacement fields")
    return " and ".join(parts) or "the identity"


def _check_output(args: argparse.Namespace, points: bool) -> None:
    if points:
        if not args.output.lower().endswith(ENDINGS):
            raise OutputError(
                f"'{args.output}' cannot store points; use the extension .fcsv or .csv"
            )
        if args.labels or given(args, "like", "series", "series_like"):
            raise OptionError(
                "--labels, --like, --series and --series-like have no effect on points; omit them"
            )
        check_writable(args.output, force=args.force)
        return
    if args.like is None:
        raise OptionError("--like is missing: give the volume that defines the grid of the result")
    check_output(args.output, force=args.force)


def _move_points(
    args: argparse.Namespace, transform: Transform, session: Session, clock: Clock
) -> tuple[dict[str, Any], str]:
    landmarks = read_points(args.input)
    covered = int(transform.covers(landmarks).sum())
    if covered < len(landmarks):
        session.warn(
            f"{len(landmarks) - covered} of {len(landmarks)} points are outside the displacement "
            "field of the transform; do not trust their new positions"
        )
    write_points(transform.points(landmarks), args.output, force=args.force)
    facts = {"points": len(landmarks), "known": covered}
    return facts, f"{len(landmarks)} points of {args.input.name}"


def _move_volume(
    args: argparse.Namespace, transform: Transform, session: Session, clock: Clock
) -> tuple[dict[str, Any], str]:
    with clock.stage("read"):
        volume = read_chosen(args.input, args.series, "--series")
        check_fits(volume, args.output)
        check_beside(
            companions(volume, args.output),
            (args.input, args.transform, args.like),
            [args.output],
            force=args.force,
        )
        like = read_chosen(args.like, args.series_like, "--series-like")
    if args.labels:
        volume = _integer_labels(volume, args.input)
    elif (
        volume.unit not in ("RGBA", "tissue")
        and volume.voxels.dtype.kind in "iuf"
        and looks_like_labels(volume, binary=True)
    ):
        session.warn(
            f"'{args.input.name}' looks like a label map, whose labels interpolation mixes at "
            "their borders; use --labels if it is one"
        )
    nearest: dict[str, Any] = {"order": "nearest", "fill": 0}
    with clock.stage("apply"):
        share = overlap_share(like, volume, transform)
        covered = float(np.mean(transform.covers(sampled_points(like))))
        if share == 0:  # a thin volume may fall between the sampled points
            ones = np.ones(volume.shape, np.uint8)
            inside = replace(volume, voxels=ones, unit="unknown", outside=None)
            share = float(np.mean(transform.apply(inside, like, **nearest).voxels))
        if share == 0:
            raise GeometryError(
                f"after this transform, '{args.input}' does not overlap '{args.like}'; check that "
                "the files belong together, or try --inverse"
            )
        moved = transform.apply(volume, like, **(nearest if args.labels else {}))
    with clock.stage("write"):
        write(moved, args.output, force=args.force)
    if covered < _MIN_COVERED:
        session.warn(
            f"{100 * (1 - covered):.0f} % of '{args.like}' is outside the displacement field of "
            "the transform; do not trust the result there"
        )
    of_input = () if args.labels else volume.provenance.warnings  # labels are never in HU
    session.warn(*of_input, *like.provenance.warnings)
    data = {
        "like": str(args.like),
        "labels": args.labels,
        "shape": list(moved.shape),
        "spacing_mm": list(moved.spacing),
        "unit": moved.unit,
        "coverage": float(f"{share:.3g}"),
    }
    summary = (
        f"{Path(args.input).name} on the grid of {Path(args.like).name}, "
        f"{size(moved.shape)}, {100 * share:.0f} % covered"
    )
    return data, summary


def _integer_labels(volume: Volume, path: Path) -> Volume:
    """Return labels as integers, as other programs expect; other values unchanged."""
    voxels = np.asarray(volume.voxels)
    if voxels.dtype.kind != "f" or not np.array_equal(np.rint(voxels), voxels):
        return volume
    low, high = float(voxels.min()), float(voxels.max())
    if max(-low, high) >= EXACT_FLOAT:
        raise InputError(
            f"'{path}' contains floating-point labels of {EXACT_FLOAT} or more, which are not "
            "exact; save them as integers, or renumber them"
        )
    return replace(
        volume, voxels=voxels.astype(np.uint16 if 0 <= low <= high < 2**16 else np.int32)
    )
