"""Arguments that several commands share, and what they amount to."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tomochrome.runtime.device import DEVICE_NAMES

if TYPE_CHECKING:
    from tomochrome.color import TissueSelection


@dataclass(frozen=True)
class Request:
    """How a volume is to be colored: model, light and computing device."""

    model: str = "tissue"
    window: str = "auto"
    palette: str = "natural"
    saturation: float = 1.0
    min_confidence: float = 0.0
    alpha: str = "body"
    only: tuple[str, ...] = ()
    others: Literal["dim", "hide"] = "hide"
    hide: tuple[str, ...] = ()
    dim: tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Request:
        """Collect the request from parsed arguments."""
        return cls(
            model=args.model,
            window=args.window,
            palette=args.palette,
            saturation=args.saturation,
            min_confidence=args.min_confidence,
            alpha=args.alpha,
            only=args.only,
            others=args.others,
            hide=args.hide,
            dim=args.dim,
            device=args.device,
            threads=args.threads,
        )

    @property
    def tissues(self) -> TissueSelection:
        """The tissues in color.

        Raises
        ------
        OptionError
            If one is unknown.
        """
        from tomochrome.color import TissueSelection
        from tomochrome.color.selection import tissue_of

        base = TissueSelection.only(self.only, self.others) if self.only else TissueSelection()
        return TissueSelection(
            base.hidden | frozenset(map(tissue_of, self.hide)),
            base.dimmed | frozenset(map(tissue_of, self.dim)),
        )


def some_path(text: str) -> Path:
    """Parse a path; an empty one, from an unset variable perhaps, is not the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; name a file or a folder")
    return Path(text)


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:  # also refuses nan
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not '{text}'")
    return value


def names(text: str) -> tuple[str, ...]:
    """Parse a list of names with commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("name at least one tissue")
    return found


def count(text: str) -> int:
    """Parse a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not '{text}'")
    return value


def number(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not '{text}'")
    return value


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=Request.model,
        help="a shipped model (see 'tomochrome models') or a bundle's folder (default: tissue)",
    )


def add_lighting(parser: argparse.ArgumentParser) -> None:
    """Add what shapes the picture once the colors are known."""
    parser.add_argument(
        "--window",
        metavar="PRESET|CENTER/WIDTH[/sigmoid]",
        default=Request.window,
        help="auto (by the content: at most 1 %% of the body that is not bone turns white), "
        "scanner (the first one stored in the image; scanner:2 the second), brain, subdural, "
        "stroke, temporal-bone, soft-tissue, mediastinum, abdomen, liver, lung, bone, "
        "angiography, or numbers in HU such as 50/400; with /sigmoid at the end (50/400/sigmoid, "
        "auto/sigmoid) DICOM's sigmoid function instead of a linear one (default: auto)",
    )
    parser.add_argument(
        "--palette",
        metavar="NAME",
        default=Request.palette,
        help="the tissues' colors, see 'tomochrome palette' (default: natural)",
    )
    parser.add_argument(
        "--saturation",
        metavar="0..1",
        type=fraction,
        default=Request.saturation,
        help="0 is grey, 1 the palette's own colors (default: 1)",
    )
    parser.add_argument(
        "--min-confidence",
        metavar="0..1",
        type=fraction,
        default=Request.min_confidence,
        help="voxels of lower confidence stay grey (default: 0)",
    )
    parser.add_argument(
        "--alpha",
        metavar="body|opaque|PRESET",
        default=Request.alpha,
        help="what is transparent: all but the body, nothing, or by HU (default: body)",
    )

    add_tissues(parser)


def add_tissues(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the tissues that are in color."""
    for option, words in (
        ("--only", "show only these tissues in color, see 'tomochrome palette' (default: all)"),
        ("--hide", "show these in grey, and leave them out under an opacity curve for 3D"),
        ("--dim", "show these in faint color"),
    ):
        parser.add_argument(option, metavar="TISSUE,...", type=names, default=(), help=words)
    parser.add_argument(
        "--others",
        choices=("hide", "dim"),
        default=Request.others,
        help="how --only treats the other tissues (default: hide)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", choices=DEVICE_NAMES, default=Request.device, help="(default: auto)"
    )


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add ``--device`` and ``--threads``."""
    add_device(parser)
    parser.add_argument(
        "--threads", metavar="N", type=count, help="CPU threads (default: all that are there)"
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add what decides how a scan is read."""
    parser.add_argument(
        "--series", metavar="UID", help="which series, when there are several (see 'info')"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="take tilted or unevenly spaced slices as stored, without resampling",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help="replace existing outputs")


def add_json(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """Add ``--json``; where a command has commands of its own, it may stand with either."""
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS if nested else False,
        help="print one JSON object on stdout, nothing else",
    )
