"""``tomochrome evaluate registration``: any tool's result, or ours against a known deformation."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.measures import in_words
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import GeometryError, OptionError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomochrome.volume import Volume

_STARTS = ("none", "center", "mass", "rigid", "affine")
_SIMILARITIES = ("lncc", "mi", "mind", "mse")
#: What each of the two ways of use knows, as argparse stores it.
_OF_RESULT = (
    "transform", "inverse", "fixed_labels", "moving_labels", "fixed_points", "moving_points",
    "mask", "series_moving",
)  # fmt: skip
_OF_SYNTHETIC = (
    "labels", "mean_mm", "smooth_mm", "noise", "contrast", "seed", "init", "model", "refine",
    "similarity",
)  # fmt: skip
_FILES = ("fixed", "moving", "synthetic", "labels", *_OF_RESULT[:-1])


def add_parser(kinds: Any) -> None:
    """Add the command and describe its arguments."""
    parser = kinds.add_parser(
        "registration",
        help="whether to trust a registration: likeness, overlap, landmarks, folds, the way back",
        description="Measure any tool's registration, or (--synthetic) register a volume to a "
        "copy deformed in a known way and say how far the answer is off, in millimetres.",
        usage="tomochrome evaluate registration FIXED MOVING [--transform F] [options]\n"
        "       tomochrome evaluate registration --synthetic VOLUME [options]",
        allow_abbrev=False,
    )
    path = options.some_path
    parser.add_argument("fixed", metavar="FIXED", nargs="?", type=path, help="the fixed volume")
    parser.add_argument(
        "moving",
        metavar="MOVING",
        nargs="?",
        type=path,
        help="the moving volume; without --transform the one that was moved already",
    )
    _add_result(parser)
    _add_synthetic(parser)
    parser.add_argument("--series", metavar="UID", help="which series of the first volume")
    parser.add_argument("-o", "--output", metavar="REPORT.json", help="write the figures there too")
    options.add_computing(parser)
    options.add_force(parser)
    options.add_json(parser, nested=True)


def _add_result(parser: argparse.ArgumentParser) -> None:
    path = options.some_path
    group = parser.add_argument_group("a registration that was made")
    group.add_argument(
        "--transform",
        metavar="F",
        type=path,
        help="from points of FIXED to MOVING, as ITK resamples: forward.h5, or another tool's",
    )
    group.add_argument("--inverse", metavar="F", type=path, help="the way back: inverse.h5")
    for role in ("fixed", "moving"):
        group.add_argument(
            f"--{role}-labels", metavar="F", type=path, help=f"label map of the {role} volume"
        )
    for role in ("fixed", "moving"):
        group.add_argument(
            f"--{role}-points",
            metavar="F",
            type=path,
            help=f"landmarks in the {role} volume: .fcsv, .mrk.json, or .csv in LPS mm",
        )
    group.add_argument(
        "--mask", metavar="F", type=path, help="where likeness and folds are looked at: not 0"
    )
    group.add_argument("--series-moving", metavar="UID", help="which series of MOVING")


def _add_synthetic(parser: argparse.ArgumentParser) -> None:
    path = options.some_path
    group = parser.add_argument_group("a known deformation")
    group.add_argument(
        "--synthetic", metavar="VOLUME", type=path, help="the volume to deform and to register"
    )
    group.add_argument("--labels", metavar="F", type=path, help="its label map, on its grid")
    group.add_argument(
        "--mean-mm",
        metavar="MM",
        type=options.number,
        help="mean displacement in the body (default: 9)",
    )
    group.add_argument(
        "--smooth-mm",
        metavar="MM",
        type=options.number,
        help="smoothness of the field (default: 70)",
    )
    group.add_argument(
        "--noise",
        metavar="SD",
        type=options.number,
        help="noise of the deformed copy (default: 15 HU, or 2 %% of the range of other values)",
    )
    group.add_argument(
        "--contrast",
        metavar="LABEL:VALUE,..",
        type=_contrast,
        help="values added to the copy where labels are, as contrast agent does: 2:150,52:180",
    )
    group.add_argument("--seed", metavar="N", type=_whole, help="source of chance (default: 0)")
    group.add_argument("--init", choices=_STARTS, help="first alignment (default: none)")
    group.add_argument("--model", metavar="NAME", help="as 'tomochrome register' has it")
    group.add_argument("--refine", metavar="N", type=_whole, help="iterations of refinement")
    group.add_argument("--similarity", choices=_SIMILARITIES, help="(default: lncc)")


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not '{text}'")
    return value


def _contrast(text: str) -> dict[int, float]:
    """Parse labels and what is added to each."""
    found = {}
    for part in text.split(","):
        label, mark, value = part.partition(":")
        if not mark:
            raise argparse.ArgumentTypeError(f"must be LABEL:VALUE, not '{part}'")
        found[_whole(label)] = options.number(value)
    return found


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Measure. Everything that can be refused is refused before the work begins."""
    _check(args)
    data = _synthetic(args, session) if args.synthetic is not None else _result(args, session)
    for warning in data["warnings"]:
        session.warn(warning)
    data["warnings"] = list(session.warnings)
    if args.output is not None:
        _write(data, args)
    return Outcome(data, in_words(data))


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, and files that are not there."""
    from tomochrome.bundles import REGISTRATION, find_card
    from tomochrome.cli import pipeline
    from tomochrome.runtime import check_writable, choose_device

    wrong = _OF_RESULT if args.synthetic is not None else _OF_SYNTHETIC
    for name in wrong:
        if getattr(args, name) is not None:
            way = "with" if args.synthetic is not None else "without"
            raise OptionError(f"--{name.replace('_', '-')} means nothing {way} --synthetic")
    if args.synthetic is not None and args.fixed is not None:
        raise OptionError("--synthetic names the only volume; leave FIXED and MOVING out")
    if args.synthetic is None and args.moving is None:
        raise OptionError("two volumes are needed, FIXED and MOVING, or --synthetic VOLUME")
    if args.inverse is not None and args.transform is None:
        raise OptionError("--inverse needs the transform whose inverse it is: --transform")
    for kind in ("labels", "points"):
        pair = [getattr(args, f"{role}_{kind}") for role in ("fixed", "moving")]
        if (pair[0] is None) != (pair[1] is None):
            missing = "fixed" if pair[0] is None else "moving"
            raise OptionError(f"{kind} are needed of both volumes: --{missing}-{kind} is missing")
    given = [path for name in _FILES if (path := getattr(args, name)) is not None]
    for path in given:
        pipeline.check_input(path)
    if args.model not in (None, "none"):
        find_card(args.model, REGISTRATION)
    if args.device not in ("auto", "cpu"):
        choose_device(args.device)
    if args.output is not None:
        check_writable(args.output, force=args.force)
        if any(os.path.realpath(path) == os.path.realpath(args.output) for path in given):
            raise OutputError(f"'{args.output}' is an input; choose another name for the report")


def _result(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """Measure a registration that was made."""
    from tomochrome.evaluate import measure_registration
    from tomochrome.io import read
    from tomochrome.registration.report import warnings_of
    from tomochrome.registration.transform import Transform

    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    extras: dict[str, Any] = {
        f"{role}_points": _points(getattr(args, f"{role}_points")) for role in ("fixed", "moving")
    }
    forward = Transform.identity() if args.transform is None else Transform.load(args.transform)
    inverse = None if args.inverse is None else Transform.load(args.inverse)
    fixed = read(args.fixed, series=args.series, **told)
    moving = read(args.moving, series=args.series_moving, **told)
    for name, path in (
        ("fixed_labels", args.fixed_labels),
        ("moving_labels", args.moving_labels),
        ("fixed_mask", args.mask),
    ):
        extras[name] = _volume(path, told)
    measured = measure_registration(fixed, moving, forward, inverse, **extras, **told)
    if "ncc" not in measured["before"] and "ncc" not in measured["after"]:
        raise GeometryError(
            f"'{args.fixed}' and '{args.moving}' cannot be compared: no voxel is common to both, "
            "or one of them is constant there"
        )
    if args.transform is None:  # nothing was done between before and after
        measured = {"after": measured["after"]}
    notes = [*fixed.provenance.warnings, *moving.provenance.warnings]
    missed = measured.get("inverse_consistency_mm", {}).get("mean", 0.0)
    if missed > max(fixed.spacing):
        notes.append(
            f"the inverse consistency error is {missed:.1f} mm on average: '{args.inverse}' is "
            f"hardly the inverse of '{args.transform}'"
        )
    kinds = {(v.unit, v.provenance.modality) for v in (fixed, moving)}
    same = "lncc" if len(kinds) == 1 else "mi"  # of different modalities correlation need not grow
    return {
        "fixed": str(args.fixed),
        "moving": str(args.moving),
        "transform": None if args.transform is None else str(args.transform),
        "inverse": None if args.inverse is None else str(args.inverse),
        **measured,
        "warnings": list(dict.fromkeys([*notes, *warnings_of(measured, same)])),
    }


def _synthetic(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """Deform, register and compare."""
    from tomochrome.evaluate import validate_synthetic
    from tomochrome.io import read

    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    wanted = _given(args, "mean_mm", "smooth_mm", "noise", "contrast", "seed")
    how = _given(args, "init", "model", "refine", "similarity", "device", "threads")
    volume = read(args.synthetic, series=args.series, **told)
    labels = _volume(args.labels, told)
    found = validate_synthetic(volume, labels=labels, options=how, **wanted, **told)
    return {"synthetic": str(args.synthetic), **found}


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _volume(path: Path | None, told: Mapping[str, Any]) -> Volume | None:
    from tomochrome.io import read

    return None if path is None else read(path, **told)


def _points(path: Path | None) -> NDArray[np.float64] | None:
    from tomochrome.io.points import read_points

    return None if path is None else read_points(path)


def _write(data: Mapping[str, Any], args: argparse.Namespace) -> None:
    from tomochrome.runtime import write_whole

    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with write_whole(args.output, force=args.force) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
