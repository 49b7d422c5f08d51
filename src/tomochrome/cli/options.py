"""Arguments shared by several commands, and what they describe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tomochrome.colorization.coloring_request import ColoringRequest
from tomochrome.formats import LOOKS, PROJECTIONS
from tomochrome.runtime.device import DEVICE_NAMES, choose_device

STARTS = ("none", "center", "mass", "rigid", "affine")
Container = argparse.ArgumentParser | argparse._ArgumentGroup
SIMILARITIES = ("lncc", "mi", "mind", "mse", "features")
FEATURE_BACKBONES = ("tissue", "alexnet", "vgg16", "resnet18")


def some_path(text: str) -> Path:
    """Parse a path and reject an empty one, which may come from an unset shell variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; give a file or a folder")
    return Path(text)


def some_output(text: str) -> str:
    """Return the path of an output as given, with a final ``/``; reject an empty one."""
    some_path(text)
    return text


def _parsed(text: str, is_valid: Callable[[float], bool], what: str) -> float:
    """Parse a number that is valid; nan counts as no number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or not is_valid(value):
        raise argparse.ArgumentTypeError(f"must be {what}, not '{text}'")
    return value


def number(text: str) -> float:
    """Parse a finite number."""
    return _parsed(text, math.isfinite, "a number")


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    return _parsed(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def millimetres(text: str) -> float:
    """Parse a length of at least 0."""
    return _parsed(text, lambda value: 0 <= value < math.inf, "a length in mm such as 10")


def minutes(text: str) -> float:
    """Parse a positive number of minutes."""
    return _parsed(text, lambda value: 0 < value < math.inf, "a positive number of minutes")


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas."""
    given = tuple(name.strip() for name in text.split(",") if name.strip())
    if not given:
        raise argparse.ArgumentTypeError("give at least one name")
    return given


def integer(text: str, minimum: int = 0) -> int:
    """Parse an integer of at least ``minimum``."""
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {minimum}, not '{text}'")
    return value


def count(text: str) -> int:
    """Parse an integer of at least 1."""
    return integer(text, 1)


def numbers(text: str) -> tuple[float, ...]:
    """Parse finite numbers separated by commas."""
    return tuple(number(part) for part in text.split(","))


def check_device(name: str) -> None:
    """Check that a device is available.

    Raises `DeviceError` if it is not.
    """
    if name not in ("auto", "cpu"):
        choose_device(name)


def add_paths(parser: Container, **helps: str) -> None:
    """Add required positional paths, given by name and help text."""
    for name, text in helps.items():
        parser.add_argument(name, metavar=name.upper(), type=some_path, help=text)


def add_values(parser: Container, *rows: tuple[str, str, Callable[[str], Any], str]) -> None:
    """Add options without a default, given by name, metavar, type and help text."""
    for option, metavar, kind, text in rows:
        parser.add_argument(option, metavar=metavar, type=kind, help=text)


