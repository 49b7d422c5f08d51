"""``tomochrome transform``: bring a volume or landmarks through a saved transform."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import GeometryError, InputError, OptionError, OutputError
from tomochrome.formats import in_words

if TYPE_CHECKING:
    from tomochrome.registration.transform import Transform
    from tomochrome.volume import Volume

_KNOWN = 0.99  # share of the reference up to which it is worth saying where the field ends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    path = options.some_path
    parser.add_argument(
        "input",
        metavar="INPUT",
        type=path,
        help="a volume (grey, labels or in color), or points (.fcsv, .mrk.json, .csv in LPS mm)",
    )
    parser.add_argument(
        "transform",
        metavar="TRANSFORM",
        type=path,
        help=".h5, .tfm, .txt, .mat, or a displacement field (.nii.gz, .nrrd, .mha)",
    )
    parser.add_argument(
        "--like",
        metavar="REFERENCE",
        type=path,
        help="the volume whose grid the result has: the fixed one for forward.h5, the moving one "
        "for inverse.h5 (not needed for points)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help=f"what to write, by its ending: {in_words()}; for points .fcsv or .csv",
    )
    parser.add_argument(
        "--labels", action="store_true", help="INPUT holds labels: never mix neighbouring values"
    )
    parser.add_argument(
        "--inverse",
        action="store_true",
        help="go the other way. A transform brings images from the moving to the fixed volume, "
        "and points from the fixed to the moving one",
    )
    parser.add_argument("--series", metavar="UID", help="which series of INPUT, of several")
    parser.add_argument("--series-like", metavar="UID", help="which series of REFERENCE")
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Apply a transform. Everything that can be refused is refused before the work begins."""
    from tomochrome.cli import pipeline
    from tomochrome.io.points import ENDINGS
    from tomochrome.registration.transform import Transform

    points = args.input.name.lower().endswith(ENDINGS)
    for path in (args.input, args.transform, args.like):
        if path is not None:
            pipeline.check_input(path)
            if os.path.realpath(path) == os.path.realpath(args.output):
                raise OutputError(
                    f"'{args.output}' is an input; choose another name for the output"
                )
    _check_output(args, points)
    start = time.perf_counter()
    transform = Transform.load(args.transform)
    if args.inverse:
        transform = transform.inverse()
    loaded = time.perf_counter()
    data, words = (_move_points if points else _move_volume)(args, transform, session)
    data["seconds"] = {
        "load": round(loaded - start, 3),
        **data.get("seconds", {}),
        "total": round(time.perf_counter() - start, 3),
    }
    data = {
        "input": str(args.input),
        "transform": str(args.transform),
        "inverse": args.inverse,
        "output": args.output,
        **data,
        "warnings": list(session.warnings),
    }
    kind = _in_words(transform)
    way = ", the other way round" if args.inverse else ""
    return Outcome(data, f"{args.output}\n  {words}\n  through {kind}{way}\n  not for diagnosis")


def _in_words(transform: Transform) -> str:
    """What the transform is made of."""
    fields = len(transform.fields)
    parts = ["an affine map"] if len(transform.steps) > fields else []
    if fields:
        parts.append("a field" if fields == 1 else f"{fields} fields")
    return " and ".join(parts) or "a transform that changes nothing"


def _check_output(args: argparse.Namespace, points: bool) -> None:
    from tomochrome.io import check_output
    from tomochrome.io.points import ENDINGS
    from tomochrome.runtime import check_writable

    if points:
        if not args.output.lower().endswith(ENDINGS):
            raise OutputError(f"'{args.output}' cannot hold points; end its name in .fcsv or .csv")
        if args.labels or args.like is not None:
            raise OptionError("--labels and --like mean nothing for points; leave them out")
        check_writable(args.output, force=args.force)
        return
    if args.like is None:
        raise OptionError("--like is missing: name the volume whose grid the result is to have")
    check_output(args.output, force=args.force)


def _move_points(
    args: argparse.Namespace, transform: Transform, session: Session
) -> tuple[dict[str, Any], str]:
    from tomochrome.io.points import read_points, write_points

    found = read_points(args.input)
    known = int(transform.covers(found).sum())
    if known < len(found):
        session.warn(
            f"{len(found) - known} of {len(found)} points lie where the transform's field is not "
            "known; do not trust where they went"
        )
    write_points(transform.points(found), args.output, force=args.force)
    return {"points": len(found), "known": known}, f"{len(found)} points of {args.input.name}"


def _move_volume(
    args: argparse.Namespace, transform: Transform, session: Session
) -> tuple[dict[str, Any], str]:
    import numpy as np

    from tomochrome.io import check_fits, read, write
    from tomochrome.registration.report import overlap_share, sampled_points

    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    start = time.perf_counter()
    volume = read(args.input, series=args.series, **told)
    check_fits(volume, args.output)
    like = read(args.like, series=args.series_like, **told)
    read_at = time.perf_counter()
    if args.labels:
        volume = _whole_labels(volume, args.input)
    share = overlap_share(like, volume, transform)
    known = float(np.mean(transform.covers(sampled_points(like))))
    if share == 0:  # a thin slab may lie between the probes
        ones = replace(volume, voxels=np.ones(volume.shape, np.uint8), unit="unknown", outside=None)
        reached = transform.apply(ones, like, order="nearest", fill=0, **told)
        share = float(np.mean(reached.voxels))
    if share == 0:
        raise GeometryError(
            f"through this transform nothing of '{args.input}' reaches '{args.like}'; check that "
            "they belong together, or whether --inverse is meant"
        )
    labels: dict[str, Any] = {"order": "nearest", "fill": 0} if args.labels else {}
    moved = transform.apply(volume, like, **labels, **told)
    applied = time.perf_counter()
    write(moved, args.output, force=args.force, **told)
    if known < _KNOWN:
        session.warn(
            f"{100 * (1 - known):.0f} % of '{args.like}' lies where the transform's field is not "
            "known; do not trust the result there"
        )
    of_input = () if args.labels else volume.provenance.warnings  # that they are not HU is meant
    for warning in (*of_input, *like.provenance.warnings):
        session.warn(warning)
    data = {
        "like": str(args.like),
        "labels": args.labels,
        "shape": list(moved.shape),
        "spacing_mm": list(moved.spacing),
        "unit": moved.unit,
        "coverage": float(f"{share:.3g}"),
        "seconds": {
            "read": round(read_at - start, 3),
            "apply": round(applied - read_at, 3),
            "write": round(time.perf_counter() - applied, 3),
        },
    }
    words = (
        f"{Path(args.input).name} on the grid of {Path(args.like).name}, "
        f"{' x '.join(map(str, moved.shape))} (z, y, x), {100 * share:.0f} % of it reached"
    )
    return data, words


def _whole_labels(volume: Volume, path: Path) -> Volume:
    """Return labels as integers, which other programs expect of them; all else as it is."""
    import numpy as np

    from tomochrome.io.units import EXACT_FLOAT

    voxels = np.asarray(volume.voxels)
    if voxels.dtype.kind != "f" or not np.array_equal(np.rint(voxels), voxels):
        return volume
    low, high = float(voxels.min()), float(voxels.max())
    if max(-low, high) >= EXACT_FLOAT:
        raise InputError(
            f"'{path}' holds labels of {EXACT_FLOAT} and more as floating-point numbers, which run "
            "together when they are read; save them as integers, or renumber them"
        )
    return replace(
        volume, voxels=voxels.astype(np.uint16 if 0 <= low <= high < 2**16 else np.int32)
    )
