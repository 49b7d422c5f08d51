"""Arguments that several commands share, and the request that they describe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tomochrome.runtime.device import DEVICE_NAMES

if TYPE_CHECKING:
    from tomochrome.color import TissueSelection
    from tomochrome.colorization import Reference

STARTS = ("none", "center", "mass", "rigid", "affine")
Container = argparse.ArgumentParser | argparse._ArgumentGroup
SIMILARITIES = ("lncc", "mi", "mind", "mse")


@dataclass(frozen=True)
class Request:
    """How to color a volume: model, lighting and computing device."""

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
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

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
    """Parse a path; an empty one, perhaps from an unset variable, is refused."""
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
    """Parse names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("name at least one tissue")
    return found


def whole(text: str, least: int = 0) -> int:
    """Parse a whole number of at least ``least``."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at least {least}, not '{text}'"
        )
    return value


def count(text: str) -> int:
    """Parse a whole number of at least 1."""
    return whole(text, 1)


def number(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not '{text}'")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Parse finite numbers separated by commas."""
    return tuple(number(part) for part in text.split(","))


def check_device(name: str) -> None:
    """Refuse a device that is not there, before any long work.

    Raises
    ------
    DeviceError
        If it is not available.
    """
    if name not in ("auto", "cpu"):
        from tomochrome.runtime.device import choose_device

        choose_device(name)


def add_paths(parser: Container, **words: str) -> None:
    """Add paths that must be given, in their order; ``words`` say what each is."""
    for name, help_ in words.items():
        parser.add_argument(name, metavar=name.upper(), type=some_path, help=help_)


def add_values(parser: Container, *rows: tuple[str, str, Callable[[str], Any], str]) -> None:
    """Add options without a default: name, what stands for the value, its type, and words."""
    for option, metavar, kind, words in rows:
        parser.add_argument(option, metavar=metavar, type=kind, help=words)


def add_output(parser: argparse.ArgumentParser, words: str) -> None:
    """Add ``-o OUT``; ``words`` say what is written."""
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help=words)


def add_pair(parser: Container, kind: str, words: str) -> None:
    """Add ``--fixed-KIND`` and ``--moving-KIND``; ``{}`` in ``words`` stands for the role."""
    for role in ("fixed", "moving"):
        add_values(parser, (f"--{role}-{kind}", "F", some_path, words.format(role)))


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=Request.model,
        help="an installed model (see 'tomochrome models') or the folder of a bundle "
        "(default: tissue)",
    )


def add_reference(parser: Container) -> None:
    """Add ``--reference`` and the pictures that go with it."""
    add_values(
        parser,
        (
            "--reference",
            "PHOTO",
            some_path,
            "photograph (PNG, JPEG, TIFF) whose colors the model 'exemplar' carries over",
        ),
        (
            "--reference-labels",
            "FILE",
            some_path,
            "8-bit picture of the tissues in it: indices as in 'tomochrome palette', 0 background, "
            "255 unknown; with it colors are carried over tissue by tissue",
        ),
        (
            "--reference-mask",
            "FILE",
            some_path,
            "8-bit picture, not 0 where it counts (default: what has a label, or is neither blue "
            "gel, nor black, nor white)",
        ),
    )


def reference_of(args: argparse.Namespace) -> Reference | None:
    """Return the photograph that the options name, None if they name none.

    Raises
    ------
    OptionError
        If there are labels or a mask of no photograph.
    InputError
        If a picture cannot be read, or they do not fit together.
    """
    from tomochrome.cli.files import check_inputs
    from tomochrome.errors import OptionError

    paths = args.reference, args.reference_labels, args.reference_mask
    if paths[0] is None:
        if any(paths):
            raise OptionError(
                "--reference-labels and --reference-mask belong to a photograph; give --reference"
            )
        return None
    from tomochrome.colorization import Reference

    check_inputs(paths, getattr(args, "output", None))
    return Reference.read(*paths)


