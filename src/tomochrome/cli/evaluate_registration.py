"""``tomochrome evaluate registration``: the result of any tool, or a known deformation."""

from __future__ import annotations

import argparse
from typing import Any

from tomochrome.cli import evaluate_features, options
from tomochrome.cli.files import (
    check_inputs,
    check_network,
    check_report,
    given,
    read_chosen,
    read_landmarks,
    read_or_none,
)
from tomochrome.cli.measures import format_measures
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import GeometryError, OptionError
from tomochrome.evaluate import measure_registration
from tomochrome.notices import Notice
from tomochrome.registration.verdict import warnings_of
from tomochrome.transform import Transform

#: Destinations of the options of the two forms of the command.
_OF_RESULT = (
    "transform", "inverse", "fixed_labels", "moving_labels", "fixed_points", "moving_points",
    "mask", "series_moving",
)  # fmt: skip
_OF_SYNTHETIC = (
    "labels", "mean_mm", "smooth_mm", "noise", "contrast", "seed", "init", "model", "refine",
    "similarity", "backbone", "weights",
)  # fmt: skip
_OF_METHODS = ("init", "model", "refine", "similarity", "backbone", "weights")
_FILES = ("fixed", "moving", "synthetic", "labels", "weights", *_OF_RESULT[:-1])


def add_parser(kinds: Any) -> None:
    """Add the subcommand and its arguments."""
    parser = kinds.add_parser(
        "registration",
        help="evaluate a registration: similarity, overlap, landmarks, folds, inverse",
        description="Evaluate a registration made by any tool, or (--synthetic) register a volume "
        "to a copy deformed by a known field and measure the error in mm.",
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
        help="the moving volume; without --transform, the already registered volume",
    )
    _add_result(parser)
    _add_synthetic(parser)
    parser.add_argument(
        "--series", metavar="UID", help="series of the first volume to read, if there are several"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="REPORT.json",
        type=path,
        help="also write the metrics to this file",
    )
    options.add_computing(parser)
    options.add_force(parser)
    options.add_json(parser, nested=True)


def _add_result(parser: argparse.ArgumentParser) -> None:
    path = options.some_path
    group = parser.add_argument_group("evaluate a registration")
    forward = (
        "transform that maps points of FIXED to MOVING (ITK's convention for resampling): "
        "forward.h5, or that of another tool"
    )
    options.add_values(
        group,
        ("--transform", "F", path, forward),
        ("--inverse", "F", path, "its inverse: inverse.h5"),
    )
    options.add_pair(group, "labels", "label map of the {} volume")
    options.add_pair(
        group, "points", "landmarks in the {} volume: .fcsv, .mrk.json, or .csv in LPS mm"
    )
    where = "mask of FIXED: similarity and folds are measured where it is nonzero"
    options.add_values(group, ("--mask", "F", path, where))
    group.add_argument("--series-moving", metavar="UID", help="series of MOVING")


def _add_synthetic(parser: argparse.ArgumentParser) -> None:
    path, number = options.some_path, options.number
    group = parser.add_argument_group("evaluate on a known deformation")
    noise = "noise of the deformed copy (default: 15 HU, or 2 %% of the range if not in HU)"
    contrast = "values added to labels of the copy, to simulate contrast agent: 2:150,52:180"
    options.add_values(
        group,
        ("--synthetic", "VOLUME", path, "volume to deform and register"),
        ("--labels", "F", path, "label map on the grid of VOLUME"),
        ("--mean-mm", "MM", number, "mean displacement in the body in mm (default: 9)"),
        ("--smooth-mm", "MM", number, "smoothness of the field in mm (default: 70)"),
        ("--noise", "SD", number, noise),
        ("--contrast", "LABEL:VALUE,..", _contrast, contrast),
        ("--seed", "N", options.integer, "random seed (default: 0)"),
    )
    against = "methods to compare with, on the two volumes or the copy: demons,bspline,syn"
    options.add_values(group, ("--against", "NAMES", options.names, against))
    group.add_argument("--init", choices=options.STARTS, help="initial alignment (default: none)")
    group.add_argument("--model", metavar="NAME", help="as for 'tomochrome register'")
    group.add_argument(
        "--refine", metavar="N", type=options.integer, help="number of refinement iterations"
    )
    group.add_argument(
        "--similarity",
        choices=options.SIMILARITIES,
        help="similarity measure of the refinement (default: lncc)",
    )
    options.add_features(group)


