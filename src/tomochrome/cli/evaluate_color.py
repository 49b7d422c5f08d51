"""``tomochrome evaluate color``: the color error of models on a CT with known tissues."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs
from tomochrome.cli.session import Outcome, Session

if TYPE_CHECKING:
    from tomochrome.volume import Volume


def add_parser(kinds: Any) -> None:
    """Add the command and describe its arguments."""
    color = kinds.add_parser(
        "color",
        help="color error of models on a CT with known tissues",
        description="Color a CT whose tissues are known with each model and give the mean "
        "distance in (a*, b*) over voxels and over tissues, and that of the grey image.",
        allow_abbrev=False,
    )
    color.add_argument("path", metavar="CT", type=options.some_path, help="a CT series or volume")
    color.add_argument(
        "truth",
        metavar="TISSUES",
        type=options.some_path,
        help="tissue map on the same grid: indices as in 'tomochrome palette', 255 is unknown",
    )
    color.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="an installed model or the folder of a bundle; may be repeated (default: all)",
    )
    color.add_argument(
        "--palette",
        metavar="NAME",
        default="natural",
        help="palette of the reference colors (default: natural)",
    )
    options.add_computing(color)
    options.add_json(color, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color with each model and score it."""
    import numpy as np

    from tomochrome.color.palette import palette
    from tomochrome.colorization import colorize, find_model, models
    from tomochrome.evaluate import score_color
    from tomochrome.io import read

    check_inputs([args.path, args.truth])
    palette(args.palette)
    cards = [find_model(name) for name in args.model] if args.model else models()
    volume = read(args.path)
    truth = read(args.truth)
    _check_truth(truth, volume, args.truth)
    scores = []
    for card in cards:
        chroma = colorize(volume, card.path, device=args.device, threads=args.threads)
        score = score_color(chroma, np.asarray(truth.voxels).astype(np.uint8), args.palette)
        scores.append(score.to_json())
    data = {
        "input": str(args.path),
        "truth": str(args.truth),
        "palette": args.palette,
        "scores": scores,
        "warnings": session.warnings,
    }
    return Outcome(data, _in_words(scores))


def _check_truth(truth: Volume, volume: Volume, path: Path) -> None:
    import numpy as np

    from tomochrome.errors import GeometryError, InputError
    from tomochrome.geometry import same_grid
    from tomochrome.tissue import N_TISSUES, NO_TISSUE

    if truth.is_rgba or not same_grid(truth, volume):
        raise GeometryError(f"the tissue map '{path}' is not on the voxel grid of the CT")
    known = np.unique(truth.voxels)
    if not np.isin(known, [*range(N_TISSUES), NO_TISSUE]).all():
        raise InputError(
            f"'{path}' is not a tissue map: it contains values that are no tissue index, such as "
            f"{known[~np.isin(known, range(N_TISSUES))][0]:g}"
        )


def _in_words(scores: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for score in scores:
        right = score["right"]
        named = "names no tissues" if right is None else f"{100 * right:.0f} % correct"
        lines += [
            f"{score['model']}: chroma error {score['organ_error']:.1f} over tissues "
            f"(grey {score['grey_organ_error']:.1f}), {score['voxel_error']:.1f} over voxels "
            f"(grey {score['grey_voxel_error']:.1f}), {named}"
        ]
        lines += [
            f"  {name:<14} error {organ['error']:5.1f}  grey {organ['grey_error']:5.1f}  "
            f"correct {100 * organ['right']:3.0f} %  confused with {organ['mistaken_for']}"
            for name, organ in score["organs"].items()
        ]
    return "\n".join(lines)