def add_output(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``-o OUT`` with a help text."""
    parser.add_argument("-o", "--output", metavar="OUT", type=some_output, required=True, help=text)


def add_pair(parser: Container, kind: str, text: str) -> None:
    """Add ``--fixed-KIND`` and ``--moving-KIND``; ``{}`` in the help text is the role."""
    for role in ("fixed", "moving"):
        add_values(parser, (f"--{role}-{kind}", "F", some_path, text.format(role)))


def add_features(parser: Container) -> None:
    """Add the options of the similarity ``features``."""
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        choices=FEATURE_BACKBONES,
        help=f"network whose features are compared: {', '.join(FEATURE_BACKBONES)} "
        "(default: tissue, the network that colors)",
    )
    text = "own weights of alexnet, vgg16 or resnet18: safetensors, or a state dict of torch"
    add_values(parser, ("--weights", "FILE", some_path, text))


def add_model(parser: argparse.ArgumentParser, *, or_saved: bool = False) -> None:
    """Add ``--model``, by default None if a scan that was saved with its colors keeps them."""
    kept = "; a scan that was saved with its colors keeps them" if or_saved else ""
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=None if or_saved else ColoringRequest.model,
        help="an installed model (see 'tomochrome models') or a bundle folder (default: tissue"
        f"{kept})",
    )


def add_reference(parser: Container) -> None:
    """Add ``--reference`` and its label image and mask."""
    add_values(
        parser,
        (
            "--reference",
            "PHOTO",
            some_path,
            "photograph (PNG, JPEG, TIFF) whose colors the model 'exemplar' transfers to the CT",
        ),
        (
            "--reference-labels",
            "FILE",
            some_path,
            "8-bit label image of the tissues in the photograph: indices as in 'tomochrome "
            "palette', 0 background, 255 unknown; otherwise tissues are found by their color",
        ),
        (
            "--reference-mask",
            "FILE",
            some_path,
            "8-bit mask of the photograph, nonzero where it is used (default: labeled pixels, or "
            "all except blue gel, black and white)",
        ),
    )


def request_of(args: argparse.Namespace) -> ColoringRequest:
    """Return the model, lighting and device given in the options."""
    given = vars(args)
    settings = {field.name for field in fields(ColoringRequest)}
    return ColoringRequest(**{name: value for name, value in given.items() if name in settings})


def hint(text: str) -> tuple[int, str]:
    """Parse a label and its meaning: ``7=liver``."""
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
        help="label map of strokes on the CT's grid, which spread up to its edges; a label is the "
        "index of a tissue ('tomochrome palette'); with '--model none' only strokes give color",
    )
    parser.add_argument(
        "--hint",
        metavar="LABEL=MEANING",
        type=hint,
        action="append",
        default=[],
        help="meaning of a label of --hints: a tissue, a color #rrggbb, or keep (may be repeated)",
    )


def add_lighting(parser: argparse.ArgumentParser) -> None:
    """Add the lighting options: window, palette, saturation, confidence, opacity and tissues."""
    parser.add_argument(
        "--window",
        metavar="PRESET|CENTER/WIDTH[/sigmoid]",
        default=ColoringRequest.window,
        help="default (the window stored in the image, otherwise auto), auto (by content: brain "
        "for a head, wider than soft-tissue only for contrast agent), scanner (the first window "
        "stored in the image; scanner:2 is the second), brain, subdural, "
        "stroke, temporal-bone, soft-tissue, mediastinum, abdomen, liver, lung, bone, "
        "angiography, or center and width in HU such as 50/400; append /sigmoid (50/400/sigmoid, "
        "auto/sigmoid) for the sigmoid function of DICOM instead of the linear one",
    )
    add_palette(parser)
    add_confidence(parser)
    parser.add_argument(
        "--alpha",
        metavar="body|opaque|PRESET",
        help="opacity: the body only, everything, or a curve over HU (default: body)",
    )
    add_tissues(parser)


def add_confidence(parser: argparse.ArgumentParser) -> None:
    """Add ``--min-confidence``."""
    parser.add_argument(
        "--min-confidence",
        metavar="0..1",
        type=fraction,
        help="below this confidence, color fades to grey (default: 0)",
    )


def add_palette(parser: argparse.ArgumentParser) -> None:
    """Add ``--palette`` and ``--saturation``."""
    parser.add_argument(
        "--palette",
        metavar="NAME",
        help="colors of the tissues, see 'tomochrome palette' (default: natural)",
    )
    parser.add_argument(
        "--saturation",
        metavar="0..1",
        type=fraction,
        help="0 is grey, 1 the colors of the palette (default: 1)",
    )


def add_tissues(parser: argparse.ArgumentParser) -> None:
    """Add the options that select tissues."""
    for option, text in (
        ("--only", "show only these tissues in color, see 'tomochrome palette' (default: all)"),
        ("--hide", "show these in grey; transparent in 3D opacity curves"),
        ("--dim", "show these with reduced saturation"),
    ):
        parser.add_argument(option, metavar="TISSUE,...", type=names, default=(), help=text)
    parser.add_argument(
        "--others",
        choices=("hide", "dim"),
        default=ColoringRequest.others,
        help="how --only treats the other tissues (default: hide)",
    )


def add_look(parser: Container, standard: str) -> None:
    """Add ``--look``; ``standard`` describes the lightness without it."""
    parser.add_argument(
        "--look",
        choices=LOOKS,
        default=ColoringRequest.look,
        help="photograph: the lightness that tissues have to the eye, with the texture of the CT, "
        f"for teaching (default: standard, {standard})",
    )


def add_slab(parser: Container) -> None:
    """Add ``--slab`` and ``--slab-mode``."""
    text = (
        "pictures of slabs of this thickness around each slice; lightness is that of the projected "
        "Hounsfield values (default: single slices)"
    )
    parser.add_argument("--slab", metavar="MM", type=millimetres, help=text)
    parser.add_argument(
        "--slab-mode",
        choices=PROJECTIONS,
        help="maximum shows vessels and bone, minimum airways, mean has less noise (default: mean)",
    )


def add_slice(parser: Container) -> None:
    """Add ``--slice``."""
    parser.add_argument(
        "--slice",
        metavar="x|y|z=MM",
        help=".png shows one sagittal, coronal or axial slice, at a position in LPS mm (default: a "
        "contact sheet)",
    )


def add_device(parser: Container) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        choices=DEVICE_NAMES,
        default=ColoringRequest.device,
        help="computing device (default: auto)",
    )


def add_computing(parser: Container) -> None:
    """Add ``--device`` and ``--threads``."""
    add_device(parser)
    parser.add_argument("--threads", metavar="N", type=count, help="CPU threads (default: all)")


def add_reading(parser: Container) -> None:
    """Add the options for reading a scan."""
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
    add_strict(parser)


def add_as_hu(parser: Container) -> None:
    """Add ``--as-hu``."""
    parser.add_argument(
        "--as-hu",
        action="store_true",
        help="treat values of an unknown unit as Hounsfield units",
    )


def add_strict(parser: Container) -> None:
    """Add ``--strict``."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a scan with slices that cannot be decoded, instead of treating them as "
        "missing",
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
