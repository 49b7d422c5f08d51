"""``tomochrome evaluate contrast``: how much more is told apart in color than in grey."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.cli import options
from tomochrome.cli.files import read_chosen
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import OptionError
from tomochrome.evaluate.contrast import VISIONS, Contrast, measure_contrast
from tomochrome.evaluate.model_evaluation import Coloring, Truth, TruthFiles
from tomochrome.io.picture_files import is_photograph
from tomochrome.phantom import make_patient
from tomochrome.runtime import check
from tomochrome.volume import Volume
from tomochrome.windowing import parse_window

_PHANTOMS: Final = (
    ("head", "native", "brain"), ("thorax", "arterial", "soft-tissue"),
    ("abdomen", "portal", "soft-tissue"), ("pelvis", "portal", "soft-tissue"),
)  # fmt: skip
_SPACING: Final = (5.0, 2.0, 2.0)
_WEAK: Final = 10.0


def add_parser(kinds: Any) -> None:
    """Add the subcommand and its arguments."""
    contrast = kinds.add_parser(
        "contrast",
        help="how much more is told apart in color than in grey",
        description="For touching tissues, measure the CIEDE2000 of their grey values and of "
        "their colors under the same window, and count the levels that are one just noticeable "
        "difference apart, with normal color vision and with simulated protanopia, deuteranopia "
        "and tritanopia (Machado 2009). Without a CT, four phantoms are measured.",
        allow_abbrev=False,
    )
    contrast.add_argument("ct", metavar="CT", nargs="?", type=options.some_path, help="a CT")
    contrast.add_argument(
        "tissues",
        metavar="TISSUES",
        nargs="?",
        type=options.some_path,
        help="its tissue map: indices as in 'tomochrome palette', 255 is unknown",
    )
    contrast.add_argument(
        "--palette", metavar="NAME", default="natural", help="the colors (default: natural)"
    )
    contrast.add_argument(
        "--window",
        metavar="WINDOW",
        default=None,
        help="a window as for 'colorize' (default: auto; of phantoms: brain or soft-tissue)",
    )
    options.add_json(contrast, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Measure the CT or the phantoms, and print a table."""
    if args.ct is not None and args.tissues is None:
        raise OptionError("give the tissue map of the CT as well")
    measured: list[tuple[str, Contrast]] = []
    for name, volume, tissues, window in _scans(args):
        check()
        chosen = parse_window(window, volume)
        measured.append((name, measure_contrast(volume, tissues, chosen, args.palette)))
    data = {
        "palette": args.palette,
        "scans": [{"name": name, **contrast.to_json()} for name, contrast in measured],
        "warnings": session.warnings,
    }
    return Outcome(
        data, "\n".join(line for name, contrast in measured for line in _text(name, contrast))
    )


def _scans(
    args: argparse.Namespace,
) -> Iterator[tuple[str, Volume, NDArray[np.uint8], str]]:
    """Yield name, CT, tissues and window of what is measured."""
    if args.ct is not None:
        if is_photograph(args.tissues):
            raise OptionError(f"'{args.tissues}' is a photograph; give a tissue map")
        ct = read_chosen(args.ct)
        tissues = Truth.read(TruthFiles(args.tissues), ct, Coloring(args.palette)).tissues
        assert tissues is not None
        yield "CT", ct, tissues, args.window or "auto"
        return
    for k, (region, phase, window) in enumerate(_PHANTOMS):
        patient = make_patient(k, region, _SPACING, phase=phase)
        tissues = np.asarray(patient.tissue.voxels).astype(np.uint8)
        yield region, patient.ct, tissues, args.window or window


def _text(name: str, contrast: Contrast) -> list[str]:
    """Return the lines of one scan: levels, and the pairs that are alike in grey."""

    def weak(values: list[float]) -> str:
        return f"{sum(value < _WEAK for value in values)} of {len(values)}"

    head = "".join(f"{title:>14}" for title in ("grey", *VISIONS))
    levels = "".join(f"{n:14d}" for n in (contrast.grey_levels, *contrast.color_levels.values()))
    columns = [[pair.grey for pair in contrast.pairs]] + [
        [pair.color[vision] for pair in contrast.pairs] for vision in VISIONS
    ]
    lines = [
        f"{name}, window {contrast.window}",
        f"{'':32}{head}",
        f"{'levels':32}{levels}",
        f"{f'pairs less than {_WEAK:g} apart':32}"
        + "".join(f"{weak(values):>14}" for values in columns),
    ]
    alike = (pair for pair in contrast.pairs if pair.grey < _WEAK)
    for pair in sorted(alike, key=lambda each: each.grey):
        values = "".join(f"{value:14.1f}" for value in (pair.grey, *pair.color.values()))
        lines.append(f"{' and '.join(pair.tissues):32}{values}")
    return [*lines, ""]