def hint(text: str) -> tuple[int, str]:
    """Parse a label and what it means: ``7=liver``."""
    label, equals, meaning = text.partition("=")
    if not equals or not meaning.strip():
        raise argparse.ArgumentTypeError(
            f"must be LABEL=MEANING, for example 7=liver, not '{text}'"
        )
    return count(label), meaning.strip()


def add_hints(parser: argparse.ArgumentParser) -> None:
    """Add ``--hints`` and ``--hint``."""
    parser.add_argument(
        "--hints",
        metavar="FILE",
        type=some_path,
        help="label map of strokes on the CT's grid, which spread along its edges; a label is the "
        "index of a tissue ('tomochrome palette'); with '--model none' they color alone",
    )
    parser.add_argument(
        "--hint",
        metavar="LABEL=MEANING",
        type=hint,
        action="append",
        default=[],
        help="what a label of --hints means: a tissue, a color #rrggbb, or keep (may be repeated)",
    )


def add_lighting(parser: argparse.ArgumentParser) -> None:
    """Add the options of lighting: window, palette, saturation, opacity and tissues."""
    parser.add_argument(
        "--window",
        metavar="PRESET|CENTER/WIDTH[/sigmoid]",
        default=Request.window,
        help="auto (chosen by content: at most 1 %% of the body without bone is white), "
        "scanner (the first window stored in the image; scanner:2 is the second), brain, subdural, "
        "stroke, temporal-bone, soft-tissue, mediastinum, abdomen, liver, lung, bone, "
        "angiography, or center and width in HU such as 50/400; append /sigmoid (50/400/sigmoid, "
        "auto/sigmoid) for the sigmoid function of DICOM instead of the linear one (default: auto)",
    )
    parser.add_argument(
        "--palette",
        metavar="NAME",
        default=Request.palette,
        help="colors of the tissues, see 'tomochrome palette' (default: natural)",
    )
    parser.add_argument(
        "--saturation",
        metavar="0..1",
        type=fraction,
        default=Request.saturation,
        help="0 is grey, 1 the colors of the palette (default: 1)",
    )
    parser.add_argument(
        "--min-confidence",
        metavar="0..1",
        type=fraction,
        default=Request.min_confidence,
        help="voxels of lower confidence are grey (default: 0)",
    )
    parser.add_argument(
        "--alpha",
        metavar="body|opaque|PRESET",
        default=Request.alpha,
        help="opacity: the body only, everything, or a curve over HU (default: body)",
    )
    add_tissues(parser)


def add_tissues(parser: argparse.ArgumentParser) -> None:
    """Add the options that select tissues."""
    for option, words in (
        ("--only", "show only these tissues in color, see 'tomochrome palette' (default: all)"),
        ("--hide", "show these in grey; transparent in 3D opacity curves"),
        ("--dim", "show these with reduced saturation"),
    ):
        parser.add_argument(option, metavar="TISSUE,...", type=names, default=(), help=words)
    parser.add_argument(
        "--others",
        choices=("hide", "dim"),
        default=Request.others,
        help="how --only treats the other tissues (default: hide)",
    )


def add_device(parser: Container) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        choices=DEVICE_NAMES,
        default=Request.device,
        help="where to compute (default: auto)",
    )


def add_computing(parser: Container) -> None:
    """Add ``--device`` and ``--threads``."""
    add_device(parser)
    parser.add_argument("--threads", metavar="N", type=count, help="CPU threads (default: all)")


def add_reading(parser: Container) -> None:
    """Add the options of reading a scan."""
    parser.add_argument(
        "--series",
        metavar="UID",
        help="series to read if there are several (see 'tomochrome info')",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="keep tilted or unevenly spaced slices as stored, without resampling",
    )


def add_force(parser: Container) -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help="replace existing outputs")


def add_json(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """Add ``--json``; with subcommands it may follow the command or the subcommand."""
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS if nested else False,
        help="print one JSON object on stdout and nothing else",
    )
