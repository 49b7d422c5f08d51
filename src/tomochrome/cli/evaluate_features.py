"""``tomochrome evaluate features``: registration by the features of each backbone, in a table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.files import (
    as_json,
    check_inputs,
    check_network,
    check_report,
    given,
    read_chosen,
    read_landmarks,
    read_or_none,
)
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import OptionError
from tomochrome.runtime import write_text

_COLUMNS = {
    "method": "", "seconds": "s", "ncc": "NCC", "dice_mean": "Dice", "tre_mm": "TRE mm",
    "error_mm": "error mm", "folded_percent": "folds %",
}  # fmt: skip
_OF_PAIR = (
    "fixed", "fixed_labels", "moving_labels", "fixed_points", "moving_points", "series_moving",
)  # fmt: skip
_OF_SYNTHETIC = ("labels", "mean_mm", "seed")
_FILES = (
    "fixed", "moving", "synthetic", "labels", "fixed_labels", "moving_labels", "fixed_points",
    "moving_points",
)  # fmt: skip


def add_parser(kinds: Any) -> None:
    """Add the subcommand and its arguments."""
    parser = kinds.add_parser(
        "features",
        help="compare the networks whose features a registration can use",
        description="Register two CT by local correlation and by the features of each backbone, "
        "and compare seconds, overlap, landmarks, the error left of a known deformation (with "
        "--synthetic), and folds.",
        usage="tomochrome evaluate features FIXED MOVING [options]\n"
        "       tomochrome evaluate features --synthetic VOLUME [options]",
        allow_abbrev=False,
    )
    path = options.some_path
    for name in ("fixed", "moving"):
        parser.add_argument(name, metavar=name.upper(), nargs="?", type=path, help=f"{name} CT")
    options.add_values(
        parser,
        ("--backbones", "NAMES", options.names, f"some of {','.join(options.FEATURE_BACKBONES)}"),
        ("--synthetic", "VOLUME", path, "CT to deform by a known field and register"),
        ("--labels", "F", path, "label map of VOLUME"),
        ("--mean-mm", "MM", options.number, "mean displacement in the body (default: 9)"),
        ("--seed", "N", options.integer, "random seed of the deformation (default: 0)"),
    )
    options.add_pair(parser, "labels", "label map of the {} CT")
    options.add_pair(parser, "points", "landmarks in the {} CT: .fcsv, .mrk.json, .csv in LPS mm")
    options.add_values(
        parser,
        ("--series", "UID", str, "series of the first CT to read, if there are several"),
        ("--series-moving", "UID", str, "series of MOVING"),
    )
    parser.add_argument(
        "--init", choices=options.STARTS, help="initial alignment (default: affine; none for a "
        "known deformation)",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="as for 'tomochrome register'")
    options.add_values(parser, ("--refine", "N", options.integer, "refinement iterations"))
    parser.add_argument(
        "-o", "--output", metavar="REPORT.json", type=path, help="also write the table to this file"
    )
    options.add_computing(parser)
    options.add_force(parser)
    options.add_json(parser, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Compare the backbones after checking the input."""
    if (args.synthetic is None) == (args.moving is None):
        raise OptionError("give two volumes, FIXED and MOVING, or --synthetic VOLUME")
    for name in given(args, *(_OF_SYNTHETIC if args.synthetic is None else _OF_PAIR)):
        option = "FIXED" if name == "fixed" else f"--{name.replace('_', '-')}"
        way = "without" if args.synthetic is None else "with"
        raise OptionError(f"{option} has no effect {way} --synthetic")
    inputs = given(args, *_FILES).values()
    check_inputs(inputs)
    if args.output is not None:
        check_report(args.output, inputs, [".json"], force=args.force)
    names = args.backbones or options.FEATURE_BACKBONES
    for name in names:
        if name not in options.FEATURE_BACKBONES:
            backbones = ", ".join(options.FEATURE_BACKBONES)
            raise OptionError(f"unknown backbone '{name}': choose from {backbones}")
    return compare(args, ["lncc", *names], session)


def compare(args: argparse.Namespace, methods: Sequence[str], session: Session) -> Outcome:
    """Return the measures of several methods on the volumes of a command line, as a table."""
    # these import torch
    from tomochrome.registration.opponents import compare_methods
    from tomochrome.registration.validation import make_synthetic

    check_network(args)
    how = given(args, "init", "model", "refine", "device", "threads")
    if args.synthetic is not None:
        names = ("mean_mm", "smooth_mm", "noise", "contrast", "seed")
        deformation = given(args, *(name for name in names if name in args))
        volume = read_chosen(args.synthetic, args.series, "--series")
        case = make_synthetic(volume, labels=read_or_none(args.labels), **deformation)
        how |= {"case": case, "init": how.get("init", "none")}
        how |= {"fixed_labels": case.fixed_labels, "moving_labels": case.moving_labels}
        pair, sources = (case.fixed, case.moving), [volume]
        named = {"synthetic": str(args.synthetic), "deformation": case.facts}
    else:
        pair = (
            read_chosen(args.fixed, args.series, "--series"),
            read_chosen(args.moving, args.series_moving, "--series-moving"),
        )
        sources = list(pair)
        how["fixed_mask"] = read_or_none(getattr(args, "mask", None))
        for role in ("fixed", "moving"):
            how[f"{role}_labels"] = read_or_none(getattr(args, f"{role}_labels"))
            how[f"{role}_points"] = read_landmarks(getattr(args, f"{role}_points"))
        named = {"fixed": str(args.fixed), "moving": str(args.moving)}
    session.warn(*(notice for source in sources for notice in source.provenance.warnings))
    rows = compare_methods(*pair, list(dict.fromkeys(methods)), **how)
    return tell(args, {**named, "methods": rows}, table(rows), session)


def tell(args: argparse.Namespace, data: dict[str, Any], text: str, session: Session) -> Outcome:
    """Write the figures to a file if asked for, and return them."""
    data["warnings"] = list(session.warnings)
    if args.output is not None:
        write_text(args.output, as_json(data), force=args.force)
    return Outcome(data, text)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the measures of methods as a text table; columns without any value are left out."""
    used = [key for key in _COLUMNS if any(row[key] is not None for row in rows)]
    lines = ["".join(f"{_COLUMNS[key]:>10}" for key in used)]
    for row in rows:
        lines.append("".join(f"{_cell(row[key]):>10}" for key in used))
    return "\n".join([*lines, "not for diagnosis"])


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("" if value is None else value)
