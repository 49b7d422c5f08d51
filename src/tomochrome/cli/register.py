"""``tomochrome register``: align two volumes; everything that came of it lies in one folder."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.folder import check_folder, write_together
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import InputError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomochrome.registration.register import Registration
    from tomochrome.volume import Volume

FILES = (
    "moved.nii.gz",
    "moved_inverse.nii.gz",
    "forward.h5",
    "inverse.h5",
    "jacobian.nii.gz",
    "checkerboard.png",
    "report.json",
)
"""What is written."""
TILE_MM = 20.0
_STARTS = ("none", "center", "mass", "rigid", "affine")
_SIMILARITIES = ("lncc", "mi", "mind", "mse")
_VOLUMES = ("fixed_mask", "moving_mask", "fixed_labels", "moving_labels")
_POINTS = ("fixed_points", "moving_points")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    path = options.some_path
    parser.add_argument(
        "fixed", metavar="FIXED", type=path, help="the volume that stays; its grid is the result's"
    )
    parser.add_argument("moving", metavar="MOVING", type=path, help="the volume to be aligned")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=path, required=True, help=f"for {', '.join(FILES)}"
    )
    parser.add_argument(
        "--init",
        metavar="NAME",
        choices=_STARTS,
        default="affine",
        help=f"first alignment: {', '.join(_STARTS)} (default: affine)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default="symnet",
        help="a registration model (see 'tomochrome models'), a bundle's folder, or none "
        "(default: symnet)",
    )
    parser.add_argument(
        "--refine",
        metavar="N",
        type=_whole,
        help="iterations of refinement for this pair; 0 switches it off (default: 40)",
    )
    parser.add_argument(
        "--similarity",
        metavar="NAME",
        choices=_SIMILARITIES,
        default="lncc",
        help="lncc; mi or mind for different contrast or modality; mse (default: lncc)",
    )
    for role in ("fixed", "moving"):
        parser.add_argument(
            f"--{role}-mask", metavar="F", type=path, help=f"where the {role} volume counts: not 0"
        )
    for role in ("fixed", "moving"):
        parser.add_argument(
            f"--{role}-labels",
            metavar="F",
            type=path,
            help=f"label map of the {role} volume: measures overlap, drives nothing",
        )
    for role in ("fixed", "moving"):
        parser.add_argument(
            f"--{role}-points",
            metavar="F",
            type=path,
            help=f"landmarks in the {role} volume (.fcsv, .mrk.json, .csv in LPS mm): measure "
            "the error, drive nothing",
        )
    parser.add_argument("--series", metavar="UID", help="which series of FIXED, of several")
    parser.add_argument("--series-moving", metavar="UID", help="which series of MOVING")
    options.add_computing(parser)
    options.add_force(parser)


def _whole(text: str) -> int:
    """Parse a whole number of at least 0."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not '{text}'")
    return value


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Register two volumes. Everything that can be refused is refused before the work begins."""
    from tomochrome.registration.register import register

    _check(args)
    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    start = time.perf_counter()
    fixed = _read(args.fixed, args.series, "--series", told)
    moving = _read(args.moving, args.series_moving, "--series-moving", told)
    extras: dict[str, Any] = {
        name: None if path is None else _read(path, None, None, told)
        for name, path in ((name, getattr(args, name)) for name in _VOLUMES)
    }
    extras |= {name: _points(getattr(args, name)) for name in _POINTS}
    read_at = time.perf_counter()
    result = register(
        fixed,
        moving,
        init=args.init,
        model=args.model,
        refine=args.refine,
        similarity=args.similarity,
        device=args.device,
        threads=args.threads,
        **extras,
        **told,
    )
    report = dict(result.report)
    report["seconds"] = {"read": round(read_at - start, 3), **report["seconds"]}
    del report["seconds"]["total"]  # theirs is without reading and writing
    with write_together(args.output, FILES, force=args.force) as place:
        written = time.perf_counter()
        _write(fixed, result, place, session)
        now = time.perf_counter()
        report["seconds"] |= {"write": round(now - written, 3), "total": round(now - start, 3)}
        report["warnings"] = list(dict.fromkeys([*report["warnings"], *session.warnings]))
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        (place / "report.json").write_text(f"{text}\n", encoding="utf-8")
    for warning in report["warnings"]:
        session.warn(warning)
    data = {
        "fixed": str(args.fixed),
        "moving": str(args.moving),
        "output": str(args.output),
        "files": list(FILES),
        **report,
    }
    return Outcome(data, _in_words(args, result.moved, report))


def _check(args: argparse.Namespace) -> None:
    """Refuse what is not there, and what could not be written."""
    from tomochrome.bundles import REGISTRATION, find_card
    from tomochrome.cli import pipeline
    from tomochrome.runtime.device import choose_device

    inputs = [args.fixed, args.moving]
    inputs += [p for p in (getattr(args, name) for name in (*_VOLUMES, *_POINTS)) if p is not None]
    for path in inputs:
        pipeline.check_input(path)
    check_folder(args.output, FILES, force=args.force)
    outputs = {os.path.realpath(args.output / name) for name in FILES}
    for path in inputs:
        if os.path.realpath(path) in outputs:
            raise OutputError(f"'{path}' is an input and would be replaced; choose another folder")
    if args.model != "none":
        find_card(args.model, REGISTRATION)
    if args.device not in ("auto", "cpu"):
        choose_device(args.device)


def _read(path: Path, series: str | None, option: str | None, told: Mapping[str, Any]) -> Volume:
    """Read a volume; where there are several, name the option that chooses here."""
    from tomochrome.io import read

    try:
        return read(path, series=series, **told)
    except InputError as error:
        first, asked, choices = str(error).partition("choose one with --series (series=)")
        if not asked:
            raise
        advice = f"choose one with {option}{choices}" if option else "give a file of one volume"
        raise InputError(f"{first}{advice}") from error


def _points(path: Path | None) -> NDArray[np.float64] | None:
    from tomochrome.io.points import read_points

    return None if path is None else read_points(path)


def _write(fixed: Volume, result: Registration, place: Path, session: Session) -> None:
    from tomochrome.io import write

    told: dict[str, Any] = {"progress": session.progress, "cancel": session.cancel}
    notes = {
        "moved": "Moving volume registered to the fixed one, not for diagnosis",
        "moved_inverse": "Fixed volume registered to the moving one, not for diagnosis",
        "jacobian": "Jacobian determinant of a registration, not for diagnosis",
    }
    for name, note in notes.items():
        volume = getattr(result, name)
        extra = {**volume.provenance.extra, "description": note}
        described = replace(volume, provenance=replace(volume.provenance, extra=extra))
        write(described, place / f"{name}.nii.gz", **told)
    _write_board(fixed, result.moved, place / "checkerboard.png", session)
    for done, name in enumerate(("forward", "inverse")):
        session.progress(done, 2, "writing transforms")
        getattr(result, name).save(place / f"{name}.h5", cancel=session.cancel)


def _write_board(fixed: Volume, moved: Volume, path: Path, session: Session) -> None:
    """Write the checkerboard; of the slices only those on the sheet are computed."""
    from tomochrome.compare import Checkerboard, Pair, Tiles, smallest_tile_mm
    from tomochrome.io import write
    from tomochrome.volume import Provenance, Volume

    pair = Pair(fixed, moved, color=True)
    board = Checkerboard(pair, Tiles(max(TILE_MM, smallest_tile_mm(fixed))))
    lazy: Any = board
    sheet = Volume(lazy, fixed.affine, "RGBA", Provenance(extra={"description": board.words()}))
    write(sheet, path, progress=session.progress, cancel=session.cancel)


def _in_words(args: argparse.Namespace, moved: Volume, report: Mapping[str, Any]) -> str:
    from tomochrome.registration.report import share_in_words

    before, after = report["before"], report["after"]
    lines = [
        f"{args.output}{os.sep}",
        f"  {Path(args.moving).name} registered to {Path(args.fixed).name}, "
        f"{' x '.join(map(str, moved.shape))} (z, y, x), init '{report['init']}', "
        f"model '{report['model']}' on {report['device']}, {report['refine']} iterations of "
        f"refinement by '{report['similarity']}'",
        f"  {'':<24}{'before':>10}{'after':>10}",
    ]
    for key, name in (
        ("ncc", "correlation"),
        ("local_ncc", "local correlation"),
        ("mutual_information", "mutual information"),
        ("dice_mean", "mean Dice"),
    ):
        lines.append(_row(name, before.get(key), after.get(key)))
    errors = [part.get("tre_mm", {}).get("mean") for part in (before, after)]
    lines.append(_row("landmark error (mm)", *errors))
    jacobian, way = report["jacobian"], report["inverse_consistency_mm"]
    lines.append(
        f"  folded voxels {share_in_words(jacobian['folded_percent'])}, sd of log Jacobian "
        f"{_number(jacobian.get('sd_log'))}, inverse consistency {_number(way['mean'])} mm "
        f"(largest {_number(way['max'])})"
    )
    took = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in report["seconds"].items())
    lines += [f"  {took}", "  not for diagnosis"]
    return "\n".join(line for line in lines if line)


def _row(name: str, before: float | None, after: float | None) -> str:
    """One line of the table; empty if there is nothing to say."""
    if before is None and after is None:
        return ""
    return f"  {name:<24}{_number(before):>10}{_number(after):>10}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