def _contrast(text: str) -> dict[int, float]:
    """Parse labels and the values to add to them."""
    added = {}
    for part in text.split(","):
        label, mark, value = part.partition(":")
        if not mark:
            raise argparse.ArgumentTypeError(f"must be LABEL:VALUE, not '{part}'")
        added[options.integer(label)] = options.number(value)
    return added


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Evaluate a registration after checking the input."""
    _check(args)
    if args.against is not None:
        return evaluate_features.compare(args, _methods(args), session)
    data = _synthetic(args, session) if args.synthetic is not None else _result(args, session)
    session.warn(*data["warnings"])
    return evaluate_features.tell(args, data, format_measures(data), session)


def _methods(args: argparse.Namespace) -> list[str]:
    """Return our own method and those to compare it with."""
    if args.transform is not None:
        raise OptionError("--against registers the two volumes itself; omit --transform")
    if args.similarity not in (None, "lncc", "features") or args.weights is not None:
        raise OptionError("--against compares with the similarity lncc or features")
    if args.backbone is not None and args.similarity != "features":
        raise OptionError("--backbone has no effect without --similarity features")
    own = "lncc" if args.similarity != "features" else args.backbone or "tissue"
    return [own, *args.against]


def _check(args: argparse.Namespace) -> None:
    """Check for options that exclude each other and for missing files."""
    wrong = _OF_RESULT if args.synthetic is not None else _OF_SYNTHETIC
    for name in wrong:
        if getattr(args, name) is not None and not (args.against and name in _OF_METHODS):
            way = "with --synthetic" if args.synthetic is not None else "without --synthetic"
            if name in _OF_METHODS:
                way += " or --against"
            raise OptionError(f"--{name.replace('_', '-')} has no effect {way}")
    if args.synthetic is not None and args.fixed is not None:
        raise OptionError("--synthetic gives the only volume; omit FIXED and MOVING")
    if args.synthetic is None and args.moving is None:
        raise OptionError("give two volumes, FIXED and MOVING, or --synthetic VOLUME")
    if args.inverse is not None and args.transform is None:
        raise OptionError("--inverse is evaluated together with --transform; give both")
    for kind in ("labels", "points"):
        pair = [getattr(args, f"{role}_{kind}") for role in ("fixed", "moving")]
        if (pair[0] is None) != (pair[1] is None):
            missing = "fixed" if pair[0] is None else "moving"
            raise OptionError(f"give {kind} of both volumes: --{missing}-{kind} is missing")
    inputs = given(args, *_FILES).values()
    check_inputs(inputs)
    check_network(args)
    if args.output is not None:
        check_report(args.output, inputs, [".json"], force=args.force)


def _result(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """Evaluate an existing registration."""
    extras: dict[str, Any] = {
        name: read_landmarks(getattr(args, name)) for name in ("fixed_points", "moving_points")
    }
    forward = Transform.identity() if args.transform is None else Transform.load(args.transform)
    inverse = None if args.inverse is None else Transform.load(args.inverse)
    fixed = read_chosen(args.fixed, args.series, "--series")
    moving = read_chosen(args.moving, args.series_moving, "--series-moving")
    for name, path in (
        ("fixed_labels", args.fixed_labels),
        ("moving_labels", args.moving_labels),
        ("fixed_mask", args.mask),
    ):
        extras[name] = read_or_none(path)
    measured = measure_registration(fixed, moving, forward, inverse, **extras)
    if "ncc" not in measured["before"] and "ncc" not in measured["after"]:
        raise GeometryError(
            f"'{args.fixed}' and '{args.moving}' cannot be compared: they do not overlap, or one "
            "of them is constant where they overlap"
        )
    if args.transform is None:  # before and after are the same
        measured = {"after": measured["after"]}
    notes = [*fixed.provenance.warnings, *moving.provenance.warnings]
    missed = measured.get("inverse_consistency_mm", {}).get("mean", 0.0)
    if missed > max(fixed.spacing):
        text = (
            f"the mean inverse consistency error is {missed:.1f} mm: '{args.inverse}' is probably "
            f"not the inverse of '{args.transform}'"
        )
        notes.append(Notice("inconsistent", "warning", text))
    kinds = {(v.unit, v.provenance.modality) for v in (fixed, moving)}
    # Between modalities, a good registration need not increase the correlation.
    similarity = "lncc" if len(kinds) == 1 else "mi"
    return {
        "fixed": str(args.fixed),
        "moving": str(args.moving),
        "transform": None if args.transform is None else str(args.transform),
        "inverse": None if args.inverse is None else str(args.inverse),
        **measured,
        "warnings": [*notes, *warnings_of(measured, similarity)],
    }


def _synthetic(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """Deform a volume, register it and measure the error."""
    # it imports torch
    from tomochrome.registration.validation import make_synthetic, validate_synthetic

    deformation = given(args, "mean_mm", "smooth_mm", "noise", "contrast", "seed")
    how = given(
        args, "init", "model", "refine", "similarity", "backbone", "weights", "device", "threads"
    )
    volume = read_chosen(args.synthetic, args.series, "--series")
    labels = read_or_none(args.labels)
    case = make_synthetic(volume, labels=labels, **deformation)
    return {"synthetic": str(args.synthetic), **validate_synthetic(case, options=how)}
